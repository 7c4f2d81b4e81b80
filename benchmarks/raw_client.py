"""A bare asyncio client, what the load generator is measured beside: no Locust, no samples.

``python raw_client.py URL STREAMS RAMP_S SECONDS OUT`` reads that many streams, which begin evenly
over the ramp, parses each event as it comes, asks again at each answer's end, and writes the times
of every token to OUT in the form of the responder's log. It handles only what the responder sends.
The last line is JSON: its CPU time, its memory, its chunks and requests.
"""

# ruff: noqa: INP001  # a script, not a package

import asyncio
import json
import resource
import ssl
import sys
from array import array
from pathlib import Path
from struct import Struct
from time import monotonic_ns, process_time
from urllib.parse import urlsplit

import orjson

ENTRY = Struct("<qqI")


class User(asyncio.Protocol):
    """A user: asks, reads every event, asks again."""

    def __init__(self, run: "Run") -> None:
        self.run = run
        self.held = b""
        self.number = -1
        self.sent_ns = 0
        self.stamps: array[int] = array("q")
        run.users.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask at once."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        """Send the next request, unless the time is over."""
        run = self.run
        if self.number >= 0:
            run.entries.append((self.number, self.sent_ns, self.stamps))
            self.number, self.stamps = -1, array("q")
        if monotonic_ns() > run.end_ns:
            self.transport.close()
            return
        self.number = run.number
        run.number += 1
        request = run.request(self.number)
        self.sent_ns = monotonic_ns()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take the time first, then parse every event."""
        at_ns = monotonic_ns()
        if self.held:
            data = self.held + data
        *lines, self.held = data.split(b"\n")
        done = False
        for line in lines:
            if line.startswith(b"data: {"):
                choices = orjson.loads(line[6:])["choices"]
                if choices and choices[0]["delta"].get("content"):
                    self.stamps.append(at_ns)
            elif line == b"0\r":
                done = True
        if done and not self.held:
            self.ask()


class Run:
    """What all users share."""

    def __init__(self, url: str, seconds: float) -> None:
        parts = urlsplit(url)
        self.end_ns = monotonic_ns() + round(seconds * 1e9)
        self.number = 0
        self.users: list[User] = []
        self.entries: list[tuple[int, int, array[int]]] = []
        self.head = (
            f"POST {parts.path}/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n"
        )

    def request(self, number: int) -> bytes:
        """Write a request."""
        text = f"[gp-00000000-{number:010d}] Write a short story."
        body = {"model": "m", "messages": [{"role": "user", "content": text}], "stream": True}
        data = orjson.dumps(body)
        return self.head.format(len(data)).encode() + data


async def main(
    url: str, streams: int, ramp_s: float, seconds: float
) -> tuple[bytes, dict[str, float]]:
    """Run the users; give what they saw and what it cost."""
    parts = urlsplit(url)
    tls = None
    if parts.scheme == "https":
        tls = ssl.create_default_context()  # SSL_CERT_FILE names the benchmark's certificate
    run = Run(url, seconds)
    loop = asyncio.get_running_loop()
    before = process_time()
    begun_ns = monotonic_ns()
    for place in range(streams):
        await asyncio.sleep(
            max(begun_ns / 1e9 + ramp_s * place / streams - monotonic_ns() / 1e9, 0)
        )
        await loop.create_connection(lambda: User(run), parts.hostname, parts.port, ssl=tls)
    await asyncio.sleep((run.end_ns - monotonic_ns()) / 1e9)
    cpu_s = process_time() - before
    running = [(user.number, user.sent_ns, user.stamps) for user in run.users if user.stamps]
    entries = run.entries + running
    about = {
        "cpu_s": cpu_s,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "requests": len(run.entries),
    }
    data = b"".join(ENTRY.pack(n, sent, len(at)) + at.tobytes() for n, sent, at in entries)
    return data, about


if __name__ == "__main__":
    times, cost = asyncio.run(main(sys.argv[1], int(sys.argv[2]), *map(float, sys.argv[3:5])))
    Path(sys.argv[5]).write_bytes(times)
    sys.stdout.write(json.dumps(cost) + "\n")
