"""The one player of scripts: writes each step at its absolute time, or as soon as it can.

Steps that are due together are joined into one write, within limits, and noted one by one. The
head goes out with the first event, before the rest is even made. A reader who does not read stops
his own player only. Timers are shared: all steps of all streams that are due in the same
millisecond wait for one timer, so that a thousand streams cost a thousand writes and no more.
Of a stream that waits, some steps are made ahead: two thousand streams have more state than a
processor's cache holds, and each visit to what makes their steps fetches it anew.
"""

import asyncio
import heapq
import itertools
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias

from .alarm import Alarm
from .journal import Entry
from .script import Step

__all__ = ["Clock", "Player"]

_TURN_STEPS = 64
_TURN_BYTES = 64 * 1024
_FIRST_TURN_STEPS = 2  # the head and the first event
_AHEAD = 16  # steps made ahead: more of them save little (measured)
_MS = 1_000_000
_NO_LINGER = struct.pack("ii", 1, 0)


Act: TypeAlias = Callable[[], Callable[[], None] | None]
"""What is done at its time; what it returns is done when all else that is due has been done."""


class Clock:
    """Calls functions at absolute times, in steps of a millisecond and never early."""

    def __init__(self, alarm: Alarm) -> None:
        self._alarm = alarm
        self._slots: dict[int, list[Act]] = {}
        self._due: list[int] = []
        self._armed: int | None = None

    def at(self, due_ns: int, act: Act) -> None:
        """Call the function in the millisecond after the time has come."""
        slot = due_ns // _MS + 1
        waiting = self._slots.get(slot)
        if waiting is not None:
            waiting.append(act)
            return
        self._slots[slot] = [act]
        heapq.heappush(self._due, slot)
        if self._armed is None or slot < self._armed:
            self._arm(slot)

    def _arm(self, slot: int) -> None:
        self._armed = slot
        self._alarm.set(slot * _MS, self._tick)

    def _tick(self) -> None:
        # What is added meanwhile does not arm a timer: the nearest slot is known when all is done.
        self._armed = 0
        now = time.monotonic_ns() // _MS
        rest: list[Callable[[], None]] = []
        while self._due and self._due[0] <= now:
            for act in self._slots.pop(heapq.heappop(self._due)):
                afterwards = act()
                if afterwards is not None:
                    rest.append(afterwards)
        for afterwards in rest:
            afterwards()
        self._armed = None
        if self._due:
            self._arm(self._due[0])


class Stage(Protocol):
    """Where a player plays: one connection."""

    transport: asyncio.Transport
    clock: Clock
    loop: asyncio.AbstractEventLoop
    paused: bool

    def write(self, data: bytes) -> None:
        """Send bytes, in the order of the calls."""

    def played(self, *, close: bool) -> None:
        """Take notice that the script is over, and whether the connection has to end."""


def _nothing() -> None:
    """Stand for what a player does when it is over."""


