"""Faults of server-sent events: how a stream is framed, ended, encoded and flushed."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from ..call import Call
from ..jsontext import Json, dumps, loads
from ..script import Reply, Step
from .edits import TOKENS, edit, insert_after, said
from .table import fault

__all__: list[str] = []


@fault("drop-done", "chunks", "Leaves out the final data: [DONE].", "streams that clients wait on")
def _drop_done(steps: Iterator[Step]) -> Iterator[Step]:
    return (step for step in steps if step.label != "done")


@fault("quote-done", "chunks", 'Sends the end as a JSON string, data: "[DONE]".')
def _quote_done(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        yield step._replace(data=b'"[DONE]"') if step.label == "done" else step


@fault("double-done", "chunks", "Sends data: [DONE] twice.")
def _double_done(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        yield step
        if step.label == "done":
            yield step


@fault("event-after-done", "chunks", "Sends one more chunk after data: [DONE].", "late usage")
def _event_after_done(steps: Iterator[Step]) -> Iterator[Step]:
    first: Step | None = None
    for step in steps:
        first = first or step
        yield step
        if step.label == "done":
            value = {**loads(first.data), "choices": []}
            yield Step(step.at_ns, dumps(value), "extra")


@fault("done-unterminated", "events", "Ends the stream without a blank line after the last event.")
def _done_unterminated(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        yield step._replace(data=step.data.rstrip(b"\r\n")) if step.label == "done" else step


@fault("empty-stream", "chunks", "Sends a stream without any event.", "errors that nobody sees")
def _empty_stream(_: Iterator[Step]) -> Iterator[Step]:
    return iter(())


@fault("open-after-done", "reply", "Keeps the answer open after data: [DONE].", "clients that hang")
def _open_after_done(reply: Reply) -> Reply:
    return reply if reply.events is None else replace(reply, end=b"", ending="stall")


@fault("content-type-json-on-stream", "reply", "Labels a stream application/json.", "wrong labels")
def _stream_as_json(reply: Reply) -> Reply:
    if reply.events is None:
        return reply
    return replace(reply, headers=reply.with_header("Content-Type", "application/json"))


@fault("content-type-missing-on-stream", "reply", "Sends a stream without a Content-Type.")
def _stream_unlabelled(reply: Reply) -> Reply:
    if reply.events is None:
        return reply
    return replace(reply, headers=reply.with_header("Content-Type", None))


@fault("cache-control-missing", "reply", "Sends a stream without Cache-Control.")
def _no_cache_control(reply: Reply) -> Reply:
    return replace(reply, headers=reply.with_header("Cache-Control", None))


@fault("content-length-on-stream", "reply", "Announces a stream's length, known in advance.",
       "proxies that buffer")  # fmt: skip
def _stream_with_length(reply: Reply) -> Reply:
    return reply if reply.events is None else replace(reply, framing="length")


@fault("buffer-stream", "wire", "Holds a stream back and sends it all at its end.",
       "proxies that buffer")  # fmt: skip
def _buffer_stream(steps: Iterator[Step]) -> Iterator[Step]:
    held = list(steps)
    at_ns = max((step.at_ns for step in held), default=0)
    return (step._replace(at_ns=at_ns) for step in held)


@fault("buffer-eight", "wire", "Holds events back and sends them in bursts of eight.",
       "proxies that buffer")  # fmt: skip
def _buffer_eight(steps: Iterator[Step]) -> Iterator[Step]:
    held: list[Step] = []
    for step in steps:
        held.append(step)
        if len(held) == 8:
            yield from (one._replace(at_ns=step.at_ns) for one in held)
            held = []
    yield from (one._replace(at_ns=held[-1].at_ns) for one in held)


@fault("bom", "events", "Begins a stream with a byte order mark.")
def _bom(steps: Iterator[Step]) -> Iterator[Step]:
    for place, step in enumerate(steps):
        yield step._replace(data=b"\xef\xbb\xbf" + step.data) if place == 0 else step


@fault("two-json-in-one-event", "chunks", "Puts two chunks into one event, a line each.",
       "lost blank lines")  # fmt: skip
def _two_in_one(steps: Iterator[Step]) -> Iterator[Step]:
    held: Step | None = None
    for place, step in enumerate(steps):
        if place == 1:
            held = step
        elif held is not None:
            yield held._replace(data=held.data + b"\ndata: " + step.data)
            held = None
        else:
            yield step


@fault("empty-data-keepalive", "events", "Sends events with empty data to keep the stream alive.",
       "keep-alives that crash clients")  # fmt: skip
def _empty_data(steps: Iterator[Step]) -> Iterator[Step]:
    return insert_after(steps, b"data:\n\n")


@fault("comment-as-data", "events", "Sends its keep-alive comments as the data of events.",
       "gateways that wrap an upstream's comments")  # fmt: skip
def _comment_as_data(steps: Iterator[Step]) -> Iterator[Step]:
    return insert_after(steps, b"data: : keep-alive\n\n")


@fault("retry-only-event", "events", "Sends an event that has a retry field and no data.")
def _retry_only(steps: Iterator[Step]) -> Iterator[Step]:
    return insert_after(steps, b"retry: 3000\n\n")


@fault("event-only-event", "events", "Sends an event that has a name and no data.")
def _event_only(steps: Iterator[Step]) -> Iterator[Step]:
    return insert_after(steps, b"event: ping\n\n")


@fault("id-with-comments", "events", "Sends an id field and later comments, which clients misread.")
def _id_with_comments(steps: Iterator[Step]) -> Iterator[Step]:
    for place, step in enumerate(steps):
        yield step._replace(data=b"id: 1\n" + step.data) if place == 0 else step
        if step.label in TOKENS:
            yield Step(step.at_ns, b": keep-alive\n\n", "comment")


@fault("event-name-lines", "events", "Gives each event of a data-only stream a name.")
def _event_names(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        yield step if step.act else step._replace(data=b"event: chunk\n" + step.data)


@fault("invalid-utf8", "text", "Sends a byte in text that is not UTF-8.", "cut code points")
def _invalid_utf8(text: bytes) -> bytes:
    mark = b'"content":"'
    place = text.find(mark)
    if place < 0 or text[place + len(mark) : place + len(mark) + 1] == b'"':
        return text
    return text[: place + len(mark)] + b"\xff" + text[place + len(mark) :]


def _non_ascii(text: str) -> int:
    return next(
        (
            place
            for place, char in enumerate(text)
            if not char.isascii() and not "\ud800" <= char <= "\udfff"
        ),
        -1,
    )


def _split_first_beyond_ascii(
    steps: Iterator[Step], halves: tuple[str, str] | None
) -> Iterator[Step]:
    """Split the first character beyond ASCII over two events: its bytes, or as the halves say."""
    done = False
    for step in steps:
        text = None
        if step.label == "content" and not done:
            with contextlib.suppress(ValueError):  # another deed has broken it
                found = said(loads(step.data))
                text = None if found is None else found[0][found[1]]
        place = -1 if text is None else _non_ascii(text)
        if text is None or place < 0:
            yield step
            continue
        done = True
        raw = text[place].encode()
        first, second = (b"@1", b"@2")
        before = edit(step, partial(_retold, text[:place] + "@1"))
        after = edit(step, partial(_retold, "@2" + text[place + 1 :]))
        left, right = (raw[:1], raw[1:]) if halves is None else (
            halves[0].encode(), halves[1].encode()
        )  # fmt: skip
        yield step._replace(data=before.data.replace(first, left, 1))
        yield step._replace(data=after.data.replace(second, right, 1))


def _retold(text: str, value: Json) -> None:
    found = said(value)
    assert found is not None
    found[0][found[1]] = text


@fault("split-codepoint-in-json", "chunks",
       "Splits the bytes of a character beyond ASCII over two deltas.", "token by token decoders",
       )  # fmt: skip
def _split_codepoint(steps: Iterator[Step]) -> Iterator[Step]:
    return _split_first_beyond_ascii(steps, None)


@fault("replacement-character", "chunks",
       "Replaces the two halves of a character beyond ASCII by U+FFFD.", "token by token decoders",
       )  # fmt: skip
def _replacement(steps: Iterator[Step]) -> Iterator[Step]:
    return _split_first_beyond_ascii(steps, ("\ufffd", "\ufffd"))


@fault("split-surrogates", "chunks",
       "Splits a character beyond ASCII into two escaped surrogates in two deltas.",
       "token by token decoders")  # fmt: skip
def _surrogates(steps: Iterator[Step]) -> Iterator[Step]:
    return _split_first_beyond_ascii(steps, ("\\ud83d", "\\ude42"))


@fault("mojibake", "text", "Decodes text as Latin-1 and encodes it again, beyond ASCII.")
def _mojibake(text: bytes) -> bytes:
    return text.decode("latin-1").encode()


@fault("line-separator-breaks", "events", "Takes U+2028 in text for the end of a line.",
       "line splitters made for text")  # fmt: skip
def _line_separator(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        yield step._replace(data=step.data.replace("\u2028".encode(), b"\n"))


@fault("nonstream-as-sse", "request", "Answers with a stream when none was asked for.")
def _always_streams(call: Call) -> Call:
    if not isinstance(call.payload, dict) or call.streams:
        return call
    return replace(call, payload={**call.payload, "stream": True})


@fault("stream-ignored", "request", "Answers with one JSON body when a stream was asked for.")
def _never_streams(call: Call) -> Call:
    if not call.streams:
        return call
    dropped = {"stream", "stream_options"}
    payload = {name: value for name, value in call.payload.items() if name not in dropped}
    return replace(call, payload=payload)
