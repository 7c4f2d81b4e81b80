"""Checks of text completions. A model that only chats may refuse them, cleanly."""

from collections.abc import Mapping
from typing import Any

from gateproof.check import Finding, Inconclusive, Place, Untestable, check, expect
from gateproof.dialects import openai
from gateproof.transcript import Exchange, Transcript

from .reading import accepted, clean_refusal, each, shown, uncut
from .refusal import answered, turned_down
from .scenarios.completions import BOUND, CUT, MISSING, PLAIN, RANGE_ENDS, RANGE_OUTSIDE, STREAM

FINISHES = ("stop", "length", "content_filter")
# How a model that only chats is refused: as a mistake in the request, or as unknown here.
ONLY_CHATS = (400, 404, 422)


def completion(exchange: Exchange) -> dict[str, Any]:
    """Return a completion; ``Inconclusive`` when the model only chats."""
    got = openai.response(exchange)
    if got.status in ONLY_CHATS and clean_refusal(got):
        raise Inconclusive(f"the model takes no text completions: {shown(got)}")
    return openai.answer(exchange)


def choices(value: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the choices of a completion, in the upstream's envelope or in one with data."""
    data = value.get("data")
    inner = data.get("choices") if isinstance(data, dict) else None
    return list(openai.objects(value.get("choices") or inner))


@check("completions.answers", on=[PLAIN])
def test_prompt_is_answered(seen: Transcript) -> str:
    """A prompt is answered with 200 and JSON, or refused with a clean 4xx."""
    got = openai.response(seen[0])
    if got.status in ONLY_CHATS and clean_refusal(got):
        return f"refused with {got.status}"
    accepted(seen[0], wanted="200 and JSON, or a clean 4xx of a model that only chats")
    try:
        value = openai.loads(got.body)
    except (ValueError, RecursionError):
        value = None
    right = isinstance(value, dict) and got.media_type == "application/json"
    expect(right, wanted="a JSON object, as application/json", got=shown(got))
    return "answered"


@check("completions.schema", on=[PLAIN])
def test_completion_has_its_members(seen: Transcript) -> None:
    """A completion has id, object, created, model, and choices with text, index and a reason."""
    value = completion(seen[0])
    got = value.get("object")
    expect(got == "text_completion", wanted="object: text_completion", got=f"object: {got!r}")
    for name in ("id", "model"):
        expect(isinstance(value.get(name), str), wanted=f"{name}: a text", got=value.get(name))
    created = value.get("created")
    expect(openai.is_int(created), wanted="created: an integer", got=f"created: {created!r}")
    found = list(openai.objects(value.get("choices")))
    expect(found, wanted="choices", got=value.get("choices"))
    for place, choice in enumerate(found):
        typed = isinstance(choice.get("text"), str) and openai.is_int(choice.get("index"))
        expect(
            typed and choice.get("finish_reason") in FINISHES,
            wanted=f"choices[{place}]: text, index, finish_reason of {', '.join(FINISHES)}",
            got=dict(choice),
        )


@check("completions.stream", on=[STREAM])
def test_stream_has_text_completions(seen: Transcript) -> str:
    """A streamed completion has chunks with object text_completion, then [DONE]."""
    got = openai.response(seen[0])
    if got.status in ONLY_CHATS and clean_refusal(got):
        raise Inconclusive(f"the model takes no text completions: {shown(got)}")
    accepted(seen[0], wanted="200 and a stream")
    expect(seen[0].events, wanted="200 and a stream of chunks", got=shown(got))
    uncut(seen[0])
    read = openai.stream(seen[0])
    for chunk in read.chunks:
        kind = chunk.value.get("object")
        expect(
            kind == "text_completion",
            wanted="object: text_completion in every chunk",
            got=f"object: {kind!r}",
            at=chunk.place,
        )
        texts = [choice.get("text", "") for choice in chunk.choices]
        expect(
            all(isinstance(text, str) for text in texts),
            wanted="choices with text",
            got=dict(chunk.value),
            at=chunk.place,
        )
    expect(
        read.chunks and len(read.done) == 1,
        wanted="chunks, then one data: [DONE]",
        got=f"{len(read.chunks)} chunks, {len(read.done)} end marks",
    )
    return f"{len(read.chunks)} chunks"


@check("completions.missing", on=[MISSING])
def test_missing_member_is_refused(seen: Transcript) -> None:
    """A request without model or without prompt is refused with a 4xx and an error."""
    for at, exchange in each(seen):
        wanted = f"a 4xx and an error to {exchange.ask.label}"
        turned_down(exchange, wanted=wanted, at=at, saying_why=True)


@check("completions.range-ends", on=[RANGE_ENDS])
def test_ends_are_accepted(seen: Transcript) -> None:
    """The ends of a documented range are accepted."""
    refused = []
    for at, exchange in each(seen):
        got = openai.response(exchange)
        if got.status in ONLY_CHATS and clean_refusal(got):
            refused.append((at, exchange))
            continue
        accepted(exchange, wanted=f"200 to {exchange.ask.label}", at=at)
    if len(refused) == len(seen):
        raise Inconclusive("the model takes no text completions")
    for at, exchange in refused:
        raise Finding(
            wanted=f"200 to {exchange.ask.label}",
            got=shown(openai.response(exchange)),
            at=at,
        )


@check("completions.range-outside", on=[RANGE_OUTSIDE])
def test_outside_is_refused(seen: Transcript) -> None:
    """Values outside of a documented range are refused with a 4xx."""
    for at, exchange in each(seen):
        label = exchange.ask.label
        got = openai.response(exchange)
        expect(not answered(exchange), wanted=f"a 4xx to {label}", got=f"{label}: {shown(got)}",
               at=at)  # fmt: skip


@check("completions.range-no-5xx", on=[RANGE_OUTSIDE])
def test_outside_is_no_crash(seen: Transcript) -> None:
    """A value outside its range never causes a 5xx."""
    for at, exchange in each(seen):
        label = exchange.ask.label
        got = openai.response(exchange)
        expect(got.status < 500, wanted=f"no 5xx to {label}", got=f"{label}: {shown(got)}", at=at)


@check("completions.max-tokens-bound", on=[CUT])
def test_bound_is_kept(seen: Transcript) -> None:
    """completion_tokens is not above max_tokens, and a cut text has finish_reason length."""
    value = completion(seen[0])
    found = choices(value)
    if not found:
        raise Untestable("the completion has no choices (see completions.schema)")
    usage = value.get("usage")
    count = usage.get("completion_tokens") if isinstance(usage, dict) else None
    if openai.is_int(count):
        expect(count <= BOUND, wanted=f"completion_tokens of at most {BOUND}", got=count)
    text = str(found[0].get("text"))
    expect(
        len(text) < 12 * BOUND,
        wanted=f"a text of at most {BOUND} tokens",
        got=f"{len(text)} characters: {text[:120]}",
    )
    reason = found[0].get("finish_reason")
    if reason == "stop" and "8" not in text and (not openai.is_int(count) or count < BOUND):
        raise Inconclusive(f"the text came to its end before the bound: {text[:120]!r}")
    expect(reason == "length", wanted="finish_reason: length", got=f"finish_reason: {reason!r}")


@check("completions.usage", on=[PLAIN, CUT])
def test_total_is_the_sum(seen: Transcript) -> str:
    """Where there is usage, its total is the sum of prompt_tokens and completion_tokens."""
    usage = completion(seen[0]).get("usage")
    if usage is None:
        return "no usage"
    found = usage if isinstance(usage, dict) else {}
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    counts = [count for count in map(found.get, names) if openai.is_int(count) and count >= 0]
    expect(
        len(counts) == 3 and counts[0] + counts[1] == counts[2],
        wanted="prompt_tokens + completion_tokens = total_tokens, three integers",
        got=f"usage: {usage!r}",
        at=Place(),
    )
    return " + ".join(map(str, counts[:2]))
