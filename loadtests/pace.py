"""Timers on the absolute monotonic clock, on gevent's loop.

Strategy: libev hands its timeouts to epoll in whole milliseconds, so a timer of its own is up to
1 ms late. On Linux a timerfd, armed with an absolute time and watched like a socket, is not. Where
there is no timerfd, gevent's timer serves.
"""

import contextlib
import ctypes
import os
from collections.abc import Callable
from time import monotonic_ns
from typing import Any, Final

import gevent

__all__ = ["Alarm"]

_CLOCK_MONOTONIC: Final = 1
_ABSOLUTE: Final = 1
_NONBLOCK: Final = os.O_NONBLOCK | os.O_CLOEXEC


class _Spec(ctypes.Structure):
    """``struct itimerspec``: the interval, then the first expiry."""

    _fields_ = tuple((name, ctypes.c_long) for name in ("every_s", "every_ns", "at_s", "at_ns"))


def _timerfd() -> tuple[int, Any]:
    """Make a timer descriptor; -1 where there is none."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        return libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK), libc.timerfd_settime
    except (AttributeError, OSError):
        return -1, None


class Alarm:
    """Calls ``ring()`` in the loop once at each time that it is set to; it must not block."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._fd, self._settime = _timerfd()
        self._loop = gevent.get_hub().loop
        self._watcher: Any = None
        if self._fd >= 0:
            self._watcher = self._loop.io(self._fd, 1)
            self._watcher.start(self._readable)

    def set(self, at_ns: int) -> None:
        """Ring at a CLOCK_MONOTONIC time, at once when it is past; a new time replaces the old."""
        if self._fd >= 0:
            at_ns = max(at_ns, 1)  # zero would disarm it
            spec = _Spec(0, 0, at_ns // 10**9, at_ns % 10**9)
            self._settime(self._fd, _ABSOLUTE, ctypes.byref(spec), None)
            return
        if self._watcher is not None:
            self._watcher.stop()
        self._watcher = self._loop.timer(max(at_ns - monotonic_ns(), 0) / 1e9)
        self._watcher.start(self._ring, update=True)

    def close(self) -> None:
        """Never ring again."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _readable(self) -> None:
        """Take the expiry and ring."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 8)
        self._ring()
