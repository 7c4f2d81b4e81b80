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
from gateproof.limitlab.models import FURTHER, PLAIN, Event, Variant
from gateproof.limitlab.stage import Asking, Stage
from gateproof.limitlab.steps import best_split, free_time, look_times, rare_times

__all__ = ["LEAD", "Explorer"]

LEAD: Final = 0.1
"""Of the window that is looked for first: how long the first request is alone."""
_WINDOWS: Final = 2.85  # the time for one limit, in windows of it
_AFTER_RUSH: Final = 2.45  # the same from its rush on, where the first request was alone for longer
_SURE: Final = 0.03  # a window is known when its range is no wider than this share of it
_UNSURE: Final = 0.2
_SPARE: Final = 9  # small requests fill what a refused large one leaves
_HINTED: Final = 0.04  # how near a window must be to the one that was told or documented
_MEASURED: Final = 20  # units of a limit that comes back bit by bit, to measure how fast
_OFTEN: Final = 1.03  # how much longer is waited at each look for windows by a clock
_TWICE: Final = 2  # so often a limit that lets go as one limiter would does so by no coincidence
_FAR: Final = 2  # times the longest window that is waited for: a longer one is unlikely
_TRIPS: Final = 60  # or what comes back in so many round trips


class Explorer:
    """The search for one limit's algorithm and window."""

    def __init__(self, asker: Asker, large: int = 0, other: Sequence[Fit] = ()) -> None:
        self._asker = asker
        self._large = large
        """The size of the requests that use the limit up."""
        self._other = other
        """The limit of requests beside one of tokens."""
        self._variants: Sequence[Variant] = PLAIN
        self._alone: set[str] = set()
        self._confirmed = False
        """Whether the limit was used up again as the one limiter that was left would have it."""

    def explore(self, stage: Stage, tokens: int) -> Asking:
        """Ask until one limiter is left and confirmed, or nothing can tell those that are left."""
        used_up = True
        while True:
            events = self._asker.events(stage)
            met = len(brackets(events))
            fits = stage.fits = self._agreeing(events, stage.fits)
            stage.named_s = self._asker.now_s
            if not fits:
                stage.notes.append(
                    "No limiter that is known agrees with every answer; other traffic on the key, "
                    "or a rule of its own, may be the reason."
                )
                return
            names = {one.variant.algorithm for one in fits}
            self._confirmed &= names == self._alone
            self._alone = names if len(names) == 1 else set()
            if self._settled(fits, met) and not (yield from self._gave_one(stage, fits, tokens)):
                stage.fits = self._with_clock(fits, events)
                return
            until_s = self._deadline(stage, fits, met)
            if self._asker.now_s >= until_s:
                break
            if used_up:
                passed = yield from self._await(stage, fits, events, met, until_s, tokens)
                used_up = not passed
                continue
            window_s = min(one.window_s for one in fits)
            split = best_split(
                fits, events, now_s=self._asker.now_s, until_s=until_s, window_s=window_s,
                unit=stage.unit, most=max(2, stage.passed),
            )  # fmt: skip
            if split is not None:
                got = yield from self._asker.send(tokens=tokens, at_s=split.at_s, most=split.count)
                used_up = got[-1].kind == "refused"
                continue
            at_s = self._fill_at(fits[0], events, until_s, stage.unit)
            if at_s >= until_s:
                break
            used_up = yield from self._fill(stage, tokens, at_s, 0.05 * window_s)
            self._confirmed = used_up
        if not self._confirmed and len(brackets(events)) < _TWICE:
            further = fit(self._asker.events(stage), FURTHER)
            known = {one.variant for one in stage.fits}
            stage.fits = [*stage.fits, *(one for one in further if one.variant not in known)]

    def _gave_one(
        self, stage: Stage, fits: Sequence[Fit], tokens: int
    ) -> Generator[Ask, Sequence[Reply], bool]:
        """Ask once more where a window ended and one request passed since: a fixed one gave all.

        Tell whether it was asked. One in parts gives back part by part.
        """
        events = [event for event in self._asker.events(stage) if not event.group]
        since = 0
        for event in events:
            since = since + event.count if event.passed else 0
        if fits[0].variant.algorithm != "fixed-window" or since != 1 or fits[0].limit < 2:
            return False
        yield from self._asker.send(tokens=tokens)
        return True

    def _fill(
        self, stage: Stage, tokens: int, at_s: float, within_s: float
    ) -> Generator[Ask, Sequence[Reply], bool]:
        """Use the limit up again; tell whether it was.

        Where it is one of tokens beside one of requests, large requests keep clear of the other.
        """
        most = max(2, math.ceil(2.2 * stage.passed))
        if self._other:
            events = self._asker.record.events(self._asker.group)
            free = min(one.free(events, at_s)[0] for one in self._other)
            most = max(1, min(most, math.floor(free) - _SPARE))
        got = yield from self._asker.send(
            tokens=self._large, at_s=at_s, most=most, width=self._asker.width(most, within_s)
        )
        if got[-1].kind == "refused" and self._large != tokens:
            got = yield from self._asker.send(tokens=tokens, most=_SPARE)
        return got[-1].kind == "refused"

    def _agreeing(self, events: Sequence[Event], near: Sequence[Fit]) -> list[Fit]:
        """Return the limiters that agree; when no plain one does, those with more to choose."""
        longest_s = 4 * self._asker.longest_s
        fits: list[Fit] = []
        if self._variants:
            fits = fit(events, self._variants, longest_s=longest_s, near=near)
            self._variants = [one.variant for one in fits]
        far_s = _FAR * self._asker.longest_s
        if any(one.least_s <= far_s for one in fits):
            return fits
        return fit(events, FURTHER, longest_s=longest_s, near=near) or fits

    def _settled(self, fits: Sequence[Fit], met: int) -> bool:
        """Tell whether one limiter is left and its window known."""
        one = fits[0]
        if not met or len({other.variant.algorithm for other in fits}) > 1:
            return False
        if one.spread > _SURE or (len(fits) > 1 and fits[1].variant.counts_refused):
            return False
        if one.variant.algorithm == "fixed-window" and not one.variant.aligned:
            # Windows by a clock end once after any time: only a second end, or the window that
            # was documented, tells them from those that begin with a call.
            return met > 1 or self._is_hinted(one.window_s)
        return self._confirmed

    def _with_clock(self, fits: Sequence[Fit], events: Sequence[Event]) -> list[Fit]:
        """Add windows by a clock where they would be of another length: how long is open then."""
        clock = [Variant("fixed-window", "aligned")]
        if fits[0].variant.algorithm != "fixed-window" or self._is_hinted(fits[0].window_s):
            return list(fits)
        others = fit(events, clock) if not fits[0].variant.aligned else []
        return [*fits, *(one for one in others if one.spread > _SURE)]

    def _is_hinted(self, window_s: float) -> bool:
        return abs(window_s - self._asker.hint_s) <= _HINTED * self._asker.hint_s

    def _deadline(self, stage: Stage, fits: Sequence[Fit], met: int) -> float:
        """Return until when this limit may be looked at."""
        if not met:
            return stage.begin_s + 1.15 * self._asker.longest_s
        if met == 1 and any(one.variant.aligned for one in fits):
            # One end of windows by a clock tells how long they are at least.
            window_s = max(self._asker.hint_s, *(one.low_s for one in fits))
        else:
            window_s = max(one.window_s * (1 + one.spread / 2) for one in fits)
        window_s = min(window_s, self._asker.longest_s)
        return max(stage.begin_s + _WINDOWS * window_s, stage.rush_at_s + _AFTER_RUSH * window_s)

    def _fill_at(self, one: Fit, events: Sequence[Event], until_s: float, unit: float) -> float:
        """Return when to use the limit up again, so that what comes back tells more."""
        later_s = self._asker.now_s + 0.3 * one.window_s
        if one.variant.algorithm == "fixed-window":
            return later_s
        # Bits that come back faster than a round trip are measured by more of them.
        trip_s = self._asker.record.trip_ns / 1e9
        many = max(_MEASURED * unit, _TRIPS * trip_s * one.limit / one.window_s)
        want = min(many, 0.6 * one.limit)
        if one.variant.algorithm == "sliding-log":
            want = 0.6 * one.limit
        # Who is not sure how fast comes soon, and learns it from what passes then.
        free_s = free_time(
            one, events, now_s=self._asker.now_s, until_s=until_s, want=max(want, unit),
            kind=one.spread > _UNSURE,
        )  # fmt: skip
        if one.spread > _UNSURE and free_s >= until_s:
            return self._asker.now_s + 0.3 * self._asker.hint_s
        if one.variant.algorithm == "sliding-log":
            return max(later_s, free_s + 0.02 * one.window_s)
        return free_s

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
        now_s, refuted_s = self._asker.now_s, math.inf
        begin_s = max((event.at_s for event in events if event.passed), default=now_s)
        if met:
            times = look_times(fits, events, now_s=now_s, until_s=until_s, unit=stage.unit)
            refuted_s = last_s = times[-1] if times else now_s
            gone_s = max(last_s - begin_s, 1e-3)
            times += rare_times(begin_s, gone_s * 1.1, self._asker.hint_s, until_s)
            if any(one.variant.aligned for one in fits):
                times += self._clock_times(brackets(events)[-1], until_s)
        else:
            whole_s = self._asker.hint_s
            first_s = 0.45 * whole_s / max(stage.passed, 1)
            # Windows begin with the first request, refills with the last: both are looked for.
            near_s = whole_s - LEAD * whole_s
            times = list(rare_times(begin_s, first_s, near_s, until_s, passed=stage.passed))
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
            if self._asker.now_s > refuted_s > now_s:
                return False  # by none of those that agreed until now
            if not claims and got.kind == "refused":
                claims = list(self._claims(stage, got, until_s))
        # Who is late finds no time left to look at, and has not looked since.
        return (yield from self._asker.send(tokens=tokens))[-1].kind == "passed"

    def _clock_times(self, end: tuple[float, float], until_s: float) -> list[float]:
        """Return when to look for the next end of windows by a clock, after one that is known."""
        hinted = [end[0] + self._asker.hint_s, end[1] + self._asker.hint_s]
        times, gone_s = hinted, 0.1 * self._asker.hint_s
        while end[1] + gone_s < until_s:
            times.append(end[1] + gone_s)
            gone_s *= _OFTEN
        return times

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
