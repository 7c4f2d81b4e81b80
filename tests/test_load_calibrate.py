"""The responder and the calibration run against it; gevent in its own process."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gateproof.loadtests.responder import Entry, read_log, script_of

from tests.load_responder import HEAD

SCRIPT = Path(__file__).with_name("load_calibrate.py")
RESPONDER = Path(__file__).parent.parent / "loadtests" / "responder.py"


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """Calibrate with a few streams, with none, and read an empty log."""
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    got: list[dict[str, Any]] = json.loads(done.stdout)
    return got


def test_calibrate(rows: list[dict[str, Any]]) -> None:
    """Every token of every answer is compared, and no time stamp is before what it stamps."""
    few = rows[0]
    about = ("streams", "gap_ms", "failed")
    assert [few[name] for name in about] == [4, 5.0, 0]
    assert few["requests"] >= 4
    assert few["stamp_error_ms"]["n"] >= 50
    assert few["ttft_error_ms"]["n"] >= 4
    assert few["itl_error_ms"]["n"] == few["stamp_error_ms"]["n"] - few["ttft_error_ms"]["n"]
    assert 0 < few["stamp_error_ms"]["p50"] <= few["stamp_error_ms"]["p99"] < 100
    assert 0 < few["cpu_share"] <= 1


def test_calibrate_nothing(rows: list[dict[str, Any]]) -> None:
    """Without streams, one is measured."""
    assert rows[1]["streams"] == 1
    assert rows[1]["stamp_error_ms"]["n"] > 0


def test_empty_log(rows: list[dict[str, Any]]) -> None:
    """A responder that was asked nothing has nothing to tell."""
    assert rows[2] == {"log": 0}
    assert list(read_log(b"")) == []


@pytest.mark.parametrize(
    ("path", "pieces"),
    [("/tokens=8", 9), ("/itl=0/tokens=8", 1), ("/itl=0/tokens=9/writes=4", 4), ("/tokens=1", 2)],
)
def test_script(path: str, pieces: int) -> None:
    """However an answer is cut into pieces, it holds its tokens, its usage and its end."""
    script = script_of(f"{path}/v1/chat/completions")
    whole = b"".join(script.pieces)
    tokens = int(path.partition("tokens=")[2].partition("/")[0])
    assert len(script.pieces) == pieces
    assert (whole.count(b'" word"'), whole.count(b"[DONE]")) == (tokens, 1)
    assert b'"completion_tokens":%d' % tokens in whole
    assert whole.endswith(b"0\r\n\r\n")
    assert whole.startswith(HEAD[:15])


def test_an_answer_ends_with_nothing_else_under_way() -> None:
    """The end of a lone stream follows its last token at once, and waits for no other event."""
    responder = subprocess.Popen(
        [sys.executable, str(RESPONDER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    ask = b"POST /ttft=5/itl=2/tokens=3/v1 HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
    with responder:
        assert responder.stdin is not None
        assert responder.stdout is not None
        port = int(json.loads(responder.stdout.readline())["url"].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as peer:
            peer.sendall(ask)
            got = b""
            while not got.endswith(b"0\r\n\r\n"):
                got += peer.recv(65536)
        responder.stdin.close()

    assert got.count(b'" word"') == 3


def test_log_entry() -> None:
    """An entry without sends is read as one."""
    data = (7).to_bytes(8, "little") + (9).to_bytes(8, "little") + bytes(4)
    entry = next(read_log(data))
    assert isinstance(entry, Entry)
    assert (entry.number, entry.read_ns, list(entry.sends)) == (7, 9, [])
