"""Which limiter it is: asks until one that is known is left, or nothing tells the rest apart.

Strategy: while the limit is used up, look when it lets go; then ask what tells the limiters apart
that still agree with every answer; where nothing does at once, use the limit up again at another
moment, so that what comes back will. A second end of a window, or the documented one, tells windows
that begin with a call from those that lie by the gateway's clock.
"""

import math
from collections.abc import Generator, Sequence
from typing import Final

from gateproof.limitlab.asker import Asker
from gateproof.limitlab.exchange import Ask, Entry, Reply
from gateproof.limitlab.fit import Fit, brackets, fit
from gateproof.limitlab.models import ALGORITHMS, Event, Variant
from gateproof.limitlab.stage import Asking, Stage
from gateproof.limitlab.steps import best_split, free_time, look_times, rare_times

__all__ = ["LEAD", "Explorer"]

LEAD: Final = 0.1
"""Of the window that is looked for first: how long the first request is alone."""
_WINDOWS: Final = 2.95  # the time for one limit, in windows of it
_AFTER_RUSH: Final = 2.5  # the same from its rush on, where the first request was alone for longer
_SURE: Final = 0.03  # a window is known when its range is no wider than this share of it
_HINTED: Final = 0.04  # how near a window must be to the one that was told or documented
_MEASURED: Final = 20  # units of a limit that comes back bit by bit, to measure how fast
_TRIPS: Final = 60  # or what comes back in so many round trips
_COINCIDENCES: Final = 3  # as often a limit let go when a window of its own clock would, by chance


