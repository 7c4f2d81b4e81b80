"""One connection: HTTP/1.1 requests in, one answer after the other out.

Requests are parsed by httptools and answered strictly in turn, however many arrive at once. What
is malformed, too long or too large gets its 4xx and the end of the connection; nothing a client
sends may end the server. After an early refusal the rest of the body is read and thrown away for a
while, since closing with unread bytes would reset the connection and take the answer with it.
A client that leaves is noticed at once, before the first byte of its answer too.
"""

import asyncio
import itertools
import os
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import httptools

from .app import App, Request
from .chat import fresh
from .errors import ApiError
from .jsontext import dumps
from .player import Clock, Player
from .script import JSON, Reply, common_headers, frame_body
from .slots import Queued, Slots, needs_slot
from .workers import asks_for_journal, journal_of_all

__all__ = ["Connection", "Settings"]

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_DRAIN_S = 2.0
_MOST_WAITING = 64  # requests sent ahead on one connection; more wait in the kernel
_IDLE_S = 120.0
_SLOW_S = 30.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits of what a client may send."""

    head_bytes: int = 64 * 1024
    url_bytes: int = 16 * 1024
    body_bytes: int = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request that is read whole, or what is wrong with it."""

    request: Request | None
    read_at_ns: int
    keep_alive: bool
    http10: bool
    refusal: Reply | None = None


class _Refused(Exception):
    def __init__(self, reply: Reply) -> None:
        self.reply = reply


def _refusal(status: int, message: str, code: str) -> Reply:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    headers = (JSON, ("x-request-id", fresh("req_")), *common_headers())
    return Reply(status, headers, text=dumps({"error": error}), error=True)


_serial = itertools.count(1)


