"""A scripted liar for the load client: each path is a behaviour, played by the clock.

Times are a quarter of those at which the behaviours are usually tried: the first content comes 80
ms after the request, the next each 8 ms, 24 tokens in all. When each event with output could be
read by the other side, by the monotonic clock, is kept by path and by the request's number.
"""

import asyncio
import contextlib
import json
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from time import monotonic_ns

TTFT_MS, ITL_MS, TOKENS = 80.0, 8.0, 24
FREEZE_MS = (500.0, 1000.0)  # after the first request of that path
RETRY_MS = 250.0  # of the limiter's window
LIMIT = 3  # requests in a window

Script = list[tuple[float, bytes]]  # when, in ms after the request; what


def _event(end: str = "\n", **members: object) -> bytes:
    return f"data: {json.dumps(members)}{end}{end}".encode()


def _delta(finish: str | None = None, end: str = "\n", **delta: object) -> bytes:
    return _event(end, choices=[{"index": 0, "delta": delta, "finish_reason": finish}])


def _tail(at_ms: float, end: str = "\n", tokens: int = TOKENS) -> Script:
    """Write what ends a good answer."""
    usage = {"prompt_tokens": 9, "completion_tokens": tokens}
    last = _event(end, choices=[], usage=usage)
    return [(at_ms, _delta("stop", end) + last + f"data: [DONE]{end}{end}".encode())]


def _words(first_ms: float = TTFT_MS, count: int = TOKENS, end: str = "\n") -> Script:
    word = _delta(end=end, content=" word")
    return [(first_ms + place * ITL_MS, word) for place in range(count)]


def _end_ms(count: int = TOKENS) -> float:
    return TTFT_MS + (count - 1) * ITL_MS


def _plain(end: str = "\n") -> Script:
    return _words(end=end) + _tail(_end_ms(), end)


def _role() -> Script:
    return [(0.0, _delta(role="assistant", content="")), *_plain()]


