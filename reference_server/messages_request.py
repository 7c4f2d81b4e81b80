"""Requests for Anthropic's Messages: their rules, and how they become requests of the model.

The model inside knows chats only, so a request is validated by its own rules and then put in a
chat's terms: the same deterministic answers come out of both. Anything refused names its place.
Sources: Anthropic's API reference, Messages, and the types of its clients of August to October
2026. Version 2026-10-21 is known from the clients only; it differs in one role of messages here.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from .anthropic import VERSIONS
from .errors import ApiError
from .jsontext import Json
from .model import text_of
from .rules import (
    Rule,
    boolean,
    by_type,
    list_of,
    nullable,
    number,
    object_,
    one_of,
    text,
    wrong_type,
)
from .validate import check_fields, function_name

__all__ = ["MESSAGE_FIELDS", "as_chat", "check_count", "check_messages", "signature"]

_any_object: Rule = object_({})
_IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_SOURCES: dict[str, Rule] = {
    "base64": object_({"media_type": text(), "data": text()}),
    "url": object_({"url": text()}),
    "file": object_({"file_id": text()}),
    "text": object_({"data": text()}),
    "content": _any_object,
}
_IMAGE_SOURCES: dict[str, Rule] = {
    **{name: _SOURCES[name] for name in ("url", "file")},
    "base64": object_({"media_type": one_of(*_IMAGE_TYPES), "data": text()}),
}
_TEXT = object_({"text": text()})
_IMAGE = object_({"source": by_type(_IMAGE_SOURCES)})
_DOCUMENT = object_({"source": by_type(_SOURCES)})


def _text_or(rule: Rule) -> Rule:
    def check(value: Json, param: str) -> None:
        if isinstance(value, str):
            return
        if not isinstance(value, list):
            raise wrong_type(param, "a string or an array of blocks", value)
        list_of(rule)(value, param)

    return check


_RESULT_CONTENT = _text_or(
    by_type(
        {
            "text": _TEXT,
            "image": _IMAGE,
            "document": _DOCUMENT,
            "search_result": _any_object,
            "tool_reference": _any_object,
        }
    )
)
_BLOCKS: dict[str, Rule] = {
    "text": _TEXT,
    "image": _IMAGE,
    "document": _DOCUMENT,
    "search_result": _any_object,
    "tool_use": object_({"id": text(), "name": text(), "input": _any_object}),
    "tool_result": object_(
        {"tool_use_id": text()}, {"content": _RESULT_CONTENT, "is_error": nullable(boolean)}
    ),
    "thinking": object_({"thinking": text(), "signature": text()}),
    "redacted_thinking": object_({"data": text()}),
}
_OF_THE_ASSISTANT = frozenset({"text", "tool_use", "thinking", "redacted_thinking"})
_MESSAGE = object_(
    {"role": one_of("user", "assistant", "system"), "content": _text_or(by_type(_BLOCKS))}
)


def _tool(value: Json, param: str) -> None:
    """Accept a tool of the client's, or one of the service's own, which has a type."""
    object_({"name": text()}, {"type": nullable(text()), "description": text()})(value, param)
    if value.get("type") in (None, "custom"):
        function_name(value["name"], f"{param}.name")
        schema = object_({"type": one_of("object")})
        object_({"input_schema": schema})(value, param)


_PARALLEL: dict[str, Rule] = {"disable_parallel_tool_use": boolean}
_CHOICE = by_type(
    {
        "auto": object_({}, _PARALLEL),
        "any": object_({}, _PARALLEL),
        "tool": object_({"name": text()}, _PARALLEL),
        "none": _any_object,
    }
)
_THINKING = by_type(
    {
        "enabled": object_({"budget_tokens": number(1024, whole=True)}),
        "disabled": _any_object,
        "adaptive": _any_object,
        "between_tools": _any_object,
    }
)
_FORMAT = by_type({"json_schema": object_({"schema": _any_object})})
_EFFORTS = ("low", "medium", "high", "xhigh", "max")

_COUNTED: dict[str, Rule] = {
    "model": text(),
    "messages": list_of(_MESSAGE, 1, 100_000),
    "system": _text_or(by_type({"text": _TEXT})),
    "tools": list_of(_tool),
    "tool_choice": _CHOICE,
    "thinking": _THINKING,
    "output_config": object_(
        {}, {"effort": nullable(one_of(*_EFFORTS)), "format": nullable(_FORMAT)}
    ),
}
MESSAGE_FIELDS: dict[str, Rule] = {
    **_COUNTED,
    "max_tokens": number(0, whole=True),
    "stream": boolean,
    "stop_sequences": list_of(text()),
    "temperature": number(0, 1),
    "top_p": number(0, 1),
    "top_k": number(0, whole=True),
    "metadata": object_({}, {"user_id": nullable(text(256))}),
    "service_tier": one_of("auto", "standard_only"),
}
"""Every field of a request that is looked at, and its rule."""


def _blocks(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def signature(thinking: str) -> str:
    """Return the seal of a thought, by which it is known when the next turn sends it back."""
    digest = hashlib.blake2b(thinking.encode("utf-8", "replace"), key=b"thought", digest_size=48)
    return base64.b64encode(digest.digest()).decode()


def _check_blocks(messages: Sequence[Mapping[str, Any]]) -> None:
    """Hold blocks to their roles, results to the uses before them, thoughts to their seals."""
    open_ids: list[str] = []
    for place, message in enumerate(messages):
        uses: list[str] = []
        for number_, block in enumerate(_blocks(message)):
            where = f"messages.{place}.content.{number_}"
            kind = block["type"]
            if message["role"] == "assistant" and kind not in _OF_THE_ASSISTANT:
                raise ApiError(400, f"{where}: an assistant's message has no {kind}.")
            if message["role"] != "assistant" and kind in _OF_THE_ASSISTANT - {"text"}:
                raise ApiError(400, f"{where}: only an assistant's message has {kind}.")
            if kind == "tool_use":
                uses.append(block["id"])
            elif kind == "tool_result":
                if block["tool_use_id"] not in open_ids:
                    raise ApiError(
                        400,
                        f"{where}: the tool_use_id {block['tool_use_id'][:80]!r} is that of no "
                        "tool_use block in the message before.",
                    )
                open_ids.remove(block["tool_use_id"])
            elif kind == "thinking" and block["signature"] != signature(block["thinking"]):
                raise ApiError(400, f"{where}: the signature of the thinking block is not valid.")
        if open_ids:
            raise _unanswered(place, open_ids)
        open_ids = uses
    if open_ids:
        raise _unanswered(len(messages), open_ids)


def _unanswered(place: int, ids: Sequence[str]) -> ApiError:
    return ApiError(
        400,
        f"messages.{place}: each tool_use block needs a tool_result block in the next message. "
        f"Without one: {', '.join(ids)[:200]}.",
    )


def _check_choice(payload: Mapping[str, Any]) -> None:
    choice = payload.get("tool_choice") or {"type": "auto"}
    names = [tool["name"] for tool in payload.get("tools") or ()]
    if len(set(names)) < len(names):
        raise ApiError(400, "tools: the names of tools must differ.")
    if choice["type"] in {"any", "tool"} and not names:
        raise ApiError(400, "tool_choice: a tool can only be chosen from 'tools'.")
    if choice["type"] == "tool" and choice["name"] not in names:
        raise ApiError(400, f"tool_choice: the tool {choice['name'][:80]!r} is not in 'tools'.")


def check_count(payload: Mapping[str, Any], version: str) -> None:
    """Refuse a request to count that breaks a rule."""
    check_fields(payload, _COUNTED, "model", "messages")
    _check_input(payload, version)


def check_messages(payload: Mapping[str, Any], version: str) -> None:
    """Refuse a request for an answer that breaks a rule of a field or between fields."""
    check_fields(payload, MESSAGE_FIELDS, "model", "messages", "max_tokens")
    _check_input(payload, version)
    if payload.get("thread") is not None:
        # Later clients go on without threads, if they are refused in these very words; a thread
        # that is ignored would lose the conversation (measured with anthropic-sdk-python 2.11.0).
        raise ApiError(
            400,
            "thread: message threads are not supported here.",
            details={"error_code": "thread_unsupported_request", "unsupported": ["thread"]},
        )
    thinking = payload.get("thinking") or {}
    if thinking.get("type") == "enabled" and thinking["budget_tokens"] >= payload["max_tokens"]:
        raise ApiError(400, "thinking.budget_tokens must be less than max_tokens.")


def _check_input(payload: Mapping[str, Any], version: str) -> None:
    for place, message in enumerate(payload["messages"]):
        if message["role"] == "system" and version == VERSIONS[0]:
            raise ApiError(
                400,
                f"messages.{place}.role: expected user or assistant; instructions go into the "
                "top-level 'system' in this version.",
            )
    _check_blocks(payload["messages"])
    _check_choice(payload)


def _tool_message(block: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "role": "tool",
        "tool_call_id": block["tool_use_id"],
        "content": text_of(block.get("content", "")),
    }


def _as_chat_messages(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    role = message["role"]
    blocks = _blocks(message)
    if role == "assistant":
        calls = [
            {
                "id": block["id"],
                "type": "function",
                "function": {
                    "name": block["name"],
                    "arguments": orjson.dumps(block["input"]).decode(),
                },
            }
            for block in blocks
            if block["type"] == "tool_use"
        ]
        content = "".join(block["text"] for block in blocks if block["type"] == "text")
        return [{"role": role, "content": content, **({"tool_calls": calls} if calls else {})}]
    results = [_tool_message(block) for block in blocks if block["type"] == "tool_result"]
    parts = [block for block in blocks if block["type"] != "tool_result"]
    return [*results, *([{"role": role, "content": parts}] if parts or not results else [])]


_MODES = {"auto": "auto", "any": "required", "none": "none"}


def as_chat(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Put a validated request in the terms of a chat."""
    messages = [part for message in payload["messages"] for part in _as_chat_messages(message)]
    if payload.get("system"):
        messages.insert(0, {"role": "system", "content": text_of(payload["system"])})
    chat: dict[str, Any] = {"model": payload["model"], "messages": messages}
    for name in ("temperature", "top_p", "top_k"):
        if name in payload:
            chat[name] = payload[name]
    if "max_tokens" in payload:
        chat["max_tokens"] = payload["max_tokens"]
    if payload.get("stop_sequences"):
        chat["stop"] = payload["stop_sequences"]
    tools = [tool for tool in payload.get("tools") or () if "input_schema" in tool]
    if tools:
        chat["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool["name"],
                    "description": tool.get("description", ""),
                    "parameters": tool["input_schema"],
                },
            }
            for tool in tools
        ]
    choice = payload.get("tool_choice")
    if choice is not None and tools:
        if choice["type"] == "tool":
            chat["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
        else:
            chat["tool_choice"] = _MODES[choice["type"]]
        if choice.get("disable_parallel_tool_use"):
            chat["parallel_tool_calls"] = False
    config = payload.get("output_config") or {}
    if config.get("effort"):
        chat["reasoning_effort"] = config["effort"]
    if config.get("format"):
        schema = {"name": "answer", "schema": config["format"]["schema"]}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    return chat
