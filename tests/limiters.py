"""Limited gateways in virtual time: written from the algorithms' definitions, for the lab's tests.

They share no code with the reference server nor with the lab, work in fractions, and keep every
call, so that each rule is its definition and nothing is rolled on.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from gateproof.limitlab.exchange import Ask, Reply
from gateproof.limitlab.told import NOTHING, Told, ToldLimit

Call = tuple[Fraction, int]  # when, and how much
Rule = Callable[[Sequence[Call], Fraction, int, Fraction, Fraction], Fraction]


def fixed_window(
    calls: Sequence[Call], now: Fraction, _limit: int, window: Fraction, _phase: Fraction
) -> Fraction:
    """Use: the calls of the window that began with the first call after the one before it."""
    begin, used = None, 0
    for at, cost in calls:
        if begin is None or at >= begin + window:
            begin, used = at, 0
        used += cost
    return Fraction(used if begin is not None and now < begin + window else 0)


def aligned_window(
    calls: Sequence[Call], now: Fraction, _limit: int, window: Fraction, phase: Fraction
) -> Fraction:
    """Use: the calls since the clock's last multiple of the window."""
    begin = (now - phase) // window * window + phase
    return Fraction(sum(cost for at, cost in reversed(calls) if at >= begin))


def sliding_log(
    calls: Sequence[Call], now: Fraction, _limit: int, window: Fraction, _phase: Fraction
) -> Fraction:
    """Use: the calls that are younger than the window."""
    return Fraction(sum(cost for at, cost in calls if at > now - window))


def sliding_counter(
    calls: Sequence[Call], now: Fraction, limit: int, window: Fraction, _phase: Fraction
) -> Fraction:
    """Use: this window's calls and a share of the last one's; windows go on from the first call."""
    if not calls:
        return Fraction(0)
    begin = calls[0][0]
    before = Fraction(0)
    for at, _ in calls:  # without a call in two windows, the next begins them anew
        if at >= begin + 2 * window and not any(
            begin + (at - begin) // window * window - window <= old < at for old, _ in calls
        ):
            begin = at
    return _counted(calls, now, limit, window, begin) + before


def aligned_counter(
    calls: Sequence[Call], now: Fraction, limit: int, window: Fraction, phase: Fraction
) -> Fraction:
    """Use: as of a sliding counter, with windows that lie by the clock."""
    return _counted(calls, now, limit, window, phase)


def _counted(
    calls: Sequence[Call], now: Fraction, _limit: int, window: Fraction, phase: Fraction
) -> Fraction:
    begin = (now - phase) // window * window + phase
    here = sum(cost for at, cost in calls if at >= begin)
    there = sum(cost for at, cost in calls if begin - window <= at < begin)
    return here + there * (1 - (now - begin) / window)


def token_bucket(
    calls: Sequence[Call], now: Fraction, limit: int, window: Fraction, _phase: Fraction
) -> Fraction:
    """Use: what is missing in a bucket that is filled evenly, once in a window."""
    missing, last = Fraction(0), Fraction(0)
    for at, cost in [*calls, (now, 0)]:
        missing = max(Fraction(0), missing - (at - last) * limit / window) + cost
        last = at
    return missing


RULES: dict[str, Rule] = {
    "fixed-window": fixed_window,
    "sliding-log": sliding_log,
    "sliding-counter": sliding_counter,
    "token-bucket": token_bucket,
}
"""The four algorithms as they are told of."""

ALIGNED: dict[str, Rule] = {"fixed-window": aligned_window, "sliding-counter": aligned_counter}


@dataclass
class Limiter:
    """One limit: what is counted, how much in what time, by which rule, whose."""

    what: str
    amount: int
    window_s: float
    rule: Rule
    scope: str = "key"
    phase_s: float = 0.0
    counts_refused: bool = False
    calls: dict[str, list[Call]] = field(default_factory=dict)

    def place(self, ask: Ask) -> str:
        """Return whose counter a request is on."""
        account = "other" if ask.key == "stranger" else "ours"
        return {
            "key": ask.key,
            "account": account,
            "model": f"{account} {ask.model}",
            "everybody": "",
            "key and model": f"{ask.key} {ask.model}",
        }[self.scope]

    def fits(self, ask: Ask, now: Fraction, cost: int) -> bool:
        """Tell whether so much passes now."""
        calls = self.calls.get(self.place(ask), [])
        window = Fraction(self.window_s).limit_denominator(10**6)
        recent = [call for call in calls if call[0] > now - 12 * window]
        phase = Fraction(self.phase_s).limit_denominator(10**6)
        return self.rule(recent, now, self.amount, window, phase) + cost <= self.amount

    def add(self, ask: Ask, now: Fraction, cost: int) -> None:
        """Count a call."""
        self.calls.setdefault(self.place(ask), []).append((now, cost))


