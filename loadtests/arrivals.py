"""The open model: requests begin when they are due, whatever became of those before them.

Strategy: the times are a sequence of offsets from one start, drawn ahead of the clock; one alarm is
set to the next absolute time and starts all that are due. A late alarm makes requests late, each by
what it was; none is left out and none is moved.
"""

from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic_ns

from gevent.event import Event
from gevent.pool import Group

from .pace import Alarm
from .timetable import Arrival

__all__ = ["Arrivals"]

Lengths = tuple[int, int] | None


class Arrivals:
    """Starts ``begin(due_ns, delayed, lengths)`` in a greenlet of its own when an arrival is due.

    With a cap, an arrival that finds as many running waits for a place, in order, and is told so;
    one that still waits at the end goes to ``abandon(due_ns)``, so that it is not forgotten.
    """

    def __init__(
        self,
        times: Iterator[Arrival],
        begin: Callable[[int, bool, Lengths], None],
        abandon: Callable[[int], None],
        *,
        cap: int | None = None,
    ) -> None:
        self._times = times
        self._begin = begin
        self._abandon = abandon
        self._cap = cap
        self._waiting: deque[tuple[int, Lengths]] = deque()
        self._group = Group()
        self._stopping = Event()
        self._start_ns = 0
        self._next_ns: int | None = None
        self._next_lengths: Lengths = None
        self._alarm: Alarm | None = None
        self.running = 0

    @property
    def waiting(self) -> int:
        """How many arrivals wait for a place under the cap."""
        return len(self._waiting)

    def run(self, start_ns: int = 0) -> None:
        """Let requests arrive until ``stop``; then wait for those that run.

        They are timed from ``start_ns``, or from now.
        """
        self._start_ns = start_ns or monotonic_ns()
        self._alarm = Alarm(self._ring)
        try:
            self._advance()
            if self._next_ns is not None:
                self._alarm.set(self._next_ns)
            self._stopping.wait()
            self._alarm.close()
            self._group.join()
        finally:
            self._alarm.close()
            self._group.kill()

    def wait(self) -> None:
        """Wait until ``stop``, as every further caller of an open load does."""
        self._stopping.wait()

    def stop(self) -> None:
        """Let no more requests arrive, and none of the waiting ones begin."""
        if self._alarm is not None:
            self._alarm.close()
        while self._waiting:
            self._abandon(self._waiting.popleft()[0])
        self._stopping.set()

    def _advance(self) -> None:
        """Take the next arrival, if there is one."""
        arrival = next(self._times, None)
        if arrival is None:
            self._next_ns = None
        else:
            self._next_ns, self._next_lengths = self._start_ns + arrival[0], arrival[1]

    def _ring(self) -> None:
        """Start all that is due, and set the alarm to what is next."""
        while self._next_ns is not None and self._next_ns <= monotonic_ns():
            if self._cap is not None and self.running >= self._cap:
                self._waiting.append((self._next_ns, self._next_lengths))
            else:
                self._spawn(self._next_ns, self._next_lengths, delayed=False)
            self._advance()
        if self._alarm is not None and self._next_ns is not None:
            self._alarm.set(self._next_ns)

    def _spawn(self, due_ns: int, lengths: Lengths, *, delayed: bool) -> None:
        """Start one request."""
        self.running += 1
        self._group.spawn(self._one, due_ns, delayed, lengths)

    def _one(self, due_ns: int, delayed: bool, lengths: Lengths) -> None:  # noqa: FBT001  # a greenlet's argument
        """Run one request, then give its place to one that waits."""
        try:
            self._begin(due_ns, delayed, lengths)
        finally:
            self.running -= 1
            if self._waiting and not self._stopping.is_set():
                self._spawn(*self._waiting.popleft(), delayed=True)
