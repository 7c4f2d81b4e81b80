"""The load client: requests over HTTP/1.1, read by the event loop as their bytes come.

Strategy: ``Watch`` reads whatever connection has bytes, in a plain callback of the loop, and finds
out when they came; they are parsed there and then. The greenlet that waits for the answer is woken
once, after the loop has served all sockets that were ready; so no answer's end delays another's
time stamp. One timer looks, a few connections at a time, for what took too long.

Rules. ``sent_ns`` is taken right before the first byte is handed to the kernel: name look-up,
connecting, the proxy's tunnel and TLS are in ``connect_ns``. A kept connection that closed before
the first byte of an answer is replaced once, and the sample says so. No redirect, no retry
otherwise. Everything runs on gevent's loop; nothing here blocks it.
"""

import contextlib
import errno
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from time import monotonic_ns
from types import MappingProxyType
from typing import Any, Final, Protocol

import gevent
from gevent import monkey
from gevent.hub import getcurrent

from gateproof.errors import UsageError
from gateproof.sample import ErrorKind, Flag, Sample

from .connect import Dialer, Proxy, Target, Tls
from .framing import Broken, Response
from .hot import READ_BYTES, Lane, Watched
from .watch import Watch

__all__ = ["Client", "Limits", "Request", "Target"]

