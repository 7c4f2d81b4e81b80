"""Tests of Anthropic's Messages in the reference server, over real sockets."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from gateproof.reference_server.connection import Settings
from gateproof.reference_server.messages_request import signature
from gateproof.reference_server.server import Options, serve_in_thread

from tests.reference_http import Got, send

MODEL = "claude-sonnet-4-6"
KEY = "sk-gateproof-demo"
OLD = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
NEW = {"authorization": f"Bearer {KEY}", "anthropic-version": "2026-10-21"}
WEATHER = {
    "name": "get_weather",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
CALLS = 'Call get_weather with {"city":"Paris"}\nCall get_weather with {"city":"Oslo"}'


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Run one server for all tests of this file."""
    with serve_in_thread(Options(profile="anthropic")) as url:
        yield url


@dataclass(frozen=True, slots=True)
class Client:
    """Sends requests in the dialect."""

    url: str

    def post(
        self, body: Any, path: str = "/v1/messages", headers: dict[str, str] | None = None
    ) -> Got:
        """Send a body."""
        return send(self.url, "POST", path, body, headers=OLD if headers is None else headers)

    def ask(self, text: str = "Say something.", **more: Any) -> Got:
        """Ask one question."""
        message = {"role": "user", "content": text}
        return self.post({"model": MODEL, "max_tokens": 200, "messages": [message], **more})


@pytest.fixture
def client(server: str) -> Client:
    """Return a client of the server."""
    return Client(server)


def events(got: Got) -> list[tuple[str, Any]]:
    """Read the events of a stream as pairs of name and data."""
    found = []
    for event in got.body.decode().split("\n\n"):
        if event:
            name, data = event.split("\n")
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_an_answer_has_the_members_of_a_message(client: Client) -> None:
    """An answer is a message with blocks, a stop reason and counts, and nothing of OpenAI's."""
    got = client.ask("Repeat exactly: Héllo 🙂")

    body = got.json()
    assert got.status == 200
    assert body.pop("id").startswith("msg_")
    assert body == {
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [{"type": "text", "text": "Héllo 🙂"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 15,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 5,
            "service_tier": "standard",
        },
    }
    assert got.header("request-id") is not None
    assert got.header("x-request-id") is None


@pytest.mark.parametrize("headers", [OLD, NEW], ids=["x-api-key and 2023", "bearer and 2026"])
def test_both_kinds_of_clients_are_served(client: Client, headers: dict[str, str]) -> None:
    """Keys come in either header, versions are the two that clients send."""
    body = {"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}

    assert client.post(body, headers=headers).status == 200


@pytest.mark.parametrize(
    ("headers", "status", "type_"),
    [
        ({"anthropic-version": "2023-06-01"}, 401, "authentication_error"),
        ({**OLD, "x-api-key": "sk-wrong"}, 401, "authentication_error"),
        ({**NEW, "authorization": "Bearer sk-wrong"}, 401, "authentication_error"),
        ({"x-api-key": KEY}, 400, "invalid_request_error"),
        ({**OLD, "anthropic-version": "2020-01-01"}, 400, "invalid_request_error"),
    ],
    ids=["no key", "wrong x-api-key", "wrong bearer", "no version", "unknown version"],
)
def test_wrong_headers_are_refused(
    client: Client, headers: dict[str, str], status: int, type_: str
) -> None:
    """A key that is missing or wrong gives 401, a version that is missing or unknown 400."""
    body = {"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}

    got = client.post(body, headers=headers)

    assert (got.status, got.json()["error"]["type"]) == (status, type_)
    assert got.json()["type"] == "error"
    assert got.json()["request_id"] == got.header("request-id")


USE = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"}
HI = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"model": None}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role"),
        ({"messages": [{"role": "system", "content": "x"}, HI]}, "role"),
        ({"messages": [{"role": "user", "content": [{"type": "smell"}]}]}, "type"),
        ({"messages": [{"role": "user", "content": [USE]}]}, "tool_use"),
        ({"messages": [{"role": "user", "content": [RESULT]}]}, "toolu_1"),
        ({"messages": [HI, {"role": "assistant", "content": [USE]}, HI]}, "toolu_1"),
        ({"max_tokens": "10"}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"temperature": 1.1}, "temperature"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "x"}}, "tool_choice"),
        ({"tools": [{"name": "x"}]}, "input_schema"),
        ({"thinking": {"type": "enabled", "budget_tokens": 100}}, "budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, "budget_tokens"),
    ],
)
def test_what_breaks_a_rule_is_refused(client: Client, change: dict[str, Any], names: str) -> None:
    """A request that breaks a rule gets 400, and a message that names the place."""
    body = {"model": MODEL, "max_tokens": 5, "messages": [HI], **change}

    got = client.post({name: value for name, value in body.items() if value is not None})

    assert (got.status, got.json()["error"]["type"]) == (400, "invalid_request_error")
    assert names in got.json()["error"]["message"]


