"""The limiters that are known, each as a function of its time parameter.

Strategy: an algorithm and its one time parameter (the window, or for a bucket the time in which it
fills by one) are enough to say, at each request, how much was in use. An answer then bounds the
limit: what passed needs ``used + cost <= limit``, what was refused ``used + cost > limit``. So a
walk over the record gives the limits that an algorithm allows, as an interval; an empty one refutes
the pair. No limit is ever guessed.

Rules. When a request was decided is known to a slack only: what passed is held to the kindest
moment in it, what was refused to the unkindest. Times are seconds from the first request.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["FURTHER", "PLAIN", "Bounds", "Event", "Variant", "bounds", "compress", "free_at"]

_EPSILON: Final = 1e-6  # of a request or token: what floating point may leave
# Where use fades evenly, each time's slack leaves a part of a request that sums up over a rush;
# what has not begun to fade is a whole number, and known.
_FADING: Final = frozenset({"token-bucket", "sliding-counter"})
_LEEWAY: Final = 0.05  # of the smallest request


@dataclass(frozen=True, slots=True)
class Event:
    """One decision, or several alike: when (and how surely), how much, and whether it passed."""

    at_s: float
    slack_s: float
    cost: float
    passed: bool
    group: str = ""
    """Whose: decisions of different groups share no counter."""
    count: int = 1


@dataclass(frozen=True, slots=True)
class Variant:
    """An algorithm in one of its forms."""

    algorithm: str
    form: str = ""
    """``aligned``: windows lie by the gateway's clock; ``counts-refused``: refused calls count."""

    @property
    def aligned(self) -> bool:
        """Tell whether the windows lie by a clock of the gateway's own."""
        return self.form == "aligned"

    @property
    def counts_refused(self) -> bool:
        """Tell whether a refused call uses the limit as well."""
        return self.form == "counts-refused"


PLAIN: Final = (
    Variant("fixed-window"),
    Variant("sliding-log"),
    Variant("sliding-counter"),
    Variant("token-bucket"),
    Variant("sliding-log", "counts-refused"),
)
"""What is tried first: one parameter each, so that a coincidence is rare."""

FURTHER: Final = (
    Variant("fixed-window", "aligned"),
    Variant("sliding-counter", "aligned"),
)
"""What is tried when none of those agrees: where their windows begin is a second parameter."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Which limits agree with a record: ``low <= limit < high``."""

    low: float
    high: float
    way: int = 0
    """Where they fail: 1 when something passed too soon for the window, -1 when too late."""

    def gap(self, *, whole: bool = False) -> float:
        """Return by how much they fail; below zero they hold.

        Limits need not be whole: one of tokens is a broken number of requests.
        """
        if not whole or not math.isfinite(self.high):
            return self.low + _EPSILON - self.high
        near = math.floor((self.low + self.high) / 2)
        return min(
            max(self.low - _EPSILON - limit, limit + _EPSILON - self.high)
            for limit in (near, near + 1)
        )


class _Used:
    """How much of a limit is in use; one for each algorithm.

    ``way`` says how what is known to a slack only is read: 1 for the least that may be in use, -1
    for the most, 0 for what is likely.
    """

    __slots__ = ()

    def used(self, at_s: float, way: int = 0) -> float:
        """Return what is in use at a time that is not before the last added one."""
        raise NotImplementedError

    def add(self, at_s: float, cost: float, slack_s: float = 0.0) -> None:
        """Count what passed at a time, more or less."""
        raise NotImplementedError


class _Fixed(_Used):
    __slots__ = ("_begin", "_phase", "_slack", "_sum", "_window")

    def __init__(self, window_s: float, phase_s: float | None) -> None:
        self._window = window_s
        self._phase = phase_s
        self._begin = -math.inf
        self._slack = 0.0
        self._sum = 0.0

    def used(self, at_s: float, way: int = 0) -> float:
        return self._sum if at_s + way * self._slack < self._begin + self._window else 0.0

    def add(self, at_s: float, cost: float, slack_s: float = 0.0) -> None:
        if at_s >= self._begin + self._window:
            self._sum = 0.0
            self._begin = at_s
            self._slack = slack_s
            if self._phase is not None:
                places = math.floor((at_s - self._phase) / self._window)
                self._begin = self._phase + places * self._window
                self._slack = 0.0
        self._sum += cost


class _Log(_Used):
    __slots__ = ("_first", "_log", "_sum", "_window")

    def __init__(self, window_s: float) -> None:
        self._window = window_s
        self._log: list[tuple[float, float, float]] = []
        self._first = 0
        self._sum = 0.0

    def used(self, at_s: float, way: int = 0) -> float:
        edge, gone = at_s - self._window, 0.0
        for place in range(self._first, len(self._log)):
            old_s, cost, slack_s = self._log[place]
            if old_s - way * slack_s > edge:
                break
            gone += cost
        return self._sum - gone

    def add(self, at_s: float, cost: float, slack_s: float = 0.0) -> None:
        edge = at_s - 1.5 * self._window  # later than any slack looks back
        while self._first < len(self._log) and self._log[self._first][0] <= edge:
            self._sum -= self._log[self._first][1]
            self._first += 1
        self._log.append((at_s, cost, slack_s))
        self._sum += cost


