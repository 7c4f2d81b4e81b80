"""The load client's reading of answers: the same figures however the bytes were split."""

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from gateproof.loadtests import framing
from gateproof.loadtests.answer import Answer
from gateproof.loadtests.events import EventReader
from gateproof.loadtests.framing import Broken, Response
from hypothesis import given
from hypothesis import strategies as st

from gateproof.sample import FINDINGS, NEVER, ErrorKind, Flag, Sample
from gateproof.sse import decode

MS = 1_000_000
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def event(delta: Any = None, *, finish: str | None = None, end: str = "\n", **more: Any) -> bytes:
    """Write one event of a chat stream."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return f"data: {json.dumps({'choices': choices, **more})}{end}{end}".encode()


def chunked(*parts: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """Write a chunked answer, a chunk for each part."""
    return CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + end


ROLE = event({"role": "assistant", "content": ""})
WORD = event({"content": "word"})
THINK = event({"reasoning_content": "hm"})
STOP = event({}, finish="stop")
USAGE = event(usage={"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9})
DONE = b"data: [DONE]\n\n"
GOOD = (ROLE, WORD, WORD, STOP, USAGE, DONE)
PLAIN = b"".join(GOOD)


def whole(data: bytes) -> Iterator[bytes]:
    """Give all bytes in one read."""
    yield data


def bytewise(data: bytes) -> Iterator[bytes]:
    """Give one byte a read."""
    for place in range(len(data)):
        yield data[place : place + 1]


def by_forty(data: bytes) -> Iterator[bytes]:
    """Give forty bytes a read."""
    for place in range(0, len(data), 40):
        yield data[place : place + 40]


SPLITS = pytest.mark.parametrize("split", [whole, bytewise, by_forty])


def read(data: bytes, split: Callable[[bytes], Iterator[bytes]], *, eof: bool = False) -> Answer:
    """Read an answer, one millisecond a read."""
    answer = Answer(Sample(sent_ns=1))
    at_ns = 0
    for part in split(data):
        at_ns += MS
        if answer.feed(part, at_ns):
            break
    if eof and not answer.finished:
        answer.eof(at_ns + MS)
    return answer


def judged(answer: Answer) -> tuple[str, int, set[str], int, int]:
    """Give what matters of an answer: error, status, findings, events with output, completion."""
    sample = answer.sample
    flags = {flag.name or "" for flag in Flag(sample.flags) & FINDINGS}
    error = ErrorKind(sample.error).name if answer.finished else "OPEN"
    return error, sample.status, flags, len(answer.stamps), sample.completion_tokens


ANSWERS: dict[str, tuple[bytes, bool, tuple[str, int, set[str], int, int]]] = {
    "chunked": (chunked(*GOOD), False, ("NONE", 200, set(), 2, 2)),
    "one-chunk": (chunked(PLAIN), False, ("NONE", 200, set(), 2, 2)),
    "sized": (
        OK + b"Content-Length: %d\r\n\r\n" % len(PLAIN) + PLAIN,
        False,
        ("NONE", 200, set(), 2, 2),
    ),
    "closed": (OK + b"\r\n" + PLAIN, True, ("NONE", 200, set(), 2, 2)),
    "http-1.0": (OK.replace(b"1.1", b"1.0") + b"\r\n" + PLAIN, True, ("NONE", 200, set(), 2, 2)),
    "interim-head": (
        b"HTTP/1.1 100 Continue\r\n\r\n" + chunked(*GOOD),
        False,
        ("NONE", 200, set(), 2, 2),
    ),
    "chunk-extensions": (
        CHUNKED + b"0%X;a=b\r\n%b\r\n0\r\nX: y\r\n\r\n" % (len(PLAIN), PLAIN),
        False,
        ("NONE", 200, set(), 2, 2),
    ),
    "crlf": (chunked(PLAIN.replace(b"\n", b"\r\n")), False, ("NONE", 200, set(), 2, 2)),
    "cr": (chunked(PLAIN.replace(b"\n", b"\r")), False, ("NONE", 200, set(), 2, 2)),
    "byte-order-mark": (chunked(b"\xef\xbb\xbf" + PLAIN), False, ("NONE", 200, set(), 2, 2)),
    "comments": (
        chunked(b": ping\n\n", ROLE, b": ping\n", *GOOD),
        False,
        ("NONE", 200, set(), 2, 2),
    ),
    "no-space": (chunked(PLAIN.replace(b"data: ", b"data:")), False, ("NONE", 200, set(), 2, 2)),
    "multi-line-data": (
        chunked(PLAIN.replace(b'"choices": ', b'"choices":\ndata: ')),
        False,
        ("NONE", 200, set(), 2, 2),
    ),
    "several-tokens-an-event": (
        chunked(WORD, WORD, STOP, USAGE.replace(b'_tokens": 2', b'_tokens": 8'), DONE),
        False,
        ("NONE", 200, set(), 2, 8),
    ),
    "no-done": (chunked(*GOOD[:-1]), False, ("NONE", 200, {"NO_DONE"}, 2, 2)),
    "done-unterminated": (
        chunked(*GOOD[:-1], b"data: [DONE]"),
        False,
        ("NONE", 200, {"NO_DONE"}, 2, 2),
    ),
    "no-usage": (chunked(WORD, STOP, DONE), False, ("NONE", 200, {"NO_USAGE"}, 1, NEVER)),
    "no-finish": (chunked(WORD, USAGE, DONE), False, ("NONE", 200, {"NO_FINISH"}, 1, 2)),
    "bad-usage": (
        chunked(WORD, STOP, USAGE.replace(b'ion_tokens": 2', b'ion_tokens": -2'), DONE),
        False,
        ("NONE", 200, {"BAD_USAGE"}, 1, NEVER),
    ),
    "after-done": (chunked(*GOOD, WORD), False, ("NONE", 200, {"AFTER_DONE"}, 2, 2)),
    "wrong-type": (
        chunked(*GOOD).replace(b"text/event-stream", b"application/json"),
        False,
        ("NONE", 200, {"WRONG_TYPE"}, 2, 2),
    ),
    "end-without-last-chunk": (
        chunked(*GOOD, end=b""),
        True,
        ("NONE", 200, {"UNENDED"}, 2, 2),
    ),
    "cut": (chunked(*GOOD[:3], end=b""), True, ("CUT", 200, set(), 2, NEVER)),
    "cut-in-a-chunk": (chunked(*GOOD[:3])[:-30], True, ("CUT", 200, set(), 1, NEVER)),
    "cut-short-of-its-length": (
        OK + b"Content-Length: 9999\r\n\r\n" + PLAIN[:-40],
        True,
        ("CUT", 200, set(), 2, NEVER),
    ),
    "stops-early": (chunked(ROLE, WORD), False, ("INCOMPLETE", 200, set(), 1, NEVER)),
    "in-band-error": (
        chunked(ROLE, WORD, b'data: {"error": {"message": "overloaded"}}\n\n', DONE),
        False,
        ("IN_BAND_ERROR", 200, set(), 1, NEVER),
    ),
    "in-band-error-by-name": (
        chunked(ROLE, WORD, b'event: error\ndata: {"detail": "x"}\n\n'),
        False,
        ("IN_BAND_ERROR", 200, set(), 1, NEVER),
    ),
    "error-as-200": (
        chunked(b'{"error": {"message": "no"}}').replace(b"text/event-stream", b"application/json"),
        False,
        ("IN_BAND_ERROR", 200, {"WRONG_TYPE"}, 0, NEVER),
    ),
    "html": (
        chunked(b"<html>hello</html>").replace(b"text/event-stream", b"text/html"),
        False,
        ("NOT_A_STREAM", 200, {"WRONG_TYPE"}, 0, NEVER),
    ),
    "no-tokens": (chunked(ROLE, STOP, DONE), False, ("EMPTY", 200, set(), 0, NEVER)),
    "no-json": (
        chunked(WORD, b"data: oops\n\n", DONE),
        False,
        ("MALFORMED_EVENT", 200, set(), 1, NEVER),
    ),
    "empty-data": (
        chunked(WORD, b"data:\n\n", DONE),
        False,
        ("MALFORMED_EVENT", 200, set(), 1, NEVER),
    ),
    "choices-of-wrong-type": (
        chunked(b'data: {"choices": [3]}\n\n', DONE),
        False,
        ("MALFORMED_EVENT", 200, set(), 0, NEVER),
    ),
    "rate-limited": (
        b"HTTP/1.1 429 Slow Down\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\n{}",
        False,
        ("RATE_LIMITED", 429, set(), 0, NEVER),
    ),
    "server-error": (
        b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops",
        False,
        ("SERVER_ERROR", 500, set(), 0, NEVER),
    ),
    "error-cut-short": (
        b"HTTP/1.1 503 Oops\r\nContent-Length: 40\r\n\r\noops",
        True,
        ("SERVER_ERROR", 503, {"UNENDED"}, 0, NEVER),
    ),
    "redirect": (
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
        False,
        ("STATUS", 302, set(), 0, NEVER),
    ),
    "no-content": (b"HTTP/1.1 204 None\r\n\r\n", False, ("STATUS", 204, set(), 0, NEVER)),
    "compressed": (
        OK + b"Content-Encoding: gzip\r\n\r\n",
        True,
        ("ENCODED", 200, set(), 0, NEVER),
    ),
    "nothing": (b"", True, ("RESET", 0, set(), 0, NEVER)),
    "cut-head": (OK, True, ("CUT", 0, set(), 0, NEVER)),
    "not-http": (b"SSH-2.0-OpenSSH\r\n\r\n", False, ("MALFORMED_HTTP", 0, set(), 0, NEVER)),
    "bad-header": (OK + b"nonsense\r\n\r\n", False, ("MALFORMED_HTTP", 0, set(), 0, NEVER)),
    "bad-chunk-size": (CHUNKED + b"zz\r\n", False, ("MALFORMED_HTTP", 200, set(), 0, NEVER)),
    "negative-chunk-size": (CHUNKED + b"-5\r\n", False, ("MALFORMED_HTTP", 200, set(), 0, NEVER)),
    "chunk-too-long": (CHUNKED + b"1\r\nab\r\n", False, ("MALFORMED_HTTP", 200, set(), 0, NEVER)),
    "two-lengths": (
        OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n",
        False,
        ("MALFORMED_HTTP", 0, set(), 0, NEVER),
    ),
}


@SPLITS
@pytest.mark.parametrize("name", ANSWERS)
def test_answer_is_judged_alike_however_it_is_split(
    name: str, split: Callable[[bytes], Iterator[bytes]]
) -> None:
    """Each kind of answer is judged the same whole, byte by byte, and in pieces of forty bytes."""
    data, eof, wanted = ANSWERS[name]

    assert judged(read(data, split, eof=eof)) == wanted


@SPLITS
def test_what_follows_an_answer_spoils_the_connection(
    split: Callable[[bytes], Iterator[bytes]],
) -> None:
    """Bytes behind a whole answer change no figure, but the connection is not used again."""
    answer = Answer(Sample(sent_ns=1))
    for part in split(chunked(*GOOD) + b"HTTP/1.1 200 OK\r\n\r\n"):
        answer.feed(part, MS)

    assert judged(answer) == ("NONE", 200, set(), 2, 2)
    assert not answer.response.reusable


@pytest.mark.parametrize(
    ("data", "reusable"),
    [
        (chunked(*GOOD), True),
        (chunked(*GOOD).replace(b"\r\nTrans", b"\r\nConnection: Close\r\nTrans"), False),
        (chunked(*GOOD).replace(b"HTTP/1.1", b"HTTP/1.0"), False),
        (b"HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n", True),
    ],
    ids=["kept", "close", "http-1.0", "error"],
)
def test_connection_is_kept_when_the_answer_lets_it(data: bytes, *, reusable: bool) -> None:
    """A whole answer leaves the connection open unless it says otherwise."""
    assert read(data, whole).response.reusable is reusable


def test_times_are_told_apart() -> None:
    """First byte, role, reasoning, content, last token and [DONE] each have their own time."""
    answer = Answer(Sample(sent_ns=1))
    parts = [b"", ROLE, THINK, THINK, event({"content": ""}), WORD, WORD, STOP, USAGE, DONE]
    head, *frames = [CHUNKED, *(b"%x\r\n%b\r\n" % (len(part), part) for part in parts[1:])]
    for place, data in enumerate([head, *frames, b"0\r\n\r\n"], start=1):
        answer.feed(data, place * MS)
    sample = answer.sample

    got = [
        sample.first_byte_ns,
        sample.first_event_ns,
        sample.first_reasoning_ns,
        sample.first_token_ns,
        sample.last_token_ns,
        sample.end_ns,
    ]
    assert [at // MS for at in got] == [1, 2, 3, 6, 7, 10]
    assert [at // MS for at in answer.stamps] == [3, 4, 6, 7]


def test_tool_calls_are_output() -> None:
    """A tool call's delta is a token; an empty list of them is none."""
    call = event({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]})
    answer = read(chunked(event({"tool_calls": []}), call, STOP, DONE), whole)

    assert len(answer.stamps) == 1


