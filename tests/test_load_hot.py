"""The short way of answers that flow: however it is taken, an answer reads the same."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from gateproof.loadtests import hot
from gateproof.loadtests.answer import Answer, CompletionsAnswer, MessagesAnswer
from gateproof.loadtests.canary import Watch, canary
from hypothesis import example, given
from hypothesis import strategies as st

from gateproof.sample import ErrorKind, Sample

MS = 1_000_000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
NEEDS_C = pytest.mark.skipif(not hot.COMPILED, reason="there was no C compiler")


def pure() -> Any:
    """Import the Python classes beside the compiled ones."""
    spec = importlib.util.spec_from_file_location("gateproof.loadtests.pure", hot.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATEPROOF_PURE", "1")
        spec.loader.exec_module(module)
    assert not module.COMPILED
    return module


class Closed:
    """A lane that takes nothing."""

    content = False

    def __init__(self, *_about: Any) -> None: ...

    def open(self, room: int) -> None:
        """Stay closed."""

    def shut(self) -> int:
        """Tell that nothing was taken."""
        return 0

    def end(self) -> None:
        """Stay closed."""

    def take(self, _data: bytes, _at_ns: int) -> int:
        """Take nothing."""
        return 0


LANES: dict[str, Any] = {"closed": Closed, "python": pure().Lane, "as-used": hot.Lane}


def event(value: Any, name: str = "", end: str = "\n") -> bytes:
    """Write one event."""
    data = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return ((f"event: {name}{end}" if name else "") + f"data: {data}{end}{end}").encode()


def chat(delta: Any, finish: Any = None, **more: Any) -> dict[str, Any]:
    """Give one chunk of a chat stream."""
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


WORD = chat({"content": "word"})
MARK = canary(1, 7)
FOREIGN = canary(1, 8)
VALUES: list[Any] = [
    WORD,
    WORD,
    WORD,
    chat({"content": " ünï\N{GRINNING FACE}\\"}, usage=None, error=None),
    chat({"content": f" [{MARK}]"}),
    chat({"content": f" [{FOREIGN}]"}),
    chat({"role": "assistant", "content": ""}),
    chat({"content": "both", "reasoning_content": "hm"}),
    chat({"reasoning": "hm"}),
    chat({"content": "last"}, "stop"),
    chat({}, "stop"),
    chat({"content": 7}),
    chat({"content": ["x"]}),
    chat(None),
    chat("text"),
    chat({"content": "x"}, usage={"completion_tokens": 3}),
    chat({"content": "x"}, usage=[]),
    chat({"content": "x"}, error={"message": "late"}),
    chat({"content": "x"}, error=""),
    chat({"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}),
    {"choices": [WORD["choices"][0], WORD["choices"][0]]},
    {"choices": [{"index": 0, "text": "plain"}]},
    {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}},
    {"choices": {}},
    {"choices": [None]},
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "hi"}},
    {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "hm"}},
    {"type": "message_start", "message": {"usage": {"input_tokens": 4}}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
    {"type": "error", "error": {"type": "overloaded_error"}},
    [],
    3,
    None,
    "[DONE]",
    "{broken",
    "\x00",
    "",
]
NAMES = ("", "content_block_delta", "error", " x")
ENDS = ("\n", "\r\n", "\r")
EVENTS = st.one_of(
    st.builds(event, st.sampled_from(VALUES)),
    st.builds(event, st.sampled_from(VALUES), st.sampled_from(NAMES), st.sampled_from(ENDS)),
    st.sampled_from([b": ping\n\n", b"\n", b"id: 1\n\n", b"data:x\n\n", b"\xef\xbb\xbf"]),
    st.just(event(chat({"content": "x" * 70_000}))),
    st.binary(max_size=12),
)


@st.composite
def bodies(draw: st.DrawFn) -> list[bytes]:
    """Draw an answer as reads: mostly a chunk an event, now and then anything."""
    pieces = draw(st.lists(EVENTS, min_size=1, max_size=12))
    wire = [HEAD]
    for piece in pieces:
        size = draw(st.sampled_from([b"%x", b"%x", b"%X", b"00%x", b"%x;a=b"])) % len(piece)
        wire.append(size + draw(st.sampled_from([b"\r\n", b"\r\n", b"\n"])) + piece + b"\r\n")
    wire.append(END)
    how = draw(st.sampled_from(["chunks", "chunks", "whole", "cuts", "spoilt"]))
    data = b"".join(wire)
    if how == "chunks":
        return wire
    if how == "whole":
        return [data]
    if how == "spoilt":  # one byte is another, behind the head
        place = draw(st.integers(len(HEAD), len(data) - 1))
        data = data[:place] + draw(st.binary(min_size=1, max_size=1)) + data[place + 1 :]
    marks = sorted(draw(st.sets(st.integers(1, len(data) - 1), max_size=8)))
    return [data[a:b] for a, b in zip([0, *marks], [*marks, len(data)], strict=True)]


def told(reads: Sequence[bytes], lane: Any, kind: type[Answer], *, watched: bool) -> Any:
    """Read an answer as a connection does, and give everything that it tells."""
    watch = Watch(1, {MARK}) if watched else None
    answer = kind(Sample(sent_ns=1), watch=watch)
    answer.lane = lane(answer._event, answer.stamps, answer._said)
    at_ns = 0
    for data in reads:
        at_ns += MS
        rest = data[answer.lane.take(data, at_ns) :]
        if rest and answer.feed(rest, at_ns):
            break
    if not answer.finished:
        answer.eof(at_ns + MS)
    seen = (answer.text, watch.seen_own, watch.foreign) if watch else None
    return asdict(answer.sample), answer.stamps, answer.says, answer.response.reusable, seen


@pytest.mark.parametrize("kind", [Answer, CompletionsAnswer, MessagesAnswer])
@pytest.mark.parametrize("end", ENDS, ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("first", [WORD, VALUES[7], VALUES[25]], ids=["word", "both", "messages"])
def test_each_event_reads_the_same_by_each_way(
    first: Any, name: str, end: str, kind: type[Answer]
) -> None:
    """Whatever comes in the midst of an answer that flows tells the same with each lane."""
    for value in VALUES:
        pieces = [event(first), event(value, name, end), event(first, end=end)]
        head, *rest = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
        reads = [HEAD + head, *rest, END]
        got = {way: told(reads, lane, kind, watched=True) for way, lane in LANES.items()}

        assert got["python"] == got["closed"], value
        assert got["as-used"] == got["closed"], value


TEXT = '{"choices": [{"delta": {"content": "x"}}]}'
ODD = {
    "cr-in-data": f"data: {TEXT}\r{TEXT}\n\n",
    "cr-before-data": f"\rdata: {TEXT}\n\n",
    "cr-in-name": f"event: a\rb\ndata: {TEXT}\n\n",
    "crlf-behind-name": f"event: x\r\ndata: {TEXT}\r\n\r\n",
    "crlf-behind-name-only": f"event: error\r\ndata: {TEXT}\n\n",
    "crlf-behind-data-only": f"event: error\ndata: {TEXT}\r\n\r\n",
    "crlf-then-lf": f"data: {TEXT}\r\n\n",
    "lf-then-crlf": f"data: {TEXT}\n\r\n",
    "two-crs": f"data: {TEXT}\r\r\n\r\n",
    "two-data-lines": f"data: {TEXT[:12]}\ndata: {TEXT[12:]}\n\n",
    "crlf-then-a-letter": f"data: {TEXT}\r\nA\n",
    "crlf-then-cr": f"data: {TEXT}\r\n\rA",
    "lf-then-a-letter": f"data: {TEXT}\nA",
    "one-line-end": f"data: {TEXT}\n",
    "three-line-ends": f"data: {TEXT}\n\n\n",
    "two-events": f"data: {TEXT}\n\ndata: {TEXT}\n\n",
    "field-behind": f"data: {TEXT}\nid: 1\n\n",
    "names-only": "event: x\nevent: y\n\n",
    "two-names": f"event: x\nevent: error\ndata: {TEXT}\n\n",
    "empty-name": f"event: \ndata: {TEXT}\n\n",
    "no-data": "event: abc\n\n",
    "short": "data: \n",
    "shortest": "data: \n\n",
}


FRAMES = (b"%x\r\n%b\r\n", b"%x\r\n%bXX", b"%x\r\n%b\rX", b"%x\r\n%bX\n", b"%x\r\n%b\n")
FRAMES += (b"%x\n%b\r\n", b"%xX\n%b\r\n", b"0x%x\r\n%b\r\n", b"%x \n%b\r\n", b"%x\rX%b\r\n")


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("name", ["usual", *ODD])
def test_each_odd_shape_reads_the_same_by_each_way(name: str, frame: bytes) -> None:
    """Line ends, fields and frames that a lane does not know are left to who does."""
    good, odd = event(WORD), ODD.get(name, f"data: {TEXT}\n\n").encode()
    usual = b"%x\r\n%b\r\n" % (len(good), good)
    head, *rest = usual, frame % (len(odd), odd), usual
    for reads in ([HEAD + head, *rest, END], [HEAD + head, b"".join(rest) + END]):
        got = {way: told(reads, lane, Answer, watched=False) for way, lane in LANES.items()}

        assert got["python"] == got["closed"]
        assert got["as-used"] == got["closed"]


@given(
    reads=bodies(),
    kind=st.sampled_from([Answer, CompletionsAnswer, MessagesAnswer]),
    watched=st.booleans(),
)
@example(reads=[HEAD, b"8\r\ndata: \n\n\r\n", END], kind=Answer, watched=False)
@example(reads=[HEAD, b"9\r\ndata: x\r\n\r\n\r\n", END], kind=Answer, watched=True)
@example(reads=[HEAD + b"7\r\ndata:\n\n\r\n" + END], kind=MessagesAnswer, watched=False)
@example(reads=[HEAD, b"f\r\nevent: \ndata: x\n\r\n", END], kind=Answer, watched=False)
def test_an_answer_reads_the_same_by_each_way(
    reads: list[bytes], kind: type[Answer], *, watched: bool
) -> None:
    """Times, counts, findings, text and words are the same with each lane and without."""
    got = {name: told(reads, lane, kind, watched=watched) for name, lane in LANES.items()}

    assert got["python"] == got["closed"]
    assert got["as-used"] == got["closed"]


def flowing(count: int) -> Iterator[bytes]:
    """Give the reads of an answer that flows."""
    part = event(WORD)
    chunk = b"%x\r\n%b\r\n" % (len(part), part)
    yield HEAD + chunk
    yield from [chunk] * count
    last = event("[DONE]")
    yield b"%x\r\n%b\r\n%b" % (len(last), last, END)


@pytest.mark.parametrize("name", ["python", "as-used"])
def test_an_answer_that_flows_goes_by_the_lane(name: str) -> None:
    """Of such an answer nothing but its head, its first event and its end goes another way.

    In Python that is so from the second chunk of a size on.
    """
    told(list(flowing(1)), Closed, Answer, watched=False)
    answer = Answer(Sample(sent_ns=1))
    answer.lane = LANES[name](answer._event, answer.stamps, None)
    left = []
    for data in flowing(50):
        rest = data[answer.lane.take(data, MS) :]
        if rest:
            left.append(rest)
            answer.feed(rest, MS)

    assert [len(left), left[1]] == [2, END]
    assert (answer.finished, answer.sample.error, len(answer.stamps)) == (True, 0, 51)


@pytest.mark.parametrize("name", ["python", "as-used"])
def test_the_limit_of_a_body_holds_by_the_lane(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body beyond its limit is refused, whichever way its chunks went."""
    monkeypatch.setattr("gateproof.loadtests.framing.MAX_BODY_BYTES", 1000)
    reads = list(flowing(50))
    sample, stamps, *_ = told(reads, LANES[name], Answer, watched=False)
    part = len(event(WORD))

    assert sample["error"] == ErrorKind.TOO_LARGE
    assert len(stamps) == 1000 // part


