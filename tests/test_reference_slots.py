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


def _ask(url: str, taken_s: list[float]) -> None:
    """Ask once and note how long the answer took."""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", BODY, headers)
    began = time.monotonic()
    with urllib.request.urlopen(request, timeout=20) as answer:
        answer.read()
    taken_s.append(time.monotonic() - began)


def _together(url: str, count: int) -> list[float]:
    """Ask several times at once; give how long each took, the quickest first."""
    taken_s: list[float] = []
    threads = [threading.Thread(target=_ask, args=(url, taken_s)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(taken_s)


def _entries(url: str) -> list[dict[str, Any]]:
    """Read the journal."""
    with urllib.request.urlopen(f"{url}/_journal", timeout=5) as answer:
        rows: list[dict[str, Any]] = json.loads(answer.read())["entries"]
    return rows


def test_answers_beyond_the_slots_wait_their_turn() -> None:
    """With two slots six answers take three times as long as one, and none is lost."""
    with serve_in_thread(Options(ttft_ms=TTFT_MS, slots=2)) as url:
        taken_s = _together(url, 6)
        first_sends = sorted(entry["sends"][0]["at_ns"] for entry in _entries(url))

    ttft_s = TTFT_MS / 1e3
    assert len(taken_s) == 6
    assert all(got >= turn * ttft_s for got, turn in zip(taken_s, (1, 1, 2, 2, 3, 3), strict=True))
    # The gap between the first and the last turn is the server's own doing: two whole answers.
    assert first_sends[-1] - first_sends[0] >= 2 * TTFT_MS * 1e6


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
