"""Answers of every kind are told apart: good ones, flawed ones, failures; and whose they are."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import orjson
import pytest
from gateproof.loadtests import plain, work
from gateproof.loadtests.canary import Watch, canary
from gateproof.loadtests.reply import Reply
from hypothesis import given
from hypothesis import strategies as st

from gateproof.sample import FINDINGS, NEVER, ErrorKind, Flag, Sample
from gateproof.work import KINDS, Work
from tests.load_workload import workload

MS = 1_000_000
JSON = b"application/json"
STREAM = b"text/event-stream"


def answer(body: bytes, content_type: bytes = JSON, status: bytes = b"200 OK") -> bytes:
    """Write a response of known length."""
    return b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (
        status,
        content_type,
        len(body),
        body,
    )


def read(kind: str, data: bytes, *, step: int = 10**9, eof: bool = False, number: int = 1) -> Reply:
    """Read an answer to request ``number`` of a kind, a millisecond a read."""
    reply = workload(Work(kind=kind)).request(number).answer(Sample(sent_ns=1))
    at_ns = 0
    for place in range(0, len(data), step):
        at_ns += MS
        if reply.feed(data[place : place + step], at_ns):
            break
    if eof and not reply.finished:
        reply.eof(at_ns + MS)
    return reply


def judged(reply: Reply) -> tuple[str, set[str], tuple[int, int, int], tuple[int, int]]:
    """Give error, findings, events with output, times of first thought and token, and counts."""
    sample = reply.sample
    flags = {flag.name or "" for flag in Flag(sample.flags) & FINDINGS}
    error = ErrorKind(sample.error).name if reply.finished else "OPEN"
    times = (len(reply.stamps), sample.first_reasoning_ns > 0, sample.first_token_ns > 0)
    return error, flags, times, (sample.prompt_tokens, sample.completion_tokens)


def js(**members: Any) -> bytes:
    """Write a JSON object."""
    return orjson.dumps(members)


USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def chat(**message: Any) -> bytes:
    """Write a chat answer in one piece."""
    return js(choices=[{"message": message, "finish_reason": "stop"}], usage=USAGE)


def event(kind: str, **members: Any) -> bytes:
    """Write an event of Messages."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), js(type=kind, **members))


def delta(**members: Any) -> bytes:
    """Write a block's delta."""
    return event("content_block_delta", index=0, delta=members)


START = event(
    "message_start",
    message={"usage": {"input_tokens": 5, "cache_read_input_tokens": 3, "output_tokens": 1}},
)
PING = event("ping")
THINK = delta(type="thinking_delta", thinking="hm")
WORD = delta(type="text_delta", text="word")
END = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 4})
STOP = event("message_stop")
WHOLE = START + PING + THINK + WORD + WORD + END + STOP

CALL = {"id": "c", "type": "function", "function": {"name": "note", "arguments": "{}"}}
NONE = (0, False, False)
ALL = (2, False, True)


def chunks(*deltas: dict[str, Any]) -> bytes:
    """Write a chat stream."""
    rows = [js(choices=[{"delta": one}]) for one in deltas]
    rows += [js(choices=[{"delta": {}, "finish_reason": "stop"}]), js(choices=[], usage=USAGE)]
    return b"".join(b"data: %b\n\n" % row for row in [*rows, b"[DONE]"])


def texts(*parts: str) -> bytes:
    """Write a text completion's stream."""
    rows = [js(choices=[{"text": part, "finish_reason": None}]) for part in parts]
    rows += [js(choices=[{"text": "", "finish_reason": "stop"}], usage=USAGE)]
    return b"".join(b"data: %b\n\n" % row for row in [*rows, b"[DONE]"])


