"""Oddities: legal by the standards, tolerated by the official clients, and rare enough to trip.

Under none of them may a check fail or warn. What the standards allow but clients choke on (a byte
order mark, events without data, an id with comments) is a fault, not an oddity.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from ..call import Call
from ..chat import Completion
from ..jsontext import Json, dumps, loads
from ..script import Reply, Step
from .edits import choices_of, deltas_of, edit, edit_each, insert_after, said
from .table import oddity

__all__: list[str] = []


def _relined(steps: Iterator[Step], end: bytes) -> Iterator[Step]:
    # JSON never has a bare line feed inside a string, so all of them end lines.
    return (step._replace(data=step.data.replace(b"\n", end)) for step in steps)


@oddity("crlf", "events", "Ends the lines of events with CR LF.")
def _crlf(steps: Iterator[Step]) -> Iterator[Step]:
    return _relined(steps, b"\r\n")


@oddity("cr", "events", "Ends the lines of events with CR alone.")
def _cr(steps: Iterator[Step]) -> Iterator[Step]:
    return _relined(steps, b"\r")


@oddity("comments", "events", "Sends comments between events.")
def _comments(steps: Iterator[Step]) -> Iterator[Step]:
    yield Step(0, b": hello\n\n", "comment")
    yield from insert_after(steps, b": keep-alive\n\n", "comment", 1)


@oddity("comment-in-event", "events", "Puts a comment line into each event.")
def _comment_inside(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        yield step if step.act else step._replace(data=b":data: not this\n" + step.data)


@oddity("blank-lines", "events", "Sends more blank lines than needed between events.")
def _blank_lines(steps: Iterator[Step]) -> Iterator[Step]:
    return (step if step.act else step._replace(data=step.data + b"\n\n") for step in steps)


@oddity("no-space", "events", "Writes no space after the colon of data.")
def _no_space(steps: Iterator[Step]) -> Iterator[Step]:
    return (step._replace(data=step.data.replace(b"data: ", b"data:", 1)) for step in steps)


@oddity("unknown-fields", "events", "Adds fields to events that the standard does not know.")
def _unknown_fields(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        yield step if step.act else step._replace(data=b"x-trace: 7\nnote\n" + step.data)


_DATA_LINE = re.compile(rb"(?<![^\r\n])(data: ?)(\{[^\r\n]*\})(?=(\r\n|\r|\n))")
_BREAK = re.compile(rb'"(?:[^"\\]|\\.)*"|([{\[,])')


def _divided(line: re.Match[bytes]) -> bytes:
    """Break a line of JSON after its brackets and commas; numbers and strings stay as written."""
    field, value, end = line.groups()
    return field + _BREAK.sub(lambda m: m[0] + end + field if m[1] else m[0], value)


@oddity("multi-line-data", "events", "Writes the JSON of an event over several data lines.")
def _multi_line(steps: Iterator[Step]) -> Iterator[Step]:
    return (step._replace(data=_DATA_LINE.sub(_divided, step.data)) for step in steps)


@oddity("extra-fields", "json", "Adds members that no document knows.")
def _extra_fields(value: Json) -> Json:
    if not isinstance(value, dict):
        return value
    for choice in choices_of(value):
        choice["x_choice"] = {"of": ["us"]}
        for name in ("delta", "message"):
            if isinstance(choice.get(name), dict):
                choice[name]["x_part"] = 1.5
    if isinstance(value.get("usage"), dict):
        value["usage"]["x_units"] = 3
    return {**value, "x_vendor": {"region": "here", "nested": {"deep": None}}}


@oddity("reordered-keys", "text", "Writes the members of JSON objects in another order.")
def _reordered(text: bytes) -> bytes:
    def turned(value: Json) -> Json:
        if isinstance(value, dict):
            return {name: turned(value[name]) for name in reversed(value)}
        return [turned(item) for item in value] if isinstance(value, list) else value

    try:
        return dumps(turned(loads(text))) if text.startswith(b"{") else text
    except (ValueError, TypeError):
        return text  # another deed has broken it


@oddity("json-whitespace", "text", "Writes spaces between the parts of JSON.")
def _whitespace(text: bytes) -> bytes:
    if not text.startswith(b"{"):
        return text
    out = bytearray()
    quoted = escaped = False
    for byte in text:
        char = bytes((byte,))
        if quoted:
            out += char
            quoted = escaped or char != b'"'
            escaped = char == b"\\" and not escaped
            continue
        quoted = char == b'"'
        out += char + b"  " if char in b"{[,:" else (b" \t" + char if char in b"]}" else char)
    return bytes(out)


@oddity("escaped-unicode", "text", "Escapes every character beyond ASCII in JSON.")
def _escaped(text: bytes) -> bytes:
    out = []
    for char in text.decode("utf-8", "replace"):
        if char.isascii():
            out.append(char)
        else:
            units = char.encode("utf-16-be")
            out += [f"\\u{units[n : n + 2].hex()}" for n in range(0, len(units), 2)]
    return "".join(out).encode()


@oddity("charset-upper", "reply", "Writes the charset parameter in another way.")
def _charset(reply: Reply) -> Reply:
    label = reply.header("Content-Type")
    if label is None:
        return reply
    return replace(
        reply, headers=reply.with_header("Content-Type", label.split(";")[0] + ';charset="UTF-8"')
    )


@oddity("no-charset", "reply", "Leaves the charset parameter out.")
def _no_charset(reply: Reply) -> Reply:
    label = reply.header("Content-Type")
    if label is None:
        return reply
    return replace(reply, headers=reply.with_header("Content-Type", label.split(";")[0]))


@oddity("obfuscation", "json", "Pads each chunk with random text, as the upstream may.")
def _obfuscation(value: Json) -> Json:
    if isinstance(value, dict) and value.get("object") == "chat.completion.chunk":
        return {**value, "obfuscation": "Zk3"}
    return value


@oddity("model-snapshot", "completion", "Names the dated snapshot of the model that answered.")
def _snapshot(completion: Completion) -> Completion:
    return replace(completion, model=f"{completion.model}-2026-01-15")


@oddity(
    "usage-details-missing", "completion", "Gives usage without its details, which are optional."
)
def _no_details(completion: Completion) -> Completion:
    if completion.usage is None:
        return completion
    usage = {name: v for name, v in completion.usage.items() if not name.endswith("_details")}
    return replace(completion, usage=usage)


@oddity("fingerprint-missing", "json", "Leaves out system_fingerprint, which is optional.")
def _no_fingerprint(value: Json) -> Json:
    if isinstance(value, dict):
        value.pop("system_fingerprint", None)
    return value


@oddity("logprobs-null-missing", "json", "Leaves out logprobs where they are null.")
def _no_logprobs(value: Json) -> Json:
    for choice in choices_of(value):
        if choice.get("logprobs", 0) is None:
            del choice["logprobs"]
    return value


@oddity("role-with-content", "chunks", "Sends the role together with the first token.")
def _role_with_content(steps: Iterator[Step]) -> Iterator[Step]:
    roles: dict[int, Step] = {}

    def change(value: Json) -> None:
        for choice in choices_of(value):
            if roles.pop(choice["index"], None) is not None:
                choice["delta"] = {"role": "assistant", **choice["delta"]}

    for step in steps:
        if step.label == "role":
            roles[loads(step.data)["choices"][0]["index"]] = step
        elif step.label in {"usage", "done", "error"} or not step.data.startswith(b"{"):
            yield step
        elif roles:
            yield edit(step, change)
        else:
            yield step


@oddity("empty-deltas", "chunks", "Sends deltas with an empty text between tokens.")
def _empty_deltas(steps: Iterator[Step]) -> Iterator[Step]:
    def change(value: Json) -> None:
        place = said(value)
        if place is not None:
            place[0][place[1]] = ""
        for choice in choices_of(value):
            if "logprobs" in choice:
                choice["logprobs"] = None

    for step in steps:
        yield step
        if step.label == "content":
            yield edit(step, change)


@oddity("several-tokens-a-chunk", "chunks", "Sends three tokens in one delta.")
def _several_tokens(steps: Iterator[Step]) -> Iterator[Step]:
    held: dict[int, tuple[Step, str, int]] = {}

    for step in steps:
        ends = step.label in {"finish", "block_stop"}
        value = loads(step.data) if ends or step.label == "content" else None
        place = said(value)
        part = (choices_of(value) or [value])[0] or {}
        if part.get("logprobs") or (place is None and not ends):
            yield step
            continue
        index = part.get("index", 0)
        if place is None or step.label == "finish":
            if index in held:
                first, text, _ = held.pop(index)
                yield _told(first, text)._replace(at_ns=step.at_ns)
            yield step
            continue
        first, text, count = held.pop(index, (step, "", 0))
        text += place[0][place[1]]
        if count == 2:
            yield _told(step, text)
        else:
            held[index] = (first, text, count + 1)


def _told(step: Step, text: str) -> Step:
    def change(value: Json) -> None:
        place = said(value)
        assert place is not None
        place[0][place[1]] = text

    return edit(step, change)


@oddity("finish-null-first", "json", "Writes finish_reason before the delta.")
def _finish_first(value: Json) -> Json:
    for choice in choices_of(value):
        if "finish_reason" in choice:
            rest = dict(choice)
            choice.clear()
            choice["finish_reason"] = rest.pop("finish_reason")
            choice.update(rest)
    return value


@oddity("early-role", "reply", "Sends the head and the role at once, long before the first token.")
def _early_role(reply: Reply) -> Reply:
    if reply.events is None:
        return reply
    events = (s._replace(at_ns=0) if s.label == "role" else s for s in reply.events)
    return replace(reply, at_ns=0, events=events)


@oddity("refusal-missing", "json", "Leaves out refusal where it is null.")
def _no_refusal(value: Json, _: Call) -> Json:
    for choice in choices_of(value):
        for name in ("delta", "message"):
            part = choice.get(name)
            if isinstance(part, dict) and part.get("refusal", 0) is None:
                del part["refusal"]
    return value


@oddity("tool-type-repeated", "chunks", "Repeats a tool call's type in its later deltas.")
def _type_repeated(steps: Iterator[Step]) -> Iterator[Step]:
    def change(value: Json) -> None:
        for delta in deltas_of(value):
            for call in delta.get("tool_calls") or ():
                call["type"] = "function"

    return edit_each(steps, change, "arguments")
