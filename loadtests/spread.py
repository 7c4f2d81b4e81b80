"""One load over many processes and hosts: Locust's master leads, its workers make the load.

Strategy: all of it goes through Locust's own connection. The master sends each worker the plan and
its share (``share``), and asks it what its clock shows (``gateproof.clocks``); when all are ready,
it names one moment to start at, on each one's own clock. A worker writes its samples, stamps, lag
and notes into a folder of its own, as a single process would, and ships what is new to the master
every second; the master writes the same bytes into the run's folder, and beside them how the
clocks compare. So the figures are those of the samples, whole, and no folder has to be shared.

Rules. Workers do not depend on how Locust shares users out: each makes exactly its own arrivals or
users. A worker that falls silent is dead: what it had sent is kept, ``workers.json`` says that it
died, and that makes the run invalid. What a worker sends is written only under the names that a
worker's files have. Wall clocks are for people: nothing is timed by them, and hosts need not agree
on them. One master can lead one test after another (Locust's page begins them): a message says
which test it is of, and one of another test is not heard.
"""

import json
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import gevent

from gateproof.budget import budget_of
from gateproof.clocks import Gauge, clock_id
from gateproof.errors import UsageError
from gateproof.plan import LoadPlan

from .messages import register
from .share import Share

__all__ = ["WORKERS_FILE", "Lead", "is_lead", "listen"]

WORKERS_FILE: Final = "workers.json"
_SILENT_S: Final = 5.0  # a worker that ships nothing for so long is dead; it ships every second
_READY_S: Final = 60.0  # to calibrate, on a busy machine
_AFTER_S: Final = 15.0  # for the last answers and the last samples, beyond the plan's own drain
_AHEAD_NS: Final = 300 * 10**6  # between the order to start and the start
_ENDING_S: Final = 3.0  # for a worker's second calibration and its last samples
_LOOKS: Final = 8  # at each clock before the start; the one with the shortest way counts
_LOOK_S: Final = 0.02
_LOOKING_S: Final = 2.0  # for the answers; a worker whose clock is unknown then starts at once
_AGAIN_S: Final = 1.0  # between two looks while the load runs, since clocks drift
_KEEP_S: Final = 10.0  # between two writings of what they showed

# What a worker may send: the files of one generator process, each with the worker put into it.
_OWN: Final = re.compile(
    r"(samples|stamps|lag|generator|failures|calibration)\.[0-9]+\.(bin|jsonl|json)"
)
_TRANSCRIPTS: Final = re.compile(r"transcripts/[0-9]+\.json")


# What workers tell their master.
_TOLD: Final = ("ready", "clock", "file", "tell", "alive", "done", "failed")


def is_lead(environment: Any) -> bool:
    """Tell whether this process leads workers and makes no load itself."""
    from locust.runners import MasterRunner  # noqa: PLC0415  # importing it patches the process

    return isinstance(environment.runner, MasterRunner)


def listen(environment: Any, leading: Callable[[], "Lead | None"]) -> None:
    """Let a master hand its workers' messages to whichever test it leads then; call it once."""

    def to(name: str) -> Callable[[Any], object]:
        def handle(msg: Any) -> None:
            lead = leading()
            if lead is not None:
                lead.take(name, msg)

        return handle

    register(environment, {name: to(name) for name in _TOLD})


