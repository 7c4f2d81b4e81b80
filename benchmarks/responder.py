"""A low-jitter responder that logs its true send times: the ruler of the load benchmarks.

It answers every POST with a streamed chat completion: a role event and the first token after
``--ttft-ms`` (and up to one gap more), then a token each ``--itl-ms``, ``--tokens`` in all, usage,
[DONE]. One thread, one epoll, a heap of absolute times; each write is one ``send`` right after its
time stamp, without any buffer in between. ``GET /_journal?canary=TEXT`` answers like the reference
server's journal. It is no HTTP server beyond that: use it only with the benchmarks.
"""

# ruff: noqa: INP001, FBT003  # a script, not a package; setblocking takes its flag so

import argparse
import contextlib
import heapq
import json
import os
import random
import select
import socket
import sys
from time import monotonic_ns
from typing import Any, Final

HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


def chunk(delta: object, finish: str | None = None, usage: object = None) -> bytes:
    """Write one event as one HTTP chunk."""
    event: dict[str, Any] = {
        "id": "chatcmpl-benchmark",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "benchmark",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
    }
    if usage is not None:
        event |= {"choices": [], "usage": usage}
    return frame(json.dumps(event, separators=(",", ":")).encode())


def frame(data: bytes) -> bytes:
    """Write event data as one HTTP chunk."""
    body = b"data: " + data + b"\n\n"
    return f"{len(body):x}\r\n".encode() + body + b"\r\n"


class Responder:
    """Serves until its standard input ends."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.ttft_ns = round(options.ttft_ms * 1e6)
        self.itl_ns = round(options.itl_ms * 1e6)
        self.tokens = options.tokens
        first = HEAD + chunk({"role": "assistant", "content": ""}) + chunk({"content": " word"})
        usage = {"prompt_tokens": 9, "completion_tokens": self.tokens}
        usage["total_tokens"] = 9 + self.tokens
        last = chunk({}, "stop") + chunk({}, usage=usage) + frame(b"[DONE]") + b"0\r\n\r\n"
        self.parts = [first, *([chunk({"content": " word"})] * (self.tokens - 1)), last]
        self.epoll = select.epoll()
        self.listener = socket.create_server(("127.0.0.1", options.port), backlog=4096)
        self.epoll.register(self.listener, select.EPOLLIN)
        self.epoll.register(0, select.EPOLLIN)
        self.peers: dict[int, socket.socket] = {}
        self.held: dict[int, bytes] = {}
        self.due: list[tuple[int, int, int, list[int], int]] = []
        self.journal: list[tuple[str, int, list[int]]] = []
        self.order = 0
        self.random = random.Random(1)  # noqa: S311  # not a secret

    def serve(self) -> None:
        """Read what comes and write what is due, until the end of standard input."""
        port = self.listener.getsockname()[1]
        ready = {"ready": True, "url": f"http://127.0.0.1:{port}", "pid": os.getpid()}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        while True:
            wait = -1.0
            if self.due:
                # The last stretch is spun, because epoll counts in whole milliseconds.
                wait = max((self.due[0][0] - monotonic_ns()) / 1e9 - 0.001, 0.0)
            for fd, _ in self.epoll.poll(wait):
                if fd == 0:
                    return
                if fd == self.listener.fileno():
                    self.accept()
                else:
                    self.read(fd)
            self.write_due()

    def accept(self) -> None:
        """Take a connection."""
        peer, _ = self.listener.accept()
        peer.setblocking(False)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peers[peer.fileno()] = peer
        self.held[peer.fileno()] = b""
        self.epoll.register(peer, select.EPOLLIN)

    def read(self, fd: int) -> None:
        """Read a request; schedule its answer when it is whole."""
        peer = self.peers[fd]
        try:
            data = peer.recv(65536)
        except OSError:
            data = b""
        at_ns = monotonic_ns()
        if not data:
            del self.peers[fd]
            self.epoll.unregister(fd)
            peer.close()
            return
        text = self.held[fd] + data
        head, gap, body = text.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if not gap or len(body) < length:
            self.held[fd] = text
            return
        self.held[fd] = b""
        if head.startswith(b"GET /_journal"):
            self.tell(peer, head.split()[1].partition(b"canary=")[2].decode())
            return
        sends: list[int] = []
        self.journal.append((body.decode(), at_ns, sends))
        # Spread over one gap, or all streams that began together would stay in one burst.
        spread_ns = self.random.randrange(self.itl_ns) if self.itl_ns else 0
        self.push(at_ns + self.ttft_ns + spread_ns, fd, sends, 0)

    def push(self, at_ns: int, fd: int, sends: list[int], part: int) -> None:
        """Schedule one part of an answer."""
        self.order += 1
        heapq.heappush(self.due, (at_ns, self.order, fd, sends, part))

    def write_due(self) -> None:
        """Write all that is due; the time is taken right before each send."""
        due = self.due
        while due and due[0][0] <= monotonic_ns():
            at_ns, _, fd, sends, part = heapq.heappop(due)
            peer = self.peers.get(fd)
            if peer is None:
                continue
            sends.append(monotonic_ns())
            with contextlib.suppress(OSError):
                peer.send(self.parts[part])
            if part + 1 < len(self.parts):
                wait = self.itl_ns if part + 1 < self.tokens else 0
                self.push(at_ns + wait, fd, sends, part + 1)

    def tell(self, peer: socket.socket, canary: str) -> None:
        """Answer with the journal's entries that hold the canary."""
        entries = [
            {
                "body": body,
                "at_ns": at_ns,
                "sends": [{"at_ns": sent, "label": "content"} for sent in sends],
            }
            for body, at_ns, sends in self.journal
            if canary in body
        ]
        body = json.dumps({"entries": entries}).encode()
        peer.setblocking(True)
        peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        peer.setblocking(False)


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ttft-ms", type=float, default=200.0)
    parser.add_argument("--itl-ms", type=float, default=20.0)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    with contextlib.suppress(PermissionError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))  # where it may: less jitter
    Responder(options).serve()


if __name__ == "__main__":
    main()
