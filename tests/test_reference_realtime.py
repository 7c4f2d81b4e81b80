"""Tests of the realtime handshake in the reference server, over real sockets."""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from gateproof.reference_server.realtime import accept_of
from gateproof.reference_server.server import serve_in_thread

from tests.reference_http import KEY, send

PATH = "/osmapi/v1/realtime?model=gpt-realtime"
HANDSHAKE = {
    "authorization": f"Bearer {KEY}",
    "upgrade": "websocket",
    "connection": "keep-alive, Upgrade",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Run one server for all tests of this file."""
    with serve_in_thread() as url:
        yield url


def test_the_proof_is_that_of_the_standard() -> None:
    """The example of RFC 6455, section 1.3, has the proof that it gives."""
    assert accept_of("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_a_handshake_opens_a_socket_that_is_closed_in_good_order(server: str) -> None:
    """A right handshake gets 101 and its proof, then a close frame of status 1000 and the end."""
    place = urlsplit(server)
    lines = [f"GET {PATH} HTTP/1.1", f"Host: {place.netloc}"]
    lines += [f"{name}: {value}" for name, value in HANDSHAKE.items()]
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=5) as sock:
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        got = b""
        while data := sock.recv(4096):
            got += data

    head, _, frames = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    assert b"Connection: Upgrade" in head
    assert (frames[:1], frames[2:4]) == (b"\x88", b"\x03\xe8")
    assert len(frames) == 2 + frames[1]


@pytest.mark.parametrize(
    ("change", "path", "status"),
    [
        ({"authorization": "Bearer sk-wrong"}, PATH, 401),
        ({"authorization": ""}, PATH, 401),
        ({"upgrade": "", "connection": "close"}, PATH, 426),
        ({"sec-websocket-version": "12"}, PATH, 426),
        ({"sec-websocket-key": "short"}, PATH, 400),
        ({}, "/osmapi/v1/realtime", 400),
        ({}, f"{PATH}&intent=dance", 400),
        ({}, "/osmapi/v1/realtime?model=nope", 404),
        ({}, "/osmapi/v1/realtime?model=gpt-4o", 400),
    ],
)
def test_a_wrong_handshake_is_refused(
    server: str, change: dict[str, str], path: str, status: int
) -> None:
    """What is no right handshake gets an HTTP error, and no socket."""
    headers = {name: value for name, value in {**HANDSHAKE, **change}.items() if value}

    got = send(server, "GET", path, headers=headers)

    assert (got.status, isinstance(got.json()["error"]["message"], str)) == (status, True)
    if status == 426:
        assert got.header("upgrade") == "websocket"
