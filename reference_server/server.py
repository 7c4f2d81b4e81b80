"""Starting and stopping: a listening socket on a uvloop, in this process or in a thread of it."""

import asyncio
import contextlib
import gc
import socket
import sqlite3
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import uvloop

from .alarm import Alarm, alarm_of
from .app import App, seeded
from .chat import Timing
from .connection import Connection, Settings, sweep
from .faults import parse
from .journal import Journal
from .limits import Limit, Ruler
from .player import Clock
from .profiles import PROFILES
from .slots import Slots

__all__ = ["Options", "Server", "listen", "serve_in_thread"]

_SWEEP_S = 5.0
_FLUSH_S = 0.5
_BACKLOG = 4096


@dataclass(frozen=True, slots=True)
class Options:
    """How a server is to behave towards everybody."""

    profile: str = "openai"
    behaviours: tuple[str, ...] = ()
    """Texts such as ``drop-done`` or ``itl=20``, applied to every call."""
    ttft_ms: float = 0
    itl_ms: float = 0
    jitter_ms: float = 0
    slots: int = 0
    """How many answers of models play at a time; the others wait in order; 0 is without."""
    limit_rpm: int = 0
    """Requests a minute for each key, in fixed windows; 0 is without."""
    limits: tuple[Limit, ...] = ()
    clock_scale: int = 1
    """How much faster the clock of all limits runs than the real one."""
    state: str = ":memory:"
    """The file of the state, or in memory."""
    journal_bytes: int = 32 * 1024 * 1024
    settings: Settings = field(default_factory=Settings)

    def app(self) -> App:
        """Build the gateway; raises OptionError for a behaviour that does not exist."""
        minute: tuple[Limit, ...] = ()
        if self.limit_rpm:
            minute = (Limit("requests", self.limit_rpm, 60_000_000_000, "fixed-window"),)
        return App(
            journal=Journal(self.journal_bytes),
            default=PROFILES[self.profile],
            deeds=tuple(parse(text) for text in self.behaviours),
            timing=Timing(
                ttft_ns=int(self.ttft_ms * 1e6),
                itl_ns=int(self.itl_ms * 1e6),
                jitter_ns=int(self.jitter_ms * 1e6),
            ),
            state=seeded(self.state),
            ruler=Ruler(self.clock_scale),
            limits=(*minute, *self.limits),
        )


class Server:
    """A server that listens, until it is closed."""

    def __init__(
        self,
        app: App,
        listener: asyncio.Server,
        living: set[Any],
        alarm: Alarm,
        private: asyncio.Server | None = None,
    ) -> None:
        self.app = app
        self._alarm = alarm
        self._listeners = [listener] if private is None else [listener, private]
        self.private = ""
        if private is not None:
            self.private = "{}:{}".format(*private.sockets[0].getsockname()[:2])
        self._living = living
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())
        self._flusher = asyncio.get_running_loop().create_task(self._flush())
        host, port = listener.sockets[0].getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_S)
            sweep(self._living, loop.time())

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_S)
            try:
                self.app.state.flush()
            except sqlite3.Error as error:
                # It is tried again; what is counted meanwhile waits in memory.
                sys.stderr.write(f"warning: The state could not be written: {error}.\n")

    async def close(self) -> None:
        """Stop listening, end all connections, and let go of the state."""
        for task in (self._sweeper, self._flusher):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for listener in self._listeners:
            listener.close()
        for connection in tuple(self._living):
            connection.transport.abort()
        await asyncio.sleep(0)
        self._alarm.close()
        self.app.state.close()


async def listen(
    options: Options, host: str = "127.0.0.1", port: int = 0, *, shared: bool = False
) -> Server:
    """Start a server in the running loop; port 0 takes a free one, a shared one may be taken.

    On a shared port it also listens on one of its own, at ``Server.private``.
    """
    app = options.app()
    loop = asyncio.get_running_loop()
    alarm = alarm_of(loop)
    clock = Clock(alarm)
    living: set[Any] = set()

    slots = Slots(options.slots, loop) if options.slots else None

    def connection() -> Connection:
        return Connection(app, options.settings, clock, living, slots)

    listener = await loop.create_server(
        connection,
        host,
        port,
        backlog=_BACKLOG,
        family=socket.AF_INET6 if ":" in host else socket.AF_INET,
        reuse_port=shared or None,
    )
    private = await loop.create_server(connection, "127.0.0.1", 0) if shared else None
    return Server(app, listener, living, alarm, private)


def calm_collector() -> None:
    """Let the garbage collector rest: its full passes over a big journal would delay streams."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 1000)


@contextlib.contextmanager
def serve_in_thread(options: Options | None = None) -> Iterator[str]:
    """Run a server in a thread, on a free port of the loopback; yields ``http://host:port``."""
    ready = threading.Event()
    box: dict[str, Any] = {}

    async def main() -> None:
        stop = asyncio.Event()
        try:
            server = await listen(options or Options())
            box.update(url=server.url, loop=asyncio.get_running_loop(), stop=stop)
        except BaseException as error:
            box["error"] = error
            raise
        finally:
            ready.set()
        await stop.wait()
        await server.close()

    def run() -> None:
        with (
            contextlib.suppress(Exception),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            runner.run(main())

    thread = threading.Thread(target=run, name="reference-server", daemon=True)
    thread.start()
    ready.wait()
    if "error" in box:
        raise box["error"]
    try:
        yield box["url"]
    finally:
        box["loop"].call_soon_threadsafe(box["stop"].set)
        thread.join(timeout=10)
