"""Checks of Anthropic's Messages that a whole answer shows, and of the routes beside it."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from gateproof.check import Finding, Inconclusive, Place, Untestable, check, expect
from gateproof.dialects import anthropic, openai
from gateproof.transcript import Exchange, Transcript

from .messages_stream import whole
from .reading import accepted, each, shown
from .scenarios.messages import (
    AGAIN,
    BOUND,
    COUNT,
    CUT,
    HISTORY,
    MODELS,
    PLAIN,
    ROUND_TRIP,
    STOP,
    STREAM,
    SYSTEM,
    THINKING,
    TOOL,
    TOOLS_STREAM,
    UNKNOWN_MODEL,
)

COUNTERS = ("input_tokens", "output_tokens")
# Members of OpenAI's completions that no answer of this dialect has.
FOREIGN = ("choices", "object", "finish_reason", "prompt_tokens", "completion_tokens")
ENDMARK = "ENDMARK"
__all__ = ["stop_reason_of"]


def _is_stream(exchange: Exchange) -> bool:
    return bool((exchange.ask.value or {}).get("stream"))


def stop_reason_of(exchange: Exchange) -> Any:
    """Return the stop_reason of an answer, streamed or not."""
    if _is_stream(exchange):
        return anthropic.assemble(anthropic.stream(exchange)).stop_reason
    return anthropic.message(exchange).get("stop_reason")


@check("anth.answers", on=[PLAIN])
def test_message_is_answered(seen: Transcript) -> None:
    """A message is answered with 200 and a JSON object."""
    got = accepted(seen[0], wanted="200 and JSON")
    expect(got.media_type == "application/json", wanted="application/json", got=shown(got))
    try:
        value = openai.loads(got.body)
    except (ValueError, RecursionError):
        value = None
    expect(isinstance(value, dict), wanted="a body that is a JSON object", got=shown(got))


@check("anth.response.schema", on=[PLAIN, TOOL])
def test_message_has_its_members(seen: Transcript) -> None:
    """A message has its documented members, with values of their types."""
    value = openai.answer(seen[0])
    for name, wanted in (("type", "message"), ("role", "assistant")):
        got = value.get(name)
        expect(got == wanted, wanted=f'{name}: "{wanted}"', got=f"{name}: {got!r}")
    for name in ("id", "model"):
        got = value.get(name)
        expect(isinstance(got, str) and got, wanted=f"{name}: a text", got=f"{name}: {got!r}")
    for name in ("stop_reason", "stop_sequence"):
        expect(name in value, wanted=f"{name}, which may be null", got=f"only {', '.join(value)}")
        got = value[name]
        expect(got is None or isinstance(got, str), wanted=f"{name}: a text or null", got=got)
    content = value.get("content")
    expect(isinstance(content, list), wanted="content: a list of blocks", got=content)
    assert isinstance(content, list)
    for index, block in enumerate(content):
        typed = isinstance(block, dict) and isinstance(block.get("type"), str)
        expect(typed, wanted=f"content[{index}]: an object with a type", got=block)
        if block["type"] == "text":
            expect(
                isinstance(block.get("text"), str),
                wanted=f"content[{index}].text: a text",
                got=block,
            )
    usage = value.get("usage")
    expect(isinstance(usage, dict), wanted="a usage object", got=f"usage: {usage!r}")
    assert isinstance(usage, dict)
    for name in COUNTERS:
        count = usage.get(name)
        whole = openai.is_int(count) and count >= 0
        expect(whole, wanted=f"usage.{name}: an integer from 0 up", got=f"{name}: {count!r}")


@check("anth.stop-reason", on=[PLAIN, STREAM, TOOL, TOOLS_STREAM])
def test_answer_says_why_it_ended(seen: Transcript) -> str:
    """A finished answer has a stop_reason, never null."""
    if _is_stream(seen[0]):
        read = anthropic.stream(seen[0])
        if not read.of("message_delta"):
            raise Untestable("the stream has no message_delta (see anth.order)")
    elif "stop_reason" not in anthropic.message(seen[0]):
        raise Untestable("the message has no stop_reason (see anth.response.schema)")
    reason = stop_reason_of(seen[0])
    expect(
        isinstance(reason, str) and reason,
        wanted="a stop_reason",
        got=f"stop_reason: {reason!r} at the end",
    )
    known = reason in anthropic.STOP_REASONS
    return f"{reason}" if known else f"{reason}, which is none of the documented ones"


@check("anth.stop-sequence", on=[STOP])
def test_stop_sequence_is_named(seen: Transcript) -> None:
    """An answer that a stop sequence ended names it, and its text lacks it."""
    value = anthropic.message(seen[0])
    text = anthropic.text_of(value)
    expect(ENDMARK not in text, wanted=f"a text that ends before {ENDMARK}", got=text)
    reason, sequence = value.get("stop_reason"), value.get("stop_sequence")
    if reason != "stop_sequence" and not text.rstrip().endswith("charlie"):
        raise Inconclusive(f"the model did not say the stop sequence: {text[:120]!r}")
    expect(
        (reason, sequence) == ("stop_sequence", ENDMARK),
        wanted=f"stop_reason stop_sequence, and stop_sequence {ENDMARK}",
        got=f"stop_reason {reason!r}, stop_sequence {sequence!r}",
    )


@check("anth.max-tokens-bound", on=[CUT])
def test_bound_is_kept(seen: Transcript) -> None:
    """output_tokens is not above max_tokens, and a cut answer says max_tokens."""
    value = anthropic.message(seen[0])
    text = anthropic.text_of(value)
    expect(
        "100" not in text and len(text) < 8 * BOUND,
        wanted=f"an answer of at most {BOUND} tokens",
        got=f"{len(text)} characters: {text[:120]}",
    )
    usage = value.get("usage")
    count = usage.get("output_tokens") if isinstance(usage, dict) else None
    if openai.is_int(count):
        expect(count <= BOUND, wanted=f"output_tokens of at most {BOUND}", got=count)
    reason = value.get("stop_reason")
    expect(reason == "max_tokens", wanted="stop_reason: max_tokens", got=f"{reason!r}")


@check("anth.system", on=[SYSTEM])
def test_system_prompt_is_accepted(seen: Transcript) -> None:
    """The system prompt is accepted as a string and as text blocks."""
    for at, exchange in each(seen):
        accepted(exchange, wanted=f"200 to a system prompt as {exchange.ask.label}", at=at)


@check("anth.multi-turn", on=[HISTORY])
def test_history_is_accepted(seen: Transcript) -> str:
    """A history is answered, with strings and with blocks as content."""
    told = []
    for at, exchange in each(seen):
        label = exchange.ask.label
        accepted(exchange, wanted=f"200 to a history as {label}", at=at)
        used = "4711" in anthropic.text_of(anthropic.message(exchange))
        told.append(f"{label} {'used' if used else 'ignored'}")
    return ", ".join(told)


@check("anth.tool-use", on=[TOOL, TOOLS_STREAM])
def test_tool_is_used(seen: Transcript) -> None:
    """A forced tool gives a tool_use block with id, name and an input that keeps its schema."""
    uses = list(_uses(seen[0]))
    reason = stop_reason_of(seen[0])
    expect(uses, wanted="a tool_use block", got=f"none, and stop_reason {reason!r}")
    for block, value in uses:
        id_, name = block.get("id"), block.get("name")
        expect(isinstance(id_, str) and id_, wanted="tool_use.id: a text", got=f"id: {id_!r}")
        expect(name == "get_weather", wanted="tool_use.name: get_weather", got=f"name: {name!r}")
        if value is not None:
            right = isinstance(value, dict) and isinstance(value.get("city"), str)
            expect(right, wanted="an input object with city, a text", got=f"input: {value!r}")
    expect(
        reason == "tool_use" or (reason is None and _is_stream(seen[0])),
        wanted="stop_reason: tool_use",
        got=f"stop_reason: {reason!r}",
    )


def _uses(exchange: Exchange) -> list[tuple[Mapping[str, Any], Any]]:
    """Return each tool_use block with its input; ``None`` for one that cannot be put together."""
    if not _is_stream(exchange):
        message = anthropic.message(exchange)
        return [(block, block.get("input", "")) for block in anthropic.blocks(message, "tool_use")]
    found: list[tuple[Mapping[str, Any], Any]] = []
    for made in anthropic.assemble(anthropic.stream(exchange)).blocks:
        if made.kind == "tool_use":
            try:
                found.append((made.start, openai.loads(made.partial_json)))
            except (ValueError, RecursionError):
                found.append((made.start, None))  # anth.input-json and anth.block-index tell
    return found


@check("anth.tool-roundtrip", on=[ROUND_TRIP])
def test_tool_result_is_answered(seen: Transcript) -> str:
    """A tool_result that answers a tool_use by its id is answered."""
    at = Place(exchange=1)
    accepted(seen[1], wanted="200 to a tool_result", at=at)
    used = "18" in anthropic.text_of(anthropic.message(seen[1]))
    return "the result was used" if used else "the answer does not show the result"


@check("anth.thinking-signature", on=[THINKING])
def test_thoughts_come_back_whole(seen: Transcript) -> None:
    """A thinking block with its signature is accepted when the next turn sends it back."""
    for block in anthropic.blocks(anthropic.message(seen[0]), "thinking"):
        signature = block.get("signature")
        expect(
            isinstance(signature, str) and signature,
            wanted="a thinking block with a signature",
            got=f"signature: {signature!r}",
        )
    accepted(seen[1], wanted="200 to the thinking block as it came", at=Place(exchange=1))


@check("anth.no-foreign-extras", on=[PLAIN, STREAM])
def test_no_members_of_the_other_dialect(seen: Transcript) -> None:
    """An answer has no members of OpenAI's completions."""
    if not _is_stream(seen[0]):
        _no_foreign(openai.answer(seen[0]), Place())
        return
    for event in anthropic.stream(seen[0]).events:
        _no_foreign(event.value, event.place)
        _no_foreign(event.member("message"), event.place)


