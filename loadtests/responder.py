"""A low-jitter responder that logs its true send times: the ruler that the generator is held to.

It answers every POST with a streamed chat completion. The path says how: ``/ttft=200/itl=20/
tokens=64/v1/chat/completions`` waits 200 ms (and up to ``spread`` more, one gap unless it is
named), then writes a token every 20 ms, 64 in all, then usage and [DONE]; ``itl=0`` leaves the
gaps out, with all of an answer in ``writes`` pieces. ``GET /log`` gives the times, and forgets
them.

Strategy: one thread, one epoll. All streams with one gap stand in one queue, which is in the order
of their times by itself; only first tokens need a heap. All bytes are made beforehand; each write
is one ``send`` right after its time stamp, without a buffer between.

Rules. Standard library only: it starts in some 30 ms, beside a generator or in a benchmark. It
ends with its standard input. It is no HTTP server beyond this. A client that lets a socket's buffer
fill up loses the connection: it would be measured wrongly in any case.
"""

import argparse
import contextlib
import heapq
import json
import os
import random
import re
import select
import socket
import ssl
import struct
import sys
from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import Any, Final

__all__ = ["Entry", "Script", "read_log"]

_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
_ENTRY: Final = struct.Struct("<qqI")  # number, read_ns, count of sends
_MARK: Final = b"gp-00000000-"
_REQUEST_ID: Final = re.compile(rb"\r\nx-request-id: *([0-9a-f-]{16,})", re.IGNORECASE)
_BATCH: Final = 16  # writes between two looks at what came: 0.1 ms
_MOST_HEADS: Final = 256


@dataclass(frozen=True, slots=True)
class Entry:
    """One request: its number, when it was read, and when each piece of its answer was sent."""

    number: int
    read_ns: int
    sends: "array[int]"


def read_log(data: bytes) -> Iterator[Entry]:
    """Read what ``GET /log`` gave."""
    place = 0
    while place < len(data):
        number, read_ns, count = _ENTRY.unpack_from(data, place)
        place += _ENTRY.size
        sends = array("q", data[place : place + 8 * count])
        place += 8 * count
        yield Entry(number, read_ns, sends)


@dataclass(frozen=True, slots=True)
class Script:
    """How to answer: times in ns, and the pieces to write."""

    ttft_ns: int
    spread_ns: int
    itl_ns: int
    pieces: tuple[bytes, ...]


