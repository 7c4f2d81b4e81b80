"""Anthropic's Messages: answers as content blocks, whole or as a machine of named events.

An answer is the model's completion, put into blocks: thinking first, then text or the uses of
tools. A stream is ``message_start``; for each block its start, deltas and stop; ``message_delta``
with the counts as they are by then; ``message_stop``. A ``ping`` follows the first block's start.
Steps keep the labels of chat streams where they mean the same (``content``, ``arguments``,
``reasoning``), so that an upstream's behaviours find their tokens.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from .access import model_of, spend
from .anthropic import version_of
from .call import Call
from .chat import Completion, Schedule, ToolCall, complete, length_of
from .endpoints import check_context
from .faults import apply
from .jsontext import Json, dumps
from .messages_request import as_chat, check_count, check_messages, signature
from .model import prompt_tokens
from .script import JSON, Reply, Step
from .tokens import tokenize

__all__ = ["count_tokens", "messages"]

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


@dataclass(frozen=True, slots=True)
class _Message:
    """An answer before it is written in either mode."""

    completion: Completion
    thinking: bool
    """Thoughts are shown."""

    @property
    def stop(self) -> tuple[str, str | None]:
        """Why the answer ended, and the stop sequence that ended it."""
        choice = self.completion.choices[0]
        if choice.stopped_by and choice.finish == "stop":
            return "stop_sequence", choice.stopped_by
        return _STOP_REASONS.get(choice.finish, choice.finish), None

    def usage(self, output: int | None = None) -> dict[str, Any] | None:
        """Count in the dialect's terms: what was read from a cache is not input."""
        usage = self.completion.usage
        if usage is None:
            return None
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        written = usage.get("completion_tokens")
        read = usage.get("prompt_tokens")
        return {
            "input_tokens": read - cached if isinstance(read, int) else read,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached,
            "output_tokens": written if output is None else output,
            "service_tier": "standard",
        }

    def head(self) -> dict[str, Any]:
        """Return the members that come first."""
        return {
            "id": self.completion.id.replace("chatcmpl-", "msg_", 1),
            "type": "message",
            "role": "assistant",
            "model": self.completion.model,
        }


def _id(call: ToolCall) -> str:
    return call.id.replace("call_", "toolu_", 1)


def _input(call: ToolCall) -> Json:
    """Return the input of a use; one that a limit has cut is empty."""
    try:
        return orjson.loads(call.arguments)
    except ValueError:
        return {}


def _body(message: _Message) -> dict[str, Any]:
    choice = message.completion.choices[0]
    content: list[dict[str, Any]] = []
    if message.thinking and choice.reasoning:
        thought = "".join(choice.reasoning)
        content.append({"type": "thinking", "thinking": thought, "signature": signature(thought)})
    if choice.tokens:
        content.append({"type": "text", "text": choice.text})
    content += [
        {"type": "tool_use", "id": _id(call), "name": call.name, "input": _input(call)}
        for call in choice.calls
    ]
    reason, sequence = message.stop
    body: dict[str, Any] = {
        **message.head(),
        "content": content,
        "stop_reason": reason,
        "stop_sequence": sequence,
    }
    usage = message.usage()
    return body if usage is None else {**body, "usage": usage}


