"""The highest load at which the SLOs hold: where to look next, what was found, how sure it is.

Strategy: steps rise by a factor until one breaks, then halve the gap between what holds and what
breaks, then measure the levels around it again until there is no doubt on which side each is.
Which level to try next is a pure function of the steps made (``next_step``), so a search can be
followed, repeated and tested without a server; ``find_knee`` says what any steps come to.

Rules. A level holds when the share of its requests inside all SLOs (goodput) is at least the wanted
one, after a falling fit over all levels (``gateproof.falling``): goodput cannot truly rise with the
load. The interval runs from the highest level that holds with 97.5 % probability to the lowest that
breaks with as much; an end moves as far as the arrivals that speak for it came out slower or faster
than asked. A step is shorter than a day: where waiting surely grows in it, its level breaks, and
the lower end moves down by as much as waiting may have grown in the steps that hold. An end that no
step supports is ``None``, never a guess. A step in which the generator
was the bottleneck is no evidence; when it happens twice at one level, the search stops there.
It needs the standard library only, because the generator reads scenario files too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from gateproof.errors import UsageError, unknown_name
from gateproof.falling import Level, Step, levels_of

__all__ = [
    "CONFIDENCE",
    "SEARCH_KEYS",
    "Ask",
    "Knee",
    "Replicas",
    "Search",
    "Stop",
    "find_knee",
    "next_step",
    "parse_search",
    "replicas",
]

CONFIDENCE: Final = 0.95
_SURE: Final = 1 - (1 - CONFIDENCE) / 2
_LIMITED_TWICE: Final = 2
_QUEUES: Final = 0.05  # growth of waiting, in seconds a second, that is no wobble
_LONGEST: Final = 3  # a slow level's step is at most so many times longer than step_s
_UNITS: Final = {"rate": "requests/s", "users": "users"}


@dataclass(frozen=True, slots=True)
class Search:
    """How a capacity search is to be made."""

    by: str = "rate"
    lowest: float = 4.0
    highest: float = 256.0
    factor: float = 2.0
    resolution: float = 0.1
    repeats: int = 4
    step_s: float = 4.0
    requests: int = 60
    goodput: float = 0.95
    headroom: float = 0.8
    most_steps: int = 24

    @property
    def unit(self) -> str:
        """Give what a level is counted in."""
        return _UNITS[self.by]

    def seconds(self, level: float) -> float:
        """Give how long a step at a level lasts: long enough for its requests, within bounds."""
        if self.by == "users":
            return self.step_s
        return min(max(self.step_s, self.requests / level), _LONGEST * self.step_s)


# key of the table: field, lowest, highest, whole, what it is
SEARCH_KEYS: Final[Mapping[str, tuple[str, float, float, bool, str]]] = {
    "from": ("lowest", 0.01, 1e6, False, "the first level to try"),
    "to": ("highest", 0.01, 1e6, False, "the highest level to try"),
    "factor": ("factor", 1.05, 100, False, "from one level to the next, until one breaks"),
    "resolution": ("resolution", 0.005, 10, False, "how narrow the gap is to be, as a share"),
    "repeats": ("repeats", 1, 20, True, "how often one level is measured at most"),
    "step_s": ("step_s", 0.2, 3600, False, "seconds of a step"),
    "requests": ("requests", 1, 1e6, True, "a slow step lasts longer, to have so many"),
    "goodput": ("goodput", 0.01, 1, False, "the share of requests wanted inside all SLOs"),
    "headroom": ("headroom", 0.01, 1, False, "the share of the lower bound to plan with"),
    "most_steps": ("most_steps", 1, 200, True, "the most steps of one search"),
}


def parse_search(table: Mapping[str, Any], place: str) -> Search:
    """Read a ``[search]`` table; what is wrong in it is a UsageError that names the place."""
    given: dict[str, Any] = {}
    for key, value in table.items():
        if key == "by":
            if value not in _UNITS:
                error = unknown_name("way of search", str(value), _UNITS)
                raise UsageError(f"{place}, by: {error.message}", error.hint)
            given["by"] = value
            continue
        if key not in SEARCH_KEYS:
            error = unknown_name("key", key, {*SEARCH_KEYS, "by"})
            raise UsageError(f"{place}: {error.message}", error.hint)
        name, low, high, whole, says = SEARCH_KEYS[key]
        kind = "whole number" if whole else "number"
        typed = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not typed or not low <= value <= high:
            raise UsageError(
                f"{place}, {key} must be a {kind} from {low:g} to {high:g}, and is {value!r}.",
                f"It is {says}.",
            )
        given[name] = value if whole else float(value)
    search = Search(**given)
    if search.lowest >= search.highest:
        raise UsageError(
            f"{place}, from = {search.lowest:g} is not below to = {search.highest:g}.",
            "The search goes upwards.",
        )
    if search.by == "users" and not (search.lowest.is_integer() and search.highest.is_integer()):
        raise UsageError(f"{place}: from and to are numbers of users, so they must be whole.")
    return search


@dataclass(frozen=True, slots=True)
class Ask:
    """The step to be made next."""

    level: float
    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Why no further step is made: found, never-broke, broken-at-lowest, generator or steps."""

    outcome: str
    why: str