CASES: dict[str, tuple[str, bytes, Any]] = {
    # name: kind, response, what it is wanted to be judged as
    "chat": ("chat", answer(chat(content="hi")), ("NONE", set(), NONE, (7, 2))),
    "chat-without-usage": (
        "chat",
        answer(js(choices=[{"message": {"content": "hi"}}])),
        ("NONE", {"NO_USAGE", "NO_FINISH"}, NONE, (NEVER, NEVER)),
    ),
    "chat-empty": ("chat", answer(chat(content="")), ("EMPTY", set(), NONE, (7, 2))),
    "chat-error-as-200": (
        "chat",
        answer(js(error={"message": "no"})),
        ("IN_BAND_ERROR", set(), NONE, (NEVER, NEVER)),
    ),
    "chat-of-another-type": (
        "chat",
        answer(chat(content="hi"), b"text/plain"),
        ("NONE", {"WRONG_TYPE"}, NONE, (7, 2)),
    ),
    "chat-as-html": (
        "chat",
        answer(b"<html>", b"text/html"),
        ("MALFORMED_BODY", {"WRONG_TYPE"}, NONE, (NEVER, NEVER)),
    ),
    "chat-of-wrong-shape": (
        "chat",
        answer(js(choices=["hi"])),
        ("MALFORMED_BODY", set(), NONE, (NEVER, NEVER)),
    ),
    "chat-bad-usage": (
        "chat",
        answer(js(choices=[{"message": {"content": "a"}, "finish_reason": "stop"}], usage=[1])),
        ("NONE", {"BAD_USAGE"}, NONE, (NEVER, NEVER)),
    ),
    "chat-cut": ("chat", answer(chat(content="hi"))[:-9], ("CUT", set(), NONE, (NEVER, NEVER))),
    "chat-refused": (
        "chat",
        answer(js(error={}), status=b"429 Slow"),
        ("RATE_LIMITED", set(), NONE, (NEVER, NEVER)),
    ),
    "tools": ("tools", answer(chat(tool_calls=[CALL])), ("NONE", set(), NONE, (7, 2))),
    "tools-without-call": (
        "tools",
        answer(chat(content="no")),
        ("NO_CALL", set(), NONE, (7, 2)),
    ),
    "tools-no-json": (
        "tools",
        answer(chat(tool_calls=[{"function": {"name": "note", "arguments": '{"a": '}}])),
        ("NO_CALL", set(), NONE, (7, 2)),
    ),
    "tools-stream": (
        "tools-stream",
        answer(
            chunks(
                {"role": "assistant", "content": None},
                {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "note"}}]},
                {"tool_calls": [{"index": 0, "function": {"arguments": ""}}]},
                {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
            ),
            STREAM,
        ),
        ("NONE", set(), ALL, (7, 2)),
    ),
    "tools-stream-without-call": (
        "tools-stream",
        answer(chunks({"content": "n"}, {"content": "o"}), STREAM),
        ("NO_CALL", set(), ALL, (7, 2)),
    ),
    "tools-stream-no-json": (
        "tools-stream",
        answer(chunks(*({"tool_calls": [{"function": {"arguments": "{"}}]} for _ in "ab")), STREAM),
        ("NO_CALL", set(), ALL, (7, 2)),
    ),
    "completions": (
        "completions-stream",
        answer(texts("", "a", "b"), STREAM),
        ("NONE", set(), ALL, (7, 2)),
    ),
    "completions-empty": (
        "completions-stream",
        answer(texts("", ""), STREAM),
        ("EMPTY", set(), NONE, (7, 2)),
    ),
    "embeddings": (
        "embeddings",
        answer(js(data=[{"embedding": [0.5]}], usage={"prompt_tokens": 3})),
        ("NONE", set(), NONE, (3, NEVER)),
    ),
    "embeddings-of-many-numbers": (
        "embeddings",
        answer(
            js(
                data=[{"embedding": [-0.5] * 40, "index": 0}, {"embedding": [1] * 40}],
                usage={"prompt_tokens": 3},
            )
        ),
        ("NONE", set(), NONE, (3, NEVER)),
    ),
    "embeddings-one-of-them-empty": (
        "embeddings",
        answer(js(data=[{"embedding": [1, 2]}, {"embedding": []}], usage={"prompt_tokens": 3})),
        ("EMPTY", set(), NONE, (3, NEVER)),
    ),
    "embeddings-cut-off": (
        "embeddings",
        answer(b'{"data": [{"embedding": [0.5, 0.25'),
        ("MALFORMED_BODY", set(), NONE, (NEVER, NEVER)),
    ),
    "embeddings-in-base64": (
        "embeddings",
        answer(js(data=[{"embedding": "AAAA"}], usage={"prompt_tokens": 3})),
        ("NONE", set(), NONE, (3, NEVER)),
    ),
    "embeddings-empty": (
        "embeddings",
        answer(js(data=[{"embedding": []}], usage={"prompt_tokens": 3})),
        ("EMPTY", set(), NONE, (3, NEVER)),
    ),
    "message": (
        "messages",
        answer(
            js(
                type="message",
                content=[{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "hi"}],
                stop_reason="end_turn",
                usage={"input_tokens": 5, "cache_creation_input_tokens": None, "output_tokens": 2},
            )
        ),
        ("NONE", set(), NONE, (5, 2)),
    ),
    "message-error-as-200": (
        "messages",
        answer(js(type="error", error={"type": "overloaded_error"})),
        ("IN_BAND_ERROR", set(), NONE, (NEVER, NEVER)),
    ),
    "messages": (
        "messages-stream",
        answer(WHOLE, STREAM),
        ("NONE", set(), (3, True, True), (8, 4)),
    ),
    "messages-crlf": (
        "messages-stream",
        answer(WHOLE.replace(b"\n", b"\r\n"), STREAM),
        ("NONE", set(), (3, True, True), (8, 4)),
    ),
    "messages-tool-use": (
        "messages-stream",
        answer(START + delta(type="input_json_delta", partial_json="{}") + END + STOP, STREAM),
        ("NONE", set(), (1, False, True), (8, 4)),
    ),
    "messages-error": (
        "messages-stream",
        answer(START + WORD + event("error", error={"type": "overloaded_error"}), STREAM),
        ("IN_BAND_ERROR", set(), (1, False, True), (8, 1)),
    ),
    "messages-without-stop": (
        "messages-stream",
        answer(START + WORD + END, STREAM),
        ("NONE", {"NO_DONE"}, (1, False, True), (8, 4)),
    ),
    "messages-without-reason": (
        "messages-stream",
        answer(START + WORD + STOP, STREAM),
        ("NONE", {"NO_FINISH"}, (1, False, True), (8, 1)),
    ),
    "messages-stops-early": (
        "messages-stream",
        answer(START + WORD, STREAM),
        ("INCOMPLETE", set(), (1, False, True), (8, 1)),
    ),
    "messages-goes-on": (
        "messages-stream",
        answer(WHOLE + PING, STREAM),
        ("NONE", {"AFTER_DONE"}, (3, True, True), (8, 4)),
    ),
    "messages-empty": (
        "messages-stream",
        answer(START + END + STOP, STREAM),
        ("EMPTY", set(), NONE, (8, 4)),
    ),
    "messages-bad-usage": (
        "messages-stream",
        answer(START.replace(b":5", b":-5") + WORD + END + STOP, STREAM),
        ("NONE", {"BAD_USAGE"}, (1, False, True), (NEVER, 4)),
    ),
    "messages-as-chat": (
        "messages-stream",
        answer(chunks({"content": "a"}), STREAM),
        ("MALFORMED_EVENT", set(), NONE, (NEVER, NEVER)),
    ),
}


