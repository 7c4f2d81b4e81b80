"""One load over many processes and hosts: Locust's master leads, its workers make the load.

Strategy: all of it goes through Locust's own connection. The master sends each worker the plan and
its share (``share``); when all are ready, it names one moment to start at. A worker writes its
samples, stamps, lag and notes into a folder of its own, as a single process would, and ships what
is new to the master every second; the master writes the same bytes into the run's folder. So the
figures are those of the samples, whole, and no folder has to be shared.

Rules. Workers do not depend on how Locust shares users out: each makes exactly its own arrivals or
users. A worker that falls silent is dead: what it had sent is kept, ``workers.json`` says that it
died, and that makes the run invalid. What a worker sends is written only under the names that a
worker's files have. Hosts start at one wall clock time, so they start together as well as their
clocks agree; a difference that shows is told.
"""

import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import gevent

from gateproof.budget import budget_of
from gateproof.errors import GateproofError, UsageError
from gateproof.plan import LoadPlan

from .share import Share

__all__ = ["WORKERS_FILE", "Lead", "Part", "Shipper", "is_lead", "is_part"]

WORKERS_FILE: Final = "workers.json"
_SILENT_S: Final = 5.0  # a worker that ships nothing for so long is dead; it ships every second
_READY_S: Final = 60.0  # to calibrate, on a busy machine
_AFTER_S: Final = 15.0  # for the last answers and the last samples, beyond the plan's own drain
_AHEAD_NS: Final = 300 * 10**6  # between the order to start and the start
_CHUNK: Final = 256 * 1024
_SKEW_S: Final = 0.05  # beyond it, clocks of hosts differ by more than a message takes

# What a worker may send: the files of one generator process, each with the worker put into it.
_OWN: Final = re.compile(
    r"(samples|stamps|lag|generator|failures|calibration)\.[0-9]+\.(bin|jsonl|json)"
)
_TRANSCRIPTS: Final = re.compile(r"transcripts/[0-9]+\.json")


def is_lead(environment: Any) -> bool:
    """Tell whether this process leads workers and makes no load itself."""
    from locust.runners import MasterRunner  # noqa: PLC0415  # importing it patches the process

    return isinstance(environment.runner, MasterRunner)


def is_part(environment: Any) -> bool:
    """Tell whether this process is one of the workers."""
    from locust.runners import WorkerRunner  # noqa: PLC0415  # as above

    return isinstance(environment.runner, WorkerRunner)


def register(environment: Any, handlers: Mapping[str, Callable[[Any], object]]) -> None:
    """Let Locust hand messages of ours to their handlers, in the order in which they come."""

    def listener(handle: Callable[[Any], object]) -> Callable[..., object]:
        return lambda environment, msg, **_: handle(msg)  # noqa: ARG005  # Locust's own names

    for name, handle in handlers.items():
        environment.runner.register_message(f"gateproof-{name}", listener(handle))


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
        self._skew_s: dict[str, float] = {}
        self._progress = False
        self._over = False
        self._started_s = 0.0
        self.status = 0
        """The exit status that a worker asks for."""
        handlers: dict[str, Callable[[Any], object]] = {
            "ready": self._on_ready,
            "file": self._on_file,
            "tell": self._on_tell,
            "alive": self._hear,
            "done": self._on_done,
            "failed": self._on_failed,
        }
        register(environment, handlers)

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

    def stop(self) -> None:
        """Take notice that the test is over; what workers still send is still written."""
        self._over = True
        self._write()

    def _watch(self, begun_s: float) -> None:
        """Look after the workers until all have done their part, or are dead."""
        while not self._over:
            gevent.sleep(0.2)
            now_s = time.monotonic()
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

    def _go(self, living: list[str]) -> None:
        self._started_s = time.monotonic()
        for one in living:
            self._heard_s[one] = self._started_s
            data = {"start_wall_ns": time.time_ns() + _AHEAD_NS}
            self._runner.send_message("gateproof-go", data, one)

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

    def _hear(self, msg: Any) -> bool:
        """Note that a worker lives; messages of others are not ours."""
        one = msg.node_id
        if one not in self._names:
            return False
        self._heard_s[one] = time.monotonic()
        if self._dead.get(one) == "fell silent":
            del self._dead[one]
            self._write()
        if isinstance(msg.data, Mapping) and "wall_ns" in msg.data:
            # The least is the difference of the clocks and one way of a message.
            late_s = (time.time_ns() - msg.data["wall_ns"]) / 1e9
            known = self._skew_s.get(one)
            self._skew_s[one] = late_s if known is None else min(known, late_s, key=abs)
        return True

    def _on_ready(self, msg: Any) -> None:
        if self._hear(msg):
            self._ready.add(msg.node_id)

    def _on_tell(self, msg: Any) -> None:
        """Pass a worker's line of progress on, under its name."""
        if self._hear(msg) and self._progress:
            row = {**msg.data["row"], "worker": f"w{self._names[msg.node_id]}"}
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()

    def _on_done(self, msg: Any) -> None:
        if not self._hear(msg):
            return
        if msg.data["early"] and not self._over:
            self._die(msg.node_id, "ended before its time")
        self._done[msg.node_id] = msg.data
        self.status = self.status or int(msg.data["status"])

    def _on_failed(self, msg: Any) -> None:
        """End everything: a worker says that what it is asked for cannot be."""
        if self._hear(msg):
            sys.stderr.write(f"worker {self._names[msg.node_id]}: {msg.data['says']}\n")
            sys.stderr.flush()
            self.status = int(msg.data["status"])
            self._dead.update(dict.fromkeys(self._names, "was told to end"))

    def _on_file(self, msg: Any) -> None:
        """Write the next bytes of one of a worker's files where they belong."""
        if not self._hear(msg) or self._folder is None:
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
        skew = {
            f"w{self._names[one]}": round(skew_s, 4)
            for one, skew_s in self._skew_s.items()
            if abs(skew_s) > _SKEW_S
        }
        row = {"expected": len(self._names), "died": died, "clocks_off_s": skew}
        (self._folder / WORKERS_FILE).write_text(json.dumps(row, indent=1) + "\n", "utf-8")


