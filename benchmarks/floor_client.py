"""The floor under every client in Python here: epoll, recv, a time stamp, and no parsing at all.

``python floor_client.py URL STREAMS RAMP_S SECONDS OUT`` does what ``raw_client.py`` does, but it
only looks for tokens in the bytes of the responder. What it costs is the kernel's and the
interpreter's price for so many reads on this machine; a client that parses is held beside it.
"""

# ruff: noqa: INP001  # a script, not a package

import json
import resource
import select
import socket
import sys
from array import array
from pathlib import Path
from time import monotonic_ns, process_time
from urllib.parse import urlsplit

from raw_client import ENTRY, Run


class Stream:
    """A stream: its connection, and the answer that it reads."""

    def __init__(self, run: Run, address: tuple[str, int]) -> None:
        self.run = run
        self.sock = socket.create_connection(address)
        self.ask()

    def ask(self) -> None:
        """Send the next request."""
        self.number, self.stamps = self.run.number, array("q")
        self.run.number += 1
        request = self.run.request(self.number)
        self.sent_ns = monotonic_ns()
        self.sock.sendall(request)


def main(url: str, streams: int, ramp_s: float, seconds: float) -> tuple[bytes, dict[str, float]]:
    """Read the streams until the time is over; give what they saw and what it cost."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    run, epoll, users = Run(url, seconds), select.epoll(), {}
    before, begun_ns = process_time(), monotonic_ns()
    step_ns = ramp_s * 1e9 / streams
    while (now_ns := monotonic_ns()) < run.end_ns:
        while len(users) < streams and now_ns >= begun_ns + len(users) * step_ns:
            one = Stream(run, (parts.hostname, parts.port))
            users[one.sock.fileno()] = one
            epoll.register(one.sock, select.EPOLLIN)
        for fd, _ in epoll.poll(0.001 if len(users) < streams else 0.1, 64):
            one = users[fd]
            data = one.sock.recv(65536)
            at_ns = monotonic_ns()
            for _ in range(data.count(b'"content":" ')):
                one.stamps.append(at_ns)
            if data.endswith(b"\r\n0\r\n\r\n"):
                run.entries.append((one.number, one.sent_ns, one.stamps))
                one.ask()
    cost = {
        "cpu_s": process_time() - before,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "requests": len(run.entries),
    }
    entries = run.entries + [(one.number, one.sent_ns, one.stamps) for one in users.values()]
    data = b"".join(ENTRY.pack(n, sent, len(at)) + at.tobytes() for n, sent, at in entries)
    return data, cost


if __name__ == "__main__":
    times, cost = main(sys.argv[1], int(sys.argv[2]), *map(float, sys.argv[3:5]))
    Path(sys.argv[5]).write_bytes(times)
    sys.stdout.write(json.dumps(cost) + "\n")
