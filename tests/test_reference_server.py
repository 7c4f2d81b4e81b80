"""The reference server over real sockets: what it answers, refuses and notes."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from gateproof.reference_server.__main__ import main
from gateproof.reference_server.connection import Settings
from gateproof.reference_server.server import Options, serve_in_thread

from tests.reference_probes import (
    ASK,
    CALLED,
    CITY,
    CLOCK,
    HELLO,
    KEY,
    MODEL,
    RESULT,
    TEXT,
    body_of,
    chat,
    exchange,
    settled,
    talk,
)

CHAT = "/v1/chat/completions"
PROFILES = ["openai", "osmapi"]


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    """Give the address of a server in this process."""
    with serve_in_thread(Options(settings=Settings(body_bytes=2_000_000))) as url:
        yield url


def ask(base: str, body: Any, path: str = CHAT, **more: Any) -> tuple[int, Any]:
    """Send a chat; return the status and the JSON of the answer."""
    answer = exchange(base, "POST", path, body, **more)
    return int(answer.split(b" ", 2)[1]), body_of(answer)


def events(answer: bytes) -> list[Any]:
    """Return the JSON of a stream's events, without the end."""
    text = b""
    rest = answer.partition(b"\r\n\r\n")[2]
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        text, rest = text + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    data = [event.removeprefix(b"data: ") for event in text.split(b"\n\n") if event]

    assert data[-1] == b"[DONE]"
    return [json.loads(one) for one in data[:-1]]


def say(text: str, **more: Any) -> dict[str, Any]:
    """Return the body of a chat with one user message."""
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}


def journal(base: str, canary: str = "") -> list[dict[str, Any]]:
    """Return the entries of the journal."""
    entries = body_of(exchange(base, "GET", f"/_journal?canary={quote(canary)}"))["entries"]
    return list(entries)


def eventually(base: str, canary: str, outcome: str) -> dict[str, Any]:
    """Wait until the journal's entry has the outcome."""
    deadline = time.monotonic() + 5
    entry: dict[str, Any] = {}
    while time.monotonic() < deadline:
        entry = next(iter(journal(base, canary)[-1:]), {"outcome": None})
        if entry["outcome"] == outcome:
            break
        time.sleep(0.01)

    assert entry["outcome"] == outcome
    return entry


@contextlib.contextmanager
def connected(base: str) -> Iterator[socket.socket]:
    """Give an open connection."""
    url = urlsplit(base)
    with socket.create_connection((url.hostname, url.port), timeout=5) as sock:
        yield sock


def request(body: Any, extra: str = "", path: str = CHAT) -> bytes:
    """Write a request that keeps its connection."""
    data = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n{extra}\r\n"
    )
    return head.encode() + data


# What is answered


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        (f"Repeat exactly: {TEXT}", TEXT),
        ("canary-1 Repeat exactly: two\nlines ", "two\nlines "),
        ("Count from 3 to 6", "3, 4, 5, 6"),
        ("Count from 2 to -1", "2, 1, 0, -1"),
        ("Recall it", "it is unknown."),
        ("Repeat exactly: ", ""),
    ],
)
def test_the_model_obeys_its_rules(base: str, profile: str, prompt: str, wanted: str) -> None:
    """A rule's answer is exact, and the same streamed and not."""
    path = f"/{profile}{CHAT}"
    _, whole = ask(base, say(prompt), path)
    chunks = events(exchange(base, "POST", path, say(prompt, stream=True)))
    streamed = "".join(
        choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]
    )

    assert (whole["choices"][0]["message"]["content"], streamed) == (wanted, wanted)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", ["plain", "limit", "stop", "n", "tools", "required", "schema"])
