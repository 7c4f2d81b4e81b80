"""Faults of tool calls: in deltas, in bodies, and in what is chosen to be called."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from ..call import Call
from ..chat import Choice, Completion, ToolCall
from ..jsontext import Json, dumps, loads
from ..script import Reply, Step
from .edits import choices_of, deltas_of, edit, edit_each, tool_calls_of
from .table import fault

__all__: list[str] = []


def _each_call(
    steps: Iterator[Step], change: Callable[[Json], None], *labels: str
) -> Iterator[Step]:
    def each(value: Json) -> None:
        for call in tool_calls_of(value):
            change(call)

    return edit_each(steps, each, *(labels or ("tool", "arguments")))


@fault("tool-index-missing", "chunks", "Leaves out the index of tool calls in deltas.",
       "converted streams")  # fmt: skip
def _index_missing(steps: Iterator[Step]) -> Iterator[Step]:
    return _each_call(steps, lambda call: call.pop("index", None))


@fault("tool-index-from-1", "chunks", "Counts tool calls in deltas from 1.")
def _index_from_1(steps: Iterator[Step]) -> Iterator[Step]:
    return _each_call(steps, lambda call: call.update(index=call["index"] + 1))


@fault("tool-index-same", "chunks", "Gives parallel tool calls the same index.",
       "calls that clients merge")  # fmt: skip
def _index_same(steps: Iterator[Step]) -> Iterator[Step]:
    return _each_call(steps, lambda call: call.update(index=0))


def _repeated(steps: Iterator[Step], *names: str) -> Iterator[Step]:
    """Repeat the id or the name of each call in its later deltas."""
    seen: dict[int, Json] = {}

    def change(call: Json) -> None:
        if "id" in call:
            seen[call["index"]] = call
            return
        first = seen[call["index"]]
        if "id" in names:
            call["id"] = first["id"]
        if "name" in names:
            call["function"]["name"] = first["function"]["name"]

    return _each_call(steps, change)


@fault("tool-id-repeated", "chunks", "Repeats a tool call's id in each of its deltas.",
       "ids that clients join")  # fmt: skip
def _id_repeated(steps: Iterator[Step]) -> Iterator[Step]:
    return _repeated(steps, "id")


@fault("tool-name-repeated", "chunks", "Repeats a tool call's name in each of its deltas.",
       "names that clients join")  # fmt: skip
def _name_repeated(steps: Iterator[Step]) -> Iterator[Step]:
    return _repeated(steps, "name")


@fault("tool-id-empty-later", "chunks", "Sends an empty id in a tool call's later deltas.",
       "converted streams")  # fmt: skip
def _id_empty_later(steps: Iterator[Step]) -> Iterator[Step]:
    return _each_call(steps, lambda call: call.update(id=""), "arguments")


@fault("tool-type-empty", "chunks", "Sends an empty type in a tool call's later deltas.")
def _type_empty(steps: Iterator[Step]) -> Iterator[Step]:
    return _each_call(steps, lambda call: call.update(type=""), "arguments")


@fault("tool-id-apart", "chunks", "Sends a tool call's id in one delta and its name in the next.")
def _id_apart(steps: Iterator[Step]) -> Iterator[Step]:
    def without_name(value: Json) -> None:
        for call in tool_calls_of(value):
            call["function"].pop("name", None)

    def without_id(value: Json) -> None:
        for call in tool_calls_of(value):
            call.pop("id", None)

    for step in steps:
        if step.label == "tool":
            yield edit(step, without_name)
            yield edit(step, without_id)
        else:
            yield step


@fault("tool-args-object", "reply", "Sends the arguments of a tool call as an object.",
       "upstreams whose arguments are objects")  # fmt: skip
def _args_object(reply: Reply) -> Reply:
    if reply.events is not None:
        return replace(reply, events=_object_stream(reply.events))
    for call in tool_calls_of(reply.body):
        call["function"]["arguments"] = loads(call["function"]["arguments"].encode())
    return reply


def _object_stream(steps: Iterator[Step]) -> Iterator[Step]:
    held = list(steps)
    parts: dict[int, str] = {}
    for step in held:
        if step.label == "arguments":
            for call in tool_calls_of(loads(step.data)):
                index = call["index"]
                parts[index] = parts.get(index, "") + call["function"]["arguments"]

    def change(value: Json) -> None:
        for call in tool_calls_of(value):
            call["function"]["arguments"] = loads(parts.get(call["index"], "{}").encode())

    for step in held:
        if step.label == "tool":
            yield edit(step, change)
        elif step.label != "arguments":
            yield step


def _called(completion: Completion, change: Callable[[ToolCall], ToolCall]) -> Completion:
    def each(choice: Choice) -> Choice:
        return replace(choice, calls=tuple(change(call) for call in choice.calls))

    return replace(completion, choices=tuple(each(choice) for choice in completion.choices))


@fault("tool-args-cut", "completion", "Loses the end of a tool call's arguments.",
       "arguments that are not JSON")  # fmt: skip
def _args_cut(completion: Completion) -> Completion:
    return _called(completion, lambda call: replace(call, arguments=call.arguments[:-1]))


@fault("tool-args-empty", "completion", "Sends an empty string where there are no arguments.",
       "functions without parameters")  # fmt: skip
def _args_empty(completion: Completion) -> Completion:
    return _called(
        completion, lambda call: replace(call, arguments="") if call.arguments == "{}" else call
    )


@fault("tool-args-array", "completion", "Sends arguments that are a JSON array.")
def _args_array(completion: Completion) -> Completion:
    return _called(completion, lambda call: replace(call, arguments=f"[{call.arguments}]"))


@fault("tool-args-off-schema", "completion",
       "Sends arguments that do not fit the function's schema.")  # fmt: skip
def _args_off_schema(completion: Completion) -> Completion:
    return _called(completion, lambda call: replace(call, arguments='{"unasked":[null]}'))


@fault("tool-name-unknown", "completion", "Calls a function that was not offered.")
def _name_unknown(completion: Completion) -> Completion:
    return _called(completion, lambda call: replace(call, name="not_offered"))


@fault("tool-ids-duplicate", "completion", "Gives all tool calls of an answer the same id.")
def _ids_duplicate(completion: Completion) -> Completion:
    return _called(completion, lambda call: replace(call, id="call_0"))


@fault("tool-id-empty", "completion", "Gives tool calls an empty id.")
def _id_empty(completion: Completion) -> Completion:
    return _called(completion, lambda call: replace(call, id=""))


@fault("tool-finish-stop", "completion", "Finishes an answer that has tool calls with stop.",
       "agents that stop too early")  # fmt: skip
def _finish_stop(completion: Completion) -> Completion:
    choices = tuple(
        replace(choice, finish="stop") if choice.calls else choice for choice in completion.choices
    )
    return replace(completion, choices=choices)


def _messages(value: Json) -> list[Json]:
    return [choice["message"] for choice in choices_of(value) if "message" in choice]


@fault("tool-content-missing", "json", "Leaves content out of a message that has tool calls.")
def _content_missing(value: Json) -> Json:
    for message in _messages(value):
        if message.get("tool_calls"):
            message.pop("content", None)
    return value


@fault("tool-type-missing", "json", "Leaves the type out of tool calls.")
def _type_missing(value: Json) -> Json:
    for call in tool_calls_of(value):
        call.pop("type", None)
    return value


@fault("tool-index-nonstream", "json", "Gives the tool calls of a body an index.")
def _index_nonstream(value: Json) -> Json:
    for message in _messages(value):
        for place, call in enumerate(message.get("tool_calls") or ()):
            call["index"] = place
    return value


@fault("tool-calls-null", "json", "Sends tool_calls: null where there are none.")
def _calls_null(value: Json) -> Json:
    for message in _messages(value):
        message.setdefault("tool_calls", None)
    return value


@fault("tool-calls-as-text", "reply", "Writes tool calls into the text of the answer.",
       "models without a tool parser")  # fmt: skip
def _calls_as_text(reply: Reply) -> Reply:
    if reply.events is not None:
        return replace(reply, events=_texted(reply.events))
    for choice in choices_of(reply.body):
        message = choice.get("message", {})
        if calls := message.pop("tool_calls", None):
            message["content"] = f"<tool_call>{dumps(calls[0]['function']).decode()}</tool_call>"
            choice["finish_reason"] = "stop"
    return reply


def _texted(steps: Iterator[Step]) -> Iterator[Step]:
    def change(value: Json) -> None:
        for delta in deltas_of(value):
            for call in delta.pop("tool_calls", ()):
                function = call["function"]
                name = f"<tool_call>{function['name']}" if "name" in function else ""
                delta["content"] = name + function.get("arguments", "")

    def stop(value: Json) -> None:
        for choice in choices_of(value):
            choice["finish_reason"] = "stop"

    called = False
    for step in steps:
        if step.label in {"tool", "arguments"}:
            called = True
            yield edit(step, change)
        elif step.label == "finish" and called:
            yield edit(step, stop)
        else:
            yield step


# What is chosen to be called


def _asked(call: Call, **changes: Json) -> Call:
    return replace(call, payload={**call.payload, **changes}, changed=True)


def _without(call: Call, *names: str) -> Call:
    if not isinstance(call.payload, dict) or not any(name in call.payload for name in names):
        return call
    payload = {name: value for name, value in call.payload.items() if name not in names}
    return replace(call, payload=payload, changed=True)


def _choice_of(call: Call) -> Json:
    return call.payload.get("tool_choice") if isinstance(call.payload, dict) else None


@fault("tool-choice-none-ignored", "request", "Calls a tool although tool_choice is none.")
def _none_ignored(call: Call) -> Call:
    if _choice_of(call) != "none" or not call.payload.get("tools"):
        return call
    return _asked(call, tool_choice="required")


@fault("tool-choice-required-ignored", "request", "Answers in text although a call is required.",
       "upstreams that know only auto")  # fmt: skip
def _required_ignored(call: Call) -> Call:
    return _without(call, "tools", "tool_choice") if _choice_of(call) == "required" else call


@fault("tool-choice-named-ignored", "request", "Answers in text although a function is named.",
       "upstreams that know only auto")  # fmt: skip
def _named_ignored(call: Call) -> Call:
    return _without(call, "tools", "tool_choice") if isinstance(_choice_of(call), dict) else call


@fault("tool-choice-named-other", "request", "Calls another function than the one named.")
def _named_other(call: Call) -> Call:
    choice = _choice_of(call)
    if not isinstance(choice, dict) or not isinstance(choice.get("function"), dict):
        return call
    others = [
        tool["function"]["name"]
        for tool in call.payload.get("tools") or ()
        if isinstance(tool, dict)
        and isinstance(tool.get("function"), dict)
        and tool["function"].get("name") != choice["function"].get("name")
    ]
    if not others:
        return call
    return _asked(call, tool_choice={"type": "function", "function": {"name": others[0]}})


@fault("parallel-tool-calls-ignored", "request",
       "Makes several calls although parallel_tool_calls is false.")  # fmt: skip
def _parallel_ignored(call: Call) -> Call:
    return _without(call, "parallel_tool_calls")


@fault("tools-dropped", "request", "Does not pass tools on.", "parameters lost on the way")
def _tools_dropped(call: Call) -> Call:
    return _without(call, "tools", "tool_choice", "parallel_tool_calls")


def _has_result(call: Call) -> bool:
    messages = call.payload.get("messages") if isinstance(call.payload, dict) else None
    return isinstance(messages, list) and any(
        isinstance(message, dict) and message.get("role") == "tool" for message in messages
    )


@fault("tool-roundtrip-refused", "reply", "Refuses a conversation that has tool results.",
       "conversions that miss a role")  # fmt: skip
def _roundtrip_refused(reply: Reply, call: Call) -> Reply:
    if reply.error or not _has_result(call):
        return reply
    error = {
        "message": "Unsupported role: tool.", "type": "invalid_request_error",
        "param": "messages", "code": None,
    }  # fmt: skip
    headers = reply.with_header("Content-Type", "application/json")
    return replace(
        reply, status=400, headers=headers, body={"error": error}, events=None, error=True
    )


@fault("tool-orphan-500", "reply", "Fails with 500 at a tool result that answers no call.")
def _orphan_500(reply: Reply, call: Call) -> Reply:
    if not reply.error or reply.status != 400 or not _has_result(call):
        return reply
    return replace(reply, status=500)


@fault("tool-result-dropped", "request", "Passes tool results on without their content.",
       "conversions that lose content")  # fmt: skip
def _result_dropped(call: Call) -> Call:
    if not _has_result(call):
        return call
    messages = [
        {**message, "content": ""}
        if isinstance(message, dict) and message.get("role") == "tool"
        else message
        for message in call.payload["messages"]
    ]
    return _asked(call, messages=messages)


@fault("content-null-refused", "reply", "Refuses history whose content is null beside tool calls.",
       "strict schemas")  # fmt: skip
def _null_refused(reply: Reply, call: Call) -> Reply:
    messages = call.payload.get("messages") if isinstance(call.payload, dict) else ()
    nulls = isinstance(messages, list) and any(
        isinstance(m, dict) and m.get("tool_calls") and m.get("content", "") is None
        for m in messages
    )
    if reply.error or not nulls:
        return reply
    error = {
        "message": "content must not be null.", "type": "invalid_request_error",
        "param": "messages", "code": "invalid_type",
    }  # fmt: skip
    headers = reply.with_header("Content-Type", "application/json")
    return replace(
        reply, status=400, headers=headers, body={"error": error}, events=None, error=True
    )
