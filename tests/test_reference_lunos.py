"""Tests of Lunos in the reference server, over real sockets."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from gateproof.reference_server.server import serve_in_thread

from tests.reference_http import Got, send

MODEL = "openai/gpt-4o"
LOW = "sk-gateproof-lunos-low"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Run one server for all tests of this file."""
    with serve_in_thread() as url:
        yield url


def ask(url: str, path: str = "chat/completions", **body: Any) -> Got:
    """Ask one question."""
    messages = [{"role": "user", "content": "Repeat exactly: one two three"}]
    return send(url, "POST", f"/lunos/v1/{path}", {"model": MODEL, "messages": messages, **body})


def ids(url: str, query: str = "") -> list[str]:
    """List the ids of models."""
    return [card["id"] for card in send(url, "GET", f"/lunos/v1/models{query}", key=None).json()]


def test_a_chat_names_its_provider(server: str) -> None:
    """A chat is the upstream's, with the provider beside the model."""
    body = ask(server).json()

    assert body["choices"][0]["message"]["content"] == "one two three"
    assert (body["object"], body["provider"]) == ("chat.completion", "openai")


def test_completions_have_the_envelope_of_the_sample(server: str) -> None:
    """A completion has its choices under data."""
    asked = {"model": "openai/gpt-3.5-turbo-instruct", "prompt": "Repeat exactly: one two"}

    body = send(server, "POST", "/lunos/v1/completions", asked).json()

    assert body.pop("id").startswith("resp_")
    assert isinstance(body.pop("created"), int)
    assert body == {
        "object": "completion",
        "model": "openai/gpt-3.5-turbo-instruct",
        "provider": "openai",
        "data": {"choices": [{"text": "one two", "index": 0, "finish_reason": "stop"}]},
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }


def test_completions_can_have_the_upstreams_envelope(server: str) -> None:
    """A switch gives the upstream's form instead."""
    asked = {"model": "openai/gpt-3.5-turbo-instruct", "prompt": "Repeat exactly: one two"}

    body = send(server, "POST", "/with/openai-completions/lunos/v1/completions", asked).json()

    assert (body["object"], body["choices"][0]["text"]) == ("text_completion", "one two")


@pytest.mark.parametrize("form", ["data", "list"])
def test_the_list_can_have_other_envelopes(server: str, form: str) -> None:
    """A switch gives the list of models in one of its older forms."""
    body = send(server, "GET", f"/with/models-envelope:{form}/lunos/v1/models").json()

    assert [card["id"] for card in body["data"]] == ids(server)
    assert body.get("object") == ("list" if form == "list" else None)


def test_an_unknown_model_is_refused_as_in_the_sample(server: str) -> None:
    """The error for an unknown model names it, and has its type as its code."""
    got = ask(server, model="nonexistent-model")

    error = got.json()["error"]
    assert got.status == 404
    assert "nonexistent-model" in error["message"]
    assert (error["code"], error["type"], error["param"]) == (
        "invalid_request_error",
        "invalid_request_error",
        "model",
    )


def test_models_are_shown_to_everybody_with_their_prices(server: str) -> None:
    """The list needs no key; it is an array of models with modalities and prices."""
    found = send(server, "GET", "/lunos/v1/models", key=None).json()

    card = next(card for card in found if card["id"] == MODEL)
    assert card["pricePerMillionTokens"] == {"input": 2.5, "output": 10, "discountPercentage": 0}
    assert (card["inputModalities"], card["outputModalities"]) == (["text", "image"], ["text"])
    assert card["releaseDate"] == "2024-05-10"


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("?output=image", {"openai/gpt-image-1", "openai/dall-e-2"}),
        ("?input=audio", {"openai/whisper-1"}),
        ("?input=audio,image&output=image", set()),
        ("?output=smell", set()),
        ("?output=embedding%2Cimage,image", {
            "openai/gpt-image-1", "openai/dall-e-2", "openai/text-embedding-3-small",
        }),
    ],
)  # fmt: skip
def test_filters_leave_what_has_a_modality(server: str, query: str, wanted: set[str]) -> None:
    """One of the modalities of a list is enough; both lists have to be met."""
    assert set(ids(server, query)) == wanted


def test_the_modalities_of_a_list_are_alternatives(server: str) -> None:
    """``input=text,image&output=text`` leaves models that read text only, too."""
    found = ids(server, "?input=text,image&output=text")

    assert {MODEL, "openai/gpt-3.5-turbo-instruct"} <= set(found)