@dataclass
class Gateway:
    """A gateway with limits, a clock that only requests move, and a little noise in its times."""

    limiters: Sequence[Limiter]
    seed: int = 1
    trip_s: float = 0.004
    small: int = 14
    status: int = 429
    retry_after: Callable[[float], float] | None = None
    """Makes Retry-After from the true wait; None sends no header at all."""
    traffic_per_s: float = 0.0
    """Of others on the first key."""
    now_s: float = 5.0
    asked: list[Ask] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin the noise."""
        self._noise = random.Random(self.seed)
        self._other_s = self.now_s

    def drive(self, course: Any) -> int:
        """Answer a course of asks to its end; return how many requests were made."""
        made = 0
        replies: list[Reply] = []
        try:
            ask = next(course)
            while True:
                replies = self.answer(ask)
                made += len(replies)
                ask = course.send(replies)
        except StopIteration:
            return made

    def answer(self, ask: Ask) -> list[Reply]:
        """Make the requests of one ask."""
        self.asked.append(ask)
        if ask.at_ns:
            self.now_s = max(self.now_s, ask.at_ns / 1e9 + self._noise.uniform(0, 0.0005))
        replies: list[Reply] = []
        for _ in range(ask.most):
            sent_s = self.now_s
            there_s = self.trip_s * self._noise.uniform(0.35, 0.6)
            back_s = self.trip_s * self._noise.uniform(0.4, 0.7)
            reply = self._decide(ask, sent_s, sent_s + there_s, sent_s + there_s + back_s)
            replies.append(reply)
            self.now_s = sent_s + (there_s + back_s) / ask.width
            if reply.status != 200:
                break
        self.now_s = max(self.now_s, *(reply.done_ns / 1e9 for reply in replies))
        return replies

    def _decide(self, ask: Ask, sent_s: float, at_s: float, done_s: float) -> Reply:
        while self.traffic_per_s and self._other_s < at_s:
            self._other_s += self._noise.expovariate(self.traffic_per_s)
            self._pass(Ask(), Fraction(self._other_s).limit_denominator(10**9), self.small)
        now = Fraction(at_s).limit_denominator(10**9)
        tokens = max(ask.tokens, self.small)
        sent_ns, done_ns = round(sent_s * 1e9), round(done_s * 1e9)
        if self._pass(ask, now, tokens):
            return Reply(sent_ns, done_ns, 200, tokens)
        told = NOTHING
        if self.retry_after is not None:
            told = Told(self.retry_after(self._wait(ask, now, tokens)), "seconds")
        return Reply(sent_ns, done_ns, self.status, 0, told, "rate limit")

    def _pass(self, ask: Ask, now: Fraction, tokens: int) -> bool:
        costs = [1 if one.what == "requests" else tokens for one in self.limiters]
        fits = all(one.fits(ask, now, cost) for one, cost in zip(self.limiters, costs, strict=True))
        for one, cost in zip(self.limiters, costs, strict=True):
            if fits or one.counts_refused:
                one.add(ask, now, cost)
        return fits

    def _wait(self, ask: Ask, now: Fraction, tokens: int) -> float:
        """Return the true wait of a request, by bisection."""
        low, high = 0.0, 3 * max(one.window_s for one in self.limiters)
        for _ in range(30):
            middle = (low + high) / 2
            later = now + Fraction(middle).limit_denominator(10**9)
            costs = [1 if one.what == "requests" else tokens for one in self.limiters]
            if all(
                one.fits(ask, later, cost) for one, cost in zip(self.limiters, costs, strict=True)
            ):
                high = middle
            else:
                low = middle
        return high


__all__ = ["ALIGNED", "NOTHING", "RULES", "Gateway", "Limiter", "ToldLimit"]