@pytest.mark.parametrize("step", [10**9, 1, 40], ids=["whole", "bytewise", "by-forty"])
@pytest.mark.parametrize("name", CASES)
def test_answer_is_judged_alike_however_it_is_split(name: str, step: int) -> None:
    """Each kind's answers are judged the same whole, byte by byte, and by forty bytes."""
    kind, data, wanted = CASES[name]

    assert judged(read(kind, data, step=step, eof=True)) == wanted


def test_every_kind_has_a_good_answer_here() -> None:
    """No kind of work is left out of the table."""
    good = {kind for kind, _, wanted in CASES.values() if wanted[:2] == ("NONE", set())}

    assert good >= set(KINDS) - {"chat-stream"}


def test_times_of_a_message_are_told_apart() -> None:
    """Of Messages, the first event, thought and text each have their own time; a ping has none."""
    head, _, body = answer(WHOLE, STREAM).partition(b"\r\n\r\n")
    reply = workload(Work(kind="messages-stream")).request(1).answer(Sample(sent_ns=1))
    reply.feed(head + b"\r\n\r\n", MS)
    for place, one in enumerate(body.split(b"\n\n")[:-1], start=2):
        reply.feed(one + b"\n\n", place * MS)
    sample = reply.sample

    got = [
        sample.first_byte_ns,
        sample.first_event_ns,
        sample.first_reasoning_ns,
        sample.first_token_ns,
        sample.last_token_ns,
        sample.end_ns,
    ]
    assert [at // MS for at in got] == [1, 2, 4, 5, 6, 8]


OWN, OTHER = canary(3, 1), canary(3, 2)


def _said(kind: str, text: str) -> bytes:
    """Write a good answer of a kind that says a text."""
    halves = (text[:9], text[9:])
    if kind == "chat-stream":
        return answer(chunks(*({"content": half} for half in halves)), STREAM)
    if kind == "tools-stream":
        halves = ('{"a": "' + halves[0], halves[1] + '"}')
        calls = [{"tool_calls": [{"function": {"arguments": half}}]} for half in halves]
        return answer(chunks(*calls), STREAM)
    if kind == "completions-stream":
        return answer(texts(*halves), STREAM)
    if kind == "messages-stream":
        words = [delta(type="text_delta", text=half) for half in halves]
        return answer(b"".join([START, *words, END, STOP]), STREAM)
    if kind == "chat":
        return answer(chat(content=text))
    if kind == "tools":
        call = {"function": {"name": "note", "arguments": orjson.dumps({"a": text}).decode()}}
        return answer(chat(tool_calls=[call]))
    return answer(js(content=[{"text": text}], stop_reason="end_turn", usage={"output_tokens": 2}))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "embeddings"])
