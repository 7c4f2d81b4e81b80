"""Capacity: at most so many answers of models at a time, the others wait in order.

Strategy: a slot is taken before an answer's clock starts and given back when the answer is over,
however it ends. So the most that a server can answer is known beforehand: slots divided by the time
that one answer takes; beyond it, the queue and with it the time to the first token grow.

Rules. What waits leaves the queue without a slot when its client leaves. A freed slot goes to the
next in a turn of the loop of its own, so that a long queue of instant answers is no recursion.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from .app import Answer, App
from .journal import Entry
from .player import Player, Stage

__all__ = ["Queued", "Slots", "needs_slot"]


class Slots:
    """Hands out a fixed number of slots, first come, first served."""

    __slots__ = ("_free", "_loop", "_serial", "_waiting")

    def __init__(self, count: int, loop: asyncio.AbstractEventLoop) -> None:
        self._free = count
        self._loop = loop
        self._serial = 0
        self._waiting: OrderedDict[int, Callable[[], None]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return len(self._waiting)

    def take(self, begin: Callable[[], None]) -> int | None:
        """Call ``begin`` at once when a slot is free; else later, and return a ticket."""
        if self._free:
            self._free -= 1
            begin()
            return None
        self._serial += 1
        self._waiting[self._serial] = begin
        return self._serial

    def forget(self, ticket: int) -> None:
        """Leave the queue."""
        self._waiting.pop(ticket, None)

    def give_back(self) -> None:
        """Free a slot; the one that has waited longest gets it."""
        if self._waiting:
            self._loop.call_soon(self._grant)
        else:
            self._free += 1

    def _grant(self) -> None:
        """Give the slot to the next; he may have left since."""
        if self._waiting:
            self._waiting.popitem(last=False)[1]()
        else:
            self._free += 1


class Host(Stage, Protocol):
    """Where a queued answer will play: one connection."""

    app: App

    def begin(self, player: Player) -> None:
        """Play an answer that has its slot."""


def needs_slot(answer: Answer) -> bool:
    """Tell whether an answer is a model's work: what was posted, and not refused."""
    entry = answer.entry
    return entry is not None and entry.method == "POST" and answer.reply.status == 200


class Queued:
    """Stands where a player will be while its answer waits for a slot."""

    def __init__(self, stage: Host, slots: Slots, answer: Answer, *, close: bool) -> None:
        self._stage = stage
        self._slots = slots
        self._answer = answer
        self._close = close
        self._ticket: int | None = None

    def enter(self) -> None:
        """Take a slot, now or when one is free."""
        self._ticket = self._slots.take(self._begin)

    def _begin(self) -> None:
        """Play the answer, its times counted from now."""
        answer = self._answer
        player = Player(
            self._stage,
            answer.steps,
            time.monotonic_ns(),
            answer.entry,
            close=self._close,
            detached=answer.reply.detached,
            settle=self._over,
        )
        self._stage.begin(player)

    def _over(self, entry: Entry) -> None:
        """Settle the answer, and give its slot back."""
        self._stage.app.journal.settle(entry)
        self._slots.give_back()

    def play(self) -> None:
        """Wait: it is not its turn yet."""

    def leave(self) -> None:
        """Leave the queue: nobody waits for the answer."""
        entry = self._answer.entry
        if self._ticket is None or entry is None:
            return
        self._slots.forget(self._ticket)
        entry.cancelled_at_ns = time.monotonic_ns()
        entry.outcome = "cancelled"
        self._stage.app.journal.settle(entry)
