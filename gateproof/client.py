"""The one HTTP client of the conformance half: it makes each exchange once and keeps the wire.

httpx builds the request, httpcore speaks HTTP/1.1, and a tap at httpcore's network stream (above
TLS) keeps every read and write with its time. Each exchange has a connection of its own, so that
all bytes on it are its own. Redirects are not followed, proxies and netrc files of the environment
are not used, and no more is taken from a target than the limits below: a target is hostile until
proven otherwise.
"""

import asyncio
import base64
import contextlib
import importlib.util
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import TracebackType
from typing import Any, Self

import httpcore
import httpx

from gateproof import __version__, sse
from gateproof.budget import Meter
from gateproof.issued import cookie_of, issued_by
from gateproof.redact import cover_reads, cover_text
from gateproof.spending import spent_in
from gateproof.target import Target
from gateproof.transcript import Ask, End, Exchange
from gateproof.wire import Read, parse_response

__all__ = ["BudgetSpent", "Client"]

# A thousand times an ordinary answer; decoded, a hostile body takes a hundred times its size.
MAX_RECEIVED_BYTES = 4 * 1024 * 1024
CONNECT_TIMEOUT_S = 10.0
MAX_RETRY_AFTER_S = 20.0  # who is told to wait longer gives up: never is asked again too early
RETRIED_5XX = (500, 503)
if importlib.util.find_spec("sniffio") is None:
    # httpcore looks for this optional module at every lock, three times a request: a search of the
    # whole path that fails again and again (measured: a seventh of the time of a run).
    sys.modules["sniffio"] = None  # type: ignore[assignment]  # how Python says "not there"
WRONG_KEY = "sk-gateproof-wrong-key-000000000000"


class BudgetSpent(Exception):
    """A request was not made, because the run's budget is spent."""


class _TooLarge(Exception):
    """The target sent more than we take from anyone."""


@dataclass(slots=True)
class _Wire:
    """What one connection carried so far."""

    sent: list[Read] = field(default_factory=list)
    received: list[Read] = field(default_factory=list)
    size: int = 0
    connected_ns: int = 0
    broken: bool = False
    on_write: Callable[[], None] | None = None


class _Tap(httpcore.AsyncNetworkStream):
    """A network stream that notes all that passes it."""

    def __init__(self, inner: httpcore.AsyncNetworkStream, wire: _Wire) -> None:
        self._inner = inner
        self._wire = wire

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # httpcore's interface
        try:
            data = await self._inner.read(max_bytes, timeout)
        except httpcore.ReadError:
            self._wire.broken = True
            raise
        if data:
            self._wire.received.append(Read(time.monotonic_ns(), data))
            self._wire.size += len(data)
            if self._wire.size > MAX_RECEIVED_BYTES:
                raise _TooLarge
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  # httpcore's interface
        await self._inner.write(buffer, timeout)
        self._wire.sent.append(Read(time.monotonic_ns(), bytes(buffer)))
        if self._wire.on_write is not None:
            self._wire.on_write()

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's interface
    ) -> httpcore.AsyncNetworkStream:
        inner = await self._inner.start_tls(ssl_context, server_hostname, timeout)
        return _Tap(inner, self._wire)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _TappedBackend(httpcore.AsyncNetworkBackend):
    """Opens tapped connections for one exchange."""

    def __init__(self, wire: _Wire) -> None:
        self._inner = httpcore.AnyIOBackend()
        self._wire = wire

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        self._wire.connected_ns = time.monotonic_ns()
        return _Tap(stream, self._wire)


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response, pool: httpcore.AsyncConnectionPool) -> None:
        self._response = response
        self._pool = pool

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._response.aiter_stream():
            yield part

    async def aclose(self) -> None:
        await self._response.aclose()
        await self._pool.aclose()


