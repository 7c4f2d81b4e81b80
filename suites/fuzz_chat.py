"""Checks of generated conversations: usage adds up, and a stream says what no stream says."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateproof.check import Inconclusive, Untestable, check
from gateproof.dialects import openai
from gateproof.transcript import Exchange, Transcript

from .fuzz_schema import Case, cases, smallest
from .scenarios.fuzz import CONVERSATIONS, POSITIVE

SUMS = (("prompt_tokens", "completion_tokens"),)
FINISHES = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
Said = tuple[tuple[str, Any, tuple[tuple[Any, str], ...]], ...]


def _answers(seen: Transcript) -> list[tuple[Case, Mapping[str, Any]]]:
    """Return the usage-bearing value of each answered exchange: a body, or the last such chunk."""
    found = []
    for case in cases(seen):
        try:
            if _is_stream(case[1]):
                chunks = [c for c in openai.stream(case[1]).chunks if c.value.get("usage")]
                value = chunks[-1].value if chunks else {}
            else:
                value = openai.answer(case[1])
        except Untestable:
            continue
        if isinstance(value.get("usage"), dict):
            found.append((case, value["usage"]))
    return found


def _is_stream(exchange: Exchange) -> bool:
    value = exchange.ask.value
    return isinstance(value, dict) and value.get("stream") is True


@check("fuzz.usage-adds-up", on=[CONVERSATIONS, POSITIVE], generative=True)
def test_usage_adds_up(seen: Transcript) -> str:
    """In every answer to a generated request the usage adds up."""
    found = _answers(seen)
    if not found:
        raise Untestable("no answer has a usage object")
    options = seen.use.get("options") or {}
    sums: Sequence[Sequence[str]] = options.get("usage_sums") or SUMS

    def failing() -> Iterator[tuple[Case, str]]:
        for case, usage in found:
            total = usage.get("total_tokens")
            if not any(total == _sum(usage, parts) for parts in sums):
                yield case, f"total_tokens {total}, parts {_parts(usage)}"

    told = " or ".join(" + ".join(parts) for parts in sums)
    smallest(seen, failing(), f"total_tokens = {told}")
    return f"{len(found)} answers"


def _sum(usage: Mapping[str, Any], parts: Sequence[str]) -> Any:
    values = [usage.get(name, 0) for name in parts]
    return sum(values) if all(openai.is_int(value) for value in values) else None


def _parts(usage: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in usage.items() if k.endswith("_tokens") and k != "total_tokens"}


@check("fuzz.stream-eq-nonstream", on=[CONVERSATIONS], generative=True)
def test_stream_says_what_no_stream_says(seen: Transcript) -> str:
    """For a generated request the streamed and the other answer agree in text, finish and calls."""
    varying = compared = 0
    failures: list[tuple[Case, str]] = []
    by_label = {e.ask.label: (i, e) for i, e in enumerate(seen.exchanges)}
    numbers = sorted({int(label.partition(" ")[0]) for label in by_label})
    for number in numbers:
        plain, again, stream = (
            by_label[f"{number} {kind}"] for kind in ("plain", "again", "stream")
        )
        try:
            wanted, second, got = _said(plain[1]), _said(again[1]), _said(stream[1])
        except Untestable:  # refused, or broken, which others report
            continue
        if wanted != second:
            varying += 1
            continue
        compared += 1
        if got != wanted:
            failures.append((stream, f"{got}, without stream {wanted}"))
    if not compared:
        raise Inconclusive(
            f"{varying} of {len(numbers)} requests were answered differently when asked twice"
            if varying
            else "no request was answered in both ways"
        )
    failures.sort(key=lambda item: len(item[0][1].ask.body))
    smallest(seen, iter(failures), "the same text, finish_reason and calls as without stream")
    return f"{compared} compared, {varying} not comparable"


def _said(exchange: Exchange) -> Said:
    """Return what an answer says, by choice: text, finish reason and calls."""
    if not _is_stream(exchange):
        made = []
        for choice in openai.choices(openai.completion(exchange)):
            message = choice.get("message")
            if not isinstance(message, dict):
                raise Untestable("a choice without a message")
            calls = tuple(
                (call["function"].get("name"), str(call["function"].get("arguments")))
                for call in openai.objects(message.get("tool_calls"))
                if isinstance(call.get("function"), dict)
            )
            made.append((message.get("content") or "", choice.get("finish_reason"), calls))
        return tuple(made)
    read = openai.stream(exchange)
    if read.errors:
        raise Untestable("the stream has an error event")
    return tuple(
        (
            choice.content,
            choice.finish,
            tuple(
                (call.names[0] if call.names else None, call.arguments)
                for call in choice.calls.values()
            ),
        )
        for _, choice in sorted(openai.assemble(read).items(), key=lambda item: str(item[0]))
    )


@check("fuzz.stream-well-formed", on=[CONVERSATIONS, POSITIVE], generative=True)
def test_streams_are_well_formed(seen: Transcript) -> str:
    """Every stream that a generated request gets is well formed."""
    streams = [
        case
        for case in cases(seen)
        if _is_stream(case[1]) and openai.response(case[1]).status == 200
    ]
    if not streams:
        raise Untestable("no generated request got a stream")

    def failing() -> Iterator[tuple[Case, str]]:
        for case in streams:
            if told := _malformed(case[1]):
                yield case, told

    wanted = "whole framing, JSON chunks, one finish_reason for each choice, and [DONE] at the end"
    smallest(seen, failing(), wanted)
    return f"{len(streams)} streams"


def _malformed(exchange: Exchange) -> str:  # noqa: PLR0911  # one return for each way to be wrong
    got = openai.response(exchange)
    if not got.complete or got.error:
        return f"a body that ends early ({exchange.ended}: {got.error or exchange.error})"
    grave = [a for a in exchange.anomalies if a.kind in ("bom", "invalid-utf8", "unterminated")]
    if grave:
        return f"{grave[0].kind} at byte {grave[0].offset}"
    try:
        read = openai.stream(exchange)
    except Untestable as reason:
        return str(reason)
    if read.unreadable:
        return f"an event that is no JSON object: {read.unreadable[0][1][:120]!r}"
    if read.errors:
        return f"an error event: {read.errors[0].value}"
    if len(read.done) != 1:
        return f"{len(read.done)} times [DONE]"
    last = max(index for index, frame in enumerate(exchange.frames) if frame.event is not None)
    if read.done[0] != last:
        return "events behind [DONE]"
    for index, choice in openai.assemble(read).items():
        if len(choice.finishes) != 1 or choice.finish not in FINISHES:
            return f"choice {index} has finish_reason {choice.finishes}"
    return ""
