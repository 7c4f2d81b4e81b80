"""What the steps of a capacity search say together, given that goodput only falls with the load.

Strategy: the steps are summed up by level. A falling (isotonic) fit gives each level its share of
good requests. The probability that a level holds is Bayes' with the same knowledge: the highest
level's share has Jeffreys' prior, and each lower one's has it cut off below the share of the level
above. It is summed over a grid, level by level, so it needs no random numbers.

Rules. Requests of one step are not independent witnesses: they meet the same queue and the same
luck of arrivals. A step counts for no more than ``WITNESSES`` of them, and for fewer when its
slices, or the steps of its level, differ more than chance explains. A step in which waiting surely
grew without end speaks against its level, even if it was too short to pass the SLO.
It needs the standard library only.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import accumulate
from typing import Any, Final

__all__ = ["WITNESSES", "Level", "Step", "levels_of"]

# Measured on simulated queues with random arrivals, against their true knees: counting every
# request as a witness, intervals of nominally 95 % held the truth in 43-80 % of the searches, with
# 20 a step in 68 % and more, with 9 in 94 % and more (tests/test_capacity.py measures it again).
WITNESSES: Final = 9.0
# Waiting that grows by less than a hundredth of a second a second is that of a level within 1 % of
# the capacity, nearer than a search looks.
_GROWS: Final = 0.01
_CELLS: Final = 160  # of the grid; twice as many move no probability by 0.002


@dataclass(frozen=True, slots=True)
class Step:
    """One measurement of one level; ``slices`` are (good, n) of equal times within it, in order.

    ``offered`` is the level as it came out, since arrivals are random; 0 when that has no meaning.
    ``growth`` is how fast waiting grew, as ``gateproof.growth`` gives it, where that can be told.
    ``limited`` says why the generator was the bottleneck; empty when it was not. ``figures`` are
    for the reader only: the search does not look at them.
    """

    level: float
    n: int
    good: int
    slices: tuple[tuple[int, int], ...] = ()
    offered: float = 0.0
    limited: str = ""
    seconds: float = 0.0
    folder: str = ""
    growth: tuple[float, float, float] | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Step":
        """Read a step from its JSON form."""
        known = {f.name for f in fields(cls)}
        given = {name: value for name, value in row.items() if name in known}
        given["slices"] = tuple((int(good), int(n)) for good, n in given.get("slices", ()))
        growth = given.get("growth")
        given["growth"] = None if growth is None else tuple(float(one) for one in growth)
        return cls(**given)

    @property
    def served(self) -> float | None:
        """Tell at least what load was carried while waiting grew; None where it surely did not.

        Of arrivals at a rate r, under which waiting grows by g a second, r / (1 + g) are served.
        """
        if self.growth is None or not self.offered or self.growth[1] <= _GROWS:
            return None
        return self.offered / (1 + self.growth[1])

    @property
    def grows(self) -> bool:
        """Tell whether it is sure that a longer load of this level breaks, whatever this one did.

        Waiting surely grew, and not for the luck of arrivals: less was served than the level.
        """
        return self.served is not None and self.served < self.level

    @property
    def kept(self) -> int:
        """Give how many requests speak for the level: none where waiting grows without end."""
        return 0 if self.grows else self.good

    @property
    def witnesses(self) -> float:
        """Tell how many independent requests the step is worth."""
        slices = [(float(good), float(n)) for good, n in self.slices if n and not self.grows]
        return min(self.n / _excess(slices), WITNESSES)


@dataclass(frozen=True, slots=True)
class Level:
    """All measurements of one level; ``holds`` is the probability that it holds.

    ``fitted`` is the share of good requests after the falling fit, ``offered`` the level as it came
    out in the mean of its steps.
    """

    level: float
    steps: int
    n: int
    good: int
    offered: float
    witnesses: float
    fitted: float = 0.0
    holds: float = 0.0

    @property
    def share(self) -> float:
        """Give the share of good requests as measured."""
        return self.good / self.n


def levels_of(steps: Sequence[Step], wanted: float) -> tuple[Level, ...]:
    """Sum up by level, lowest first; steps that are no evidence are left out."""
    by_level: dict[float, list[Step]] = {}
    for step in steps:
        if not step.limited and step.n:
            by_level.setdefault(step.level, []).append(step)
    found = [
        Level(
            level,
            len(own),
            sum(step.n for step in own),
            sum(step.kept for step in own),
            sum(step.offered or level for step in own) / len(own),
            _witnesses(own),
        )
        for level, own in sorted(by_level.items())
    ]
    fitted, holds = _fit(found), _holding(found, wanted)
    return tuple(
        replace(level, fitted=fit, holds=hold)
        for level, fit, hold in zip(found, fitted, holds, strict=True)
    )


def _witnesses(steps: Sequence[Step]) -> float:
    """Tell how many independent requests the steps of one level are worth together.

    Steps that contradict each other show that their luck is that of whole steps.
    """
    parts = [(step.kept / step.n * step.witnesses, step.witnesses) for step in steps]
    return sum(worth for _, worth in parts) / _excess(parts)


def _excess(parts: Sequence[tuple[float, float]]) -> float:
    """Tell how many times more (good, n) parts differ than chance has it; at least 1.

    It is Pearson's chi-square over its degrees of freedom.
    """
    whole = sum(n for _, n in parts)
    share = sum(good for good, _ in parts) / whole if whole else 0.0
    if len(parts) < 2 or not 0 < share < 1:
        return 1.0
    square = sum((good - n * share) ** 2 / (n * share * (1 - share)) for good, n in parts)
    return max(1.0, square / (len(parts) - 1))


def _fit(levels: Sequence[Level]) -> list[float]:
    """Fit shares that never rise, by pooling neighbours that do (pool adjacent violators)."""
    pools: list[tuple[float, float, int]] = []  # share, weight, how many levels
    for level in levels:
        pools.append((level.share, level.witnesses, 1))
        while len(pools) > 1 and pools[-1][0] > pools[-2][0]:
            (high, more, m), (low, less, k) = pools.pop(), pools.pop()
            pools.append(((high * more + low * less) / (more + less), more + less, m + k))
    return [share for share, _, count in pools for _ in range(count)]


def _holding(levels: Sequence[Level], wanted: float) -> list[float]:
    """Give each level's probability that its share is at least the wanted one.

    The grid is even in the arcsine of the share's root, in which Jeffreys' prior is flat, and has
    an edge at the wanted share.
    """
    edge, whole = math.asin(math.sqrt(min(wanted, 1 - 1e-9))), math.pi / 2
    below = min(max(round(_CELLS * edge / whole), 1), _CELLS - 1)
    above = _CELLS - below
    angles = [edge * (cell + 0.5) / below for cell in range(below)]
    angles += [edge + (whole - edge) * (cell + 0.5) / above for cell in range(above)]
    sizes = [math.log(edge / below)] * below + [math.log((whole - edge) / above)] * above
    good_logs = [2 * math.log(math.sin(angle)) for angle in angles]
    bad_logs = [2 * math.log(math.cos(angle)) for angle in angles]
    room = list(accumulate(math.exp(size) for size in reversed(sizes)))[::-1]
    likely = []
    for place, level in enumerate(levels):
        good = level.share * level.witnesses
        bad = level.witnesses - good
        # The lowest level has none below it, which would have to be better still.
        rooms = [math.log(one) if place else 0.0 for one in room]
        likely.append(
            _scaled(
                [
                    size + good * one + bad * other - left
                    for size, one, other, left in zip(
                        sizes, good_logs, bad_logs, rooms, strict=True
                    )
                ]
            )
        )
    # With what lies below a level: its share is at most theirs; with what lies above: at least.
    lower, upper = [[1.0] * _CELLS], [[1.0] * _CELLS]
    for own in likely[:-1]:
        joint = [a * b for a, b in zip(own, lower[-1], strict=True)]
        lower.append(_top_one(list(accumulate(reversed(joint)))[::-1]))
    for own in reversed(likely[1:]):
        joint = [a * b for a, b in zip(own, upper[-1], strict=True)]
        upper.append(_top_one(list(accumulate(joint))))
    found = []
    for own, under, over in zip(likely, lower, reversed(upper), strict=False):
        joint = [a * b * c for a, b, c in zip(own, under, over, strict=True)]
        found.append(sum(joint[below:]) / sum(joint))
    return found


def _scaled(logs: Sequence[float]) -> list[float]:
    """Turn logarithms into weights of which the largest is 1."""
    top = max(logs)
    return [math.exp(one - top) for one in logs]


def _top_one(values: Sequence[float]) -> list[float]:
    """Scale values so that the largest is 1: long products must not vanish."""
    top = max(values)
    return [value / top for value in values]
