"""HTTP/1.1 responses from bytes: head, then a body that is chunked, sized or ended by the close.

Strategy: no I/O and no buffering of bodies: what a read brought is handed on at once with the time
of that read; only a head or a chunk's size line that is not yet whole waits, within a limit.

Rules. RFC 9112 is obeyed where a lenient reading would change what is counted: a chunk size must be
hexadecimal, chunk data must end in CRLF, lengths must agree. A bare LF ends a line (section 2.2).
"""

import re
from collections.abc import Callable
from typing import Final

from gateproof.sample import ErrorKind

__all__ = ["SIZES", "Broken", "Response"]

MAX_HEAD_BYTES: Final = 64 * 1024  # nginx takes 8 x 8 KiB for large headers
MAX_LINE_BYTES: Final = 8 * 1024
MAX_BODY_BYTES: Final = 64 * 1024 * 1024  # some 250,000 events
_MOST_FIELDS: Final = 512  # of one head; the official clients' libraries take 100
_MOST_INTERIM: Final = 16  # 1xx responses before the answer

_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?\Z")
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\Z")

SIZES: Final[dict[bytes, int]] = {}
"""Sizes by a chunk's line, as far as seen: they repeat, so that reading a line is a look-up."""

_MOST_SIZES: Final = 4096


class Broken(Exception):  # it names what happened to an answer, not an error of ours
    """An answer that cannot be read on: the kind of failure, and what was seen."""

    def __init__(self, kind: ErrorKind, says: str) -> None:
        super().__init__(says)
        self.kind = kind
        self.says = says


