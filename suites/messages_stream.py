"""Checks of the machine of events behind a streamed message.

What each check misses may stand in what cannot be read, so a stream that is cut off or garbled is
untestable but for the check that says so. Unknown types of events, blocks and deltas pass: the
vendor promises to add some.
"""

from typing import Any

from gateproof.check import Finding, Inconclusive, Place, Untestable, check, expect
from gateproof.dialects import anthropic, openai
from gateproof.dialects.anthropic import Block, Event, Stream
from gateproof.transcript import Exchange, Transcript

from .reading import accepted, oddness, shown
from .scenarios.messages import PLAIN, STREAM, TOOLS_STREAM

BOTH = (STREAM, TOOLS_STREAM)
KNOWN_DELTAS = frozenset().union(*anthropic.DELTAS.values())


def whole(exchange: Exchange) -> Stream:
    """Return a stream that was not cut off; ``Untestable`` otherwise."""
    read = anthropic.stream(exchange)
    got = openai.response(exchange)
    if got.surplus or (not got.complete and not read.of("message_stop")):
        raise Untestable("the body is not as long as its framing says (see http.framing-complete)")
    for index, data in read.unreadable:
        if oddness(data) in ("several", "garbage"):
            raise Untestable(
                f"frame {index} cannot be read (see sse.one-json-per-frame, anth.event-lines)"
            )
    return read


@check("anth.stream.answers", on=[STREAM])
def test_stream_answers(seen: Transcript) -> None:
    """stream: true is answered with 200 and at least one event."""
    got = accepted(seen[0], wanted="200 and a stream of events")
    expect(seen[0].events, wanted="200 and a stream of events", got=shown(got))


@check("anth.event-lines", on=BOTH)
def test_events_are_named_by_their_type(seen: Transcript) -> None:
    """Every event has an event line whose name is the type of its data."""
    read = anthropic.stream(seen[0])
    for index, data in read.unreadable:
        expect(
            oddness(data) != "garbage",
            wanted="data that is a JSON object with a type",
            got=data[:160],
            at=Place(frame=index),
        )
    for event in read.events:
        kind = event.value.get("type")
        expect(
            event.name is not None and event.name == kind,
            wanted=f"event: {kind}" if kind else "a type in the data, and an event line for it",
            got=f"event: {event.name}" if event.name is not None else "no event line",
            at=event.place,
        )


class _Machine:
    """Where a stream stands: before its start, between blocks, in one, at its end."""

    def __init__(self) -> None:
        self.started = self.ended = self.stopped = self.open = False

    def take(self, kind: str) -> str:
        """Take an event and return what is wrong with it here; nothing when it is right."""
        if self.stopped:
            return "nothing after message_stop"
        if not self.started and kind != "message_start":
            return "message_start first"
        match kind:
            case "message_start":
                self.started = True
            case "content_block_start":
                wrong = self._between("the stop of the block before", open_=False)
                self.open = True
                return wrong
            case "content_block_delta":
                return self._between("an open block", open_=True)
            case "content_block_stop":
                wrong = self._between("an open block", open_=True)
                self.open = False
                return wrong
            case "message_delta":
                self.ended = True
                return "the stop of the open block" if self.open else ""
            case "message_stop":
                self.stopped = True
                return "" if self.ended else "message_delta"
        return ""

    def _between(self, wanted: str, *, open_: bool) -> str:
        if self.ended:
            return "no block after message_delta"
        return "" if self.open is open_ else wanted


_MACHINED = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    }
)


