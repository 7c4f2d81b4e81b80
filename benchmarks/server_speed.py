"""How fast the reference server streams, beside other mock servers, in one run.

Run it as ``python benchmarks/server_speed.py`` (``--seconds``, ``--repeats``, ``--only``,
``--workers``, ``--envs``, ``--json``; ``--smoke`` for a short run that only holds a floor). The
server is one process on one core, this client another one on another core. Three questions:

flat     200 streams on 200 connections, each asking again as soon as it has its answer, without
         delays: server-sent events a second of the wall clock, and a second of the server's CPU
         time. The second holds on a machine that does other work too. By turns with each other mock
         server that is found in ``--envs`` (see below), as the ratio of the medians.
paced    1,000 streams at 50 tokens/s: how late each event is sent while all of them run, by its
         absolute schedule (request read + n times 20 ms) and the server's own journal, which takes
         the time before it writes; and how late it is read by this client, which holds the
         kernel's and its own share too.
crowd    2,000 streams at 50 tokens/s: the events that are sent while all of them run, as a
         percentage of those that are due in that time (``rate_percent``); by how much they are late
         stands beside it.

Medians over ``--repeats``, with the spread. Machine noise (how late a timer of an idle process is)
and the load average are printed beside.

On a machine that does other work, ``--realtime`` (as root) runs all processes of the benchmark
before that work, and says so.

Others are found, not installed: ``npm install @copilotkit/aimock`` in ``ENVS/aimock``, and
``pip install mockllm`` into the environment ``ENVS/mockllm``. They write one event for a piece of
text of fixed size, and are given as many pieces as ours has tokens.
"""

# ruff: noqa: INP001  # a script, not a package

import argparse
import contextlib
import json
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic_ns
from typing import Any, Final

import numpy as np
import orjson

KEY: Final = "sk-gateproof-demo"
TOKENS: Final = 400
ITL_NS: Final = 20_000_000
MARK: Final = b"data: "
END: Final = b"\r\n0\r\n\r\n"
FLOOR: Final = 150_000  # events a CPU second: what the server is built for
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Running:
    """A server that runs, and how it is asked for a stream of so many events."""

    name: str
    port: int
    session: int
    """The session of its processes: some start others."""
    request: bytes
    """Asks for a stream of TOKENS pieces."""

    def cpu_s(self) -> float:
        """Return the CPU seconds that its processes have used."""
        total = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[3]) == self.session:
                    total += int(fields[11]) + int(fields[12])
        return total / _TICKS


