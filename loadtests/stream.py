"""The load client: streamed requests over HTTP/1.1, one event-loop watcher per connection.

Strategy: a connection is watched by one persistent io watcher whose plain callback reads once,
takes the time as its first statement after the receive, and parses what came. The greenlet that
waits for the answer is woken once, after the loop has served all sockets that were ready; so no
answer's end delays another's time stamp. One timer looks for what took too long.

Rules. ``sent_ns`` is taken right before the first byte is handed to the kernel: name look-up,
connecting and TLS are in ``connect_ns``. A kept connection that closed before the first byte of an
answer is replaced once, and the sample says so. No proxy, no redirect, no retry otherwise.
Everything runs on gevent's loop; nothing here blocks it.
"""

import contextlib
import errno
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic_ns
from typing import Any, Final
from urllib.parse import urlsplit

import gevent
from gevent import monkey
from gevent import socket as green
from gevent.hub import getcurrent

from gateproof.errors import UsageError
from gateproof.sample import ErrorKind, Flag, Sample

from .answer import Answer
from .framing import Broken

__all__ = ["Client", "Limits", "Target"]

_READ: Final = 1
_WRITE: Final = 2
_READ_BYTES: Final = 64 * 1024
_SWEEP_S: Final = 0.05  # so a limit may be passed by 50 ms; limits are seconds
_DONE_GRACE_NS: Final = 2 * 10**9  # how long a body may stay open after [DONE]
_raw_socket: Final = monkey.get_original("socket", "socket")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long each part of an exchange may take; a body that goes on is judged by idle time."""

    connect_s: float = 10.0
    first_byte_s: float = 120.0
    idle_s: float = 60.0
    total_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go: the base URL taken apart."""

    host: str
    port: int
    tls: bool
    path: str  # of the base URL, without a slash at its end
    authority: str  # for the Host header

    @classmethod
    def of(cls, base_url: str) -> "Target":
        """Take a base URL such as ``http://127.0.0.1:8080/v1`` apart."""
        parts = urlsplit(base_url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in {"http", "https"} or not parts.hostname or port == -1:
            raise UsageError(
                f"{base_url!r} is no base URL.",
                "Wanted http:// or https://, a host and perhaps a port and a path: "
                "http://127.0.0.1:8080/v1.",
            )
        tls = parts.scheme == "https"
        authority = parts.netloc.rpartition("@")[2]
        return cls(
            parts.hostname, port or (443 if tls else 80), tls, parts.path.rstrip("/"), authority
        )


class _Connection:
    """One connection; it carries one exchange at a time."""

    __slots__ = (
        "_answer",
        "_greenlet",
        "_incoming",
        "_outgoing",
        "_recv",
        "_sock",
        "_tls",
        "_wake",
        "_watcher",
        "active_ns",
        "client",
        "closed",
        "stream",
        "used",
    )

    def __init__(self, client: "Client", stream: int) -> None:
        self.client = client
        self.stream = stream
        self.used = False
        self.closed = True
        self.active_ns = 0
        self._answer: Answer | None = None
        self._greenlet: Any = None
        self._wake: Any = None
        self._tls: ssl.SSLObject | None = None

    def open(self) -> None:
        """Connect, with TLS when the target has it; raises Broken."""
        client = self.client
        try:
            with gevent.Timeout(client.limits.connect_s):
                sock = client.connect()
                try:
                    if client.tls is not None:
                        self._handshake(sock, client.tls)
                except BaseException:
                    sock.close()
                    raise
        except gevent.Timeout:
            says = f"not connected after {client.limits.connect_s:g} s"
            raise Broken(ErrorKind.CONNECT_TIMEOUT, says) from None
        except ssl.SSLError as error:
            raise Broken(ErrorKind.TLS, str(error)) from None
        except OSError as error:
            raise Broken(ErrorKind.CONNECT, str(error)) from None
        self._sock = _raw_socket(fileno=sock.detach())
        self._sock.settimeout(0)
        self._recv = self._sock.recv
        self._watcher = client.loop.io(self._sock.fileno(), _READ)
        self._watcher.start(self._readable if self._tls is None else self._readable_tls)
        self.closed = False

    def _handshake(self, sock: Any, context: ssl.SSLContext) -> None:
        """Do the TLS handshake over a socket of gevent's, with the record layer in memory."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=self.client.target.host
        )
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                sock.sendall(self._outgoing.read())
                data = sock.recv(_READ_BYTES)
                if not data:
                    raise ssl.SSLError("the connection closed during the handshake") from None
                self._incoming.write(data)
            else:
                break
        sock.sendall(self._outgoing.read())
        self._tls = tls

    def exchange(self, request: bytes, answer: Answer) -> None:
        """Send one request and wait, in the calling greenlet, until its answer is finished."""
        self._answer = answer
        self._greenlet = getcurrent()
        answer.sample.stream = self.stream
        if self.used:
            answer.sample.flags |= Flag.REUSED
        self.used = True
        answer.sample.sent_ns = self.active_ns = monotonic_ns()
        self.client.active.add(self)
        try:
            if self._tls is not None:
                self._tls.write(request)
                request = self._outgoing.read()
            self._send(request)
            while not answer.finished:
                self.client.hub.switch()
        except ssl.SSLError as error:
            self.close()
            raise Broken(ErrorKind.TLS, str(error)) from None
        except BaseException:
            self.close()
            raise
        finally:
            self.client.active.discard(self)
            if self._wake is not None:
                self._wake.stop()
                self._wake = None
            self._answer = None
        if not answer.response.reusable:
            self.close()

    def _send(self, data: bytes) -> None:
        """Hand all bytes to the kernel, waiting while it takes no more."""
        view = memoryview(data)
        while view and not self.closed:
            try:
                view = view[self._sock.send(view) :]
            except BlockingIOError:
                watcher = self.client.loop.io(self._sock.fileno(), _WRITE)
                try:
                    with gevent.Timeout(self.client.limits.idle_s):
                        self.client.hub.wait(watcher)
                except gevent.Timeout:
                    self.give_up(ErrorKind.IDLE_TIMEOUT, "the target took no more of the request")
                    return
                finally:
                    watcher.close()
            except OSError as error:
                # The answer may have come before the request was read: what is there is read first.
                if error.errno not in {errno.EPIPE, errno.ECONNRESET}:
                    self.give_up(ErrorKind.RESET, str(error))
                return

    def _readable(self) -> None:
        """Read once, take the time, parse: the hot path."""
        try:
            data = self._recv(_READ_BYTES)
            at_ns = monotonic_ns()
        except BlockingIOError:
            return
        except OSError as error:
            self._ended(monotonic_ns(), str(error))
            return
        answer = self._answer
        if not data or answer is None:
            self._ended(at_ns, "")
            return
        self.active_ns = at_ns
        if answer.feed(data, at_ns):
            self._wake_up()

    def _readable_tls(self) -> None:
        """Read once, take the time, decrypt and parse."""
        try:
            data = self._recv(_READ_BYTES)
            at_ns = monotonic_ns()
        except BlockingIOError:
            return
        except OSError as error:
            self._ended(monotonic_ns(), str(error))
            return
        answer, tls = self._answer, self._tls
        assert tls is not None
        if not data:
            self._ended(at_ns, "")
            return
        self.active_ns = at_ns
        self._incoming.write(data)
        try:
            while plain := tls.read(_READ_BYTES):
                if answer is None:  # session tickets come without plain text: this is not one
                    self._ended(at_ns, "")
                    return
                if answer.feed(plain, at_ns):
                    self._wake_up()
                    return
            self._ended(at_ns, "")
        except ssl.SSLWantReadError:
            if self._outgoing.pending:
                with contextlib.suppress(OSError):
                    self._sock.send(self._outgoing.read())
        except ssl.SSLZeroReturnError:
            self._ended(at_ns, "")
        except ssl.SSLError as error:
            self.give_up(ErrorKind.TLS, str(error))

    def _ended(self, at_ns: int, reset: str) -> None:
        """Take the end of the connection, orderly or (with words) not."""
        answer = self._answer
        self.close()
        if answer is None or answer.finished:
            return
        if reset:
            begun = answer.sample.first_byte_ns
            answer.fail(ErrorKind.CUT if begun else ErrorKind.RESET, reset, at_ns)
        else:
            answer.eof(at_ns)
        self._wake_up()

    def give_up(self, kind: ErrorKind, says: str) -> None:
        """End the exchange from this side."""
        answer = self._answer
        self.close()
        if answer is not None and not answer.finished:
            answer.fail(kind, says, monotonic_ns())
            self._wake_up()

    def _wake_up(self) -> None:
        """Let the waiting greenlet go on, after the sockets that are ready now have been read."""
        if self._wake is None and self._greenlet is not getcurrent():
            self._wake = self.client.loop.run_callback(self._greenlet.switch)

    def sweep(self, now_ns: int) -> None:
        """Give up when a limit is passed."""
        answer = self._answer
        if answer is None or answer.finished:
            return
        limits, sample = self.client.limits, answer.sample
        since_sent = (now_ns - sample.sent_ns) / 1e9
        if answer.done_ns:
            if now_ns - answer.done_ns > _DONE_GRACE_NS:
                self.give_up(ErrorKind.IDLE_TIMEOUT, "the body did not end after [DONE]")
        elif since_sent > limits.total_s:
            self.give_up(ErrorKind.TOTAL_TIMEOUT, f"not whole after {limits.total_s:g} s")
        elif not sample.first_byte_ns:
            if since_sent > limits.first_byte_s:
                self.give_up(ErrorKind.FIRST_BYTE_TIMEOUT, f"no byte in {limits.first_byte_s:g} s")
        elif (now_ns - self.active_ns) / 1e9 > limits.idle_s:
            self.give_up(ErrorKind.IDLE_TIMEOUT, f"silent for {limits.idle_s:g} s")

    def close(self) -> None:
        """Close; the exchange that is under way, if any, is not told."""
        if not self.closed:
            self.closed = True
            self._watcher.stop()
            self._watcher.close()
            self._sock.close()


class Client:
    """Sends requests to one target over kept connections, for any number of greenlets."""

    def __init__(
        self, base_url: str, limits: Limits | None = None, *, fresh_connections: bool = False
    ) -> None:
        self.target = Target.of(base_url)
        self.limits = limits or Limits()
        self.hub = gevent.get_hub()
        self.loop = self.hub.loop
        self.active: set[_Connection] = set()
        self.tls: ssl.SSLContext | None = None
        if self.target.tls:
            self.tls = ssl.create_default_context()
            self.tls.set_alpn_protocols(["http/1.1"])
        self._fresh = fresh_connections
        self._idle: list[_Connection] = []
        self._streams = 0
        self._addresses: list[Any] = []
        self._sweeper = self.loop.timer(_SWEEP_S, repeat=_SWEEP_S)
        self._sweeper.start(self._sweep)

    def head(self, path: str, key: str, length: int) -> bytes:
        """Write the head of a POST of JSON that wants a stream."""
        lines = [
            f"POST {self.target.path}{path} HTTP/1.1",
            f"Host: {self.target.authority}",
            "Content-Type: application/json",
            "Accept: text/event-stream",
            "Accept-Encoding: identity",
            "User-Agent: gateproof",
            f"Content-Length: {length}",
        ]
        if key:
            lines.append(f"Authorization: Bearer {key}")
        if self._fresh:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode()

    def connect(self) -> Any:
        """Make a TCP connection to the first of the target's addresses that takes one."""
        if not self._addresses:
            target = self.target
            self._addresses = green.getaddrinfo(target.host, target.port, 0, socket.SOCK_STREAM)
        last: OSError | None = None
        for family, kind, protocol, _, address in self._addresses:
            sock = green.socket(family, kind, protocol)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.connect(address)
            except OSError as error:
                sock.close()
                last = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise last or OSError(f"no address for {self.target.host}")

    def send(
        self,
        request: bytes,
        sample: Sample,
        record: Callable[[Answer], None],
        *,
        want_usage: bool = True,
    ) -> None:
        """Make one exchange in the calling greenlet; ``record`` gets its finished answer always."""
        started_ns = monotonic_ns()
        sample.due_ns = sample.due_ns or started_ns
        answer = Answer(sample, want_usage=want_usage)
        connection = self._take()
        try:
            if connection is not None:
                connection.exchange(request, answer)
                if sample.error != ErrorKind.RESET or sample.first_byte_ns:
                    return
                sample.error = ErrorKind.NONE
                sample.flags = Flag.RETRIED | (sample.flags & Flag.DELAYED)
                answer = Answer(sample, want_usage=want_usage)
                started_ns = monotonic_ns()
            self._streams += 1
            connection = _Connection(self, self._streams)
            connection.open()
            sample.connect_ns = monotonic_ns() - started_ns
            connection.exchange(request, answer)
        except Broken as broken:
            sample.sent_ns = sample.sent_ns or monotonic_ns()
            answer.fail(broken.kind, broken.says, monotonic_ns())
        except BaseException:
            if not answer.finished:
                sample.sent_ns = sample.sent_ns or monotonic_ns()
                answer.fail(ErrorKind.UNFINISHED, "stopped by the generator", monotonic_ns())
            raise
        finally:
            if connection is not None and not connection.closed:
                if self._fresh:
                    connection.close()
                else:
                    self._idle.append(connection)
            record(answer)

    def _take(self) -> _Connection | None:
        """Take the connection that was used last, if one is open."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        return None

    def _sweep(self) -> None:
        """Look for exchanges that passed a limit."""
        now_ns = monotonic_ns()
        for connection in tuple(self.active):
            connection.sweep(now_ns)

    def close(self) -> None:
        """Close all connections that no exchange uses."""
        self._sweeper.stop()
        self._sweeper.close()
        for connection in self._idle:
            connection.close()
        self._idle.clear()
