"""The load sample: one fixed-width record per request, and the arrival of each of its tokens.

Two append-only files per generator process: ``samples.<worker>.bin`` holds a record of
``RECORD_SIZE`` bytes per request, ``stamps.<worker>.bin`` the arrival times of tokens. Stamps are
written before the record that points at them, so what a crash leaves is readable to the last whole
record. A third file, ``lag.<worker>.bin``, holds the generator's own timer lateness.

Rules. Writing needs the standard library only (a worker never pays for numpy); reading gives numpy
arrays. ``due_ns`` and ``sent_ns`` are CLOCK_MONOTONIC in nanoseconds. All other times are
microseconds since ``sent_ns`` in 32 bits: a resolution of 1 us, and what lies beyond 71.5 minutes
is kept as 71.5 minutes. Statistics are never stored: they are derived from these files.
Each file's header names both clocks: times of several hosts are read on the clock of one
(``clocks``), or, where nobody compared them, as well as the hosts' wall clocks agree.
(Long, because the layout, its writer and its reader are best checked side by side.)
"""

import os
import struct
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateproof.clocks import Clock, clock_id, clocks_told
from gateproof.errors import UsageError
from gateproof.workers import read_workers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "ERROR_SAYS",
    "FLAG_SAYS",
    "NEVER",
    "RECORD_SIZE",
    "Appender",
    "ErrorKind",
    "Flag",
    "LagWriter",
    "Sample",
    "SampleWriter",
    "Samples",
    "clocks_of",
    "read_lag",
    "read_samples",
    "sample_dtype",
]

NEVER: Final = 0xFFFF_FFFF
"""The time of what did not happen."""

_LATEST: Final = NEVER - 1
_FLUSH_BYTES: Final = 64 * 1024  # one write per about 680 records
_HEADER: Final = struct.Struct("<8sHHIqqII16s8x")  # 64 bytes
_VERSION: Final = 1


class ErrorKind(IntEnum):
    """Why a request failed; the number is what the record holds."""

    NONE = 0
    UNFINISHED = 1
    CONNECT = 2
    CONNECT_TIMEOUT = 3
    TLS = 4
    FIRST_BYTE_TIMEOUT = 5
    IDLE_TIMEOUT = 6
    TOTAL_TIMEOUT = 7
    RESET = 8
    CUT = 9
    MALFORMED_HTTP = 10
    MALFORMED_EVENT = 11
    TOO_LARGE = 12
    RATE_LIMITED = 13
    CLIENT_ERROR = 14
    SERVER_ERROR = 15
    STATUS = 16
    IN_BAND_ERROR = 17
    NOT_A_STREAM = 18
    ENCODED = 19
    INCOMPLETE = 20
    EMPTY = 21
    LOCAL = 22
    CROSS_TALK = 23
    MALFORMED_BODY = 24
    NO_CALL = 25


ERROR_SAYS: Final[dict[ErrorKind, str]] = {
    ErrorKind.NONE: "answered in full",
    ErrorKind.UNFINISHED: "the run ended before the answer did",
    ErrorKind.CONNECT: "no connection could be made",
    ErrorKind.CONNECT_TIMEOUT: "connecting took longer than the limit",
    ErrorKind.TLS: "the TLS handshake or record layer failed",
    ErrorKind.FIRST_BYTE_TIMEOUT: "no byte of the answer came within the limit",
    ErrorKind.IDLE_TIMEOUT: "the stream was silent for longer than the limit",
    ErrorKind.TOTAL_TIMEOUT: "the answer took longer than the limit in all",
    ErrorKind.RESET: "the connection was reset or closed before the answer began",
    ErrorKind.CUT: "the connection ended inside the body",
    ErrorKind.MALFORMED_HTTP: "the answer is not HTTP/1.1",
    ErrorKind.MALFORMED_EVENT: "an event's data is not a JSON object",
    ErrorKind.TOO_LARGE: "a header, an event or the body is larger than the limit",
    ErrorKind.RATE_LIMITED: "status 429",
    ErrorKind.CLIENT_ERROR: "a status of 4xx other than 429",
    ErrorKind.SERVER_ERROR: "a status of 5xx",
    ErrorKind.STATUS: "a status that is neither 200 nor an error",
    ErrorKind.IN_BAND_ERROR: "status 200, then an error inside the stream",
    ErrorKind.NOT_A_STREAM: "status 200, but the body is no event stream",
    ErrorKind.ENCODED: "the body is compressed, although identity was asked for",
    ErrorKind.INCOMPLETE: "the body ended with neither a finish_reason nor [DONE]",
    ErrorKind.EMPTY: "the answer ended well, but held no output",
    ErrorKind.LOCAL: "the generator itself had no file, port or memory left for a connection",
    ErrorKind.CROSS_TALK: "the answer holds the reference of another request of this run",
    ErrorKind.MALFORMED_BODY: "status 200, but the body is no JSON object of the kind asked for",
    ErrorKind.NO_CALL: "a tool call was forced, and none came whose arguments are a JSON object",
}


