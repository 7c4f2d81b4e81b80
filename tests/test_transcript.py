"""A transcript is the wire: its views derive from it, and it survives being written and read."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateproof.transcript import Ask, Exchange, Mark, Transcript, from_json, to_json
from gateproof.wire import Read

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def exchange(*received: bytes, **more: Any) -> Exchange:
    """Make an exchange whose reads come one a nanosecond."""
    given: dict[str, Any] = {
        "ask": Ask.json("/chat/completions", {"stream": True}),
        "url": "http://127.0.0.1/v1/chat/completions",
        "started_ns": 100,
        "connected_ns": 101,
        "ended_ns": 200,
        "ended": "closed",
        "received": tuple(Read(at, data) for at, data in enumerate(received, 150)),
    }
    return Exchange(**{**given, **more})


def test_events_derive_from_the_reads() -> None:
    """Response, frames, events and anomalies are read from the raw bytes, with their times."""
    seen = exchange(HEAD + b"6\r\ndata: \r\n", b"3\r\na\n\n\r\n", b"2\r\n\xffx\r\n0\r\n\r\n")

    assert seen.response is not None
    assert seen.response.body == b"data: a\n\n\xffx"
    assert [(event.data, event.at_ns) for event in seen.events] == [("a", 151)]
    assert [(frame.first_ns, frame.at_ns) for frame in seen.frames] == [(150, 151), (152, 152)]
    assert [anomaly.kind for anomaly in seen.anomalies] == ["invalid-utf8", "unterminated"]


def test_without_a_response_there_are_no_events() -> None:
    """An exchange that brought no head has no response, and no events."""
    seen = exchange(ended="reset")

    assert (seen.response, seen.events, seen.frames, seen.anomalies) == (None, (), (), ())
    assert seen.sent_ns == 100


def test_only_a_proper_end_ends_an_unframed_body() -> None:
    """A body without framing is whole when the peer closed, and not when the wire broke."""
    raw = b"HTTP/1.1 200 OK\r\n\r\nhello"
    whole = [exchange(raw, ended=ended).response for ended in ("closed", "reset", "idle-timeout")]

    assert [response and response.complete for response in whole] == [True, False, False]


def test_exchanges_are_found_by_label() -> None:
    """A transcript gives its exchanges by place and by label."""
    first, second = (exchange(ask=Ask(path="/x", label=label)) for label in ("a", "b"))
    transcript = Transcript(scenario="s", exchanges=(first, second))

    assert (len(transcript), transcript[1]) == (2, second)
    assert transcript.labelled("a") == (first,)


def test_an_ask_is_json() -> None:
    """A JSON ask carries its value, its content type and the headers that were given."""
    ask = Ask.json("/x", {"é": 1}, headers=(("x-a", "b"),), label="l")

    assert ask == Ask(
        path="/x",
        body='{"é": 1}'.encode(),
        headers=(("content-type", "application/json"), ("x-a", "b")),
        label="l",
    )
    assert (ask.value, Ask(path="/x", body=b"{").value) == ({"é": 1}, None)


READS = st.lists(st.builds(Read, st.integers(0, 10**15), st.binary(max_size=40)), max_size=4)
ASKS = st.builds(
    Ask,
    path=st.text(max_size=9),
    method=st.sampled_from(["GET", "POST"]),
    headers=st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=2).map(tuple),
    body=st.binary(max_size=40),
    auth=st.sampled_from(["key", "none", "wrong", "Bearer x"]),
    label=st.text(max_size=5),
    cancel_after_events=st.none() | st.integers(0, 9),
    cancel_after_s=st.none() | st.floats(0, 9),
    idle_timeout_s=st.none() | st.floats(0, 9),
)
EXCHANGES = st.builds(
    Exchange,
    ask=ASKS,
    url=st.text(max_size=9),
    started_ns=st.integers(0, 10**15),
    connected_ns=st.integers(0, 10**15),
    ended_ns=st.integers(0, 10**15),
    ended=st.sampled_from(["closed", "reset", "cancelled", "idle-timeout", "too-large", "refused"]),
    error=st.text(max_size=9),
    sent=READS.map(tuple),
    received=READS.map(tuple),
    marks=st.lists(
        st.builds(
            Mark,
            st.text(max_size=3),
            st.sampled_from(["sent", "received"]),
            st.integers(0, 99),
            st.integers(0, 99),
            st.text(max_size=3),
        ),
        max_size=2,
    ).map(tuple),
    attempts=st.integers(1, 3),
)
VALUES = st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.text(max_size=3))
TRANSCRIPTS = st.builds(
    Transcript,
    scenario=st.text(max_size=9),
    exchanges=st.lists(EXCHANGES, max_size=2).map(tuple),
    canary=st.text(max_size=9),
    upstream=st.none() | st.lists(VALUES, max_size=2).map(tuple),
    problem=st.text(max_size=9),
    use=VALUES,
)


@given(TRANSCRIPTS)
def test_a_transcript_survives_json(transcript: Transcript) -> None:
    """What is written as JSON text is read back equal, times and bytes and all."""
    assert from_json(json.loads(json.dumps(to_json(transcript)))) == transcript


@given(TRANSCRIPTS, st.data())
def test_a_damaged_transcript_is_refused(transcript: Transcript, data: st.DataObject) -> None:
    """A transcript with a value of a wrong kind or without a key raises one of three errors."""
    value = to_json(transcript)
    place: Any = value
    if value["exchanges"] and data.draw(st.booleans()):
        place = value["exchanges"][0]
    key = data.draw(st.sampled_from(sorted(place)))
    if data.draw(st.booleans()):
        del place[key]
    else:
        place[key] = data.draw(st.none() | st.integers() | st.text() | st.lists(st.none()))
    with contextlib.suppress(ValueError, KeyError, TypeError):
        from_json(value)


@pytest.mark.parametrize("ended", ["", "done", None])
def test_an_unknown_end_is_refused(ended: object) -> None:
    """An end that this program does not know is refused, with its name."""
    value = to_json(Transcript(scenario="s", exchanges=(exchange(),)))
    value["exchanges"][0]["ended"] = ended

    with pytest.raises(ValueError, match="unknown end of an exchange"):
        from_json(value)
