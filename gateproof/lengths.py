"""How long something is, in tokens: fixed, by a distribution, or from a file.

Strategy: nothing is drawn here but by ``quantile``, which turns a share between 0 and 1 into a
length. Who draws gives a share that follows from the seed and the request's number alone, so that
the same request can be made again whatever came before it.

Rules. A draw below ``min`` or above ``max`` is never clipped to it, which would heap requests up at
the ends: the distribution is cut there and the rest of it fills the range.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import NormalDist
from typing import Any, Final

from gateproof.errors import UsageError
from gateproof.values import known, named, number, text, whole

__all__ = ["LONGEST", "Lengths", "parse_lengths", "quantile", "shares"]

LONGEST: Final = 2_000_000  # tokens: the largest context on offer anywhere is of that order
_MOST_VALUES: Final = 20_000  # lines of a file of lengths: they are part of the plan
_LEAST_SHARE: Final = 1e-12  # of a distribution's tail: beyond it the inverse is not finite


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long something is, in tokens: one of the kinds of ``LENGTH_KINDS``.

    ``mean`` and ``deviation`` are those of the lengths themselves before the cut at ``low`` and
    ``high``, for lognormal too. ``values`` and ``weights`` are what a file held.
    """

    kind: str = "fixed"
    mean: float = 0.0
    deviation: float = 0.0
    low: int = 1
    high: int = LONGEST
    values: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()

    @classmethod
    def fixed(cls, length: int) -> "Lengths":
        """Give a length that is always the same."""
        return cls("fixed", float(length), 0.0, length, length)

    @property
    def says(self) -> str:
        """Describe the lengths in a few words."""
        if self.kind == "fixed":
            return f"{self.low}"
        if self.kind == "uniform":
            return f"uniform from {self.low} to {self.high}"
        if self.kind == "file":
            return f"{len(self.values)} lengths of a file"
        within = "" if (self.low, self.high) == (1, LONGEST) else f" in {self.low}..{self.high}"
        return f"{self.kind}, mean {self.mean:g}, deviation {self.deviation:g}{within}"


LENGTH_KINDS: Final[Mapping[str, tuple[frozenset[str], frozenset[str]]]] = {
    # kind: the keys it needs, and those it may have beside them
    "uniform": (frozenset({"min", "max"}), frozenset()),
    "normal": (frozenset({"mean", "deviation"}), frozenset({"min", "max"})),
    "lognormal": (frozenset({"mean", "deviation"}), frozenset({"min", "max"})),
    "file": (frozenset({"path"}), frozenset({"min", "max"})),
}


def quantile(lengths: Lengths) -> Callable[[float], int]:
    """Give the function from a share (0 to 1) to a length: what is longer than that share."""
    low, high = lengths.low, lengths.high
    if lengths.kind == "fixed":
        return lambda _share: low
    if lengths.kind == "uniform":
        return lambda share: min(low + int(share * (high - low + 1)), high)
    if lengths.kind == "file":
        values = lengths.values
        sums = shares(lengths.weights or [1.0] * len(values))
        return lambda share: values[min(bisect_left(sums, share), len(values) - 1)]
    if lengths.kind == "normal":
        return _cut(NormalDist(lengths.mean, lengths.deviation), low, high, float, round)
    variance = math.log1p((lengths.deviation / lengths.mean) ** 2)
    logs = NormalDist(math.log(lengths.mean) - variance / 2, math.sqrt(variance))
    return _cut(logs, low, high, math.log, lambda value: round(math.exp(value)))


def _cut(
    distribution: NormalDist,
    low: int,
    high: int,
    to: Callable[[float], float],
    back: Callable[[float], int],
) -> Callable[[float], int]:
    """Give the quantiles of the part of a distribution that lies in a range of whole numbers."""
    least = distribution.cdf(to(low - 0.5))
    most = distribution.cdf(to(high + 0.5))

    def draw(share: float) -> int:
        part = least + share * (most - least)
        value = back(distribution.inv_cdf(min(max(part, _LEAST_SHARE), 1 - _LEAST_SHARE)))
        return min(max(value, low), high)

    return draw


