"""The load client on real sockets: connections, time limits, TLS; gevent in its own process."""

import json
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.load_responder import responder

CLIENT = Path(__file__).with_name("load_client.py")
NAMES = ("good", "close", "stale", "silent", "stall", "drip", "reset", "cut", "unended", "limited")


def row(error: str, *flags: str, tokens: int = 2, stream: int = 1, connected: bool = True) -> Any:
    """Give what a sample is wanted to say."""
    return {
        "error": error,
        "flags": sorted(flags),
        "tokens": tokens,
        "stream": stream,
        "ordered": True,
        "connected": connected,
    }


WANTED: dict[str, list[Any]] = {
    "good": [row("NONE"), row("NONE", "REUSED", connected=False)],
    "close": [row("NONE"), row("NONE", stream=2)],
    "stale": [row("NONE"), row("NONE", "RETRIED", stream=2)],
    "silent": [row("FIRST_BYTE_TIMEOUT", tokens=0)],
    "stall": [row("IDLE_TIMEOUT", tokens=1)],
    "drip": [row("TOTAL_TIMEOUT", tokens=1)],
    "reset": [row("RESET", tokens=0)],
    "cut": [row("CUT", tokens=1)],
    "unended": [row("NONE", "UNENDED")],
    "limited": [
        row("RATE_LIMITED", tokens=0),
        row("RATE_LIMITED", "REUSED", tokens=0, connected=False),
    ],
    "large": [row("NONE")],
    "tls": [row("NONE"), row("NONE", "REUSED", connected=False)],
    "tls-untrusted": [row("TLS", tokens=0, stream=0, connected=False)],
    "tls-to-plain": [row("TLS", tokens=0, stream=0, connected=False)],
    "refused": [row("CONNECT", tokens=0, stream=0, connected=False)],
}


def _certificate(folder: Path, name: str) -> Path:
    """Make a certificate for loopback and its key, in one file."""
    path = folder / f"{name}.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={name}"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", f"{path}.key", "-out", str(path)),
        ],
        check=True,
        capture_output=True,
    )
    return path


def _context(certificate: Path) -> ssl.SSLContext:
    """Give a server's TLS context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, f"{certificate}.key")
    return context


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run all probes at once."""
    folder = tmp_path_factory.mktemp("tls")
    trusted, other = _certificate(folder, "trusted"), _certificate(folder, "other")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = f"127.0.0.1:{closed.getsockname()[1]}"
    with (
        responder() as plain,
        responder(_context(trusted)) as tls,
        responder(_context(other)) as untrusted,
    ):
        asked = {name: (f"http://{plain}/{name}", len(WANTED[name]), 10) for name in NAMES}
        asked |= {
            "large": (f"http://{plain}/good", 1, 6_000_000),
            "tls": (f"https://{tls}/good", 2, 10),
            "tls-untrusted": (f"https://{untrusted}/good", 1, 10),
            "tls-to-plain": (f"https://{plain}/good", 1, 10),
            "refused": (f"http://{dead}/good", 1, 10),
        }
        done = subprocess.run(
            [sys.executable, str(CLIENT), json.dumps(asked)],
            capture_output=True,
            timeout=60,
            check=False,
            env=os.environ | {"SSL_CERT_FILE": str(trusted)},
        )
    assert done.returncode == 0, done.stderr.decode()
    got: dict[str, Any] = json.loads(done.stdout)
    return got


@pytest.mark.parametrize("name", WANTED)
def test_probe(name: str, seen: dict[str, Any]) -> None:
    """Each behaviour of a connection gives the sample that tells it."""
    assert seen[name] == WANTED[name]


def test_gevent_stays_out() -> None:
    """Nothing that the tests import patches this process."""
    assert socket.socket.__module__ == "socket"
