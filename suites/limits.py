"""Checks of rate limits and tiers, from bursts that the operator opts in to."""

from collections.abc import Sequence

from gateproof.check import Inconclusive, Place, Untestable, check, expect
from gateproof.dialects import openai
from gateproof.transcript import Exchange, Transcript

from .reading import shown
from .refusal import type_of
from .scenarios.limits import (
    BASIC_TOKENS,
    BURST,
    ENTERPRISE_BURST,
    TIER_BASIC,
    TIER_ENTERPRISE,
    TIER_PRO,
    met,
)


def _limited(seen: Transcript) -> list[tuple[Place, Exchange]]:
    """Return the exchanges of a burst that met a limit; ``Inconclusive`` when none did."""
    found = [
        (Place(exchange=index), item)
        for index, item in enumerate(seen.exchanges)
        if item.ask.label == "burst" and met(item)
    ]
    if not found:
        _require_answers(seen.labelled("burst"))
        raise Inconclusive(
            f"no limit was met in {len(seen)} requests: name a key of a small plan as keys.limited"
        )
    return found


def _require_answers(exchanges: Sequence[Exchange]) -> None:
    """Raise ``Untestable`` where requests were neither answered nor limited."""
    for exchange in exchanges:
        status = openai.response(exchange).status
        if status not in (200, 429):
            raise Untestable(f"a request of the burst was answered with status {status}")


@check("limits.error", on=[BURST])
def test_the_limit_is_a_rate_limit_error(seen: Transcript) -> None:
    """A request above the rate limit is refused with 429 and the type rate_limit_error."""
    for index, exchange in enumerate(seen.exchanges):
        got = openai.response(exchange)
        expect(
            got.status in (200, 429),
            wanted="an answer, or 429 at the limit",
            got=shown(got),
            at=Place(exchange=index),
        )
    for at, exchange in _limited(seen):
        expect(
            type_of(exchange) == "rate_limit_error",
            wanted="error.type is rate_limit_error",
            got=shown(openai.response(exchange)),
            at=at,
        )


@check("limits.retry-after", on=[BURST])
def test_a_limit_tells_when_to_come_again(seen: Transcript) -> str:
    """A 429 that a burst meets carries Retry-After."""
    told = set()
    for at, exchange in _limited(seen):
        got = openai.response(exchange)
        value = got.header("retry-after")
        expect(value, wanted="Retry-After on a 429", got=shown(got), at=at)
        told.add(str(value))
    return f"Retry-After: {', '.join(sorted(told))}"


@check("limits.retry-after-true", on=[BURST])
def test_who_waits_as_told_is_answered(seen: Transcript) -> str:
    """A request made after the time that Retry-After told is not refused again."""
    _limited(seen)
    again = seen.labelled("again")
    if not again:
        raise Untestable("no Retry-After told a time that could be waited for")
    got = openai.response(again[0])
    expect(
        got.status != 429,
        wanted="no 429 after the time that Retry-After told",
        got=shown(got),
        at=Place(exchange=len(seen) - 1),
    )
    return f"answered after {again[0].ask.after_s:g} s"


@check("tiers.below-limit", on=[TIER_BASIC])
def test_below_the_limit_nothing_is_refused(seen: Transcript) -> str:
    """Requests at nine tenths of the tier's rate for a minute meet no 429."""
    below = seen.labelled("below")
    for index, exchange in enumerate(below):
        expect(
            not met(exchange),
            wanted=f"no 429 at {len(below)} requests in a minute",
            got=f"a 429 at request {index + 1}: {shown(openai.response(exchange))}",
            at=Place(exchange=index),
        )
    _require_answers(below)
    return f"{len(below)} requests in a minute"


@check("tiers.over-limit", on=[TIER_BASIC])
def test_above_the_limit_something_is_refused(seen: Transcript) -> str:
    """Of twice the tier's requests within a minute at least one meets a 429."""
    burst = seen.labelled("burst")
    _require_answers(burst)
    first = next((index for index, item in enumerate(burst) if met(item)), None)
    expect(
        first is not None,
        wanted="a 429 among twice the requests that a minute has",
        got=f"{len(burst)} answers",
    )
    return f"a 429 by request {(first or 0) + 1}"


@check("tiers.unlimited", on=[TIER_ENTERPRISE, TIER_PRO])
def test_higher_tiers_are_not_limited_as_basic(seen: Transcript) -> str:
    """A burst of twice what Basic has in a minute meets no 429 on Pro and on Enterprise."""
    for index, exchange in enumerate(seen.exchanges):
        expect(
            not met(exchange),
            wanted=f"no 429 in {ENTERPRISE_BURST} requests",
            got=f"a 429: {shown(openai.response(exchange))}",
            at=Place(exchange=index),
        )
    _require_answers(seen.exchanges)
    return f"{len(seen)} requests at once"


@check("tiers.tokens", on=[TIER_BASIC])
def test_the_limit_of_tokens_is_told(seen: Transcript) -> str:
    """It is told at how many tokens within a minute a 429 was met."""
    asked = seen.labelled("tokens")
    _require_answers(asked)
    used = 0
    for number, exchange in enumerate(asked):
        if met(exchange):
            return f"a 429 at request {number + 1}, after {used:,} tokens"
        total = openai.usage(openai.answer(exchange)).get("total_tokens")
        used += total if openai.is_int(total) else 0
    expect(
        used <= BASIC_TOKENS,
        wanted=f"a 429 above {BASIC_TOKENS:,} tokens within a minute",
        got=f"{used:,} tokens in {len(asked)} answers",
        at=Place(exchange=len(seen) - 1),
    )
    raise Inconclusive(f"{len(asked)} long prompts made {used:,} tokens only")