class _Transport(httpx.AsyncBaseTransport):
    """httpx over a connection pool of one exchange; the wire to note on comes with the request."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        wire: _Wire = request.extensions["gateproof_wire"]
        pool = httpcore.AsyncConnectionPool(
            ssl_context=_ssl_context(), network_backend=_TappedBackend(wire), max_connections=1
        )
        try:
            response = await pool.handle_async_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(
                        scheme=request.url.raw_scheme,
                        host=request.url.raw_host,
                        port=request.url.port,
                        target=request.url.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions={"timeout": request.extensions["timeout"]},
                )
            )
        except BaseException:
            await pool.aclose()
            raise
        return httpx.Response(
            status_code=response.status, headers=response.headers, stream=_Body(response, pool)
        )


@lru_cache(maxsize=1)
def _ssl_context() -> ssl.SSLContext:
    """One context for all: loading the CA bundle costs tens of milliseconds each time."""
    return httpx.create_ssl_context(trust_env=True)


class Client:
    """Makes exchanges with one target, no more at once than its ``concurrency``.

    ``secrets`` maps the target's variables to their values; they are covered in every exchange
    before it is returned. ``auth`` is how the target's profile takes a key: ``bearer`` or
    ``x-api-key``. ``patience`` is how often a 429 is asked again, after the time that Retry-After
    names or, without one, after twice the time each time, so that a target's rate limit does not
    look like a fault of another kind. ``retry_5xx`` is how often a 500 or 503 is asked again in the
    same way; it is 0 unless the operator wishes otherwise, because a 5xx is what we look for. An
    exchange says how many attempts it took. A ``meter`` holds the run to its budget: a request that
    could pass it is not made, and raises ``BudgetSpent``.
    """

    def __init__(
        self,
        target: Target,
        secrets: Mapping[str, str],
        *,
        auth: str = "bearer",
        patience: int = 2,
        retry_5xx: int = 0,
        meter: Meter | None = None,
    ) -> None:
        self.target = target
        self.spent = ""
        self._meter = meter
        self._auth = auth
        self.requests = 0
        self._secrets = dict(secrets)
        if target.login is not None:
            # Covered as it is sent, besides the password itself.
            self._secrets["the login"] = _basic(target.login.user, secrets[target.login.password])
        self._cookies: dict[str, str] = {}
        self._patience = patience
        self._retry_5xx = retry_5xx
        self._gate = asyncio.Semaphore(target.concurrency)
        self._transport = _Transport()
        self._http = httpx.AsyncClient(transport=self._transport, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    @property
    def secrets(self) -> Mapping[str, str]:
        """What is covered: the secrets that were given, and those that the target has issued."""
        return self._secrets

    async def exchange(self, ask: Ask, *, retry_429: bool = True) -> Exchange:
        """Make one exchange and return what came; it never raises for what the target does.

        A budget that is spent raises ``BudgetSpent``.
        """
        if ask.after_s is not None:
            await asyncio.sleep(ask.after_s)
        attempts = 0
        while True:
            attempts += 1
            async with self._gate:
                done = await self._within_budget(ask)
            wait_s = self._wait_s(done, attempts) if retry_429 else None
            if wait_s is None:
                return replace(done, attempts=attempts)
            await asyncio.sleep(wait_s)

    async def _within_budget(self, ask: Ask) -> Exchange:
        """Make an exchange if the budget has room for it, and count what it cost."""
        meter = self._meter
        if meter is None:
            return await self._once(ask)
        self.spent = self.spent or meter.refuses()
        if self.spent:
            raise BudgetSpent(f"the budget is spent: {self.spent}")
        meter.send()
        done = await self._once(ask)
        cost = spent_in(done)
        meter.spent(cost.prompt_tokens, cost.completion_tokens, cost.usd)
        return done

    def _wait_s(self, done: Exchange, attempts: int) -> float | None:
        """Return how long to wait before an exchange is made again; ``None`` when it is not."""
        response = done.response
        if response is None:
            return None
        patience = (
            self._patience
            if response.status == 429
            else self._retry_5xx
            if response.status in RETRIED_5XX
            else 0
        )
        if attempts > patience:
            return None
        told_s = _retry_after_s(response.header("retry-after"))
        if told_s is None:
            return min(2.0 ** (attempts - 1), MAX_RETRY_AFTER_S)
        return told_s if told_s <= MAX_RETRY_AFTER_S else None

    async def fetch_json(self, url: str) -> Any:
        """Get a JSON value from a server of ours (the upstream's journal), without the key."""
        wire = _Wire()
        async with self._gate:
            request = self._http.build_request(
                "GET", url, extensions={"gateproof_wire": wire}, timeout=5.0
            )
            response = await self._http.send(request)
        response.raise_for_status()
        return response.json()

    async def _once(self, ask: Ask) -> Exchange:
        target = self.target
        wire = _Wire()
        url = target.url + ask.path
        idle_s = ask.idle_timeout_s or target.idle_timeout_s
        self.requests += 1
        started_ns = time.monotonic_ns()
        ended: End
        error = ""
        try:
            request = self._http.build_request(
                ask.method,
                url,
                content=ask.body or None,
                headers=[(n.encode(), v.encode()) for n, v in self._headers(ask)],
                timeout=httpx.Timeout(idle_s, connect=CONNECT_TIMEOUT_S),
                extensions={"gateproof_wire": wire},
            )
            ended = await asyncio.wait_for(self._receive(request, ask), target.total_timeout_s)
        except (httpx.InvalidURL, httpcore.LocalProtocolError) as refusal:
            raise ValueError(
                f"gateproof cannot send {ask.method} {ask.path!r}: {refusal}"
            ) from None
        except TimeoutError:
            ended, error = "total-timeout", f"no end within {target.total_timeout_s:g} s"
        except httpcore.ReadTimeout:
            ended, error = "idle-timeout", f"nothing came for {idle_s:g} s"
        except httpcore.WriteTimeout:
            ended, error = "idle-timeout", f"nothing could be sent for {idle_s:g} s"
        except _TooLarge:
            ended, error = "too-large", f"more than {MAX_RECEIVED_BYTES} bytes"
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as problem:
            ended, error = "refused", str(problem) or type(problem).__name__
        except (httpcore.NetworkError, httpcore.TimeoutException) as problem:
            ended, error = "reset", str(problem) or type(problem).__name__
        except httpcore.RemoteProtocolError as problem:
            ended, error = "reset" if wire.broken else "closed", str(problem)
        if ask.issues is not None:
            self._learn(ask, wire)
        sent, marks_sent = cover_reads(wire.sent, self._secrets, "sent")
        received, marks_received = cover_reads(wire.received, self._secrets, "received")
        return Exchange(
            ask=ask,
            url=url,
            started_ns=started_ns,
            connected_ns=wire.connected_ns or started_ns,
            ended_ns=time.monotonic_ns(),
            ended=ended,
            error=cover_text(error, self._secrets),
            sent=sent,
            received=received,
            marks=marks_sent + marks_received,
        )

    def _learn(self, ask: Ask, wire: _Wire) -> None:
        """Keep the secrets that an answer issues, before anything of it is kept elsewhere."""
        response = parse_response(tuple(wire.received), method=ask.method, closed=True)
        if response is None or response.status >= 400:
            return
        for number, value in enumerate(issued_by(response), 1):
            self._secrets[f"{ask.issues}" + (f" {number}" if number > 1 else "")] = value
        self._cookies[f"{ask.issues}"] = cookie_of(response)

    async def _receive(self, request: httpx.Request, ask: Ask) -> End:
        decoder = sse.Decoder()
        frames = 0
        response: httpx.Response | None = None
        try:
            async with asyncio.timeout(None) as leaving:
                _leave_after(ask.cancel_after_s, leaving, request.extensions["gateproof_wire"])
                # Not by the client: it keeps cookies for what comes next, and reads redirects.
                response = await self._transport.handle_async_request(request)
                async for part in response.aiter_raw():
                    if ask.cancel_after_events is not None:
                        frames += len(decoder.feed(part, 0))
                        if frames >= ask.cancel_after_events:
                            return "cancelled"
        except TimeoutError:
            return "cancelled"
        finally:
            if response is not None:
                with contextlib.suppress(Exception):
                    await response.aclose()
        return "closed"

    def _headers(self, ask: Ask) -> list[tuple[str, str]]:
        target = self.target
        headers = [
            ("user-agent", f"gateproof/{__version__}"),
            # What the official clients send, also for streams.
            ("accept", "application/json"),
            # The wire is judged, not the compression: we ask for none.
            ("accept-encoding", "identity"),
            *target.headers.items(),
        ]
        # Without a key of its own a target takes its key in a secret header.
        how, _, style = ask.auth.partition(":")
        if how == "key" or target.key_env:
            headers += [(name, self._secrets[env]) for name, env in target.secret_headers.items()]
        if how == "key":
            if target.key_env:
                headers.append(_key_header(style or self._auth, self._secrets[target.key_env]))
        elif how == "wrong":
            headers.append(_key_header(style or self._auth, WRONG_KEY))
        elif ask.auth != "none":
            headers.append(self._credential(ask.auth))
        own = {name.lower() for name, _ in ask.headers}
        return [(n, v) for n, v in headers if n.lower() not in own] + list(ask.headers)

    def _credential(self, auth: str) -> tuple[str, str]:
        """Return the header of a credential other than the key; a literal value is itself one."""
        how, _, name = auth.partition(":")
        if how == "plan":
            return "authorization", f"Bearer {self._secrets[self.target.keys[name]]}"
        if auth == "login":
            return "authorization", f"Basic {self._secrets['the login']}"
        if how == "issued":
            return "authorization", f"Bearer {self._secrets[name]}"
        if how == "cookie":
            return "cookie", self._cookies[name]
        return "authorization", auth


def _basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def _key_header(style: str, key: str) -> tuple[str, str]:
    return ("x-api-key", key) if style == "x-api-key" else ("authorization", f"Bearer {key}")


def _leave_after(seconds: float | None, leaving: asyncio.Timeout, wire: _Wire) -> None:
    """End a block so long after the last write: a busy machine may take a second to connect."""
    if seconds is None:
        return
    now = asyncio.get_running_loop().time

    def wait_anew() -> None:
        if not leaving.expired():
            leaving.reschedule(now() + seconds)

    wire.on_write = wait_anew


def _retry_after_s(value: str | None) -> float | None:
    """Return how long Retry-After tells to wait; ``None`` when it tells no whole seconds."""
    text = (value or "").strip()
    return float(text) if text.isascii() and text.isdigit() else None
