"""The model inside: deterministic, and obedient to a few rules.

The same request gets the same answer, streamed or not. The rules, in order:

1. ``tool_choice`` that forces a call (a name, or ``required``): the calls that the last user
   message spells out, of the functions allowed; without any, one call of the first function
   allowed, with arguments made from its schema.
2. The conversation ends with tool results: a sentence for each, quoting it.
3. ``tool_choice`` auto and tools offered: each ``Call NAME with {json}`` in the last user message
   becomes a call (the first only, when ``parallel_tool_calls`` is false).
4. ``response_format`` of type ``json_schema``: an instance of the schema. Of type ``json_object``:
   the text of rule 5 if it is a JSON object, else an object that holds it.
5. ``Repeat exactly: TEXT`` answers TEXT, to the last character of the message.
   ``Count from A to B`` answers the numbers, with a comma and a space between them.
   ``Recall NAME`` answers VALUE of the last ``Remember NAME = VALUE`` in any earlier message.
6. Anything else is answered with prose of 20 to 60 tokens; length and text follow from the request.
   ``Begin your answer with WORD`` puts WORD before it, ``of about N words`` makes it N tokens in
   all.

A reasoning model thinks first, more with more ``reasoning_effort``; its thoughts count as
completion tokens. Limits and stop strings cut whatever the rules gave.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from .errors import ApiError
from .instance import SchemaError, instance
from .tokens import count, tokenize

__all__ = ["Spoken", "ToolUse", "prompt_tokens", "seed_of", "speak", "text_of"]

_REPEAT = re.compile(r"Repeat exactly:[ \n]?(.*)", re.DOTALL)
_COUNT = re.compile(r"Count from (-?\d{1,7}) to (-?\d{1,7})")
_REMEMBER = re.compile(r"Remember ([\w-]{1,64}) = (.+)")
_RECALL = re.compile(r"Recall ([\w-]{1,64})")
_CALL = re.compile(r"Call ([A-Za-z0-9_-]{1,64}) with (?=\{)")
_BEGIN = re.compile(r"Begin your answer with (\S{1,64}?)[,.;:]?(?=\s|$)")
_ABOUT = re.compile(r"of about (\d{1,5}) words")
_LONGEST_COUNT = 5000

_NOT_OF_THE_ANSWER = frozenset(
    {
        "stream", "stream_options", "max_tokens", "max_completion_tokens", "stop", "n", "logprobs",
        "top_logprobs", "user", "metadata", "store", "service_tier", "safety_identifier",
        "prompt_cache_key", "plugins", "parallel_tool_calls",
    }
)  # fmt: skip

_EFFORT = {"none": 0, "minimal": 4, "low": 12, "medium": 24, "high": 48, "xhigh": 64, "max": 96}

_SENTENCES = (
    "The harbor was quiet before the first boats came in.",
    "A small lamp on the table gave enough light to read by.",
    "Nobody had counted the steps, but there were many of them.",
    "In the café by the bridge they still write orders by hand.",
    "Rain was coming over the hills, slowly and without wind.",
    "She kept three maps, and none of them agreed on the river.",
    "The clock in the hall was right twice a day – and proud of it.",
    "Every spring the same two storks return to the old mill.",
    "He wrote 24 letters that winter and sent only 3 of them.",
    "Below the ice the water moves, even when nothing else does.",
    "The train to the coast leaves at noon, or a little after.",
    "They painted the door blue because no other paint was left.",
    "A naïve question is often the one that needs an answer.",
    "From the tower you can see the fields, the road and the sea.",
    "The bread was still warm when the market opened. 🙂",
    "It takes a whole day to walk around the lake in good weather.",
)


def _prose_ring() -> tuple[list[str], list[int]]:
    """Return the tokens of all sentences and the places where a sentence begins."""
    tokens: list[str] = []
    starts: list[int] = []
    for sentence in _SENTENCES:
        starts.append(len(tokens))
        tokens += tokenize(" " + sentence)
    return tokens, starts


_RING, _STARTS = _prose_ring()


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call that the model asks for."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Spoken:
    """What the model says in one choice, before any limit cuts it."""

    tokens: Sequence[str] = ()
    uses: tuple[ToolUse, ...] = ()
    reasoning: Sequence[str] = ()


def seed_of(payload: Mapping[str, Any]) -> int:
    """Derive a number from the parts of a request that shape its answer."""
    relevant = {key: value for key, value in payload.items() if key not in _NOT_OF_THE_ANSWER}
    text = orjson.dumps(relevant, option=orjson.OPT_SORT_KEYS)
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def text_of(content: object) -> str:
    """Return the text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""