def next_step(search: Search, steps: Sequence[Step]) -> Ask | Stop:
    """Give the step to make after those made, or say that the search is over."""
    halted = _halted(search, steps)
    if halted is not None:
        return halted
    levels = levels_of(steps, search.goodput)
    if len(steps) >= search.most_steps:
        return _enough(search, levels)
    if not levels:
        return _ask(search, search.lowest, "the first level")
    holds, breaks = _bracket(levels, search.goodput)
    if breaks is None:
        assert holds is not None
        if holds.level < search.highest:
            return _ask(search, min(holds.level * search.factor, search.highest), "upwards")
        again = _doubt(search, levels[::-1], CONFIDENCE)
        return again or Stop("never-broke", "the highest level holds")
    if holds is None:
        again = _doubt(search, levels, CONFIDENCE)
        return again or Stop("broken-at-lowest", "the lowest level breaks")
    return _narrow(search, levels, holds, breaks)


def _narrow(search: Search, levels: Sequence[Level], holds: Level, breaks: Level) -> Ask | Stop:
    """Close the gap between what holds and what breaks, then clear the doubts around it."""
    if breaks.steps == 1 < search.repeats and not _sure(breaks):
        return _ask(search, breaks.level, "once more: the break may be chance")
    middle = _middle(search, holds.level, breaks.level)
    if middle is not None:
        return _ask(search, middle, "between what holds and what breaks")
    place = levels.index(breaks)
    doubts = (_doubt(search, levels[:place][::-1]), _doubt(search, levels[place:]))
    asked = [one for one in doubts if one is not None]
    if asked:
        count = {level.level: level.steps for level in levels}
        return min(asked, key=lambda one: count[one.level])
    return Stop("found", "the levels around the knee are measured")


def _halted(search: Search, steps: Sequence[Step]) -> Ask | Stop | None:
    """Stop when the generator is the limit, when nothing can be learnt, or after enough steps.

    The first time that the generator is late at a level, the step is made again.
    """
    if steps:
        at_last = [step for step in steps if step.level == steps[-1].level]
        if steps[-1].limited and sum(bool(s.limited) for s in at_last) >= _LIMITED_TWICE:
            return Stop("generator", steps[-1].limited)
        if not steps[-1].limited and not steps[-1].n:
            return Stop("steps", "a step had no request to judge: make the steps longer")
    if steps and steps[-1].limited and len(steps) < search.most_steps:
        return _ask(search, steps[-1].level, "once more: the generator was late")
    return None


def _enough(search: Search, levels: Sequence[Level]) -> Stop:
    """End after the most steps: with a knee when a level holds and another one breaks.

    More steps would only have made its interval narrower.
    """
    holds, breaks = _bracket(levels, search.goodput)
    outcome = "steps" if holds is None or breaks is None else "found"
    return Stop(outcome, f"the most steps that it may make, {search.most_steps}, are made")


def _ask(search: Search, level: float, why: str) -> Ask:
    level = _round(search, level)
    return Ask(level, search.seconds(level), why)


