"""How tests ask the reference server over real sockets: chats, raw requests, its journal."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

from tests.reference_probes import (
    KEY,
    MODEL,
    body_of,
    exchange,
)

CHAT = "/v1/chat/completions"
PROFILES = ["openai", "osmapi"]


def ask(base: str, body: Any, path: str = CHAT, **more: Any) -> tuple[int, Any]:
    """Send a chat; return the status and the JSON of the answer."""
    answer = exchange(base, "POST", path, body, **more)
    return int(answer.split(b" ", 2)[1]), body_of(answer)


def events(answer: bytes) -> list[Any]:
    """Return the JSON of a stream's events, without the end."""
    text = b""
    rest = answer.partition(b"\r\n\r\n")[2]
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        text, rest = text + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    data = [event.removeprefix(b"data: ") for event in text.split(b"\n\n") if event]

    assert data[-1] == b"[DONE]"
    return [json.loads(one) for one in data[:-1]]


def say(text: str, **more: Any) -> dict[str, Any]:
    """Return the body of a chat with one user message."""
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}


def journal(base: str, canary: str = "") -> list[dict[str, Any]]:
    """Return the entries of the journal."""
    entries = body_of(exchange(base, "GET", f"/_journal?canary={quote(canary)}"))["entries"]
    return list(entries)


def eventually(base: str, canary: str, outcome: str) -> dict[str, Any]:
    """Wait until the journal's entry has the outcome."""
    deadline = time.monotonic() + 5
    entry: dict[str, Any] = {}
    while time.monotonic() < deadline:
        entry = next(iter(journal(base, canary)[-1:]), {"outcome": None})
        if entry["outcome"] == outcome:
            break
        time.sleep(0.01)

    assert entry["outcome"] == outcome
    return entry


@contextlib.contextmanager
def connected(base: str) -> Iterator[socket.socket]:
    """Give an open connection."""
    url = urlsplit(base)
    with socket.create_connection((url.hostname, url.port), timeout=5) as sock:
        yield sock


def request(body: Any, extra: str = "", path: str = CHAT) -> bytes:
    """Write a request that keeps its connection."""
    data = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n{extra}\r\n"
    )
    return head.encode() + data