def _kept_as(name: str, place: int) -> str:
    """Give the name under which the master keeps a worker's file; a wrong one is refused."""
    if _OWN.fullmatch(name):
        kind, _, ending = name.split(".")
        return f"{kind}.w{place}.{ending}"
    if _TRANSCRIPTS.fullmatch(name):
        return f"transcripts/w{place}.json"
    raise UsageError(f"A worker sent a file named {name[:80]!r}.", "It is not written.")


class Part:
    """A worker's part: takes its share, makes it, and ships what it writes."""

    def __init__(
        self,
        environment: Any,
        build: Callable[[LoadPlan, Share, Path | None, Mapping[str, Any]], None],
        prepare: Callable[[], None],
        go: Callable[[int], None],
    ) -> None:
        self._runner = environment.runner
        self._build = build
        self._prepare = prepare
        self._go = go
        self._part: Mapping[str, Any] | None = None
        self._shipper: Shipper | None = None
        register(environment, {"part": self._on_part, "go": self._on_go})

    def _on_part(self, msg: Any) -> None:
        """Take the share; it is taken up when Locust starts the test, a moment later."""
        self._part = msg.data

    def start(self) -> None:
        """Prepare what the master asked for, and say when that is done."""
        part = self._part
        if part is None:
            return
        self._part = None
        self._shipper = Shipper(self._send, keep=bool(part["keep"]))
        share = Share(int(part["index"]), int(part["count"]))
        try:
            self._build(LoadPlan.of(part["plan"]), share, self._shipper.folder, part)
        except GateproofError as error:
            self._send("failed", {"status": error.exit_status, "says": str(error)})
            return
        gevent.spawn(self._get_ready)

    def _get_ready(self) -> None:
        self._prepare()
        self._send("ready", {"wall_ns": time.time_ns()})

    def _on_go(self, msg: Any) -> None:
        """Start at the master's moment, on this host's own clock."""
        if self._shipper is None:
            return
        self._shipper.start()
        wait_ns = msg.data["start_wall_ns"] - time.time_ns()
        # A clock that is far off must not keep the worker waiting, or start it in the past.
        start_ns = time.monotonic_ns() + min(max(wait_ns, 0), 2 * _AHEAD_NS)
        gevent.spawn(self._go, start_ns)

    def tell(self, row: Mapping[str, Any]) -> None:
        """Send a line of progress."""
        self._send("tell", {"row": dict(row), "wall_ns": time.time_ns()})

    def done(self, *, early: bool, status: int) -> None:
        """Ship all that is left, and say that this worker's part is done; once."""
        if self._shipper is not None:
            self._shipper.close()
            self._shipper = None
            self._send("done", {"early": early, "status": status})

    def _send(self, name: str, data: Mapping[str, Any]) -> None:
        self._runner.send_message(f"gateproof-{name}", dict(data))


class Shipper:
    """Sends what is new in a folder's files, every second and at the end, in safe order.

    Stamps go before the records that point at them, as they are written: what has arrived can be
    read to its last whole record whenever the worker dies.
    """

    def __init__(self, send: Callable[[str, Mapping[str, Any]], None], *, keep: bool) -> None:
        self._send = send
        self.folder = Path(tempfile.mkdtemp(prefix="gateproof-worker-")) if keep else None
        self._sent: dict[str, int] = {}
        self._greenlet: Any = None

    def start(self) -> None:
        """Begin to ship."""
        self._greenlet = gevent.spawn(self._each_second)

    def _each_second(self) -> None:
        while True:
            gevent.sleep(1.0)
            self.ship()
            self._send("alive", {"wall_ns": time.time_ns()})

    def ship(self) -> None:
        """Send all that is new now."""
        if self.folder is None:
            return
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        sizes = [(str(path.relative_to(self.folder)), path.stat().st_size) for path in files]
        # All sizes are taken before anything is read, so a record's stamps are among them.
        for name, size in sorted(sizes, key=lambda one: one[0].startswith("samples.")):
            if name == "plan.json" or name.endswith(".part"):
                continue
            self._ship_one(name, size)

    def _ship_one(self, name: str, size: int) -> None:
        assert self.folder is not None
        at = self._sent.get(name, 0)
        if name.startswith("calibration.") and at < size:
            at = 0  # it is written anew, and grows
        with (self.folder / name).open("rb") as file:
            file.seek(at)
            while at < size:
                data = file.read(min(_CHUNK, size - at))
                if not data:
                    break
                self._send("file", {"name": name, "at": at, "data": data})
                at += len(data)
        self._sent[name] = at

    def close(self) -> None:
        """Send the rest, and remove the folder."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)
        self.ship()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