def test_an_unknown_model_is_not_found(client: Client) -> None:
    """A model that does not exist gives 404 and not_found_error."""
    got = client.post({"model": "nope", "max_tokens": 5, "messages": [HI]})

    assert (got.status, got.json()["error"]["type"]) == (404, "not_found_error")


def test_a_stream_is_the_machine_of_events(client: Client) -> None:
    """A stream begins the message and each block, ends them in order, and has no [DONE]."""
    got = client.ask("Repeat exactly: one two", stream=True)

    found = events(got)
    assert [name for name, _ in found] == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert [data["type"] for _, data in found] == [name for name, _ in found]
    start = found[0][1]["message"]
    assert (start["content"], start["stop_reason"]) == ([], None)
    assert start["usage"]["input_tokens"] == found[-2][1]["usage"]["input_tokens"] > 0
    assert found[-2][1]["usage"]["output_tokens"] == 2
    assert got.header("content-type") == "text/event-stream; charset=utf-8"


def _joined(found: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for name, data in found:
        if name == "content_block_start":
            blocks.append(dict(data["content_block"]))
            blocks[-1]["json"] = ""
        elif name == "content_block_delta":
            delta = data["delta"]
            if delta["type"] == "text_delta":
                blocks[-1]["text"] += delta["text"]
            elif delta["type"] == "thinking_delta":
                blocks[-1]["thinking"] += delta["thinking"]
            elif delta["type"] == "signature_delta":
                blocks[-1]["signature"] = delta["signature"]
            else:
                blocks[-1]["json"] += delta["partial_json"]
    for block in blocks:
        text = block.pop("json")
        if text:
            block["input"] = json.loads(text)
        block.pop("id", None)
    return blocks


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"max_tokens": 5},
        {"max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"tools": [WEATHER], "tool_choice": {"type": "any"}},
        {"tools": [WEATHER], "messages": [{"role": "user", "content": CALLS}]},
        {"max_tokens": 0},
    ],
    ids=["text", "cut", "thinking", "forced tool", "two tools", "no tokens"],
)
def test_both_modes_say_the_same(client: Client, more: dict[str, Any]) -> None:
    """A stream's blocks, put together, are those of the answer without stream."""
    whole = client.ask(**more).json()
    found = events(client.ask(**more, stream=True))

    content = [{k: v for k, v in block.items() if k != "id"} for block in whole["content"]]
    assert _joined(found) == content
    end = found[-2][1]
    assert end["delta"]["stop_reason"] == whole["stop_reason"]
    assert end["usage"]["output_tokens"] == whole["usage"]["output_tokens"]
    indices = [data["index"] for name, data in found if name == "content_block_start"]
    assert indices == list(range(len(content)))


def test_a_stop_sequence_is_named(client: Client) -> None:
    """An answer that a stop sequence ended names it, and its text lacks it."""
    body = client.ask("Count from 1 to 9", stop_sequences=["5", "7"]).json()

    assert body["content"] == [{"type": "text", "text": "1, 2, 3, 4, "}]
    assert (body["stop_reason"], body["stop_sequence"]) == ("stop_sequence", "5")


def test_max_tokens_cuts(client: Client) -> None:
    """An answer is not longer than max_tokens, and says that it was cut."""
    body = client.ask("Count from 1 to 9", max_tokens=3).json()

    assert (body["stop_reason"], body["usage"]["output_tokens"]) == ("max_tokens", 3)


def test_system_is_a_text_or_blocks(client: Client) -> None:
    """Instructions may be a string or text blocks, and reach the model either way."""
    text = "Remember word = falcon"
    answers = [
        client.ask("Recall word", system=system).json()["content"][0]["text"]
        for system in (text, [{"type": "text", "text": text}])
    ]

    assert answers == ["falcon", "falcon"]


@pytest.mark.parametrize(
    ("choice", "inputs"),
    [
        ({"type": "auto"}, [{"city": "Paris"}, {"city": "Oslo"}]),
        ({"type": "any", "disable_parallel_tool_use": True}, [{"city": "Paris"}]),
        ({"type": "tool", "name": "get_weather"}, [{"city": "Paris"}, {"city": "Oslo"}]),
        ({"type": "none"}, []),
    ],
    ids=["auto", "any, one at a time", "tool", "none"],
)
def test_tools_are_used_as_chosen(
    client: Client, choice: dict[str, Any], inputs: list[Any]
) -> None:
    """tool_choice decides whether tools are used, and how many at once."""
    body = client.ask(CALLS, tools=[WEATHER], tool_choice=choice).json()

    uses = [block for block in body["content"] if block["type"] == "tool_use"]
    assert [use["input"] for use in uses] == inputs
    assert all(use["id"].startswith("toolu_") for use in uses)
    assert body["stop_reason"] == ("tool_use" if inputs else "end_turn")


