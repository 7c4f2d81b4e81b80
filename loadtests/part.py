"""A worker's part in a load that a master leads (``spread``): makes its share, and ships it.

Strategy: the worker is a generator like any other, and writes its files into a folder of its own;
what is new in them goes to the master every second, through Locust's own connection.

Rules. A worker starts when the master says, on its own clock. It says of each message which test it
is of. Its folder is gone when its part is done; the key never leaves the environment.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import gevent

from gateproof.clocks import clock_id
from gateproof.errors import GateproofError
from gateproof.plan import LoadPlan

from .messages import register
from .share import Share

__all__ = ["Part", "Shipper", "is_part"]

_CHUNK: Final = 256 * 1024


def is_part(environment: Any) -> bool:
    """Tell whether this process is one of the workers."""
    from locust.runners import WorkerRunner  # noqa: PLC0415  # importing it patches the process

    return isinstance(environment.runner, WorkerRunner)


class Part:
    """A worker's part: takes its share, makes it, and ships what it writes."""

    def __init__(
        self,
        environment: Any,
        build: Callable[[LoadPlan, Share, Path | None, Mapping[str, Any]], None],
        prepare: Callable[[], None],
        go: Callable[[int], None],
        finish: Callable[[], None],
    ) -> None:
        self._runner = environment.runner
        self._build = build
        self._prepare = prepare
        self._go = go
        self._finish = finish
        self._part: Mapping[str, Any] | None = None
        self._test = ""
        self._shipper: Shipper | None = None
        handlers: dict[str, Callable[[Any], object]] = {
            "part": self._on_part,
            "clock": self._on_clock,
            "go": self._on_go,
            "end": self._on_end,
        }
        register(environment, handlers)

    def _on_part(self, msg: Any) -> None:
        """Take the share; it is taken up when Locust starts the test, a moment later."""
        self._part = msg.data

    def start(self) -> None:
        """Prepare what the master asked for, and say when that is done."""
        part = self._part
        if part is None:
            return
        self._part, self._test = None, part["test"]
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
        self._send("ready", {})

    def _on_clock(self, msg: Any) -> None:
        """Say what this host's clock shows."""
        shows = {"shows_ns": time.monotonic_ns(), "clock": clock_id().hex()}
        self._send("clock", {"asked_ns": msg.data["asked_ns"], **shows})

    def _on_go(self, msg: Any) -> None:
        """Start at the master's moment, as it shows on this host's own clock."""
        if self._shipper is None or msg.data["test"] != self._test:
            return
        self._shipper.start()
        gevent.spawn(self._go, msg.data["start_ns"] or 0)

    def _on_end(self, msg: Any) -> None:
        """Let the load end before its time, but in order."""
        if self._shipper is not None and msg.data["test"] == self._test:
            gevent.spawn(self._finish)

    def tell(self, row: Mapping[str, Any]) -> None:
        """Send a line of progress."""
        self._send("tell", {"row": dict(row)})

    def done(self, *, early: bool, status: int) -> None:
        """Ship all that is left, and say that this worker's part is done; once."""
        if self._shipper is not None:
            self._shipper.close()
            self._shipper = None
            self._send("done", {"early": early, "status": status})

    def _send(self, name: str, data: Mapping[str, Any]) -> None:
        self._runner.send_message(f"gateproof-{name}", {"test": self._test, **data})


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
            self._send("alive", {})

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