class Response:
    """Reads one response: ``on_head(status, headers)`` gives the sink for its body.

    ``feed`` takes bytes and the time (ns) at which they came; ``eof`` takes the end of the
    connection. ``done`` is True when the response is whole; ``reusable`` tells whether the
    connection may then carry another request.
    """

    __slots__ = (
        "_body",
        "_body_left",
        "_held",
        "_interim",
        "_left",
        "_mode",
        "_on_head",
        "done",
        "feed",
        "reusable",
        "status",
    )

    def __init__(
        self,
        on_head: Callable[[int, dict[bytes, bytes]], Callable[[bytes, int], None]],
    ) -> None:
        self._on_head = on_head
        self._body: Callable[[bytes, int], None] = _nowhere
        self._body_left = MAX_BODY_BYTES
        self._held = b""
        self._interim = 0
        self._left = 0
        self._mode = "head"
        self.done = False
        self.reusable = False
        self.status = 0
        self.feed: Callable[[bytes, int], None] = self._head

    def eof(self) -> None:
        """Take the end of the connection; raises Broken when the response is not whole."""
        if self._mode == "close":
            self.done = True
        elif self._mode == "head":
            kind = ErrorKind.CUT if self._held else ErrorKind.RESET
            raise Broken(kind, f"the connection ended in the head: {self._held[:200]!r}")
        elif not self.done:
            raise Broken(ErrorKind.CUT, f"the connection ended inside a {self._mode} body")

    @property
    def between(self) -> bool:
        """Tell whether the next byte of a chunked body begins a chunk's size line."""
        return self._mode == "chunked" and not self._left and not self._held

    @property
    def room(self) -> int:
        """How many bytes of body may still come."""
        return self._body_left

    def passed(self, size: int) -> None:
        """Count so many bytes of body, of whole chunks that somebody else read."""
        self._body_left -= size

    def close(self) -> None:
        """Take no more: let go of who takes the body, so that neither waits for the collector."""
        self._on_head, self._body, self.feed = _no_head, _nowhere, _nowhere

    def _head(self, data: bytes, at_ns: int) -> None:
        """Take bytes up to the end of the head, then hand on what follows it."""
        while data and self._mode == "head" and not self.done:
            data = self._one_head(data)
        if data and not self.done:
            self.feed(data, at_ns)
        elif data:
            self.reusable = False

    def _one_head(self, data: bytes) -> bytes:
        """Take bytes of one head, which may be an interim one; give what follows it."""
        before = len(self._held)
        data = self._held + data
        end = _HEAD_END.search(data, max(before - 3, 0))
        if end is None:
            if len(data) > MAX_HEAD_BYTES:
                raise Broken(ErrorKind.TOO_LARGE, f"a head of more than {MAX_HEAD_BYTES} bytes")
            if before < 5 <= len(data) and not data.startswith(b"HTTP/"):
                raise Broken(ErrorKind.MALFORMED_HTTP, f"not a status line: {data[:80]!r}")
            self._held = data
            return b""
        self._held = b""
        lines = data[: end.start()].split(b"\n")
        found = _STATUS.match(lines[0].rstrip(b"\r"))
        if found is None:
            raise Broken(ErrorKind.MALFORMED_HTTP, f"not a status line: {lines[0][:80]!r}")
        self.status = status = int(found[2])
        headers = _headers(lines[1:])
        rest = data[end.end() :]
        if status < 200:
            self._interim += 1
            if status == 101 or self._interim > _MOST_INTERIM:
                says = "101, which nobody asked for" if status == 101 else "no end of 1xx responses"
                raise Broken(ErrorKind.MALFORMED_HTTP, says)
            return rest
        connection = headers.get(b"connection", b"").lower()
        self.reusable = b"close" not in connection and (
            found[1] == b"1" or b"keep-alive" in connection
        )
        self._frame(status, headers)
        self._body = self._on_head(status, headers)
        return rest

    def _frame(self, status: int, headers: dict[bytes, bytes]) -> None:
        """Choose how the body ends (RFC 9112 section 6.3)."""
        coding = headers.get(b"transfer-encoding")
        length = headers.get(b"content-length")
        if status in (204, 304):
            self.done = True
        elif coding is not None:
            if coding.strip().lower() != b"chunked":
                raise Broken(ErrorKind.MALFORMED_HTTP, f"transfer-encoding {coding[:80]!r}")
            if length is not None:
                self.reusable = False  # section 6.1: such a connection is not to be trusted
            self._mode, self.feed = "chunked", self._chunked
        elif length is not None:
            values = {value.strip() for value in length.split(b",")}
            if len(values) != 1 or not (value := values.pop()).isdigit() or len(value) > 15:
                raise Broken(ErrorKind.MALFORMED_HTTP, f"content-length {length[:80]!r}")
            self._mode, self.feed = "sized", self._sized
            self._left = int(value)
            self.done = self._left == 0
        else:
            self._mode, self.feed, self.reusable = "close", self._hand_on, False

    def _hand_on(self, data: bytes, at_ns: int) -> None:
        """Hand body bytes on, within the limit."""
        self._body_left -= len(data)
        if self._body_left < 0:
            raise Broken(ErrorKind.TOO_LARGE, f"a body of more than {MAX_BODY_BYTES} bytes")
        self._body(data, at_ns)

    def _sized(self, data: bytes, at_ns: int) -> None:
        """Take the bytes of a body whose length was announced."""
        left = self._left
        if len(data) > left:
            self.reusable = False  # more than was announced
            data = data[:left]
        self._left = left - len(data)
        self._hand_on(data, at_ns)
        self.done = self._left == 0

    def _chunked(self, data: bytes, at_ns: int) -> None:
        """Take the bytes of a chunked body; the data in a read is handed on at once."""
        if not self._left and not self._held:  # the most usual read is one whole chunk
            place = data.find(b"\n")
            size = SIZES.get(data[:place])
            if (
                size
                and len(data) == place + size + 3
                and data[-2:] == b"\r\n"
                and size <= self._body_left
            ):
                self._body_left -= size
                self._body(data[place + 1 : -2], at_ns)
                return
        parts: list[bytes] = []
        try:
            trailer = self._cut(data, parts)
        finally:
            if parts:
                self._hand_on(parts[0] if len(parts) == 1 else b"".join(parts), at_ns)
        if trailer is not None:
            self._left = 0
            self._mode, self.feed = "trailer of a chunked", self._trailer
            self._trailer(trailer, at_ns)

    def _cut(self, data: bytes, parts: list[bytes]) -> bytes | None:
        """Cut chunks into their data; give what follows the last chunk, once it has come."""
        if self._held:
            data = self._held + data
            self._held = b""
        place, end, left = 0, len(data), self._left
        if not left:
            place = _whole_chunks(data, parts)
        while place < end:
            if left > 2:  # inside a chunk; the last two bytes of ``left`` are its CRLF
                stop = min(place + left - 2, end)
                parts.append(data[place:stop])
                left -= stop - place
                place = stop
            elif left:
                want = b"\r\n" if left == 2 else b"\n"
                got = data[place : place + left]
                if not want.startswith(got):
                    raise Broken(ErrorKind.MALFORMED_HTTP, f"chunk data ended in {got!r}")
                left -= len(got)
                place += len(got)
            else:
                stop = data.find(b"\n", place)
                if stop < 0:
                    if end - place > MAX_LINE_BYTES:
                        raise Broken(ErrorKind.TOO_LARGE, "a chunk's size line is too long")
                    self._held = data[place:]
                    break
                line = data[place:stop]
                place = stop + 1
                size = SIZES.get(line)
                if size is None:
                    size = _size(line)
                if size == 0:
                    return data[place:]
                stop = place + size
                if data[stop : stop + 2] == b"\r\n":  # a whole chunk
                    parts.append(data[place:stop])
                    place = stop + 2
                else:
                    left = size + 2
        self._left = left
        return None

    def _trailer(self, data: bytes, _at_ns: int) -> None:
        """Take the trailer section up to its empty line; its fields are not used."""
        data = self._held + data
        while (stop := data.find(b"\n")) >= 0:
            line, data = data[:stop].rstrip(b"\r"), data[stop + 1 :]
            self._left += len(line) + 2
            if not line:
                self.done = True
                if data:
                    self.reusable = False
                return
        self._held = data
        if self._left + len(data) > MAX_HEAD_BYTES:
            raise Broken(ErrorKind.TOO_LARGE, f"trailers of more than {MAX_HEAD_BYTES} bytes")


