"""Watches connections: whoever has bytes is read once, and the bytes get the time they came.

Strategy: on Linux all connections of a client stand in one epoll of its own, which one watcher of
gevent's loop looks at: a round reads every connection that is ready, in one loop (``hot``).
Elsewhere each connection has a persistent watcher. The kernel is asked to say when it received what
is read (``SO_TIMESTAMPNS``, socket(7): the clock a packet capture uses), so a time stamp is right
even where the loop comes late; where it says nothing, the time is taken right after the read.

Rules. What a read brought gets one time: that of its last segment. The kernel's wall-clock time is
turned into the monotonic clock by an offset that is taken anew every 50 ms; a time before the
connection's last one, or after the read, is not believed (a wall clock that was set does that). A
round reads so many connections at most, so that timers and greenlets get their turn.
"""

import contextlib
import sys
from time import monotonic_ns, time_ns
from typing import Any, Final

from gevent import monkey

from .hot import TIMESPEC, Reads, Watched

__all__ = ["STAMPED_BY_KERNEL", "Watch"]

_READ: Final = 1
_SOL_SOCKET: Final = 1
_SO_TIMESTAMPNS: Final = 35  # asm-generic/socket.h; the ``socket`` module does not name it
_TOGETHER_NS: Final = 5_000  # two clocks that are read within that are read together

STAMPED_BY_KERNEL: Final = sys.platform == "linux" and TIMESPEC.size == 16
"""Whether the kernel of this system can be asked when bytes came."""


class Watch:
    """Reads connections as bytes come, on gevent's loop; their sockets are plain and do not block.

    ``reads.by_kernel`` turns True when the first time stamp of the kernel's was taken.
    """

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._watchers: dict[int, Any] = {}
        self._watched: dict[int, Watched] = {}
        self._epoll: Any = None
        if sys.platform == "linux":
            self._epoll = monkey.get_original("select", "epoll")()
        self.reads = Reads(self._epoll, self._watched)
        if self._epoll is not None:
            watcher = self._watchers[-1] = loop.io(self._epoll.fileno(), _READ)
            watcher.start(self.reads.round)
        self.tune()

    def add(self, sock: Any, connection: Watched) -> None:
        """Begin to read a connection."""
        if STAMPED_BY_KERNEL:
            with contextlib.suppress(OSError):  # what stands in for a kernel may not know it
                sock.setsockopt(_SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        connection.attach(sock)
        fd = sock.fileno()
        if self._epoll is not None:
            self._watched[fd] = connection
            self._epoll.register(fd, _READ)
        else:
            watcher = self._watchers[fd] = self._loop.io(fd, _READ)
            watcher.start(self.reads.read, connection)

    def remove(self, sock: Any) -> None:
        """Read a connection no more; its socket is not closed yet."""
        fd = sock.fileno()
        if self._watched.pop(fd, None) is not None:
            self._epoll.unregister(fd)
        _end(self._watchers.pop(fd, None))

    def tune(self) -> None:
        """Take the offset between the clocks; the last stays where they are not read together."""
        looks = []
        for _ in range(3):
            before_ns = monotonic_ns()
            wall_ns = time_ns()
            after_ns = monotonic_ns()
            looks.append((after_ns - before_ns, wall_ns - (before_ns + after_ns) // 2))
        apart_ns, offset_ns = min(looks)
        if apart_ns < _TOGETHER_NS or not self.reads.offset_ns:
            self.reads.offset_ns = offset_ns

    def close(self) -> None:
        """Read nothing any more."""
        self._watched.clear()
        while self._watchers:
            _end(self._watchers.popitem()[1])
        if self._epoll is not None:
            self._epoll.close()


def _end(watcher: Any) -> None:
    """Stop a watcher of the loop's."""
    if watcher is not None:
        watcher.stop()
        watcher.close()
