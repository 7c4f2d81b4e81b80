"""The reader of Anthropic's Messages takes what can be taken, and says when there is nothing."""

import json
from typing import Any

import pytest

from gateproof.check import Inconclusive, Untestable
from gateproof.dialects import anthropic
from gateproof.transcript import Ask, Exchange
from gateproof.wire import Read

START = {"type": "message_start", "message": {"id": "m", "usage": {"output_tokens": 1}}}
TEXT = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
TOOL = {
    "type": "content_block_start",
    "index": 1,
    "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}},
}
END = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
    "usage": {"output_tokens": 7},
}


def text(part: str, index: int = 0) -> dict[str, Any]:
    """Return a delta of text."""
    delta = {"type": "text_delta", "text": part}
    return {"type": "content_block_delta", "index": index, "delta": delta}


def piece(part: str, index: int = 1) -> dict[str, Any]:
    """Return a delta of a tool's input."""
    delta = {"type": "input_json_delta", "partial_json": part}
    return {"type": "content_block_delta", "index": index, "delta": delta}


def stop(index: int) -> dict[str, Any]:
    """Return the end of a block."""
    return {"type": "content_block_stop", "index": index}


def exchange(body: bytes, kind: str = "text/event-stream", status: int = 200) -> Exchange:
    """Return an exchange that was answered with this body."""
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return Exchange(
        ask=Ask.json("/messages", {"stream": True}),
        url="http://127.0.0.1:1/v1/messages",
        started_ns=0,
        connected_ns=0,
        ended_ns=2,
        ended="closed",
        received=(Read(1, head.encode() + body),),
    )


def sse(*events: dict[str, Any] | str, named: bool = True) -> bytes:
    """Write events; a text stands for its own data and has no name."""
    written = []
    for event in events:
        if isinstance(event, str):
            written.append(f"data: {event}\n\n")
            continue
        name = f"event: {event.get('type', 'x')}\n" if named else ""
        written.append(f"{name}data: {json.dumps(event)}\n\n")
    return "".join(written).encode()


def test_events_are_known_by_their_data_and_else_by_their_line() -> None:
    """An event has the type of its data, or the name of its line where the data has none."""
    body = sse(START, {"index": 0}) + sse(END, named=False) + sse("[DONE]", "no JSON")
    read = anthropic.stream(exchange(body))

    assert [(event.kind, event.name) for event in read.events] == [
        ("message_start", "message_start"),
        ("x", "x"),
        ("message_delta", None),
    ]
    assert (read.done, read.unreadable) == ((3,), ((4, "no JSON"),))
    assert [event.place.frame for event in read.of("message_delta")] == [2]


def test_blocks_are_put_together() -> None:
    """A stream becomes blocks with their text and their input, and says how it ended."""
    body = sse(
        START, TEXT, {"type": "ping"}, text("He"), text("llo"), stop(0),
        TOOL, piece(""), piece('{"a":'), piece(" 1}"), stop(1), END, {"type": "message_stop"},
    )  # fmt: skip
    message = anthropic.assemble(anthropic.stream(exchange(body)))

    assert [(block.kind, block.text, block.partial_json) for block in message.blocks] == [
        ("text", "Hello", ""),
        ("tool_use", "", '{"a": 1}'),
    ]
    assert [block.stopped for block in message.blocks] == [True, True]
    assert (message.head["id"], message.text) == ("m", "Hello")
    assert message.stop_reason == "end_turn"


def test_a_number_used_twice_feeds_the_later_block() -> None:
    """Deltas belong to the block that last began with their index, and else to none."""
    body = sse(START, TEXT, text("a"), TEXT, text("b"), text("lost", index=5), END)
    message = anthropic.assemble(anthropic.stream(exchange(body)))

    assert [block.text for block in message.blocks] == ["a", "b"]


def test_counts_come_in_their_order() -> None:
    """The counters of usage are read from the start and from the end; others are left out."""
    broken = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": "3"}}
    read = anthropic.stream(exchange(sse(START, broken, END)))

    assert [count for _, count in anthropic.counts(read, "output_tokens")] == [1, 7]


@pytest.mark.parametrize(
    ("body", "kind", "status", "raised"),
    [
        pytest.param(b"{}", "application/json", 200, Untestable, id="no stream"),
        pytest.param(sse(START), "text/event-stream", 500, Untestable, id="refused"),
        pytest.param(sse("[DONE]"), "text/event-stream", 200, Untestable, id="no event"),
    ],
)
def test_what_is_no_stream_is_untestable(
    body: bytes, kind: str, status: int, raised: type[Exception]
) -> None:
    """Without one event that can be read there is nothing to judge."""
    with pytest.raises(raised):
        anthropic.stream(exchange(body, kind, status))


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        pytest.param({"content": [{"type": "text", "text": "a"}]}, "a", id="text"),
        pytest.param({"content": [{"type": "new"}, 7]}, "", id="unknown block"),
        pytest.param({"content": []}, Inconclusive, id="silent model"),
        pytest.param({"content": "a"}, Untestable, id="no blocks"),
    ],
)
def test_messages_are_read(value: dict[str, Any], wanted: str | type[Exception]) -> None:
    """A message has blocks; an empty one is the model's doing, another answer the gateway's."""
    got = exchange(json.dumps(value).encode(), "application/json")
    if isinstance(wanted, str):
        assert anthropic.text_of(anthropic.message(got)) == wanted
    else:
        with pytest.raises(wanted):
            anthropic.message(got)
