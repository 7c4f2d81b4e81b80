"""The decoder gives what the standard gives, says what it forgives, and keeps when it came.

Cases are data: each body is fed whole, byte by byte, in two parts at every place, and with a tail.
"""

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateproof.sse import Anomaly, Decoder, Event, Frame, Line, decode

# name: (body, [(type, data, id)], [(kind, offset)])
CASES: dict[str, tuple[bytes, list[tuple[str, str, str]], list[tuple[str, int]]]] = {
    "empty body": (b"", [], []),
    "one event": (b"data: a\n\n", [("message", "a", "")], []),
    "lines join by LF": (b"data: a\ndata: b\ndata: c\n\n", [("message", "a\nb\nc", "")], []),
    "one leading space is taken off": (b"data:  a \n\n", [("message", " a ", "")], []),
    "no space needed": (b"data:a\n\ndata: a\n\n", [("message", "a", "")] * 2, []),
    "a tab is no space": (b"data:\ta\n\n", [("message", "\ta", "")], []),
    "colons in the value": (b"data: a: b:c\n\n", [("message", "a: b:c", "")], []),
    "a named event": (b"event: add\ndata: 1\n\n", [("add", "1", "")], []),
    "the name is for one event": (
        b"event: add\ndata: 1\n\ndata: 2\n\n",
        [("add", "1", ""), ("message", "2", "")],
        [],
    ),
    "the last name holds": (b"event: a\nevent: b\ndata: 1\n\n", [("b", "1", "")], []),
    "an empty name is no name": (b"event: a\nevent\ndata: 1\n\n", [("message", "1", "")], []),
    "an id stays": (
        b"data: a\nid: 1\n\ndata: b\n\nid\ndata: c\n\n",
        [("message", "a", "1"), ("message", "b", "1"), ("message", "c", "")],
        [],
    ),
    "an id stays from a frame without data": (
        b"id: 7\n\ndata: a\n\n",
        [("message", "a", "7")],
        [("no-data", 0)],
    ),
    "an id of an unterminated frame is lost": (
        b"data: a\n\nid: 7\n",
        [("message", "a", "")],
        [("unterminated", 9)],
    ),
    "NUL in id": (
        b"id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n",
        [("message", "a", "1"), ("message", "b", "1")],
        [("nul-in-id", 15)],
    ),
    "a data line without colon is empty data": (b"data\n\n", [("message", "", "")], []),
    "a data line without value is empty data": (b"data:\n\n", [("message", "", "")], []),
    "two empty data lines are a LF": (b"data\ndata\n\n", [("message", "\n", "")], []),
    "empty data at the end of the body": (
        b"data\n\ndata",
        [("message", "", "")],
        [("unterminated", 6)],
    ),
    "comments": (b": ping\n\n:\n:x\ndata: a\n:y\n\n", [("message", "a", "")], []),
    "a frame without data": (b"event: ping\n\n", [], [("no-data", 0)]),
    "blank lines alone": (b"\n\n\n\ndata: a\n\n\n\n", [("message", "a", "")], []),
    "unknown fields": (
        b"Data: a\n data: b\ndata : c\n{}\ndata: d\n\n",
        [("message", "d", "")],
        [("unknown-field", 0), ("unknown-field", 8), ("unknown-field", 17), ("unknown-field", 26)],
    ),
    "retry": (b"retry: 3000\ndata: a\n\n", [("message", "a", "")], []),
    "bad retry": (
        b"retry: 1.5\nretry: -1\nretry:\nretry: \xd9\xa3\ndata: a\n\n",
        [("message", "a", "")],
        [("bad-retry", 0), ("bad-retry", 11), ("bad-retry", 21), ("bad-retry", 28)],
    ),
    "CRLF": (b"data: a\r\ndata: b\r\n\r\n", [("message", "a\nb", "")], []),
    "CR": (b"data: a\rdata: b\r\rdata: c\r\r", [("message", "a\nb", ""), ("message", "c", "")], []),
    "mixed line ends": (
        b"data: a\r\n\rdata: b\n\r\ndata: c\r\r\n",
        [("message", "a", ""), ("message", "b", ""), ("message", "c", "")],
        [],
    ),
    "LF then CR are two line ends": (b"data: a\n\r", [("message", "a", "")], []),
    "a lone CR at the end of the body": (b"data: a\r", [], [("unterminated", 0)]),
    "the blank line lacks": (b"data: a\n", [], [("unterminated", 0)]),
    "the line end lacks": (b"data: a\n\ndata: b", [("message", "a", "")], [("unterminated", 9)]),
    "byte order mark": (b"\xef\xbb\xbfdata: a\n\n", [("message", "a", "")], [("bom", 0)]),
    "byte order mark alone": (b"\xef\xbb\xbf", [], [("bom", 0)]),
    "half a byte order mark": (b"\xef\xbb", [], [("invalid-utf8", 0), ("unterminated", 0)]),
    "only one mark is taken off": (
        b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n",
        [],
        [("bom", 0), ("unknown-field", 3), ("no-data", 3)],
    ),
    "a mark inside is text": (b"data: \xef\xbb\xbfa\n\n", [("message", "\ufeffa", "")], []),
    "invalid UTF-8": (b"data: a\xffb\n\n", [("message", "a\ufffdb", "")], [("invalid-utf8", 7)]),
    "a code point cut by a line end": (
        b"data: \xe2\x82\ndata: \xac\n\n",
        [("message", "\ufffd\n\ufffd", "")],
        [("invalid-utf8", 6), ("invalid-utf8", 15)],
    ),
    "other separators are text": (
        "data: a\u2028b\x0bc\x85d\n\n".encode(),
        [("message", "a\u2028b\x0bc\x85d", "")],
        [],
    ),
    "the end mark of a chat stream": (
        b'data: {"a":1}\n\ndata: [DONE]\n\n',
        [("message", '{"a":1}', ""), ("message", "[DONE]", "")],
        [],
    ),
}  # fmt: skip