@check("anth.order", on=BOTH)
def test_events_keep_their_order(seen: Transcript) -> str:
    """The events are message_start, the blocks in turn, message_delta and message_stop."""
    read = whole(seen[0])
    machine = _Machine()
    unknown = set()
    last = read.events[-1]
    for event in read.events:
        if event.kind in _MACHINED:
            wrong = machine.take(event.kind)
            if wrong:
                raise Finding(wanted=f"{wrong}, then {event.kind}", got=_before(read, event),
                              at=event.place)  # fmt: skip
        elif event.kind not in ("ping", "error"):
            unknown.add(event.kind or "one without a type")
    for reached, name in ((machine.ended, "message_delta"), (machine.stopped, "message_stop")):
        expect(
            reached,
            wanted=f"{name} before the end",
            got=f"the stream ends with {last.kind}",
            at=last.place,
        )
    return f"also {', '.join(sorted(unknown))}" if unknown else ""


def _before(read: Stream, event: Event) -> str:
    """Return the last few events up to one."""
    upto = [item.kind for item in read.events if item.frame <= event.frame]
    return " → ".join(upto[-4:])


@check("anth.one-message-start", on=BOTH)
def test_one_message_start(seen: Transcript) -> None:
    """A stream has one message_start, whose message is empty and has not ended."""
    starts = whole(seen[0]).of("message_start")
    if not starts:
        raise Untestable("the stream has no message_start (see anth.order)")
    expect(
        len(starts) == 1,
        wanted="one message_start",
        got=f"{len(starts)} of them",
        at=starts[-1].place,
    )
    message = starts[0].member("message")
    got = {name: message.get(name, "missing") for name in ("content", "stop_reason")}
    expect(
        got == {"content": [], "stop_reason": None},
        wanted="a message with content [] and stop_reason null",
        got=got,
        at=starts[0].place,
    )


@check("anth.block-index", on=BOTH)
def test_blocks_are_numbered(seen: Transcript) -> str:
    """Blocks are numbered from 0 without gaps, and deltas and stops name the open block."""
    read = whole(seen[0])
    starts = read.of("content_block_start")
    if not starts:
        raise Untestable("the stream has no content_block_start (see anth.order)")
    for number, event in enumerate(starts):
        expect(
            openai.is_int(event.index) and event.index == number,
            wanted=f"index {number} for block {number + 1}",
            got=f"index {event.index!r}",
            at=event.place,
        )
    open_: Any = None
    for event in read.events:
        if event.kind == "content_block_start":
            open_ = event.index
        elif event.kind in ("content_block_delta", "content_block_stop") and open_ is not None:
            expect(
                event.index == open_,
                wanted=f"index {open_}, of the open block",
                got=f"index {event.index!r} in {event.kind}",
                at=event.place,
            )
            if event.kind == "content_block_stop":
                open_ = None
    return f"{len(starts)} blocks"


@check("anth.block-start-shape", on=BOTH)
def test_blocks_begin_whole(seen: Transcript) -> None:
    """content_block_start has content_block; a tool's has id, name and an empty object input."""
    starts = whole(seen[0]).of("content_block_start")
    if not starts:
        raise Untestable("the stream has no content_block_start (see anth.order)")
    for event in starts:
        block = event.value.get("content_block")
        typed = isinstance(block, dict) and isinstance(block.get("type"), str)
        expect(
            typed, wanted="content_block: an object with a type", got=dict(event.value),
            at=event.place,
        )  # fmt: skip
        assert isinstance(block, dict)
        if block["type"] != "tool_use":
            continue
        named = all(isinstance(block.get(name), str) and block[name] for name in ("id", "name"))
        expect(named, wanted="a tool_use with id and name", got=block, at=event.place)
        expect(
            block.get("input", "missing") == {},
            wanted="input: {} at the start of a tool_use",
            got=block,
            at=event.place,
        )


@check("anth.delta-type-matches", on=BOTH)
def test_deltas_fit_their_blocks(seen: Transcript) -> None:
    """A delta's type fits its block's."""
    for block in _blocks(seen):
        allowed = anthropic.DELTAS.get(block.kind)
        for event in block.deltas:
            kind = event.member("delta").get("type")
            known = kind in KNOWN_DELTAS or not isinstance(kind, str)
            expect(
                allowed is None or not known or kind in allowed,
                wanted=f"{' or '.join(sorted(allowed or ()))} in a block of type {block.kind}",
                got=f"delta of type {kind!r}",
                at=event.place,
            )


