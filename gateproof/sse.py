"""An incremental decoder of server-sent events that keeps what arrived, and when.

It follows the event-stream interpretation of the WHATWG HTML standard (section 9.2, "Server-sent
events", read 2026-11-21) to the letter, and reports two things side by side: the events that the
standard dispatches, and every oddity of the bytes (`Anomaly`) that the standard forgives, drops or
forbids. It judges nothing: what counts as a defect is a check's decision.

Rules: the result does not depend on how the bytes were split into reads; every frame, line and
anomaly knows its offset in the body; an event's time is that of the read that brought the end of
its blank line.
"""

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Anomaly", "Decoder", "Event", "Frame", "Line", "decode"]

MAX_ANOMALIES = 1000  # of each kind: more of them tell nothing new, and a body may be made of them
BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"[\r\n]")

AnomalyKind: TypeAlias = Literal[
    "bom",  # a byte order mark before the first line: the standard strips it
    "invalid-utf8",  # bytes that are not UTF-8: the standard replaces them by U+FFFD
    "unterminated",  # the body ends inside a frame: the standard drops that frame
    "no-data",  # a frame with fields but without data: the standard dispatches nothing
    "unknown-field",  # a field name outside event, data, id, retry: the standard ignores it
    "bad-retry",  # a retry value with anything but ASCII digits: ignored
    "nul-in-id",  # an id with U+0000 in it: ignored
]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a frame: a field, or a comment (then ``name`` is empty, ``raw`` has a colon).

    ``value`` has lost one leading space, as the standard says; ``ending`` is the line's own
    terminator, or empty at the end of the body.
    """

    name: str
    value: str
    raw: bytes
    ending: bytes
    start: int

    @property
    def is_comment(self) -> bool:
        """Tell whether the line is a comment."""
        return self.raw.startswith(b":")


@dataclass(frozen=True, slots=True)
class Event:
    """An event that the standard dispatches. ``id`` is the last event id at that moment."""

    type: str
    data: str
    id: str
    at_ns: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Frame:
    """What stood between two blank lines, with the event it dispatched, if it dispatched one.

    ``first_ns`` and ``at_ns`` are the times of the reads that brought its first and its last byte;
    ``terminated`` is false for what was left over at the end of the body.
    """

    lines: tuple[Line, ...]
    event: Event | None
    first_ns: int
    at_ns: int
    start: int
    end: int
    terminated: bool = True


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A peculiarity of the bytes: its kind, its offset in the body, and the bytes themselves."""

    kind: AnomalyKind
    offset: int
    detail: str


