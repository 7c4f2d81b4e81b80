"""What many rows need: to edit the JSON of a stream's events, and to find things in it."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from ..jsontext import Json, dumps, loads
from ..script import Step

__all__ = [
    "Path",
    "assignment",
    "choices_of",
    "deltas_of",
    "edit",
    "edit_each",
    "holders",
    "insert_after",
    "message_end",
    "path_of",
    "said",
    "tool_calls_of",
]

Path: TypeAlias = tuple[str, ...]
"""The way to a member of a JSON value; ``*`` stands for all members or items."""

TOKENS = frozenset({"content", "reasoning", "tool", "arguments"})


def path_of(text: str) -> Path:
    """Read a path such as ``usage.total_tokens``, ``choices.*.index`` or ``/error/type``."""
    separator = "/" if text.startswith("/") else "."
    parts = tuple(part for part in text.split(separator) if part)
    if not parts:
        raise ValueError("wanted a path such as usage.total_tokens or choices.*.index")
    return parts


def holders(value: Json, path: Path) -> Iterator[tuple[Json, Json]]:
    """Yield each object or array that holds the end of a path, and the key of it there."""
    if isinstance(value, dict):
        keys: list[Json] = list(value) if path[0] == "*" else [path[0]]
        keys = [key for key in keys if key in value]
    elif isinstance(value, list):
        places = range(len(value))
        wanted = path[0]
        keys = list(places) if wanted == "*" else [p for p in places if str(p) == wanted]
    else:
        return
    for key in keys:
        if len(path) == 1:
            yield value, key
        else:
            yield from holders(value[key], path[1:])


def assignment(text: str) -> tuple[Path, Json]:
    """Read a path and a JSON value: ``usage.total_tokens=null``."""
    path, equals, written = text.partition("=")
    if not equals:
        raise ValueError("wanted PATH=JSON, such as usage.total_tokens=null")
    return path_of(path), loads(written.encode())


def edit(step: Step, change: Callable[[Json], Json]) -> Step:
    """Change the JSON of an event; the function changes it in place or returns another.

    What another deed has made of it, and is not JSON any more, stays as it is.
    """
    try:
        value = loads(step.data)
        dumps(value)
    except (ValueError, TypeError):  # no JSON, or half of a surrogate pair in it
        return step
    changed = change(value)
    return step._replace(data=dumps(value if changed is None else changed))


def edit_each(
    steps: Iterable[Step], change: Callable[[Json], Json], *labels: str
) -> Iterator[Step]:
    """Change the JSON of each event that has one of the labels (of all objects, without any)."""
    for step in steps:
        if step.data.startswith(b"{") and (not labels or step.label in labels):
            yield edit(step, change)
        else:
            yield step


def insert_after(
    steps: Iterable[Step], data: bytes, label: str = "extra", after: int = 2
) -> Iterator[Step]:
    """Insert an event after each so many events."""
    for place, step in enumerate(steps, start=1):
        yield step
        if place % after == 0 and step.label in TOKENS:
            yield Step(step.at_ns, data, label)


def choices_of(value: Json) -> list[Json]:
    """Return the choices of an object, or none."""
    choices = value.get("choices") if isinstance(value, dict) else None
    return choices if isinstance(choices, list) else []


def deltas_of(value: Json) -> list[Json]:
    """Return the deltas of a chunk's choices."""
    return [choice["delta"] for choice in choices_of(value) if choice.get("delta") is not None]


def said(value: Json) -> tuple[Json, str] | None:
    """Return where an event has a piece of text, in any dialect: the object and the member."""
    if not isinstance(value, dict):
        return None
    type_ = value.get("type")
    if type_ == "content_block_delta":
        return (value["delta"], "text") if "text" in value["delta"] else None
    if type_ == "transcript.text.delta":
        return value, "delta"
    for choice in choices_of(value):
        if isinstance(choice.get("delta"), dict) and "content" in choice["delta"]:
            return choice["delta"], "content"
        if "text" in choice:
            return choice, "text"
    return None


def message_end(open_block: int | None, text: str, at_ns: int) -> Iterator[Step]:
    """Write the end of a message that never came, after a last piece of text if there is one."""
    if open_block is not None:
        if text:
            delta = {"type": "text_delta", "text": text}
            event = {"type": "content_block_delta", "index": open_block, "delta": delta}
            yield Step(at_ns, dumps(event), "content")
        yield Step(at_ns, dumps({"type": "content_block_stop", "index": open_block}), "block_stop")
    end = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 1},
    }
    yield Step(at_ns, dumps(end), "message_delta")
    yield Step(at_ns, b'{"type":"message_stop"}', "message_stop")


def tool_calls_of(value: Json) -> list[Json]:
    """Return the tool calls in a chunk's deltas or in a body's messages."""
    found: list[Json] = []
    for choice in choices_of(value):
        holder = choice.get("delta") or choice.get("message") or {}
        found += holder.get("tool_calls") or []
    return found