def test_both_modes_agree(base: str, profile: str, name: str) -> None:
    """Text, calls, finishes and usage are the same streamed and not."""
    path = f"/{profile}{CHAT}"
    _, whole = ask(base, chat(name, stream=False), path)
    chunks = events(exchange(base, "POST", path, chat(name, stream=True)))
    streamed: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            seen = streamed.setdefault(choice["index"], {"text": "", "calls": {}, "finish": None})
            seen["text"] += choice["delta"].get("content") or ""
            seen["finish"] = choice["finish_reason"] or seen["finish"]
            for call in choice["delta"].get("tool_calls", ()):
                name_, arguments = seen["calls"].get(call["index"], ("", ""))
                function = call["function"]
                name_ += function.get("name", "")
                seen["calls"][call["index"]] = (name_, arguments + function["arguments"])
    wanted = {
        choice["index"]: {
            "text": choice["message"]["content"] or "",
            "calls": {
                place: (call["function"]["name"], call["function"]["arguments"])
                for place, call in enumerate(choice["message"].get("tool_calls", ()))
            },
            "finish": choice["finish_reason"],
        }
        for choice in whole["choices"]
    }

    assert (streamed, chunks[-1]["usage"]) == (wanted, whole["usage"])


def test_a_stream_has_the_upstreams_shape(base: str) -> None:
    """Role first, a finish with an empty delta, then usage with no choices; ids are the same."""
    chunks = events(exchange(base, "POST", CHAT, chat("plain", stream=True)))

    assert {(c["id"], c["created"], c["object"]) for c in chunks} == {
        (chunks[0]["id"], chunks[0]["created"], "chat.completion.chunk")
    }
    assert chunks[0]["choices"][0]["delta"] == {
        "role": "assistant",
        "content": "",
        "refusal": None,
    }
    assert (chunks[-2]["choices"][0]["delta"], chunks[-2]["choices"][0]["finish_reason"]) == (
        {},
        "stop",
    )
    assert chunks[-1]["choices"] == []
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)


def test_usage_is_only_sent_when_asked_for(base: str) -> None:
    """Without include_usage no chunk of the openai profile has the key."""
    chunks = events(exchange(base, "POST", CHAT, chat("plain", stream=True, usage=False)))

    assert [chunk for chunk in chunks if "usage" in chunk] == []


@pytest.mark.parametrize(
    ("more", "text", "finish"),
    [
        ({"stop": "two"}, "one ", "stop"),
        ({"stop": ["four", "e t"]}, "on", "stop"),
        ({"stop": "five"}, "one two three four", "stop"),
        ({"max_tokens": 2}, "one two", "length"),
        ({"max_completion_tokens": 4}, "one two three four", "stop"),
        ({"max_tokens": 3, "max_completion_tokens": 1}, "one", "length"),
        ({"max_tokens": 2, "stop": "three"}, "one two", "length"),
    ],
)
def test_limits_cut(base: str, more: dict[str, Any], text: str, finish: str) -> None:
    """A stop string is left out wherever tokens end; a limit counts tokens."""
    _, got = ask(base, say("Repeat exactly: one two three four", **more))
    choice = got["choices"][0]

    assert (choice["message"]["content"], choice["finish_reason"]) == (text, finish)


def test_tools_are_called_as_chosen(base: str) -> None:
    """None, auto, required, named and one at a time each give the calls that they mean."""
    tools = [CITY, CLOCK]
    named = {"type": "function", "function": {"name": "get_time"}}
    got = {}
    for label, more in {
        "auto": {},
        "none": {"tool_choice": "none"},
        "one": {"parallel_tool_calls": False},
        "named": {"tool_choice": named},
    }.items():
        _, answer = ask(base, {"model": MODEL, "messages": ASK, "tools": tools, **more})
        calls = answer["choices"][0]["message"].get("tool_calls", ())
        got[label] = [(c["function"]["name"], c["function"]["arguments"]) for c in calls]

    assert got == {
        "auto": [("get_weather", '{"city":"Paris"}'), ("get_time", "{}")],
        "none": [],
        "one": [("get_weather", '{"city":"Paris"}')],
        "named": [("get_time", "{}")],
    }