def script_of(path: str) -> Script:
    """Read a path's script; what it does not name is as usual."""
    given = {"ttft": 200.0, "itl": 20.0, "tokens": 64.0, "writes": 1.0}
    for part in path.split("/"):
        name, _, value = part.partition("=")
        if value:
            given[name] = float(value)
    tokens, itl_ns = int(given["tokens"]), round(given["itl"] * 1e6)
    usage = {"prompt_tokens": 9, "completion_tokens": tokens, "total_tokens": 9 + tokens}
    word = _event({"content": " word"})
    first = _HEAD + _event({"role": "assistant", "content": ""}) + word
    last = _event({}, "stop") + _event({}, usage=usage) + _frame(b"[DONE]") + b"0\r\n\r\n"
    if itl_ns:
        pieces = [first, *([word] * (tokens - 1)), last]
    else:
        share = max((tokens - 1) // int(given["writes"]), 1)
        words = [word * min(share, tokens - 1 - at) for at in range(0, tokens - 1, share)] or [b""]
        words[0], words[-1] = first + words[0], words[-1] + last
        if len(words) == 1:
            words[0] = first + word * (tokens - 1) + last
        pieces = words
    spread_ns = round(given.get("spread", given["itl"]) * 1e6)
    return Script(round(given["ttft"] * 1e6), spread_ns, itl_ns, tuple(pieces))


def _number(head: bytes) -> int:
    """Give the number of a request of a client that marks requests by X-Request-Id, or -1."""
    found = _REQUEST_ID.search(head)
    return -1 if found is None else int(found[1].replace(b"-", b"")[:15], 16)


def _event(delta: object, finish: str | None = None, usage: object = None) -> bytes:
    """Write one event as one HTTP chunk."""
    event: dict[str, Any] = {
        "id": "chatcmpl-responder",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "responder",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
    }
    if usage is not None:
        event |= {"choices": [], "usage": usage}
    return _frame(json.dumps(event, separators=(",", ":")).encode())


def _frame(data: bytes) -> bytes:
    """Write event data as one HTTP chunk."""
    body = b"data: " + data + b"\n\n"
    return f"{len(body):x}\r\n".encode() + body + b"\r\n"


@dataclass(slots=True, eq=False)
class _Stream:
    """An answer that is being written."""

    due_ns: int
    peer: "_Peer"
    pieces: tuple[bytes, ...]
    itl_ns: int
    sends: "array[int]" = field(default_factory=lambda: array("q"))
    piece: int = 0


@dataclass(slots=True, eq=False)
class _Peer:
    """A connection."""

    sock: socket.socket
    held: bytes = b""
    shaking: bool = False
    closed: bool = False


class Responder:
    """Serves until its standard input ends."""

    def __init__(self, listener: socket.socket, tls: ssl.SSLContext | None, *, log: bool) -> None:
        self._listener = listener
        self._tls = tls
        self._keep = log
        self._epoll = select.epoll()
        self._epoll.register(listener, select.EPOLLIN)
        self._epoll.register(0, select.EPOLLIN)
        self._peers: dict[int, _Peer] = {}
        self._heads: dict[bytes, tuple[int, Script]] = {}
        self._firsts: list[tuple[int, int, _Stream]] = []
        self._lanes: dict[int, deque[_Stream]] = {}
        self._log: list[tuple[int, int, array[int]]] = []
        self._order = 0
        self._random = random.Random(1)  # noqa: S311  # not a secret

    def serve(self) -> None:
        """Read what comes and write what is due, until the end of standard input."""
        epoll, poll = self._epoll.fileno(), self._epoll.poll
        listener = self._listener.fileno()
        while True:
            wait_ns = self._write_due()
            if wait_ns:  # epoll counts in milliseconds, select in microseconds
                select.select([epoll], [], [], None if wait_ns < 0 else wait_ns / 1e9)
            for fd, _ in poll(0, 512):
                if fd == 0:
                    return
                if fd == listener:
                    self._accept()
                elif fd in self._peers:  # or closed since it was polled
                    self._read(self._peers[fd])

    def _accept(self) -> None:
        """Take all connections that wait."""
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = self._listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setblocking(False)  # noqa: FBT003  # the socket's own signature
                if self._tls is not None:
                    sock = self._tls.wrap_socket(
                        sock, server_side=True, do_handshake_on_connect=False
                    )
                self._peers[sock.fileno()] = _Peer(sock, shaking=self._tls is not None)
                self._epoll.register(sock, select.EPOLLIN)

    def _close(self, peer: _Peer) -> None:
        """Close a connection; what it still had to be sent is dropped."""
        if not peer.closed:
            peer.closed = True
            del self._peers[peer.sock.fileno()]
            peer.sock.close()

    def _read(self, peer: _Peer) -> None:
        """Read a request; schedule its answer when it is whole."""
        try:
            if peer.shaking:
                assert isinstance(peer.sock, ssl.SSLSocket)
                peer.sock.do_handshake()
                peer.shaking = False
            data = peer.sock.recv(65536)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError:
            data = b""
        at_ns = monotonic_ns()
        if not data:
            self._close(peer)
            return
        if peer.held:
            data = peer.held + data
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            peer.held = data
            return
        head = data[:end]
        if head.startswith(b"GET /log"):
            self._tell(peer)
            return
        known = self._heads.get(head)
        if known is None:
            known = self._head(head)
        length, script = known
        if len(data) - end < length:
            peer.held = data
            return
        peer.held = b""
        mark = data.find(b"gp-", end)
        number = _number(head) if mark < 0 else -1
        if mark >= 0:
            with contextlib.suppress(ValueError):
                number = int(data[mark + len(_MARK) : mark + len(_MARK) + 10])
        spread_ns = self._random.randrange(script.spread_ns) if script.spread_ns else 0
        due_ns = at_ns + script.ttft_ns + spread_ns
        stream = _Stream(due_ns, peer, script.pieces, script.itl_ns)
        if self._keep:
            self._log.append((number, at_ns, stream.sends))
        self._order += 1
        heapq.heappush(self._firsts, (due_ns, self._order, stream))

    def _head(self, head: bytes) -> tuple[int, Script]:
        """Read a head; they repeat, so what is read is kept."""
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        known = (length, script_of(head.split(b" ", 2)[1].decode()))
        self._lanes.setdefault(known[1].itl_ns, deque())
        # Last, because the others put the ends of their streams into it, and they are due at once.
        self._lanes[0] = self._lanes.pop(0, deque())
        if len(self._heads) < _MOST_HEADS:
            self._heads[head] = known
        return known

    def _write_due(self) -> int:
        """Write what is due, a few at most; give how long nothing is due (ns; -1: for ever)."""
        left = _BATCH
        next_ns = -1
        now_ns = monotonic_ns()
        firsts = self._firsts
        while firsts and left:
            if firsts[0][0] > now_ns:
                next_ns = firsts[0][0]
                break
            left -= 1
            now_ns = self._write(heapq.heappop(firsts)[2])
        for lane in self._lanes.values():
            while lane and left:
                if lane[0].due_ns > now_ns:
                    due_ns = lane[0].due_ns
                    next_ns = due_ns if next_ns < 0 else min(next_ns, due_ns)
                    break
                left -= 1
                now_ns = self._write(lane.popleft())
        if not left:
            return 0
        return -1 if next_ns < 0 else max(next_ns - monotonic_ns(), 0)

    def _write(self, stream: _Stream) -> int:
        """Write a stream's next piece, and put it where its next one will be due; give the time."""
        piece = stream.piece
        pieces = stream.pieces
        data = pieces[piece]
        at_ns = monotonic_ns()
        try:
            sent = stream.peer.sock.send(data)
        except OSError:
            sent = -1
        if sent != len(data):
            self._close(stream.peer)
            return at_ns
        stream.sends.append(at_ns)
        stream.piece = piece = piece + 1
        if piece < len(pieces):
            # The last piece, with usage and the end, comes right behind the last token.
            itl_ns = stream.itl_ns if piece + 1 < len(pieces) else 0
            stream.due_ns += itl_ns
            self._lanes[itl_ns].append(stream)
        return at_ns

    def _tell(self, peer: _Peer) -> None:
        """Answer with the log, and forget it."""
        body = b"".join(
            _ENTRY.pack(number, read_ns, len(sends)) + sends.tobytes()
            for number, read_ns, sends in self._log
        )
        self._log.clear()
        peer.sock.settimeout(60)
        with contextlib.suppress(OSError):
            peer.sock.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + body)
        self._close(peer)


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls", default="", metavar="PEM", help="a certificate and its key")
    parser.add_argument("--no-log", action="store_true", help="keep no times")
    options = parser.parse_args()
    tls = None
    if options.tls:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options.tls)
    listener = socket.create_server(("127.0.0.1", options.port), backlog=4096)
    listener.setblocking(False)  # noqa: FBT003  # the socket's own signature
    with contextlib.suppress(AttributeError, OSError):
        # Where bbr is usual, each connection is paced by a timer of its own: jitter, and CPU time.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
    scheme = "https" if tls else "http"
    url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
    sys.stdout.write(json.dumps({"url": url, "pid": os.getpid()}) + "\n")
    sys.stdout.flush()
    Responder(listener, tls, log=not options.no_log).serve()


if __name__ == "__main__":
    main()
