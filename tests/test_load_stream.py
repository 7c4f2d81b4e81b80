"""The load client on real sockets: connections, time limits, TLS; gevent in its own process."""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import HAS_OPENSSL, certificate, needs_openssl
from tests.load_proxy import proxy
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
    "fresh": [row("NONE"), row("NONE", stream=2)],
    "ipv6": [row("NONE"), row("NONE", "REUSED", connected=False)],
    "tls-ca-file": [row("NONE"), row("NONE", stream=2)],
    "tls-other-name": [row("TLS", tokens=0, stream=0, connected=False)],
    "proxied": [row("NONE"), row("NONE", "REUSED", connected=False)],
    "proxied-refused": [row("CLIENT_ERROR", tokens=0)],
    "tls-proxied": [row("NONE"), row("NONE", "REUSED", connected=False)],
    "tls-proxied-refused": [row("CONNECT", tokens=0, stream=0, connected=False)],
}
OF_TLS = {name for name in WANTED if name.startswith("tls")} - {"tls-to-plain"}


def has_ipv6() -> bool:
    """Tell whether this machine has an IPv6 loopback."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def _context(path: Path) -> ssl.SSLContext:
    """Give a server's TLS context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@pytest.fixture(scope="module", params=["", "1"], ids=["as-used", "python"])
def seen(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> dict[str, Any]:
    """Run all probes at once, with compiled code if there is any, and without.

    Those of TLS need a certificate that can be made.
    """
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    environment["GATEPROOF_PURE"] = request.param
    secret = {"secret": "user:pass"}
    with contextlib.ExitStack() as servers:
        dead = servers.enter_context(socket.create_server(("127.0.0.1", 0)))
        closed = f"127.0.0.1:{dead.getsockname()[1]}"
        dead.close()
        plain = servers.enter_context(responder())
        by, asked_of_proxy = servers.enter_context(proxy())
        asked: dict[str, Any] = {
            name: (f"http://{plain}/{name}", len(WANTED[name]), 10, {}) for name in NAMES
        }
        asked |= {
            "large": (f"http://{plain}/good", 1, 6_000_000, {}),
            "fresh": (f"http://{plain}/good", 2, 10, {"fresh_connections": True}),
            "tls-to-plain": (f"https://{plain}/good", 1, 10, {}),
            "refused": (f"http://{closed}/good", 1, 10, {}),
            "proxied": (f"http://{plain}/good", 2, 10, {"proxy": by} | secret),
            "proxied-refused": (f"http://{plain}/good", 1, 10, {"proxy": by}),
        }
        if has_ipv6():
            served = servers.enter_context(responder(host="::1"))
            asked["ipv6"] = (f"http://{served}/good", 2, 10, {})
        if HAS_OPENSSL:
            folder = tmp_path_factory.mktemp("tls")
            trusted, other = certificate(folder, "trusted"), certificate(folder, "other")
            one = servers.enter_context(responder(_context(trusted)))
            two = servers.enter_context(responder(_context(other)))
            own, misnamed = {"ca_file": str(other)}, two.replace("127.0.0.1", "localhost")
            asked |= {
                "tls": (f"https://{one}/good", 2, 10, {}),
                "tls-untrusted": (f"https://{two}/good", 1, 10, {}),
                "tls-ca-file": (f"https://{two}/good", 2, 10, own | {"fresh_connections": True}),
                "tls-other-name": (f"https://{misnamed}/good", 1, 10, own),
                "tls-proxied": (f"https://{one}/good", 2, 10, {"proxy": by} | secret),
                "tls-proxied-refused": (f"https://{one}/good", 1, 10, {"proxy": by}),
            }
            environment["SSL_CERT_FILE"] = str(trusted)
        done = subprocess.run(
            [sys.executable, str(CLIENT), json.dumps(asked)],
            capture_output=True,
            timeout=60,
            check=False,
            env=environment,
        )
    assert done.returncode == 0, done.stderr.decode()
    got: dict[str, Any] = json.loads(done.stdout)
    return got | {"asked of the proxy": sorted(set(asked_of_proxy))}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=needs_openssl)
        if name in OF_TLS
        else pytest.param(name, marks=pytest.mark.skipif(not has_ipv6(), reason="no ::1 here"))
        if name == "ipv6"
        else name
        for name in WANTED
    ],
)
def test_probe(name: str, seen: dict[str, Any]) -> None:
    """Each behaviour of a connection gives the sample that tells it."""
    assert seen[name] == WANTED[name]


@needs_openssl
def test_session_resumed(seen: dict[str, Any]) -> None:
    """A second connection to a target over TLS resumes the session of the first."""
    assert seen["resumed"]["tls-ca-file"] == 1


@needs_openssl
def test_proxy_forms(seen: dict[str, Any]) -> None:
    """A proxy is asked in absolute form for http, and for a tunnel for https."""
    assert [one.partition(" ")[0] for one in seen["asked of the proxy"]] == ["CONNECT", "POST"]
    assert seen["asked of the proxy"][1] == "POST http"


def test_gevent_stays_out() -> None:
    """Nothing that the tests import patches this process."""
    assert socket.socket.__module__ == "socket"
