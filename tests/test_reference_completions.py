"""Tests of text completions in the reference server, over real sockets."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from gateproof.reference_server.server import serve_in_thread

from tests.reference_http import Got, send

MODEL = "gpt-3.5-turbo-instruct"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Run one server for all tests of this file."""
    with serve_in_thread() as url:
        yield url


def complete(url: str, **body: Any) -> Got:
    """Ask for a completion."""
    return send(url, "POST", "/v1/completions", {"model": MODEL, **body})


def test_a_prompt_is_completed(server: str) -> None:
    """An answer has the members of a text completion."""
    body = complete(server, prompt="Repeat exactly: one two").json()

    assert body.pop("id").startswith("cmpl-")
    assert isinstance(body.pop("created"), int)
    assert body == {
        "object": "text_completion",
        "model": MODEL,
        "choices": [{"text": "one two", "index": 0, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }


def test_several_prompts_have_their_choices_in_order(server: str) -> None:
    """Each prompt gives n choices, counted on from the prompt before."""
    body = complete(server, prompt=["Repeat exactly: a", "Repeat exactly: b"], n=2).json()

    found = [(choice["index"], choice["text"]) for choice in body["choices"]]
    assert found == [(0, "a"), (1, "a"), (2, "b"), (3, "b")]


def test_a_stream_says_the_same(server: str) -> None:
    """A stream has chunks of the same object, usage when asked for, and [DONE] at its end."""
    options = {"include_usage": True}
    asked = {"prompt": "Repeat exactly: one two", "stream": True, "stream_options": options}

    lines = complete(server, **asked).body.decode().split("\n\n")

    assert lines[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert "".join(c["text"] for chunk in chunks for c in chunk["choices"]) == "one two"
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["total_tokens"]) == ([], 7)


def test_sixteen_tokens_are_the_default(server: str) -> None:
    """Without max_tokens an answer ends after sixteen tokens."""
    body = complete(server, prompt="Count from 1 to 99").json()

    assert body["usage"]["completion_tokens"] == 16
    assert body["choices"][0]["finish_reason"] == "length"


def test_echo_and_logprobs_cover_the_prompt(server: str) -> None:
    """With echo the text begins with the prompt, and so do the tokens of logprobs."""
    choice = complete(server, prompt="Repeat exactly: x", echo=True, logprobs=1).json()["choices"][
        0
    ]

    assert choice["text"] == "Repeat exactly: xx"
    assert "".join(choice["logprobs"]["tokens"]) == choice["text"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": 1}, "prompt"),
        ({"prompt": ["a", [1]]}, "prompt[1]"),
        ({"prompt": "a", "temperature": 2.1}, "temperature"),
        ({"prompt": "a", "max_tokens": -1}, "max_tokens"),
        ({"prompt": "a", "max_tokens": 1.5}, "max_tokens"),
        ({"prompt": "a", "max_tokens": "10"}, "max_tokens"),
        ({"prompt": "a", "n": 2, "best_of": 1}, "best_of"),
        ({"prompt": "a", "model": "gpt-4o"}, "model"),
    ],
)
def test_what_breaks_a_rule_is_refused(server: str, body: Any, param: str) -> None:
    """A request that breaks a rule gets 400, and an error that names the field."""
    got = complete(server, **body)

    assert (got.status, got.json()["error"]["param"]) == (400, param)