# Streams as real ones are: fragments in any order, with the bytes that matter made likely.
FRAGMENTS = st.sampled_from(
    [b"data: a", b"data", b"data:", b":", b"id: 1", b"id: \0", b"event: e", b"retry: x", b"\r",
     b"\n", b"\r\n", b"\n\n", b"\r\r", b" ", b"\xef\xbb\xbf", b"\xe2", b"\x82\xac", b"\0", b"x"]
)  # fmt: skip
BODIES = st.lists(FRAGMENTS | st.binary(max_size=3), max_size=20).map(b"".join)


def feed(parts: Iterable[bytes]) -> tuple[list[Frame], list[Anomaly]]:
    """Feed parts, one a nanosecond."""
    decoder = Decoder()
    frames = []
    for at_ns, part in enumerate(parts):
        frames += decoder.feed(part, at_ns)
    frames += decoder.close()
    return frames, decoder.anomalies


def shape(frames: Iterable[Frame]) -> list[object]:
    """Return what does not depend on time."""
    return [
        (
            frame.lines,
            frame.event and (frame.event.type, frame.event.data, frame.event.id),
            frame.event and (frame.event.start, frame.event.end),
            frame.start,
            frame.end,
            frame.terminated,
        )
        for frame in frames
    ]


def single(body: bytes) -> list[bytes]:
    """Return a body's bytes one by one."""
    return [body[at : at + 1] for at in range(len(body))]


@pytest.mark.parametrize(("body", "events", "anomalies"), CASES.values(), ids=CASES)
def test_a_body_gives_its_events_and_anomalies(
    body: bytes, events: list[tuple[str, str, str]], anomalies: list[tuple[str, int]]
) -> None:
    """A body gives the events of the standard and names what is odd, however it is split."""
    ways = [[body], single(body), *([body[:at], body[at:]] for at in range(1, len(body)))]
    for parts in ways:
        frames, odd = feed(parts)

        assert [(f.event.type, f.event.data, f.event.id) for f in frames if f.event] == events
        assert [(anomaly.kind, anomaly.offset) for anomaly in odd] == anomalies


@pytest.mark.parametrize("body", [case[0] for case in CASES.values()], ids=CASES)
def test_a_tail_changes_nothing_before_it(body: bytes) -> None:
    """Bytes behind a body's last blank line do not change the events before them."""
    closed = body + b"\n\n"
    before = shape(frame for frame in decode(closed)[0])
    after = shape(frame for frame in decode(closed + b"data: tail\n\n")[0])

    assert after[: len(before)] == before


def test_a_frame_keeps_its_lines() -> None:
    """A frame keeps each line as it came: name, value, raw bytes, its end, its offset."""
    frames, _ = decode(b": c\r\ndata:  x\n\n")

    assert frames == [
        Frame(
            (Line("", "c", b": c", b"\r\n", 0), Line("data", " x", b"data:  x", b"\n", 5)),
            Event("message", " x", "", 0, 0, 15),
            0,
            0,
            0,
            15,
        )
    ]
    assert [line.is_comment for line in frames[0].lines] == [True, False]


@pytest.mark.parametrize(
    ("reads", "times"),
    [
        ([b"data: a\n\n", b"data: b\n\n"], [(10, 10), (20, 20)]),
        ([b"data: a\n\ndata: b\n", b"\n"], [(10, 10), (10, 20)]),
        ([b"da", b"ta: a\n", b"\nd", b"ata: b\n\n"], [(10, 30), (30, 40)]),
        ([b"data: a\r\r", b"data: b\r\r"], [(10, 10), (20, 20)]),
        ([b"data: a\r\n\r", b"\ndata: b\n\n"], [(10, 20), (20, 20)]),
        ([b"\xef", b"\xbb\xbfdata: a\n\n"], [(20, 20)]),
        ([b"\n\n", b"data: a\n", b"\n"], [(20, 30)]),
        ([b"data: a\n", b"data: b"], [(10, 20)]),
    ],
    ids=["two reads", "split at the end", "split inside", "CR waits", "CRLF split", "mark split",
         "blank lines first", "unterminated"],
)  # fmt: skip
def test_a_frame_has_the_times_of_its_first_and_last_byte(
    reads: list[bytes], times: list[tuple[int, int]]
) -> None:
    """A frame has the times of the reads that brought its first byte and its last one."""
    decoder = Decoder()
    frames = []
    for number, data in enumerate(reads, 1):
        frames += decoder.feed(data, number * 10)
    frames += decoder.close()

    assert [(frame.first_ns, frame.at_ns) for frame in frames] == times
    assert [f.event.at_ns for f in frames if f.event] == [f.at_ns for f in frames if f.terminated]