def _nowhere(_data: bytes, _at_ns: int) -> None:
    """Take body bytes before a head said where they go, or after the end: there are none."""


def _no_head(_status: int, _headers: dict[bytes, bytes]) -> Callable[[bytes, int], None]:
    """Take a head after the end: there is none."""
    return _nowhere


def _whole_chunks(data: bytes, parts: list[bytes]) -> int:
    """Cut the whole chunks at the beginning that hold no CRLF of their own; give where they end."""
    pieces = data.split(b"\r\n")
    place = 0
    for line, part in zip(pieces[:-2:2], pieces[1:-1:2], strict=False):
        size = SIZES.get(line)
        if not size or size != len(part):
            break
        parts.append(part)
        place += len(line) + size + 4
    return place


def _headers(lines: list[bytes]) -> dict[bytes, bytes]:
    """Read header lines; names in lower case, repeated ones joined by commas."""
    if len(lines) > _MOST_FIELDS:
        raise Broken(ErrorKind.TOO_LARGE, f"a head of more than {_MOST_FIELDS} fields")
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.match(name):
            raise Broken(ErrorKind.MALFORMED_HTTP, f"not a header line: {line[:80]!r}")
        name, value = name.lower(), value.strip()
        headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


def _size(line: bytes) -> int:
    """Read a chunk's size line, and remember it."""
    found = _SIZE.match(line)
    if found is None:
        raise Broken(ErrorKind.MALFORMED_HTTP, f"not a chunk size: {line[:80]!r}")
    size = int(found[1], 16)
    if len(SIZES) < _MOST_SIZES and len(line) <= 16:
        SIZES[line] = SIZES[line.rstrip(b"\r")] = size
    return size
