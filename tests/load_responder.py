"""A tiny liar for the load client: the first part of the path says how it answers."""

import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

EVENTS = (
    b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"b"}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}\n\n',
    b"data: [DONE]\n\n",
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _request(peer: socket.socket) -> bytes:
    """Read one request and give its path; empty at the end of the connection."""
    text = b""
    while b"\r\n\r\n" not in text:
        data = peer.recv(65536)
        if not data:
            return b""
        text += data
        if not text.startswith(b"POST"[: len(text)]):
            return b""
    head, _, body = text.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    left = int(fields[b"content-length"]) - len(body)
    while left > 0:
        left -= len(peer.recv(65536))
    return head.split()[1]


def _answer(peer: socket.socket, how: bytes, number: int) -> bool:
    """Answer the connection's request ``number``; True when the connection goes on."""
    if how == b"silent":
        time.sleep(2)
        return False
    if how == b"reset" or (how == b"stale" and number):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False
    if how == b"limited":
        peer.sendall(b"HTTP/1.1 429 No\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
        return True
    peer.sendall(HEAD + (b"Connection: close\r\n\r\n" if how == b"close" else b"\r\n"))
    for place, event in enumerate(EVENTS):
        if how in {b"stall", b"cut", b"drip"} and place == 2:
            break
        if how == b"slow":
            time.sleep(0.05)
        peer.sendall(_chunk(event))
    if how == b"stall":
        time.sleep(2)
    for _ in range(40 if how == b"drip" else 0):
        time.sleep(0.05)
        peer.sendall(_chunk(b": drip\n\n"))
    if how == b"unended":
        time.sleep(2)
        return False
    peer.sendall(b"" if how in {b"cut", b"stall", b"drip"} else b"0\r\n\r\n")
    return how not in {b"close", b"cut", b"stall", b"drip"}


def _serve(peer: socket.socket) -> None:
    """Serve one connection."""
    number = 0
    try:
        with peer:
            while path := _request(peer):
                if not _answer(peer, path.split(b"/")[1], number):
                    return
                number += 1
    except (OSError, ssl.SSLError):
        return


@contextmanager
def responder(tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[str]:
    """Serve on a port of loopback and give ``host:port``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, 0), family=family, backlog=512)

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            if tls is not None:
                try:
                    peer = tls.wrap_socket(peer, server_side=True)
                except OSError:
                    continue
            threading.Thread(target=_serve, args=(peer,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        shown = f"[{host}]" if ":" in host else host
        yield f"{shown}:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