def prompt_tokens(payload: Mapping[str, Any]) -> int:
    """Count a prompt: 3 tokens, 4 a message, its text, 85 an image; tools by their JSON text."""
    total = 3
    for message in payload["messages"]:
        content = message.get("content")
        total += 4 + count(text_of(content))
        if isinstance(content, list):
            total += 85 * sum(1 for part in content if part.get("type") not in {"text", "refusal"})
        for call in message.get("tool_calls") or ():
            total += count(call["function"]["name"]) + count(call["function"]["arguments"])
        if isinstance(message.get("name"), str):
            total += count(message["name"])
    if payload.get("tools"):
        total += count(orjson.dumps(payload["tools"]).decode())
    form = payload.get("response_format")
    if isinstance(form, dict) and form.get("type") == "json_schema":
        total += count(orjson.dumps(form["json_schema"]).decode())
    return total


def _prose(seed: int, length: int) -> list[str]:
    start = _STARTS[seed % len(_STARTS)]
    turns = (start + length) // len(_RING) + 1
    tokens = (_RING * turns)[start : start + length] if turns > 1 else _RING[start : start + length]
    if tokens:
        tokens[0] = tokens[0].lstrip(" ")
        if length > 1:
            tokens[-1] = "."
    return tokens


def _last_user_text(messages: Sequence[Mapping[str, Any]]) -> str:
    for message in reversed(messages):
        if message["role"] == "user":
            return text_of(message.get("content"))
    return ""


def _spelled_out(text: str, names: Sequence[str]) -> list[ToolUse]:
    uses = []
    for match in _CALL.finditer(text):
        if match.group(1) in names:
            try:
                value, _ = json.JSONDecoder().raw_decode(text, match.end())
            except (ValueError, RecursionError):
                continue
            uses.append(ToolUse(match.group(1), orjson.dumps(value).decode()))
    return uses


def _tools_allowed(payload: Mapping[str, Any]) -> tuple[str, dict[str, object]]:
    """Return how calls are chosen (auto, none, required) and the functions that may be called."""
    functions = {
        tool["function"]["name"]: tool["function"].get("parameters")
        for tool in payload.get("tools") or ()
        if tool["type"] == "function"
    }
    choice = payload.get("tool_choice", "auto")
    if not functions:
        return "none", {}
    if isinstance(choice, str):
        return choice, functions
    if choice["type"] == "function":
        name = choice["function"]["name"]
        return "required", {name: functions[name]}
    if choice["type"] == "allowed_tools":
        allowed = choice["allowed_tools"]
        names = [tool["function"]["name"] for tool in allowed["tools"] if "function" in tool]
        return allowed["mode"], {name: functions[name] for name in names if name in functions}
    return "none", {}


def _uses(payload: Mapping[str, Any], seed: int) -> tuple[ToolUse, ...]:
    choice, functions = _tools_allowed(payload)
    messages = payload["messages"]
    if choice == "none" or not functions:
        return ()
    uses = _spelled_out(_last_user_text(messages), list(functions))
    if choice == "required":
        if not uses:
            name, schema = next(iter(functions.items()))
            try:
                value = {} if schema is None else instance(schema, str(seed))
            except SchemaError as error:
                raise ApiError(
                    400,
                    f"Invalid schema for function '{name}': {error}.",
                    param="tools",
                    code="invalid_function_parameters",
                ) from None
            uses = [ToolUse(name, orjson.dumps(value).decode())]
    elif messages[-1]["role"] == "tool":
        return ()
    if payload.get("parallel_tool_calls") is False:
        uses = uses[:1]
    return tuple(uses)


