"""The reference server over real sockets: what it refuses, and how."""

from collections.abc import Iterator
from typing import Any

import pytest
from gateproof.reference_server.connection import Settings
from gateproof.reference_server.server import Options, serve_in_thread

from tests.reference_asks import CHAT, ask, connected, request, say
from tests.reference_probes import (
    ASK,
    CALLED,
    CITY,
    CLOCK,
    HELLO,
    KEY,
    MODEL,
    RESULT,
    body_of,
    exchange,
    settled,
)


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    """Give the address of a server in this process."""
    with serve_in_thread(Options(settings=Settings(body_bytes=2_000_000))) as url:
        yield url


@pytest.mark.parametrize("mode", [{}, {"stream": True}], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "x"}]}]},
            "messages[0].content[0].type",
        ),
        ({"messages": [{"role": "assistant"}]}, "messages[0].content"),
        ({"messages": [*HELLO, RESULT]}, "messages[1].tool_call_id"),
        ({"messages": [CALLED, *HELLO]}, "messages[1]"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"model": 3}, "model"),
        ({"stream": "true"}, "stream"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 1.5}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"max_completion_tokens": "3"}, "max_completion_tokens"),
        ({"frequency_penalty": 2.1}, "frequency_penalty"),
        ({"presence_penalty": -2.1}, "presence_penalty"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": [1]}, "stop[0]"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        (
            {"tools": [CITY], "tool_choice": {"type": "function", "function": {"name": "other"}}},
            "tool_choice",
        ),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"reasoning_effort": "extreme"}, "reasoning_effort"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"modalities": ["audio"]}, "modalities"),
    ],
)
def test_invalid_fields_are_named(
    base: str, mode: dict[str, Any], more: dict[str, Any], param: str
) -> None:
    """A field that is not valid gives a 400 that names it, in the same way for a stream."""
    body = {"model": MODEL, "messages": HELLO, **mode, **more}
    status, got = ask(base, body)

    assert (status, got["error"]["type"], got["error"]["param"]) == (
        400,
        "invalid_request_error",
        param,
    )


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 0, "top_p": 1, "frequency_penalty": -2, "presence_penalty": 2},
        {"temperature": None, "stop": None, "max_tokens": None, "stream_options": None},
        {"max_tokens": 3.0},
        {"unknown_field": {"a": [1]}},
        {"messages": [{"role": "developer", "content": "x"}, *HELLO]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Count from 1 to 2"}]}
            ]
        },
        {"messages": [*ASK, {**CALLED, "content": ""}, RESULT], "tools": [CITY, CLOCK]},
        {"seed": -(2**53), "user": "someone", "logit_bias": {"50256": -100}},
        {"tools": [], "tool_choice": "auto"},
    ],
)
def test_valid_requests_pass(base: str, more: dict[str, Any]) -> None:
    """The ends of ranges, null where it is allowed, and fields nobody knows are accepted."""
    status, _ = ask(base, {"model": MODEL, "messages": HELLO, **more})

    assert status == 200


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"[]", 400, "invalid_json"),
        (b'{"model":"\xff"}', 400, "invalid_json"),
        (b'{"model":"\\ud83d"}', 400, "invalid_json"),
        (b'{"model":NaN}', 400, "invalid_json"),
        (b"[" * 100_000, 400, "invalid_json"),
        (b'{"model":' * 3000, 400, "invalid_json"),
        (b'{"model":"x","model":"gpt-4o-mini","messages":[]}', 400, "invalid_value"),
    ],
    ids=["cut", "array", "utf-8", "surrogate", "nan", "deep", "deep objects", "twice"],
)
def test_bad_json_is_a_400(base: str, raw: bytes, status: int, code: str) -> None:
    """Whatever cannot be read as a JSON object is the client's error."""
    answer = exchange(base, "POST", CHAT, raw=raw)

    assert (int(answer.split(b" ", 2)[1]), body_of(answer)["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("key", "status"), [(None, 401), ("sk-wrong", 401), (KEY, 200)], ids=["none", "wrong", "right"]
)
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/gpt-4o", "/osmapi/v1/models/gpt-4o"])
def test_keys_are_checked(base: str, path: str, key: str | None, status: int) -> None:
    """Every route wants the demo key, and never repeats a wrong one."""
    answer = exchange(base, "GET", path, key=key)

    assert int(answer.split(b" ", 2)[1]) == status
    assert b"sk-wrong" not in answer
    if status == 401:
        assert body_of(answer)["error"]["code"] == "invalid_api_key"


def test_a_wrong_key_comes_before_a_wrong_body(base: str) -> None:
    """Who may not call is not told what is wrong with his body."""
    status, _ = ask(base, {"messages": 3}, key="sk-wrong")

    assert status == 401


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", CHAT, 405, b"Allow: POST, OPTIONS"),
        ("POST", "/v1/models", 405, b"Allow: GET, HEAD, OPTIONS"),
        ("DELETE", "/v1/models/gpt-4o", 405, b"Allow: GET, HEAD, OPTIONS"),
        ("OPTIONS", CHAT, 204, b"Allow: POST, OPTIONS"),
        ("TRACE", CHAT, 405, b"Allow: POST, OPTIONS"),
        ("GET", "/v1/nothing", 404, b"Content-Type: application/json"),
        ("GET", "/", 404, b"Content-Type: application/json"),
        ("GET", "/v2/models", 404, b"Content-Type: application/json"),
        ("GET", "/v1/models/", 200, b"Content-Type: application/json"),
        ("GET", "/with/no-such-fault/v1/models", 400, b"Content-Type: application/json"),
        ("GET", "/with//v1/models", 400, b"Content-Type: application/json"),
    ],
)
def test_routes_and_methods(base: str, method: str, path: str, status: int, allow: bytes) -> None:
    """An unknown route is a 404, a wrong method a 405 with Allow, both with an envelope."""
    answer = exchange(base, method, path)

    assert int(answer.split(b" ", 2)[1]) == status
    assert allow in answer


