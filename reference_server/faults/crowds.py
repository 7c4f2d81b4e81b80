"""Faults that only a crowd shows: what goes wrong when many streams are open at the same time.

Alone, and with the few streams of a conformance run, each of these answers is right. A crowd is
counted for each fault and each process, so that nobody else's streams add to it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..call import Call
from ..script import Step
from .edits import edit, said
from .table import Act, behaviour, whole

__all__: list[str] = []

_CROWD = "12"  # more than a conformance run has open at a time
_DONE = b"[DONE]"


@dataclass(slots=True, eq=False)
class _Open:
    """A stream that is open, and the pieces of text that it has sent."""

    pieces: list[str] = field(default_factory=list)


def _crowd_fault(name: str, says: str, seen_in: str = "") -> "Act":
    return behaviour(
        name, "fault", "chunks", says, seen_in=seen_in,
        parameter="streams open at a time from which on it happens (12)",
        read=whole(2, 10_000), default=_CROWD,
    )  # fmt: skip


_mixing: list[_Open] = []
_losing: list[_Open] = []


@_crowd_fault(
    "crowd-mixes-streams",
    "In a crowd, sends each new stream the text of the one that was begun before it.",
    "buffers that are used again too early",
)
def _mixed(steps: Iterator[Step], _: Call | None, crowd: int) -> Iterator[Step]:
    own = _Open()
    before = _mixing[-1] if len(_mixing) >= crowd - 1 else None
    _mixing.append(own)
    place = 0
    try:
        for step in steps:
            if step.label != "content":
                yield step
                continue

            def swap(value: object, place: int = place) -> None:
                found = said(value)
                if found is None:
                    return
                holder, member = found
                own.pieces.append(holder[member])
                if before is not None and place < len(before.pieces):
                    holder[member] = before.pieces[place]

            yield edit(step, swap)
            place += 1
    finally:
        _mixing.remove(own)


@_crowd_fault("crowd-loses-done", "In a crowd, sends no data: [DONE].", "servers under load")
def _lost(steps: Iterator[Step], _: Call | None, crowd: int) -> Iterator[Step]:
    own = _Open()
    _losing.append(own)
    try:
        for step in steps:
            if step.data != _DONE or len(_losing) < crowd:
                yield step
    finally:
        _losing.remove(own)
