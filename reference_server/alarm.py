"""A timer of the kernel for absolute times, to the microsecond.

The event loop's own timers have whole milliseconds and begin at the loop's idea of now, so that a
step a millisecond away leaves up to two milliseconds late. Linux has timers that are read like a
file and are set by the clock that all our times come from (timerfd_create(2), CLOCK_MONOTONIC).
Where there are none, the loop's are used.
"""

import asyncio
import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Callable

__all__ = ["Alarm", "KernelAlarm", "LoopAlarm", "alarm_of"]

_NS = 1_000_000_000
_MS = 1_000_000
_CLOCK_MONOTONIC = 1
_FLAGS = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)  # TFD_NONBLOCK | TFD_CLOEXEC
_ABSOLUTE = 1  # TFD_TIMER_ABSTIME


class LoopAlarm:
    """Rings once at a time, by the loop's timers: up to two milliseconds late or early."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None

    def set(self, due_ns: int, ring: Callable[[], None]) -> None:
        """Ring at the time, and not at the one that was set before."""
        if self._handle is not None:
            self._handle.cancel()
        wait_ms = max(1, -(-(due_ns - time.monotonic_ns()) // _MS))

        def rung() -> None:
            self._handle = None
            ring()

        self._handle = self._loop.call_later(wait_ms / 1000, rung)

    def close(self) -> None:
        """Ring no more."""
        if self._handle is not None:
            self._handle.cancel()


class _Spec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long), ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long), ("value_ns", ctypes.c_long),
    )  # fmt: skip


class KernelAlarm:
    """Rings once at a time, by a timer of the kernel; raises OSError where there is none."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        if sys.platform != "linux":
            raise OSError("no timerfd")
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self._number: int = libc.timerfd_create(_CLOCK_MONOTONIC, _FLAGS)
        if self._number < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = _Spec()
        self._pointer = ctypes.byref(self._spec)
        self._loop = loop
        self._ring: Callable[[], None] | None = None
        loop.add_reader(self._number, self._rung)

    def set(self, due_ns: int, ring: Callable[[], None]) -> None:
        """Ring at the time, and not at the one that was set before."""
        self._ring = ring
        spec = self._spec
        spec.value_s, spec.value_ns = divmod(max(due_ns, 1), _NS)
        self._settime(self._number, _ABSOLUTE, self._pointer, None)

    def _rung(self) -> None:
        with contextlib.suppress(BlockingIOError):  # set anew since it rang
            os.read(self._number, 8)
            if self._ring is not None:
                self._ring()

    def close(self) -> None:
        """Ring no more."""
        self._loop.remove_reader(self._number)
        os.close(self._number)


Alarm = LoopAlarm | KernelAlarm


def alarm_of(loop: asyncio.AbstractEventLoop) -> Alarm:
    """Return the best alarm that this machine has."""
    try:
        return KernelAlarm(loop)
    except (OSError, AttributeError):  # another system, or a C library without it
        return LoopAlarm(loop)