_WRITE: Final = 2
_SWEEP_S: Final = 0.05  # so a limit may be passed by 50 ms; limits are seconds
_SWEEP_LEAST: Final = 64  # connections looked at in one sweep; more in a twentieth of them
_DONE_GRACE_NS: Final = 2 * 10**9  # how long a body may stay open after [DONE]
_raw_socket: Final = monkey.get_original("socket", "socket")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long each part of an exchange may take; a body that goes on is judged by idle time.

    ``connect_s`` is for look-up, TCP, the proxy and TLS together; ``first_byte_s`` and ``total_s``
    count from when the request was sent; ``idle_s`` is the longest silence inside an answer, and
    the longest that the target may refuse to take more of a request.
    """

    connect_s: float = 10.0
    first_byte_s: float = 120.0
    idle_s: float = 60.0
    total_s: float = 600.0


class Reading(Protocol):
    """What reads one answer, such as ``Answer``: bytes in, a filled sample out."""

    sample: Sample
    response: Response
    lane: Lane | None
    finished: bool
    stamps: list[int]

    @property
    def done_ns(self) -> int:
        """When the answer said that it was complete; 0 before."""

    def feed(self, data: bytes, at_ns: int) -> bool:
        """Take the bytes of one read; True when the answer is whole or cannot be read on."""

    def eof(self, at_ns: int) -> None:
        """Take the end of the connection."""

    def fail(self, kind: ErrorKind, says: str, at_ns: int) -> None:
        """End the answer as a failure."""


class Request(Protocol):
    """What ``Client.send`` needs of a request: its bytes, and who reads its answer."""

    @property
    def data(self) -> bytes:
        """The whole HTTP request."""

    @property
    def answer(self) -> Callable[[Sample], Any]:
        """Makes the ``Reading`` of one answer."""


class _Connection(Watched):
    """One connection; it carries one exchange at a time."""

    __slots__ = (
        "_answer",
        "_greenlet",
        "_sock",
        "_tls",
        "_wake",
        "client",
        "closed",
        "stream",
        "used",
    )

    def __init__(self, client: "Client", stream: int) -> None:
        super().__init__()
        self.client = client
        self.stream = stream
        self.used = False
        self.closed = True
        self._answer: Reading | None = None
        self._greenlet: Any = None
        self._wake: Any = None
        self._tls: Tls | None = None

    def open(self) -> None:
        """Connect; raises Broken."""
        sock, self._tls = self.client.dialer.dial()
        self._sock = _raw_socket(fileno=sock.detach())
        self._sock.settimeout(0)
        self.client.watch.add(self._sock, self)
        self.closed = False

    def exchange(self, request: bytes, answer: Reading) -> None:
        """Send one request and wait, in the calling greenlet, until its answer is finished."""
        self._answer = answer
        self.lane = answer.lane if self._tls is None else None
        self._greenlet = getcurrent()
        answer.sample.stream = self.stream
        first = not self.used
        if self.used:
            answer.sample.flags |= Flag.REUSED
        self.used = True
        answer.sample.sent_ns = self.active_ns = monotonic_ns()
        active = self.client.active
        active.add(self)
        self.client.most_active = max(self.client.most_active, len(active))
        try:
            if self._tls is not None:
                self._tls.layer.write(request)
                request = self._tls.outgoing.read()
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
            active.discard(self)
            if self._wake is not None:
                self._wake.stop()
                self._wake = None
            self._answer = self.lane = None
        if first and self._tls is not None:
            self.client.dialer.session = self._tls.layer.session
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

    def received(self, data: bytes, at_ns: int) -> None:
        """Take what one read brought and the lane did not take."""
        answer = self._answer
        if self._tls is not None:
            self._received_tls(data, at_ns)
        elif data and answer is not None:
            self.active_ns = at_ns
            if answer.feed(data, at_ns):
                self._wake_up()
        else:
            self.ended(at_ns, "")

    def _received_tls(self, data: bytes, at_ns: int) -> None:
        """Decrypt and parse what one read brought."""
        answer, tls = self._answer, self._tls
        assert tls is not None
        if not data:
            self.ended(at_ns, "")
            return
        self.active_ns = at_ns
        incoming, read = tls.incoming, tls.layer.read
        incoming.write(data)
        try:
            while plain := read(READ_BYTES):
                if answer is None:  # session tickets come without plain text: this is not one
                    self.ended(at_ns, "")
                    return
                if answer.lane is not None:
                    plain = plain[answer.lane.take(plain, at_ns) :]
                if plain and answer.feed(plain, at_ns):
                    self._wake_up()
                    return
                if not incoming.pending:  # a read takes a whole record: nothing is left of it
                    return  # cheaper than to be told so by an exception
            self.ended(at_ns, "")
        except ssl.SSLWantReadError:
            if tls.outgoing.pending:
                with contextlib.suppress(OSError):
                    self._sock.send(tls.outgoing.read())
        except ssl.SSLZeroReturnError:
            self.ended(at_ns, "")
        except ssl.SSLError as error:
            self.give_up(ErrorKind.TLS, str(error))

    def ended(self, at_ns: int, reset: str) -> None:
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
            self.client.watch.remove(self._sock)
            self._sock.close()


class Client:
    """Sends requests to one target over kept connections, for any number of greenlets."""

    def __init__(
        self,
        base_url: str,
        limits: Limits | None = None,
        *,
        fresh_connections: bool = False,
        proxy: Proxy | None = None,
        ca_file: str = "",
    ) -> None:
        self.target = target = Target.of(base_url)
        self.limits = limits or Limits()
        self.hub = gevent.get_hub()
        self.loop = self.hub.loop
        self.active: set[_Connection] = set()
        self.most_active = 0
        """How many exchanges were under way at once, at most."""
        self.outputs = 0
        """How many events with output came, of all answers."""
        self.watch = Watch(self.loop)
        self.dialer = Dialer(target, proxy, ca_file=ca_file, timeout_s=self.limits.connect_s)
        self._absolute = b""  # what makes a request's target absolute, for a proxy
        self._proxy_line = b""
        if proxy is not None and not target.tls:
            self._absolute = f"http://{target.authority}".encode()
            if proxy.authorization:
                self._proxy_line = f"Proxy-Authorization: {proxy.authorization}\r\n".encode()
        self._fresh = fresh_connections
        self._idle: list[_Connection] = []
        self._streams = 0
        self._round: Iterator[_Connection] = iter(())
        self._sweeper = self.loop.timer(_SWEEP_S, repeat=_SWEEP_S)
        self._sweeper.start(self._sweep)

    def head(
        self,
        path: str,
        key: str,
        length: int,
        *,
        method: str = "POST",
        accept: str = "text/event-stream",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> bytes:
        """Write the head of a request for a path behind the base URL; a GET has no body."""
        lines = [
            f"{method} {self.target.path}{path} HTTP/1.1",
            f"Host: {self.target.authority}",
            f"Accept: {accept}",
            "Accept-Encoding: identity",
            "User-Agent: gateproof",
        ]
        if method != "GET":
            lines += ["Content-Type: application/json", f"Content-Length: {length}"]
        if key:
            lines.append(f"Authorization: Bearer {key}")
        if self._fresh:
            lines.append("Connection: close")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if not all(line.isprintable() and line.isascii() for line in lines):
            raise UsageError(
                "A header would hold characters that HTTP cannot carry (they are not shown).",
                "Look for a line break in the key's variable or in a header's.",
            )
        return "\r\n".join([*lines, "", ""]).encode()

    def _by_proxy(self, data: bytes) -> bytes:
        """Rewrite a request for a proxy: absolute form (RFC 9112, section 3.2.2), credential."""
        method, _, rest = data.partition(b" ")
        line, _, rest = rest.partition(b"\r\n")
        return b"%b %b%b\r\n%b%b" % (method, self._absolute, line, self._proxy_line, rest)

    def send(self, request: Request, sample: Sample, record: Callable[[Any], None]) -> None:
        """Make one exchange in the calling greenlet; ``record`` gets its finished answer always."""
        started_ns = monotonic_ns()
        sample.due_ns = sample.due_ns or started_ns
        answer = request.answer(sample)
        data = self._by_proxy(request.data) if self._absolute else request.data
        connection = self._take()
        try:
            if connection is not None:
                connection.exchange(data, answer)
                if sample.error != ErrorKind.RESET or sample.first_byte_ns:
                    return
                sample.error = ErrorKind.NONE
                sample.flags = Flag.RETRIED | (sample.flags & (Flag.DELAYED | Flag.WAITED))
                answer = request.answer(sample)
                started_ns = monotonic_ns()
            self._streams += 1
            connection = _Connection(self, self._streams)
            connection.open()
            sample.connect_ns = monotonic_ns() - started_ns
            connection.exchange(data, answer)
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
            self.outputs += len(answer.stamps)
            record(answer)

    def _take(self) -> _Connection | None:
        """Take the connection that was used last, if one is open."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        return None

    def _sweep(self) -> None:
        """Look at the next few exchanges: all within a second, few enough to delay none."""
        self.watch.tune()
        now_ns = monotonic_ns()
        for _ in range(min(max(_SWEEP_LEAST, len(self.active) // 20), len(self.active))):
            connection = next(self._round, None)
            if connection is None:
                self._round = iter(tuple(self.active))
                connection = next(self._round, None)
                if connection is None:
                    return
            connection.sweep(now_ns)

    def close(self) -> None:
        """Close all connections that no exchange uses."""
        self._sweeper.stop()
        self._sweeper.close()
        for connection in self._idle:
            connection.close()
        self._idle.clear()
        self.watch.close()