def _results(messages: Sequence[Mapping[str, Any]]) -> str:
    names: dict[str, str] = {}
    for message in messages:
        for call in message.get("tool_calls") or ():
            names[call["id"]] = call["function"]["name"]
    first = len(messages)
    while first and messages[first - 1]["role"] == "tool":
        first -= 1
    return " ".join(
        f"{names.get(m['tool_call_id'], 'The tool')} answered: {text_of(m['content'])}."
        for m in messages[first:]
    )


def _ruled_text(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the answer that a rule gives to the last user message, or None."""
    if messages[-1]["role"] == "tool":
        return _results(messages)
    text = _last_user_text(messages)
    if match := _REPEAT.search(text):
        return match.group(1)
    if match := _COUNT.search(text):
        first, last = int(match.group(1)), int(match.group(2))
        step = 1 if last >= first else -1
        numbers = range(first, last + step, step)[:_LONGEST_COUNT]
        return ", ".join(map(str, numbers))
    if match := _RECALL.search(text):
        wanted = match.group(1)
        for message in reversed(messages):
            for name, value in reversed(_REMEMBER.findall(text_of(message.get("content")))):
                if name == wanted:
                    return str(value).strip()
        return f"{wanted} is unknown."
    return None


def _free(messages: Sequence[Mapping[str, Any]], seed: int, length: int | None) -> list[str]:
    """Return prose, begun and as long as the last user message asks."""
    text = _last_user_text(messages)
    if length is None:
        about = _ABOUT.search(text)
        length = int(about.group(1)) if about else 20 + seed // 11 % 41
    begin = _BEGIN.search(text)
    if begin is None:
        return _prose(seed, length)
    first = tokenize(begin.group(1))
    rest = _prose(seed, max(length - len(first), 0))
    return [*first, " " + rest[0], *rest[1:]] if rest else first


def _is_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except ValueError:
        return False


def _formatted(form: Mapping[str, Any], text: str | None, seed: int) -> str | None:
    """Return the answer that the response format asks for, or None when it asks for plain text."""
    if form.get("type") == "json_schema":
        try:
            value = instance(form["json_schema"].get("schema", {}), str(seed))
        except SchemaError as error:
            raise ApiError(
                400,
                f"Invalid schema for response_format: {error}.",
                param="response_format",
                code="invalid_json_schema",
            ) from None
        return orjson.dumps(value).decode()
    if form.get("type") == "json_object":
        if text is not None and _is_object(text):
            return text
        return orjson.dumps({"answer": text or "".join(_prose(seed, 12)).rstrip(".")}).decode()
    return None


def speak(
    payload: Mapping[str, Any], *, choice: int = 0, length: int | None = None, reasons: bool = False
) -> Spoken:
    """Answer a validated request, for one of its choices; ``length`` fixes the length of prose."""
    seed = seed_of(payload)
    own = (seed + choice * 0x9E3779B97F4A7C15) % 2**64
    thoughts: list[str] = []
    if reasons:
        effort = _EFFORT[payload.get("reasoning_effort") or "medium"]
        thoughts = _prose(own // 7, effort)
    uses = _uses(payload, own)
    if uses:
        return Spoken(uses=uses, reasoning=thoughts)
    text = _ruled_text(payload["messages"])
    form = payload.get("response_format")
    if isinstance(form, dict):
        shaped = _formatted(form, text, own)
        text = shaped if shaped is not None else text
    if text is None:
        return Spoken(tokens=_free(payload["messages"], own, length), reasoning=thoughts)
    return Spoken(tokens=tokenize(text), reasoning=thoughts)