def test_tool_results_are_quoted(base: str) -> None:
    """After a round trip the answer quotes the result, and a call is not made again."""
    body = {"model": MODEL, "messages": [*ASK, CALLED, RESULT], "tools": [CITY, CLOCK]}
    _, got = ask(base, body)

    assert got["choices"][0]["message"]["content"] == "get_time answered: noon."


@pytest.mark.parametrize(
    ("profile", "model", "status"),
    [
        ("openai", "gpt-4o", 200),
        ("openai", "openai/gpt-4o", 404),
        ("osmapi", "gpt-4o", 200),
        ("osmapi", "openai/gpt-4o", 200),
        ("osmapi", "anthropic/claude-sonnet-4-6", 200),
        ("osmapi", "google-ai-studio/gemini-2.5-flash", 200),
        ("osmapi", "groq/llama-3.3-70b-instruct", 200),
        ("osmapi", "groq/gpt-4o", 404),
        ("osmapi", "nosuch/gpt-4o", 404),
        ("osmapi", "auto", 200),
    ],
)
def test_models_are_routed(base: str, profile: str, model: str, status: int) -> None:
    """A profile knows its own names, with a provider where it has providers, and no other."""
    got, body = ask(base, {"model": model, "messages": HELLO}, f"/{profile}{CHAT}")

    assert got == status
    assert body.get("model", model) == model


def test_listed_models_can_be_retrieved(base: str) -> None:
    """Each listed id is found, with its slash as %2F or plain."""
    for profile in PROFILES:
        cards = body_of(exchange(base, "GET", f"/{profile}/v1/models"))["data"]
        for card in cards:
            for name in (card["id"], card["id"].replace("/", "%2F")):
                answer = exchange(base, "GET", f"/{profile}/v1/models/{name}")

                assert body_of(answer) == card


def test_costs_are_exact(base: str) -> None:
    """The total is the sum of its parts as decimals, without exponents, streamed too."""
    answer = exchange(base, "POST", f"/osmapi{CHAT}", say("Repeat exactly: a", model="auto"))
    usage = answer[answer.index(b'"cost_usd_total"') : answer.index(b"}", answer.index(b"cost"))]

    assert usage == (
        b'"cost_usd_total":0.00000225,"cost_usd_input":0.00000165,"cost_usd_output":0.0000006,'
        b'"cost_usd_cached_input":0,"cost_usd_request":0'
    )


def test_a_healing_plugin_heals(base: str) -> None:
    """Sloppy JSON is repaired when the plugin is asked for, in both forms of asking."""
    form = {"type": "json_object"}
    texts = []
    for plugins in ([], ["response-healing"], [{"id": "response-healing"}]):
        body = say("Repeat exactly: x", response_format=form, plugins=plugins)
        _, got = ask(base, {**body, "model": "gpt-4o+sloppy-json"}, f"/osmapi{CHAT}")
        texts.append(got["choices"][0]["message"]["content"])

    assert texts == ['```json\n{"answer":"x",}\n```', '{"answer":"x"}', '{"answer":"x"}']


# What is refused


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


# What a hostile client meets


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50, 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        (
            (
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            ),
            400,
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 100_000, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 300 + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n" + b"a" * 500_000, 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\nContent-Length: 1\r\n\r\n", 417),
        (b"GET /%ff%00 HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET http://elsewhere/v1/models HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET / HTTP/1.0\r\n\r\n", 404),
    ],
    ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else None,
)
def test_malformed_http_is_refused(base: str, data: bytes, status: int) -> None:
    """What is not a request gets a 4xx, and the server lives."""
    with connected(base) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
        got = sock.recv(12)

    assert got == b"HTTP/1.1 %d" % status
    assert exchange(base, "GET", "/_health").startswith(b"HTTP/1.1 200")


