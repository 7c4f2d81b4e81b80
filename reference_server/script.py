"""What the server answers with: a reply, and the script of timed writes that it becomes.

One type, ``Step``, serves all levels below the JSON objects, so that a fault is a function from an
iterator of steps to another: first each step is the JSON text of one stream event, then the bytes
of one server-sent event, then the bytes that go on the wire. Times are nanoseconds after the
request was read; a step is written at its time or as soon as those before it are.
Framing of the body (chunks, length, until close) is the last stage and has no opinion of its own:
a reply says what is announced, which need not be what is sent.
"""

import json
import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple

__all__ = [
    "JSON",
    "Events",
    "Reply",
    "Step",
    "chunked",
    "common_headers",
    "event_chunk",
    "frame_body",
    "frame_stream",
    "head",
    "named_sse",
    "sse",
]

Header = tuple[str, str]
JSON: Header = ("Content-Type", "application/json")


class Step(NamedTuple):
    """One write, or one act on the connection."""

    at_ns: int
    data: bytes
    label: str = ""
    alone: bool = False
    """Written by itself: not joined with its neighbours, and handed to the kernel at once."""
    act: str = ""
    """Empty, or ``reset``, ``close`` (the connection, in good order), ``stall`` (never go on)."""


def chunked(data: bytes) -> bytes:
    """Frame bytes as one chunk of the chunked transfer coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Events:
    """The events of a stream, which can also be had as the chunks that go on the wire.

    Iterated, each step is one event's JSON text. Where nothing acts on events, ``wired`` gives the
    same stream framed already, as fast as it can be made: it returns the time of its last step.
    """

    __slots__ = ("_bare", "wired")

    def __init__(
        self, bare: Iterator[Step], wired: Callable[[], Generator[Step, None, int]]
    ) -> None:
        self._bare = bare
        self.wired = wired

    def __iter__(self) -> Iterator[Step]:
        return self._bare

    def __next__(self) -> Step:
        return next(self._bare)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer before it is bytes: status, headers, and a body or the events of a stream."""

    status: int
    headers: tuple[Header, ...] = ()
    body: object = None
    """A JSON value; ``text``, when given, is sent instead."""
    text: bytes | None = None
    events: Iterator[Step] | None = None
    """The JSON text of each event of a stream; then there is no body."""
    named: bool = False
    """Each event of the stream has a name: the type that its data gives."""
    at_ns: int = 0
    """When the head (and a body) is due."""
    error: bool = False
    cause: str | None = None
    """The code of the error, whatever the profile makes of it."""
    framing: str = ""
    """``chunked``, ``length`` or ``close``; empty chooses by what there is to send."""
    announced: int = 0
    """Added to the true length in Content-Length."""
    chunk: Callable[[bytes], bytes] = chunked
    end: bytes = b"0\r\n\r\n"
    """What ends a chunked body."""
    ending: str = ""
    """The act after the last write; ``cut`` is a close before the end was sent, empty is none."""
    detached: Callable[[], bool] | None = None
    """Tells whether to go on producing when the client leaves; None never does."""
    unseen: bool = False
    """Not entered in the journal."""
    reason: str | None = None
    colon: str = ": "
    """What stands between the name and the value of a header."""
    head_only: bool = False

    def with_header(self, name: str, value: str | None) -> tuple[Header, ...]:
        """Return the headers with one of them replaced, added, or (None) left out."""
        kept = tuple(pair for pair in self.headers if pair[0].lower() != name.lower())
        return kept if value is None else (*kept, (name, value))

    def header(self, name: str) -> str | None:
        """Return a header's value, or None."""
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)


_date: tuple[int, str] = (0, "")


def common_headers() -> tuple[Header, ...]:
    """Return the headers that every answer has; the date is made once a second."""
    global _date  # noqa: PLW0603  # a cache of one value
    now = int(time.time())
    if _date[0] != now:
        _date = (now, formatdate(now, usegmt=True))
    return (("Date", _date[1]), ("Server", "gateproof-reference"))


