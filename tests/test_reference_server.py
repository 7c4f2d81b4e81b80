"""The reference server over real sockets: what it answers."""

from collections.abc import Iterator
from typing import Any

import pytest
from gateproof.reference_server.connection import Settings
from gateproof.reference_server.server import Options, serve_in_thread

from tests.reference_asks import CHAT, PROFILES, ask, events, say
from tests.reference_probes import (
    ASK,
    CALLED,
    CITY,
    CLOCK,
    HELLO,
    MODEL,
    RESULT,
    TEXT,
    body_of,
    chat,
    exchange,
)


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    """Give the address of a server in this process."""
    with serve_in_thread(Options(settings=Settings(body_bytes=2_000_000))) as url:
        yield url


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
