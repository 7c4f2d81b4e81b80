"""Checks of the event stream's frames: what stands on the wire, and what clients make of it.

They read the bytes by the WHATWG's rules. Where an oddity of one kind makes another check's reading
doubtful, the other is untestable or looks past it, so that one defect is one finding.
"""

from gateproof.check import Finding, Inconclusive, Place, Untestable, check, expect
from gateproof.dialects import openai
from gateproof.sse import Frame
from gateproof.transcript import Exchange, Transcript

from .reading import accepted, oddness, pieces, shown, streamed, uncut, unreadable
from .scenarios import messages
from .scenarios.chat import (
    EVENTS,
    PLAIN,
    SEPARATED,
    SEPARATORS,
    STREAM,
    STREAM_ALONE,
    STREAM_USAGE,
)
from .scenarios.tools import AUTO_STREAM

STREAMS = (STREAM, STREAM_USAGE, AUTO_STREAM)
# What the standards say holds for the streams of every dialect.
ALL_STREAMS = (*STREAMS, messages.STREAM, messages.TOOLS_STREAM)
LINGER_NS = 2_000_000_000  # ten times what a slow proxy takes to close, a tenth of a client's limit
BURST_NS = 5_000_000  # a second flight of TCP comes a round trip later, thus not within one burst
TOO_FAST_NS = 800_000_000  # what is done sooner may rightly come at once, or wait for our client


def _frames(exchange: Exchange) -> tuple[Frame, ...]:
    """Return the frames of an answer that holds events; ``Untestable`` otherwise."""
    got = openai.response(exchange)
    if got.status != 200:
        raise Untestable(f"the request was answered with status {got.status}")
    if not exchange.events:
        raise Untestable(f"the answer ({got.media_type or 'no content type'}) holds no event")
    return exchange.frames


def _place(index: int, frame: Frame) -> Place:
    return Place(frame=index, offset=frame.start)


def _data(exchange: Exchange) -> list[tuple[Place, str, bool]]:
    """Return each event's data with its place, the last one also when its blank line is missing.

    The third value says whether the blank line was there.
    """
    found = []
    for index, frame in enumerate(_frames(exchange)):
        lines = [line.value for line in frame.lines if line.name == "data" and not line.is_comment]
        if lines:
            found.append((_place(index, frame), "\n".join(lines), frame.terminated))
    return found


def _is_done(data: str) -> bool:
    return data == openai.DONE or oddness(data) == "done"


@check("sse.content-type", on=ALL_STREAMS)
def test_stream_says_what_it_is(seen: Transcript) -> None:
    """A streamed answer says Content-Type text/event-stream."""
    _frames(seen[0])
    got = openai.response(seen[0])
    expect(
        got.media_type == "text/event-stream",
        wanted="content-type: text/event-stream",
        got=got.header("content-type") or "no content-type",
    )


@check("sse.done-terminator", on=STREAMS)
def test_one_done(seen: Transcript) -> None:
    """A stream holds exactly one end mark, data: [DONE]."""
    uncut(seen[0])
    marks = [place for place, data, _ in _data(seen[0]) if _is_done(data)]
    expect(
        len(marks) == 1,
        wanted="exactly one data: [DONE]",
        got=f"{len(marks)} of them in {len(seen[0].frames)} frames",
        at=marks[-1] if marks else _place(len(seen[0].frames) - 1, seen[0].frames[-1]),
    )


@check("sse.no-data-after-done", on=STREAMS)
def test_nothing_after_done(seen: Transcript) -> None:
    """After the end mark come only comments and blank lines."""
    done = False
    for index, frame in enumerate(_frames(seen[0])):
        fields = [line for line in frame.lines if not line.is_comment]
        data = "\n".join(line.value for line in fields if line.name == "data")
        if done and fields and not _is_done(data):
            raise Finding(
                wanted="nothing but comments after data: [DONE]",
                got=fields[0].raw[:160].decode("utf-8", errors="replace"),
                at=_place(index, frame),
            )
        done = done or _is_done(data)
    if not done:
        raise Untestable("the stream has no end mark")


@check("sse.done-literal", on=STREAMS)
def test_done_is_spelt_right(seen: Transcript) -> None:
    """The end mark is the six characters [DONE]."""
    marks = [(place, data) for place, data, _ in _data(seen[0]) if _is_done(data)]
    if not marks:
        raise Untestable("the stream has no end mark")
    for place, data in marks:
        expect(data == openai.DONE, wanted="data: [DONE]", got=f"data: {data}", at=place)


@check("sse.close-after-done", on=[STREAM])
def test_body_ends_after_done(seen: Transcript) -> None:
    """The response ends soon after the end mark."""
    exchange = seen[0]
    marks = [frame for frame in _frames(exchange) if frame.event and _is_done(frame.event.data)]
    if not marks:
        raise Untestable("the stream has no end mark")
    after_ns = exchange.ended_ns - marks[0].at_ns
    expect(
        exchange.ended == "closed" and after_ns < LINGER_NS,
        wanted=f"the end of the body within {LINGER_NS // 10**9} s of [DONE]",
        got=f"{exchange.ended} after {after_ns / 1e9:.1f} s",
    )


