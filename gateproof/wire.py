"""From raw reads to an HTTP/1.1 response, keeping the time of each piece.

h11 does the parsing, on the bytes as they were recorded; nothing here opens a socket. What h11
refuses is kept as ``error`` beside all that was understood before it, because a broken response is
what we are here to show. After a 101 that was asked for the connection speaks another protocol: its
bytes are kept as the body, unread.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import h11

__all__ = ["Piece", "Read", "Response", "parse_response"]

SWITCHING = 101  # RFC 9110 section 15.2.2: from here on the connection is not HTTP
MAX_HEAD_BYTES = 256 * 1024  # four times what common servers send at most; beyond it: malformed


@dataclass(frozen=True, slots=True)
class Read:
    """Bytes as one read from the socket gave them, and when (monotonic, ns)."""

    at_ns: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of the body, de-chunked, from one read; ``start`` is their offset in the body."""

    at_ns: int
    start: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """A response as HTTP/1.1 reads it.

    ``complete`` says that the body ended as its framing announced; a body without framing ends
    with the connection and counts as complete, and a 101 is complete with its head. ``surplus`` are
    bytes behind the end of the message. ``error`` is what made the parser stop.
    """

    status: int
    reason: str
    http_version: str
    headers: tuple[tuple[str, str], ...]
    pieces: tuple[Piece, ...]
    complete: bool
    error: str
    surplus: bytes
    head_ns: int

    @property
    def body(self) -> bytes:
        """Return the whole body."""
        return b"".join(piece.data for piece in self.pieces)

    def header(self, name: str) -> str | None:
        """Return a header's value, several joined by a comma as RFC 9110 section 5.3 allows."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None

    @property
    def media_type(self) -> str:
        """Return the content type without parameters, in lower case; empty when there is none."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower()


def parse_response(
    reads: Iterable[Read], *, method: str, closed: bool, upgrade: bool = False
) -> Response | None:
    """Parse the response to one request; ``None`` when not even a whole head came.

    ``closed`` says that the peer ended its side properly (no reset, no time-out), which is how a
    body without framing ends. ``upgrade`` says that the request proposed another protocol: a 101 to
    any other request is no HTTP.
    """
    reading = _Reading(method, upgrade=upgrade)
    for read in reads:
        reading.feed(read)
    if closed:
        reading.end()
    head = reading.head
    if head is None:
        return None
    return Response(
        status=head.status_code,
        reason=head.reason.decode("latin-1"),
        http_version=head.http_version.decode("latin-1"),
        headers=tuple(
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in head.headers.raw_items()
        ),
        pieces=tuple(reading.pieces),
        complete=reading.complete,
        error=reading.error,
        surplus=bytes(reading.surplus),
        head_ns=reading.head_ns,
    )


class _Reading:
    """The state of parsing one response."""

    def __init__(self, method: str, *, upgrade: bool) -> None:
        self.head: h11.Response | h11.InformationalResponse | None = None
        self.head_ns = 0
        self.pieces: list[Piece] = []
        self.complete = False
        self.error = ""
        self.surplus = bytearray()
        self._size = 0
        self._last_ns = 0
        self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        headers = [("host", "x"), *([("upgrade", "x")] if upgrade else [])]
        self._parser.send(h11.Request(method=method, target="/", headers=headers))
        self._parser.send(h11.EndOfMessage())

    def feed(self, read: Read) -> None:
        """Take one read; what comes behind the end of the message is surplus."""
        self._last_ns = read.at_ns
        if self._switched:
            self._keep(read.data)
        elif self.complete:
            self.surplus += read.data
        elif read.data and not self.error:
            self._step(read.data)

    def end(self) -> None:
        """Take the peer's proper end, which ends a body without framing."""
        if not self.complete and not self.error:
            self._step(b"")

    def _step(self, data: bytes) -> None:
        try:
            self._parser.receive_data(data)
            while self._take(self._parser.next_event()):
                pass
            rest = bytes(self._parser.trailing_data[0])
            if self._switched:
                self._keep(rest)
            elif self.complete:
                self.surplus += rest
        except h11.RemoteProtocolError as refusal:
            self.error = str(refusal)

    def _keep(self, data: bytes) -> None:
        if data:
            self.pieces.append(Piece(self._last_ns, self._size, data))
            self._size += len(data)

    @property
    def _switched(self) -> bool:
        return isinstance(self.head, h11.InformationalResponse)

    def _take(self, event: object) -> bool:
        """Take one event of the parser and tell whether there may be another."""
        if isinstance(event, h11.Response):
            self.head, self.head_ns = event, self._last_ns
        elif isinstance(event, h11.Data):
            self._keep(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            self.complete = True
        elif isinstance(event, h11.InformationalResponse) and event.status_code == SWITCHING:
            self.head, self.head_ns = event, self._last_ns
            self.complete = True
        return isinstance(event, h11.Response | h11.Data | h11.InformationalResponse)
