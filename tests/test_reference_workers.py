"""Several processes on one port: one server to those who ask it, and to those who end it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.reference_probes import body_of, chat, exchange

REQUESTS = 25  # odd, so that two processes never have the same share


@pytest.fixture
def server() -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Start two processes on a free port."""
    command = [sys.executable, "-m", "gateproof.reference_server", "--workers", "2"]
    with subprocess.Popen(
        [*command, "--exit-with-stdin"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
        process.terminate()


def entries(base: str, query: str) -> list[dict[str, Any]]:
    """Read the journal over a fresh connection."""
    found = body_of(exchange(base, "GET", f"/_journal?{query}"))["entries"]
    assert isinstance(found, list)
    return found


def test_workers_are_one_server(
    server: tuple[subprocess.Popen[str], dict[str, Any]],
) -> None:
    """They divide the connections, share the state, and their journals are read as one."""
    process, ready = server
    base = ready["url"]
    for number in range(REQUESTS):
        body = {**chat("plain", stream=number % 2 == 0), "user": "canary-workers"}
        assert exchange(base, "POST", "/v1/chat/completions", body).startswith(b"HTTP/1.1 200 ")
    got = entries(base, "canary=canary-workers")
    parts = {len(entries(base, "canary=canary-workers&only-this")) for _ in range(REQUESTS)}
    made = body_of(
        exchange(
            base, "POST", "/losi/api/v1/api-keys", {"name": "shared", "permissions": ["models"]}
        )
    )
    listed = {
        exchange(base, "GET", "/losi/api/v1/models", key=made["key"]).split(b" ")[1]
        for _ in range(REQUESTS)
    }
    exchange(base, "DELETE", "/_journal")

    assert len(ready["workers"]) == 2
    assert len(got) == REQUESTS
    assert [entry["at_ns"] for entry in got] == sorted(entry["at_ns"] for entry in got)
    assert sum(parts) == REQUESTS
    assert listed == {b"200"}
    assert entries(base, "") == []

    assert process.stdin is not None
    process.stdin.close()

    assert process.wait(10) == 0


def test_all_end_when_one_does(server: tuple[subprocess.Popen[str], dict[str, Any]]) -> None:
    """A worker that dies ends the others, and the status says that something went wrong."""
    process, ready = server
    os.kill(ready["workers"][0], signal.SIGKILL)

    assert process.wait(10) == 4
    assert process.stderr is not None
    assert process.stderr.read() == "error: One of the workers has ended by itself.\n"


@pytest.mark.parametrize("count", ["0", "-1", "257"])
def test_the_number_of_workers_has_limits(count: str) -> None:
    """A wrong number is answered with what would do."""
    done = subprocess.run(
        [sys.executable, "-m", "gateproof.reference_server", "--workers", count],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: --workers is 1 to 256, not {count}.\n"
