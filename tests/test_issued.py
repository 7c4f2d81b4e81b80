"""What an answer issues is found under usual names, by its looks, and in cookies."""

import gzip
import json
from typing import Any

import pytest

from gateproof.issued import cookie_of, issued_by
from gateproof.wire import Read, Response, parse_response

KEY = "losi-0123456789abcdef"
LONG = "A1b2C3d4E5f6G7h8I9j0K1l2M3"


def answer(body: bytes, *headers: str) -> Response:
    """Return a response of some bytes."""
    head = "\r\n".join(["HTTP/1.1 200 OK", *headers, f"Content-Length: {len(body)}", "", ""])
    found = parse_response([Read(0, head.encode() + body)], method="POST", closed=True)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        pytest.param({"id": "key_1", "key": KEY}, [KEY], id="key"),
        pytest.param({"data": {"api_key": {"secret": KEY, "id": LONG}}}, [KEY], id="nested"),
        pytest.param({"x": LONG, "token": KEY}, [KEY, LONG], id="the usual name first"),
        pytest.param({"apiSecretOfMine": LONG}, [LONG], id="by its looks"),
        pytest.param({"email": "a@b.example"}, ["a@b.example"], id="an address"),
        pytest.param({"id": LONG, "key_id": LONG, "created_at": LONG}, [], id="other names"),
        pytest.param({"key": "losi-...cdef0123456"}, [], id="masked"),
        pytest.param({"key": "losi-****************"}, [], id="starred"),
        pytest.param({"key": "short"}, [], id="short"),
        pytest.param({"message": "the key was made and will not be shown again"}, [], id="prose"),
        pytest.param({"a": {"b": {"c": {"d": {"e": {"key": KEY}}}}}}, [], id="too deep"),
        pytest.param([KEY], [], id="no name, and not long"),
        pytest.param(7, [], id="a number"),
    ],
)
def test_issued_by(value: Any, wanted: list[str]) -> None:
    """A secret is found under its name or by its looks; nothing else is taken for one."""
    assert issued_by(answer(json.dumps(value).encode())) == wanted


def test_a_compressed_answer_is_looked_into() -> None:
    """A secret is found in a compressed body; what is no such body holds none."""
    body = gzip.compress(json.dumps({"key": KEY}).encode())

    assert issued_by(answer(body, "Content-Encoding: gzip")) == [KEY]
    assert issued_by(answer(b"no", "Content-Encoding: gzip")) == []


def test_cookies_are_secrets() -> None:
    """Each cookie that is set is a secret, and all of them are sent back."""
    got = answer(b"", "Set-Cookie: sid=0123456789; Path=/", "Set-Cookie: n=1", "Set-Cookie: flag")

    assert issued_by(got) == ["0123456789"]
    assert cookie_of(got) == "sid=0123456789; n=1"
