"""Checks of chat chunks: the machine of deltas behind a streamed answer."""

from collections.abc import Iterator, Mapping
from typing import Any

from gateproof.check import Inconclusive, Place, Untestable, check, expect
from gateproof.dialects import openai
from gateproof.dialects.openai import Chunk, Stream
from gateproof.transcript import Transcript

from .reading import FINISHES, declined, oddness, only, streamed, text_of
from .scenarios.chat import (
    AGAIN,
    LOGPROBS_STREAM,
    N_STREAM,
    PLAIN,
    STREAM,
    STREAM_USAGE,
)
from .scenarios.tools import AUTO_STREAM

STREAMS = (STREAM, STREAM_USAGE, AUTO_STREAM)


def _parts(read: Stream) -> Iterator[tuple[Chunk, Mapping[str, Any]]]:
    """Iterate over the choices of all chunks, each with its chunk."""
    for chunk in read.chunks:
        for part in chunk.choices:
            yield chunk, part


def _delta(part: Mapping[str, Any]) -> Mapping[str, Any]:
    delta = part.get("delta")
    return delta if isinstance(delta, dict) else {}


@check("chat.chunk.schema", on=STREAMS)
def test_chunk_has_its_members(seen: Transcript) -> None:
    """Each chunk is a JSON object with id, created, model and choices."""
    read = openai.stream(seen[0])
    for index, data in read.unreadable:
        # The other kinds of unreadable data are findings of sse.* each.
        expect(
            oddness(data) != "garbage",
            wanted="a JSON object in each event",
            got=data[:200],
            at=Place(frame=index),
        )
    for chunk in streamed(seen[0]).chunks:
        value = chunk.value
        for name, right, wanted in (
            ("id", isinstance(value.get("id"), str), "a string"),
            ("created", openai.is_int(value.get("created")), "an integer"),
            ("model", isinstance(value.get("model"), str), "a string"),
            # The choices of a chunk with usage are left to chat.usage.choices-key.
            ("choices", isinstance(value.get("choices"), list) or value.get("usage"), "a list"),
        ):
            got = repr(value[name])[:120] if name in value else f"no {name}"
            expect(right, wanted=f"{name}: {wanted}", got=got, at=chunk.place)


def _same(seen: Transcript, name: str) -> None:
    """Expect that a member has one value in all chunks that have it."""
    found = [
        (chunk, chunk.value[name]) for chunk in streamed(seen[0]).chunks if name in chunk.value
    ]
    for chunk, value in found:
        expect(
            value == found[0][1],
            wanted=f"{name} as in the first chunk: {found[0][1]!r}",
            got=value,
            at=chunk.place,
        )


@check("chat.chunk.same-id", on=STREAMS)
def test_one_id(seen: Transcript) -> None:
    """All chunks of a stream have the same id."""
    _same(seen, "id")


@check("chat.chunk.same-created", on=STREAMS)
def test_one_created(seen: Transcript) -> None:
    """All chunks of a stream have the same created."""
    _same(seen, "created")


@check("chat.chunk.same-model", on=STREAMS)
def test_one_model(seen: Transcript) -> None:
    """The model does not change within a stream."""
    _same(seen, "model")


@check("chat.chunk.object", on=STREAMS)
def test_chunk_names_its_kind(seen: Transcript) -> None:
    """A chunk's object is chat.completion.chunk."""
    for chunk in streamed(seen[0]).chunks:
        got = chunk.value.get("object", "no object")
        expect(
            got == "chat.completion.chunk",
            wanted="object: chat.completion.chunk",
            got=got,
            at=chunk.place,
        )


@check("chat.delta.present", on=STREAMS)
def test_choice_has_a_delta(seen: Transcript) -> None:
    """Every choice of a chunk has a delta, and it is an object."""
    for chunk, part in _parts(streamed(seen[0])):
        got = part.get("delta", "no delta")
        expect(isinstance(got, dict), wanted="delta: an object", got=got, at=chunk.place)


