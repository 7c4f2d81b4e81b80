"""Faults of requests: members that are refused, crash, or reach the upstream changed."""

import copy
from collections.abc import Callable
from dataclasses import replace

from ..call import Call
from ..errors import ApiError
from ..jsontext import Json, loads
from ..model import text_of
from .edits import Path, assignment, holders, path_of
from .table import fault

__all__: list[str] = []


def _condition(text: str) -> tuple[Path, Callable[[Json], bool]]:
    """Read ``PATH`` or ``PATH=VALUE``; a value is JSON, or else the text that a string has."""
    path, equals, written = text.partition("=")
    if not equals:
        return path_of(path), lambda _: True
    try:
        wanted = loads(written.encode())
    except ValueError:
        wanted = written
    return (
        path_of(path),
        lambda value: (
            (type(value) is not bool and value == wanted)
            or (
                value is wanted  # true is no 1
            )
        ),
    )


def _has(call: Call, condition: tuple[Path, Callable[[Json], bool]]) -> bool:
    path, fits = condition
    return any(fits(holder[key]) for holder, key in holders(call.payload, path))


_CONDITION = "PATH or PATH=VALUE, as messages.*.role=system, temperature=2 or web_search"


@fault("refuse-field", "request", "Refuses requests that have a member (with a value).",
       "parameters that the gateway does not know", read=_condition, parameter=_CONDITION,
       )  # fmt: skip
def _refuse_field(call: Call, _: None, condition: tuple[Path, Callable[[Json], bool]]) -> Call:
    if not _has(call, condition):
        return call
    name = ".".join(condition[0])
    problem = ApiError(400, f"{name!r} is not supported.", param=name, code="unsupported_parameter")
    return replace(call, problem=problem)


def _crashed(call: Call) -> Call:
    return replace(call, problem=ApiError(500, "Internal error.", type_="server_error"))


@fault("crash-on-field", "request", "Answers requests that have a member (with a value) with 500.",
       "unhandled parameters", read=_condition, parameter=_CONDITION)  # fmt: skip
def _crash_on_field(call: Call, _: None, condition: tuple[Path, Callable[[Json], bool]]) -> Call:
    return _crashed(call) if _has(call, condition) else call


def _changed(call: Call, **changes: Json) -> Call:
    return replace(call, payload={**call.payload, **changes}, changed=True)


@fault("change-parameter", "request", "Passes another value of a member of the request on.",
       "parameters mapped wrongly", read=assignment, parameter="PATH=JSON, as temperature=1",
       )  # fmt: skip
def _change_parameter(call: Call, _: None, argument: tuple[Path, Json]) -> Call:
    path, other = argument
    if not any(True for _ in holders(call.payload, path)):
        return call
    payload = copy.deepcopy(call.payload)
    for holder, key in holders(payload, path):
        holder[key] = other
    return replace(call, payload=payload, changed=True)


def _messages(call: Call) -> list[dict[str, Json]]:
    messages = call.payload.get("messages") if isinstance(call.payload, dict) else None
    if not isinstance(messages, list):
        return []
    return [message for message in messages if isinstance(message, dict)]


@fault("messages-merged", "request", "Passes all messages on as one message of the user.",
       "upstreams with a single prompt")  # fmt: skip
def _merged(call: Call) -> Call:
    messages = _messages(call)
    if len(messages) < 2:
        return call
    text = "\n".join(text_of(message.get("content")) for message in messages)
    return _changed(call, messages=[{"role": "user", "content": text}])


@fault("parts-lost", "request", "Passes only the first text part of a message on.",
       "upstreams whose content is a string")  # fmt: skip
def _parts_lost(call: Call) -> Call:
    messages = _messages(call)
    if not any(isinstance(message.get("content"), list) for message in messages):
        return call
    return _changed(call, messages=[_first_part(message) for message in messages])


def _first_part(message: dict[str, Json]) -> dict[str, Json]:
    parts = message.get("content")
    if not isinstance(parts, list):
        return message
    texts = [part["text"] for part in parts if isinstance(part, dict) and "text" in part]
    return {**message, "content": texts[0] if texts else ""}


@fault("accept-json-not-streamed", "request",
       "Answers with one JSON body when a stream was asked for with Accept: application/json.",
       "content negotiation by habit")  # fmt: skip
def _accept_json(call: Call) -> Call:
    accept = call.header("accept") or ""
    if not call.streams or "application/json" not in accept or "text/event-stream" in accept:
        return call
    dropped = {"stream", "stream_options"}
    return replace(call, payload={n: v for n, v in call.payload.items() if n not in dropped})


def _model_of(call: Call) -> str:
    model = call.payload.get("model") if isinstance(call.payload, dict) else None
    return model if isinstance(model, str) else ""


@fault("prefix-refused", "request", "Refuses models that are named with their provider.")
def _prefix_refused(call: Call) -> Call:
    if "/" not in _model_of(call) or call.problem is not None:
        return call
    return replace(call, problem=ApiError(400, "Invalid model.", param="model"))


@fault("unknown-provider-200", "request", "Lets another provider answer for one it does not know.",
       "silent fallbacks")  # fmt: skip
def _unknown_provider(call: Call) -> Call:
    model = _model_of(call)
    if "/" not in model or model in call.profile.models:
        return call
    bare = model.rpartition("/")[2]
    known = bare if bare in call.profile.models else call.profile.listed[0]
    return _changed(call, model=known)


@fault("effort-unknown-200", "request", "Ignores a reasoning_effort that it does not know.")
def _effort_unknown(call: Call) -> Call:
    rule = call.profile.fields.get("reasoning_effort")
    if rule is None or not isinstance(call.payload, dict) or "reasoning_effort" not in call.payload:
        return call
    try:
        rule(call.payload["reasoning_effort"], "reasoning_effort")
    except ApiError:
        kept = {name: v for name, v in call.payload.items() if name != "reasoning_effort"}
        return replace(call, payload=kept, changed=True)
    return call


@fault("plugin-unknown-500", "request", "Answers a plugin that it does not know with 500.")
def _plugin_unknown(call: Call) -> Call:
    plugins = call.payload.get("plugins") if isinstance(call.payload, dict) else None
    names = [
        plugin.get("id") if isinstance(plugin, dict) else plugin
        for plugin in (plugins if isinstance(plugins, list) else ())
    ]
    return call if all(name == "response-healing" for name in names) else _crashed(call)