class _Counter(_Used):
    __slots__ = ("_before", "_begin", "_now", "_phase", "_slack", "_window")

    def __init__(self, window_s: float, phase_s: float | None) -> None:
        self._window = window_s
        self._phase = phase_s
        self._begin = -math.inf
        self._before = 0.0
        self._now = 0.0
        self._slack = 0.0

    def _at(self, at_s: float) -> tuple[float, float, float]:
        windows = math.floor((at_s - self._begin) / self._window) if self._now else 2
        if not self._now and self._before and at_s < self._begin + self._window:
            windows = 0
        if windows <= 0:
            return self._begin, self._before, self._now
        begin = self._begin + windows * self._window
        if windows == 1:
            return begin, self._now, 0.0
        if self._phase is not None:
            places = math.floor((at_s - self._phase) / self._window)
            return self._phase + places * self._window, 0.0, 0.0
        return at_s, 0.0, 0.0

    def used(self, at_s: float, way: int = 0) -> float:
        at_s += way * self._slack
        begin, before, now = self._at(at_s)
        share = min(1.0, max(0.0, 1 - (at_s - begin) / self._window)) if before else 0.0
        return now + before * share

    def add(self, at_s: float, cost: float, slack_s: float = 0.0) -> None:
        begin, self._before, self._now = self._at(at_s)
        if begin == at_s:
            self._slack = slack_s
        self._begin = begin
        self._now += cost


class _Bucket(_Used):
    """``window_s`` is the time in which the bucket fills by one."""

    __slots__ = ("_last", "_missing", "_slack", "_window")

    def __init__(self, window_s: float) -> None:
        self._window = window_s
        self._last = 0.0
        self._missing = 0.0
        self._slack = 0.0

    def used(self, at_s: float, way: int = 0) -> float:
        return max(0.0, self._missing - (at_s + way * self._slack - self._last) / self._window)

    def add(self, at_s: float, cost: float, slack_s: float = 0.0) -> None:
        self._missing = self.used(at_s) + cost
        self._last = at_s
        self._slack = slack_s


def _meter(variant: Variant, window_s: float, phase_s: float) -> _Used:
    """Make an empty meter of a variant."""
    phase = phase_s if variant.aligned else None
    match variant.algorithm:
        case "fixed-window":
            return _Fixed(window_s, phase)
        case "sliding-log":
            return _Log(window_s)
        case "sliding-counter":
            return _Counter(window_s, phase)
        case _:
            return _Bucket(window_s)


def bounds(
    events: Sequence[Event], variant: Variant, window_s: float, phase_s: float = 0.0
) -> Bounds:
    """Return the limits that agree with a record (in the order of time) under a variant."""
    low, high = 0.0, math.inf
    meters: dict[str, _Used] = {}
    low_place = high_place = -1
    refused_count = variant.counts_refused
    leeway = 0.0
    if variant.algorithm in _FADING and events:
        leeway = _LEEWAY * min(event.cost / event.count for event in events)
    for place, event in enumerate(events):
        meter = meters.get(event.group)
        if meter is None:
            meter = meters[event.group] = _meter(variant, window_s, phase_s)
        at_s, cost = event.at_s, event.cost
        if event.passed:
            need = meter.used(at_s + event.slack_s, 1) + cost
            if leeway and not need.is_integer():
                need -= leeway
            if need > low:
                low, low_place = need, place
            # On the edge of a window it fell on the kind side, since it passed.
            crossed = meter.used(at_s) + cost > high >= need
            meter.add(at_s + event.slack_s if crossed else at_s, cost, event.slack_s)
        else:
            over = cost / event.count
            most = meter.used(at_s - event.slack_s, -1) + over
            if leeway and not most.is_integer():
                most += leeway
            if most < high:
                high, high_place = most, place
            if refused_count:
                meter.add(at_s, cost, event.slack_s)
    return Bounds(low, high, 1 if low_place > high_place else -1)


def free_at(
    events: Sequence[Event],
    variant: Variant,
    window_s: float,
    limit: float,
    at_s: float,
    *,
    phase_s: float = 0.0,
    group: str = "",
) -> float:
    """Return how much would pass at a time after the record, under a limiter that is known."""
    meter = _meter(variant, window_s, phase_s)
    for event in events:
        if event.group == group and (event.passed or variant.counts_refused):
            meter.add(event.at_s, event.cost)
    return limit - meter.used(at_s)


def compress(events: Sequence[Event], grain_s: float, *, all_refusals: bool = False) -> list[Event]:
    """Join what passed in one rush, and leave of refusals in a row the last, which says most.

    What is in use only falls while nothing passes, so of a row of equal refusals the latest bounds
    the limit best; unless refusals count, when ``all_refusals`` keeps each at its time. ``grain_s``
    is how long a rush that is joined may last.
    """
    out: list[Event] = []
    for event in events:
        last = out[-1] if out else None
        alike = last is not None and last.passed == event.passed and last.group == event.group
        if not alike or last is None:
            out.append(event)
        elif event.passed:
            begin, end = last.at_s - last.slack_s, event.at_s + event.slack_s
            if end - begin <= max(grain_s, 2 * event.slack_s):
                out[-1] = _joined(last, event, (begin + end) / 2, (end - begin) / 2)
            else:
                out.append(event)
        elif last.cost / last.count == event.cost and not all_refusals:
            out[-1] = _joined(last, event, event.at_s, event.slack_s)
        else:
            out.append(event)
    return out


def _joined(first: Event, second: Event, at_s: float, slack_s: float) -> Event:
    """Return two decisions alike as one."""
    cost, count = first.cost + second.cost, first.count + second.count
    return Event(at_s, slack_s, cost, second.passed, second.group, count)
