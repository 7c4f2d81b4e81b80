"""The hot path: reading whoever is ready, and the short way of answers that flow.

Strategy: once an answer flows, nearly every read brings whole chunks that each hold one whole
event. ``Reads`` gives such a read to the ``Lane`` of the answer, which takes what has that shape;
whatever it does not take goes the general way (``framing``, ``events``), which knows every shape.
``speedups.pyx`` holds the same three classes for Cython; where it could be compiled they stand in
for these, and ``COMPILED`` is True.

Rules. Both have one meaning, and tests hold them to it. A lane neither ends an answer nor judges
it. ``GATEPROOF_PURE=1`` in the environment keeps to Python.
"""

import contextlib
import os
from collections.abc import Callable, Mapping
from struct import Struct
from time import monotonic_ns
from typing import Any, Final

from .framing import SIZES

__all__ = ["COMPILED", "READ_BYTES", "TIMESPEC", "Lane", "Reads", "Watched"]

READ_BYTES: Final = 64 * 1024
TIMESPEC: Final = Struct("@ll")
_unpack: Final = TIMESPEC.unpack
_MOST: Final = 64  # connections read in one round: half a millisecond
_ABOUT_BYTES: Final = 64  # of ancillary data: the time is all that is asked for
_FEW_BYTES: Final = 1024  # beyond four chunks or so, cutting all of them at once costs less


class Lane:
    """The short way of one answer: whole chunks that each hold one event of one data line.

    ``event`` takes the name, the data and the time of each event. ``content`` says that the first
    token has come and the end has not: then an event that is one more piece of content, and says
    nothing else, may be read here, its time put on ``stamps`` and its text on ``said`` (if any).
    """

    __slots__ = ("_event", "_passed", "_room", "content")

    def __init__(
        self,
        event: Callable[[bytes, bytes, int], None],
        stamps: list[int],  # noqa: ARG002  # here each event goes to ``event``, which has them
        said: list[str] | None,  # noqa: ARG002  # the same
    ) -> None:
        self._event = event
        self._room = self._passed = 0
        self.content = False

    def open(self, room: int) -> None:
        """Take up to so many bytes of the body from now on."""
        self._room = room

    def shut(self) -> int:
        """Take nothing until opened again; give how many bytes of the body were taken."""
        passed = self._passed
        self._room = self._passed = 0
        return passed

    def end(self) -> None:
        """Take nothing ever again, and let go of who took the events."""
        self._room = 0
        self._event = _nobody

    def take(self, data: bytes, at_ns: int) -> int:
        """Take what has the shape from the beginning of a read; give how many bytes that was."""
        place, end = 0, len(data)
        if not self._room or end > _FEW_BYTES:
            return 0
        while place < end:
            start = data.find(b"\n", place) + 1
            size = SIZES.get(data[place : start - 1])
            if not size or size > self._room:
                break
            last = start + size - 2
            if (
                data.find(b"\n", start) != last
                or not data.startswith(b"data: ", start)
                or not data.startswith(b"\n\n\r\n", last)
                or data.find(b"\r", start) != last + 2
            ):
                break
            self._room -= size
            self._passed += size
            self._event(b"", data[start + 6 : last], at_ns)
            place = last + 4
        return place


class Watched:
    """A connection that ``Reads`` reads: what it needs of it, and what it tells it."""

    __slots__ = ("_receive", "active_ns", "lane")

    def __init__(self) -> None:
        self.active_ns = 0
        """When it last sent or got something."""
        self.lane: Lane | None = None
        """Of the answer that it reads, where that has one and its bytes are not encrypted."""
        self._receive: Any = None

    def attach(self, sock: Any) -> None:
        """Read from this socket, which does not block."""
        self._receive = sock.recvmsg

    def received(self, data: bytes, at_ns: int) -> None:
        """Take what one read brought, less what the lane took; no bytes are the end."""
        raise NotImplementedError

    def ended(self, at_ns: int, reset: str) -> None:
        """Take the end of the connection, orderly or (with words) not."""
        raise NotImplementedError


class Reads:
    """Reads connections that are ready, each once, and finds out when their bytes came.

    ``offset_ns`` is the wall clock's time less the monotonic clock's. ``by_kernel`` turns True when
    the first time stamp of the kernel's was taken.
    """

    __slots__ = ("_epoll", "_watched", "by_kernel", "offset_ns")

    def __init__(self, epoll: Any, watched: Mapping[int, Watched]) -> None:
        self._epoll = epoll
        self._watched = watched
        self.by_kernel = False
        self.offset_ns = 0

    def round(self) -> None:
        """Read every connection that is ready by ``epoll``, up to so many."""
        watched = self._watched
        for fd, _ in self._epoll.poll(0, _MOST):
            self.read(watched[fd])

    def read(self, connection: Watched) -> None:
        """Read once, find out when it came, hand it on."""
        try:
            data, about, _, _ = connection._receive(READ_BYTES, _ABOUT_BYTES)  # noqa: SLF001
            at_ns = monotonic_ns()
        except BlockingIOError:
            return
        except OSError as error:
            connection.ended(monotonic_ns(), str(error))
            return
        if about:
            wall_s, wall_ns = _unpack(about[0][2])
            came_ns = wall_s * 1_000_000_000 + wall_ns - self.offset_ns
            if connection.active_ns < came_ns < at_ns:
                at_ns = came_ns
                self.by_kernel = True
        size, taken, lane = len(data), 0, connection.lane
        if lane is not None and (taken := lane.take(data, at_ns)):
            connection.active_ns = at_ns
        if taken < size or not size:
            connection.received(data[taken:], at_ns)


def _nobody(_name: bytes, _data: bytes, _at_ns: int) -> None:
    """Take an event after the end: there is none."""


COMPILED = False
"""Whether the compiled classes stand in for these."""

if not os.environ.get("GATEPROOF_PURE"):
    with contextlib.suppress(ImportError):  # it was not built: there was no C compiler
        from .speedups import Lane, Reads, Watched

        COMPILED = True
