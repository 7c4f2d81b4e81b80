"""Puts small loads on base URLs and records them as a run does, in a process for gevent.

The arguments are a folder and JSON: name -> [base URL, users, requests of each, patient].
With no users the load is open: so many arrivals at 200/s, at most 20 at a time, unless more JSON
says otherwise: ``rate_per_s``, ``cap``. With ``in_turn`` there, each load waits for the one before.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import gevent
from gevent import monkey

monkey.patch_all()

from gateproof.loadtests.arrivals import Arrivals  # noqa: E402  # after the patch, as under Locust
from gateproof.loadtests.patience import Patience  # noqa: E402
from gateproof.loadtests.recorder import Recorder  # noqa: E402
from gateproof.loadtests.stream import Client  # noqa: E402
from gateproof.loadtests.work import Workload  # noqa: E402

from gateproof.plan import LoadPlan  # noqa: E402
from gateproof.sample import Flag, Sample  # noqa: E402
from gateproof.work import Work  # noqa: E402

OPTIONS = {"rate_per_s": 200.0, "cap": 20, "in_turn": False}


class Load:
    """One small load."""

    def __init__(self, folder: Path, name: str, url: str, *, is_open: bool) -> None:
        plan = LoadPlan(
            scenario=name,
            arrivals="constant" if is_open else "closed",
            target=url,
            model="m",
            users=None if is_open else 1,
            rate_per_s=OPTIONS["rate_per_s"] if is_open else None,
        )
        self.client = Client(url)
        self.recorder = Recorder(plan, folder / name, lambda **_: None, titles=["chat"])
        self.workload = Workload([Work()], model_of=lambda _use: "m", head=self.client.head)

    def ask(self, sample: Sample) -> Sample:
        """Make the next request."""
        sample.number = self.recorder.started
        self.recorder.started += 1
        self.client.send(self.workload.request(sample.number), sample, self.recorder.record)
        return sample

    def closed(self, users: int, times: int, *, patient: bool) -> None:
        """Let users ask, each after its answer, and wait when they are told to."""

        def user() -> None:
            patience = Patience()
            for _ in range(times):
                wait_s = patience.after(self.ask(Sample(flags=patience.flags())))
                if patient:
                    gevent.sleep(wait_s)
                else:
                    patience = Patience()

        gevent.joinall([gevent.spawn(user) for _ in range(users)], raise_error=True)

    def open(self, times: int) -> None:
        """Let requests arrive, whatever became of those before them, under a cap."""

        def offsets() -> Iterator[tuple[int, None]]:
            for number in range(times):
                yield round(number * 1e9 / OPTIONS["rate_per_s"]), None

        def begin(due_ns: int, delayed: bool, _lengths: object) -> None:  # noqa: FBT001  # as a greenlet
            self.ask(Sample(due_ns=due_ns, flags=int(Flag.DELAYED) if delayed else 0))
            if self.recorder.started == times and arrivals.running == 1:
                arrivals.stop()

        arrivals = Arrivals(offsets(), begin, lambda _due_ns: None, cap=int(OPTIONS["cap"]))
        arrivals.run()

    def run(self, users: int, times: int, *, patient: bool) -> None:
        """Run the load from start to stop."""
        self.recorder.start()
        if users:
            self.closed(users, times, patient=patient)
        else:
            self.open(times)
        self.recorder.close()
        self.client.close()


if __name__ == "__main__":
    folder, asked = Path(sys.argv[1]), json.loads(sys.argv[2])
    OPTIONS |= json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    running = []
    for name, (url, users, times, patient) in asked.items():
        load = Load(folder, name, url, is_open=not users)
        running.append(gevent.spawn(load.run, users, times, patient=patient))
        if OPTIONS["in_turn"]:
            running[-1].join()
    gevent.joinall(running, raise_error=True)