def test_another_requests_reference_is_a_failure(kind: str) -> None:
    """An answer with a foreign reference is cross-talk; one with its own is evidence of none."""
    got = {}
    for name, text in (("own", OWN), ("foreign", OTHER), ("none", "a long enough text")):
        reply = read(kind, _said(kind, text))
        flags = Flag(reply.sample.flags) & (Flag.OWN_CANARY | Flag.CROSS_TALK)
        got[name] = (ErrorKind(reply.sample.error), flags, OTHER in reply.says)

    assert got == {
        "own": (ErrorKind.NONE, Flag.OWN_CANARY, False),
        "foreign": (ErrorKind.CROSS_TALK, Flag.CROSS_TALK, True),
        "none": (ErrorKind.NONE, Flag(0), False),
    }


def test_thoughts_are_watched_too() -> None:
    """A foreign reference in the reasoning is cross-talk."""
    reply = read("chat-stream", answer(chunks({"reasoning": OTHER}, {"content": "a"}), STREAM))

    assert ErrorKind(reply.sample.error) == ErrorKind.CROSS_TALK
    assert reply.text == "a"


def test_a_failed_answer_can_be_cross_talk_as_well() -> None:
    """What an answer failed by first stays its failure; the cross-talk is flagged all the same."""
    reply = read("chat-stream", answer(chunks({"content": OTHER}), STREAM)[:-60], eof=True)

    assert ErrorKind(reply.sample.error) == ErrorKind.CUT
    assert Flag.CROSS_TALK in Flag(reply.sample.flags)


@pytest.mark.parametrize(
    ("value", "low_ms", "high_ms"),
    [
        ("2", 2000, 2000),
        ("0.25", 250, 250),
        (timedelta(hours=1), 3e6, 3_600_000),
        (timedelta(hours=-1), 0, 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", NEVER, NEVER),
        ("soon", NEVER, NEVER),
        ("-1", NEVER, NEVER),
        ("\xff", NEVER, NEVER),
    ],
)
def test_both_forms_of_retry_after_are_read(
    value: str | timedelta, low_ms: float, high_ms: float
) -> None:
    """Seconds and dates (here: so far from now) are read, what is neither is no wait."""
    if isinstance(value, timedelta):
        value = format_datetime(datetime.now(UTC) + value, usegmt=True)
    head = b"HTTP/1.1 429 Slow\r\nRetry-After: %b\r\nContent-Length: 0\r\n\r\n"
    sample = read("chat", head % value.encode("latin-1")).sample

    assert low_ms <= sample.retry_after_ms <= high_ms


def test_a_plain_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body beyond the limit is a failure, and is not kept."""
    monkeypatch.setattr(plain, "MAX_PLAIN_BYTES", 1000)
    reply = read("chat", answer(chat(content="x" * 2000)), step=100)

    assert ErrorKind(reply.sample.error) == ErrorKind.TOO_LARGE


@given(
    st.sampled_from(sorted(KINDS)),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "choices",
                        "delta",
                        "message",
                        "content",
                        "usage",
                        "error",
                        "type",
                        "text",
                        "data",
                        "embedding",
                        "tool_calls",
                        "function",
                        "arguments",
                        "finish_reason",
                        "stop_reason",
                        "prompt_tokens",
                        "output_tokens",
                        "input_tokens",
                        "completion_tokens_details",
                        "reasoning",
                        "thinking",
                        "name",
                    ]
                )
                | st.text(max_size=3),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ),
)
def test_no_json_breaks_a_reader(kind: str, value: Any) -> None:
    """Whatever JSON comes, as an event or as a body, ends as an answer or as a failure."""
    text = orjson.dumps(value)
    body = b"data: %b\n\n" % text + b"event: message_stop\ndata: %b\n\n" % text
    for data in (answer(text), answer(body, STREAM)):
        assert read(kind, data, eof=True).finished


def test_what_is_watched_stays_small() -> None:
    """Of an endless answer the text is looked through as it comes, and only its beginning kept."""
    request = workload(Work()).request(1)
    watch = []

    def make(*given: Any) -> Any:
        watch.append(Watch(*given))
        return watch[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "Watch", make)
        reply = request.answer(Sample(sent_ns=1))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    reply.feed(head, MS)
    most = 0
    for _ in range(100):
        reply.feed(b"data: %b\n\n" % js(choices=[{"delta": {"content": "x" * 10_000}}]), MS)
        most = max(most, sum(map(len, watch[0].said)))
    reply.eof(MS)

    assert most <= 90_000
    assert len(reply.text) == 32_768