def test_requests_sent_ahead_are_answered_in_turn(base: str) -> None:
    """Ten requests in one packet get their ten answers in order on one connection."""
    with connected(base) as sock:
        sock.sendall(b"".join(request(say(f"Repeat exactly: <{n}>")) for n in range(10)))
        got = b""
        while got.count(b"HTTP/1.1") < 10 or not got.endswith(b'"}'):
            got += sock.recv(65_536)

    assert [got.find(b"<%d>" % n) for n in range(10)] == sorted(
        got.find(b"<%d>" % n) for n in range(10)
    )
    assert got.count(b"HTTP/1.1 200 OK") == 10


def test_a_request_may_come_byte_by_byte_and_chunked(base: str) -> None:
    """How a request is cut into packets and chunks makes no difference."""
    data = json.dumps(say("Repeat exactly: whole")).encode()
    chunks = b"".join(b"1;x=y\r\n%c\r\n" % byte for byte in data) + b"0\r\nTrailer: 1\r\n\r\n"
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: bearer {KEY}\r\n"
        "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    ).encode()
    with connected(base) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in head + chunks:
            sock.sendall(bytes((byte,)))
        got = b""
        while piece := sock.recv(65_536):
            got += piece

    assert body_of(got)["choices"][0]["message"]["content"] == "whole"


