"""Read an exchange as Anthropic's Messages: answers, events, blocks put together, errors.

Lenient on purpose, as the reader of the other dialect is: it takes what can be taken, leaves the
judging to checks, and raises only when there is nothing to read. An event is known
by the type in its data, or by its event line where the data names none, so that a stream whose
lines are wrong can still be judged by everything else.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateproof.check import Inconclusive, Place, Untestable
from gateproof.dialects.common import DONE, answer, answered, events, is_int, objects, unread
from gateproof.transcript import Exchange

__all__ = [
    "DELTAS",
    "STOP_REASONS",
    "Block",
    "Event",
    "Message",
    "Stream",
    "assemble",
    "blocks",
    "counts",
    "message",
    "stream",
    "text_of",
]

STOP_REASONS = frozenset(
    {
        "end_turn",
        "max_tokens",
        "model_context_window_exceeded",
        "pause_turn",
        "refusal",
        "stop_sequence",
        "tool_use",
    }
)

# Which deltas a block of each type may have (Anthropic, Streaming messages, read 2026-11-21).
DELTAS: Mapping[str, frozenset[str]] = {
    "text": frozenset({"text_delta", "citations_delta"}),
    "tool_use": frozenset({"input_json_delta"}),
    "server_tool_use": frozenset({"input_json_delta"}),
    "thinking": frozenset({"thinking_delta", "signature_delta"}),
}
_KEPT = "anthropic stream"


def message(exchange: Exchange) -> dict[str, Any]:
    """Return the JSON object of a 200 that has content blocks.

    ``Untestable`` when there is none, ``Inconclusive`` when the model has said nothing.
    """
    value = answer(exchange)
    if not isinstance(value.get("content"), list):
        raise Untestable(f"the answer has no content: {', '.join(value)[:160]}")
    if not blocks(value):
        raise Inconclusive("the answer is empty")
    return value


def blocks(value: Mapping[str, Any], kind: str | None = None) -> tuple[Mapping[str, Any], ...]:
    """Return the content blocks of a message, all of them or those of one type."""
    found = objects(value.get("content"))
    return tuple(block for block in found if kind is None or block.get("type") == kind)


def text_of(value: Mapping[str, Any]) -> str:
    """Return the text of a message's text blocks."""
    texts = (block.get("text") for block in blocks(value, "text"))
    return "".join(text for text in texts if isinstance(text, str))


@dataclass(frozen=True, slots=True)
class Event:
    """An event whose data is a JSON object.

    ``kind`` is the type in its data or, where that is missing, its ``name``, which is the value of
    its event line (``None`` without one).
    """

    kind: str
    name: str | None
    value: Mapping[str, Any]
    at_ns: int
    frame: int
    start: int

    @property
    def place(self) -> Place:
        """Return where it stands in the transcript's first exchange."""
        return Place(frame=self.frame, offset=self.start)

    @property
    def index(self) -> Any:
        """Return the index of the block that it speaks of."""
        return self.value.get("index")

    def member(self, name: str) -> Mapping[str, Any]:
        """Return a member that is an object; an empty one where it is not."""
        found = self.value.get(name)
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class Stream:
    """An event stream as the dialect reads it.

    ``done`` are the frames whose data is ``[DONE]``, which this dialect does not have;
    ``unreadable`` are frames whose data is neither that nor a JSON object.
    """

    events: tuple[Event, ...]
    done: tuple[int, ...]
    unreadable: tuple[tuple[int, str], ...]

    def of(self, *kinds: str) -> tuple[Event, ...]:
        """Return the events of some kinds, in their order."""
        return tuple(event for event in self.events if event.kind in kinds)


def stream(exchange: Exchange) -> Stream:
    """Read a 200 as a stream of Messages; ``Untestable`` when not one event can be read.

    It is read once and kept on the exchange, as its other views are.
    """
    kept: Stream | None = exchange.__dict__.get(_KEPT)
    if kept is None:
        kept = exchange.__dict__[_KEPT] = _read_stream(exchange)
    return kept


def _read_stream(exchange: Exchange) -> Stream:
    got = answered(exchange)
    read: list[Event] = []
    done: list[int] = []
    unreadable: list[tuple[int, str]] = []
    for index, frame, at_ns, data, value in events(exchange):
        if value is not None:
            names = [line.value for line in frame.lines if line.name == "event"]
            name = names[-1] if names else None
            kind = value.get("type")
            kind = kind if isinstance(kind, str) else name or ""
            read.append(Event(kind, name, value, at_ns, index, frame.start))
        elif data == DONE:
            done.append(index)
        else:
            unreadable.append((index, data))
    if not read:
        raise unread(got)
    return Stream(tuple(read), tuple(done), tuple(unreadable))


@dataclass(slots=True)
class Block:
    """A block put together: its start, and what its deltas brought, by their type."""

    index: Any
    start: Mapping[str, Any]
    place: Place
    deltas: list[Event] = field(default_factory=list)
    stopped: bool = False

    @property
    def kind(self) -> Any:
        """Return the type that its start names."""
        return self.start.get("type")

    def joined(self, kind: str, member: str) -> str:
        """Return a member of its deltas of one type, put together."""
        deltas = (event.member("delta") for event in self.deltas)
        parts = (delta.get(member) for delta in deltas if delta.get("type") == kind)
        return "".join(part for part in parts if isinstance(part, str))

    @property
    def text(self) -> str:
        """Return the text of a text block, what its start has included."""
        begun = self.start.get("text")
        return (begun if isinstance(begun, str) else "") + self.joined("text_delta", "text")

    @property
    def partial_json(self) -> str:
        """Return the JSON text of a tool's input."""
        return self.joined("input_json_delta", "partial_json")


@dataclass(slots=True)
class Message:
    """A message put together from its events; ``ends`` are those that carry why it ended."""

    head: Mapping[str, Any]
    blocks: list[Block]
    ends: tuple[Event, ...]

    @property
    def stop_reason(self) -> Any:
        """Return the last stop_reason that was sent."""
        deltas = [event.member("delta") for event in self.ends]
        found = [delta["stop_reason"] for delta in deltas if "stop_reason" in delta]
        return found[-1] if found else None

    @property
    def text(self) -> str:
        """Return the text of its text blocks."""
        return "".join(block.text for block in self.blocks if block.kind == "text")


def assemble(read: Stream) -> Message:
    """Put a stream together as the official clients do: a delta belongs to the block of its index.

    An index that starts twice makes two blocks; the later one takes what comes then.
    """
    starts = read.of("message_start")
    made: list[Block] = []
    for event in read.events:
        if event.kind == "content_block_start":
            made.append(Block(event.index, event.member("content_block"), event.place))
            continue
        block = next((item for item in reversed(made) if item.index == event.index), None)
        if block is None:
            continue
        if event.kind == "content_block_delta":
            block.deltas.append(event)
        elif event.kind == "content_block_stop":
            block.stopped = True
    head = starts[0].member("message") if starts else {}
    return Message(head, made, read.of("message_delta"))


def counts(read: Stream, name: str) -> Iterator[tuple[Event, int]]:
    """Iterate over a counter of usage, in the order in which a stream sends it."""
    for event in read.of("message_start", "message_delta"):
        holder = event.member("message") if event.kind == "message_start" else event.value
        usage = holder.get("usage")
        value = usage.get(name) if isinstance(usage, dict) else None
        if is_int(value):
            yield event, value
