"""Requests that together show each deed of the reference server, and a client to send them."""

import json
import re
import socket
from typing import Any
from urllib.parse import urlsplit

KEY = "sk-gateproof-demo"
MODEL = "gpt-4o-mini"
TEXT = "Héllo 🙂 wörld\u2028one two three four five six"
HELLO = [{"role": "user", "content": f"Repeat exactly: {TEXT}"}]


def _function(name: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


CITY = _function("get_weather", city={"type": "string"})
CLOCK = _function("get_time")
CALLS = 'Call get_weather with {"city":"Paris"}\nCall get_time with {}'
ASK = [{"role": "user", "content": CALLS}]
CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
    ],
}
PARTS = [{"type": "text", "text": "Repeat exactly: one"}, {"type": "text", "text": " two"}]
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "noon"}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
REMEMBER = [
    {"role": "system", "content": "Remember word = falcon"},
    {"role": "user", "content": "Remember other = heron"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "Recall word"},
]

CHATS: dict[str, dict[str, Any]] = {
    "plain": {"messages": HELLO},
    "limit": {"messages": HELLO, "max_tokens": 3},
    "new limit": {"messages": HELLO, "max_completion_tokens": 3},
    "stop": {"messages": HELLO, "stop": ["two"]},
    "n": {"messages": [{"role": "user", "content": "Say something."}], "n": 2},
    "logprobs": {"messages": HELLO, "logprobs": True, "top_logprobs": 2},
    "tools": {"messages": ASK, "tools": [CITY, CLOCK]},
    "none": {"messages": ASK, "tools": [CITY, CLOCK], "tool_choice": "none"},
    "required": {"messages": HELLO, "tools": [CITY, CLOCK], "tool_choice": "required"},
    "named": {
        "messages": HELLO,
        "tools": [CITY, CLOCK],
        "tool_choice": {"type": "function", "function": {"name": "get_time"}},
    },
    "one call": {"messages": ASK, "tools": [CITY, CLOCK], "parallel_tool_calls": False},
    "round trip": {"messages": [*ASK, CALLED, RESULT], "tools": [CITY, CLOCK]},
    "orphan": {"messages": [*ASK, RESULT], "tools": [CITY, CLOCK]},
    "json": {"messages": HELLO, "response_format": {"type": "json_object"}},
    "schema": {"messages": HELLO, "response_format": JSON_SCHEMA},
    "memory": {"messages": REMEMBER},
    "invalid": {"messages": HELLO, "temperature": 9},
    "no messages": {},
    "wrong messages": {"messages": "hello"},
    "no model": {"messages": HELLO, "model": None},
    "unknown model": {"messages": HELLO, "model": "no-such-model"},
    "failing": {"messages": HELLO, "model": "status=429"},
    "too long": {"messages": HELLO, "model": "refuse"},
    "error in the middle": {"messages": HELLO, "model": "midstream-error"},
    "cut": {"messages": HELLO, "model": "cut"},
    "reasoning": {"messages": HELLO, "model": "reasoning", "reasoning_effort": "high"},
    "search": {"messages": HELLO, "web_search": True},
    "parts": {"messages": [{"role": "user", "content": PARTS}]},
    "prefixed": {"messages": HELLO, "model": "openai/gpt-4o-mini"},
    "nowhere": {"messages": HELLO, "model": "nowhere/gpt-4o-mini"},
    "effort": {"messages": HELLO, "reasoning_effort": "extreme"},
    "plugin": {"messages": HELLO, "plugins": ["no-such-plugin"]},
    "odd": {"messages": HELLO, "model": "crlf"},
    "comments": {"messages": HELLO, "model": "comments"},
    "healing": {
        "messages": HELLO,
        "model": "sloppy-json",
        "response_format": {"type": "json_object"},
        "plugins": ["response-healing"],
    },
}


def chat(name: str, *, stream: bool, usage: bool = True, suffix: str = "") -> dict[str, Any]:
    """Return the body of a chat; the model may be given by a deed of the upstream."""
    body = {"model": MODEL, **CHATS[name]}
    if body["model"] is None:
        del body["model"]
    elif body["model"] == "reasoning":
        body["model"] = "gpt-5-mini"
    elif body["model"] not in {MODEL, "no-such-model"} and "/" not in body["model"]:
        body["model"] = f"{MODEL}+{body['model']}"
    if "model" in body:
        body["model"] += suffix
    if stream:
        body["stream"] = True
        if usage:
            body["stream_options"] = {"include_usage": True}
    return body


def exchange(  # one keyword for each part of a request
    base: str,
    method: str,
    path: str,
    body: Any = None,
    *,
    key: str | None = KEY,
    timeout_s: float = 5,
    raw: bytes | None = None,
    headers: tuple[str, ...] = (),
) -> bytes:
    """Send one request on a fresh connection; return all bytes of the answer, and how it ended."""
    url = urlsplit(base)
    data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: {url.netloc}", "Connection: close", *headers]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    if data:
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    return talk(base, "\r\n".join(lines).encode() + b"\r\n\r\n" + data, timeout_s=timeout_s)


def talk(base: str, data: bytes, *, timeout_s: float = 5) -> bytes:
    """Send bytes, and read until the server ends the connection or says no more."""
    url = urlsplit(base)
    answer = bytearray()
    with socket.create_connection((url.hostname, url.port), timeout=timeout_s) as sock:
        try:
            sock.sendall(data)
            while piece := sock.recv(65_536):
                answer += piece
        except TimeoutError:
            answer += b"\n<silence>"
        except ConnectionError:
            answer += b"\n<reset>"
    return bytes(answer)


_CHANGING = [
    (re.compile(rb"(chatcmpl-|req_|call_)[0-9a-f]{24}"), rb"\1ID"),
    (re.compile(rb'"created":\d{10}(?=\D)'), b'"created":NOW'),
    (re.compile(rb"Date: [^\r]+", re.IGNORECASE), b"Date: NOW"),
]


def settled(answer: bytes) -> bytes:
    """Replace what differs from one healthy answer to the next."""
    for pattern, replacement in _CHANGING:
        answer = pattern.sub(replacement, answer)
    return answer


def body_of(answer: bytes) -> Any:
    """Return the JSON of a sized body."""
    return json.loads(answer.partition(b"\r\n\r\n")[2])
