"""Tiny servers over real sockets that lie in one way each, for tests of the client.

A liar is a function that gets a connected socket, the request's head and body already read, and
does as it likes with it. It runs in a thread; the socket is closed when it returns.
"""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Liar", "lying", "reply", "reset"]

Deed = Callable[[socket.socket], None]


@dataclass
class Liar:
    """A running liar: where it listens, and the requests that it read."""

    url: str
    requests: list[bytes] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def lying(
    *deeds: Deed, host: str = "127.0.0.1", certificate: Path | None = None, greet: bytes = b""
) -> Iterator[Liar]:
    """Serve each connection with the next deed, the last one for all that follow."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, 0), family=family)
    shown = f"[{host}]" if ":" in host else host
    scheme = "https" if certificate else "http"
    liar = Liar(f"{scheme}://{shown}:{listener.getsockname()[1]}/v1")
    threads: list[threading.Thread] = []
    held: list[socket.socket] = []
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)

    def serve(plain: socket.socket, deed: Deed) -> None:
        with contextlib.suppress(OSError):
            wire = context.wrap_socket(plain, server_side=True) if context else plain
            held.append(wire)
            with wire:
                wire.sendall(greet)
                request = read_request(wire)
                if request:
                    liar.requests.append(request)
                    deed(wire)
                # A polite end: what the peer still sends is read, so that no reset is sent.
                wire.shutdown(socket.SHUT_WR)
                while wire.recv(65536):
                    pass
        liar.gone.set()

    def accept() -> None:
        with contextlib.suppress(OSError):
            for number in range(1000):
                plain, _ = listener.accept()
                held.append(plain)
                deed = deeds[min(number, len(deeds) - 1)]
                thread = threading.Thread(target=serve, args=(plain, deed))
                threads.append(thread)
                thread.start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield liar
    finally:
        for sock in (listener, *held):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in (acceptor, *threads):
            thread.join(10)
            assert not thread.is_alive()


def read_request(wire: socket.socket) -> bytes:
    """Read one request with a body of announced length."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = wire.recv(65536)
        if not more:
            return data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    while len(body) < length:
        body += wire.recv(65536)
    return head + b"\r\n\r\n" + body


def reply(*parts: bytes) -> Deed:
    """Make a deed that sends these bytes, part by part."""

    def deed(wire: socket.socket) -> None:
        for part in parts:
            wire.sendall(part)

    return deed


def reset(wire: socket.socket) -> None:
    """Break the connection with a reset."""
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.close()