class _Blocks:
    """Writes the events of blocks, and counts blocks and tokens."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._place = 0
        self.index = -1
        self.at_ns = schedule.at(0)

    def start(self, block: Mapping[str, Any]) -> Iterator[Step]:
        self.index += 1
        event = {"type": "content_block_start", "index": self.index, "content_block": block}
        yield Step(self.at_ns, dumps(event), "block_start")
        if not self.index:
            yield Step(self.at_ns, b'{"type":"ping"}', "ping")

    def delta(self, kind: bytes, member: bytes, value: str, label: str) -> Step:
        if label in {"content", "arguments", "reasoning"}:
            self.at_ns = max(self.at_ns, self._schedule.at(self._place))
            self._place += 1
        data = b'{"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":%b}}' % (
            self.index, kind, member, orjson.dumps(value),
        )  # fmt: skip
        return Step(self.at_ns, data, label)

    def stop(self) -> Step:
        data = b'{"type":"content_block_stop","index":%d}' % self.index
        return Step(self.at_ns, data, "block_stop")


def _events(message: _Message, schedule: Schedule) -> Iterator[Step]:
    """Write a message as the JSON texts of a stream's events."""
    choice = message.completion.choices[0]
    blocks = _Blocks(schedule)
    begin = {**message.head(), "content": [], "stop_reason": None, "stop_sequence": None}
    usage = message.usage()
    if usage is not None:
        written = usage["output_tokens"]
        begin["usage"] = {**usage, "output_tokens": 1 if written else written}
    yield Step(blocks.at_ns, dumps({"type": "message_start", "message": begin}), "message_start")
    if message.thinking and choice.reasoning:
        yield from blocks.start({"type": "thinking", "thinking": "", "signature": ""})
        for token in choice.reasoning:
            yield blocks.delta(b"thinking_delta", b"thinking", token, "reasoning")
        seal = signature("".join(choice.reasoning))
        yield blocks.delta(b"signature_delta", b"signature", seal, "signature")
        yield blocks.stop()
    if choice.tokens:
        yield from blocks.start({"type": "text", "text": ""})
        for token in choice.tokens:
            yield blocks.delta(b"text_delta", b"text", token, "content")
        yield blocks.stop()
    for call in choice.calls:
        block = {"type": "tool_use", "id": _id(call), "name": call.name, "input": {}}
        yield from blocks.start(block)
        yield blocks.delta(b"input_json_delta", b"partial_json", "", "tool")
        for token in tokenize(call.arguments):
            yield blocks.delta(b"input_json_delta", b"partial_json", token, "arguments")
        yield blocks.stop()
    reason, sequence = message.stop
    end: dict[str, Any] = {
        "type": "message_delta",
        "delta": {"stop_reason": reason, "stop_sequence": sequence},
    }
    if usage is not None:
        end["usage"] = {name: value for name, value in usage.items() if name != "service_tier"}
    yield Step(blocks.at_ns, dumps(end), "message_delta")
    yield Step(blocks.at_ns, b'{"type":"message_stop"}', "message_stop")


def _thinks(payload: Mapping[str, Any]) -> bool:
    thinking = payload.get("thinking") or {"type": "disabled"}
    return bool(thinking["type"] != "disabled")


def messages(call: Call) -> Reply:
    """Answer ``POST /messages``."""
    version = version_of(call)
    if call.problem is not None:
        raise call.problem
    payload = call.payload
    check_messages(payload, version)
    model = model_of(call, payload["model"], "chat")
    chat = as_chat(payload)
    check_context(chat, model)
    thinks = _thinks(payload)
    completion = complete(
        chat, model=payload["model"], length=call.length, reasons=thinks or model.reasons
    )
    completion = apply("completion", call.deeds, completion, call, kinds=("behaviour",))
    usage = completion.usage or {"prompt_tokens": 0, "completion_tokens": 0}
    spend(call, model, usage["prompt_tokens"], usage["completion_tokens"])
    call.profile.observe(call, completion, model)
    completion = apply("completion", call.deeds, completion, call, kinds=("fault", "oddity"))
    message = _Message(completion, thinks)
    schedule = call.timing.schedule(completion.seed)
    if call.streams:
        headers = (
            ("Content-Type", "text/event-stream; charset=utf-8"),
            ("Cache-Control", "no-cache"),
            ("X-Accel-Buffering", "no"),
        )
        events = _events(message, schedule)
        return Reply(200, headers, events=events, named=True, at_ns=call.timing.ttft_ns)
    at_ns = (
        schedule.at(max(0, length_of(completion) - 1))
        if call.timing.ttft_ns or call.timing.itl_ns
        else 0
    )
    return Reply(200, (JSON,), body=_body(message), at_ns=at_ns)


def count_tokens(call: Call) -> Reply:
    """Answer ``POST /messages/count_tokens``: what the same request would have as input."""
    version = version_of(call)
    if call.problem is not None:
        raise call.problem
    check_count(call.payload, version)
    model_of(call, call.payload["model"], "chat")
    return Reply(200, (JSON,), body={"input_tokens": prompt_tokens(as_chat(call.payload))})