def test_costs_and_waits_are_read() -> None:
    """The cost is kept in nano-dollars, reasoning tokens and Retry-After as they came."""
    usage = {
        "completion_tokens": 5,
        "completion_tokens_details": {"reasoning_tokens": 3},
        "cost_usd_total": 0.000285,
    }
    sample = read(chunked(WORD, STOP, event(usage=usage), DONE), whole).sample
    limited = b"HTTP/1.1 429 No\r\nRetry-After: 1.5\r\nContent-Length: 0\r\n\r\n"

    assert (sample.cost_nano_usd, sample.reasoning_tokens) == (285_000, 3)
    assert read(limited, whole).sample.retry_after_ms == 1500


@pytest.mark.parametrize(
    "data",
    [
        OK + b"X: " + b"a" * (65 * 1024),
        CHUNKED + b"1;" + b"a" * 9000,
        OK + b"\r\n" + b"data: " + b"a" * (1024 * 1024 + 1),
        chunked(*GOOD, end=b"0\r\n" + b"X: y\r\n" * 20_000),
    ],
    ids=["head", "size-line", "event", "trailers"],
)
def test_hostile_sizes_end_the_answer(data: bytes) -> None:
    """A head, a size line or an event beyond its limit is a failure, and is not kept."""
    answer = read(data, lambda text: (text[at : at + 4096] for at in range(0, len(text), 4096)))

    too_large = (ErrorKind.TOO_LARGE, set[str]())
    done = (ErrorKind.NONE, {"UNENDED"})
    got = (answer.sample.error, judged(answer)[2])
    assert got in (too_large, done)