def test_results_of_tools_are_answered(client: Client) -> None:
    """A result that answers a use by its id reaches the model."""
    history = [HI, {"role": "assistant", "content": [USE]}, {"role": "user", "content": [RESULT]}]

    body = client.ask(tools=[WEATHER], messages=history).json()

    assert body["content"][0]["text"] == "get_weather answered: rain."


def test_thoughts_come_back_sealed(client: Client) -> None:
    """A thinking block is accepted with its signature, and refused with another one."""
    more = {"max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    block = client.ask(**more).json()["content"][0]
    assert block["signature"] == signature(block["thinking"])

    statuses = [
        client.ask(messages=[HI, {"role": "assistant", "content": [thought]}, HI], **more).status
        for thought in (block, {**block, "signature": block["signature"][:-2]})
    ]

    assert statuses == [200, 400]


def test_structured_output_keeps_the_schema(client: Client) -> None:
    """output_config.format makes the text an instance of its schema."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}

    config = {"format": {"type": "json_schema", "schema": schema}}
    body = client.ask(output_config=config).json()

    assert list(json.loads(body["content"][0]["text"])) == ["n"]


def test_tokens_are_counted_as_they_are_billed(client: Client) -> None:
    """count_tokens gives the input_tokens of the same request."""
    parts = {"model": MODEL, "messages": [HI], "tools": [WEATHER], "system": "Be short."}

    counted = client.post(parts, "/v1/messages/count_tokens").json()

    answered = client.post({**parts, "max_tokens": 5}).json()
    assert counted == {"input_tokens": answered["usage"]["input_tokens"]}


def test_the_system_role_belongs_to_the_later_version(client: Client) -> None:
    """Version 2026-10-21 takes the role system inside messages."""
    messages = [{"role": "system", "content": "Remember word = falcon"}, HI]
    body = {"model": MODEL, "max_tokens": 5, "messages": messages}

    assert [client.post(body, headers=h).status for h in (OLD, NEW)] == [400, 200]


def test_models_are_listed_in_pages(server: str) -> None:
    """The list has the newest first, and is read on by the last id."""
    first = send(server, "GET", "/v1/models?limit=1", headers=OLD).json()
    rest = send(server, "GET", f"/v1/models?after_id={first['last_id']}", headers=OLD).json()

    assert (first["has_more"], first["first_id"]) == (True, MODEL)
    assert (rest["has_more"], rest["last_id"]) == (False, "claude-haiku-4-5")
    assert send(server, "GET", f"/v1/models/{MODEL}", headers=OLD).json() == first["data"][0]
    assert first["data"][0] == {
        "type": "model",
        "id": MODEL,
        "display_name": "Claude Sonnet 4.6",
        "created_at": "2026-02-17T00:00:00Z",
    }


@pytest.mark.parametrize(
    ("suffix", "status", "type_"),
    [
        ("status=429", 429, "rate_limit_error"),
        ("status=529", 529, "overloaded_error"),
        ("status=504", 504, "timeout_error"),
        ("refuse", 400, "invalid_request_error"),
    ],
)
def test_failures_of_an_upstream_have_the_shape(
    client: Client, suffix: str, status: int, type_: str
) -> None:
    """What the upstream is told to do wrong is reported in the dialect."""
    got = client.post({"model": f"{MODEL}+{suffix}", "max_tokens": 5, "messages": [HI]})

    assert (got.status, got.json()["error"]["type"]) == (status, type_)


def test_an_error_in_the_middle_is_a_named_event(client: Client) -> None:
    """A stream that fails ends with an event named error, in the envelope of errors."""
    model = f"{MODEL}+midstream-error:2"
    got = client.post({"model": model, "max_tokens": 50, "messages": [HI], "stream": True})

    name, data = events(got)[-1]
    assert (name, data["type"], data["error"]["type"]) == ("error", "error", "api_error")


def test_a_body_that_is_too_large_is_refused_in_the_shape() -> None:
    """A body over the limit gets 413 and request_too_large, before it was read."""
    with serve_in_thread(Options(settings=Settings(body_bytes=1000))) as url:
        got = send(url, "POST", "/anthropic/v1/messages", {"x": "y" * 2000}, headers=OLD)

    assert (got.status, got.json()["error"]["type"]) == (413, "request_too_large")
