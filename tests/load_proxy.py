"""A tiny HTTP proxy that keeps what it was asked: CONNECT and absolute form, with a password."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

WANTED = b"Basic dXNlcjpwYXNz"  # user:pass


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass bytes on until one side ends."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _serve(peer: socket.socket, asked: list[str]) -> None:
    """Serve one connection: one tunnel, or one origin in absolute form."""
    with peer, contextlib.suppress(OSError):
        data = b""
        while b"\r\n\r\n" not in data:
            data += peer.recv(65536)
        line, _, rest = data.partition(b"\r\n")
        method, where, _ = line.split(b" ")
        asked.append(f"{method.decode()} {where.decode().partition('://')[0]}")
        if b"\r\nProxy-Authorization: " + WANTED + b"\r\n" not in data:
            peer.sendall(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
            return
        origin = where.removeprefix(b"http://")
        authority, slash, path = origin.partition(b"/")
        host, _, port = authority.decode().rpartition(":")
        with socket.create_connection((host, int(port))) as target:
            if method == b"CONNECT":
                peer.sendall(b"HTTP/1.1 200 Here you are\r\n\r\n")
            else:
                target.sendall(b"%b %b%b HTTP/1.1\r\n%b" % (method, slash, path, rest))
            back = threading.Thread(target=_pump, args=(target, peer), daemon=True)
            back.start()
            _pump(peer, target)
            back.join(5)


@contextmanager
def proxy() -> Iterator[tuple[str, list[str]]]:
    """Serve on a port of loopback; give ``http://host:port`` and the list of what was asked."""
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = listener.accept()
                    threading.Thread(target=_serve, args=(peer, asked), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        listener.shutdown(socket.SHUT_RDWR)
