"""Request bodies by kind of work, written once with gaps that each request fills.

Strategy: a body is made as JSON with marks where something changes from request to request, and
becomes a template of bytes; filling it costs one formatting and no JSON work. What fills a gap is
safe in JSON as it stands: words, references, numbers, or JSON text made before.

Rules. Every prompt asks for its own reference first, in words that ordinary models follow, so that
an answer shows whose it is. The words come last, so that what differs in length differs at the end.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from gateproof.work import Work

__all__ = ["DEFAULT_OUTPUT", "Template", "frame_bytes", "template"]

DEFAULT_OUTPUT: Final = 256  # tokens: Messages need a limit even where the scenario names none

_ASK: Final = "Begin your answer with {ref}, then write a story{about} with these words: {text}."
_ABOUT: Final = " of about {count} words"
_TOOL_ASK: Final = (
    'These words are for later: {text}. Call note with {{"reference": "{ref}", "text": "{copy}"}}'
)
_TOOL: Final[Mapping[str, Any]] = {
    "type": "function",
    "function": {
        "name": "note",
        "description": "Keeps a note.",
        "parameters": {
            "type": "object",
            "properties": {
                "reference": {"type": "string", "description": "whose note it is"},
                "text": {"type": "string", "description": "what is to be kept"},
            },
            "required": ["reference", "text"],
            "additionalProperties": False,
        },
    },
}

# A mark cannot come from a model's name or an extra member: NUL is in no line of a scenario file.
_MARKED: Final = re.compile(rb'"\\u0000\\u0000([a-z]+)"|\\u0000([a-z]+)\\u0000')


def _gap(name: str) -> str:
    """Write a gap inside a text."""
    return f"\0{name}\0"


def _whole(name: str) -> str:
    """Write a gap that takes the place of a whole JSON value."""
    return f"\0\0{name}"


class Template:
    """A body with gaps; ``fill(gaps)`` writes it, ``turn(gaps)`` its own message alone."""

    __slots__ = ("_body", "_turn")

    def __init__(self, body: Mapping[str, Any], turn: Any = None) -> None:
        self._body = _compile(body)
        self._turn = b"" if turn is None else _compile(turn)

    def fill(self, gaps: dict[bytes, bytes]) -> bytes:
        """Write the body."""
        return self._body % gaps

    def turn(self, gaps: dict[bytes, bytes]) -> bytes:
        """Write the message that the request adds to its conversation."""
        return self._turn % gaps


def _compile(value: Any) -> bytes:
    """Turn JSON with marks into a template of bytes."""
    text = orjson.dumps(value).replace(b"%", b"%%")
    return _MARKED.sub(lambda found: b"%%(%b)b" % (found[1] or found[2]), text)


def frame_bytes(work: Work) -> int:
    """Give the length of what surrounds a prompt's words, roughly what the target counts of it."""
    if work.kind == "embeddings":
        return 24
    if work.kind.startswith("tools"):
        return len(_TOOL_ASK) + len(orjson.dumps(_TOOL))
    return len(_ASK) + len(_ABOUT)


def template(work: Work, model: str, *, usage: bool) -> Template:
    """Write the template of a work; its gaps are named in ``Workload``."""
    names = {name: _gap(name) for name in ("ref", "text", "count", "copy")}
    about = _ABOUT.format(**names) if work.output else ""
    body: dict[str, Any] = {"model": model}
    if work.kind == "embeddings":
        text = f"{names['ref']} {names['text']}"
        body["input"] = text if work.batch == 1 else [_whole("batch")]
        return Template({**body, **work.extra}, text)
    if work.kind.endswith("-stream"):
        body["stream"] = True
        if usage and not work.kind.startswith("messages"):
            body["stream_options"] = {"include_usage": True}
    tools = work.kind.startswith("tools")
    ask = _TOOL_ASK.format(**names) if tools else _ASK.format(about=about, **names)
    turn: dict[str, Any] | None = None
    if work.kind == "completions-stream":
        body["prompt"] = (_gap("prefix") + "\n\n" if work.prefixes else "") + ask
    else:
        turn = {"role": "user", "content": ask}
        messages: list[Any] = [_whole("turns")]
        if work.prefixes and work.kind.startswith("messages"):
            body["system"] = _gap("prefix")
        elif work.prefixes:
            messages.insert(0, {"role": "system", "content": _gap("prefix")})
        body["messages"] = messages
    if tools:
        body["tools"] = [_TOOL]
        body["tool_choice"] = {"type": "function", "function": {"name": "note"}}
    elif work.kind.startswith("messages"):
        body["max_tokens"] = _whole("count") if work.output else DEFAULT_OUTPUT
    elif work.output and work.limit_as != "none":
        body[work.limit_as] = _whole("count")
    return Template({**body, **work.extra}, turn)