def _doubt(search: Search, levels: Sequence[Level], need: float = _SURE) -> Ask | None:
    """Ask for the nearest level once more that is in doubt; the first must be measured twice.

    ``levels`` go away from the knee: behind one that is sure, nothing is to be learnt.
    """
    for place, level in enumerate(levels):
        enough = level.steps >= (min(search.repeats, 2) if place == 0 else 1)
        if _sure(level, need) and enough:
            return None
        if level.steps < search.repeats:
            return _ask(search, level.level, "once more, to be sure")
    return None


def _sure(level: Level, need: float = _SURE) -> bool:
    """Tell whether it is certain enough on which side of the knee a level is."""
    return level.holds >= need or level.holds <= 1 - need


def _bracket(levels: Sequence[Level], wanted: float) -> tuple[Level | None, Level | None]:
    """Give the highest level that holds and the lowest that breaks; the fit falls, so they meet."""
    holding = [level for level in levels if level.fitted >= wanted]
    breaking = [level for level in levels if level.fitted < wanted]
    return (holding[-1] if holding else None), (breaking[0] if breaking else None)


def _middle(search: Search, low: float, high: float) -> float | None:
    """Give the level between two, by ratio; None when they are near enough."""
    if high / low <= 1 + search.resolution:
        return None
    middle = _round(search, math.sqrt(low * high))
    return middle if low < middle < high else None


def _round(search: Search, level: float) -> float:
    """Give a level as one writes it: whole users, rates of three digits."""
    return float(round(level)) if search.by == "users" else float(f"{level:.3g}")


@dataclass(frozen=True, slots=True)
class Knee:
    """The answer of a search; ``low`` and ``high`` are ``None`` where the interval is open.

    ``outcome`` is found, never-broke, broken-at-lowest, generator or unfinished.
    """

    outcome: str
    unit: str
    says: str
    estimate: float | None
    low: float | None
    high: float | None
    confidence: float
    low_answered_per_s: float | None
    levels: tuple[Level, ...]

    def as_json(self) -> dict[str, Any]:
        """Give the knee as plain JSON types."""
        levels = [{**asdict(level), "share": level.share} for level in self.levels]
        return {**asdict(self), "levels": levels}


_SAYS: Final[Mapping[str, str]] = {
    "found": "The SLOs hold up to about {estimate} {unit} ({between}).",
    "never-broke": "No knee was found up to {highest} {unit}: the SLOs hold there too ({between}).",
    "broken-at-lowest": "The SLOs fail already at the lowest level, {lowest} {unit}, where "
    "{share} of the requests are inside them.",
    "generator": "The search stopped at a limit of the generator's own, which tells nothing of the "
    "target: {why}. The highest level that held is {holds} {unit} ({between}).",
    "unfinished": "The search did not come to its end: {why}. The highest level that held so far "
    "is {holds} {unit} ({between}).",
}


