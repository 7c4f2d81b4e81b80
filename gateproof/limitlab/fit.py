"""Which limiters agree with every answer: the known algorithms, each with its time parameter.

Strategy: for an algorithm only few windows can explain why a request passed after one was refused,
so those are tried first, then a coarse grid; where the bounds fail least the search zooms in. What
holds is widened to its edges, so that a window is told with its uncertainty. An algorithm without
any window that holds is refuted, and stays so whatever comes later.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from gateproof.limitlab.models import PLAIN, Bounds, Event, Variant, bounds, compress, free_at

__all__ = ["Fit", "brackets", "fit"]

_GRID: Final = 20
_STARTS: Final = 20
_NEAR: Final = 24
_ZOOMS: Final = 3
_ZOOM_POINTS: Final = 7
_EDGE_STEPS: Final = 10
_HALVINGS: Final = 34
_BEST: Final = 3
_PHASE_HALVINGS: Final = 9
_PHASES: Final = 7
# Where in the time in which a limit let go a window may have ended; others on it say more.
_SHARES: Final = (0.5, 0.02, 0.15, 0.3, 0.7, 0.85, 0.98)
_PER_WINDOW: Final = 400  # rushes are joined to so many parts of the time that was watched
_ALIGNED_COUNTER: Final = Variant("sliding-counter", "aligned")


@dataclass(frozen=True, slots=True)
class Fit:
    """A limiter that agrees with every answer: its window (or refill) and limit, as ranges."""

    variant: Variant
    low_s: float
    high_s: float
    best_s: float
    phase_s: float
    limits: Bounds
    """At the best window."""
    reach: Bounds
    """Over all windows that agree."""
    phases: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Where windows by a clock begin, for the least, the best and the longest that agrees."""

    @property
    def limit(self) -> float:
        """Return a limit that agrees at the best window: a whole one where there is one."""
        low, high = self.limits.low, self.limits.high
        whole = math.ceil(low - 1e-6)
        return max(1.0, whole if whole < high + 1e-6 else (low + high) / 2)

    @property
    def spread(self) -> float:
        """Return how unsure the window is, as a share of it."""
        return (self.high_s - self.low_s) / self.best_s

    @property
    def window_s(self) -> float:
        """Return the window: for a bucket, the time in which it fills from empty."""
        return self.best_s * self.limit if self.is_bucket else self.best_s

    @property
    def least_s(self) -> float:
        """Return the shortest window that agrees."""
        return self.low_s * self.limit if self.is_bucket else self.low_s

    @property
    def is_bucket(self) -> bool:
        """Tell whether the parameter is a refill, not a window."""
        return self.variant.algorithm == "token-bucket"

    def times(self, cost: float) -> "Fit":
        """Return the same limiter with a limit that is counted in smaller parts."""
        by = cost if self.is_bucket else 1.0
        return replace(
            self,
            low_s=self.low_s / by,
            high_s=self.high_s / by,
            best_s=self.best_s / by,
            limits=Bounds(self.limits.low * cost, self.limits.high * cost),
            reach=Bounds(self.reach.low * cost, self.reach.high * cost),
        )

    def samples(self) -> tuple[tuple[float, float], ...]:
        """Return a few (window, phase) pairs over what agrees."""
        if self.low_s == self.high_s:
            return ((self.best_s, self.phase_s),)
        windows = (self.low_s, self.best_s, self.high_s)
        return tuple(zip(windows, self.phases, strict=True))

    def free(self, events: Sequence[Event], at_s: float) -> tuple[float, float]:
        """Return the least and the most that would pass at a time, over what agrees."""
        found = [
            free_at(events, self.variant, window_s, self.limit, at_s, phase_s=phase_s)
            for window_s, phase_s in self.samples()
        ]
        return min(found), max(found)


def brackets(events: Sequence[Event]) -> list[tuple[float, float]]:
    """Return each (refused, passed) pair of times in a row: there a limit let go."""
    found = []
    last: dict[str, Event] = {}
    for event in events:
        before = last.get(event.group)
        let_go = event.passed and before is not None and not before.passed
        if let_go and before and event.cost / event.count <= before.cost / before.count:
            found.append((before.at_s - before.slack_s, event.at_s + event.slack_s))
        last[event.group] = event
    return found


