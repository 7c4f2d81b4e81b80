"""What a run of the rate-limit lab may do and spend, and what the target is said to allow.

The table ``[limits]`` of a scenario file is read here, strictly. Times in it are of the clock of
the target's limits, which runs ``clock_scale`` times as fast as ours (only a test server's does).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Literal, cast, get_args

from gateproof.errors import UsageError, unknown_name

__all__ = ["SCOPES", "Expected", "LimitsPlan", "Scope", "What", "parse_limits"]

What = Literal["requests", "tokens"]
Scope = Literal["key", "model", "account", "key and model"]
WHATS: Final[tuple[What, ...]] = get_args(What)
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
ALGORITHM_NAMES: Final = ("fixed-window", "sliding-log", "sliding-counter", "token-bucket")


@dataclass(frozen=True, slots=True)
class Expected:
    """A limit that the target is said to have; what is not said is empty."""

    what: What
    amount: int
    window_s: float
    algorithm: str = ""
    scope: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class LimitsPlan:
    """What the lab may do. Keys are named by their entry in the target's ``keys``."""

    requests: int | None = None
    """The most requests to send in all, refused ones too; None follows from what is expected."""
    tokens: int | None = None
    """The most tokens to take in all; None follows from what is expected."""
    usd: float | None = None
    """The most to spend, where prices are known."""
    look_for: tuple[What, ...] = ("requests", "tokens")
    window_s: float = 60.0
    """Where to look first for the window."""
    longest_window_s: float = 120.0
    """No longer is waited for a limit to let go."""
    key: str = ""
    second_key: str = ""
    """Another key of the same account."""
    stranger_key: str = ""
    """A key of another account."""
    second_model: str = ""
    fairness: bool = True
    """Use up the second key as well, to see that its limit is the same."""
    long_tokens: int = 2000
    """The most tokens that one request may take."""
    width: int = 16
    """The most requests at a time."""
    clock_scale: float = 1.0
    tier: str = ""
    """The documented tier to compare with."""
    expect: tuple[Expected, ...] = ()
    unlimited: bool = False
    """The target is said to have no limit."""
    prices: Mapping[str, float] = field(default_factory=dict)

    def expected(self, what: What) -> Expected | None:
        """Return the limit of requests or of tokens that the target is said to have."""
        return next((one for one in self.expect if one.what == what), None)

    @property
    def most_requests(self) -> int:
        """Return the most requests to send: six times the expected limit, for all parts of it."""
        if self.requests is not None:
            return self.requests
        expected = self.expected("requests")
        return 6 * expected.amount + 200 if expected else 600

    @property
    def most_tokens(self) -> int:
        """Return the most tokens to take."""
        if self.tokens is not None:
            return self.tokens
        expected = self.expected("tokens")
        return 4 * expected.amount + 40 * self.most_requests if expected else 300_000

    def real_s(self, limit_s: float) -> float:
        """Return how long a time of the limits' clock lasts."""
        return limit_s / self.clock_scale


_NUMBERS: Final = {
    "requests": (2, 1_000_000), "tokens": (1, 10**10), "usd": (0, 1e6), "window_s": (0.01, 1e6),
    "longest_window_s": (0.01, 1e6), "clock_scale": (1, 1e5),
    "long_tokens": (20, 200_000), "width": (1, 256),
}  # fmt: skip
_WHOLE: Final = frozenset({"requests", "tokens", "long_tokens", "width"})
_TEXTS: Final = frozenset({"key", "second_key", "stranger_key", "second_model", "tier"})
_EXPECT_KEYS: Final = ("what", "amount", "window_s", "algorithm", "scope", "source")


def parse_limits(table: Mapping[str, Any], place: str) -> LimitsPlan:
    """Read the table ``[limits]`` of a scenario file; every mistake is named with its place."""
    if not isinstance(table, Mapping):
        raise UsageError(f"{place} is not a table.", "Write [limits], and requests = 200 below it.")
    known = {one.name for one in fields(LimitsPlan)} - {"prices"}
    found: dict[str, Any] = {}
    for name, value in table.items():
        if name not in known:
            error = unknown_name("key", name, known)
            raise UsageError(f"{place}: {error.message}", error.hint)
        where = f"{place}, {name}"
        if name in _NUMBERS:
            found[name] = _number(value, where, *_NUMBERS[name], whole=name in _WHOLE)
        elif name in _TEXTS:
            if not isinstance(value, str) or len(value) > 200:
                raise UsageError(f"{where} must be a string, and is {value!r}.")
            found[name] = value
        elif name in ("fairness", "unlimited"):
            if not isinstance(value, bool):
                raise UsageError(f"{where} must be true or false, and is {value!r}.")
            found[name] = value
        elif name == "look_for":
            if not isinstance(value, Sequence) or isinstance(value, str) or not value:
                raise UsageError(f"{where} must be a list.", 'Write ["requests", "tokens"].')
            for item in value:
                if item not in WHATS:
                    raise unknown_name(f"kind of limit in {where}", str(item), WHATS)
            found[name] = tuple(what for what in WHATS if what in value)
        else:
            found[name] = _expect(value, where)
    plan = LimitsPlan(**found)
    if plan.longest_window_s < plan.window_s:
        plan = replace(plan, longest_window_s=2 * plan.window_s)
    if plan.unlimited and plan.expect:
        raise UsageError(f"{place} says both unlimited and expect.", "Leave out one of them.")
    return plan


def _expect(value: Any, place: str) -> tuple[Expected, ...]:
    """Read ``[[limits.expect]]``."""
    if not isinstance(value, list):
        raise UsageError(f"{place} is not an array of tables.", "Write [[limits.expect]].")
    found = []
    for serial, row in enumerate(value):
        where = f"{place}[{serial}]"
        if not isinstance(row, Mapping):
            raise UsageError(f"{where} is not a table.", "Write [[limits.expect]].")
        for name in row:
            if name not in _EXPECT_KEYS:
                error = unknown_name("key", name, _EXPECT_KEYS)
                raise UsageError(f"{where}: {error.message}", error.hint)
        for name, valid in (("what", WHATS), ("algorithm", ALGORITHM_NAMES), ("scope", SCOPES)):
            if (row.get(name) or valid[0]) not in valid:
                raise unknown_name(f"{name} in {where}", str(row[name]), valid)
        found.append(
            Expected(
                cast("What", row.get("what", "requests")),
                int(_number(row.get("amount"), f"{where}, amount", 1, 10**12, whole=True)),
                _number(row.get("window_s", 60), f"{where}, window_s", 0.01, 1e7, whole=False),
                str(row.get("algorithm", "")),
                str(row.get("scope", "")),
                str(row.get("source", "the scenario file")),
            )
        )
    if len({one.what for one in found}) != len(found):
        raise UsageError(f"{place} has two limits of the same kind.", "One of each can be held.")
    return tuple(found)


def _number(value: Any, place: str, low: float, high: float, *, whole: bool) -> Any:
    wanted = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, wanted) or not low <= value <= high:
        kind = "whole number" if whole else "number"
        raise UsageError(f"{place} must be a {kind} from {low:,} to {high:,}, and is {value!r}.")
    return value
