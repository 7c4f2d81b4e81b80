"""The clock that all players share: nothing early, and nothing forgotten."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from gateproof.reference_server import player
from gateproof.reference_server.player import Clock

MS = 1_000_000


class Loop:
    """A loop whose time only moves when a timer is run."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.timers: list[tuple[int, Callable[[], None]]] = []

    def call_later(self, delay_s: float, act: Callable[[], None]) -> Any:
        """Keep a timer; whole milliseconds, as the real loop has them."""
        timer = (self.now_ns + round(delay_s * 1000) * MS, act)
        self.timers.append(timer)
        return SimpleNamespace(cancel=lambda: self.timers.remove(timer))

    def run(self) -> None:
        """Run timers until none is left."""
        while self.timers:
            self.timers.sort(key=lambda timer: timer[0])
            self.now_ns, act = self.timers.pop(0)
            act()


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    """Give a loop that is the only clock."""
    loop = Loop()
    monkeypatch.setattr(player, "time", SimpleNamespace(monotonic_ns=lambda: loop.now_ns))
    return loop


def test_each_act_runs_in_its_millisecond(loop: Loop) -> None:
    """Acts run after their time and within a millisecond of it, whatever order they came in."""
    clock = Clock(loop)  # type: ignore[arg-type]
    ran: list[tuple[int, int]] = []
    for due_us in (5_300, 200, 5_100, 3_999, 4_000, 90_001):
        clock.at(due_us * 1000, lambda due=due_us: ran.append((due, loop.now_ns // 1000)))
    loop.run()

    assert ran == [
        (200, 1_000),
        (3_999, 4_000),
        (4_000, 5_000),
        (5_300, 6_000),
        (5_100, 6_000),
        (90_001, 91_000),
    ]


def test_what_an_act_adds_does_not_hide_what_waits(loop: Loop) -> None:
    """Twenty streams that each ask for their next time stay on time."""
    clock = Clock(loop)  # type: ignore[arg-type]
    late_us: list[int] = []

    def stream(due_ns: int, left: int) -> None:
        late_us.append((loop.now_ns - due_ns) // 1000)
        if left:
            next_ns = due_ns + 20 * MS
            clock.at(next_ns, lambda: stream(next_ns, left - 1))

    for number in range(20):
        due_ns = (number + 1) * MS
        clock.at(due_ns, lambda due_ns=due_ns: stream(due_ns, 10))
    loop.run()

    assert (len(late_us), min(late_us), max(late_us)) == (220, 1000, 1000)