def _no_foreign(value: Mapping[str, Any], at: Place) -> None:
    usage = value.get("usage")
    names = [*value, *(usage if isinstance(usage, dict) else ())]
    found = [name for name in FOREIGN if name in names]
    expect(not found, wanted="members of Messages alone", got=f"also {', '.join(found)}", at=at)


@check("anth.request-id", on=[PLAIN, STREAM, UNKNOWN_MODEL])
def test_answer_has_a_request_id(seen: Transcript) -> None:
    """Every answer has the header request-id."""
    for at, exchange in each(seen):
        got = openai.response(exchange)
        expect(
            (got.header("request-id") or "").strip(),
            wanted="a header request-id",
            got=", ".join(sorted({name.lower() for name, _ in got.headers})),
            at=at,
        )


@check("anth.rate-limit-headers", on=[PLAIN])
def test_rate_limit_headers_are_readable(seen: Transcript) -> str:
    """anthropic-ratelimit headers are whole numbers, and their resets times of RFC 3339."""
    found = []
    for name, value in openai.response(seen[0]).headers:
        key = name.lower()
        if not key.startswith("anthropic-ratelimit-"):
            continue
        found.append(key)
        if key.endswith("-reset"):
            expect(_is_time(value), wanted=f"{key}: a time of RFC 3339", got=value)
        elif key.endswith(("-limit", "-remaining")):
            whole = value.isascii() and value.isdigit()
            expect(whole, wanted=f"{key}: a whole number", got=value)
    return f"{len(found)} headers" if found else "none of them there"


