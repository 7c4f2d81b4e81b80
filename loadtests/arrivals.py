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

__all__ = ["Arrivals"]


class Arrivals:
    """Starts ``begin(due_ns, delayed)`` in a greenlet of its own at each time that is due.

    With a cap, an arrival that finds as many running waits for a place, in order, and is told so;
    one that still waits at the end goes to ``abandon(due_ns)``, so that it is not forgotten. When
    the times end, ``ended()`` is called once, at the time of the last of them.
    """

    def __init__(
        self,
        times: Iterator[int],
        begin: Callable[[int, bool], None],
        abandon: Callable[[int], None],
        *,
        cap: int | None = None,
        ended: Callable[[], None] | None = None,
    ) -> None:
        self._times = times
        self._begin = begin
        self._abandon = abandon
        self._cap = cap
        self._ended = ended
        self._waiting: deque[int] = deque()
        self._group = Group()
        self._stopping = Event()
        self._start_ns = 0
        self._next_ns: int | None = None
        self._alarm: Alarm | None = None
        self.running = 0

    @property
    def waiting(self) -> int:
        """How many arrivals wait for a place under the cap."""
        return len(self._waiting)

    def run(self) -> None:
        """Let requests arrive until ``stop``; then wait for those that run."""
        self._start_ns = monotonic_ns()
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
            self._abandon(self._waiting.popleft())
        self._stopping.set()

    def _advance(self) -> None:
        """Take the next time; at the end of them say so."""
        offset_ns = next(self._times, None)
        self._next_ns = None if offset_ns is None else self._start_ns + offset_ns
        if offset_ns is None and self._ended is not None:
            self._ended()

    def _ring(self) -> None:
        """Start all that is due, and set the alarm to what is next."""
        while self._next_ns is not None and self._next_ns <= monotonic_ns():
            if self._cap is not None and self.running >= self._cap:
                self._waiting.append(self._next_ns)
            else:
                self._spawn(self._next_ns, delayed=False)
            self._advance()
        if self._alarm is not None and self._next_ns is not None:
            self._alarm.set(self._next_ns)

    def _spawn(self, due_ns: int, *, delayed: bool) -> None:
        """Start one request."""
        self.running += 1
        self._group.spawn(self._one, due_ns, delayed)

    def _one(self, due_ns: int, delayed: bool) -> None:  # noqa: FBT001  # a greenlet's argument
        """Run one request, then give its place to one that waits."""
        try:
            self._begin(due_ns, delayed)
        finally:
            self.running -= 1
            if self._waiting and not self._stopping.is_set():
                self._spawn(self._waiting.popleft(), delayed=True)