@pytest.mark.parametrize("name", ["python", "as-used"])
def test_text_is_looked_through_from_time_to_time(name: str) -> None:
    """However long an answer flows, the text that is kept for its references stays small."""
    watch = Watch(1, {MARK})
    answer = Answer(Sample(sent_ns=1), watch=watch)
    answer.lane = LANES[name](answer._event, answer.stamps, answer._said)
    most = 0
    for data in flowing(5000):
        rest = data[answer.lane.take(data, MS) :]
        if rest:
            answer.feed(rest, MS)
        most = max(most, len(watch.said))

    assert answer.finished
    assert len(answer.stamps) == 5001
    assert most < 64 * 1024 // len(event(WORD)) + 2


@NEEDS_C
def test_a_lane_lets_go_of_its_answer() -> None:
    """The compiled lane, too, keeps nobody alive, and refuses what is no such thing."""
    answer = Answer(Sample(sent_ns=1))
    answer.lane = hot.Lane(answer._event, answer.stamps, None)
    flow = list(flowing(1))[1]
    answer.feed(next(flowing(0)), MS)
    took = answer.lane.take(flow, MS)
    held = sys.getrefcount(answer)
    answer.lane.end()

    assert sys.getrefcount(answer) == held - 1
    assert [took, answer.lane.take(flow, MS), len(answer.stamps)] == [len(flow), 0, 2]
    with pytest.raises(TypeError):
        hot.Lane(answer._event, (), None)  # type: ignore[arg-type]  # that is what is tried
    with pytest.raises(TypeError):
        answer.lane.take("text", MS)  # type: ignore[arg-type]  # that is what is tried


def test_python_is_taken_when_it_is_asked_for() -> None:
    """``GATEPROOF_PURE=1`` keeps to Python; without it what was built is used."""
    script = "from gateproof.loadtests import hot; print(hot.COMPILED, hot.Lane.__module__)"
    said = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "GATEPROOF_PURE": value},
            cwd=Path(__file__).parent.parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for value in ("1", "")
    ]

    assert said[0] == ["False", "gateproof.loadtests.hot"]
    assert said[1][1] == f"gateproof.loadtests.{'speedups' if said[1][0] == 'True' else 'hot'}"