def _blocks(seen: Transcript) -> list[Block]:
    made = anthropic.assemble(whole(seen[0])).blocks
    if not made:
        raise Untestable("the stream has no content_block_start (see anth.order)")
    return made


@check("anth.first-delta-kept", across=[STREAM, PLAIN])
def test_no_beginning_is_lost(stream: Transcript, plain: Transcript) -> None:
    """The text of a stream begins as the text of the same answer without stream."""
    wanted = anthropic.text_of(anthropic.message(plain[0]))
    read = anthropic.assemble(whole(stream[0]))
    if not read.blocks:
        raise Untestable("the stream has no content_block_start (see anth.order)")
    got = read.text
    if not wanted:
        raise Inconclusive("the answer has no text")
    lost = len(got) < len(wanted) and wanted.endswith(got)
    expect(not lost, wanted=f"a text that begins {wanted[:40]!r}", got=f"{got[:40]!r}")
    if got[:8] != wanted[:8]:
        raise Inconclusive(f"the two modes got different answers: {got[:40]!r}")


@check("anth.input-json", on=[TOOLS_STREAM])
def test_input_is_json(seen: Transcript) -> str:
    """The partial_json of a tool's deltas, put together, is a JSON object, or empty."""
    uses = [block for block in _blocks(seen) if block.kind == "tool_use"]
    if not uses:
        raise Untestable("the stream has no tool_use block (see anth.tool-use)")
    for block in uses:
        text = block.partial_json
        try:
            value = openai.loads(text) if text else {}
        except (ValueError, RecursionError):
            value = None
        expect(
            isinstance(value, dict),
            wanted="partial_json that joins to a JSON object",
            got=text,
            at=block.place,
        )
    return f"{len(uses)} uses"


@check("anth.usage-start", on=[STREAM])
def test_start_counts_the_input(seen: Transcript) -> str:
    """message_start has usage with the real input_tokens."""
    starts = whole(seen[0]).of("message_start")
    if not starts:
        raise Untestable("the stream has no message_start (see anth.order)")
    usage = starts[0].member("message").get("usage")
    expect(isinstance(usage, dict), wanted="usage in message_start", got=usage, at=starts[0].place)
    assert isinstance(usage, dict)
    count = usage.get("input_tokens")
    expect(
        openai.is_int(count) and count > 0,
        wanted="input_tokens above 0",
        got=f"input_tokens: {count!r}",
        at=starts[0].place,
    )
    return f"{count} tokens"


@check("anth.usage-delta", on=[STREAM])
def test_end_counts_the_output(seen: Transcript) -> str:
    """message_delta has usage, whose output_tokens is cumulative and does not fall."""
    read = whole(seen[0])
    ends = read.of("message_delta")
    if not ends:
        raise Untestable("the stream has no message_delta (see anth.order)")
    for event in ends:
        usage = event.member("usage")
        expect(
            openai.is_int(usage.get("output_tokens")),
            wanted="usage.output_tokens in message_delta",
            got=dict(event.value),
            at=event.place,
        )
    before = 0
    for event, count in anthropic.counts(read, "output_tokens"):
        expect(
            count >= before,
            wanted=f"output_tokens of at least {before}, as counted before",
            got=f"output_tokens: {count}",
            at=event.place,
        )
        before = count
    text = anthropic.assemble(read).text
    expect(
        before > 0 or not text,
        wanted="output_tokens above 0 for an answer with text",
        got=f"output_tokens: {before}",
        at=ends[-1].place,
    )
    return f"{before} tokens"


@check("anth.no-done", on=BOTH)
def test_no_done(seen: Transcript) -> None:
    """A stream has no [DONE]."""
    done = anthropic.stream(seen[0]).done
    expect(
        not done,
        wanted="message_stop as the end, and no data: [DONE]",
        got="data: [DONE]",
        at=Place(frame=done[0]) if done else None,
    )
