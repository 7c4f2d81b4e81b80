"""The reference server as a command: when it is ready, how it ends, what it says."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from gateproof.reference_server.__main__ import main
from gateproof.reference_server.connection import Settings
from gateproof.reference_server.server import Options, serve_in_thread

from tests.reference_asks import CHAT, PROFILES, connected, request, say
from tests.reference_probes import (
    MODEL,
    exchange,
)


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    """Give the address of a server in this process."""
    with serve_in_thread(Options(settings=Settings(body_bytes=2_000_000))) as url:
        yield url


def command(*arguments: str, **more: Any) -> "subprocess.Popen[str]":
    """Start the server as a process."""
    return subprocess.Popen(
        [sys.executable, "-m", "gateproof.reference_server", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ},
        **more,
    )


def test_the_command_says_when_it_is_ready_and_ends_with_its_input() -> None:
    """One JSON line, then service, until standard input ends."""
    with command("--profile", "osmapi", "--with", "drop-done", "--exit-with-stdin") as process:
        assert process.stdout is not None
        assert process.stdin is not None
        ready = json.loads(process.stdout.readline())
        answer = exchange(ready["url"], "POST", CHAT, say("Repeat exactly: x", stream=True))
        process.stdin.close()

        assert process.wait(10) == 0
        assert (ready["ready"], ready["pid"]) == (True, process.pid)
        assert set(PROFILES) <= set(ready["profiles"])
        assert b"cost_usd_total" in answer
        assert b"[DONE]" not in answer


def test_the_command_ends_on_a_signal() -> None:
    """SIGTERM ends it in good order, with a stream still running."""
    with command() as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        with connected(url) as sock:
            sock.sendall(request({**say("x", stream=True), "model": f"{MODEL}+itl=1000"}))
            sock.recv(100)
            process.send_signal(signal.SIGTERM)

            assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--profile", "opnai"], "Known: openai, osmapi"),
        (["--with", "drop-don"], "drop-done"),
        (["--with", "itl"], "needs a parameter: milliseconds between tokens"),
        (["--with", "itl=fast"], "wanted 0 to 3600000"),
        (["--with", "crlf=1"], "takes no parameter"),
        (["--port", "99999"], "--port is 0 to 65535"),
        (["--itl-ms", "-1"], "--itl-ms is 0 or more"),
        (["--host", "192.0.2.1"], "Cannot listen on 192.0.2.1:0"),
        (["--nonsense"], "unrecognized arguments"),
    ],
)
def test_wrong_options_end_with_what_to_do(
    arguments: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Status 2, one message that says what would do, no traceback."""
    try:
        status = main(arguments)
    except SystemExit as end:
        status = int(end.code or 0)
    out, err = capfd.readouterr()

    assert (status, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_the_table_is_listed(base: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command and the server list the same rows."""
    assert main(["--list-faults", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    with urllib.request.urlopen(base + "/_faults") as answer:
        assert json.load(answer) == rows
    assert {row["kind"] for row in rows} == {"fault", "oddity", "behaviour"}
    assert main(["--list-faults"]) == 0
    assert "drop-done" in capsys.readouterr().out