def _is_time(text: str) -> bool:
    try:
        return dt.datetime.fromisoformat(text).tzinfo is not None and "T" in text.upper()
    except ValueError:
        return False


@check("anth.stream-eq-nonstream", across=[PLAIN, AGAIN, STREAM])
def test_both_modes_say_the_same(plain: Transcript, again: Transcript, stream: Transcript) -> None:
    """The same request gets the same blocks, stop_reason and input_tokens in both modes."""
    wanted = _told(plain[0])
    if wanted != _told(again[0]):
        raise Inconclusive("two equal requests got different answers")
    got = _told(stream[0])
    for name, value in wanted.items():
        expect(
            got[name] == value,
            wanted=f"{name} as without stream: {value!r}",
            got=f"{got[name]!r}",
        )


def _told(exchange: Exchange) -> dict[str, Any]:
    """Return what an answer says, apart from what differs by nature: its id and its times."""
    if not _is_stream(exchange):
        value = anthropic.message(exchange)
        made = [(block.get("type"), block.get("text")) for block in anthropic.blocks(value)]
        usage = value.get("usage")
        return _as_told(made, value.get("stop_reason"), usage)
    message = anthropic.assemble(whole(exchange))
    texts = [(block.kind, block.text if block.kind == "text" else None) for block in message.blocks]
    return _as_told(texts, message.stop_reason, message.head.get("usage"))