class Flag(IntFlag):
    """What else was seen; the findings among them make an answer flawed, but not failed."""

    REUSED = 1
    RETRIED = 2
    DELAYED = 4
    NO_DONE = 8
    NO_USAGE = 16
    NO_FINISH = 32
    WRONG_TYPE = 64
    UNENDED = 128
    BAD_USAGE = 256
    AFTER_DONE = 512
    CROSS_TALK = 1024
    OWN_CANARY = 2048
    WAITED = 8192


FLAG_SAYS: Final[dict[Flag, str]] = {
    Flag.REUSED: "sent on a connection that had served a request before",
    Flag.RETRIED: "sent a second time, because a kept connection closed before the first byte",
    Flag.DELAYED: "waited for a place under the cap on concurrency",
    Flag.NO_DONE: "the stream ended without its last event: [DONE], or message_stop",
    Flag.NO_USAGE: "usage was asked for, and did not come",
    Flag.NO_FINISH: "no finish_reason came",
    Flag.WRONG_TYPE: "the Content-Type is not that of the answer asked for",
    Flag.UNENDED: "the body did not end properly after [DONE]",
    Flag.BAD_USAGE: "usage holds a count that is not a whole number of at least 0",
    Flag.AFTER_DONE: "an event came after [DONE]",
    Flag.CROSS_TALK: "the answer holds the reference of another request of this run",
    Flag.OWN_CANARY: "the answer shows its own request's reference",
    Flag.WAITED: "sent after the wait that the Retry-After of a 429 asked for",
}

FINDINGS: Final = (
    Flag.NO_DONE
    | Flag.NO_USAGE
    | Flag.NO_FINISH
    | Flag.WRONG_TYPE
    | Flag.UNENDED
    | Flag.BAD_USAGE
    | Flag.AFTER_DONE
    | Flag.CROSS_TALK
)
"""The flags that are the target's doing."""

_FIELDS: Final = (
    # name, struct code, numpy type; the order of the record
    ("due_ns", "q", "<i8"),
    ("sent_ns", "q", "<i8"),
    ("connect_us", "I", "<u4"),
    ("first_byte_us", "I", "<u4"),
    ("first_event_us", "I", "<u4"),
    ("first_reasoning_us", "I", "<u4"),
    ("first_token_us", "I", "<u4"),
    ("last_token_us", "I", "<u4"),
    ("end_us", "I", "<u4"),
    ("stamps_at", "Q", "<u8"),
    ("deltas", "I", "<u4"),
    ("prompt_tokens", "I", "<u4"),
    ("completion_tokens", "I", "<u4"),
    ("reasoning_tokens", "I", "<u4"),
    ("cost_nano_usd", "q", "<i8"),
    ("status", "H", "<u2"),
    ("error", "B", "u1"),
    ("work", "B", "u1"),
    ("flags", "I", "<u4"),
    ("stream", "I", "<u4"),
    ("number", "I", "<u4"),
    ("retry_after_ms", "I", "<u4"),
)
_RECORD: Final = struct.Struct("<" + "".join(code for _, code, _ in _FIELDS))
RECORD_SIZE: Final = _RECORD.size
NO_COST: Final = -(2**63)
"""The cost of an answer that named none."""


@dataclass(slots=True)
class Sample:
    """One request as the generator saw it; mutable, because it fills while the answer comes.

    Absolute times are CLOCK_MONOTONIC in nanoseconds, and 0 means that it did not happen.
    ``connect_ns`` is how long the connection took (0: reused). ``stamps`` are the arrivals of all
    events that carried output, and ``first_token_ns`` the first of them that is not reasoning.
    Token counts are ``NEVER`` when the server gave none.
    """

    due_ns: int = 0
    sent_ns: int = 0
    connect_ns: int = 0
    first_byte_ns: int = 0
    first_event_ns: int = 0
    first_reasoning_ns: int = 0
    first_token_ns: int = 0
    last_token_ns: int = 0
    end_ns: int = 0
    prompt_tokens: int = NEVER
    completion_tokens: int = NEVER
    reasoning_tokens: int = NEVER
    cost_nano_usd: int = NO_COST
    status: int = 0
    error: int = 0
    work: int = 0
    flags: int = 0
    stream: int = 0
    number: int = 0
    retry_after_ms: int = NEVER


