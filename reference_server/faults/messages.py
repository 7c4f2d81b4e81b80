"""Faults and oddities of Anthropic's Messages: its events, blocks and counts.

They look for what only this dialect has (events that begin with their type, a message's members),
so they leave answers of the other one alone. Many faults of chats act here as well: those of
completions, errors, framing and transport.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from ..anthropic import speaks_messages
from ..call import Call
from ..errors import ApiError
from ..jsontext import Json, dumps, loads
from ..script import JSON, Reply, Step
from .edits import edit
from .table import fault, oddity

__all__ = ["here", "refused"]

_KEPT = frozenset({"x-request-id", "request-id", "date", "server"})


def here(call: Call) -> bool:
    """Tell whether a call is in this dialect."""
    return speaks_messages(call.profile.name, call.route)


def refused(reply: Reply, call: Call, status: int, message: str) -> Reply:
    """Return a refusal in the place of an answer."""
    status, body = call.profile.refuse(ApiError(status, message), call, call.id)
    headers = (JSON, *(pair for pair in reply.headers if pair[0].lower() in _KEPT))
    return Reply(status, headers, body=body, error=True)


# Events


def _is(step: Step, type_: str) -> bool:
    return step.data.startswith(b'{"type":"%b"' % type_.encode())


def _each(steps: Iterable[Step], type_: str, change: Callable[[Json], Json]) -> Iterator[Step]:
    for step in steps:
        yield edit(step, change) if _is(step, type_) else step


def _lost(name: str, type_: str, says: str, *, first_only: bool = False) -> None:
    @fault(name, "chunks", says)
    def _drop(steps: Iterator[Step]) -> Iterator[Step]:
        dropped = False
        for step in steps:
            if _is(step, type_) and not (first_only and dropped):
                dropped = True
            else:
                yield step


_lost("messages-start-missing", "message_start", "Sends no message_start.")
_lost("messages-stop-missing", "message_stop", "Sends no message_stop.")
_lost("messages-end-missing", "message_delta", "Sends no message_delta.")
_lost("messages-block-start-missing", "content_block_start",
      "Does not begin the first block of a stream.", first_only=True)  # fmt: skip
_lost("messages-block-stop-missing", "content_block_stop",
      "Does not end the first block of a stream.", first_only=True)  # fmt: skip


@fault("messages-no-event-lines", "events", "Sends the events of Messages without their names.",
       "converted streams")  # fmt: skip
def _no_event_lines(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        named = step.data.startswith(b"event: ")
        yield step._replace(data=step.data.partition(b"\n")[2]) if named else step


@fault("messages-event-name-wrong", "events", "Names the events of deltas otherwise than they are.")
def _wrong_names(steps: Iterator[Step]) -> Iterator[Step]:
    right, wrong = b"event: content_block_delta\n", b"event: delta\n"
    return (step._replace(data=step.data.replace(right, wrong, 1)) for step in steps)


@fault("messages-error-without-event-line", "events",
       "Sends an error in the middle of a stream without its name.",
       "answers that are cut and look whole")  # fmt: skip
def _nameless_error(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        named = step.data.startswith(b"event: error\n")
        yield step._replace(data=step.data.partition(b"\n")[2]) if named else step


@fault("messages-error-openai-shape", "chunks",
       "Sends an error in the middle of a stream in the other dialect's shape.")  # fmt: skip
def _foreign_error(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        if not _is(step, "error"):
            yield step
            continue
        error = loads(step.data)["error"]
        body = {"error": {**error, "param": None, "code": None}}
        yield step._replace(data=dumps(body))


@fault("messages-done", "chunks", "Ends the events of Messages with [DONE].", "converted streams")
def _done(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        yield step
        if _is(step, "message_stop"):
            yield Step(step.at_ns, b"[DONE]", "done")


@fault("messages-start-twice", "chunks", "Begins a message twice.", "converted streams")
def _start_twice(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        yield step
        if _is(step, "message_start"):
            yield step


@fault("messages-start-has-content", "chunks",
       "Begins a message with content and a stop reason.")  # fmt: skip
def _start_has_content(steps: Iterator[Step]) -> Iterator[Step]:
    def change(value: Json) -> None:
        content = [{"type": "text", "text": "Begun"}]
        value["message"].update(content=content, stop_reason="end_turn")

    return _each(steps, "message_start", change)


@fault("messages-delta-after-stop", "chunks", "Sends the last delta of a block after its end.")
def _after_stop(steps: Iterator[Step]) -> Iterator[Step]:
    held: Step | None = None
    for step in steps:
        if _is(step, "content_block_delta"):
            if held is not None:
                yield held
            held = step
            continue
        if held is not None and not _is(step, "content_block_stop"):
            yield held
            held = None
        yield step
        if held is not None:
            yield held
            held = None


# Blocks


def _numbered(name: str, says: str, number: Callable[[int], int]) -> None:
    @fault(name, "chunks", says)
    def _change(steps: Iterator[Step]) -> Iterator[Step]:
        for step in steps:
            if step.data.startswith(b'{"type":"content_block'):
                yield edit(step, lambda value: value.update(index=number(value["index"])))
            else:
                yield step


_numbered("messages-index-from-1", "Counts blocks from 1.", lambda index: index + 1)
_numbered("messages-index-same", "Gives all blocks the index 0.", lambda _: 0)
_numbered("messages-index-gap", "Leaves a number out after the first block.",
          lambda index: index + 1 if index else 0)  # fmt: skip


@fault("messages-block-start-bare", "chunks", "Begins blocks without saying what they are.")
def _bare_start(steps: Iterator[Step]) -> Iterator[Step]:
    return _each(steps, "content_block_start", lambda value: value.pop("content_block") and None)


def _tool_start(name: str, says: str, change: Callable[[Json], object]) -> None:
    @fault(name, "chunks", says)
    def _change(steps: Iterator[Step]) -> Iterator[Step]:
        def each(value: Json) -> None:
            if value["content_block"].get("type") == "tool_use":
                change(value["content_block"])

        return _each(steps, "content_block_start", each)


_tool_start("messages-tool-start-no-input", "Begins the use of a tool without input.",
            lambda block: block.pop("input", None))  # fmt: skip
_tool_start("messages-tool-start-no-name", "Begins the use of a tool without its name.",
            lambda block: block.pop("name", None))  # fmt: skip


@fault("messages-tool-start-full-input", "chunks",
       "Begins the use of a tool with its whole input, and sends the input again.")  # fmt: skip
def _full_input(steps: Iterator[Step]) -> Iterator[Step]:
    held = list(steps)
    inputs: dict[int, str] = {}
    for step in held:
        if _is(step, "content_block_delta"):
            value = loads(step.data)
            piece = value["delta"].get("partial_json", "")
            inputs[value["index"]] = inputs.get(value["index"], "") + piece

    def change(value: Json) -> None:
        if value["content_block"].get("type") == "tool_use":
            value["content_block"]["input"] = loads((inputs.get(value["index"]) or "{}").encode())

    return _each(held, "content_block_start", change)


@fault("messages-delta-type-wrong", "chunks", "Sends the input of a tool as deltas of text.",
       "converted streams")  # fmt: skip
def _delta_type(steps: Iterator[Step]) -> Iterator[Step]:
    def change(value: Json) -> None:
        delta = value["delta"]
        if delta.get("type") == "input_json_delta":
            value["delta"] = {"type": "text_delta", "text": delta["partial_json"]}

    return _each(steps, "content_block_delta", change)


@fault("messages-text-untyped", "chunks", "Sends deltas of text without their type.")
def _untyped(steps: Iterator[Step]) -> Iterator[Step]:
    def change(value: Json) -> None:
        if value["delta"].get("type") == "text_delta":
            del value["delta"]["type"]

    return _each(steps, "content_block_delta", change)


@fault("messages-tool-input-string", "json", "Sends the input of a tool as a JSON string.",
       "converted answers")  # fmt: skip
def _input_string(value: Json) -> Json:
    for block in _content(value):
        if block.get("type") == "tool_use" and isinstance(block.get("input"), dict):
            block["input"] = dumps(block["input"]).decode()
    return value


def _is_message(value: Json) -> bool:
    return isinstance(value, dict) and value.get("type") == "message"


def _content(value: Json) -> list[Json]:
    return value["content"] if _is_message(value) else []


@fault("thinking-signature-lost", "json", "Sends thinking blocks without their signature.")
def _signature_lost(value: Json) -> Json:
    for block in _content(value):
        if block.get("type") == "thinking":
            block.pop("signature", None)
    return value


@fault("thinking-signature-altered", "request",
       "Changes the signature of a thinking block on its way to the model.",
       "conversions that lose what they do not know")  # fmt: skip
def _signature_altered(call: Call) -> Call:
    messages = call.payload.get("messages") if isinstance(call.payload, dict) else None
    if not here(call) or not isinstance(messages, list):
        return call

    def other(block: Json) -> Json:
        if isinstance(block, dict) and isinstance(block.get("signature"), str):
            return {**block, "signature": block["signature"].swapcase()}
        return block

    changed = [
        {**message, "content": [other(block) for block in message["content"]]}
        if isinstance(message, dict) and isinstance(message.get("content"), list)
        else message
        for message in messages
    ]
    if changed == messages:
        return call
    return replace(call, payload={**call.payload, "messages": changed}, changed=True)


# Ends and counts


def _ended(name: str, says: str, member: str) -> None:
    @fault(name, "json", says)
    def _null(value: Json) -> Json:
        if _is_message(value) and member in value:
            value[member] = None
        elif isinstance(value, dict) and value.get("type") == "message_delta":
            value["delta"][member] = None
        return value


_ended("messages-stop-reason-null", "Ends an answer without a reason.", "stop_reason")
_ended("messages-stop-sequence-null", "Does not name the stop sequence that ended an answer.",
       "stop_sequence")  # fmt: skip


def _counted(name: str, type_: str, says: str, change: Callable[[Json], object]) -> None:
    @fault(name, "chunks", says)
    def _change(steps: Iterator[Step]) -> Iterator[Step]:
        def each(value: Json) -> None:
            change(value["message"] if type_ == "message_start" else value)

        return _each(steps, type_, each)


_counted("messages-start-usage-missing", "message_start", "Begins a message without usage.",
         lambda holder: holder.pop("usage", None))  # fmt: skip
_counted("messages-start-input-zero", "message_start", "Begins a message with no input counted.",
         lambda holder: holder["usage"].update(input_tokens=0))  # fmt: skip
_counted("messages-end-usage-missing", "message_delta", "Ends a message without usage.",
         lambda holder: holder.pop("usage", None))  # fmt: skip
_counted("messages-end-usage-rest", "message_delta",
         "Counts fewer tokens at a message's end than at its beginning.",
         lambda holder: holder["usage"].update(output_tokens=0))  # fmt: skip


@fault("messages-foreign-members", "json", "Adds members of the other dialect to a message.",
       "converted answers")  # fmt: skip
def _foreign(value: Json) -> Json:
    extra = {"object": "chat.completion", "choices": [], "finish_reason": "stop"}
    if _is_message(value):
        return {**value, **extra}
    if isinstance(value, dict) and value.get("type") == "message_start":
        value["message"].update(extra)
    return value


# Oddities


@oddity("messages-pings", "chunks", "Sends a ping after each delta.")
def _pings(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        yield step
        if _is(step, "content_block_delta"):
            yield Step(step.at_ns, b'{"type":"ping"}', "ping")


@oddity("messages-no-pings", "chunks", "Sends no ping.")
def _no_pings(steps: Iterator[Step]) -> Iterator[Step]:
    return (step for step in steps if not _is(step, "ping"))


@oddity("messages-unknown-events", "chunks", "Sends events of a type that no document knows.")
def _unknown_events(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        yield step
        if _is(step, "content_block_start"):
            yield Step(step.at_ns, b'{"type":"vendor_notice","detail":{"of":["us"]}}', "notice")


@oddity("messages-two-ends", "chunks", "Sends a message_delta twice, the first without a reason.")
def _two_ends(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        if _is(step, "message_delta"):
            yield edit(step, lambda value: value["delta"].update(stop_reason=None,
                                                                 stop_sequence=None))  # fmt: skip
        yield step


@oddity("messages-no-first-json", "chunks", "Begins the input of a tool without an empty piece.")
def _no_first_json(steps: Iterator[Step]) -> Iterator[Step]:
    return (
        step for step in steps if not (step.label == "tool" and b'"partial_json":""' in step.data)
    )


def _further_block(name: str, says: str, block: Json) -> None:
    @oddity(name, "reply", says)
    def _add(reply: Reply) -> Reply:
        if _is_message(reply.body) and isinstance(reply.body, dict):
            body = reply.body
            return replace(reply, body={**body, "content": [*body["content"], block]})
        if reply.events is None or not reply.named:
            return reply
        return replace(reply, events=_with_block(reply.events, block))


def _with_block(steps: Iterator[Step], block: Json) -> Iterator[Step]:
    blocks = 0
    for step in steps:
        if _is(step, "message_delta"):
            start = {"type": "content_block_start", "index": blocks, "content_block": block}
            yield Step(step.at_ns, dumps(start), "block_start")
            stop = {"type": "content_block_stop", "index": blocks}
            yield Step(step.at_ns, dumps(stop), "block_stop")
        blocks += _is(step, "content_block_start")
        yield step


_further_block("messages-empty-block", "Adds a block of text that stays empty.",
               {"type": "text", "text": ""})  # fmt: skip
_further_block("messages-unknown-block", "Adds a block of a type that no document knows.",
               {"type": "vendor_block", "detail": {"of": ["us"]}})  # fmt: skip