@check("sse.frame-blank-line", on=ALL_STREAMS)
def test_every_event_is_terminated(seen: Transcript) -> None:
    """Every event is ended by a blank line, the last one too."""
    got = openai.response(seen[0])
    frames = _frames(seen[0])
    if not got.complete or got.surplus:
        raise Untestable("the body is not as long as its framing says, so that its end is missing")
    for index, frame in enumerate(frames):
        expect(
            frame.terminated,
            wanted="a blank line after every event",
            got=f"the body ends after {frame.lines[-1].raw[:80]!r}",
            at=_place(index, frame),
        )


@check("sse.one-json-per-frame", on=ALL_STREAMS)
def test_one_document_an_event(seen: Transcript) -> None:
    """The data of an event is one JSON document."""
    for place, data, _ in _data(seen[0]):
        expect(
            oddness(data) != "several",
            wanted="one JSON document in each event",
            got=data[:200],
            at=place,
        )


@check("sse.no-empty-data", on=STREAMS)
def test_no_empty_data(seen: Transcript) -> None:
    """No event has empty data."""
    for place, data, _ in _data(seen[0]):
        expect(data.strip(), wanted="data in every event", got=f"data: {data!r}", at=place)


@check("sse.no-comment-as-data", on=STREAMS)
def test_no_comment_as_data(seen: Transcript) -> None:
    """No comment of an upstream is sent on as data."""
    for place, data, _ in _data(seen[0]):
        expect(
            data == openai.DONE or oddness(data) != "comment",
            wanted="comments as comments, never as data",
            got=f"data: {data[:160]}",
            at=place,
        )


@check("sse.no-dataless-frames", on=STREAMS)
def test_no_event_without_data(seen: Transcript) -> None:
    """No event consists of event:, retry: or id: lines alone."""
    for index, frame in enumerate(_frames(seen[0])):
        names = {line.name for line in frame.lines if not line.is_comment}
        expect(
            not frame.terminated or "data" in names or not names & {"event", "retry", "id"},
            wanted="data in every event (openai-python fails on an event without)",
            got=b" / ".join(line.raw for line in frame.lines)[:160].decode(errors="replace"),
            at=_place(index, frame),
        )


@check("sse.no-id-with-keepalive", on=STREAMS)
def test_no_ids_beside_comments(seen: Transcript) -> None:
    """id: lines and comment keep-alives do not occur in one stream."""
    lines = [line for frame in _frames(seen[0]) for line in frame.lines]
    ids = [line for line in lines if line.name == "id" and not line.is_comment]
    if not ids:
        return
    later = [line for line in lines if line.is_comment and line.start > ids[0].start]
    expect(
        not later,
        wanted="no comment after an id: line (openai-python makes an empty event of it)",
        got=f"{ids[0].raw[:60]!r}, then {later[0].raw[:60]!r}" if later else "",
        at=Place(offset=later[0].start) if later else None,
    )


@check("sse.no-bom", on=ALL_STREAMS)
def test_no_byte_order_mark(seen: Transcript) -> None:
    """The stream does not begin with a byte order mark."""
    _frames(seen[0])
    for anomaly in seen[0].anomalies:
        expect(
            anomaly.kind != "bom",
            wanted="a stream that begins with its first event (a mark hides it from clients)",
            got="EF BB BF before it",
            at=Place(offset=0),
        )


@check("sse.valid-utf8", on=ALL_STREAMS)
def test_bytes_are_utf8(seen: Transcript) -> None:
    """The bytes of the stream are valid UTF-8."""
    _frames(seen[0])
    for anomaly in seen[0].anomalies:
        expect(
            anomaly.kind != "invalid-utf8",
            wanted="valid UTF-8",
            got=anomaly.detail,
            at=Place(offset=anomaly.offset),
        )


@check("sse.codepoint-in-frame", on=[STREAM, messages.STREAM])
def test_code_points_stay_whole(seen: Transcript) -> None:
    """No code point is divided between the texts of two deltas."""
    found = pieces(seen[0])
    if any(anomaly.kind == "invalid-utf8" for anomaly in seen[0].anomalies):
        raise Untestable("the bytes are not UTF-8, so that their text is a guess")
    for at, text in found:
        expect(
            "\ufffd" not in text and not any(0xD800 <= ord(c) < 0xE000 for c in text),
            wanted="whole characters in every delta",
            got=ascii(text),
            at=at,
        )