class Appender:
    """An append-only file of fixed-width items behind a header that says what they are."""

    def __init__(self, path: Path, magic: bytes, item_size: int, *, unit_ns: int = 1) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._pending = bytearray()
        self.path = path
        if os.fstat(self._file).st_size == 0:
            head = (magic, _VERSION, _HEADER.size, item_size)
            self._pending += _HEADER.pack(
                *head, time.time_ns(), time.monotonic_ns(), os.getpid(), unit_ns, clock_id()
            )

    def append(self, data: bytes) -> bool:
        """Take in whole items; True when a flush is due."""
        self._pending += data
        return len(self._pending) >= _FLUSH_BYTES

    def flush(self) -> None:
        """Hand all items taken so far to the kernel."""
        while self._pending:
            del self._pending[: os.write(self._file, self._pending)]

    def close(self) -> None:
        """Flush and close."""
        if self._file >= 0:
            self.flush()
            os.close(self._file)
            self._file = -1


def _since(at_ns: int, start_ns: int) -> int:
    """Give a time as the record holds it: microseconds since the start, nearest, or NEVER."""
    if not at_ns:
        return NEVER
    return min(max((at_ns - start_ns + 500) // 1000, 0), _LATEST)


class SampleWriter:
    """Appends samples and their token stamps for one generator process."""

    def __init__(self, folder: Path, worker: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._samples = Appender(folder / f"samples.{worker}.bin", b"GPSAMPLE", RECORD_SIZE)
        self._stamps = Appender(folder / f"stamps.{worker}.bin", b"GPSTAMPS", 4, unit_ns=1000)
        stamp_bytes = self._stamps.path.stat().st_size - _HEADER.size
        self._stamp_count = max(stamp_bytes, 0) // 4
        self.written = 0

    def add(self, sample: Sample, stamps: Sequence[int] = ()) -> None:
        """Append one sample with the arrival times of its output events (ns, in order)."""
        zero = sample.sent_ns
        offset = zero - 500
        try:
            packed = array("I", [(at - offset) // 1000 for at in stamps])
        except OverflowError:
            packed = array("I", [_since(at, zero) for at in stamps])
        record = _RECORD.pack(
            sample.due_ns,
            zero,
            min((sample.connect_ns + 500) // 1000, _LATEST),
            _since(sample.first_byte_ns, zero),
            _since(sample.first_event_ns, zero),
            _since(sample.first_reasoning_ns, zero),
            _since(sample.first_token_ns, zero),
            _since(sample.last_token_ns, zero),
            _since(sample.end_ns, zero),
            self._stamp_count,
            len(packed),
            sample.prompt_tokens,
            sample.completion_tokens,
            sample.reasoning_tokens,
            sample.cost_nano_usd,
            sample.status,
            sample.error,
            sample.work,
            sample.flags,
            sample.stream,
            sample.number,
            sample.retry_after_ms,
        )
        self._stamp_count += len(packed)
        due = self._stamps.append(packed.tobytes())
        self.written += 1
        if self._samples.append(record) or due:
            self.flush()

    def flush(self) -> None:
        """Hand everything to the kernel, stamps before the records that point at them."""
        self._stamps.flush()
        self._samples.flush()

    def close(self) -> None:
        """Flush and close both files."""
        self._stamps.close()
        self._samples.close()


class LagWriter:
    """Appends (when, how late) pairs of the generator's own timer."""

    _ITEM = struct.Struct("<qI4x")

    def __init__(self, folder: Path, worker: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = Appender(folder / f"lag.{worker}.bin", b"GPLAGLAG", self._ITEM.size)

    def add(self, due_ns: int, late_ns: int) -> None:
        """Append one tick: when it was due, and by how much it came late."""
        self._file.append(self._ITEM.pack(due_ns, min(max(late_ns // 1000, 0), _LATEST)))

    def flush(self) -> None:
        """Hand all ticks to the kernel."""
        self._file.flush()

    def close(self) -> None:
        """Flush and close."""
        self._file.close()


@dataclass(frozen=True, slots=True)
class Samples:
    """All samples of a run: a structured array, and the token stamps that it points into.

    ``records["stamps_at"]`` counts from the start of ``stamps``, over all workers. ``stamps`` are
    microseconds since each request's ``sent_ns``. ``lost`` counts records whose stamps were cut off
    by a crash; they are left out.
    """

    records: "NDArray[np.void]"
    stamps: "NDArray[np.uint32]"
    lost: int = 0


def sample_dtype() -> "np.dtype[np.void]":
    """Give the numpy type of one record."""
    import numpy as np  # noqa: PLC0415  # the writer's process never loads numpy

    return np.dtype([(name, kind) for name, _, kind in _FIELDS])


def _body(path: Path, magic: bytes, item_size: int) -> tuple[int, int]:
    """Check a file's header; give where items begin and how many whole ones there are."""
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        return 0, 0
    found, version, header_size, size = _HEADER.unpack(head)[:4]
    if (found, version, size) != (magic, _VERSION, item_size):
        raise UsageError(
            f"{path} is not a load sample file of this version.",
            f"Wanted {magic!r} version {_VERSION} with items of {item_size} bytes; "
            f"got {found!r} version {version} with {size}.",
        )
    return header_size, (path.stat().st_size - header_size) // size


def _clock(path: Path) -> tuple[bytes, int, int] | None:
    """Give the name of a file's clock, what it showed, and how far the wall clock was ahead."""
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        return None
    _, _, _, _, wall_ns, monotonic_ns, _, _, clock = _HEADER.unpack(head)
    return clock, monotonic_ns, wall_ns - monotonic_ns


def clocks_of(folder: Path) -> dict[str, Clock]:
    """Give the clock of each worker, by its name, so that all times can be read on one clock.

    They are as the leading host measured them (``clocks``). Without it the workers of one host
    share a clock and need no shift, and hosts are as far apart as their wall clocks say.
    """
    told = clocks_told(read_workers(folder))
    ahead: dict[bytes, int] = {}
    found: dict[str, Clock] = {}
    for path in (*sorted(folder.glob("samples.*.bin")), *sorted(folder.glob("lag.*.bin"))):
        clock, worker = _clock(path), _worker(path)
        if clock is not None and worker not in found:
            name, at_ns, wall_ahead_ns = clock
            first_ns = ahead.setdefault(name, wall_ahead_ns)
            shift_ns = next(iter(ahead.values())) - first_ns
            found[worker] = Clock(((at_ns, shift_ns),))
    return found | told


def _worker(path: Path) -> str:
    """Give the name of the worker that wrote a file."""
    return path.name.split(".")[1]


def _fill(into: "NDArray[Any]", path: Path, start: int) -> None:
    """Read items into an array, without a copy between."""
    if not len(into):
        return
    with path.open("rb") as file:
        file.seek(start)
        file.readinto(into.view("u1").data)


def read_samples(folder: Path) -> Samples:
    """Read all workers' samples of a run, to the last whole record of each, in order of due.

    A million requests of 64 tokens take 0.35 GB: nothing is held twice but the records.
    """
    import numpy as np  # noqa: PLC0415  # the writer's process never loads numpy

    dtype = sample_dtype()
    clocks = clocks_of(folder)
    paths = sorted(folder.glob("samples.*.bin"))
    marks = [path.with_name(path.name.replace("samples.", "stamps.", 1)) for path in paths]
    rows_of = [_body(path, b"GPSAMPLE", RECORD_SIZE) for path in paths]
    marks_of = [_body(path, b"GPSTAMPS", 4) if path.exists() else (0, 0) for path in marks]
    records = np.empty(sum(count for _, count in rows_of), dtype)
    stamps = np.empty(sum(count for _, count in marks_of), "<u4")
    keep = np.ones(len(records), bool)
    row_at = mark_at = 0
    for place, path in enumerate(paths):
        start, count = rows_of[place]
        mark_start, mark_count = marks_of[place]
        rows = records[row_at : row_at + count]
        _fill(rows, path, start)
        _fill(stamps[mark_at : mark_at + mark_count], marks[place], mark_start)
        keep[row_at : row_at + count] = rows["stamps_at"] + rows["deltas"] <= mark_count
        rows["stamps_at"] += np.uint64(mark_at)
        if _worker(path) in clocks:
            shift = clocks[_worker(path)].shift(rows["due_ns"])
            rows["due_ns"] += shift
            rows["sent_ns"] += shift  # by as much: what lies between the two is of one clock
        row_at += count
        mark_at += mark_count
    lost = int(len(records) - keep.sum())
    order = np.argsort(records["due_ns"], kind="stable")
    order = order[keep[order]]
    if not np.array_equal(order, np.arange(len(records))):
        records = records[order]
    return Samples(records, stamps, lost)


def read_lag(folder: Path) -> "tuple[NDArray[np.int64], NDArray[np.uint32]]":
    """Read all workers' timer ticks: when each was due (ns), and how late it came (us)."""
    import numpy as np  # noqa: PLC0415  # the writer's process never loads numpy

    dtype = np.dtype([("due_ns", "<i8"), ("late_us", "<u4"), ("pad", "<u4")])
    clocks = clocks_of(folder)
    parts = [np.empty(0, dtype)]
    for path in sorted(folder.glob("lag.*.bin")):
        start, count = _body(path, b"GPLAGLAG", dtype.itemsize)
        if count:
            part = np.fromfile(path, dtype, count=count, offset=start)
            part["due_ns"] += clocks.get(_worker(path), Clock()).shift(part["due_ns"])
            parts.append(part)
    ticks = np.concatenate(parts)
    return ticks["due_ns"], ticks["late_us"]