@check("chat.role.first", on=[STREAM, AUTO_STREAM])
def test_role_comes(seen: Transcript) -> None:
    """The deltas of a choice say role: assistant."""
    roles = only(streamed(seen[0])).roles
    expect("assistant" in roles, wanted="role: assistant in the first delta", got=roles)


@check("chat.role.once", on=[STREAM, AUTO_STREAM])
def test_role_comes_once(seen: Transcript) -> None:
    """The role is not repeated, and never empty or null."""
    roles = only(streamed(seen[0])).roles
    if not roles:
        raise Untestable("no delta has a role (see chat.role.first)")
    expect(
        len(roles) == 1 and roles[0],
        wanted="one role, in the first delta",
        got=f"{len(roles)} of them: {sorted({repr(role) for role in roles})}",
    )


@check("chat.choice.index-present", on=[*STREAMS, N_STREAM])
def test_choice_has_an_index(seen: Transcript) -> None:
    """Every choice of a chunk has an integer index."""
    if seen.scenario == N_STREAM.name:
        declined(seen[0], "n: 2")
    for chunk, part in _parts(streamed(seen[0])):
        got = part.get("index", "no index")
        expect(openai.is_int(got), wanted="index: an integer", got=got, at=chunk.place)


@check("chat.choice.index-is-choice", on=STREAMS)
def test_index_numbers_the_choice(seen: Transcript) -> None:
    """The index is the number of the choice, and does not count tokens."""
    for chunk, part in _parts(streamed(seen[0])):
        got = part.get("index")
        if openai.is_int(got):
            expect(got == 0, wanted="index 0 for the only choice", got=got, at=chunk.place)


@check("chat.finish.key", on=STREAMS)
def test_finish_reason_is_always_there(seen: Transcript) -> None:
    """Every choice of a chunk has the key finish_reason, null until the end."""
    for chunk, part in _parts(streamed(seen[0])):
        expect(
            "finish_reason" in part,
            wanted="finish_reason, null until the end",
            got=f"only {', '.join(part)}",
            at=chunk.place,
        )


@check("chat.finish.once", on=STREAMS)
def test_one_finish_reason(seen: Transcript) -> None:
    """A streamed choice gets exactly one finish_reason that is not null."""
    finishes = [finish for finish in only(streamed(seen[0])).finishes if finish != ""]
    expect(
        len(finishes) == 1,
        wanted="exactly one finish_reason",
        got=f"{len(finishes)}: {finishes}",
    )


@check("chat.finish.enum", on=STREAMS)
def test_finish_reason_is_known(seen: Transcript) -> None:
    """A streamed finish_reason is null or one of the documented set."""
    for chunk, part in _parts(streamed(seen[0])):
        got = part.get("finish_reason")
        expect(
            got is None or got in FINISHES,
            wanted=f"null or one of {', '.join(sorted(FINISHES))}",
            got=got,
            at=chunk.place,
        )


@check("chat.finish.empty-delta", on=[STREAM])
def test_last_delta_is_empty(seen: Transcript) -> None:
    """The chunk with the finish_reason has no content of its own."""
    for chunk, part in _parts(streamed(seen[0])):
        if part.get("finish_reason"):
            content = _delta(part).get("content")
            expect(
                not content, wanted="an empty delta", got=f"content: {content!r}", at=chunk.place
            )


@check("chat.finish.nothing-after", on=[STREAM, AUTO_STREAM])
def test_nothing_after_the_finish(seen: Transcript) -> None:
    """After a choice's finish_reason no content and no tool call follows."""
    finished = False
    for chunk, part in _parts(streamed(seen[0])):
        delta = _delta(part)
        more = delta.get("content") or delta.get("tool_calls")
        expect(
            not (finished and more),
            wanted="nothing after the finish_reason",
            got=more,
            at=chunk.place,
        )
        finished = finished or bool(part.get("finish_reason"))
    if not finished:
        raise Untestable("the stream has no finish_reason (see chat.finish.once)")


@check("chat.finish.kept-with-logprobs", across=[LOGPROBS_STREAM, STREAM])
def test_logprobs_keep_the_finish(logprobs: Transcript, plain: Transcript) -> None:
    """A stream with logprobs: true still gets its finish_reason."""
    declined(logprobs[0], "logprobs")
    if not only(streamed(plain[0])).finishes:
        raise Untestable("a stream without logprobs has no finish_reason either")
    finish = only(streamed(logprobs[0])).finish
    expect(finish, wanted="a finish_reason", got=finish)


