"""Oddities of the server: what is legal and rare must not trouble this client either.

Under each of them the client has to get what it gets from the healthy server. An oddity that fails
here is misfiled: it is a fault.
"""

import functools
from typing import Any

import anthropic
from anthropic import Anthropic

MODEL = "claude-sonnet-4-6"
TEXT = "Repeat exactly: Ein «Gruß» – 漢字, 🙂 and\nthe rest.\u2028End"
TOOL = {
    "name": "f",
    "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}},
}


def _told(message: Any) -> list[Any]:
    # A user reads texts and uses; blocks that are empty, or of a type not known, he passes over.
    text = "".join(block.text for block in message.content if block.type == "text")
    uses = [(block.name, block.input) for block in message.content if block.type == "tool_use"]
    return [text, uses, message.stop_reason, message.role, message.usage.output_tokens]


def observe(client: Anthropic) -> dict[str, Any]:
    """Return what a user of the client sees in each kind of answer."""
    text = {"model": MODEL, "max_tokens": 2000, "messages": [{"role": "user", "content": TEXT}]}
    use = 'Call f with {"a":"ü🙂"} and Call f with {"a":"b"}'
    tools = {**text, "messages": [{"role": "user", "content": use}], "tools": [TOOL]}
    seen: dict[str, Any] = {}
    for name, request in {"text": text, "tools": tools}.items():
        seen[name] = _told(client.messages.create(**request))
        with client.messages.stream(**request) as stream:
            seen[f"{name} stream"] = _told(stream.get_final_message())
    seen["models"] = [model.id for model in client.models.list()]
    seen["count"] = client.messages.count_tokens(
        model=MODEL, messages=[{"role": "user", "content": TEXT}]
    ).input_tokens
    try:
        client.messages.create(**{**text, "model": "no-such-model"})
    except anthropic.NotFoundError as error:
        seen["error"] = error.body["error"]
    return seen


@functools.cache
def _healthy(client: Anthropic) -> dict[str, Any]:
    return observe(client)


def test_oddity_changes_nothing(client: Anthropic, url: str, oddity: str) -> None:
    """Under an oddity every kind of answer says what it says without."""
    odd = client.with_options(base_url=f"{url}/with/{oddity}/anthropic")

    assert observe(odd) == _healthy(client)
