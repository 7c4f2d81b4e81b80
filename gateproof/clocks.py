"""Whose clock a time is of, and how the times of several hosts are read on one of them.

Strategy: the host that leads asks each worker what its monotonic clock shows. The answer lies
between the question and its own arrival, so it tells how far that clock is ahead to within half of
the way there and back, whatever the wall clocks of the hosts say. The narrowest of many answers are
kept, one for each stretch of the run, since clocks of different crystals drift apart.

Rules. A worker whose clock is the leader's own is not shifted at all. A reading is dropped where
another one, at the most that clocks drift, tells more: then what a busy worker answered late cannot
bend the times. Differences are taken between whole numbers, since a clock may count from anywhere.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Clock", "Gauge", "Reading", "clock_id", "clocks_told"]

_BOOT_FILE: Final = Path("/proc/sys/kernel/random/boot_id")
_TIME_SPACE: Final = Path("/proc/self/ns/time")
_DRIFT: Final = 500e-6  # the most by which Linux lets a clock be slewed; crystals do a tenth of it
_SAME_NS: Final = 10**6  # two looks at one clock are apart by no more than this, and by the way
_STRETCH_NS: Final = 10 * 10**9
_MOST: Final = 256  # readings of a worker; then stretches are twice as long


def clock_id() -> bytes:
    """Name this process' CLOCK_MONOTONIC, in 16 bytes; zeros where it has no name.

    It counts from the boot; in a time namespace (of a container), from a time of its own.
    """
    try:
        boot = _BOOT_FILE.read_bytes().strip()
    except OSError:
        return bytes(16)
    try:
        space = bytes(_TIME_SPACE.readlink())
    except OSError:  # before Linux 5.6 there are none
        space = b""
    return blake2b(boot + space, digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Reading:
    """A worker's clock at its own time ``at_ns``: so far ahead of the leader's, give or take."""

    at_ns: int
    ahead_ns: int
    within_ns: int


class Gauge:
    """Gathers the readings of one worker's clock."""

    def __init__(self, own: bytes) -> None:
        self._own = own
        self._readings: list[Reading] = []
        self._stretch_ns = _STRETCH_NS
        self.heard = 0
        """How many answers came."""

    def hear(self, asked_ns: int, theirs_ns: int, heard_ns: int, clock: bytes) -> None:
        """Take an answer: when it was asked for and came, on our clock, and what theirs showed."""
        self.heard += 1
        ahead_ns, within_ns = theirs_ns - (asked_ns + heard_ns) // 2, (heard_ns - asked_ns + 1) // 2
        if clock == self._own != bytes(16) and abs(ahead_ns) <= within_ns + _SAME_NS:
            self._readings = self._readings or [Reading(theirs_ns, 0, 0)]
            return
        new, last = Reading(theirs_ns, ahead_ns, within_ns), self._last()
        if last is not None and theirs_ns // self._stretch_ns == last.at_ns // self._stretch_ns:
            if new.within_ns >= last.within_ns:
                return
            self._readings.pop()
        self._readings.append(new)
        if len(self._readings) > _MOST:
            self._stretch_ns *= 2
            pairs = zip(self._readings[::2], self._readings[1::2], strict=False)
            self._readings = [min(pair, key=lambda one: one.within_ns) for pair in pairs]

    def _last(self) -> Reading | None:
        return self._readings[-1] if self._readings else None

    def readings(self) -> list[Reading]:
        """Give what is known, in order of time; nothing before the first answer.

        It is one reading as long as one difference of the clocks agrees with every answer: what
        the answers scatter by is no drift.
        """
        if not self._readings:
            return []
        low_ns = max(one.ahead_ns - one.within_ns for one in self._readings)
        high_ns = min(one.ahead_ns + one.within_ns for one in self._readings)
        if low_ns <= high_ns:
            middle_ns, within_ns = (low_ns + high_ns) // 2, (high_ns - low_ns + 1) // 2
            return [Reading(self._readings[-1].at_ns, middle_ns, within_ns)]
        useful = set(_useful(self._readings)) & set(_useful(reversed(self._readings)))
        return [one for one in self._readings if one in useful]

    def theirs(self, ours_ns: int) -> int | None:
        """Give what their clock shows at a time of ours; None before the first answer."""
        rows = self.readings()
        return ours_ns + rows[-1].ahead_ns if rows else None


def _useful(readings: Iterable[Reading]) -> Iterator[Reading]:
    """Give the readings that say more than those before them, at the most that clocks drift."""
    best: Reading | None = None
    for one in readings:
        if best is None or one.within_ns <= best.within_ns + _DRIFT * abs(one.at_ns - best.at_ns):
            best = one
            yield one


@dataclass(frozen=True, slots=True)
class Clock:
    """How to read the times of one worker on the common clock: (its time, how far it is ahead).

    Between two readings it is taken to drift evenly, before the first and behind the last not.
    """

    readings: tuple[tuple[int, int], ...] = ()

    def common(self, at_ns: int) -> int:
        """Give a time of the worker's as one of the common clock."""
        rows = self.readings
        if not rows:
            return at_ns
        place = bisect_left(rows, (at_ns, 0))
        if place in (0, len(rows)):
            return at_ns - rows[min(place, len(rows) - 1)][1]
        (from_ns, ahead_ns), (to_ns, then_ns) = rows[place - 1], rows[place]
        share = (at_ns - from_ns) / (to_ns - from_ns)
        return at_ns - ahead_ns - round(share * (then_ns - ahead_ns))

    def shift(self, at_ns: "NDArray[np.int64]") -> "NDArray[np.int64] | int":
        """Give what to add to each of many times."""
        rows = self.readings
        if len(rows) < 2:
            return -rows[0][1] if rows else 0
        import numpy as np  # noqa: PLC0415  # the writer's process never loads numpy

        # As differences: a float holds 104 days in nanoseconds, and a clock may show more.
        first_at_ns, first_ahead_ns = rows[0]
        times = [float(at - first_at_ns) for at, _ in rows]
        more = [float(ahead - first_ahead_ns) for _, ahead in rows]
        bent = np.interp((at_ns - first_at_ns).astype(np.float64), times, more)
        return -(first_ahead_ns + np.rint(bent).astype(np.int64))


def clocks_told(workers: Mapping[str, Any] | None) -> dict[str, Clock]:
    """Give the clocks of workers by name, as ``workers.json`` tells them; none where it does not.

    A row is ``{"at_ns", "ahead_ns", "within_ns"}``, as of a ``Reading``.
    """
    told = (workers or {}).get("clocks")
    if not isinstance(told, Mapping):
        return {}
    return {str(name): Clock(_pairs(rows)) for name, rows in told.items()}


def _pairs(rows: Sequence[Mapping[str, int]]) -> tuple[tuple[int, int], ...]:
    pairs: Iterable[tuple[int, int]] = ((int(row["at_ns"]), int(row["ahead_ns"])) for row in rows)
    return tuple(sorted(pairs))
