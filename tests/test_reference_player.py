"""The player, and the clock that all players share: nothing early, and nothing forgotten."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from gateproof.reference_server import alarm, player
from gateproof.reference_server.alarm import LoopAlarm
from gateproof.reference_server.player import Clock, Player
from gateproof.reference_server.script import Step

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
    for module in (alarm, player):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic_ns=lambda: loop.now_ns))
    return loop


def test_each_act_runs_in_its_millisecond(loop: Loop) -> None:
    """Acts run after their time and within a millisecond of it, whatever order they came in."""
    clock = Clock(LoopAlarm(loop))  # type: ignore[arg-type]
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
    clock = Clock(LoopAlarm(loop))  # type: ignore[arg-type]
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


class Stage:
    """A connection that keeps what is written, beside the time."""

    def __init__(self, loop: Loop, clock: Clock, log: list[tuple[int, str]]) -> None:
        self.loop = SimpleNamespace(call_soon=lambda act: loop.call_later(0, act))
        self._time = loop
        self.clock = clock
        self.transport = None
        self.paused = False
        self.ended = False
        self.log = log

    def write(self, data: bytes) -> None:
        """Keep the bytes."""
        self.log.append((self._time.now_ns // MS, data.decode()))

    def played(self, *, close: bool) -> None:
        """Take notice of the end."""
        self.ended = not close


def test_all_that_is_due_is_written_before_more_is_made(loop: Loop) -> None:
    """Two streams that are due together: both are written, then the next steps are made."""
    log: list[tuple[int, str]] = []
    clock = Clock(LoopAlarm(loop))  # type: ignore[arg-type]

    def script(name: str) -> Any:
        for place in range(3):
            if place > 1:
                log.append((loop.now_ns // MS, f"{name} makes {place}"))
            yield Step(place * 10 * MS, f"{name}{place}".encode(), "content")

    stages = [Stage(loop, clock, log) for _ in "ab"]
    for name, stage in zip("ab", stages, strict=True):
        Player(stage, script(name), 0, None, close=False).play()  # type: ignore[arg-type]
    loop.run()

    assert log == [
        (0, "a0"), (0, "b0"),
        (11, "a1"), (11, "b1"), (11, "a makes 2"), (11, "b makes 2"),
        (21, "a2"), (21, "b2"),
    ]  # fmt: skip
    assert [stage.ended for stage in stages] == [True, True]


def test_a_reader_who_does_not_read_stops_his_own_player_only(loop: Loop) -> None:
    """The paused stream goes on where it stopped; the other one does not wait for it."""
    log: list[tuple[int, str]] = []
    clock = Clock(LoopAlarm(loop))  # type: ignore[arg-type]
    stages = [Stage(loop, clock, log) for _ in "ab"]
    players = []
    for name, stage in zip("ab", stages, strict=True):
        steps = iter([Step(place * 10 * MS, f"{name}{place}".encode()) for place in range(3)])
        players.append(Player(stage, steps, 0, None, close=False))  # type: ignore[arg-type]
        players[-1].play()
    stages[0].paused = True
    loop.run()
    stages[0].paused = False
    players[0].play()

    assert log == [(0, "a0"), (0, "b0"), (11, "b1"), (21, "b2"), (21, "a1a2")]
    assert [stage.ended for stage in stages] == [True, True]
