"""Checks of usage: the token counts of an answer, streamed and not."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from gateproof.check import Inconclusive, Untestable, check, expect
from gateproof.dialects import openai
from gateproof.transcript import Transcript

from .reading import declined, streamed, texts
from .scenarios.chat import BOUND, CUT, PLAIN, STREAM_USAGE

COUNTERS = ("prompt_tokens", "completion_tokens", "total_tokens")
BOTH = (PLAIN, STREAM_USAGE)


def usage_of(seen: Transcript) -> Mapping[str, Any]:
    """Return the usage of an answer, streamed or not; of a stream, the last one."""
    if seen.scenario.startswith("chat.stream"):
        chunks = streamed(seen[0]).chunks
        found = [c.value["usage"] for c in chunks if isinstance(c.value.get("usage"), dict)]
        if not found:
            raise Untestable("the stream holds no usage (see chat.usage.final-chunk)")
        usage: Mapping[str, Any] = found[-1]
        return usage
    return openai.usage(openai.completion(seen[0]))


@check("usage.present", on=[PLAIN])
def test_usage_is_there(seen: Transcript) -> None:
    """A non-streamed completion has usage with the three counters."""
    found = openai.completion(seen[0]).get("usage")
    expect(isinstance(found, dict), wanted="a usage object", got=f"usage: {found!r}")
    assert isinstance(found, dict)
    for name in COUNTERS:
        expect(name in found, wanted=f"usage.{name}", got=f"only {', '.join(found)}")


@check("usage.nonneg-int", on=BOTH)
def test_counters_are_whole(seen: Transcript) -> None:
    """The counters of usage are integers and not negative."""
    found = usage_of(seen)
    for name in COUNTERS:
        if name in found:
            got = found[name]
            right = openai.is_int(got) and got >= 0
            expect(right, wanted=f"{name}: an integer from 0 up", got=got)


@check("usage.sum", on=BOTH)
def test_total_is_the_sum(seen: Transcript) -> str:
    """total_tokens is prompt_tokens plus completion_tokens."""
    found = usage_of(seen)
    total = _count(found, "total_tokens")
    default = [["prompt_tokens", "completion_tokens"]]
    readings: Sequence[Sequence[str]] = seen.use.get("options", {}).get("usage_sums", default)
    sums = {
        " + ".join(names): sum(_count(found, name) for name in names)
        for names in readings
        if all(name in found or name in COUNTERS for name in names)
    }
    for reading, value in sums.items():
        if value == total:
            return reading
    expect(
        condition=False,
        wanted=" or ".join(f"{reading} = {value}" for reading, value in sums.items()),
        got=f"total_tokens = {total}",
    )
    return ""


def _count(found: Mapping[str, Any], name: str) -> int | Decimal:
    value = found.get(name)
    if not openai.is_number(value):
        raise Untestable(f"{name} is {value!r} (see usage.present and usage.nonneg-int)")
    assert isinstance(value, int | Decimal)
    return value


@check("usage.counted", on=BOTH)
def test_tokens_are_counted(seen: Transcript) -> None:
    """An answer with text counts more than no prompt tokens and no completion tokens."""
    found = usage_of(seen)
    if not texts(seen[0]):
        raise Inconclusive("the answer has no text")
    for name in ("prompt_tokens", "completion_tokens"):
        expect(_count(found, name) != 0, wanted=f"{name} above 0", got=found[name])


@check("usage.details-subset", on=BOTH)
def test_details_are_within(seen: Transcript) -> None:
    """cached_tokens is at most prompt_tokens, and reasoning_tokens at most completion_tokens."""
    found = usage_of(seen)
    for name, within, part in (
        ("prompt_tokens", "prompt_tokens_details", "cached_tokens"),
        ("completion_tokens", "completion_tokens_details", "reasoning_tokens"),
    ):
        details = found.get(within)
        value = details.get(part) if isinstance(details, dict) else None
        whole = found.get(name)
        # Whether the counters are whole numbers at all is judged by usage.nonneg-int.
        if openai.is_number(value) and openai.is_int(whole) and whole >= 0:
            expect(
                0 <= value <= whole,
                wanted=f"{part} from 0 to {name} ({whole})",
                got=f"{part}: {value}",
            )


@check("usage.stream-eq-nonstream", across=[STREAM_USAGE, PLAIN])
def test_both_modes_count_the_same(stream: Transcript, plain: Transcript) -> None:
    """The same request counts the same prompt_tokens with and without stream."""
    wanted = _count(usage_of(plain), "prompt_tokens")
    got = _count(usage_of(stream), "prompt_tokens")
    expect(got == wanted, wanted=f"prompt_tokens: {wanted}, as without stream", got=got)


@check("usage.max-tokens-bound", on=[CUT])
def test_bound_is_kept(seen: Transcript) -> None:
    """completion_tokens is not above max_tokens."""
    declined(seen[0], "max_tokens")
    text = openai.message(seen[0]).get("content")
    said = text if isinstance(text, str) else ""
    expect(
        "100" not in said and len(said) < 8 * BOUND,
        wanted=f"an answer of at most {BOUND} tokens",
        got=f"{len(said)} characters: {said[:120]}",
    )
    counted = openai.completion(seen[0]).get("usage")
    if isinstance(counted, dict) and openai.is_int(counted.get("completion_tokens")):
        got = counted["completion_tokens"]
        expect(got <= BOUND, wanted=f"completion_tokens of at most {BOUND}", got=got)
