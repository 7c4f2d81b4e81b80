"""Several processes on one port: how they are started, and how their journals are read as one.

The kernel divides new connections among them (SO_REUSEPORT). They share the state, as a file; each
has a journal and rate limits of its own. Each listens on a second port too, by which the one that
is asked for the journal asks the others; whoever reads it sees one journal, in the order of time.
The first process only starts and ends the others: they end when its pipe to them ends.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from typing import Any

from .app import App, Request
from .jsontext import dumps
from .script import JSON, Reply

__all__ = ["asks_for_journal", "journal_of_all", "lead"]

_PEER_S = 10.0
_ALONE = "only-this"  # in the query: one process asks another, which must not ask back


def asks_for_journal(request: Request) -> bool:
    """Tell whether a request is for the journal of all processes."""
    path, _, query = request.target.partition("?")
    return path == "/_journal" and _ALONE not in query


async def _ask(peer: str, method: str, target: str) -> Any:
    """Ask another process; return the JSON of its answer, or None without a body."""
    host, _, port = peer.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 30)
    try:
        head = f"{method} {target} HTTP/1.1\r\nHost: {peer}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode("latin-1"))
        answer = await reader.read()
    finally:
        writer.close()
    body = answer.partition(b"\r\n\r\n")[2]
    return json.loads(body) if body else None


async def journal_of_all(app: App, request: Request) -> Reply:
    """Read (or clear) the journals of all processes; a process that does not answer is named."""
    own = app.own(request.method, request.target)
    path, _, query = request.target.partition("?")
    target = f"{path}?{query}&{_ALONE}" if query else f"{path}?{_ALONE}"
    asked = [asyncio.wait_for(_ask(peer, request.method, target), _PEER_S) for peer in app.peers]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    if own.text is None or request.method == "DELETE":
        return own
    entries = json.loads(own.text)["entries"]
    silent = []
    for peer, answer in zip(app.peers, answers, strict=True):
        if isinstance(answer, dict):
            entries += answer["entries"]
        else:
            silent.append(peer)
    entries.sort(key=lambda entry: entry["at_ns"])
    body = {"entries": entries} if not silent else {"entries": entries, "silent": silent}
    return Reply(200, (JSON,), text=dumps(body))


async def lead(
    arguments: Sequence[str],
    count: int,
    host: str,
    port: int,
    *,
    in_memory: bool,
    with_stdin: bool,
    say: Callable[[str], None],
) -> int:
    """Start the processes, say when all are ready, and end them; return the exit status."""
    with contextlib.ExitStack() as held:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        place = held.enter_context(socket.socket(family))
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        place.bind((host, port))  # and never listens: it only keeps the port
        port = place.getsockname()[1]
        command = [sys.executable, "-m", str(__package__), *arguments]
        command += ["--workers", "1", "--worker", "--port", str(port)]
        if in_memory:
            folder = held.enter_context(tempfile.TemporaryDirectory(prefix="gateproof-state-"))
            command += ["--state", os.path.join(folder, "state.sqlite")]  # noqa: PTH118  # a text
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        workers: list[Process] = []
        try:
            readies = []
            for _ in range(count):  # one after the other: the first one makes the state
                worker = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
                workers.append(worker)
                assert worker.stdout is not None
                line = await worker.stdout.readline()
                if not line:
                    return await worker.wait()
                readies.append(json.loads(line))
            _introduce(workers, [ready["private"] for ready in readies])
            ready = {name: value for name, value in readies[0].items() if name != "private"}
            pids = [worker.pid for worker in workers]
            say(json.dumps({**ready, "pid": os.getpid(), "workers": pids}))
            return await _watch(workers, stop, with_stdin=with_stdin)
        finally:
            await _end(workers)


def _introduce(workers: Sequence[Process], privates: Sequence[str]) -> None:
    for place, worker in enumerate(workers):
        assert worker.stdin is not None
        peers = [*privates[:place], *privates[place + 1 :]]
        worker.stdin.write(json.dumps(peers).encode() + b"\n")


async def _watch(workers: Sequence[Process], stop: asyncio.Event, *, with_stdin: bool) -> int:
    """Wait until it is told to stop, or until one of the processes has ended by itself."""
    loop = asyncio.get_running_loop()
    if with_stdin:

        def heard() -> None:
            if not os.read(sys.stdin.fileno(), 65_536):
                loop.remove_reader(sys.stdin.fileno())
                stop.set()

        loop.add_reader(sys.stdin.fileno(), heard)
    waits = [asyncio.ensure_future(worker.wait()) for worker in workers]
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait([*waits, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    for wait in waits:
        wait.cancel()
    if stop.is_set():
        return 0
    sys.stderr.write("error: One of the workers has ended by itself.\n")
    return 4


async def _end(workers: Sequence[Process]) -> None:
    for worker in workers:
        if worker.stdin is not None:
            worker.stdin.close()
    for worker in workers:
        try:
            await asyncio.wait_for(worker.wait(), 5)
        except TimeoutError:
            worker.kill()
            await worker.wait()