def test_endless_body_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body beyond its limit is a failure."""
    monkeypatch.setattr(framing, "MAX_BODY_BYTES", 200)

    assert judged(read(OK + b"\r\n" + PLAIN, whole))[0] == "TOO_LARGE"


LINES = st.lists(
    st.sampled_from(
        [b"data: a", b"data:b", b"data", b": c", b"event: e", b"id: 1", b"", b"", b"x"]
    ),
    max_size=20,
)
ENDS = st.lists(st.sampled_from([b"\n", b"\r", b"\r\n"]), min_size=20, max_size=20)
CUTS = st.lists(st.integers(0, 120), max_size=8)


@given(LINES, ENDS, CUTS, st.sampled_from([b"", b"\xef\xbb\xbf"]))
def test_events_are_those_of_the_judge(
    lines: list[bytes], ends: list[bytes], cuts: list[int], mark: bytes
) -> None:
    """The quick reader dispatches the same events as the decoder that conformance is judged by."""
    body = mark + b"".join(line + end for line, end in zip(lines, ends, strict=False))
    got: list[tuple[str, str]] = []
    reader = EventReader(
        lambda name, data, _at: got.append((name.decode() or "message", data.decode()))
    )
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    for start, stop in pairwise(places):
        reader.feed(body[start:stop], 0)

    frames, _ = decode(body)
    assert got == [(f.event.type, f.event.data) for f in frames if f.event is not None]


@given(st.binary(max_size=400), CUTS)
def test_no_bytes_break_the_reader(data: bytes, cuts: list[int]) -> None:
    """Whatever comes ends as an answer, a failure or a wait for more, never as an exception."""
    for start in (b"", OK, CHUNKED, CHUNKED + b"5\r\n"):
        answer = Answer(Sample(sent_ns=1))
        places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
        answer.feed(start, 1)
        for low, high in pairwise(places):
            answer.feed(data[low:high], 2)
        if not answer.finished:
            answer.eof(3)

        assert answer.finished


def test_broken_says_what_it_saw() -> None:
    """A response that cannot be read names the bytes that it met."""
    response = Response(lambda _status, _headers: lambda _data, _at: None)
    with pytest.raises(Broken, match="not a status line: b'hello'"):
        response.feed(b"hello", 0)


PIECES = st.sampled_from(
    [
        ROLE,
        WORD,
        WORD,
        THINK,
        STOP,
        USAGE,
        DONE,
        WORD[:-1],
        b"\n",
        b"\r",
        WORD.replace(b"\n", b"\r\n"),
        WORD.replace(b"\n", b"\r"),
        WORD[:9] + b"\rdata: " + WORD[9:],
        b": ping\n\n",
        b"event: x\n" + WORD,
        b"data: {}\n" + WORD,
        b"data: not JSON\n\n",
        event({"content": "wörd \u2028"}),
        event({"content": "w" * 300}),
        event(error={"message": "no"}),
        WORD + WORD,
        b"d",
        b"ata: [DONE]\n\n",
    ]
)


@given(st.lists(PIECES, max_size=12), st.booleans(), st.integers(1, 4))
def test_whole_chunks_are_read_as_any_other_cut(
    pieces: list[bytes],
    right: bool,  # noqa: FBT001  # drawn
    few: int,
) -> None:
    """The short way, of reads that bring a few whole chunks, judges as the long way does."""
    head = CHUNKED if right else CHUNKED.replace(b"event-stream", b"plain")
    parts = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    parts = [head, *parts, b"0\r\n\r\n"]

    long = read(b"".join(parts), bytewise)  # first: it learns the sizes that the short way knows
    reads = [b"".join(parts[at : at + few]) for at in range(0, len(parts), few)]
    short = read(b"", lambda _: iter(reads))

    assert judged(short) == judged(long)
    assert short.says == long.says
    assert short.response.reusable == long.response.reusable


def test_a_flood_of_single_chunks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks that are read the short way count as much as all others."""
    monkeypatch.setattr(framing, "MAX_BODY_BYTES", 40 * len(WORD))
    part = b"%x\r\n%b\r\n" % (len(WORD), WORD)

    flood = read(b"", lambda _: iter([CHUNKED, *([part] * 50)]))

    assert judged(flood)[0] == "TOO_LARGE"
    assert len(flood.stamps) == 40


def test_data_that_looks_like_a_chunk_is_data() -> None:
    """The short way is for reads that begin where a chunk begins, and for those only."""
    frame = b"%x\r\n%b\r\n" % (len(WORD), WORD)
    outer = b"%x\r\n" % len(frame)

    parts = [chunked(ROLE, WORD, end=b""), frame, outer, frame, b"\r\n", b"0\r\n\r\n"]
    long = read(b"".join(parts), bytewise)
    short = read(b"", lambda _: iter(parts))

    assert judged(short) == judged(long)
    assert judged(short)[3] == 3