def _four() -> Script:
    chunk = _delta(content=" four tokens in one")
    return [(TTFT_MS + place * ITL_MS, chunk) for place in range(TOKENS // 4)] + _tail(
        _end_ms(TOKENS // 4)
    )


def _comments() -> Script:
    pings = [(at, b": ping\n\n") for at in range(0, round(_end_ms()), 13)]
    return sorted([*pings, *_plain()], key=lambda step: step[0])


def _error() -> Script:
    wrong = _event(error={"message": "overloaded"})
    return [*_words(count=10), (_end_ms(10), wrong + b"data: [DONE]\n\n")]


def _split() -> Script:
    return [
        (at + late, part)
        for at, data in _plain()
        for late, part in ((0.0, data[:40]), (2.0, data[40:]))
    ]


def _thinking() -> Script:
    thought = _delta(reasoning_content="hm")
    thoughts = [(TTFT_MS + place * ITL_MS, thought) for place in range(16)]
    return [*thoughts, *_words(TTFT_MS + 16 * ITL_MS, 8), *_tail(_end_ms())]


def _empty_first() -> Script:
    empty = _delta(content="")
    return [(TTFT_MS, empty), *_words(TTFT_MS + ITL_MS, TOKENS - 1), *_tail(_end_ms())]


SCRIPTS: dict[str, Callable[[], Script]] = {
    "plain": _plain,
    "role": _role,
    "four": _four,
    "comments": _comments,
    "error": _error,
    "cut": lambda: _words(count=10),
    "no-done": lambda: [*_words(), (_end_ms(), _delta("stop"))],
    "crlf": lambda: _plain("\r\n"),
    "split": _split,
    "thinking": _thinking,
    "empty-first": _empty_first,
    "fifth": _plain,
    "limited": lambda: [(5.0, _delta(content="a")), *_tail(6.0, tokens=1)],
    "freeze": lambda: [(5.0, _delta(content="a")), *_tail(10.0, tokens=1)],
}
SPLIT_ANYWHERE = {"anywhere": "\n", "anywhere-crlf": "\r\n"}
"""Paths where the head, each chunk and the end are cut in two: at the request's number, modulo."""

_OUTPUT = re.compile(rb'"(?:reasoning_)?content": "[^"]')
_MARK = re.compile(rb"gp-[0-9a-f]{8}-([0-9]{10})")
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_FIFTH = b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops"
_SLOW = b"HTTP/1.1 429 Slow\r\nRetry-After: %.3f\r\nContent-Length: 2\r\n\r\n{}"


@cache
def _script(name: str) -> list[tuple[float, bytes, bool]]:
    """Give a path's script: when in ms, what, and whether that holds output."""
    end = SPLIT_ANYWHERE.get(name)
    steps = _plain(end) if end else SCRIPTS[name]()
    return [(at_ms, data, _OUTPUT.search(data) is not None) for at_ms, data in steps]


class Stage:
    """Plays the scripts, and counts what it played: ``counts[path, status]``.

    ``ready_ns[path, number]`` are the times at which each event with output was there to be read;
    ``cuts[path, length]`` the places at which writes of that length were cut. With ``at_once`` no
    answer of a path begins before so many requests of it are there; but for freeze and limiter.
    """

    def __init__(self, limit: int = LIMIT, at_once: int = 1) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.ready_ns: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
        self.cuts: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
        self._begun: dict[str, float] = {}
        self._limit = limit
        self._at_once = at_once
        self._all_there: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                mark = _MARK.search(await reader.readexactly(length))
                number = int(mark[1]) if mark else -1
                if not await self._play(head.split()[1].decode().split("/")[1], number, writer):
                    break
        writer.close()

    async def _play(self, name: str, number: int, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; True when the connection goes on."""
        loop = asyncio.get_running_loop()
        self.counts["asked", name] += 1
        place = self.counts["asked", name]
        if name not in {"freeze", "limited"}:
            if place == self._at_once:
                self._all_there[name].set()
            await self._all_there[name].wait()
        start = loop.time()
        begun = self._begun.setdefault(name, start)
        refused = self._refusal(name, place, (start - begun) * 1000)
        if refused:
            self.counts[name, refused.split()[1].decode()] += 1
            writer.write(refused)
            return True
        self.counts[name, "200"] += 1
        await self._write(name, number, _HEAD, writer)
        for at_ms, text, output in _script(name):
            data = text.replace(b'"prompt_tokens": 9', b'"prompt_tokens": %d' % (number + 1000))
            when = start + at_ms / 1000
            if name == "freeze" and FREEZE_MS[0] <= (when - begun) * 1000 < FREEZE_MS[1]:
                when = begun + FREEZE_MS[1] / 1000
            await asyncio.sleep(when - loop.time())
            chunk = b"%x\r\n%b\r\n" % (len(data), data)
            ready_ns = await self._write(name, number, chunk, writer)
            if output:
                self.ready_ns[name, number].append(ready_ns)
        if name == "cut":
            return False
        await self._write(name, number, b"0\r\n\r\n", writer)
        return True

    async def _write(
        self, name: str, number: int, data: bytes, writer: asyncio.StreamWriter
    ) -> int:
        """Write, in two parts where the path is of that kind; give when its event is there."""
        at_ns = monotonic_ns()
        if name not in SPLIT_ANYWHERE or not number % len(data):
            writer.write(data)
            return at_ns
        place = number % len(data)
        self.cuts[name, len(data)].add(place)
        writer.write(data[:place])
        await asyncio.sleep(0.002)
        # Behind the event's blank line is the chunk's line end; a CR is such a line by itself.
        whole = len(data) - 1 - len(SPLIT_ANYWHERE[name])
        if place < whole:
            at_ns = monotonic_ns()
        writer.write(data[place:])
        return at_ns

    def _refusal(self, name: str, place: int, at_ms: float) -> bytes:
        """Give the answer that refuses a path's request ``place``, if it is to be refused."""
        if name == "fifth" and place % 5 == 0:
            return _FIFTH
        if name != "limited":
            return b""
        window, since_ms = divmod(at_ms, RETRY_MS)
        self.counts["window", str(int(window))] += 1
        if self.counts["window", str(int(window))] <= self._limit:
            return b""
        return _SLOW % ((RETRY_MS - since_ms) / 1000)


@contextmanager
def stage(limit: int = LIMIT, at_once: int = 1) -> Iterator[tuple[str, Stage]]:
    """Serve on a port of loopback; give its base and the stage."""
    loop, played = asyncio.new_event_loop(), Stage(limit, at_once)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def begin() -> asyncio.Server:
        return await asyncio.start_server(played.serve, "127.0.0.1", 0, backlog=512)

    server = asyncio.run_coroutine_threadsafe(begin(), loop).result(10)

    async def end() -> None:
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", played
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()