def test_an_answers_cost_leaves_the_balance(server: str) -> None:
    """The balance falls by the exact cost of each answer, whatever the route."""

    def left() -> Decimal:
        got = send(server, "GET", "/lunos/v1/balance")
        data = json.loads(got.body, parse_float=Decimal)["data"]
        return Decimal(data["balance"])

    before = left()
    usage = ask(server).json()["usage"]
    asked = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    counts = send(server, "POST", "/lunos/v1/messages", asked).json()["usage"]

    read = usage["prompt_tokens"] + counts["input_tokens"]
    written = usage["completion_tokens"] + counts["output_tokens"]
    cost = (read * Decimal("2.5") + written * Decimal(10)) / 1_000_000
    assert before - left() == cost


def test_a_low_balance_is_said(server: str) -> None:
    """The balance tells the alert's settings, and whether it is below the alert."""
    data = send(server, "GET", "/lunos/v1/balance", key=LOW).json()["data"]

    assert data.pop("updatedAt").endswith("Z")
    assert data == {
        "balance": 0.5,
        "email": "demo@example.com",
        "alertBalance": 1,
        "enableAlert": 1,
        "isAlertEnabled": True,
        "isBalanceLow": True,
    }


def test_the_balance_has_errors_of_its_own(server: str) -> None:
    """Without a key the balance is refused with a flag and a word."""
    got = send(server, "GET", "/lunos/v1/balance", key=None)

    assert got.status == 401
    assert {**got.json(), "message": ""} == {
        "success": False,
        "message": "",
        "error": "UNAUTHORIZED",
    }


@pytest.mark.parametrize(
    ("headers", "body", "app"),
    [
        ({"x-app-id": "billing-v2"}, {}, "billing-v2"),
        ({}, {"appId": "my-web-app"}, "my-web-app"),
        ({"x-app-id": "header"}, {"appId": "body"}, "header"),
        ({"x-app-id": "x" * 256}, {}, "x" * 256),
        ({}, {}, "unknown"),
    ],
)
def test_the_application_is_noted(
    server: str, headers: dict[str, str], body: dict[str, str], app: str
) -> None:
    """The journal has the application from the header, else from the body."""
    canary = f"canary {len(app)} {app[:9]}"
    messages = [{"role": "user", "content": canary}]
    lines = {"authorization": "Bearer sk-gateproof-demo", **headers}
    asked = {"model": MODEL, "messages": messages, **body}

    assert send(server, "POST", "/lunos/v1/chat/completions", asked, headers=lines).status == 200

    entries = send(server, "GET", f"/_journal?canary={canary.replace(' ', '%20')}").json()
    assert entries["entries"][-1]["app"] == app


@pytest.mark.parametrize("route", ["chat/completions", "messages", "completions"])
def test_only_what_is_to_be_observed_is_kept(server: str, route: str) -> None:
    """With observability the journal has the answer and its cost; without, nothing of it."""
    chats = route != "completions"
    model = MODEL if chats else "openai/gpt-3.5-turbo-instruct"
    notes = []
    for wish in (True, False, None):
        canary = f"Repeat exactly: {route} {wish}"
        said = {"messages": [{"role": "user", "content": canary}]} if chats else {"prompt": canary}
        flag = {} if wish is None else {"observability": wish}
        asked = {"model": model, "max_tokens": 20, **said, **flag}
        assert send(server, "POST", f"/lunos/v1/{route}", asked).status == 200
        entries = send(server, "GET", "/_journal").json()["entries"]
        notes.append(entries[-1].get("observed"))

    assert notes[1:] == [None, None]
    assert notes[0]["output"] == [{"text": f"{route} True", "calls": []}]
    assert 0 < notes[0]["usage"]["cost_usd"] < 0.01


def test_observability_is_a_boolean(server: str) -> None:
    """Anything but a boolean is refused."""
    got = ask(server, observability="yes")

    assert (got.status, got.json()["error"]["param"]) == (400, "observability")


def test_messages_take_a_bearer_and_no_version(server: str) -> None:
    """Messages are Anthropic's, with the key of the other routes and a version by default."""
    asked = {"model": "anthropic/claude-sonnet-4-6", "max_tokens": 9, "messages": [
        {"role": "user", "content": "Hi"}
    ]}  # fmt: skip

    statuses = [
        send(server, "POST", "/lunos/v1/messages", asked, headers=headers).status
        for headers in (
            {"authorization": "Bearer sk-gateproof-demo"},
            {"x-api-key": "sk-gateproof-demo", "anthropic-version": "2026-10-21"},
        )
    ]
    wrong = send(server, "POST", "/lunos/v1/messages", asked, key="sk-wrong")

    assert statuses == [200, 200]
    assert wrong.json()["error"]["type"] == "authentication_error"


def test_the_command_line_has_the_switches() -> None:
    """Both switches are options of the server too, and become behaviours of every answer."""
    from gateproof.reference_server.__main__ import _options, _parser  # noqa: PLC0415  # private, and used here only

    arguments = ["--lunos-completions", "openai", "--lunos-models", "list"]
    options = _options(_parser().parse_args(arguments))

    assert options.behaviours == ("openai-completions", "models-envelope:list")