def head(reply: Reply, headers: Iterable[Header]) -> bytes:
    """Write the status line and the header section."""
    reason = reply.reason
    if reason is None:
        try:
            reason = HTTPStatus(reply.status).phrase
        except ValueError:
            reason = "Unknown"
    lines = [f"HTTP/1.1 {reply.status} {reason}"]
    lines += [f"{name}{reply.colon}{value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def sse(events: Iterable[Step]) -> Iterator[Step]:
    """Turn each event's data into the bytes of a server-sent event."""
    for step in events:
        if step.act:
            yield step
        else:
            yield Step(step.at_ns, b"data: %b\n\n" % step.data, step.label, step.alone)


_TYPE = re.compile(rb'\{"type":"([a-z_]{1,64})"')


def _type_of(data: bytes) -> bytes:
    """Find the type of an event whose members stand in another order than ours."""
    try:
        type_ = json.loads(data)["type"]
    except (ValueError, KeyError, TypeError):
        return b""
    return type_.encode() if isinstance(type_, str) and type_.isidentifier() else b""


def named_sse(events: Iterable[Step]) -> Iterator[Step]:
    """Turn each event's data into a server-sent event that is named by the type of the data."""
    for step in events:
        if step.act:
            yield step
            continue
        found = _TYPE.match(step.data)
        name = found.group(1) if found else _type_of(step.data)
        name = b"event: %b\n" % name if name else b""
        yield Step(step.at_ns, b"%bdata: %b\n\n" % (name, step.data), step.label, step.alone)


def frame_body(reply: Reply, text: bytes, *, close: bool) -> Iterator[Step]:
    """Frame a whole body: the head, the body, and what ends them."""
    headers = list(reply.headers)
    framing = reply.framing or "length"
    body = text
    if framing == "length":
        headers.append(("Content-Length", str(max(0, len(text) + reply.announced))))
    elif framing == "chunked":
        headers.append(("Transfer-Encoding", "chunked"))
        body = (reply.chunk(text) if text else b"") + reply.end
    if (close or framing == "close") and reply.status != 101:
        headers.append(("Connection", "close"))
    yield Step(reply.at_ns, head(reply, headers), "head")
    if body and not reply.head_only:
        yield Step(reply.at_ns, body, "body")
    yield from _ending(reply, reply.at_ns)


def event_chunk(data: bytes) -> bytes:
    """Frame the data of an event as an event and that as a chunk, in one go."""
    return b"%x\r\ndata: %b\n\n\r\n" % (len(data) + 8, data)


def frame_stream(
    reply: Reply, events: Iterable[Step], *, close: bool, bare: bool = False
) -> Iterator[Step]:
    """Frame the events of a stream: the head, a chunk for each event, and what ends them.

    ``bare`` events are data only, and become server-sent events on the way.
    """
    headers = list(reply.headers)
    framing = reply.framing or "chunked"
    wrap = reply.chunk if framing == "chunked" else bytes
    if bare and wrap is chunked:
        wrap = event_chunk
    elif bare:
        events = sse(events)
    if framing == "length":
        events = list(events)
        size = sum(len(step.data) for step in events) + reply.announced
        headers.append(("Content-Length", str(max(0, size))))
    elif framing == "chunked":
        headers.append(("Transfer-Encoding", "chunked"))
    if close or framing == "close":
        headers.append(("Connection", "close"))
    at_ns = reply.at_ns
    yield Step(at_ns, head(reply, headers), "head")
    if reply.head_only:
        return
    if wrap is event_chunk and isinstance(events, Events):
        at_ns = yield from events.wired()
        events = ()
    for at_ns, data, label, alone, act in events:
        yield Step(at_ns, wrap(data) if data else b"", label, alone, act)
        if act:
            return
    if framing == "chunked" and reply.end:
        yield Step(at_ns, reply.end, "end")
    yield from _ending(reply, at_ns)


def _ending(reply: Reply, at_ns: int) -> Iterator[Step]:
    if reply.ending == "reset":
        # What was sent has to leave first: a reset throws away what still waits.
        at_ns += 20_000_000
    if reply.ending:
        act = "close" if reply.ending == "cut" else reply.ending
        yield Step(at_ns, b"", reply.ending, act=act)