class Explorer:
    """The search for one limit's algorithm and window."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    def explore(self, stage: Stage, tokens: int) -> Asking:
        """Ask until one limiter is left, or nothing can tell those that are left apart."""
        variants: Sequence[Variant] = ALGORITHMS
        fits: Sequence[Fit] = ()
        used_up = True
        while True:
            events = self._asker.events(stage)
            met = len(brackets(events))
            fits = fit(events, variants, longest_s=4 * self._asker.longest_s, near=fits)
            if not fits:
                stage.fits = []
                stage.notes.append(
                    "No limiter that is known agrees with every answer; other traffic on the key, "
                    "or a rule of its own, may be the reason."
                )
                stage.named_s = self._asker.now_s
                return
            variants = [one.variant for one in fits]
            stage.fits = fits = _plausible(fits, met)
            stage.named_s = self._asker.now_s
            if self._settled(fits, met):
                stage.fits = [one for one in fits if not one.variant.aligned] or fits
                return
            until_s = self._deadline(stage, fits, met)
            if self._asker.now_s >= until_s:
                return
            if used_up:
                passed = yield from self._await(stage, fits, events, met, until_s, tokens)
                if not passed:
                    if not met:
                        stage.named_s = self._asker.now_s
                    return
                used_up = False
                continue
            unit = stage.unit
            window_s = min(one.window_s for one in fits)
            split = best_split(
                fits, events, now_s=self._asker.now_s, until_s=until_s, window_s=window_s,
                unit=unit, most=max(2, stage.passed),
            )  # fmt: skip
            if split is not None:
                got = yield from self._asker.send(tokens=tokens, at_s=split.at_s, most=split.count)
                used_up = got[-1].kind == "refused"
                continue
            at_s = self._fill_at(fits[0], events, until_s, unit)
            if at_s >= until_s:
                return
            most = max(2, math.ceil(2.2 * stage.passed)) if not tokens else 400
            got = yield from self._asker.send(
                tokens=tokens, at_s=at_s, most=most, width=self._asker.width(most, 0.05 * window_s)
            )
            used_up = got[-1].kind == "refused"

    def _settled(self, fits: Sequence[Fit], met: int) -> bool:
        """Tell whether one limiter is left and its window known."""
        one = fits[0]
        if not met or len({other.variant.algorithm for other in fits}) > 1:
            return False
        if one.spread > _SURE:
            return False
        if len(fits) > 1 and fits[1].variant.counts_refused:
            return False
        if one.variant.algorithm == "fixed-window":
            # Windows by a clock end once after any time: only a second end, or the window that
            # was documented, tells them from those that begin with a call.
            return met > 1 or self._is_hinted(one.window_s)
        if one.variant.algorithm == "sliding-counter":
            return met > 1
        return True

    def _is_hinted(self, window_s: float) -> bool:
        return abs(window_s - self._asker.hint_s) <= _HINTED * self._asker.hint_s

    def _deadline(self, stage: Stage, fits: Sequence[Fit], met: int) -> float:
        """Return until when this limit may be looked at."""
        if not met:
            return stage.begin_s + 1.15 * self._asker.longest_s
        plain = [one for one in fits if not one.variant.aligned] or list(fits)
        window_s = max(
            min(one.window_s * (1 + one.spread / 2), self._asker.longest_s) for one in plain
        )
        return max(stage.begin_s + _WINDOWS * window_s, stage.rush_at_s + _AFTER_RUSH * window_s)

    def _fill_at(self, one: Fit, events: Sequence[Event], until_s: float, unit: float) -> float:
        """Return when to use the limit up again, so that what comes back tells more."""
        if one.variant.algorithm in ("fixed-window", "sliding-log"):
            return self._asker.now_s + 0.3 * one.window_s
        # Bits that come back faster than a round trip are measured by more of them.
        trip_s = self._asker.record.trip_ns / 1e9
        many = max(_MEASURED * unit, _TRIPS * trip_s * one.limit / one.window_s)
        want = min(many, 0.6 * one.limit)
        return free_time(
            one, events, now_s=self._asker.now_s, until_s=until_s, want=max(want, unit), kind=False
        )

    def _await(
        self,
        stage: Stage,
        fits: Sequence[Fit],
        events: Sequence[Event],
        met: int,
        until_s: float,
        tokens: int,
    ) -> Generator[Ask, Sequence[Reply], bool]:
        """Look until the limit lets go; tell whether it did."""
        now_s = self._asker.now_s
        begin_s = max((event.at_s for event in events if event.passed), default=now_s)
        if met:
            times = look_times(fits, events, now_s=now_s, until_s=until_s, unit=stage.unit)
            last_s = times[-1] if times else now_s
            gone_s = max(last_s - begin_s, 1e-3)
            times += rare_times(begin_s, gone_s * 1.1, self._asker.hint_s, until_s)
        else:
            whole_s = self._asker.hint_s
            first_s = 0.45 * whole_s / max(stage.passed, 1)
            # Windows begin with the first request, refills with the last: both are looked for.
            times = list(rare_times(begin_s, first_s, whole_s - LEAD * whole_s, until_s))
            times += [stage.begin_s + whole_s * share for share in (0.985, 1.0, 1.005)]
        times = sorted(time_s for time_s in times if time_s <= until_s)
        trip_s = self._asker.record.trip_ns / 1e9
        claims = list(self._claims(stage, self._asker.record.entries[-1], until_s))
        while times or claims:
            gone_s = self._asker.now_s - begin_s
            gap_s = max(1.5 * trip_s, 0.006 * gone_s)
            times = [time_s for time_s in times if time_s > self._asker.now_s + gap_s]
            claims = [time_s for time_s in claims if time_s > self._asker.now_s + trip_s]
            soonest = sorted([*times[:1], *claims[:1]])
            if not soonest:
                break
            got = (yield from self._asker.send(tokens=tokens, at_s=soonest[0]))[-1]
            if got.kind == "passed":
                return True
            if not claims and got.kind == "refused":
                claims = list(self._claims(stage, got, until_s))
        # Who is late finds no time left to look at, and has not looked since.
        return (yield from self._asker.send(tokens=tokens))[-1].kind == "passed"

    def _claims(self, stage: Stage, entry: Entry, until_s: float) -> tuple[float, ...]:
        """Return when to look by the ``Retry-After`` of a refusal: shortly before, and then."""
        wait_s = entry.reply.told.retry_after_s
        if entry.kind != "refused" or not wait_s:
            return ()
        done_s = (entry.reply.done_ns - self._asker.record.begin_ns) / 1e9
        trip_s = self._asker.record.trip_ns / 1e9
        before_s = done_s + wait_s - max(3 * trip_s, 0.01 * wait_s)
        # A wait that ends almost now would be followed by many like it.
        if wait_s < max(4 * trip_s, 0.02 * (self._asker.now_s - stage.begin_s)):
            return ()
        return tuple(time_s for time_s in (before_s, done_s + wait_s) if time_s <= until_s)


def _plausible(fits: Sequence[Fit], met: int) -> list[Fit]:
    """Leave out windows by a clock that would have ended, so often, just when others do."""
    plain = [one for one in fits if not one.variant.aligned]
    return plain if met >= _COINCIDENCES and plain else list(fits)
