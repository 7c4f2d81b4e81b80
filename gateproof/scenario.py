"""What is recorded: named scenarios, each one exchange or several in order.

A scenario is a generator of asks: it yields one ask (or a list of asks, made concurrently) and
receives the exchange (or the list of exchanges), so that later asks can be built from earlier
answers. It does no I/O and judges nothing.
"""

import hashlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from gateproof.profile import Profile
from gateproof.target import Target
from gateproof.transcript import Ask

__all__ = ["SCENARIOS", "Scenario", "Steps", "Unanswered", "Use", "canary_of", "scenario"]


class Unanswered(Exception):
    """A later step of a scenario cannot be built, because an earlier answer is not usable."""


# Yields Ask or a list of them; is sent Exchange or a list of them. The two sides of a generator
# cannot be tied in a type, so what is sent is Any.
Steps: TypeAlias = Generator[Ask | Sequence[Ask], Any, None]


@dataclass(frozen=True, slots=True)
class Use:
    """What a scenario may know of the run: target, profile, seed, and its own canary.

    ``canary`` is a word that no other exchange of the run carries; put it into the request where
    the upstream's journal shall be searched for it.
    """

    target: Target
    profile: Profile
    canary: str
    seed: int = 0
    cases: int = 0

    def model(self, use: str = "chat") -> str:
        """Return the target's model for a use, or the profile's where the target names none."""
        return self.target.model(use, self.profile.models)

    def upstream_model(self, *behaviours: str, use: str = "chat") -> str:
        """Return the model name under which the controlled upstream behaves so."""
        if self.target.upstream is None:
            raise ValueError("a scenario that needs an upstream ran without one")
        models = self.profile.models
        default = models.get(use) or models.get("chat", "gpt-4o-mini")
        return self.target.upstream.model(*behaviours, default=default)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A named way to use a gateway. ``needs`` are the capabilities without which it is not made.

    ``journal`` asks for the upstream's journal when it is over. ``retry_429`` is off where a 429
    is what the scenario wants to see. ``generative`` scenarios compute for a while before they ask,
    once, for all at the same time; they are made after all others. ``alone`` is for scenarios whose
    arrival times are judged: nothing else is asked or computed meanwhile, since a gateway that is
    busy with our other requests would look like one that gathers chunks. ``rounds`` is how many
    answers it waits for in turn (or lasts as long as): the longest begin first. ``requests`` is how
    many it makes at most; one of an opt-in group says it, so that a run can tell beforehand.
    """

    name: str
    says: str
    steps: Callable[[Use], Steps]
    needs: frozenset[str] = frozenset()
    journal: bool = False
    retry_429: bool = True
    generative: bool = False
    alone: bool = False
    requests: int = 0
    rounds: int = 1

    @property
    def place(self) -> tuple[str, str]:
        """Return where its function stands."""
        return self.steps.__module__, self.steps.__qualname__

    def __call__(self, use: Use) -> Steps:
        """Begin the scenario."""
        return self.steps(use)


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    name: str,
    *,
    needs: Sequence[str] = (),
    journal: bool = False,
    retry_429: bool = True,
    generative: bool = False,
    alone: bool = False,
    requests: int = 0,
    rounds: int = 1,
) -> Callable[[Callable[[Use], Steps]], Scenario]:
    """Register a generator function as a scenario; its docstring says what it does."""

    def register(steps: Callable[[Use], Steps]) -> Scenario:
        made = Scenario(
            name,
            (steps.__doc__ or "").strip().partition("\n")[0],
            steps,
            frozenset(needs),
            journal or "upstream" in needs,
            retry_429,
            generative,
            alone,
            requests,
            rounds,
        )
        known = SCENARIOS.get(name)
        if known is not None and known.place != made.place:
            raise ValueError(f"two scenarios are named {name!r}")
        SCENARIOS[name] = made
        return made

    return register


def canary_of(run: str, name: str) -> str:
    """Return the scenario's own word: the same for the same run and name."""
    return "gp" + hashlib.sha256(f"{run}/{name}".encode()).hexdigest()[:12]