def _as_told(made: list[tuple[Any, Any]], reason: Any, usage: object) -> dict[str, Any]:
    counted = usage.get("input_tokens") if isinstance(usage, dict) else None
    if not openai.is_int(counted):
        raise Untestable("no input_tokens (see anth.response.schema and anth.usage-start)")
    return {"the blocks": made, "stop_reason": reason, "input_tokens": counted}


@check("anth.count-tokens", on=[COUNT])
def test_tokens_are_counted(seen: Transcript) -> str:
    """POST /messages/count_tokens gives input_tokens, an integer that is not negative."""
    got = openai.response(seen[0])
    if got.status in (401, 403, 429):
        raise Untestable(f"the request was answered with status {got.status}")
    expect(got.status == 200, wanted="200 and input_tokens", got=shown(got))
    value = openai.answer(seen[0])
    count = value.get("input_tokens")
    expect(
        openai.is_int(count) and count >= 0,
        wanted="input_tokens: an integer from 0 up",
        got=f"input_tokens: {count!r}",
    )
    return f"{count} tokens"


@check("anth.count-tokens-near", across=[COUNT, PLAIN])
def test_count_is_near_the_answers(count: Transcript, plain: Transcript) -> str:
    """A count of tokens is near the input_tokens of the answer to the same request."""
    got = openai.answer(count[0]).get("input_tokens")
    usage = anthropic.message(plain[0]).get("usage")
    wanted = usage.get("input_tokens") if isinstance(usage, dict) else None
    if not openai.is_int(got) or not openai.is_int(wanted) or wanted <= 0:
        raise Untestable("no input_tokens (see anth.count-tokens and anth.response.schema)")
    expect(
        abs(got - wanted) <= max(20, wanted // 5),
        wanted=f"a count near {wanted}, as the answer counts",
        got=f"input_tokens: {got}",
    )
    return f"{got} and {wanted} tokens"


@check("anth.models.list", on=[MODELS])
def test_models_are_listed(seen: Transcript) -> str:
    """GET /models gives models with id, type, display_name and created_at, and the page's ends."""
    got = openai.response(seen[0])
    if got.status in (401, 403, 429):
        raise Untestable(f"the request was answered with status {got.status}")
    expect(got.status == 200, wanted="200 and a list of models", got=shown(got))
    value = openai.answer(seen[0])
    data = value.get("data")
    if not isinstance(data, list):
        raise Finding(wanted="data: a list of models", got=f"data: {data!r}")
    for index, row in enumerate(data):
        expect(isinstance(row, dict), wanted=f"data[{index}]: an object", got=row)
        texts = [isinstance(row.get(name), str) for name in ("id", "display_name", "created_at")]
        expect(
            all(texts) and row.get("type") == "model",
            wanted=f"data[{index}]: id, type model, display_name and created_at",
            got=row,
        )
    expect(
        isinstance(value.get("has_more"), bool),
        wanted="has_more: true or false",
        got=f"has_more: {value.get('has_more')!r}",
    )
    for name, place in (("first_id", 0), ("last_id", -1)):
        wanted = data[place]["id"] if data else None
        expect(
            name in value and value[name] == wanted,
            wanted=f"{name}: {wanted!r}",
            got=f"{name}: {value.get(name)!r}",
        )
    return f"{len(data)} models"