def _with_usage(seen: Transcript) -> list[Chunk]:
    return [c for c in streamed(seen[0]).chunks if isinstance(c.value.get("usage"), dict)]


@check("chat.usage.only-if-asked", on=[STREAM])
def test_no_usage_unasked(seen: Transcript) -> None:
    """Without include_usage no chunk carries usage."""
    found = _with_usage(seen)
    expect(
        not found,
        wanted="no usage, since it was not asked for",
        got=f"{len(found)} chunks with usage",
        at=found[0].place if found else None,
    )


@check("chat.usage.final-chunk", on=[STREAM_USAGE])
def test_usage_comes_last(seen: Transcript) -> None:
    """With include_usage exactly one chunk carries usage, and it is the last one."""
    read = streamed(seen[0])
    end = read.done[0] if read.done else len(seen[0].frames)
    chunks = [chunk for chunk in read.chunks if chunk.frame < end]
    found = [chunk for chunk in _with_usage(seen) if chunk.frame < end]
    expect(
        len(found) == 1,
        wanted="exactly one chunk with usage",
        got=f"{len(found)} of {len(chunks)} chunks",
        at=found[-1].place if found else chunks[-1].place,
    )
    expect(
        found[0].frame == chunks[-1].frame,
        wanted="usage in the last chunk",
        got=f"usage in chunk {chunks.index(found[0]) + 1} of {len(chunks)}",
        at=found[0].place,
    )


@check("chat.usage.choices-key", on=[STREAM_USAGE])
def test_usage_chunk_has_choices(seen: Transcript) -> None:
    """The usage chunk has choices: [], neither missing nor null."""
    found = _with_usage(seen)
    if not found:
        raise Untestable("no chunk has usage (see chat.usage.final-chunk)")
    for chunk in found:
        got = chunk.value.get("choices", "no choices")
        expect(isinstance(got, list), wanted="choices: []", got=got, at=chunk.place)


@check("chat.usage.own-chunk", on=[STREAM_USAGE])
def test_usage_has_a_chunk_of_its_own(seen: Transcript) -> None:
    """The usage comes in a chunk without choices."""
    found = _with_usage(seen)
    if len(found) != 1:
        raise Untestable("there is not one chunk with usage (see chat.usage.final-chunk)")
    expect(
        not found[0].choices,
        wanted="a chunk of its own, with choices: []",
        got=f"usage beside {len(found[0].choices)} choices",
        at=found[0].place,
    )


@check("chat.usage.null-elsewhere", on=[STREAM_USAGE])
def test_usage_is_null_before(seen: Transcript) -> None:
    """With include_usage the other chunks carry usage: null."""
    if not _with_usage(seen):
        raise Untestable("no chunk has usage (see chat.usage.final-chunk)")
    for chunk in streamed(seen[0]).chunks:
        expect(
            "usage" in chunk.value,
            wanted="usage: null in every chunk before the last",
            got="no usage",
            at=chunk.place,
        )


@check("chat.stream-eq-nonstream", across=[STREAM, PLAIN, AGAIN])
def test_both_modes_say_the_same(stream: Transcript, plain: Transcript, again: Transcript) -> None:
    """The joined deltas of a stream equal the non-streamed answer to the same request."""
    whole = text_of(plain[0])
    joined = only(streamed(stream[0])).content
    if joined == whole:
        return
    if text_of(again[0]) != whole:
        raise Inconclusive("the model answers equal requests differently")
    at = next((i for i, (a, b) in enumerate(zip(joined, whole, strict=False)) if a != b), None)
    place = min(len(joined), len(whole)) if at is None else at
    expect(
        joined == whole,
        wanted=f"…{whole[max(0, place - 20) : place + 20]!r} (character {place} of {len(whole)})",
        got=f"…{joined[max(0, place - 20) : place + 20]!r} ({len(joined)} characters)",
    )