def shares(weights: Sequence[float]) -> list[float]:
    """Give the running sums of weights as shares of their whole."""
    sums = list(accumulate(weights))
    return [value / sums[-1] for value in sums]


def parse_lengths(
    given: Any, place: str, folder: Path | None = None, *, most: int = LONGEST
) -> Lengths:
    """Read lengths: a whole number, or a table such as ``{ kind = "normal", mean = 200, … }``."""
    length = whole(1, most)
    if isinstance(given, int) and not isinstance(given, bool):
        return Lengths.fixed(length(given, place))
    if not isinstance(given, dict):
        raise UsageError(
            f"{place} is neither a whole number nor a table: {given!r}.",
            'Write a number of tokens, or { kind = "lognormal", mean = 400, deviation = 200 }.',
        )
    kind = named(LENGTH_KINDS, "kind of lengths")(given.get("kind"), place)
    needed, allowed = LENGTH_KINDS[kind]
    known(given, needed | allowed | {"kind"}, place)
    if missing := sorted(needed - set(given)):
        raise UsageError(
            f"{place}: {kind} lengths need {missing[0]}.", f"They need {', '.join(sorted(needed))}."
        )
    low = length(given.get("min", 1), f"{place}, min")
    high = length(given.get("max", most), f"{place}, max")
    if low > high:
        raise UsageError(f"{place}: min is {low} and max is {high}.", "Turn them round.")
    if kind == "uniform":
        return Lengths("uniform", (low + high) / 2, 0.0, low, high)
    if kind == "file":
        values, weights = _read_values(_path(given["path"], folder, place), low, high)
        return Lengths("file", 0.0, 0.0, low, high, values, weights)
    mean, deviation = (
        number(most, above=True)(given[key], f"{place}, {key}") for key in ("mean", "deviation")
    )
    if kind == "normal" and not low - 4 * deviation <= mean <= high + 4 * deviation:
        raise UsageError(
            f"{place}: next to nothing of mean {mean:g}, deviation {deviation:g} is between "
            f"{low} and {high}.",
            "Give a range that holds lengths near the mean.",
        )
    return Lengths(kind, mean, deviation, low, high)


def _read_values(path: Path, low: int, high: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Read a file of lengths: a whole number a line, perhaps with its weight behind it."""
    values: list[int] = []
    weights: list[float] = []
    try:
        with path.open(encoding="utf-8") as lines:
            for place, line in enumerate(lines, start=1):
                words = line.partition("#")[0].replace(",", " ").split()
                if not words:
                    continue
                if len(values) == _MOST_VALUES:
                    raise UsageError(
                        f"{path} holds more than {_MOST_VALUES} lengths.",
                        "Give each length once, with its weight behind it.",
                    )
                try:
                    value, weight = int(words[0]), float(words[1]) if len(words) > 1 else 1.0
                except ValueError:
                    value, weight = 0, 0.0
                if len(words) > 2 or not (low <= value <= high and 0 < weight < math.inf):
                    raise UsageError(
                        f"{path}, line {place}: {line.strip()[:60]!r} is no length from {low} to "
                        f"{high} with or without a weight above 0.",
                        "Write one length a line: 120, or 120 and its weight: 120 3.5.",
                    )
                values.append(value)
                weights.append(weight)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read: {error}.", "It holds one length a line."
        ) from None
    if not values:
        raise UsageError(f"{path} holds no length.", "Write one length a line.")
    return tuple(values), tuple(weights)


def _path(given: Any, folder: Path | None, place: str) -> Path:
    """Give a path of a scenario file, which begins at that file's folder."""
    path = Path(text(given, f"{place}, path")).expanduser()
    return path if folder is None else folder / path
