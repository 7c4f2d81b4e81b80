"""What to ask next: when to look whether a limit has let go, and which request tells most.

Strategy: a request that some limiters would pass and others refuse tells them apart; of those the
cheapest and soonest is taken. While all would refuse, looking costs nothing but a refusal, so the
times at which one of them would let go are looked at in turn, and beyond them ever more rarely.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from gateproof.limitlab.fit import Fit
from gateproof.limitlab.models import Event

__all__ = ["Split", "best_split", "free_time", "look_times", "next_pass", "rare_times"]

_TIMES: Final = 24
_MARGIN: Final = 0.06  # of a unit: what rounding and lateness may change
_LOOKS: Final = 9  # at the time in which a limiter that is known would let go
_RARELY: Final = 1.22  # how much later each look is than the one before it, at the most
_OFTEN: Final = 1.04  # and at the least
_DECADE: Final = 2.83  # the logarithm of the time from the first look to the last
_SECOND_WORTH: Final = 30.0  # a whole window of waiting is worth so many requests


@dataclass(frozen=True, slots=True)
class Split:
    """A moment and a number of requests that tell limiters apart."""

    at_s: float
    count: int


def best_split(
    fits: Sequence[Fit],
    events: Sequence[Event],
    *,
    now_s: float,
    until_s: float,
    window_s: float,
    unit: float,
    most: int,
) -> Split | None:
    """Return the cheapest request that tells some of these limiters apart, if there is one."""
    if len(fits) < 2 or until_s <= now_s:
        return None
    best: tuple[float, Split] | None = None
    length_s = until_s - now_s
    for step in range(_TIMES):
        at_s = now_s + (length_s * (step / (_TIMES - 1)) ** 2)
        free = [tuple(value / unit for value in one.free(events, at_s)) for one in fits]
        for _, high in free:
            count = max(0, math.floor(high + _MARGIN))
            if count + 1 > most:
                continue
            if any(math.floor(low - _MARGIN) > count for low, _ in free):
                score = count + 1 + _SECOND_WORTH * (at_s - now_s) / window_s
                if best is None or score < best[0]:
                    best = (score, Split(at_s, count + 1))
    return best[1] if best else None


def next_pass(
    fit: Fit, events: Sequence[Event], *, now_s: float, until_s: float, unit: float
) -> tuple[float, float]:
    """Return from when at the earliest, and when at the latest, a limiter passes one unit."""
    kind = free_time(fit, events, now_s=now_s, until_s=until_s, want=unit, kind=True)
    sure = free_time(fit, events, now_s=now_s, until_s=until_s, want=unit, kind=False)
    return kind, max(kind, sure)


def free_time(
    fit: Fit, events: Sequence[Event], *, now_s: float, until_s: float, want: float, kind: bool
) -> float:
    """Return when so much passes: at the kindest reading of the fit, or at the least kind."""
    place = 1 if kind else 0
    if fit.free(events, now_s)[place] >= want:
        return now_s
    if fit.free(events, until_s)[place] < want:
        return until_s
    low_s, high_s = now_s, until_s
    for _ in range(22):
        middle_s = (low_s + high_s) / 2
        if fit.free(events, middle_s)[place] >= want:
            high_s = middle_s
        else:
            low_s = middle_s
    return high_s


def look_times(
    fits: Sequence[Fit],
    events: Sequence[Event],
    *,
    now_s: float,
    until_s: float,
    unit: float,
) -> list[float]:
    """Return when to look whether the limit has let go, by what each limiter says."""
    found = []
    for one in fits:
        kind_s, sure_s = next_pass(one, events, now_s=now_s, until_s=until_s, unit=unit)
        if kind_s >= until_s:
            continue
        wait_s = max(sure_s - now_s, 1e-6)
        found.append(kind_s - 0.015 * wait_s)
        found += [kind_s + (sure_s - kind_s) * step / _LOOKS for step in range(1, _LOOKS + 1)]
        found.append(sure_s + 0.01 * wait_s)
    return sorted(time_s for time_s in found if now_s < time_s <= until_s)


def rare_times(
    begin_s: float, first_s: float, hint_s: float, until_s: float, *, passed: int = 0
) -> Iterable[float]:
    """Give times ever further apart, closer around the hint: nothing is known yet.

    There are the more of them the more has passed: refused looks may count as well, and so few of
    them do not use the limit up themselves.
    """
    growth = max(_OFTEN, min(_RARELY, math.exp(_DECADE / max(passed / 2, 1))))
    time_s = first_s
    while time_s < until_s - begin_s:
        yield begin_s + time_s
        near = 0.8 * hint_s <= time_s <= 1.25 * hint_s
        time_s *= min(1.05, growth) if near else growth
    yield until_s