def find_knee(search: Search, steps: Sequence[Step], stop: Stop) -> Knee:
    """Say what the steps of a search come to, however it ended."""
    levels = levels_of(steps, search.goodput)
    holds, breaks = _bracket(levels, search.goodput)
    # An interval that is open on one side has all of its doubt on the other.
    need = CONFIDENCE if holds is None or breaks is None else _SURE
    surely = [level for level in levels if level.holds >= need]
    surely_not = [level for level in levels if level.holds <= 1 - need]
    low = high = None
    if surely:
        _, most = _growing(steps, surely[-1], holds)
        low = surely[-1].level * min(_came(levels, surely[-1], holds) / (1 + most), 1)
    if surely_not:
        high = surely_not[0].level * max(_came(levels, breaks, surely_not[0]), 1)
    estimate = None
    if holds is not None and breaks is not None:
        # Where the fit crosses the wanted share, by ratio between the two levels.
        part = (holds.fitted - search.goodput) / (holds.fitted - breaks.fitted)
        grown, _ = _growing(steps, holds, holds)
        estimate = holds.level * (breaks.level / holds.level) ** part / (1 + grown)
        carried = _carried(steps, breaks)
        if carried is not None:  # no more than that is served for long, whatever the SLO allows
            estimate = min(estimate, carried)
    outcome = stop.outcome if stop.outcome in _SAYS else "unfinished"
    says = _SAYS[outcome].format(
        estimate=_told(estimate),
        between=_between(low, high, search.unit),
        unit=search.unit,
        highest=_told(levels[-1].level if levels else None),
        lowest=_told(levels[0].level if levels else None),
        holds=_told(holds.level if holds else None),
        why=stop.why.rstrip("."),
        share=f"{levels[0].share:.1%}" if levels else "none",
    )
    answered = _answered(steps, surely[-1].level) if surely else None
    return Knee(outcome, search.unit, says, estimate, low, high, CONFIDENCE, answered, levels)


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many replicas a rate needs, and by what reckoning; no count where nothing is known."""

    rate_per_s: float
    headroom: float
    count: int | None
    says: str


def replicas(search: Search, knee: Knee, rate_per_s: float) -> Replicas:
    """Say how many replicas carry a rate: R / (lower bound of the knee x headroom), rounded up."""
    bound = knee.low if search.by == "rate" else knee.low_answered_per_s
    head, room = f"For {rate_per_s:g} requests/s", search.headroom
    if not bound:
        says = f"{head} no number of replicas can be told: no level is sure to hold."
        return Replicas(rate_per_s, room, None, says)
    count = math.ceil(rate_per_s / (bound * room) - 1e-9)
    what = "the lower bound of the knee"
    if search.by == "users":
        what = f"what was answered with {_told(knee.low)} users, the lower bound of the knee"
    says = (
        f"{head} under these SLOs, {count} replica{'' if count == 1 else 's'}: {rate_per_s:g} / "
        f"({_told(bound)} x {room:g}), rounded up, where {_told(bound)} requests/s is {what} and "
        f"{room:g} the headroom. This assumes that replicas scale linearly: that the balancer "
        "spreads evenly, and that they share no bottleneck."
    )
    return Replicas(rate_per_s, room, count, says)


def _came(levels: Sequence[Level], first: Level | None, last: Level | None) -> float:
    """Tell how much of what was asked for really arrived, in the steps from one level to another.

    They are the steps that speak for an end of the interval: those between it and the knee.
    """
    if first is None or last is None:
        return 1.0
    low, high = sorted((first.level, last.level))
    speak = [level for level in levels if low <= level.level <= high]
    came = sum(level.offered / level.level * level.steps for level in speak)
    return came / sum(level.steps for level in speak)


def _growing(steps: Sequence[Step], first: Level, last: Level | None) -> tuple[float, float]:
    """Tell how fast waiting grew in the steps of these levels, and may have grown at most.

    By so much less than what arrived was carried, although the SLO held for so short a time.
    """
    top = first.level if last is None else max(last.level, first.level)
    found = [
        step.growth
        for step in steps
        if step.growth is not None
        and not (step.limited or step.grows)
        and first.level <= step.level <= top
    ]
    if not found:
        return 0.0, 0.0
    mean = sum(slope for slope, _, _ in found) / len(found)
    half = math.sqrt(sum(((high - low) / 2) ** 2 for _, low, high in found)) / len(found)
    return max(mean, 0.0), max(mean + half, 0.0)


def _carried(steps: Sequence[Step], breaks: Level) -> float | None:
    """Tell what was served at most where waiting grew beyond the knee, the median of its steps."""
    found = sorted(
        step.offered / (1 + step.growth[0])
        for step in steps
        if step.growth is not None and step.growth[0] > _QUEUES and step.offered
        if step.level >= breaks.level and not step.limited
    )
    return found[len(found) // 2] if found else None


def _answered(steps: Sequence[Step], level: float) -> float | None:
    """Give the rate of answers at a level, the mean of its steps."""
    rates = [
        float(rate)
        for step in steps
        if step.level == level and not step.limited
        if isinstance(rate := step.figures.get("answered_per_s"), int | float)
    ]
    return sum(rates) / len(rates) if rates else None


def _between(low: float | None, high: float | None, unit: str) -> str:
    """Say the interval in words."""
    sure = f"with {CONFIDENCE:.0%} confidence"
    if low is not None and high is not None:
        return f"{sure} between {_told(low)} and {_told(high)} {unit}"
    if low is not None:
        return f"{sure} at least {_told(low)} {unit}"
    if high is not None:
        return f"{sure} less than {_told(high)} {unit}"
    return "nothing is sure yet"


def _told(value: float | None) -> str:
    """Give a level as one reads it."""
    return "none" if value is None else f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"