@check("sse.u2028", on=[SEPARATORS, messages.SEPARATORS])
def test_line_separators_survive(seen: Transcript) -> str:
    """U+2028, U+2029 and U+0085 inside a string are no line ends."""
    for index, data in unreadable(seen[0]):
        expect(
            oddness(data) != "garbage",
            wanted="JSON that is not cut at U+2028, U+2029 or U+0085",
            got=ascii(data[:120]),
            at=Place(frame=index),
        )
    text = "".join(text for _, text in pieces(seen[0]))
    if SEPARATED not in text:
        raise Inconclusive(f"the model did not repeat the separators: {text[:120]!a}")
    return "repeated as they were"


@check("sse.incremental-flush", on=[STREAM_ALONE])
def test_events_arrive_as_they_are_made(seen: Transcript) -> str:
    """The events of a long answer arrive spread over time, not in one burst at the end."""
    exchange = seen[0]
    times = [
        chunk.at_ns
        for chunk in streamed(exchange).chunks
        for part in chunk.choices
        if isinstance(part.get("delta"), dict) and part["delta"].get("content")
    ]
    if len(times) < 8:
        raise Inconclusive(f"the answer has only {len(times)} pieces of text")
    waited_ns = times[-1] - exchange.sent_ns
    if waited_ns < TOO_FAST_NS:
        return f"all of it within {waited_ns / 1e6:.0f} ms: too fast to tell"
    densest = max(
        sum(1 for at_ns in times if first <= at_ns <= first + BURST_NS) for first in times
    )
    expect(
        densest < 0.9 * len(times),
        wanted="pieces of text as they are made",
        got=f"{densest} of {len(times)} within {BURST_NS // 10**6} ms, "
        f"after {waited_ns / 1e6:.0f} ms of silence",
    )
    return f"{len(times)} pieces over {(times[-1] - times[0]) / 1e6:.0f} ms"


@check("sse.no-proxy-buffer-hint", on=[STREAM, messages.STREAM])
def test_proxies_are_told_not_to_buffer(seen: Transcript) -> None:
    """A stream carries X-Accel-Buffering: no."""
    _frames(seen[0])
    value = openai.response(seen[0]).header("x-accel-buffering")
    expect(value == "no", wanted="x-accel-buffering: no", got=value or "no such header")


@check("sse.no-content-length", on=ALL_STREAMS)
def test_no_length_beforehand(seen: Transcript) -> None:
    """A live stream has no Content-Length."""
    _frames(seen[0])
    value = openai.response(seen[0]).header("content-length")
    expect(
        value is None,
        wanted="no content-length: the length of a live stream is not known beforehand",
        got=f"content-length: {value}",
    )


@check("sse.cache-control", on=[STREAM, messages.STREAM])
def test_streams_are_not_cached(seen: Transcript) -> None:
    """A stream says Cache-Control: no-cache or no-store."""
    _frames(seen[0])
    value = openai.response(seen[0]).header("cache-control") or ""
    words = {word.strip().lower() for word in value.split(",")}
    expect(
        words & {"no-cache", "no-store"},
        wanted="cache-control: no-cache or no-store",
        got=value or "no such header",
    )


@check("chat.stream.answers", on=[EVENTS])
def test_stream_answers(seen: Transcript) -> None:
    """stream: true is answered with 200 and at least one chunk."""
    got = accepted(seen[0], wanted="200 and a stream of chunks")
    uncut(seen[0])
    try:
        chunks = openai.stream(seen[0]).chunks
    except Untestable:
        chunks = ()
    expect(chunks, wanted="200 and a stream of chunks", got=shown(got))


@check("sse.accept-json-ok", across=[STREAM, EVENTS])
def test_accept_json_still_streams(stream: Transcript, events: Transcript) -> None:
    """stream: true streams also when the request says Accept: application/json."""
    streamed(events[0])
    got = openai.response(stream[0])
    if got.status != 406:
        if got.status != 200:
            raise Untestable(f"the request was answered with status {got.status}")
        if stream[0].events:
            return
    raise Finding(
        wanted="a stream: the official clients send accept: application/json with stream: true",
        got=shown(got),
    )


@check("sse.event-line-openai", on=STREAMS)
def test_events_have_no_names(seen: Transcript) -> None:
    """A chat stream is data-only: no event: lines, except event: error before an error."""
    for index, frame in enumerate(_frames(seen[0])):
        if frame.event is None:  # sse.no-dataless-frames tells
            continue
        names = [line.value for line in frame.lines if line.name == "event"]
        expect(
            not names or names[-1] == "error",
            wanted="no event: line",
            got=f"event: {names[-1] if names else ''}",
            at=_place(index, frame),
        )


@check("sse.nonstream-not-sse", on=[PLAIN])
def test_no_stream_unasked(seen: Transcript) -> None:
    """Without stream: true the answer is one JSON document, not an event stream."""
    got = openai.response(seen[0])
    if got.status != 200:
        raise Untestable(f"the request was answered with status {got.status}")
    expect(
        got.media_type != "text/event-stream" and not got.body.lstrip().startswith(b"data:"),
        wanted="one JSON document",
        got=shown(got),
    )