class Player:
    """Plays one script on one connection."""

    __slots__ = (
        "_ahead", "_base_ns", "_close", "_detached", "_entry", "_held", "_left", "_note",
        "_over", "_settle", "_stage", "_steps", "_turn", "_wake", "_written_ns", "waits",
    )  # fmt: skip

    def __init__(
        self, stage: Stage, steps: Iterator[Step], base_ns: int, entry: Entry | None, *,
        close: bool, detached: Callable[[], bool] | None = None,
        settle: Callable[[Entry], None] | None = None,
    ) -> None:  # fmt: skip
        self._stage = stage
        self._steps = steps
        self._base_ns = base_ns
        self._entry = entry
        self._close = close
        self._detached = detached
        self._settle = settle
        self._turn = _FIRST_TURN_STEPS
        self._ahead: list[Step] = []  # the next one last
        self._held: Step | None = None
        self._left = False
        self._over = False
        self._written_ns = 0
        # Bound once: it is a third of what a visit allocates. They are let go of at the end.
        self._wake: Act = self._wake_up
        self._note: Callable[[], None] = self._written
        self.waits = False

    def play(self) -> None:
        """Write what is due, and see to it that the rest follows."""
        if self._over or self.waits:
            return
        try:
            self._advance()
        except Exception:  # noqa: BLE001  # our own fault on one connection must not end the server
            self._fail()

    def _fail(self) -> None:
        traceback.print_exc(file=sys.stderr)
        self._end("reset")
        self._stage.transport.abort()

    def _advance(self) -> None:
        batch: list[Step] = []
        size = 0
        turn, self._turn = self._turn, _TURN_STEPS
        while len(batch) < turn and size < _TURN_BYTES:
            step = self._held
            self._held = None
            if step is None:
                step = self._next()
            if step is None:
                self._write(batch)
                self._end("complete")
                return
            due_ns = self._base_ns + step.at_ns
            if step.at_ns and due_ns > time.monotonic_ns():
                self._held = step
                self._write(batch)
                self._later(due_ns)
                return
            if step.act:
                self._write(batch)
                self._act(step)
                return
            if step.alone:
                self._write(batch)
                self._write([step])
                self._soon()
                return
            batch.append(step)
            size += len(step.data)
        self._write(batch)
        self._held = self._next()
        if self._held is None:
            self._end("complete")
        else:
            self._soon()

    def _next(self) -> Step | None:
        return self._ahead.pop() if self._ahead else next(self._steps, None)

    def _later(self, due_ns: int) -> None:
        self.waits = True
        self._stage.clock.at(due_ns, self._wake)

    def _soon(self) -> None:
        if self._stage.paused and not self._left:
            return  # resumed by the connection
        self.waits = True
        self._stage.loop.call_soon(self._resume)

    def _resume(self) -> None:
        self.waits = False
        if not self._stage.paused or self._left:
            self.play()

    def _wake_up(self) -> Callable[[], None] | None:
        """Go on at the time of the step that is held.

        The commonest case by far has its own way: one step is due, and the next one is not. It is
        written now, and what follows from that is left until all that are due are written: the
        writes are earlier, and cost less when the kernel is asked by one short loop.
        """
        stage, step = self._stage, self._held
        if stage.paused or step is None or self._left or self._over:
            self.waits = False
            if not stage.paused or self._left:  # else it is resumed by the connection
                self.play()
            return None
        at_ns, data, _, alone, act = step
        now_ns = time.monotonic_ns()
        since_ns = now_ns - self._base_ns
        ahead = self._ahead
        # Who is late by a whole step catches up by joining what is due into one write.
        if at_ns > since_ns or act or alone or (ahead and ahead[-1][0] <= since_ns):
            self.waits = False
            self.play()
            return None
        self._written_ns = now_ns  # it still waits: nobody else may go on before
        stage.write(data)
        return self._note

    def _written(self) -> None:
        """Note the step that was held and is written, and hold the next one."""
        step = self._held
        if self._over or step is None:
            self.waits = False
            return
        if self._entry is not None:
            self._entry.sent(self._written_ns, len(step[1]), step[2])
        ahead = self._ahead
        if not ahead:
            try:
                ahead += itertools.islice(self._steps, _AHEAD)
            except Exception:  # noqa: BLE001  # as in play
                self.waits = False
                self._fail()
                return
            if not ahead:
                self.waits = False
                self._end("complete")
                return
            ahead.reverse()
        step = self._held = ahead.pop()
        due_ns = self._base_ns + step[0]
        if due_ns > self._written_ns:
            self._stage.clock.at(due_ns, self._wake)
        else:
            self.waits = False
            self.play()

    def _write(self, batch: list[Step]) -> None:
        if not batch:
            return
        at_ns = time.monotonic_ns()
        entry = self._entry
        if entry is not None:
            for step in batch:
                entry.sent(at_ns, len(step.data), step.label)
        if not self._left:
            data = batch[0].data if len(batch) == 1 else b"".join([step.data for step in batch])
            self._stage.write(data)

    def _act(self, step: Step) -> None:
        if self._entry is not None:
            self._entry.sent(time.monotonic_ns(), 0, step.act)
        if step.act == "stall":
            return  # until the client leaves
        transport = self._stage.transport
        if step.act == "reset":
            sock = transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self._end("reset")
            transport.abort()
            return
        self._close = True
        self._end("reset" if step.label == "cut" else "complete")

    def _end(self, outcome: str) -> None:
        if self._over:
            return
        self._over = True
        self._conclude(outcome)
        self._wake, self._note = _nothing, _nothing
        if not self._left:
            self._stage.played(close=self._close)

    def leave(self) -> None:
        """Take notice that the client has gone: stop, unless the script is to go on for nobody."""
        if self._over or self._left:
            return
        self._left = True
        if self._detached is not None and self._detached():
            self.play()
            return
        self._over = True
        if self._entry is not None:
            self._entry.cancelled_at_ns = time.monotonic_ns()
        self._conclude("cancelled")
        self._wake, self._note = _nothing, _nothing

    def _conclude(self, outcome: str) -> None:
        entry = self._entry
        if entry is not None and entry.outcome == "open":
            entry.outcome = outcome
            if self._settle is not None:
                self._settle(entry)
