"""What an answer says that it has cost: its tokens and its money, in either dialect.

For a budget only: it is read leniently from whatever answer came, and what cannot be read counts as
nothing but a request. A stream tells its usage in one event or in several, of which the largest
counters and the last cost count.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gateproof.dialects.common import is_int, is_number, loads
from gateproof.transcript import Exchange

__all__ = ["Spent", "spent_in"]


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens and, where the answer names it, money."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: Decimal | None = None


def spent_in(exchange: Exchange) -> Spent:
    """Return what an exchange has cost by its own answer."""
    prompt = completion = 0
    usd: Decimal | None = None
    for usage in _usages(exchange):
        prompt = max(prompt, _count(usage, "prompt_tokens", "input_tokens"))
        completion = max(completion, _count(usage, "completion_tokens", "output_tokens"))
        for name in ("cost_usd_total", "cost"):
            value = usage.get(name)
            if is_number(value) and value >= 0:
                usd = Decimal(value)
                break
    return Spent(prompt, completion, usd)


def _usages(exchange: Exchange) -> Iterator[Mapping[str, Any]]:
    got = exchange.response
    if got is None or got.status >= 400:
        return
    streamed = got.media_type == "text/event-stream"
    texts = [event.data for event in exchange.events] if streamed else [got.body]
    for text in texts:
        # Most events of a stream have no usage: they are not worth parsing.
        if ('"usage"' if isinstance(text, str) else b'"usage"') not in text:  # type: ignore[operator]  # both are of one kind
            continue
        try:
            value = loads(text)
        except (ValueError, RecursionError):
            continue
        for holder in (value, value.get("message")) if isinstance(value, dict) else ():
            usage = holder.get("usage") if isinstance(holder, dict) else None
            if isinstance(usage, dict):
                yield usage


def _count(usage: Mapping[str, Any], *names: str) -> int:
    return max((usage[name] for name in names if is_int(usage.get(name))), default=0)