class Lead:
    """The master's part in one test: shares out, starts, collects, and notices who dies."""

    def __init__(self, environment: Any, plan: LoadPlan, folder: Path | None) -> None:
        self._environment = environment
        self._runner = environment.runner
        self._plan, self._folder = plan, folder
        clients = sorted(client.id for client in self._runner.clients.values())
        self._names = {one: place for place, one in enumerate(clients)}
        part = Share(0, max(len(clients), 1))
        part.cap(plan.cap)  # what cannot be shared out is refused here
        if plan.budget:
            part.budget(budget_of(plan.budget, "The budget"))
        self._heard_s: dict[str, float] = {}
        self._ready: set[str] = set()
        self._done: dict[str, Mapping[str, Any]] = {}
        self._dead: dict[str, str] = {}
        self._gauges = {one: Gauge(clock_id()) for one in clients}
        self._test = secrets.token_hex(8)
        self._began_wall_ns: int | None = None
        self._progress = False
        self._over = False
        self._started_s = 0.0
        self.status = 0
        """The exit status that a worker asks for."""
        self._handlers: dict[str, Callable[[Any], object]] = {
            "ready": self._on_ready,
            "clock": self._on_clock,
            "file": self._on_file,
            "tell": self._on_tell,
            "alive": lambda _: None,
            "done": self._on_done,
            "failed": self._on_failed,
        }

    def take(self, name: str, msg: Any) -> None:
        """Take a message of a worker; one of another test, or of a stranger, is not ours."""
        if msg.node_id in self._names and msg.data["test"] == self._test:
            self._hear(msg.node_id)
            self._handlers[name](msg)

    def start(self, key_env: str, *, progress: bool, calibrate: bool) -> None:
        """Send every worker its share; they start when all are ready."""
        folder, self._progress = self._folder, progress
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / "plan.json").exists():
                (folder / "plan.json").write_text(self._plan.as_text(), "utf-8")
        now_s = time.monotonic()
        for one, place in self._names.items():
            self._heard_s[one] = now_s
            data = {
                "test": self._test,
                "plan": self._plan.as_json(),
                "index": place,
                "count": len(self._names),
                "key_env": key_env,
                "keep": folder is not None,
                "progress": progress,
                "calibrate": calibrate,
            }
            self._runner.send_message("gateproof-part", data, one)
        self._write()
        gevent.spawn(self._watch, now_s)

    def stopping(self, *, drain: bool) -> None:
        """Take notice that somebody ends the test; workers may ``drain`` before Locust ends them.

        Who looks at a page has the time for it; Ctrl-C elsewhere is to be quick.
        """
        if self._over:
            return
        self._over = True
        if not drain or not self._started_s:
            return
        living = [one for one in self._names if one not in self._dead]
        for one in living:
            self._runner.send_message("gateproof-end", {"test": self._test}, one)
        ends_s = time.monotonic() + self._plan.drain_s + _ENDING_S
        while time.monotonic() < ends_s and not all(one in self._done for one in living):
            gevent.sleep(_LOOK_S)

    def stop(self) -> None:
        """Take notice that the test is over; what workers still send is still written.

        Locust can say so of the test before, when this one has begun already: that is not heard.
        """
        if self._over:
            self._write()

    def _watch(self, begun_s: float) -> None:
        """Look after the workers until all have done their part, or are dead."""
        looked_s = written_s = begun_s
        while not self._over:
            gevent.sleep(0.2)
            now_s = time.monotonic()
            if self._started_s and now_s - looked_s > _AGAIN_S:
                looked_s = now_s
                self._look(one for one in self._names if one not in self._dead)
            if now_s - written_s > _KEEP_S:
                written_s = now_s
                self._write()
            longest_s = self._longest_s(self._plan)
            for one in self._names:
                if one in self._done or one in self._dead:
                    continue
                if not self._started_s:
                    if now_s - begun_s > _READY_S:
                        self._die(one, "was not ready in time")
                elif now_s - self._heard_s[one] > _SILENT_S:
                    self._die(one, "fell silent")
                elif longest_s is not None and now_s - self._started_s > longest_s:
                    self._die(one, "did not end in time")
            living = [one for one in self._names if one not in self._dead]
            if not self._started_s and living and self._ready >= set(living):
                self._go(living)
            if all(one in self._done for one in living):
                self._finish()

    def _longest_s(self, plan: LoadPlan) -> float | None:
        if plan.duration_s is None:
            return None
        return plan.duration_s + plan.drain_s + _AFTER_S

    def _look(self, workers: Iterable[str]) -> None:
        """Ask workers what their clocks show."""
        for one in workers:
            data = {"test": self._test, "asked_ns": time.monotonic_ns()}
            self._runner.send_message("gateproof-clock", data, one)

    def _on_clock(self, msg: Any) -> None:
        """Take a look at a worker's clock."""
        told = msg.data
        clock = bytes.fromhex(told["clock"])
        gauge = self._gauges[msg.node_id]
        gauge.hear(told["asked_ns"], told["shows_ns"], time.monotonic_ns(), clock)

    def _compare(self, living: list[str]) -> None:
        """Compare the clocks, while no load disturbs it."""
        for _ in range(_LOOKS):
            self._look(living)
            gevent.sleep(_LOOK_S)
        ends_s = time.monotonic() + _LOOKING_S
        while time.monotonic() < ends_s:
            if all(self._gauges[one].heard >= _LOOKS for one in living):
                break
            gevent.sleep(_LOOK_S)

    def _go(self, living: list[str]) -> None:
        """Let all begin at one moment, which each is told as its own clock will show it."""
        self._compare(living)
        self._started_s = time.monotonic()
        self._began_wall_ns = time.time_ns() + _AHEAD_NS
        start_ns = time.monotonic_ns() + _AHEAD_NS
        for one in living:
            self._heard_s[one] = self._started_s
            data = {"test": self._test, "start_ns": self._gauges[one].theirs(start_ns)}
            self._runner.send_message("gateproof-go", data, one)
        self._write()

    def _finish(self) -> None:
        """End the test; with Locust's page the master stays."""
        if self._over:
            return
        self._over = True
        self._write()
        if self.status:
            self._environment.process_exit_code = self.status
        self._environment.stop_timeout = 0
        if self._environment.web_ui is None:
            self._runner.quit()
        else:
            self._runner.stop()

    def _die(self, one: str, how: str) -> None:
        if one not in self._dead:
            self._dead[one] = how
            self._write()

    def _hear(self, one: str) -> None:
        """Note that a worker lives."""
        self._heard_s[one] = time.monotonic()
        if self._dead.get(one) == "fell silent":
            del self._dead[one]
            self._write()

    def _on_ready(self, msg: Any) -> None:
        self._ready.add(msg.node_id)

    def _on_tell(self, msg: Any) -> None:
        """Pass a worker's line of progress on, under its name."""
        if self._progress:
            row = {**msg.data["row"], "worker": f"w{self._names[msg.node_id]}"}
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()

    def _on_done(self, msg: Any) -> None:
        if msg.data["early"] and not self._over:
            self._die(msg.node_id, "ended before its time")
        self._done[msg.node_id] = msg.data
        self.status = self.status or int(msg.data["status"])

    def _on_failed(self, msg: Any) -> None:
        """End everything: a worker says that what it is asked for cannot be."""
        sys.stderr.write(f"worker {self._names[msg.node_id]}: {msg.data['says']}\n")
        sys.stderr.flush()
        self.status = int(msg.data["status"])
        self._dead.update(dict.fromkeys(self._names, "was told to end"))

    def _on_file(self, msg: Any) -> None:
        """Write the next bytes of one of a worker's files where they belong."""
        if self._folder is None:
            return
        name, at, data = msg.data["name"], msg.data["at"], msg.data["data"]
        path = self._folder / _kept_as(name, self._names[msg.node_id])
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(file, data, at)
        finally:
            os.close(file)

    def _write(self) -> None:
        """Write who takes part, and who died of them."""
        if self._folder is None:
            return
        died = [{"worker": f"w{self._names[one]}", "how": how} for one, how in self._dead.items()]
        row = {
            "expected": len(self._names),
            "died": died,
            "wall_ns": self._began_wall_ns,
            "clocks": {
                f"w{place}": [asdict(reading) for reading in self._gauges[one].readings()]
                for one, place in self._names.items()
            },
        }
        part = self._folder / f"{WORKERS_FILE}.part"
        part.write_text(json.dumps(row) + "\n", "utf-8")
        part.replace(self._folder / WORKERS_FILE)


def _kept_as(name: str, place: int) -> str:
    """Give the name under which the master keeps a worker's file; a wrong one is refused."""
    if _OWN.fullmatch(name):
        kind, _, ending = name.split(".")
        return f"{kind}.w{place}.{ending}"
    if _TRANSCRIPTS.fullmatch(name):
        return f"transcripts/w{place}.json"
    raise UsageError(f"A worker sent a file named {name[:80]!r}.", "It is not written.")
