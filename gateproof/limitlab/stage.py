"""What the lab finds: one stage for each limit that it looks for, and all of them together."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from gateproof.limitlab.exchange import Ask, Record, Reply
from gateproof.limitlab.fit import Fit
from gateproof.limitlab.plan import Scope, What

__all__ = ["Asking", "Outcome", "Stage", "Stopped"]

Asking = Generator[Ask, Sequence[Reply], None]
"""A course of asks, each answered by the replies to it."""


class Stopped(Exception):  # an end, not always an error
    """The lab cannot go on: ``reason`` for the reader; ``spent`` if a budget is used up."""

    def __init__(self, reason: str, *, spent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.spent = spent


@dataclass(slots=True)
class Stage:
    """What was found of one limit, and how; limits of requests and of tokens have one each."""

    name: str
    fits: list[Fit] = field(default_factory=list)
    refused: bool = False
    passed: int = 0
    """How many requests passed before the first refusal."""
    passed_tokens: int = 0
    rush_at_s: float = 0.0
    rush_s: float = 0.0
    whats: tuple[What, ...] = ("requests", "tokens")
    """What may have been counted."""
    unit: float = 1.0
    begin_s: float = 0.0
    named_s: float = 0.0
    """When the limit was named; with begin_s, the time that it took."""
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Outcome:
    """All that the lab did and found."""

    record: Record = field(default_factory=Record)
    stages: list[Stage] = field(default_factory=list)
    scopes: tuple[Scope, ...] = ()
    """Whose the limit is: several where the evidence leaves them open, none where none was met."""
    second_passed: int | None = None
    """How many requests of the second key passed in its rush, while the first was used up."""
    stranger_refused: bool | None = None
    stopped: str = ""
    spent: bool = False
    notes: list[str] = field(default_factory=list)
