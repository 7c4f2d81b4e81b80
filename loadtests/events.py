"""Server-sent events from bytes, for the hot path: same meaning as the WHATWG text, less kept.

Strategy: almost every read brings one whole event of one ``data: `` line, or several of them; these
cases cost a few searches in C. Everything else (split events, CR and CRLF, comments, several data
lines, a byte order mark) goes the general way.

Rules. An event is handed on in the same call that brought its last byte. An event that the end of
the body leaves without its blank line is not dispatched (WHATWG HTML, section 9.2.6). The judge of
conformance is ``gateproof.sse``; tests hold both to the same answers.
"""

from collections.abc import Callable
from typing import Final

from gateproof.sample import ErrorKind

from .framing import Broken

__all__ = ["EventReader"]

MAX_EVENT_BYTES: Final = 1024 * 1024
_BOM: Final = b"\xef\xbb\xbf"


class EventReader:
    """Cuts a body into events: ``on_event(name, data, at_ns)`` with the joined data lines."""

    __slots__ = ("_begun", "_cr", "_held", "_held_bytes", "_on_event", "_open")

    def __init__(self, on_event: Callable[[bytes, bytes, int], None]) -> None:
        self._on_event = on_event
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._open = False  # what is held ends in a line end
        self._begun = False
        self._cr = False  # the last byte was CR

    @property
    def between(self) -> bool:
        """Tell whether nothing has come since the last whole event, or nothing at all."""
        return not self._held and not self._cr

    def begin(self) -> None:
        """Note that somebody else has read the beginning: no byte order mark comes any more."""
        self._begun = True

    @property
    def pending(self) -> bytes:
        """What came after the last whole event."""
        return b"".join(self._held)

    def close(self) -> None:
        """Take no more: let go of who takes the events."""
        self._on_event = _nobody

    def feed(self, data: bytes, at_ns: int) -> None:
        """Take the next bytes of the body, which came at ``at_ns``."""
        if data[:6] == b"data: " and data[-2:] == b"\n\n" and not self._held and b"\r" not in data:
            blocks = data[6:-2].split(b"\n\ndata: ")
            if data.count(b"\n") == 2 * len(blocks):  # whole events of one such line each
                self._begun = True
                self._cr = False
                on_event = self._on_event
                for block in blocks:
                    on_event(b"", block, at_ns)
                return
        self._general(data, at_ns)

    def _general(self, data: bytes, at_ns: int) -> None:
        """Take bytes of any shape."""
        if self._cr and data[:1] == b"\n":
            data = data[1:]
            self._cr = False
        if not data:
            return
        self._cr = data[-1:] == b"\r"
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if not self._begun:
            data = b"".join(self._held) + data
            self._held, self._held_bytes = [], 0
            if len(data) < 3 and _BOM.startswith(data):
                self._held, self._held_bytes = [data], len(data)
                return
            self._begun = True
            data = data.removeprefix(_BOM)
            if not data:
                return
        if b"\n\n" in data or (self._open and data[0] == 10):
            if self._held:
                data = b"".join(self._held) + data
            blocks = data.split(b"\n\n")
            rest = blocks.pop()
            self._held = [rest] if rest else []
            self._held_bytes = len(rest)
            on_event = self._on_event
            of_lines = data.count(b"\n") > 2 * len(blocks)  # some block is more than one line
            for block in blocks:
                if block[:6] == b"data: " and not (of_lines and b"\n" in block):
                    on_event(b"", block[6:], at_ns)
                else:
                    self._block(block, at_ns)
            data = rest
        else:
            self._held.append(data)
            self._held_bytes += len(data)
        self._open = data[-1:] == b"\n"
        if self._held_bytes > MAX_EVENT_BYTES:
            raise Broken(ErrorKind.TOO_LARGE, f"an event of more than {MAX_EVENT_BYTES} bytes")

    def _block(self, block: bytes, at_ns: int) -> None:
        """Dispatch one block of lines, if it holds data."""
        name = b""
        lines: list[bytes] = []
        for line in block.split(b"\n"):
            field, _, value = line.partition(b":")
            if field == b"data":
                lines.append(value.removeprefix(b" "))
            elif field == b"event":
                name = value.removeprefix(b" ")
        if lines:  # one empty data line is an event with empty data (section 9.2.6)
            self._on_event(name, b"\n".join(lines), at_ns)


def _nobody(_name: bytes, _data: bytes, _at_ns: int) -> None:
    """Take an event after the end: there is none."""
