"""Rate limits: who may call how often, by exact rules that can be exchanged.

A limit says what is counted (requests or tokens), how many in what time, by which algorithm, and
whose calls are counted together. All arithmetic is in whole numbers, so that ``Retry-After`` is
true: after that time the request passes, a little earlier it does not. ``Retry-After`` has whole
seconds, rounded up; ``retry-after-ms``, which OpenAI's clients prefer, says it to the millisecond.

What is counted
    A request is each call with a valid key, whatever becomes of it, except those that a limit
    refused: they count for nothing. A call has to pass all its limits at once.
    The tokens of a call are its prompt and its completion, as its usage says. The answer is made
    before it is admitted, so nothing is reserved by ``max_tokens`` and nothing given back: a call
    passes if the tokens that it really takes still fit.

Algorithms
    ``fixed-window``     so many in each window; a window begins with the first call after the last.
    ``sliding-log``      so many in the time before now: each call counts until it is that old.
    ``sliding-counter``  so many in this window and, in proportion to what of it is less than a
                         window ago, the one before. Windows follow one another from the first call.
    ``token-bucket``     a bucket of that size, full at first, filled evenly.

Scopes
    ``key``      each key by itself.
    ``account``  all keys of an account together.
    ``model``    each model by itself, for all keys of an account together.

Limits live in memory: a restart forgets what was used.
"""

import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, Protocol, cast, get_args

from .errors import OptionError, unknown

__all__ = [
    "ALGORITHMS",
    "Gate",
    "Limit",
    "Refused",
    "Ruler",
    "Scope",
    "duration",
    "read_limit",
]

What = Literal["requests", "tokens"]
Scope = Literal["key", "account", "model"]