class Connection(asyncio.Protocol):
    """Reads requests, has them answered, and plays the answers."""

    __slots__ = (
        "_began_at", "_body", "_body_bytes", "_completed", "_deaf", "_draining", "_head_bytes",
        "_headers", "_in_body", "_living", "_number", "_parser", "_player", "_reading_head",
        "_url", "_waiting", "app", "clock", "heard_at", "loop", "number", "paused", "settings",
        "slots", "transport",
    )  # fmt: skip

    def __init__(
        self,
        app: App,
        settings: Settings,
        clock: Clock,
        living: set[Any],
        slots: Slots | None = None,
    ) -> None:
        self.app = app
        self.settings = settings
        self.clock = clock
        self.slots = slots
        self.loop = asyncio.get_running_loop()
        self.number = next(_serial)
        self.transport = cast("asyncio.Transport", None)
        self.paused = False
        self.heard_at = self.loop.time()
        self._living = living
        self._number = -1
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[_Waiting] = deque()
        self._player: Player | _Gathering | Queued | None = None
        self._began_at = 0.0
        self._completed = 0
        self._draining = False
        self._deaf = False
        self._reset_request()

    # Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)
        self._number = transport.get_extra_info("socket").fileno()
        self._living.add(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Stop the answer: its reader has gone."""
        self._living.discard(self)
        self._waiting.clear()
        if self._player is not None:
            self._player.leave()

    def eof_received(self) -> bool:
        """Take the end of what the client sends as its leaving."""
        if self._player is not None:
            self._player.leave()
        return False

    def write(self, data: bytes) -> None:
        """Write at once what the kernel takes, and leave the rest to the transport.

        The transport would wait for the end of this turn of the loop, and costs as much again.
        """
        transport = self.transport
        if transport.is_closing():
            return
        if not transport.get_write_buffer_size():
            try:
                taken = os.write(self._number, data)
            except BlockingIOError:
                taken = 0
            except OSError:
                transport.abort()
                return
            if taken == len(data):
                return
            data = data[taken:]
        transport.write(data)

    def pause_writing(self) -> None:
        """Stop this connection's player: nobody reads."""
        self.paused = True

    def resume_writing(self) -> None:
        """Go on playing."""
        self.paused = False
        if self._player is not None:
            self._player.play()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; refuse what cannot be a request."""
        self.heard_at = self.loop.time()
        if self._deaf:
            return
        completed = self._completed
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._deaf = True  # the request stands; what would follow it is not HTTP
        except _Refused as refused:
            self._refuse(refused.reply)
        except httptools.HttpParserCallbackError as error:
            context = error.__context__
            if isinstance(context, _Refused):
                self._refuse(context.reply)
            else:
                raise
        except httptools.HttpParserError:
            self._refuse(_refusal(400, "This is not a well-formed HTTP/1.1 request.", "bad_http"))
        else:
            if self._reading_head and self._completed == completed:
                self._head_bytes += len(data)
            if self._reading_head and self._head_bytes > self.settings.head_bytes:
                self._refuse(_refusal(431, "The header section is too long.", "headers_too_long"))
        self._next()

    # Parser

    def _reset_request(self) -> None:
        self._url = b""
        self._headers: list[tuple[str, str]] = []
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._head_bytes = 0
        self._reading_head = False
        self._in_body = False

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._reset_request()
        self._reading_head = True
        self._began_at = self.loop.time()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self._url += url
        if len(self._url) > self.settings.url_bytes:
            raise _Refused(_refusal(414, "The URL is too long.", "url_too_long"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        if self._in_body:
            return  # a trailer
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1").strip()))
        if len(self._headers) > 200:
            raise _Refused(_refusal(431, "There are too many headers.", "headers_too_long"))

    def on_headers_complete(self) -> None:
        """Judge the header section before the body comes."""
        self._reading_head = False
        self._in_body = True
        headers = dict(self._headers)
        hosts = sum(1 for name, _ in self._headers if name == "host")
        if self._parser.get_http_version() == "1.1" and hosts != 1:
            raise _Refused(_refusal(400, "A request has exactly one Host header.", "bad_http"))
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.settings.body_bytes:
            raise _Refused(self._too_large())
        expectation = headers.get("expect")
        if expectation is not None:
            if expectation.lower() != "100-continue":
                raise _Refused(_refusal(417, "Only 100-continue can be expected.", "expectation"))
            if self._player is None and not self._waiting:
                self.transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._body_bytes += len(body)
        if self._body_bytes > self.settings.body_bytes:
            raise _Refused(self._too_large())
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Have the request answered when its turn comes."""
        self._in_body = False
        self._completed += 1
        request = Request(
            self._parser.get_method().decode("latin-1"),
            self._url.decode("latin-1"),
            tuple(self._headers),
            b"".join(self._body),
        )
        keep = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        http10 = self._parser.get_http_version() == "1.0"
        self._waiting.append(_Waiting(request, time.monotonic_ns(), keep, http10))
        self._reset_request()
        if not keep:
            self._deaf = True
        if len(self._waiting) > _MOST_WAITING:
            self.transport.pause_reading()

    def _too_large(self) -> Reply:
        message = f"The body is larger than {self.settings.body_bytes} bytes."
        error = ApiError(413, message, code="request_too_large")
        return self.app.refusal(self._url.decode("latin-1"), error)

    # Answers

    def _refuse(self, reply: Reply) -> None:
        """Queue a refusal after the answers before it; hear nothing more."""
        self._deaf = self._draining = True
        self._waiting.append(
            _Waiting(None, time.monotonic_ns(), keep_alive=False, http10=False, refusal=reply)
        )
        self._reset_request()

    def _next(self) -> None:
        while self._player is None and self._waiting:
            waiting = self._waiting.popleft()
            if len(self._waiting) == _MOST_WAITING // 2 and not self._deaf:
                self.transport.resume_reading()
            close = not waiting.keep_alive
            entry = None
            detached = None
            if waiting.request is None:
                reply = cast("Reply", waiting.refusal)
                steps = frame_body(reply, reply.text or b"", close=True)
            elif self.app.peers and asks_for_journal(waiting.request):
                self._player = _Gathering(self, waiting.request, close=close)
                return
            else:
                answer = self.app.answer(
                    waiting.request,
                    read_at_ns=waiting.read_at_ns,
                    connection=self.number,
                    close=close,
                    http10=waiting.http10,
                )
                steps, entry, detached = answer.steps, answer.entry, answer.reply.detached
                close = close or answer.reply.framing == "close"
                # After a handshake the other side still says that it closes.
                self._draining = self._draining or answer.reply.status == 101
                if self.slots is not None and needs_slot(answer):
                    queued = Queued(self, self.slots, answer, close=close)
                    self._player = queued
                    queued.enter()
                    return
            self._player = Player(
                self,
                steps,
                waiting.read_at_ns,
                entry,
                close=close,
                detached=detached,
                settle=self.app.journal.settle,
            )
            self._player.play()

    def gathered(self, reply: Reply, *, close: bool) -> None:
        """Answer with what several processes have said."""
        self._player = None
        if not self.transport.is_closing():
            steps = frame_body(reply, reply.text or b"", close=close)
            self._player = Player(self, steps, time.monotonic_ns(), None, close=close)
            self._player.play()

    def begin(self, player: Player) -> None:
        """Play an answer that has its slot."""
        self._player = player
        player.play()

    def played(self, *, close: bool) -> None:
        """Go on to the next request, or end the connection when the script or HTTP says so."""
        self._player = None
        if close:
            self._waiting.clear()
            self._deaf = True
            if self._draining and not self.transport.is_closing():
                if self.transport.can_write_eof():
                    self.transport.write_eof()
                self.loop.call_later(_DRAIN_S, self.transport.close)
            else:
                self.transport.close()
            return
        if self._waiting:
            self.loop.call_soon(self._next)

    def sweep(self, now: float) -> None:
        """End a connection that was idle too long, or that sends its request too slowly."""
        if self._player is not None or self._waiting or self._draining:
            return
        silent = now - self.heard_at
        if self._reading_head or self._in_body:
            if silent > _SLOW_S or (self._reading_head and now - self._began_at > _SLOW_S):
                self._refuse(_refusal(408, "The request did not arrive in time.", "timeout"))
                self._next()
        elif silent > _IDLE_S:
            self.transport.close()


class _Gathering:
    """Stands where a player will be while other processes are asked."""

    def __init__(self, stage: Connection, request: Request, *, close: bool) -> None:
        async def gather() -> None:
            reply = await journal_of_all(stage.app, request)
            stage.gathered(reply, close=close)

        self._task = stage.loop.create_task(gather())

    def play(self) -> None:
        """Wait: there is nothing to write yet."""

    def leave(self) -> None:
        """Stop asking: nobody waits for the answer."""
        self._task.cancel()


def sweep(connections: Iterable[Connection], now: float) -> None:
    """End the connections that have been silent too long."""
    for connection in tuple(connections):
        connection.sweep(now)
