"""From a base URL to a connected socket: addresses, proxies, TLS.

Strategy: a ``Dialer`` knows one target and the way to it. ``dial()`` looks the name up once, tries
its addresses in turn, each for its share of the time, goes through the proxy when there is one
(CONNECT for https, a plain connection for http) and does the TLS handshake with the record layer in
memory, so that the hot path reads the same bare socket with and without TLS.

Rules. Everything waits in the calling greenlet. The proxy is ``--proxy``, or else that of
``http_proxy``, ``https_proxy`` and ``no_proxy``; the loopback is never proxied by the environment.
A proxy's credential comes from a variable, and no message shows it. The certificate and its name
are always verified. What this machine lacks (files, ports, memory) is named as its own failure.
"""

import base64
import contextlib
import errno
import ipaddress
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import gevent
from gevent import socket as green
from gevent.lock import RLock

from gateproof.address import is_loopback
from gateproof.errors import UsageError
from gateproof.sample import ErrorKind

from .framing import MAX_HEAD_BYTES, Broken

__all__ = ["Dialer", "Proxy", "Target", "Tls", "proxy_for", "secret_of"]

_READ_BYTES: Final = 64 * 1024
_LOOK_UP_AGAIN_S: Final = 60.0  # a soak follows a name that moves
_OWN_ERRORS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}
)
"""What a socket call says when this machine has run out of something."""


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
        """Take a base URL such as ``http://127.0.0.1:8080/v1`` or ``https://[::1]/v1`` apart."""
        try:
            parts = urlsplit(base_url)
            port, host = parts.port, parts.hostname
        except ValueError:
            port, host = -1, ""
        if not host or port in {-1, 0} or parts.scheme not in {"http", "https"}:
            raise UsageError(
                f"{base_url!r} is no base URL.",
                "Wanted http:// or https://, a host and perhaps a port and a path: "
                "http://127.0.0.1:8080/v1.",
            )
        if "@" in parts.netloc:
            raise UsageError(
                "The base URL carries a user name or a password (it is not shown here).",
                "Name the variable that holds the key: --key-env NAME.",
            )
        tls = parts.scheme == "https"
        zone = host.partition("%")[2]  # of a link-local address; no business of the target's
        authority = parts.netloc.replace(f"%{zone}", "") if zone else parts.netloc
        host = host.replace("%25", "%")
        return cls(host, port or (443 if tls else 80), tls, parts.path.rstrip("/"), authority)


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy; ``authorization`` is the value of its header, secret, or empty."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no evidence may show: the credential as it is sent, and as it is."""
        coded = self.authorization.removeprefix("Basic ")
        return (coded, base64.b64decode(coded).decode()) if coded else ()

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def proxy_for(
    base_url: str, given: str = "", secret: str = "", environ: Mapping[str, str] | None = None
) -> Proxy | None:
    """Choose the proxy for a target: the one given, else the environment's, else none.

    ``secret`` is ``user:password``, or empty; a proxy of the environment may carry its own.
    """
    if given:
        if "@" in given:
            raise UsageError(
                "--proxy carries a user name or a password (it is not shown here).",
                "Put user:password into a variable and name that: --proxy-auth-env NAME.",
            )
        return _proxy(given, secret, "--proxy")
    if is_loopback(base_url):
        return None
    values = os.environ if environ is None else environ
    target = Target.of(base_url)
    scheme = "https" if target.tls else "http"
    # HTTP_PROXY in capitals is not read: a CGI server takes it from a request's Proxy header.
    names = (f"{scheme}_proxy", "HTTPS_PROXY") if target.tls else (f"{scheme}_proxy",)
    found = next(filter(None, map(values.get, names)), "")
    spared = values.get("no_proxy") or values.get("NO_PROXY") or ""
    if not found or any(_matches(target, one.strip()) for one in spared.split(",")):
        return None
    return _proxy(found, secret, f"${names[0]}")


def _matches(target: Target, pattern: str) -> bool:
    """Tell whether one item of ``no_proxy`` spares a target: a name, its end, a network, ``*``."""
    if pattern == "*":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(target.host) in ipaddress.ip_network(pattern, strict=False)
    name, _, port = pattern.lower().partition(":")
    name = name.removeprefix("*").lstrip(".")
    host = target.host.rstrip(".")
    same = host == name or host.endswith(f".{name}")
    return bool(name) and same and port in {"", str(target.port)}


