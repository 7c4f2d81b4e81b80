"""Requests that are like a scenario's: which checks can be judged on answers to them.

A check is bound to scenarios, each with a prompt of its own; what most checks look at has nothing
to do with the prompt. A ``Likeness`` says of a kind of request which scenarios it equals in all
that their checks look at, and names the checks for which it does not.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gateproof.check import Check
from gateproof.scenario import Scenario
from gateproof.transcript import Ask

__all__ = ["Likeness", "like", "likeness_of"]


@dataclass(frozen=True, slots=True)
class Likeness:
    """A kind of request, and the scenarios whose checks hold for every answer to it.

    Of a check that reads several of ``reads``, the first is meant. ``without`` are checks of theirs
    that look at what only the scenario's own request has.
    """

    name: str
    fits: Callable[[Ask], bool]
    reads: tuple[Scenario, ...]
    without: frozenset[str]

    def cases(self, checks: Iterable[Check]) -> list[tuple[Check, Scenario]]:
        """Return each check that can be judged, with the scenario as which an answer is read."""
        return [
            (check, item)
            for check in checks
            if check.id not in self.without and not check.generative
            for item in [next((one for one in self.reads if one in check.on), None)]
            if item is not None
        ]


_KNOWN: dict[str, Likeness] = {}


def like(
    name: str,
    fits: Callable[[Ask], bool],
    reads: Sequence[Scenario],
    without: Sequence[str] = (),
) -> None:
    """Register a kind of request; of several that fit one, the first is meant."""
    _KNOWN[name] = Likeness(name, fits, tuple(reads), frozenset(without))


def likeness_of(ask: Ask) -> Likeness | None:
    """Return what a request is like, if it is like anything that checks read."""
    return next((item for item in _KNOWN.values() if item.fits(ask)), None)
