"""Tests of images in the reference server, over real sockets."""

import base64
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from gateproof.reference_server.images import png
from gateproof.reference_server.server import serve_in_thread

from tests.reference_http import Got, send


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Run one server for all tests of this file."""
    with serve_in_thread() as url:
        yield url


def draw(url: str, **body: Any) -> Got:
    """Ask for images."""
    return send(url, "POST", "/v1/images/generations", {"prompt": "A lighthouse.", **body})


def test_an_image_is_a_png() -> None:
    """The pieces of an image have right checksums, and its pixels unpack to their number."""
    data = png(b"\x00\x10\x20\x30\x40\x50")

    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    pieces, rest = {}, data[8:]
    while rest:
        (size,) = struct.unpack(">I", rest[:4])
        kind, body, sum_ = rest[4:8], rest[8 : 8 + size], rest[8 + size : 12 + size]
        assert struct.pack(">I", zlib.crc32(kind + body)) == sum_
        pieces[kind] = body
        rest = rest[12 + size :]
    assert list(pieces) == [b"IHDR", b"IDAT", b"IEND"]
    assert len(zlib.decompress(pieces[b"IDAT"])) == 8 * (1 + 8 * 3)


def test_images_come_as_base64(server: str) -> None:
    """As many images come as were asked for, each another one."""
    body = draw(server, model="dall-e-2", n=3, response_format="b64_json").json()

    files = [base64.b64decode(entry["b64_json"]) for entry in body["data"]]
    assert len(set(files)) == 3
    assert all(file.startswith(b"\x89PNG") for file in files)
    assert isinstance(body["created"], int)
    usage = body["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_a_url_leads_to_the_image(server: str) -> None:
    """An image behind a URL is the one that base64 gives, served by the same server."""
    coded = draw(server, response_format="b64_json").json()["data"][0]["b64_json"]
    url = draw(server, response_format="url").json()["data"][0]["url"]

    got = send(server, "GET", url.removeprefix(server), key=None)

    assert (got.status, got.header("content-type")) == (200, "image/png")
    assert got.body == base64.b64decode(coded)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"size": "big"}, "size"),
        ({"response_format": "gif"}, "response_format"),
        ({"model": "gpt-4o"}, "model"),
        ({"stream": True}, "stream"),
    ],
)
def test_what_breaks_a_rule_is_refused(server: str, body: Any, param: str) -> None:
    """A request that breaks a rule gets 400, and an error that names the field."""
    got = draw(server, **body)

    assert (got.status, got.json()["error"]["param"]) == (400, param)
