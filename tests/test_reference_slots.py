"""The server's capacity: its slots, its queue, and what that makes of time to first token."""

import json
import socket
import threading
import time
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import pytest
from gateproof.reference_server.__main__ import main
from gateproof.reference_server.server import Options, serve_in_thread

from tests.reference_probes import HELLO, KEY, MODEL

TTFT_MS = 80.0
BODY = json.dumps({"model": MODEL, "messages": HELLO, "max_tokens": 1}).encode()


def _ask(url: str, ended_s: list[float]) -> None:
    """Ask once and note when the answer was whole, by the clock that does not go back."""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", BODY, headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        answer.read()
    ended_s.append(time.monotonic())


def _together(url: str, count: int) -> list[float]:
    """Ask several times at once; give when each was whole, in s from before the first was asked.

    A thread may start late, so only the common beginning bounds what the queue must have cost.
    """
    ended_s: list[float] = []
    threads = [threading.Thread(target=_ask, args=(url, ended_s)) for _ in range(count)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(ended - began for ended in ended_s)


def _entries(url: str) -> list[dict[str, Any]]:
    """Read the journal."""
    with urllib.request.urlopen(f"{url}/_journal", timeout=5) as answer:
        rows: list[dict[str, Any]] = json.loads(answer.read())["entries"]
    return rows


def test_answers_beyond_the_slots_wait_their_turn() -> None:
    """With two slots six answers take three times as long as one, and none is lost."""
    with serve_in_thread(Options(ttft_ms=TTFT_MS, slots=2)) as url:
        whole_s = _together(url, 6)
        first_sends = sorted(entry["sends"][0]["at_ns"] for entry in _entries(url))

    # An event loop's timer may fire early by what its clock is rounded to, once for each turn.
    ttft_s = TTFT_MS / 1e3 - 0.002
    assert len(whole_s) == 6
    assert all(got >= turn * ttft_s for got, turn in zip(whole_s, (1, 1, 2, 2, 3, 3), strict=True))
    # The gap between the first and the last turn is the server's own doing: two whole answers.
    assert first_sends[-1] - first_sends[0] >= 2 * ttft_s * 1e9


def test_a_long_queue_of_instant_answers_is_served() -> None:
    """One slot serves a hundred instant answers, one after the other."""
    with serve_in_thread(Options(slots=1)) as url:
        assert len(_together(url, 100)) == 100


def test_who_leaves_the_queue_takes_no_slot() -> None:
    """A client that leaves while it waits is cancelled, and whoever is behind it is served."""
    with serve_in_thread(Options(ttft_ms=TTFT_MS, slots=1)) as url:
        place = urlsplit(url)
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {place.netloc}\r\n"
            f"Authorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(BODY)}\r\n\r\n"
        ).encode()
        with socket.create_connection((place.hostname, place.port), 5) as stays:
            stays.sendall(head + BODY)
            _until(url, 1)
            for before in (1, 2):
                with socket.create_connection((place.hostname, place.port), 5) as leaves:
                    leaves.sendall(head + BODY)
                    _until(url, before + 1)
            _ask(url, [])
        outcomes = [entry["outcome"] for entry in _entries(url)]

    assert outcomes == ["complete", "cancelled", "cancelled", "complete"]


def _until(url: str, count: int) -> None:
    """Wait until the server has read so many requests."""
    deadline = time.monotonic() + 5
    while len(_entries(url)) < count and time.monotonic() < deadline:
        time.sleep(0.002)


def test_a_number_of_slots_below_zero_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The option says what it takes."""
    status = main(["--slots", "-1"])

    assert (status, capsys.readouterr().err) == (2, "error: --slots is 0 or more, not -1.\n")
