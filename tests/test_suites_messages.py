"""What the checks of Messages tolerate, on transcripts written by hand.

The proof shows what they find; here is what it cannot show: the lenience that the vendor's promise
to add types asks for, and what depends on a target that the reference server is not.
"""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from gateproof.check import CHECKS, Finding, Inconclusive, Untestable
from gateproof.suite import load_checks
from gateproof.transcript import Ask, Exchange, Mark, Transcript
from gateproof.wire import Read

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 9, "output_tokens": 2},
}
EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]
ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": "Busy."}}


def answer(status: int, body: bytes, kind: str, *, whole: bool = True) -> bytes:
    """Return the bytes of a response, or all but its end."""
    size = len(body) + (0 if whole else 9)
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + body


def plain(value: object, status: int = 200, label: str = "", *, key: bool = True) -> Exchange:
    """Return an exchange that was answered with JSON."""
    return made(answer(status, json.dumps(value).encode(), "application/json"), label, key=key)


def streamed(events: Sequence[dict[str, Any]], label: str = "", *, whole: bool = True) -> Exchange:
    """Return an exchange that was answered with events."""
    body = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events).encode()
    return made(answer(200, body, "text/event-stream", whole=whole), label, stream=True)


def made(received: bytes, label: str, *, key: bool = True, stream: bool = False) -> Exchange:
    """Return an exchange that got this."""
    return Exchange(
        ask=Ask.json("/messages", {"stream": stream}, label=label),
        url="http://127.0.0.1:1/v1/messages",
        started_ns=0,
        connected_ns=0,
        ended_ns=2,
        ended="closed",
        received=(Read(1, received),),
        marks=(Mark("KEY", "sent", 40, 17, "plain"),) if key else (),
    )


def verdict(check: str, *exchanges: Exchange) -> str:
    """Return what a check makes of exchanges: one transcript, or one for each."""
    load_checks()
    found = CHECKS[check]
    seen = [_transcript(item) for item in exchanges] if found.across else [_transcript(*exchanges)]
    try:
        return found.function(*seen) or "pass"
    except (Finding, Inconclusive, Untestable) as raised:
        return type(raised).__name__


def _transcript(*exchanges: Exchange) -> Transcript:
    sends = [{"label": "content"}]
    journal = ({"method": "POST", "body": "gp0-stream", "sends": sends},)
    return Transcript(scenario="x", exchanges=exchanges, canary="gp0", upstream=journal)


def with_event(place: int, *events: dict[str, Any]) -> Exchange:
    """Return a stream with further events."""
    return streamed([*EVENTS[:place], *events, *EVENTS[place:]])


NEW_BLOCK = [
    {"type": "content_block_start", "index": 1, "content_block": {"type": "new_block"}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "new_delta"}},
    {"type": "content_block_stop", "index": 1},
]
CASES: list[tuple[str, str, list[Exchange], str]] = [
    ("two ends", "anth.order", [with_event(4, EVENTS[4])], "pass"),
    ("unknown event", "anth.order", [with_event(2, {"type": "new"})], "also new"),
    ("ping before the start", "anth.order", [with_event(0, {"type": "ping"})], "pass"),
    ("no deltas", "anth.order", [streamed(EVENTS[:2] + EVENTS[3:])], "pass"),
    ("nothing", "anth.order", [streamed([])], "Untestable"),
    ("cut", "anth.order", [streamed(EVENTS[:4], whole=False)], "Untestable"),
    ("cut after the end", "anth.order", [streamed(EVENTS, whole=False)], "pass"),
    ("event after the end", "anth.order", [with_event(6, EVENTS[3])], "Finding"),
    ("unknown block", "anth.delta-type-matches", [with_event(4, *NEW_BLOCK)], "pass"),
    ("unknown block", "anth.block-start-shape", [with_event(4, *NEW_BLOCK)], "pass"),
    ("unknown reason", "anth.stop-reason", [plain({**MESSAGE, "stop_reason": "tired"})],
     "tired, which is none of the documented ones"),
    ("further members", "anth.response.schema", [plain({**MESSAGE, "container": None})], "pass"),
    ("bool as count", "anth.response.schema",
     [plain({**MESSAGE, "usage": {"input_tokens": True, "output_tokens": 2}})], "Finding"),
    ("other answers", "anth.first-delta-kept",
     [streamed(EVENTS), plain({**MESSAGE, "content": [{"type": "text", "text": "Good day"}]})],
     "Inconclusive"),
    ("no text", "anth.first-delta-kept",
     [streamed(EVENTS), plain({**MESSAGE, "content": [{"type": "new"}]})], "Inconclusive"),
    ("another answer", "anth.stream-eq-nonstream",
     [plain(MESSAGE), plain({**MESSAGE, "stop_reason": "max_tokens"}), streamed(EVENTS)],
     "Inconclusive"),
    ("estimate", "anth.count-tokens-near", [plain({"input_tokens": 25}), plain(MESSAGE)],
     "25 and 9 tokens"),
    ("no headers", "anth.rate-limit-headers", [plain(MESSAGE)], "none of them there"),
    ("unknown type", "anth.error-status",
     [plain({"type": "error", "error": {"type": "new_error", "message": "m"}}, 418)],
     "418 new_error"),
    ("overloaded", "anth.error-status", [plain(ERROR, 529)], "529 overloaded_error"),
    ("no key needed", "anth.auth-bearer", [plain(MESSAGE, label="bearer", key=False)],
     "the target takes no key"),
    ("key taken", "anth.auth-x-api-key", [plain(MESSAGE, label="x-api-key")], "pass"),
    ("another mistake", "anth.auth-x-api-key", [plain(ERROR, 404, "x-api-key")], "Untestable"),
    ("refused for the key", "anth.version-missing", [plain(ERROR, 401, "none")], "Untestable"),
    ("held back", "anth.error-event", [plain(ERROR, 529, "stream")], "status 529"),
    ("cut off", "anth.error-event", [streamed(EVENTS[:3], "stream", whole=False)],
     "broken transfer (closed)"),
    ("as an event", "anth.error-event", [streamed([*EVENTS[:3], ERROR], "stream")],
     "an error event"),
    ("hidden", "anth.error-event", [streamed(EVENTS, "stream")], "Finding"),
    ("model stopped early", "anth.stop-sequence", [plain(MESSAGE)], "Inconclusive"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "exchanges", "wanted"),
    [pytest.param(*case[1:], id=f"{case[1]}: {case[0]}") for case in CASES],
)
def test_lenience(check: str, exchanges: list[Exchange], wanted: str) -> None:
    """A check tolerates what the vendor may add, and blames no gateway for its model."""
    assert verdict(check, *exchanges) == wanted