def fit(
    events: Sequence[Event],
    variants: Sequence[Variant] = PLAIN,
    *,
    shortest_s: float = 1e-3,
    longest_s: float = 1e5,
    whole: bool = False,
    near: Sequence[Fit] = (),
) -> list[Fit]:
    """Return the limiters that agree with a record; ``variants`` are those not yet refuted.

    With ``whole``, only limits that are whole numbers agree. ``near`` are the fits to a part of the
    record: what agrees now agreed then, so it is looked for among them as well.
    """
    if not events:
        return []
    span_s = max(events[-1].at_s - events[0].at_s, 1e-6)
    grain_s = span_s / _PER_WINDOW
    packed, every = compress(events, grain_s), compress(events, grain_s, all_refusals=True)
    met = brackets(packed)
    found = []
    for variant in variants:
        used = every if variant.counts_refused else packed
        then = next((one for one in near if one.variant == variant), None)
        best = _Search(used, variant, met, whole=whole, then=then).run(
            span_s, shortest_s, longest_s
        )
        if best is not None:
            found.append(best)
    return found


class _Search:
    """The search of one variant's window."""

    def __init__(
        self,
        events: Sequence[Event],
        variant: Variant,
        met: Sequence[tuple[float, float]],
        *,
        whole: bool,
        then: Fit | None,
    ) -> None:
        self._events = events
        self._variant = variant
        self._met = met
        self._whole = whole
        self._then = then
        self._seen: dict[float, tuple[Bounds, float]] = {}

    def run(self, span_s: float, shortest_s: float, longest_s: float) -> Fit | None:
        """Return what agrees, or nothing."""
        tried = self._halve(span_s)
        # A fixed window may have begun with more than one call: each is a range of its own.
        fixed = self._variant.algorithm == "fixed-window"
        if fixed or not any(self._holds(window_s) for window_s in tried):
            tried = sorted({*tried, *self._candidates(span_s, shortest_s, longest_s)})
        gaps = {window_s: self._gap(window_s) for window_s in tried}
        for _ in range(_ZOOMS):
            if min(gaps.values()) < 0:
                break
            for place in sorted(range(len(tried)), key=lambda place: gaps[tried[place]])[:_BEST]:
                low_s = tried[max(place - 1, 0)]
                high_s = tried[min(place + 1, len(tried) - 1)]
                for step in range(1, _ZOOM_POINTS):
                    window_s = low_s + (high_s - low_s) * step / _ZOOM_POINTS
                    gaps[window_s] = self._gap(window_s)
            tried = sorted(gaps)
        held = [window_s for window_s in tried if self._holds(window_s)]
        if not held:
            return None
        low_s = self._edge(tried, held[0], -1)
        high_s = self._edge(tried, held[-1], 1)
        middle_s = (low_s + high_s) / 2
        best_s = middle_s if self._holds(middle_s) else held[len(held) // 2]
        limits = self._bounds(best_s)
        over = [self._bounds(window_s) for window_s in (low_s, best_s, high_s)]
        least = min(one.low for one in over)
        most = max(one.high for one in over)
        reach = Bounds(least, most)
        phases = [self._at(window_s)[1] for window_s in (low_s, best_s, high_s)]
        return Fit(
            self._variant, low_s, high_s, best_s, phases[1], limits, reach, tuple(phases)
        )  # fmt: skip

    def _halve(self, span_s: float) -> list[float]:
        """Return windows tried by halving: what passed too soon for one wants it shorter."""
        low_s, high_s = span_s / 1e5, span_s * 8
        tried = [low_s, high_s]
        for _ in range(_HALVINGS):
            middle_s = math.sqrt(low_s * high_s)
            tried.append(middle_s)
            if self._gap(middle_s) < 0:
                break
            if self._bounds(middle_s).way > 0:
                high_s = middle_s
            else:
                low_s = middle_s
        return sorted(tried)

    def _candidates(self, span_s: float, shortest_s: float, longest_s: float) -> set[float]:
        """Return the windows that are tried first."""
        events, found = self._events, set[float]()
        if self._then is not None:
            low_s, high_s = 0.98 * self._then.low_s, 1.02 * self._then.high_s
            found |= {low_s + (high_s - low_s) * step / _NEAR for step in range(_NEAR + 1)}
        passed = [event for event in events if event.passed]
        if self._variant.algorithm == "token-bucket":
            since = next((event.at_s for event in events if not event.passed), 0.0)
            after = sum(event.cost for event in passed if event.at_s > since)
            middle_s = (events[-1].at_s - since) / (after + 1) if after else span_s
            low_s, high_s = middle_s / 30, middle_s * 30
        else:
            low_s, high_s = span_s / 60, span_s * 4
            if self._met:
                late_s, next_s = min(self._met, key=lambda pair: pair[1] - pair[0])
                starts = sorted({event.at_s for event in passed if event.at_s < late_s})
                step = max(1, len(starts) // _STARTS)
                for start_s in {*starts[::step], *starts[:2], *starts[-2:]}:
                    for share in (0.03, 0.35, 0.65, 0.97):
                        gone_s = late_s + (next_s - late_s) * share - start_s
                        # A counter whose limit is one gives it back when all has faded.
                        found |= {gone_s, gone_s / 2}
                # Windows that lie by a clock are told by the time between two ends of theirs.
                for first_s, second_s in zip(self._met, self._met[1:], strict=False):
                    whole_s = (sum(second_s) - sum(first_s)) / 2
                    found |= {whole_s, whole_s / 2}
        found |= {low_s * (high_s / low_s) ** (step / (_GRID - 1)) for step in range(_GRID)}
        tight = self._variant.algorithm == "token-bucket"
        return {
            window_s
            for window_s in found
            if window_s > 0 and (tight or shortest_s <= window_s <= longest_s)
        }

    def _bounds(self, window_s: float) -> Bounds:
        return self._at(window_s)[0]

    def _at(self, window_s: float) -> tuple[Bounds, float]:
        """Return the limits that agree with a window, and where its windows then begin."""
        got = self._seen.get(window_s)
        if got is None:
            if self._variant == _ALIGNED_COUNTER and self._met:
                got = self._clock_phase(window_s)
            else:
                phases = self._phases(window_s)
                got = min((self._from(window_s, at_s) for at_s in phases), key=self._fails)
            self._seen[window_s] = got
        return got

    def _clock_phase(self, window_s: float) -> tuple[Bounds, float]:
        """Return where the windows of a counter by a clock begin.

        One begins where the use begins to fade: so long before the limit let go as one request
        takes to fade, or between the first request and the rush.
        """
        late_s, let_go_s = self._met[0]
        before = [event for event in self._events if event.passed and event.at_s <= late_s]
        used = sum(event.cost for event in before if not event.group)
        cost = min(event.cost / event.count for event in self._events)
        fades_s = window_s * cost / max(used, cost)
        times = [event.at_s for event in before]
        _, lead_s, rush_s = max(
            ((next_s - one_s, one_s, next_s) for one_s, next_s in pairwise(times)),
            default=(0.0, times[0], times[0]),
        )
        return min(
            self._least_between(window_s, late_s - 1.6 * fades_s, let_go_s - 0.5 * fades_s),
            self._least_between(window_s, lead_s, rush_s),
            key=self._fails,
        )

    def _least_between(self, window_s: float, low_s: float, high_s: float) -> tuple[Bounds, float]:
        """Return where between two moments a counter's windows begin, as far as it agrees."""
        step_s = (high_s - low_s) / (_PHASES - 1)
        found = [self._from(window_s, low_s + step_s * place) for place in range(_PHASES)]
        best = min(found, key=self._fails)
        for _ in range(_PHASE_HALVINGS):
            if self._fails(best) < 0 or not step_s:
                break
            step_s /= 2
            sides = (self._from(window_s, best[1] + way * step_s) for way in (-1, 1))
            best = min(best, *sides, key=self._fails)
        return best

    def _from(self, window_s: float, phase_s: float) -> tuple[Bounds, float]:
        return bounds(self._events, self._variant, window_s, phase_s), phase_s

    def _fails(self, found: tuple[Bounds, float]) -> float:
        return found[0].gap(whole=self._whole)

    def _phases(self, window_s: float) -> tuple[float, ...]:
        """Return where windows of a length may begin, by when a limit let go."""
        if not self._variant.aligned:
            return (0.0,)
        if not self._met:
            return (self._events[0].at_s,)
        first_s, last_s = min(self._met, key=lambda pair: pair[1] - pair[0])
        for low_s, high_s in self._met:
            apart_s = (low_s + high_s - first_s - last_s) / 2
            away_s = round(apart_s / window_s) * window_s
            if low_s - away_s < last_s and high_s - away_s > first_s:
                first_s, last_s = max(first_s, low_s - away_s), min(last_s, high_s - away_s)
        inside_s = last_s - first_s
        return tuple(first_s + inside_s * share for share in _SHARES)

    def _holds(self, window_s: float) -> bool:
        return self._gap(window_s) < 0

    def _gap(self, window_s: float) -> float:
        return self._bounds(window_s).gap(whole=self._whole)

    def _edge(self, tried: Sequence[float], held_s: float, way: int) -> float:
        """Return how far a window that holds can be moved one way."""
        place = tried.index(held_s) + way
        if not 0 <= place < len(tried):
            return held_s
        good_s, bad_s = held_s, tried[place]
        for _ in range(_EDGE_STEPS):
            middle_s = (good_s + bad_s) / 2
            if self._holds(middle_s):
                good_s = middle_s
            else:
                bad_s = middle_s
        return good_s
