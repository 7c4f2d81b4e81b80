"""An alarm rings once, when its time has come, and not at the time that was set before."""

import asyncio
import sys
import time
from collections.abc import Callable

import pytest
import uvloop
from gateproof.reference_server.alarm import Alarm, KernelAlarm, LoopAlarm, alarm_of

MS = 1_000_000
KINDS = [LoopAlarm, *([KernelAlarm] if sys.platform == "linux" else [])]


def rings(make: Callable[[asyncio.AbstractEventLoop], Alarm], *waits_ms: int) -> list[int]:
    """Set an alarm to one time after the other; give which of them rang, and wait for the rest."""

    async def main() -> list[int]:
        alarm = make(asyncio.get_running_loop())
        rang: list[int] = []
        done = asyncio.Event()
        now_ns = time.monotonic_ns()
        for wait_ms in waits_ms:
            due_ns = now_ns + wait_ms * MS

            def ring(due_ns: int = due_ns, wait_ms: int = wait_ms) -> None:
                early_ns = due_ns - time.monotonic_ns()
                assert early_ns <= (0 if make is KernelAlarm else 2 * MS)
                rang.append(wait_ms)
                done.set()

            alarm.set(due_ns, ring)
        await asyncio.wait_for(done.wait(), 5)
        later = asyncio.get_running_loop().call_later
        over = asyncio.Event()
        later(max(waits_ms) / 1000 + 0.01, over.set)
        await over.wait()
        alarm.close()
        return rang

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize(
    ("waits_ms", "rang"),
    [((5,), [5]), ((-1000,), [-1000]), ((20, 3), [3]), ((3, 20), [20])],
    ids=["once", "a time that is over", "earlier", "later"],
)
def test_an_alarm_rings_at_the_last_time_that_was_set(
    make: Callable[[asyncio.AbstractEventLoop], Alarm], waits_ms: tuple[int, ...], rang: list[int]
) -> None:
    """It rings once, not before its time; the loop's clock may be some milliseconds old."""
    assert rings(make, *waits_ms) == rang


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no timerfd")
def test_linux_has_the_better_one() -> None:
    """The kernel's timer is taken where there is one."""

    async def main() -> Alarm:
        alarm = alarm_of(asyncio.get_running_loop())
        alarm.close()
        return alarm

    assert isinstance(asyncio.run(main()), KernelAlarm)
