"""Oddities of the server: legal, and by definition tolerated by the official clients.

Under each of them the client has to get what it gets from the healthy server. An oddity that fails
here is misfiled: it is a fault.
"""

import functools
from typing import Any

import openai
import pytest
from openai import OpenAI

PROFILES = {
    "openai/v1": "gpt-4o-mini",
    "osmapi/v1": "openai/gpt-4o-mini",
    "losi/api/v1": "losi-omega",
    "lunos/v1": "openai/gpt-4o-mini",
    "omai/v1": "omai-gpt-4",
}
TEXT = "Repeat exactly: Ein «Gruß» – 漢字, 🙂 and\nthe rest.\u2028End"
TOOL = {
    "type": "function",
    "function": {
        "name": "f",
        "parameters": {"type": "object", "properties": {"a": {"type": "string"}}},
    },
}


def _streamed(client: OpenAI, **wanted: Any) -> list[Any]:
    with client.chat.completions.stream(stream_options={"include_usage": True}, **wanted) as stream:
        final = stream.get_final_completion()
    return [
        (
            choice.index,
            choice.finish_reason,
            choice.message.role,
            choice.message.content,
            [
                (call.type, call.function.name, call.function.arguments)
                for call in choice.message.tool_calls or ()
            ],
        )
        for choice in final.choices
    ] + [final.usage.total_tokens]


def observe(client: OpenAI, path: str, model: str) -> dict[str, Any]:
    """Return what a user of the client sees: of OpenAI each kind of answer, of others some."""
    seen: dict[str, Any] = {}
    text = {"model": model, "messages": [{"role": "user", "content": TEXT}]}
    whole = client.chat.completions.create(**text)
    seen["body"] = (
        whole.choices[0].message.content,
        whole.choices[0].finish_reason,
        whole.usage.total_tokens,
    )
    seen["stream"] = _streamed(client, **text)
    try:
        client.chat.completions.create(**{**text, "model": "no-such-model"})
    except openai.APIStatusError as error:
        seen["error"] = (error.status_code, error.code, error.type, error.body["message"])
    if path != "openai/v1":
        return seen
    use = 'Call f with {"a":"ü🙂"} and Call f with {"a":"b"}'
    tools = {"model": model, "messages": [{"role": "user", "content": use}], "tools": [TOOL]}
    seen["choices"] = _streamed(client, **text, n=2)
    seen["tools"] = _streamed(client, **tools)
    called = client.chat.completions.create(**tools)
    seen["calls"] = [
        (call.function.name, call.function.arguments)
        for call in called.choices[0].message.tool_calls
    ]
    logged = client.chat.completions.create(**text, logprobs=True, stream=True)
    seen["logprobs"] = [
        token.token
        for chunk in logged
        for choice in chunk.choices
        if choice.logprobs
        for token in choice.logprobs.content or ()
    ]
    seen["models"] = [model.id for model in client.models.list()]
    embedded = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
    seen["embeddings"] = [item.embedding[:4] for item in embedded.data]
    return seen


@functools.cache
def _healthy(client: OpenAI, url: str, path: str, model: str) -> dict[str, Any]:
    return observe(client.with_options(base_url=f"{url}/{path}"), path, model)


@pytest.mark.parametrize(("path", "model"), list(PROFILES.items()), ids=str)
def test_oddity_changes_nothing(
    client: OpenAI, url: str, path: str, model: str, oddity: str
) -> None:
    """Under an oddity every kind of answer says what it says without."""
    odd = client.with_options(base_url=f"{url}/with/{oddity}/{path}")

    assert observe(odd, path, model) == _healthy(client, url, path, model)
