"""What a run may spend at most: requests, tokens, money; and the meter that holds it to that.

Strategy: a request is counted when it is sent; tokens and money when its answer names them. What is
under way is reserved at the price of the dearest answer so far, so that a budget of tokens or money
is passed by no more than the first answers cost before any price is known.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from gateproof.errors import UsageError, unknown_name

__all__ = ["Budget", "Meter", "budget_of", "parse_budget"]

_EXAMPLE: Final = "Write it as in --budget requests=1000,tokens=200000,usd=5."
_MOST: Final = 10**15  # more is a slip
_NAMES: Final = ("requests", "tokens", "usd")


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that may be spent; ``None`` sets no limit to that kind."""

    requests: int | None = None
    tokens: int | None = None
    usd: Decimal | None = None

    def as_table(self) -> dict[str, Any]:
        """Give the budget as plain JSON types, money as text; ``budget_of`` reads it."""
        table: dict[str, Any] = {"requests": self.requests, "tokens": self.tokens}
        table["usd"] = None if self.usd is None else f"{self.usd:f}"
        return {name: value for name, value in table.items() if value is not None}

    def within(self, other: "Budget") -> "Budget":
        """Give the budget that holds both: of each kind the smaller limit."""

        def least(one: Any, two: Any) -> Any:
            return min((limit for limit in (one, two) if limit is not None), default=None)

        return Budget(
            least(self.requests, other.requests),
            least(self.tokens, other.tokens),
            least(self.usd, other.usd),
        )

    def __str__(self) -> str:
        parts = [f"{self.requests:,} requests"] if self.requests is not None else []
        parts += [f"{self.tokens:,} tokens"] if self.tokens is not None else []
        parts += [f"{self.usd:f} USD"] if self.usd is not None else []
        return ", ".join(parts) or "nothing named"


def parse_budget(text: str) -> Budget:
    """Read ``requests=1000,tokens=200000,usd=5``; a wrong name or number is a UsageError."""
    table = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, value = part.partition("=")
        table[name.strip()] = value.strip()
    if not table:
        raise UsageError(f"The budget {text!r} names nothing.", _EXAMPLE)
    return budget_of(table, "The budget")


def budget_of(table: object, place: str) -> Budget:
    """Read a budget from a table of a file; ``place`` names it in what is wrong."""
    if not isinstance(table, Mapping) or not table:
        raise UsageError(
            f"{place} is no table of limits.", "Write budget = { requests = 1000, usd = 5 }."
        )
    found: dict[str, Any] = {}
    for name, value in table.items():
        if name not in _NAMES:
            error = unknown_name("part of a budget", str(name), _NAMES)
            raise UsageError(f"{place}: {error.message}", error.hint)
        found[name] = _amount(name, value, place)
    return Budget(**found)


def _amount(name: str, value: object, place: str) -> int | Decimal:
    """Read one limit."""
    try:
        amount = Decimal("NaN") if isinstance(value, bool) else Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("NaN")
    whole = name != "usd"
    fits = amount.is_finite() and 0 < amount <= _MOST
    if not fits or (whole and amount != int(amount)):
        kind = "whole number" if whole else "number"
        raise UsageError(f"{place}, {name} is {value!r}.", f"Wanted a {kind} above 0. {_EXAMPLE}")
    return int(amount) if whole else amount


@dataclass(slots=True)
class Meter:
    """Counts what a run spends; ``prices`` are USD per million prompt and completion tokens."""

    budget: Budget
    prices: Mapping[str, float] = field(default_factory=dict)
    requests: int = 0
    tokens: int = 0
    usd: Decimal = Decimal(0)
    most_tokens: int = 0
    """What the dearest answer so far took; a caller that knows more may set it higher."""
    most_usd: Decimal = Decimal(0)
    answers: int = 0
    unpriced: bool = False  # an answer named tokens, and nothing says what they cost

    def refuses(self) -> str:
        """Say what is spent when one more request could pass the budget; empty when none is."""
        budget, running = self.budget, self.requests - self.answers + 1
        if budget.requests is not None and self.requests >= budget.requests:
            return f"{self.requests:,} of {budget.requests:,} requests are sent"
        if budget.tokens is not None and (
            self.tokens >= budget.tokens or self.tokens + running * self.most_tokens > budget.tokens
        ):
            return f"{self.tokens:,} of {budget.tokens:,} tokens are used" + self._reserved()
        if budget.usd is not None and self.unpriced:
            return "answers name no cost, and no [prices] say one, so USD cannot be kept to"
        if budget.usd is not None and (
            self.usd >= budget.usd or self.usd + running * self.most_usd > budget.usd
        ):
            return f"{self.usd:f} of {budget.usd:f} USD are spent" + self._reserved()
        return ""

    def _reserved(self) -> str:
        running = self.requests - self.answers
        return f", and {running:,} answers are under way" if running else ""

    def send(self) -> None:
        """Count a request that is sent."""
        self.requests += 1

    def spent(
        self, prompt_tokens: int = 0, completion_tokens: int = 0, usd: Decimal | None = None
    ) -> None:
        """Count the end of a request; money that it does not name is reckoned by the prices."""
        tokens = prompt_tokens + completion_tokens
        if usd is None:
            million = Decimal(1_000_000)
            usd = sum(
                (
                    Decimal(str(self.prices.get(name, 0))) * count / million
                    for name, count in (
                        ("prompt", prompt_tokens),
                        ("completion", completion_tokens),
                    )
                ),
                Decimal(0),
            )
            self.unpriced = self.unpriced or bool(tokens and not self.prices)
        self.answers += 1
        self.tokens += tokens
        self.usd += usd
        self.most_tokens = max(self.most_tokens, tokens)
        self.most_usd = max(self.most_usd, usd)
