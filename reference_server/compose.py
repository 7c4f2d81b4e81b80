"""From a reply to the script that plays it, through the levels at which deeds act."""

from collections.abc import Callable, Iterator

from .call import Call
from .faults import Deed, apply
from .jsontext import dumps, loads
from .script import Reply, Step, frame_body, frame_stream, named_sse, sse

__all__ = ["steps_of"]


def steps_of(
    reply: Reply, deeds: tuple[Deed, ...], call: Call | None, *, close: bool
) -> Iterator[Step]:
    """Write a reply as steps, each level's deeds applied in their order."""
    steps: Iterator[Step]
    levels = {deed.behaviour.level for deed in deeds}
    if reply.events is not None:
        events = reply.events
        if "json" in levels:
            events = _each(events, lambda text: _edited(text, deeds, call))
        events = apply("chunks", deeds, events, call)
        if "text" in levels:
            events = _each(events, lambda text: apply("text", deeds, text, call))
        if "events" in levels or reply.named:
            framed = named_sse(events) if reply.named else sse(events)
            framed = apply("events", deeds, framed, call)
            steps = frame_stream(reply, framed, close=close)
        else:
            steps = frame_stream(reply, events, close=close, bare=True)
    else:
        text = reply.text
        if text is None:
            text = dumps(apply("json", deeds, reply.body, call))
            text = apply("text", deeds, text, call)
        steps = frame_body(reply, text, close=close)
    steps = apply("wire", deeds, steps, call)
    return steps  # the name gives it its type


def _each(events: Iterator[Step], edit: Callable[[bytes], bytes]) -> Iterator[Step]:
    for step in events:
        yield step if step.data in {b"", b"[DONE]"} else step._replace(data=edit(step.data))


def _edited(text: bytes, deeds: tuple[Deed, ...], call: Call | None) -> bytes:
    return dumps(apply("json", deeds, loads(text), call))