class Decoder:
    """Feed it reads as they come; it returns the frames that each read completed.

    It keeps all bytes of the frame that is still open, so whoever feeds it bounds the body; of each
    kind of anomaly it keeps the first thousand.
    """

    def __init__(self) -> None:
        self.anomalies: list[Anomaly] = []
        self._noted: Counter[str] = Counter()
        self._buffer = bytearray()
        self._base = 0  # offset in the body of the buffer's first byte
        self._scanned = 0  # how much of the buffer is known to hold no line end
        self._arrivals: list[int] = []  # the time of each read that is still of use, and
        self._arrived: list[int] = []  # the offset of its end
        self._lines: list[Line] = []
        self._frame_start = 0
        self._last_id = ""
        self._started = False

    def feed(self, data: bytes, at_ns: int) -> list[Frame]:
        """Take one read and return the frames that are now complete."""
        if not data:
            return []
        self._buffer += data
        self._arrivals.append(at_ns)
        self._arrived.append(self._base + len(self._buffer))
        return self._drain(closing=False)

    def close(self) -> list[Frame]:
        """Take the end of the body; the last frame returned may be an unterminated one."""
        frames = self._drain(closing=True)
        if self._buffer:
            self._take_line(len(self._buffer), len(self._buffer))
        if self._lines:
            self._note("unterminated", self._frame_start, _show(self._lines[0].raw))
            frames.append(self._frame(event=None, terminated=False))
        return frames

    def _drain(self, *, closing: bool) -> list[Frame]:
        if not self._started:
            # The mark can come in pieces: wait while what is there could still become one.
            if len(self._buffer) < len(BOM) and BOM.startswith(self._buffer) and not closing:
                return []
            self._started = True
            if self._buffer.startswith(BOM):
                self._note("bom", 0, "EF BB BF")
                self._drop(len(BOM))
                self._frame_start = self._base
        frames: list[Frame] = []
        while match := _LINE_END.search(self._buffer, self._scanned):
            at = match.start()
            end = match.end()
            if self._buffer[at] == 0x0D:
                # CR, or CRLF whose LF is still on its way: only the next byte tells.
                if end == len(self._buffer) and not closing:
                    self._scanned = at
                    return frames
                if end < len(self._buffer) and self._buffer[end] == 0x0A:
                    end += 1
            if at == 0:
                self._drop(end)
                if self._lines:
                    frames.append(self._dispatch())
                self._frame_start = self._base
                # Reads that ended before the next frame are of no more use.
                past = bisect_right(self._arrived, self._base)
                del self._arrivals[:past], self._arrived[:past]
            else:
                self._take_line(at, end)
        self._scanned = len(self._buffer)
        return frames

    def _take_line(self, at: int, end: int) -> None:
        raw = bytes(self._buffer[:at])
        ending = bytes(self._buffer[at:end])
        start = self._base
        self._drop(end)
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            self._note("invalid-utf8", start + error.start, _show(raw[error.start : error.end]))
            text = raw.decode("utf-8", errors="replace")
        name, colon, value = text.partition(":")
        if colon and value.startswith(" "):
            value = value[1:]
        self._lines.append(Line(name, value, raw, ending, start))

    def _dispatch(self) -> Frame:
        kind = ""
        data: list[str] = []
        for line in self._lines:
            if line.is_comment:
                continue
            if line.name == "event":
                kind = line.value
            elif line.name == "data":
                data.append(line.value)
            elif line.name == "id":
                if "\0" in line.value:
                    self._note("nul-in-id", line.start, _show(line.raw))
                else:
                    self._last_id = line.value
            elif line.name == "retry":
                if not (line.value.isascii() and line.value.isdigit()):
                    self._note("bad-retry", line.start, _show(line.raw))
            else:
                self._note("unknown-field", line.start, _show(line.raw))
        joined = "\n".join(data)
        event = None
        # The standard tests the data buffer, which has a LF behind each line, against the empty
        # string before it strips the last LF: one empty data line is an event with empty data.
        if data:
            event = Event(
                kind or "message",
                joined,
                self._last_id,
                self._arrival(self._base),
                self._frame_start,
                self._base,
            )
        elif any(not line.is_comment for line in self._lines):
            self._note("no-data", self._frame_start, _show(self._lines[0].raw))
        return self._frame(event=event, terminated=True)

    def _frame(self, *, event: Event | None, terminated: bool) -> Frame:
        frame = Frame(
            tuple(self._lines),
            event,
            self._arrival(self._frame_start + 1),
            self._arrival(self._base),
            self._frame_start,
            self._base,
            terminated,
        )
        self._lines = []
        return frame

    def _arrival(self, end: int) -> int:
        """Return when the byte before offset ``end`` arrived."""
        return self._arrivals[bisect_left(self._arrived, end)]

    def _note(self, kind: AnomalyKind, offset: int, detail: str) -> None:
        self._noted[kind] += 1
        if self._noted[kind] <= MAX_ANOMALIES:
            self.anomalies.append(Anomaly(kind, offset, detail))

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._base += count
        self._scanned = 0


def decode(body: bytes, at_ns: int = 0) -> tuple[list[Frame], list[Anomaly]]:
    """Decode a whole body that arrived at one moment."""
    decoder = Decoder()
    frames = decoder.feed(body, at_ns)
    frames += decoder.close()
    return frames, decoder.anomalies


def _show(raw: bytes, limit: int = 80) -> str:
    text = raw[:limit].decode("utf-8", errors="backslashreplace")
    return f"{text}…" if len(raw) > limit else text
