"""Validation of chat requests: a table of fields, each with its rule, and rules between fields.

Ranges and types are those of the upstream's definition; a profile may replace or add rows.
A field that the table does not know is ignored, streamed or not. ``null`` stands for an absent
value only where the upstream's definition says so.
Anything refused is a 400 that names the field in ``param``; nothing here may raise otherwise.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import ApiError
from .jsontext import Json
from .rules import (
    Rule,
    boolean,
    by_type,
    list_of,
    map_of,
    missing,
    nullable,
    number,
    object_,
    one_of,
    text,
    wrong_type,
    wrong_value,
)

__all__ = ["CHAT_FIELDS", "check_chat", "check_fields", "function_name", "stop_strings"]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _object(value: Json, param: str) -> None:
    object_({})(value, param)


def function_name(value: Json, param: str) -> None:
    """Accept a name that a function or a tool may have."""
    text()(value, param)
    if not _NAME.fullmatch(value):
        raise wrong_value(param, "1 to 64 of the characters a-z, A-Z, 0-9, _ and -")


def stop_strings(value: Json, param: str) -> None:
    """Accept a text, or up to four."""
    if isinstance(value, str):
        return
    if not isinstance(value, list):
        raise wrong_type(param, "a string or an array", value)
    list_of(text(), 1, 4)(value, param)


_TEXT_PART = object_({"text": text()})
_FUNCTION = object_({"name": function_name, "arguments": text()})
_PARTS: dict[str, Rule] = {
    "text": _TEXT_PART,
    "image_url": object_(
        {"image_url": object_({"url": text()}, {"detail": one_of("auto", "low", "high")})}
    ),
    "input_audio": object_(
        {"input_audio": object_({"data": text(), "format": one_of("wav", "mp3")})}
    ),
    "file": object_({"file": _object}),
}


def _content(parts: Mapping[str, Rule]) -> Rule:
    rule = list_of(by_type(parts), 1)

    def check(value: Json, param: str) -> None:
        if isinstance(value, str):
            return
        if not isinstance(value, list):
            raise wrong_type(param, "a string or an array of parts", value)
        rule(value, param)

    return check


_ONLY_TEXT = _content({"text": _TEXT_PART})
_TOOL_CALL = by_type(
    {
        "function": object_({"id": text(), "function": _FUNCTION}),
        "custom": object_({"id": text(), "custom": _object}),
    }
)
_NAMED = {"name": text()}
_ROLES: dict[str, Rule] = {
    "system": object_({"content": _ONLY_TEXT}, _NAMED),
    "developer": object_({"content": _ONLY_TEXT}, _NAMED),
    "user": object_({"content": _content(_PARTS)}, _NAMED),
    "assistant": object_(
        {},
        {
            "content": nullable(
                _content({"text": _TEXT_PART, "refusal": object_({"refusal": text()})})
            ),
            "refusal": nullable(text()),
            "tool_calls": list_of(_TOOL_CALL, 1),
            **_NAMED,
        },
    ),
    "tool": object_({"content": _ONLY_TEXT, "tool_call_id": text()}),
    "function": object_({"content": nullable(text()), "name": text()}),
}


def _message(value: Json, param: str) -> None:
    object_({"role": one_of(*_ROLES)})(value, param)
    _ROLES[value["role"]](value, param)
    if (
        value["role"] == "assistant"
        and value.get("content") is None
        and not value.get("tool_calls")
        and not value.get("refusal")
        and not value.get("function_call")
    ):
        raise ApiError(
            400,
            f"'{param}' has neither content nor tool_calls.",
            param=f"{param}.content",
            code="missing_required_parameter",
        )


_TOOL = by_type(
    {
        "function": object_(
            {
                "function": object_(
                    {"name": function_name},
                    {"description": text(), "parameters": _object, "strict": nullable(boolean)},
                )
            }
        ),
        "custom": object_({"custom": object_({"name": text()})}),
    }
)
_NAMED_CHOICE = by_type(
    {
        "function": object_({"function": object_({"name": text()})}),
        "custom": object_({"custom": object_({"name": text()})}),
        "allowed_tools": object_(
            {
                "allowed_tools": object_(
                    {"mode": one_of("auto", "required"), "tools": list_of(_object, 1)}
                )
            }
        ),
    }
)


def _tool_choice(value: Json, param: str) -> None:
    if isinstance(value, str):
        one_of("none", "auto", "required")(value, param)
    elif isinstance(value, dict):
        _NAMED_CHOICE(value, param)
    else:
        raise wrong_type(param, "a string or an object", value)


_FORMAT = by_type(
    {
        "text": _object,
        "json_object": _object,
        "json_schema": object_(
            {
                "json_schema": object_(
                    {"name": function_name},
                    {"schema": _object, "description": text(), "strict": nullable(boolean)},
                )
            }
        ),
    }
)

CHAT_FIELDS: dict[str, Rule] = {
    "model": text(),
    "messages": list_of(_message, 1),
    "stream": nullable(boolean),
    "stream_options": nullable(
        object_({}, {"include_usage": boolean, "include_obfuscation": boolean})
    ),
    "temperature": nullable(number(0, 2)),
    "top_p": nullable(number(0, 1)),
    "n": nullable(number(1, 128, whole=True)),
    "stop": nullable(stop_strings),
    "max_tokens": nullable(number(1, whole=True)),
    "max_completion_tokens": nullable(number(1, whole=True)),
    "presence_penalty": nullable(number(-2, 2)),
    "frequency_penalty": nullable(number(-2, 2)),
    "logit_bias": nullable(map_of(number(-100, 100))),
    "logprobs": nullable(boolean),
    "top_logprobs": nullable(number(0, 20, whole=True)),
    "seed": nullable(number(whole=True)),
    "user": text(),
    "safety_identifier": text(64),
    "prompt_cache_key": text(),
    "response_format": _FORMAT,
    "tools": list_of(_TOOL, 0, 128),
    "tool_choice": _tool_choice,
    "parallel_tool_calls": boolean,
    "reasoning_effort": nullable(
        one_of("none", "minimal", "low", "medium", "high", "xhigh", "max")
    ),
    "verbosity": nullable(one_of("low", "medium", "high")),
    "service_tier": nullable(one_of("auto", "default", "flex", "scale", "priority", "fast")),
    "modalities": nullable(list_of(one_of("text", "audio"), 1)),
    "store": nullable(boolean),
    "metadata": nullable(map_of(text(512), 16, 64)),
    "web_search_options": object_({}, {"search_context_size": one_of("low", "medium", "high")}),
}
"""Every documented field of a chat request that the server looks at, and its rule."""


def _check_pairing(messages: Sequence[Mapping[str, Any]]) -> None:
    """Hold tool results to the calls before them, and calls to the results after them."""
    open_ids: list[str] = []
    for place, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_ids:
                raise ApiError(
                    400,
                    f"messages[{place}] has the role 'tool' but answers no tool call of the "
                    "assistant message before it.",
                    param=f"messages[{place}].tool_call_id",
                )
            open_ids.remove(message["tool_call_id"])
            continue
        if open_ids:
            raise _unanswered(place, open_ids)
        open_ids = [call["id"] for call in message.get("tool_calls") or ()]
    if open_ids:
        raise _unanswered(len(messages), open_ids)


def _unanswered(place: int, ids: Sequence[str]) -> ApiError:
    return ApiError(
        400,
        "An assistant message with 'tool_calls' must be followed by a tool message for each "
        f"call. Without one: {', '.join(ids)[:200]}.",
        param=f"messages[{place}]",
    )


def _check_tool_choice(payload: Mapping[str, Any]) -> None:
    choice = payload.get("tool_choice")
    if choice in (None, "none", "auto"):
        return
    tools = payload.get("tools") or ()
    if not tools:
        raise ApiError(
            400, "'tool_choice' can only be given together with 'tools'.", param="tool_choice"
        )
    if not isinstance(choice, dict):
        return
    names = {tool[tool["type"]]["name"] for tool in tools}
    if choice["type"] == "allowed_tools":
        wanted = [
            tool["function"]["name"]
            for tool in choice["allowed_tools"]["tools"]
            if isinstance(tool.get("function"), dict) and "name" in tool["function"]
        ]
    else:
        wanted = [choice[choice["type"]]["name"]]
    for name in wanted:
        if name not in names:
            raise ApiError(400, f"Tool choice {name!r} not found in 'tools'.", param="tool_choice")


def check_fields(payload: Mapping[str, Any], fields: Mapping[str, Rule], *required: str) -> None:
    """Refuse a request that lacks a field, or has one that breaks its rule."""
    for name in required:
        if name not in payload:
            raise missing(name)
    for name, value in payload.items():
        rule = fields.get(name)
        if rule is not None:
            rule(value, name)


def check_chat(payload: Mapping[str, Any], fields: Mapping[str, Rule]) -> None:
    """Refuse a chat request that breaks a rule of a field or between fields."""
    check_fields(payload, fields, "model", "messages")
    if payload.get("stream_options") is not None and not payload.get("stream"):
        raise ApiError(
            400,
            "'stream_options' can only be given when 'stream' is true.",
            param="stream_options",
        )
    if payload.get("top_logprobs") is not None and not payload.get("logprobs"):
        raise ApiError(
            400, "'top_logprobs' can only be given when 'logprobs' is true.", param="top_logprobs"
        )
    if "audio" in (payload.get("modalities") or ()):
        raise ApiError(400, "No model here produces audio.", param="modalities")
    _check_tool_choice(payload)
    _check_pairing(payload["messages"])