def test_head_has_no_body(base: str) -> None:
    """HEAD gives the headers of GET, and nothing after them."""
    head, _, body = exchange(base, "HEAD", "/v1/models").partition(b"\r\n\r\n")
    wanted = exchange(base, "GET", "/v1/models").partition(b"\r\n\r\n")[0]

    assert (settled(head), body) == (settled(wanted), b"")


def test_a_long_conversation_is_refused(base: str) -> None:
    """More tokens than the context has is a 400 with its own code, counted or estimated."""
    for text in ("a " * 128_000, "a" * 1_900_000):
        status, got = ask(base, say(text))

        assert (status, got["error"]["code"]) == (400, "context_length_exceeded")


def test_wrong_labels_are_refused(base: str) -> None:
    """A body that is not labelled as plain UTF-8 JSON is a 415."""
    for extra in ("Content-Encoding: gzip\r\n", ""):
        data = request(say("x"), extra)
        if not extra:
            data = data.replace(b"application/json", b"text/plain; x=y ")
        with connected(base) as sock:
            sock.sendall(data)

            assert sock.recv(12) == b"HTTP/1.1 415"


def test_a_rate_limit_refuses_with_a_time() -> None:
    """Over the limit: 429 with Retry-After and an envelope; other keys are not touched."""
    with serve_in_thread(Options(limit_rpm=2)) as base:
        answers = [exchange(base, "GET", "/v1/models") for _ in range(3)]

        assert [int(answer.split(b" ", 2)[1]) for answer in answers] == [200, 200, 429]
        assert b"x-ratelimit-remaining-requests: 1" in answers[0]
        assert b"\r\nRetry-After: " in answers[2]
        assert body_of(answers[2])["error"]["code"] == "rate_limit_exceeded"
        assert b"X-RateLimit-Limit: 2" in exchange(base, "GET", "/osmapi/v1/models")