def test_a_client_may_wait_for_100(base: str) -> None:
    """Expect: 100-continue is answered before the body comes, and the answer follows it."""
    head, _, body = request(say("Repeat exactly: x"), "Expect: 100-continue\r\n").partition(
        b"\r\n\r\n"
    )
    with connected(base) as sock:
        sock.sendall(head + b"\r\n\r\n")
        interim = sock.recv(1000)
        sock.sendall(body)

        assert (interim, sock.recv(15)) == (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK")


def test_a_large_body_is_refused_before_it_is_read(base: str) -> None:
    """A 413 comes as JSON, and can be read although the client is still sending."""
    answer = talk(base, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n" + b"a" * 9)

    assert body_of(answer)["error"]["code"] == "request_too_large"


def test_a_reader_that_does_not_read_stops_only_itself(base: str) -> None:
    """A stream of megabytes that nobody reads neither grows in memory nor delays others."""
    body = {**say("deaf-reader", stream=True), "model": f"{MODEL}+tokens=100000"}
    with connected(base) as sock:
        sock.sendall(request(body))
        sock.recv(1000)
        for _ in range(3):
            status, _ = ask(base, say("Repeat exactly: x"))

            assert status == 200
        entry = journal(base, "deaf-reader")[-1]

    assert entry["outcome"] == "open"
    assert len(entry["sends"]) < 100_000
    eventually(base, "deaf-reader", "cancelled")


def test_http_1_0_gets_a_stream_that_ends_by_closing(base: str) -> None:
    """An old client gets no chunks."""
    data = request(say("Repeat exactly: x", stream=True)).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    head, _, body = talk(base, data).partition(b"\r\n\r\n")

    assert b"Transfer-Encoding" not in head
    assert body.endswith(b"\n\ndata: [DONE]\n\n")


# What is noted


def test_the_journal_tells_what_came_and_what_was_sent(base: str) -> None:
    """Headers without the key, the body, each send with its label and time, and the outcome."""
    body = say("Repeat exactly: canary-7 b", stream=True)
    exchange(base, "POST", "/with/crlf+itl=1" + CHAT, body)
    (entry,) = journal(base, "canary-7")
    times = [send["at_ns"] for send in entry["sends"]]

    assert (entry["method"], entry["path"], entry["profile"], entry["status"]) == (
        "POST",
        "/with/crlf+itl=1" + CHAT,
        "openai",
        200,
    )
    assert entry["behaviours"] == ["crlf", "itl=1"]
    assert ["authorization", "[Bearer, 17 characters, the demo key]"] in entry["headers"]
    assert json.loads(entry["body"]) == body
    assert [send["label"] for send in entry["sends"]] == [
        "head", "role", "content", "content", "content", "content", "finish", "done", "end",
    ]  # fmt: skip
    assert times == sorted(times)
    assert times[0] >= entry["at_ns"]
    assert (entry["outcome"], entry["cancelled_at_ns"]) == ("complete", None)


def test_keys_do_not_reach_the_journal(base: str) -> None:
    """Neither the demo key nor a wrong one is kept, whatever header carries it."""
    data = request(say("canary-8"), "X-Api-Key: sk-other\r\nCookie: a=sk-third\r\n")
    talk(
        base, data.replace(KEY.encode(), b"sk-wrong").replace(b"Host", b"Connection: close\r\nHost")
    )
    shown = json.dumps(journal(base, "canary-8"))

    assert [secret for secret in (KEY, "sk-wrong", "sk-other", "sk-third") if secret in shown] == []
    assert "[Bearer, 8 characters, not the demo key]" in shown


@pytest.mark.parametrize(
    ("behaviour", "mode", "outcome"),
    [
        ("silence=60000", "stream", "cancelled"),
        ("slow-headers=60000", "stream", "cancelled"),
        ("stall=60000", "stream", "cancelled"),
        ("ttft=60000", "whole", "cancelled"),
        ("hang", "stream", "cancelled"),
        ("itl=5+tokens=20+no-cancel", "stream", "complete"),
        ("reset=1", "stream", "reset"),
        ("cut=1", "stream", "reset"),
        ("cut", "whole", "reset"),
        ("midstream-error", "stream", "complete"),
    ],
)
def test_the_journal_knows_how_an_answer_ended(
    base: str, behaviour: str, mode: str, outcome: str
) -> None:
    """A client that leaves is noticed at once, before the first token and without a stream too."""
    canary = f"end-{behaviour}-{mode}"
    body = {**say(f"{canary} hello", stream=mode == "stream"), "model": f"{MODEL}+{behaviour}"}
    with connected(base) as sock:
        sock.sendall(request(body))
        eventually(base, canary, "open" if outcome == "cancelled" or "no-" in canary else outcome)
    entry = eventually(base, canary, outcome)

    assert (entry["cancelled_at_ns"] is not None) == (outcome == "cancelled")


def test_a_journal_is_bounded() -> None:
    """The oldest entries go when the journal is full; without any memory it keeps nothing."""
    for limit, wanted in ((20_000, range(1, 30)), (0, range(1))):
        with serve_in_thread(Options(journal_bytes=limit)) as base:
            for number in range(40):
                ask(base, say(f"Repeat exactly: {number}"))
            entries = journal(base)

        assert len(entries) in wanted
        assert not entries or '"Repeat exactly: 39"' in entries[-1]["body"]


def test_tokens_leave_on_schedule(base: str) -> None:
    """No token leaves before its time, and the times do not drift with the tokens before."""
    body = {**say("on-schedule hello", stream=True), "model": f"{MODEL}+ttft=30+itl=3+tokens=40"}
    exchange(base, "POST", CHAT, body)
    (entry,) = journal(base, "on-schedule")
    late_ns = [
        send["at_ns"] - entry["at_ns"] - 30_000_000 - place * 3_000_000
        for place, send in enumerate(s for s in entry["sends"] if s["label"] == "content")
    ]

    assert len(late_ns) == 40
    assert min(late_ns) >= 0


def test_many_clients_at_once(base: str) -> None:
    """A hundred streams at once all get their own answer."""
    got: dict[int, bytes] = {}

    def one(number: int) -> None:
        got[number] = exchange(base, "POST", CHAT, say(f"Repeat exactly: <{number}>", stream=True))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [
        "".join(c["choices"][0]["delta"].get("content", "") for c in events(got[number]))
        for number in range(100)
    ] == [f"<{number}>" for number in range(100)]


# The command


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
