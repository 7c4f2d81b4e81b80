"""Oddities of HTTP and of packets: where bytes are cut, how they are framed and labelled."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from ..script import Reply, Step
from .table import oddity, whole

__all__: list[str] = []

_GAP_NS = 2_000_000  # apart enough for two packets to be read apart


@oddity("one-byte-writes", "wire", "Writes each byte by itself.")
def _one_byte(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        if step.act or not step.data:
            yield step
        for place in range(len(step.data)):
            yield step._replace(data=step.data[place : place + 1], alone=True)


@oddity("coalesced", "wire", "Sends several events at once, when the first of them is due.",
        parameter="events in one write (5)", read=whole(2, 1000), default="5")  # fmt: skip
def _coalesced(steps: Iterator[Step], _: object, size: int) -> Iterator[Step]:
    held: list[Step] = []
    for step in steps:
        held.append(step)
        if len(held) >= size or step.act or step.label in {"end", "done"}:
            yield from (one._replace(at_ns=held[0].at_ns) for one in held)
            held = []
    yield from (one._replace(at_ns=held[0].at_ns) for one in held)


def _split(steps: Iterator[Step], where: Callable[[bytes], int]) -> Iterator[Step]:
    """Cut each write in two, at a place that the function finds, with a moment between them."""
    lag_ns = 0
    for step in steps:
        place = -1 if step.act else where(step.data)
        if place <= 0 or lag_ns > 40 * _GAP_NS:
            yield step._replace(at_ns=step.at_ns + lag_ns)
            continue
        yield step._replace(at_ns=step.at_ns + lag_ns, data=step.data[:place], alone=True)
        lag_ns += _GAP_NS
        yield step._replace(at_ns=step.at_ns + lag_ns, data=step.data[place:], alone=True)


@oddity("split-writes", "wire", "Cuts each event in the middle into two packets.")
def _split_writes(steps: Iterator[Step]) -> Iterator[Step]:
    return _split(steps, lambda data: len(data) // 2)


@oddity("split-crlf", "wire", "Cuts packets between CR and LF.")
def _split_crlf(steps: Iterator[Step]) -> Iterator[Step]:
    return _split(steps, lambda data: data.rfind(b"\r\n") + 1)


@oddity("split-blank-line", "wire", "Cuts packets between the two line ends of an event.")
def _split_blank_line(steps: Iterator[Step]) -> Iterator[Step]:
    return _split(steps, lambda data: data.rfind(b"\n\n") + 1)


def _inside_character(data: bytes) -> int:
    place = next((n for n, byte in enumerate(data) if byte >= 0xC0), -1)
    return place + 1


@oddity("split-codepoint", "wire", "Cuts packets inside a character beyond ASCII.")
def _split_codepoint(steps: Iterator[Step]) -> Iterator[Step]:
    return _split(steps, _inside_character)


def _pieces(steps: Iterator[Step], size: int) -> Iterator[Step]:
    for step in steps:
        if len(step.data) <= size:
            yield step
            continue
        for place in range(0, len(step.data), size):
            yield step._replace(data=step.data[place : place + size])


@oddity("odd-chunks", "events", "Cuts events into chunks of seven bytes.")
def _odd_chunks(steps: Iterator[Step]) -> Iterator[Step]:
    return _pieces(steps, 7)


@oddity("big-chunks", "events", "Puts three events into one chunk.")
def _big_chunks(steps: Iterator[Step]) -> Iterator[Step]:
    held: list[Step] = []
    for step in steps:
        if step.act:
            yield from held
            held = []
            yield step
            continue
        held.append(step)
        if len(held) == 3:
            yield step._replace(data=b"".join(one.data for one in held))
            held = []
    if held:
        yield held[-1]._replace(data=b"".join(one.data for one in held))


def _add_chunking(name: str, says: str, chunk: Callable[[bytes], bytes], end: bytes) -> None:
    @oddity(name, "reply", says)
    def _chunked(reply: Reply) -> Reply:
        if reply.framing == "none":
            return reply
        return replace(reply, framing="chunked", chunk=chunk, end=end)


for _name, _says, _chunk, _end in (
    ("chunked-body", "Sends bodies chunked too.", lambda d: b"%x\r\n%b\r\n" % (len(d), d),
     b"0\r\n\r\n"),
    ("chunk-extensions", "Adds extensions to chunk sizes.",
     lambda d: b'%x;note="a b";flag\r\n%b\r\n' % (len(d), d), b"0;last\r\n\r\n"),
    ("chunk-zeros", "Writes chunk sizes with leading zeros.",
     lambda d: b"%08x\r\n%b\r\n" % (len(d), d), b"000\r\n\r\n"),
    ("chunk-upper-hex", "Writes chunk sizes in upper case.",
     lambda d: b"%X\r\n%b\r\n" % (len(d), d), b"0\r\n\r\n"),
    ("trailers", "Sends header fields after a chunked body.",
     lambda d: b"%x\r\n%b\r\n" % (len(d), d), b"0\r\nX-Checked: yes\r\n\r\n"),
):  # fmt: skip
    _add_chunking(_name, _says, _chunk, _end)


@oddity("close-delimited", "reply", "Ends the answer by closing the connection.")
def _close_delimited(reply: Reply) -> Reply:
    return reply if reply.framing == "none" else replace(reply, framing="close")


@oddity("connection-close", "reply", "Closes the connection after the answer, and says so.")
def _connection_close(reply: Reply) -> Reply:
    return replace(reply, headers=(*reply.headers, ("Connection", "close")), ending="close")


@oddity("header-case", "reply", "Writes header names in upper case.")
def _upper_names(reply: Reply) -> Reply:
    return replace(reply, headers=tuple((name.upper(), value) for name, value in reply.headers))


@oddity("lower-case-headers", "reply", "Writes header names in lower case.")
def _lower_names(reply: Reply) -> Reply:
    return replace(reply, headers=tuple((name.lower(), value) for name, value in reply.headers))


@oddity("extra-headers", "reply", "Sends headers that nobody asked for.")
def _extra_headers(reply: Reply) -> Reply:
    extra = (("X-Region", "somewhere"), ("Via", "1.1 edge"), ("X-Empty", ""), ("Vary", "Origin"))
    return replace(reply, headers=(*reply.headers, *extra))


@oddity("no-reason-phrase", "reply", "Sends a status line without a reason.")
def _no_reason(reply: Reply) -> Reply:
    return replace(reply, reason="")


@oddity("tight-headers", "reply", "Writes no space after the colons of headers.")
def _tight_headers(reply: Reply) -> Reply:
    return replace(reply, colon=":")