def _proxy(url: str, secret: str, place: str) -> Proxy:
    """Read a proxy's address; ``proxy:3128`` alone means http."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port, scheme = parts.hostname or "", parts.port or 80, parts.scheme
    except ValueError:
        host, port, scheme = "", 0, ""
    if not host or scheme != "http":
        shown = url.rpartition("@")[2]
        raise UsageError(
            f"{place} is no proxy that can be used: {shown!r}.",
            "Wanted an HTTP proxy: http://proxy.example:3128.",
        )
    if not secret and parts.username is not None:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    coded = base64.b64encode(secret.encode()).decode()
    return Proxy(host, port, f"Basic {coded}" if secret else "")


@dataclass(slots=True)
class Tls:
    """The TLS layer of one connection: its state, and the bytes that came and that go."""

    layer: ssl.SSLObject
    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO


class Dialer:
    """Makes connections to one target."""

    def __init__(
        self, target: Target, proxy: Proxy | None = None, *, ca_file: str = "", timeout_s: float
    ) -> None:
        self.target = target
        self.proxy = proxy
        self.session: ssl.SSLSession | None = None
        """Of the last answer over TLS: the next handshake resumes it."""
        self.resumed = 0
        """How many handshakes did."""
        self._timeout_s = timeout_s
        self._context = _context(ca_file) if target.tls else None
        self._addresses: list[Any] = []
        self._looked_up_s = 0.0
        self._lock = RLock()  # one look-up serves all that wait for it

    def dial(self) -> tuple[Any, Tls | None]:
        """Connect within the time limit; raises Broken, which says what did not work."""
        try:
            with gevent.Timeout(self._timeout_s):
                sock = self._tcp()
                try:
                    if self._context is None:
                        return sock, None
                    if self.proxy is not None:
                        self._tunnel(sock, self.proxy)
                    return sock, self._handshake(sock, self._context)
                except BaseException:
                    sock.close()
                    raise
        except gevent.Timeout:
            says = f"not connected after {self._timeout_s:g} s"
            raise Broken(ErrorKind.CONNECT_TIMEOUT, says) from None
        except ssl.SSLError as error:
            self.session = None
            raise Broken(ErrorKind.TLS, str(error)) from None
        except TimeoutError as error:
            raise Broken(ErrorKind.CONNECT_TIMEOUT, str(error)) from None
        except OSError as error:
            own = error.errno in _OWN_ERRORS
            raise Broken(ErrorKind.LOCAL if own else ErrorKind.CONNECT, str(error)) from None

    def _resolve(self) -> list[Any]:
        """Give the addresses to try, the one that worked last first."""
        with self._lock:
            now_s = monotonic()
            if not self._addresses or now_s - self._looked_up_s > _LOOK_UP_AGAIN_S:
                to = self.proxy or self.target
                self._addresses = green.getaddrinfo(to.host, to.port, 0, socket.SOCK_STREAM)
                self._looked_up_s = now_s
            return list(self._addresses)

    def _tcp(self) -> Any:
        """Connect to the first address that takes it, each within its share of the time."""
        addresses = self._resolve()
        end_s = monotonic() + self._timeout_s
        last: OSError | None = None
        for place, found in enumerate(addresses):
            family, kind, protocol, _, address = found
            sock = green.socket(family, kind, protocol)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.settimeout(max((end_s - monotonic()) / (len(addresses) - place), 0.001))
                sock.connect(address)
                sock.settimeout(None)
            except OSError as error:
                sock.close()
                last = error
            except BaseException:
                sock.close()
                raise
            else:
                if place:  # the others did not answer: this one is tried first from now on
                    self._addresses = [found, *(one for one in addresses if one is not found)]
                return sock
        raise last or OSError(f"no address for {self.target.host}")

    def _tunnel(self, sock: Any, proxy: Proxy) -> None:
        """Ask the proxy for a tunnel to the target (RFC 9110, section 9.3.6)."""
        host = f"[{self.target.host}]" if ":" in self.target.host else self.target.host
        lines = [f"CONNECT {host}:{self.target.port} HTTP/1.1", f"Host: {host}:{self.target.port}"]
        if proxy.authorization:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            data = sock.recv(_READ_BYTES)
            head += data
            if not data or len(head) > MAX_HEAD_BYTES:
                raise OSError(f"the proxy {proxy} gave no whole answer to CONNECT")
        version, _, rest = head.partition(b" ")
        if not version.startswith(b"HTTP/1.") or rest[:1] != b"2" or not head.endswith(b"\r\n\r\n"):
            status = rest[:3].decode("ascii", "replace")
            raise OSError(f"the proxy {proxy} answered CONNECT with status {status!r}")

    def _handshake(self, sock: Any, context: ssl.SSLContext) -> Tls:
        """Do the TLS handshake over a socket of gevent's, with the record layer in memory."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = self.target.host.partition("%")[0].rstrip(".")
        layer = context.wrap_bio(incoming, outgoing, server_hostname=name, session=self.session)
        while True:
            try:
                layer.do_handshake()
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                data = sock.recv(_READ_BYTES)
                if not data:
                    raise ssl.SSLError("the connection closed during the handshake") from None
                incoming.write(data)
            else:
                break
        sock.sendall(outgoing.read())
        self.resumed += bool(layer.session_reused)
        return Tls(layer, incoming, outgoing)


def _context(ca_file: str) -> ssl.SSLContext:
    """Make the context of all connections: the system's authorities, or those of one file."""
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"--ca-file {ca_file!r} cannot be read: {error}.",
            "Wanted a file of certificates in PEM.",
        ) from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def secret_of(variable: str) -> str:
    """Read the variable that holds a proxy's ``user:password``; empty when none is named."""
    if not variable:
        return ""
    value = os.environ.get(variable, "")
    if not value.isprintable() or ":" not in value:
        raise UsageError(
            f"${variable} is not set to user:password.",
            "--proxy-auth-env names the variable that holds the proxy's user:password.",
        )
    return value