_MOST_METERS = 20_000
_UNITS_NS = {"ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


@dataclass(frozen=True, slots=True)
class Limit:
    """So many of something in so much time."""

    what: What
    amount: int
    window_ns: int
    algorithm: str = "sliding-log"
    scope: Scope = "key"


class Meter(Protocol):
    """What was used of one limit by those who share it. Times are of the limits' clock."""

    def wait_ns(self, now_ns: int, cost: int) -> int:
        """Return how long until this much passes: 0 is now. It is never more than the limit."""

    def add(self, now_ns: int, cost: int) -> None:
        """Count what has passed."""

    def left(self, now_ns: int) -> int:
        """Return how much would pass now."""

    def reset_ns(self, now_ns: int) -> int:
        """Return how long until all of the limit would pass, if nobody called."""


class _FixedWindow:
    def __init__(self, limit: Limit) -> None:
        self._amount = limit.amount
        self._window_ns = limit.window_ns
        self._end_ns = 0
        self._used = 0

    def _at(self, now_ns: int) -> None:
        if now_ns >= self._end_ns:
            self._used = 0

    def wait_ns(self, now_ns: int, cost: int) -> int:
        self._at(now_ns)
        return 0 if self._used + cost <= self._amount else self._end_ns - now_ns

    def add(self, now_ns: int, cost: int) -> None:
        self._at(now_ns)
        if not self._used:
            self._end_ns = now_ns + self._window_ns
        self._used += cost

    def left(self, now_ns: int) -> int:
        self._at(now_ns)
        return self._amount - self._used

    def reset_ns(self, now_ns: int) -> int:
        self._at(now_ns)
        return self._end_ns - now_ns if self._used else 0


class _SlidingLog:
    def __init__(self, limit: Limit) -> None:
        self._amount = limit.amount
        self._window_ns = limit.window_ns
        self._log: deque[tuple[int, int]] = deque()
        self._used = 0

    def _at(self, now_ns: int) -> None:
        while self._log and self._log[0][0] + self._window_ns <= now_ns:
            self._used -= self._log.popleft()[1]

    def wait_ns(self, now_ns: int, cost: int) -> int:
        self._at(now_ns)
        over = self._used + cost - self._amount
        if over <= 0:
            return 0
        for at_ns, old in self._log:
            over -= old
            if over <= 0:
                return at_ns + self._window_ns - now_ns
        raise AssertionError("a cost above the limit is refused before")

    def add(self, now_ns: int, cost: int) -> None:
        self._at(now_ns)
        if cost:
            self._log.append((now_ns, cost))
            self._used += cost

    def left(self, now_ns: int) -> int:
        self._at(now_ns)
        return self._amount - self._used

    def reset_ns(self, now_ns: int) -> int:
        self._at(now_ns)
        return self._log[-1][0] + self._window_ns - now_ns if self._log else 0


def _up(value: int, by: int) -> int:
    return -(-value // by)


class _SlidingCounter:
    def __init__(self, limit: Limit) -> None:
        self._amount = limit.amount
        self._window_ns = limit.window_ns
        self._begin_ns = 0
        self._before = 0
        self._used = 0

    def _at(self, now_ns: int) -> None:
        windows = (now_ns - self._begin_ns) // self._window_ns
        if windows:
            self._before = self._used if windows == 1 else 0
            self._used = 0
            # Without any call to remember, the next one begins the windows anew.
            self._begin_ns += windows * self._window_ns
        if not self._before and not self._used:
            self._begin_ns = now_ns

    def wait_ns(self, now_ns: int, cost: int) -> int:
        self._at(now_ns)
        window_ns, gone_ns = self._window_ns, now_ns - self._begin_ns
        room = self._amount - cost - self._used
        if room >= 0:
            # before * (window - gone) / window must not be more than the room.
            if not self._before:
                return 0
            return max(0, window_ns - room * window_ns // self._before - gone_ns)
        room = self._amount - cost
        later_ns = max(0, window_ns - room * window_ns // self._used)
        return window_ns - gone_ns + later_ns

    def add(self, now_ns: int, cost: int) -> None:
        self._at(now_ns)
        self._used += cost

    def left(self, now_ns: int) -> int:
        self._at(now_ns)
        old = _up(self._before * (self._window_ns - now_ns + self._begin_ns), self._window_ns)
        return max(0, self._amount - self._used - old)

    def reset_ns(self, now_ns: int) -> int:
        self._at(now_ns)
        windows = 2 if self._used else 1 if self._before else 0
        return windows * self._window_ns - (now_ns - self._begin_ns) if windows else 0


class _TokenBucket:
    """Counts in parts of a token: as many to a token as a window has nanoseconds."""

    def __init__(self, limit: Limit) -> None:
        self._amount = limit.amount
        self._window_ns = limit.window_ns
        self._full = limit.amount * limit.window_ns
        self._level = self._full
        self._at_ns = 0

    def _at(self, now_ns: int) -> None:
        self._level = min(self._full, self._level + (now_ns - self._at_ns) * self._amount)
        self._at_ns = now_ns

    def wait_ns(self, now_ns: int, cost: int) -> int:
        self._at(now_ns)
        return max(0, _up(cost * self._window_ns - self._level, self._amount))

    def add(self, now_ns: int, cost: int) -> None:
        self._at(now_ns)
        self._level -= cost * self._window_ns

    def left(self, now_ns: int) -> int:
        self._at(now_ns)
        return self._level // self._window_ns

    def reset_ns(self, now_ns: int) -> int:
        self._at(now_ns)
        return _up(self._full - self._level, self._amount)


ALGORITHMS: Mapping[str, Callable[[Limit], Meter]] = {
    "fixed-window": _FixedWindow,
    "sliding-log": _SlidingLog,
    "sliding-counter": _SlidingCounter,
    "token-bucket": _TokenBucket,
}
"""Every algorithm by its name."""


def read_limit(text: str) -> Limit:
    """Read a limit such as ``requests=60/60s,algorithm=sliding-log,scope=key``."""
    first, *rest = text.split(",")
    match = re.fullmatch(r"(requests|tokens)=(\d{1,12})/(\d{1,9})(ms|s|m|h)", first)
    if match is None or not int(match.group(2)) or not int(match.group(3)):
        raise OptionError(
            f"A limit begins as requests=60/60s or tokens=40000/1m (ms, s, m, h); not {first!r}."
        )
    settings = {"algorithm": "sliding-log", "scope": "key"}
    for part in rest:
        name, equals, value = part.partition("=")
        if not equals or name not in settings:
            raise unknown("setting of a limit", name, settings)
        settings[name] = value
    if settings["algorithm"] not in ALGORITHMS:
        raise unknown("algorithm", settings["algorithm"], ALGORITHMS)
    if settings["scope"] not in get_args(Scope):
        raise unknown("scope", settings["scope"], get_args(Scope))
    what, amount, number, unit = match.groups()
    return Limit(
        cast("What", what),
        int(amount),
        int(number) * _UNITS_NS[unit],
        settings["algorithm"],
        cast("Scope", settings["scope"]),
    )


class Refused(Exception):
    """A call that does not pass: by which limit, and how long (really) until it would.

    The time is None when it never will, because it takes more than the whole limit.
    """

    def __init__(self, limit: Limit, wait_ns: int | None) -> None:
        super().__init__()
        self.limit = limit
        self.wait_ns = wait_ns


@dataclass(slots=True)
class Gate:
    """The limits of one call."""

    meters: Sequence[tuple[Limit, Meter]]
    now_ns: int
    scale: int
    _costs: dict[What, int] = field(default_factory=lambda: {"requests": 1, "tokens": 0})

    def check(self, tokens: int = 0) -> None:
        """Raise Refused unless the call, with so many tokens more, passes all its limits."""
        self._costs["tokens"] += tokens
        worst: Refused | None = None
        for limit, meter in self.meters:
            cost = self._costs[limit.what]
            if cost > limit.amount:
                raise Refused(limit, None)
            wait_ns = _up(meter.wait_ns(self.now_ns, cost), self.scale)
            if wait_ns and (worst is None or wait_ns > (worst.wait_ns or 0)):
                worst = Refused(limit, wait_ns)
        if worst is not None:
            raise worst

    def take(self) -> None:
        """Count the call."""
        for limit, meter in self.meters:
            meter.add(self.now_ns, self._costs[limit.what])

    def headers(self, family: str, now_s: int) -> tuple[tuple[str, str], ...]:
        """Write, for requests and for tokens, the limit that leaves least.

        What is reset is a duration in the family ``openai``, a Unix time in ``osmapi``, and a time
        of RFC 3339 in ``anthropic``, which also rounds what is left of tokens to thousands.
        """
        found: list[tuple[str, str]] = []
        for what in get_args(What):
            own = [(meter.left(self.now_ns), limit, meter) for limit, meter in self.meters
                   if limit.what == what]  # fmt: skip
            if not own:
                continue
            left, limit, meter = min(own, key=lambda one: (one[0], one[1].amount))
            reset_ns = _up(meter.reset_ns(self.now_ns), self.scale)
            if family == "osmapi":
                if what == "requests":
                    found += [
                        ("X-RateLimit-Limit", str(limit.amount)),
                        ("X-RateLimit-Remaining", str(left)),
                        ("X-RateLimit-Reset", str(now_s + _up(reset_ns, 10**9))),
                    ]
                continue
            if family == "anthropic":
                moment = datetime.fromtimestamp(now_s + _up(reset_ns, 10**9), UTC)
                rest = left if what == "requests" else left // 1000 * 1000
                found += [
                    (f"anthropic-ratelimit-{what}-limit", str(limit.amount)),
                    (f"anthropic-ratelimit-{what}-remaining", str(rest)),
                    (f"anthropic-ratelimit-{what}-reset", f"{moment:%Y-%m-%dT%H:%M:%SZ}"),
                ]
                continue
            found += [
                (f"x-ratelimit-limit-{what}", str(limit.amount)),
                (f"x-ratelimit-remaining-{what}", str(left)),
                (f"x-ratelimit-reset-{what}", duration(reset_ns)),
            ]
        return tuple(found)


def duration(time_ns: int) -> str:
    """Write a time as OpenAI does: ``6m0s``, ``1.5s``, ``20ms``; never less than it is."""
    ms = _up(time_ns, 1_000_000)
    if ms < 1000:
        return f"{ms}ms" if ms else "0s"
    minutes, ms = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{ms // 1000}.{ms % 1000:03}".rstrip("0").rstrip(".")
    return f"{hours}h{minutes}m{seconds}s" if hours else (
        f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
    )  # fmt: skip


class Ruler:
    """Keeps what was used of every limit, by a clock that may run faster than the real one."""

    def __init__(self, scale: int = 1, *, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self.scale = scale
        self._clock_ns = clock_ns
        self._meters: dict[tuple[Limit, str], Meter] = {}

    def gate(self, limits: Sequence[Limit], names: Mapping[Scope, str]) -> Gate:
        """Return the gate of a call that these limits hold, of a caller with these names."""
        now_ns = self._clock_ns() * self.scale
        if len(self._meters) > _MOST_METERS:
            self._meters = {
                place: meter for place, meter in self._meters.items() if meter.reset_ns(now_ns)
            }
        meters: list[tuple[Limit, Meter]] = []
        for limit in limits:
            place = (limit, names[limit.scope])
            meter = self._meters.get(place)
            if meter is None:
                meter = self._meters[place] = ALGORITHMS[limit.algorithm](limit)
            meters.append((limit, meter))
        return Gate(meters, now_ns, self.scale)