def test_a_frame_comes_with_the_read_that_ends_it() -> None:
    """Each read returns at once the frames that it completes."""
    decoder = Decoder()
    returned = [
        [frame.event.data for frame in decoder.feed(data, 0) if frame.event]
        for data in (b"data: a\n", b"\ndata: b\n\nda", b"", b"ta: c\n\n")
    ]

    assert returned == [[], ["a", "b"], [], ["c"]]


@given(BODIES, st.data())
@example(b"\xef\xbb\xbfdata: a\r\n\r\n", None)
def test_splitting_changes_nothing(body: bytes, data: st.DataObject | None) -> None:
    """How the bytes were split into reads changes no frame, no offset and no anomaly."""
    places = st.lists(st.integers(0, len(body)), max_size=8).map(sorted)
    cuts = [0, *(data.draw(places) if data else range(len(body))), len(body)]
    frames, odd = feed(body[a:b] for a, b in itertools.pairwise(cuts))
    whole, whole_odd = decode(body)

    assert shape(frames) == shape(whole)
    assert odd == whole_odd


@given(st.binary(max_size=300) | BODIES)
def test_frames_lose_no_byte(body: bytes) -> None:
    """Frames lie in order and apart, and all bytes between them are marks or blank lines."""
    frames, _ = decode(body)
    at = 0
    for frame in frames:
        assert body[at : frame.start].removeprefix(b"\xef\xbb\xbf").strip(b"\r\n") == b""
        raw = b"".join(line.raw + line.ending for line in frame.lines)
        assert body[frame.start : frame.end].startswith(raw)
        assert body[frame.start + len(raw) : frame.end] in (b"\n", b"\r", b"\r\n", b"")
        at = frame.end
    assert body[at:].removeprefix(b"\xef\xbb\xbf" if at == 0 else b"").strip(b"\r\n") == b""


@given(BODIES)
def test_the_decoder_agrees_with_the_standard(body: bytes) -> None:
    """The events are those of the standard's own algorithm, written down line by line."""
    frames, _ = decode(body)

    assert [(f.event.type, f.event.data, f.event.id) for f in frames if f.event] == by_the_book(
        body
    )


def by_the_book(body: bytes) -> list[tuple[str, str, str]]:
    """Interpret a whole event stream as WHATWG HTML section 9.2.6 words it: slow and plain."""
    text = body.decode("utf-8", errors="replace").removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]
    events = []
    data = kind = last_id = ""
    for line in lines:
        name, colon, value = line.partition(":")
        value = value.removeprefix(" ") if colon else ""
        if not line:
            if data:
                events.append((kind or "message", data.removesuffix("\n"), last_id))
            data = kind = ""
        elif name == "event":
            kind = value
        elif name == "data":
            data += value + "\n"
        elif name == "id" and "\0" not in value:
            last_id = value
    return events


@pytest.mark.parametrize(
    "body",
    [b"data: " + b"x" * (1 << 20) + b"\n\n", b"data: x\n\n" * 100_000, b"\n" * (1 << 20)],
    ids=["one long line", "many events", "blank lines"],
)
@pytest.mark.timeout(20)  # a quadratic decoder needs minutes
def test_one_byte_reads_are_linear(body: bytes) -> None:
    """A mebibyte in one-byte reads is decoded at once, and what is done with is forgotten."""
    decoder = Decoder()
    frames = 0
    for at_ns, byte in enumerate(body):
        frames += len(decoder.feed(b"%c" % byte, at_ns))

    assert frames == body.count(b"x\n\n")
    assert (len(decoder._buffer), len(decoder._arrivals), len(decoder._arrived)) == (0, 0, 0)


def test_of_each_kind_of_anomaly_the_first_are_kept() -> None:
    """A body made of oddities does not make a list of them all; each kind is still told."""
    _, odd = decode(b"\xff\n" * 5000 + b"retry: x\n\n")
    kinds = [anomaly.kind for anomaly in odd]

    assert {kind: kinds.count(kind) for kind in kinds} == {
        "invalid-utf8": 1000, "unknown-field": 1000, "bad-retry": 1, "no-data": 1
    }  # fmt: skip


@pytest.mark.timeout(20)
def test_one_long_line_in_large_reads() -> None:
    """A line of 8 MiB in reads of 64 KiB is one event of that size."""
    body = b"data: " + b"x" * (8 << 20) + b"\n\n"
    frames, odd = feed(body[at : at + 65536] for at in range(0, len(body), 65536))

    assert [len(frame.event.data) for frame in frames if frame.event] == [8 << 20]
    assert odd == []