def chat(port: int, model: str, text: str) -> bytes:
    """Write a request for a stream."""
    body = orjson.dumps(
        {"model": model, "messages": [{"role": "user", "content": text}], "stream": True}
    )
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Content-Type: application/json\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def free_port() -> int:
    """Return a port that was free a moment ago, for servers that cannot choose one."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def cores() -> tuple[set[int], set[int]]:
    """Divide the cores: the server's, and the client's."""
    mine = sorted(os.sched_getaffinity(0))
    return ({mine[0]}, set(mine[1:])) if len(mine) > 1 else (set(mine), set(mine))


@contextlib.contextmanager
def run(command: list[str], where: set[int]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server on its cores, and end it."""
    process = subprocess.Popen(  # noqa: S603  # our own command
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.sched_setaffinity(process.pid, where)
    os.sched_setscheduler(process.pid, os.sched_getscheduler(0), os.sched_getparam(0))
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


@contextlib.contextmanager
def ours(where: set[int], workers: int = 1, journal: int = 32 << 20) -> Iterator[Running]:
    """Run the reference server."""
    command = [sys.executable, "-m", "gateproof.reference_server", "--port", "0"]
    command += ["--exit-with-stdin", "--journal-bytes", str(journal)]
    if workers > 1:
        command += ["--workers", str(workers)]
    with run(command, where) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        port = int(ready["url"].rpartition(":")[2])
        request = chat(port, f"gpt-4o-mini+tokens={TOKENS}", "Write a story.")
        yield Running("gateproof", port, process.pid, request)


def answers(port: int) -> bool:
    """Tell whether somebody listens."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def other(name: str, envs: Path, where: set[int]) -> Iterator[Running | None]:
    """Run another mock server, if it is there; its answers have TOKENS pieces."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        if name == "aimock":
            program = envs / "aimock/node_modules/@copilotkit/aimock/dist/cli.js"
            fixture = {
                "match": {"userMessage": "story"},
                "response": {"content": "four" * TOKENS},
            }
            Path(folder, "story.json").write_text(json.dumps({"fixtures": [fixture]}))
            command = ["node", str(program), "-p", str(port), "-f", folder]
            command += ["--chunk-size", "4", "--log-level", "silent"]
        else:
            program = envs / "mockllm/bin/mockllm"
            answer = json.dumps("x" * TOKENS)
            Path(folder, "answers.yml").write_text(
                f'responses:\n  "write a story.": {answer}\n'
                f"defaults:\n  unknown_response: {answer}\nsettings:\n  lag_enabled: false\n"
            )
            command = [str(program), "start", "-r", f"{folder}/answers.yml", "-p", str(port)]
        if not program.exists():
            yield None
            return
        with run(command, where) as process:
            deadline = time.monotonic() + 20
            while not answers(port) and time.monotonic() < deadline:
                time.sleep(0.1)
            yield Running(name, port, process.pid, chat(port, "gpt-4o", "Write a story."))


@dataclass(slots=True)
class Stream:
    """One connection of the client, and what it read."""

    sock: socket.socket
    request: bytes
    tail: bytes = b""
    events: int = 0
    done: int = 0
    reads: list[tuple[int, int]] = field(default_factory=list)
    """When something was read, and how many events had come by then."""


def connect(port: int) -> socket.socket:
    """Open a connection that does not block."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(0)
    return sock


def read_streams(
    streams: list[Stream], end_ns: int, *, again: bool = False, starts: Sequence[int] = ()
) -> None:
    """Read all streams until the time is over, or all have their answer when none asks again.

    With ``starts`` the n-th stream asks at the n-th time, and all reads are noted with their time.
    """
    waiting = deque(zip(starts, streams, strict=bool(starts)))
    stamp = bool(starts)
    # It never waits in the kernel: a server's write must not also pay for waking its reader.
    poll = select.epoll()
    by_number = {}
    for stream in streams:
        poll.register(stream.sock.fileno(), select.EPOLLIN)
        by_number[stream.sock.fileno()] = stream
    left = len(streams)
    while left and monotonic_ns() < end_ns:
        while waiting and waiting[0][0] <= monotonic_ns():
            _, stream = waiting.popleft()
            stream.sock.sendall(stream.request)
        ready = poll.poll(0, 512)
        if not ready:
            time.sleep(0.0002)
        for number, _ in ready:
            stream = by_number[number]
            try:
                data = stream.sock.recv(262_144)
            except BlockingIOError:
                continue
            if not data:
                poll.unregister(number)
                left -= 1
                continue
            # An event's mark may be cut in two: the bytes before are looked at again, uncounted.
            stream.events += (stream.tail + data).count(MARK)
            if stamp:
                stream.reads.append((monotonic_ns(), stream.events))
            stream.tail = data[-5:] if len(data) >= 7 else (stream.tail + data)[-5:]
            if data.endswith(END) or (len(data) < len(END) and data.endswith(b"0\r\n\r\n")):
                stream.done += 1
                if again:
                    stream.sock.sendall(stream.request)
                else:
                    poll.unregister(number)
                    left -= 1
    poll.close()


def flat(server: Running, streams: int, seconds: float) -> dict[str, float]:
    """Load without delays; count events and answers while the clock runs."""
    all_ = [Stream(connect(server.port), server.request) for _ in range(streams)]
    for stream in all_:
        stream.sock.sendall(stream.request)
    read_streams(all_, monotonic_ns() + round(0.3 * seconds * 1e9), again=True)
    before, cpu, began = sum(s.events for s in all_), server.cpu_s(), monotonic_ns()
    read_streams(all_, began + round(seconds * 1e9), again=True)
    took, used = (monotonic_ns() - began) / 1e9, server.cpu_s() - cpu
    events = sum(s.events for s in all_) - before
    for stream in all_:
        stream.sock.close()
    return {
        "events_per_s": events / took,
        "events_per_cpu_s": events / max(used, 1e-9),
        "cpu_share": used / took,
        "answers": float(sum(stream.done for stream in all_)),
    }


def paced(server: Running, streams: int, seconds: float) -> dict[str, float]:
    """Load with 50 tokens/s a stream; compare each event's times with its schedule."""
    tokens = round(seconds * 1e9 / ITL_NS)
    all_ = []
    canary = f"paced-{monotonic_ns()}"
    for number in range(streams):
        model = f"gpt-4o-mini+tokens={tokens}+itl=20"
        request = chat(server.port, model, f"Write a story. ({canary} {number:06d})")
        all_.append(Stream(connect(server.port), request))
    cpu, began = server.cpu_s(), monotonic_ns()
    # They come within a second, as users do: else all would be due at the same time.
    starts = [began + place * 1_000_000_000 // streams for place in range(streams)]
    read_streams(all_, began + round((seconds + 15) * 1e9), starts=starts)
    took, used = (monotonic_ns() - began) / 1e9, server.cpu_s() - cpu
    events = sum(stream.events for stream in all_)
    result = {
        "events_per_s": events / took,
        "due_per_s": streams * (tokens + 3) / (seconds + 1),
        "took_s": took,
        "cpu_share": used / took,
        "done_share": sum(stream.done for stream in all_) / streams,
    }
    for stream in all_:
        stream.sock.close()
    address = f"http://127.0.0.1:{server.port}/_journal?canary={canary}"
    with urllib.request.urlopen(address, timeout=60) as answer:
        entries = orjson.loads(answer.read())["entries"]
    sent: list[int] = []
    read: list[int] = []
    in_time = due = 0  # sent, and to be sent, while all run
    coming = 0  # late while streams still came, all of whose answers begin at once
    # All run at once from the moment that the last one was read until the first one ends.
    full_ns = max(entry["at_ns"] for entry in entries)
    ends_ns = min(entry["at_ns"] for entry in entries) + (tokens - 1) * ITL_NS
    for entry in entries:
        number = int(entry["body"].partition(canary)[2][1:7])
        # Event 0 is the role, due at once; event n is the n-th token, due (n - 1) * 20 ms after.
        at = [send["at_ns"] for send in entry["sends"] if send["label"] == "content"]
        first = max(0, -(-(full_ns - entry["at_ns"]) // ITL_NS))
        sent += [
            at_ns - entry["at_ns"] - (first + place) * ITL_NS
            for place, at_ns in enumerate(at[first:])
        ]
        in_time += sum(full_ns <= at_ns < ends_ns for at_ns in at)
        due += -(-(ends_ns - entry["at_ns"]) // ITL_NS) - first
        early = [at_ns - entry["at_ns"] - n * ITL_NS for n, at_ns in enumerate(at[:first])]
        coming = max(coming, *early, 0)
        seen = first + 1
        for at_ns, events in all_[number].reads:
            last = min(events, tokens + 1)
            read += [at_ns - entry["at_ns"] - (place - 1) * ITL_NS for place in range(seen, last)]
            seen = max(seen, last)
    result["rate_percent"] = 100 * in_time / due
    result["while_coming_max_ms"] = coming / 1e6
    result["in_journal"] = float(len(sent))
    for name, late in (("sent", sent), ("read", read)):
        if late:
            for part in (50, 99, 99.9):
                result[f"{name}_late_p{part}_ms"] = float(np.percentile(late, part)) / 1e6
            result[f"{name}_late_max_ms"] = max(late) / 1e6
            result[f"{name}_within_5_ms"] = float(np.mean(np.array(late) <= 5_000_000))
    return result


def noise_ms(seconds: float = 1.0) -> float:
    """Give the p99 lateness of a timer in a process that does nothing else."""
    late, due = [], monotonic_ns()
    end = due + round(seconds * 1e9)
    while due < end:
        due += 2_000_000
        time.sleep(max(due - monotonic_ns(), 0) / 1e9)
        late.append((monotonic_ns() - due) / 1e6)
    return float(np.percentile(late, 99))


def medians(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Give the median and the range of each figure."""
    return {
        name: {
            "median": statistics.median(row[name] for row in rows),
            "min": min(row[name] for row in rows),
            "max": max(row[name] for row in rows),
            "n": len(rows),
        }
        for name in rows[0]
    }


def show(title: str, figures: dict[str, dict[str, float]]) -> None:
    """Print a table."""
    print(f"\n{title}")  # noqa: T201  # a benchmark prints
    for name, row in figures.items():
        text = f"{row['median']:>14,.2f}  ({row['min']:,.2f} to {row['max']:,.2f}, n={row['n']})"
        print(f"  {name:22}{text}")  # noqa: T201  # a benchmark prints


def compare(options: argparse.Namespace, server_cores: set[int]) -> dict[str, Any]:
    """Load each server without delays, by turns."""
    rows: dict[str, list[dict[str, float]]] = {}
    for _ in range(options.repeats):
        with ours(server_cores, options.workers) as server:
            rows.setdefault("gateproof", []).append(flat(server, options.streams, options.seconds))
        for name in options.others:
            with other(name, options.envs, server_cores) as there:
                if there is not None:
                    rows.setdefault(name, []).append(flat(there, options.streams, options.seconds))
    found = {name: medians(some) for name, some in rows.items()}
    for name, figures in found.items():
        show(f"flat: {options.streams} streams without delays, {name}", figures)
        if name != "gateproof":
            ratios = {
                key: found["gateproof"][key]["median"] / figures[key]["median"]
                for key in ("events_per_s", "events_per_cpu_s")
            }
            texts = ", ".join(f"{key} {ratio:.1f}" for key, ratio in ratios.items())
            print(f"  gateproof to {name}: {texts}")  # noqa: T201  # a benchmark prints
    return found


def pace(options: argparse.Namespace, server_cores: set[int], streams: int) -> dict[str, Any]:
    """Load our server with paced streams."""
    rows = []
    for _ in range(options.repeats):
        with ours(server_cores, options.workers, journal=1 << 30) as server:
            rows.append(paced(server, streams, options.seconds))
    figures = medians(rows)
    show(f"paced: {streams} streams at 50 tokens/s", figures)
    return figures


def main() -> int:
    """Run what was asked for; with --smoke, fail below the floor."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--streams", type=int, default=200, help="of the flat part")
    parser.add_argument("--only", choices=["flat", "paced", "crowd"], default="")
    parser.add_argument("--workers", type=int, default=1, help="processes of our server")
    parser.add_argument("--others", nargs="*", default=["aimock", "mockllm"])
    parser.add_argument("--envs", type=Path, default=Path(".envs"))
    parser.add_argument("--smoke", action="store_true", help="a short run, which holds a floor")
    parser.add_argument("--realtime", action="store_true", help="before other work; as root")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.smoke:
        options.seconds, options.repeats = 1.0, 3  # the best counts: other work can only harm
    server_cores, client_cores = cores()
    if options.workers > 1:
        server_cores = client_cores | server_cores
    os.sched_setaffinity(0, client_cores)
    if options.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    about: dict[str, Any] = {
        "realtime": options.realtime,
        "noise_p99_ms": noise_ms(),
        "load_1min": os.getloadavg()[0],
        "cores": os.cpu_count(),
    }
    print(f"machine: {about}")  # noqa: T201  # a benchmark prints
    result: dict[str, Any] = {"machine": about}
    if options.only in ("", "flat"):
        result["flat"] = compare(options, server_cores)
    if options.only in ("", "paced"):
        result["paced"] = pace(options, server_cores, 100 if options.smoke else 1000)
    if options.only in ("", "crowd") and not options.smoke:
        result["crowd"] = pace(options, server_cores, 2000)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2))
    if options.smoke:
        got = result["flat"]["gateproof"]["events_per_cpu_s"]["max"]
        done = result["paced"]["done_share"]["max"]
        print(f"smoke: {got:,.0f} events a CPU second, floor {FLOOR:,}")  # noqa: T201  # as above
        return 0 if got >= FLOOR and done == 1 else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
