"""How strong a load is over time: stages of users or of arrivals per second, as one function.

Strategy: stages become segments of a line (level at the beginning, level at the end), so that the
level at a time, the area under it and the time at which an area is reached have closed forms. The
area under a rate is the number of arrivals to be expected: whoever draws arrivals of rate one maps
them through ``time_of``, which is exact for every process of independent gaps.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Shape", "Stage"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: so many users or arrivals per second, for so long.

    With ``ramp`` the level grows or shrinks evenly from where the stage before it ended (from
    nothing in the first one); otherwise it changes at once.
    """

    for_s: float
    users: int | None = None
    rate_per_s: float | None = None
    ramp: bool = False

    @property
    def level(self) -> float:
        """Give the level at the end of the stage."""
        return float((self.users if self.users is not None else self.rate_per_s) or 0.0)


@dataclass(frozen=True, slots=True)
class _Segment:
    """A piece of the line; ``area_before`` is what lies under all pieces before it."""

    from_s: float
    for_s: float
    first: float
    last: float
    area_before: float

    @property
    def slope(self) -> float:
        return (self.last - self.first) / self.for_s if self.first != self.last else 0.0


class Shape:
    """A level over time, from 0 s to ``length_s`` (infinite for a level that stays)."""

    __slots__ = ("_segments", "length_s", "most")

    def __init__(self, stages: Sequence[Stage]) -> None:
        segments: list[_Segment] = []
        at_s = area = level = 0.0
        for stage in stages:
            first = level if stage.ramp else stage.level
            segments.append(_Segment(at_s, stage.for_s, first, stage.level, area))
            at_s += stage.for_s
            area += (first + stage.level) / 2 * stage.for_s
            level = stage.level
        self._segments = tuple(segments)
        self.length_s = at_s
        self.most = max((max(one.first, one.last) for one in segments), default=0.0)

    @classmethod
    def steady(cls, level: float) -> "Shape":
        """Give the shape of one level that stays for ever."""
        return cls([Stage(math.inf, rate_per_s=level)])

    def level(self, at_s: float) -> float:
        """Give the level at a time; nothing before the beginning and from the end on."""
        for one in self._segments:
            if 0 <= at_s - one.from_s < one.for_s:
                return one.first + one.slope * (at_s - one.from_s)
        return 0.0

    def times_of(self, areas: Iterator[float]) -> Iterator[float]:
        """Give for each of some growing areas when it is reached; ends where the shape ends."""
        segments = iter(self._segments)
        one = next(segments, None)
        for area in areas:
            while one is not None:
                inside_s = _reached(area - one.area_before, one.first, one.slope, one.for_s)
                if inside_s is not None:
                    yield one.from_s + inside_s
                    break
                one = next(segments, None)
            if one is None:
                return

    def spans_above(self, threshold: float) -> tuple[tuple[float, float], ...]:
        """Give the spans (from, to) with the level above a threshold, joined and in order."""
        spans: list[tuple[float, float]] = []
        for one in self._segments:
            to_s = one.from_s + one.for_s
            above = one.first > threshold, one.last > threshold
            if not any(above):
                continue
            begin_s, end_s = one.from_s, to_s
            if above[0] != above[1]:
                crossing_s = one.from_s + (threshold - one.first) / one.slope
                begin_s, end_s = (one.from_s, crossing_s) if above[0] else (crossing_s, to_s)
            if spans and spans[-1][1] >= begin_s:
                begin_s = spans.pop()[0]
            spans.append((begin_s, end_s))
        return tuple(spans)


def _reached(area: float, first: float, slope: float, for_s: float) -> float | None:
    """Give when a segment's area is reached, or None when it holds less."""
    if area <= 0:
        return 0.0 if first > 0 or slope > 0 else None
    # The root of first·t + slope/2·t² = area, in the form that loses no digits.
    under = first * first + 2 * slope * area
    divisor = first + math.sqrt(under) if under >= 0 else 0.0
    if divisor <= 0:
        return None
    at_s = 2 * area / divisor
    return at_s if at_s < for_s else None
