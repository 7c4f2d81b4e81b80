"""Read an exchange as the OpenAI dialect: JSON answers, chat chunks, deltas, tool calls, usage.

Lenient on purpose: a reader takes what can be taken and leaves the judging to checks. It raises
``Untestable`` only when there is nothing to read (no response, another status, no JSON, no stream);
that failure itself is reported by the checks of answering and framing. Numbers that are not
integers are read as ``Decimal`` from the JSON text, because money is among them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateproof.check import Place, Untestable
from gateproof.dialects.common import (
    DONE,
    answer,
    answered,
    error_of,
    events,
    is_int,
    is_number,
    json_value,
    loads,
    objects,
    response,
    unread,
)
from gateproof.transcript import Exchange

__all__ = [
    "DONE",
    "Choice",
    "Chunk",
    "Stream",
    "ToolCall",
    "answer",
    "assemble",
    "choices",
    "completion",
    "error_of",
    "is_int",
    "is_number",
    "json_value",
    "loads",
    "message",
    "objects",
    "response",
    "stream",
    "usage",
]

_KEPT = "openai stream"


def choices(value: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Return the choices of an answer or a chunk."""
    return tuple(objects(value.get("choices")))


def completion(exchange: Exchange) -> dict[str, Any]:
    """Return a chat completion that has at least one choice; ``Untestable`` otherwise."""
    value = answer(exchange)
    if not choices(value):
        raise Untestable("the answer has no choices")
    return value


def message(exchange: Exchange) -> Mapping[str, Any]:
    """Return the first choice's message."""
    first = choices(completion(exchange))[0].get("message")
    if not isinstance(first, dict):
        raise Untestable("the first choice has no message")
    return first


def usage(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the usage object of an answer or a chunk; ``Untestable`` when there is none."""
    found = value.get("usage")
    if not isinstance(found, dict):
        raise Untestable("there is no usage object")
    return found


@dataclass(frozen=True, slots=True)
class Chunk:
    """A data event that is a JSON object: the object, its time, and the place of its frame."""

    value: Mapping[str, Any]
    at_ns: int
    frame: int
    start: int

    @property
    def place(self) -> Place:
        """Return where it stands in the transcript's first exchange."""
        return Place(frame=self.frame, offset=self.start)

    @property
    def choices(self) -> tuple[Mapping[str, Any], ...]:
        """Return its choices."""
        return choices(self.value)


@dataclass(frozen=True, slots=True)
class Stream:
    """An event stream as the dialect reads it.

    ``done`` are the frames whose data is exactly ``[DONE]``; ``unreadable`` are frames whose data
    is neither that nor a JSON object; ``errors`` are chunks with an ``error`` member, which are not
    among ``chunks``.
    """

    chunks: tuple[Chunk, ...]
    done: tuple[int, ...]
    unreadable: tuple[tuple[int, str], ...]
    errors: tuple[Chunk, ...]


def stream(exchange: Exchange) -> Stream:
    """Read a 200 as a chat stream; ``Untestable`` when not one event of it can be read.

    It is read once and kept on the exchange, as its other views are: dozens of checks ask for it.
    """
    kept: Stream | None = exchange.__dict__.get(_KEPT)
    if kept is None:
        kept = exchange.__dict__[_KEPT] = _read_stream(exchange)
    return kept


def _read_stream(exchange: Exchange) -> Stream:
    got = answered(exchange)
    chunks: list[Chunk] = []
    done: list[int] = []
    unreadable: list[tuple[int, str]] = []
    errors: list[Chunk] = []
    for index, frame, at_ns, data, value in events(exchange):
        if value is not None:
            chunk = Chunk(value, at_ns, index, frame.start)
            (errors if value.get("error") else chunks).append(chunk)
        elif data == DONE:
            done.append(index)
        else:
            unreadable.append((index, data))
    if not chunks and not errors and not done:
        raise unread(got)
    return Stream(tuple(chunks), tuple(done), tuple(unreadable), tuple(errors))


@dataclass(slots=True)
class ToolCall:
    """A tool call put together from its deltas: every id, name and type that was sent for it."""

    index: Any
    ids: list[Any] = field(default_factory=list)
    names: list[Any] = field(default_factory=list)
    types: list[Any] = field(default_factory=list)
    arguments: str = ""


@dataclass(slots=True)
class Choice:
    """A choice put together from its deltas."""

    index: Any
    roles: list[Any] = field(default_factory=list)
    content: str = ""
    reasoning: str = ""
    finishes: list[Any] = field(default_factory=list)
    calls: dict[Any, ToolCall] = field(default_factory=dict)

    @property
    def finish(self) -> Any:
        """Return the last finish reason that was sent."""
        return self.finishes[-1] if self.finishes else None


def assemble(read: Stream) -> dict[Any, Choice]:
    """Put the deltas of a stream together, by the choice index that each carries."""
    found: dict[Any, Choice] = {}
    for chunk in read.chunks:
        for part in chunk.choices:
            index = _key(part.get("index"))
            choice = found.setdefault(index, Choice(index))
            if part.get("finish_reason") is not None:
                choice.finishes.append(part["finish_reason"])
            delta = part.get("delta")
            if isinstance(delta, dict):
                _add_delta(choice, delta)
    return found


def _add_delta(choice: Choice, delta: Mapping[str, Any]) -> None:
    if "role" in delta:
        choice.roles.append(delta["role"])
    if isinstance(delta.get("content"), str):
        choice.content += delta["content"]
    for name in ("reasoning_content", "reasoning"):
        if isinstance(delta.get(name), str):
            choice.reasoning += delta[name]
    for call in objects(delta.get("tool_calls")):
        index = _key(call.get("index"))
        made = choice.calls.setdefault(index, ToolCall(index))
        if "id" in call:
            made.ids.append(call["id"])
        if "type" in call:
            made.types.append(call["type"])
        function = call.get("function")
        if isinstance(function, dict):
            if "name" in function:
                made.names.append(function["name"])
            if isinstance(function.get("arguments"), str):
                made.arguments += function["arguments"]


def _key(index: object) -> Any:
    return index if isinstance(index, int | str) or index is None else str(index)
