"""Whether a steady load stayed as it was: the slope of each figure over a run, and how sure it is.

Strategy: the measured window is cut into equal intervals; each has its median latencies, its rates
and its share of failures. The slope over the intervals is Theil and Sen's (the median of all slopes
between two of them), which one bad interval cannot turn; its interval comes from Kendall's count of
rises. Shares of failures are mostly 0, where a median says nothing: theirs is the least-squares
slope, with Student's interval.

Rules. Intervals of a queue are no independent witnesses: what neighbours have in common beyond the
slope widens the interval. The level of confidence is 99 % for each figure, so that one run in some
twenty is told to drift in any of them when nothing does. Where an interval holds 0, no drift was
seen, and the interval says how large one may still be. A load that was not to be steady, or that
was too short, has no drift.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from gateproof.interval import at_share
from gateproof.latency import NS_PER_MS, US_PER_MS, first_us, token_count, where
from gateproof.plan import LoadPlan
from gateproof.sample import NEVER, ErrorKind

__all__ = ["CONFIDENCE", "DRIFT_SAYS", "Slope", "drift", "least_squares", "theil_sen"]

CONFIDENCE: Final = 0.99
_Z: Final = 2.575829  # of the normal distribution, 99 % in the middle
_LEAST_S: Final = 30.0  # what changes in less is a wobble, not a drift
_MOST: Final = 30  # intervals: Kendall's count is as good as normal, and each holds much
_LEAST: Final = 12
_PER_INTERVAL: Final = 8  # requests, in the mean
# An interval is at least twice as long as the median answer, so that few answers span two.
_ANSWERS: Final = 2.0
_MOST_ALIKE: Final = 0.9  # beyond which neighbours cannot be told from one and the same
_UNSURE: Final = 0.5  # standard errors that the correlation of neighbours is taken larger
_HOUR_S: Final = 3600.0

DRIFT_SAYS: Final[Mapping[str, tuple[str, str]]] = {
    "ttft_ms": ("TTFT", "ms"),
    "itl_ms": ("ITL", "ms"),
    "e2e_ms": ("end to end", "ms"),
    "answered_per_s": ("answers", "requests/s"),
    "tokens_per_s": ("output", "tokens/s"),
    "failed": ("failures", "of requests"),
}
"""Each figure whose drift is told: its name and its unit. Times are from due; ITL is each stream's
mean."""


class _Span(Protocol):
    """The window that is measured, as ``gateproof.figures`` has it."""

    @property
    def start_ns(self) -> int: ...
    @property
    def from_ns(self) -> int: ...
    @property
    def to_ns(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Slope:
    """A slope per unit of x with its interval, and the line's height at the middle of all x."""

    slope: float
    low: float
    high: float
    middle: float

    @property
    def sure(self) -> bool:
        """Tell whether it is certain that the slope is not 0."""
        return not self.low <= 0 <= self.high


def theil_sen(x: NDArray[Any], y: NDArray[Any], z: float = _Z) -> Slope | None:
    """Give the median slope between two points, with Kendall's interval; None where none is.

    ``z`` is the normal quantile of the confidence. Points are in the order of x.
    """
    n = len(x)
    if n < 3:
        return None
    one, two = np.triu_indices(n, 1)
    slopes = np.sort((y[two] - y[one]) / (x[two] - x[one]))
    slope = at_share(slopes, 0.5)
    residues = y - slope * x
    middle = float(np.median(residues)) + slope * float(x.mean())
    deviation = math.sqrt(n * (n - 1) * (2 * n + 5) / 18 * _alike(residues))
    rank = math.floor((len(slopes) - z * deviation) / 2)
    if rank < 1:
        return None
    return Slope(slope, float(slopes[rank - 1]), float(slopes[-rank]), middle)


def least_squares(x: NDArray[Any], y: NDArray[Any], z: float = _Z) -> Slope | None:
    """Give the least-squares slope, with Student's interval; None with too few points."""
    n = len(x)
    if n < 4:
        return None
    away = x - x.mean()
    square = float(away @ away)
    slope = float(away @ y) / square
    residues = y - y.mean() - slope * away
    variance = float(residues @ residues) / (n - 2) / square * _alike(residues)
    half = _student(n - 2, z) * math.sqrt(variance)
    return Slope(slope, slope - half, slope + half, float(y.mean()))


def _alike(residues: NDArray[Any]) -> float:
    """Tell how many times the variance of a slope grows by what neighbours have in common.

    It is (1 + r) / (1 - r) of the correlation r of neighbours, which is estimated too small by
    about (1 + 4 r) / n behind a fitted line; at least 1.
    """
    n = len(residues)
    centred = residues - residues.mean()
    whole = float(centred @ centred)
    if not whole:
        return 1.0
    r = float(centred[:-1] @ centred[1:]) / whole
    r = (n * r + 1) / max(n - 4, 1) + _UNSURE / math.sqrt(n)
    r = min(max(r, 0.0), _MOST_ALIKE)
    return (1 + r) / (1 - r)


def _student(freedom: int, z: float) -> float:
    """Give Student's quantile for a normal one (Cornish and Fisher's expansion)."""
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


def drift(records: NDArray[np.void], span: _Span, plan: LoadPlan) -> dict[str, Any] | None:
    """Tell how each figure drifted over the window; None when the load was not to be steady.

    A window that is too short for it is said to be, from half a minute on.
    """
    seconds = (span.to_ns - span.from_ns) / 1e9
    if plan.stages or plan.arrivals == "trace" or seconds < _LEAST_S:
        return None
    rows = records[(records["due_ns"] >= span.from_ns) & (records["due_ns"] < span.to_ns)]
    answered = where(rows, rows["error"] == ErrorKind.NONE)
    answered = where(answered, answered["end_us"] != NEVER)
    took_s = np.sort(_e2e_ms(answered)) / 1e3
    count = _count(seconds, took_s)
    if count < _LEAST:
        return {
            "says": f"too short to tell of drift: {len(answered)} answers in {seconds:g} s make "
            f"fewer than {_LEAST} intervals",
            "confidence": CONFIDENCE,
            "intervals": count,
            "figures": {},
        }
    edges = np.linspace(span.from_ns, span.to_ns, count + 1)
    shown = rows[(rows["error"] == ErrorKind.NONE) | (rows["error"] == ErrorKind.UNFINISHED)]
    first = first_us(shown)
    began, first = shown[first != NEVER], first[first != NEVER]
    paced = answered[(answered["deltas"] > 1) & (token_count(answered) > 1)]
    over = rows[rows["error"] != ErrorKind.UNFINISHED]
    failures = _means(over["due_ns"], (over["error"] != ErrorKind.NONE).astype(float), edges)
    values: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {
        "ttft_ms": (
            edges,
            _medians(began["due_ns"], first / US_PER_MS + _wait_ms(began), edges),
        ),
        "itl_ms": (edges, _medians(paced["due_ns"], _itl_ms(paced), edges)),
        "e2e_ms": (edges, _medians(answered["due_ns"], _e2e_ms(answered), edges)),
        **_rates(records, span, took_s, count),
        **({"failed": (edges, failures)} if np.nansum(failures) else {}),
    }
    made = {}
    for name, (cuts, heights) in values.items():
        fit = least_squares if name == "failed" else theil_sen
        told = _figure(cuts, heights, fit, span)
        if told is not None:
            made[name] = told
    return {
        "says": _says(made),
        "confidence": CONFIDENCE,
        "intervals": count,
        "interval_s": round(seconds / count, 3),
        "seconds": round(seconds, 3),
        "figures": made,
    }


def _count(seconds: float, took_s: NDArray[Any]) -> int:
    """Give how many intervals a window is cut into."""
    if not len(took_s):
        return 0
    median_s = at_share(took_s, 0.5)
    fit = seconds / (_ANSWERS * median_s) if median_s else _MOST
    return int(min(_MOST, len(took_s) // _PER_INTERVAL, fit))


def _wait_ms(rows: NDArray[np.void]) -> NDArray[np.float64]:
    return np.asarray(np.maximum(rows["sent_ns"] - rows["due_ns"], 0) / NS_PER_MS, np.float64)


def _e2e_ms(rows: NDArray[np.void]) -> NDArray[np.float64]:
    return np.asarray(rows["end_us"] / US_PER_MS + _wait_ms(rows), np.float64)


def _itl_ms(rows: NDArray[np.void]) -> NDArray[np.float64]:
    span_ms = (rows["last_token_us"].astype(np.float64) - first_us(rows)) / US_PER_MS
    return np.asarray(span_ms / (token_count(rows) - 1), np.float64)


def _rates(
    records: NDArray[np.void], span: _Span, took_s: NDArray[Any], count: int
) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Give answers and their tokens per second, from when the first requests can have ended.

    Until then fewer end than begin, which is no drift. When little is left, there is no rate.
    """
    from_ns = max(span.from_ns, span.start_ns + round(at_share(took_s, 0.99) * 1e9))
    if from_ns > (span.from_ns + span.to_ns) / 2:
        return {}
    edges = np.linspace(from_ns, span.to_ns, count + 1)
    done = records[(records["error"] == ErrorKind.NONE) & (records["end_us"] != NEVER)]
    end_at = done["sent_ns"] + done["end_us"].astype(np.int64) * 1000
    width_s = (span.to_ns - from_ns) / 1e9 / count
    answers = np.histogram(end_at, edges)[0] / width_s
    tokens = np.histogram(end_at, edges, weights=token_count(done).astype(float))[0] / width_s
    found = {"answered_per_s": (edges, answers)}
    return found | ({"tokens_per_s": (edges, tokens)} if tokens.any() else {})


def _parts(due_ns: NDArray[Any], values: NDArray[Any], edges: NDArray[Any]) -> list[NDArray[Any]]:
    cuts = np.searchsorted(due_ns, edges)
    return [values[low:high] for low, high in pairwise(cuts)]


def _medians(due_ns: NDArray[Any], values: NDArray[Any], edges: NDArray[Any]) -> NDArray[Any]:
    """Give the median of each interval; NaN where nothing is."""
    return np.array([np.median(p) if len(p) else np.nan for p in _parts(due_ns, values, edges)])


def _means(due_ns: NDArray[Any], values: NDArray[Any], edges: NDArray[Any]) -> NDArray[Any]:
    return np.array([p.mean() if len(p) else np.nan for p in _parts(due_ns, values, edges)])


def _figure(
    edges: NDArray[Any],
    heights: NDArray[Any],
    fit: Callable[[NDArray[Any], NDArray[Any]], Slope | None],
    span: _Span,
) -> dict[str, Any] | None:
    """Tell the drift of one figure: by the hour, over the window, and as a share of its median."""
    middles_s = (edges[:-1] + edges[1:]) / 2e9 - span.start_ns / 1e9
    there = ~np.isnan(heights)
    if there.sum() < _LEAST:
        return None
    x, y = middles_s[there], heights[there]
    found = fit(x, y)
    if found is None:
        return None
    from_s, to_s = (round((at - span.start_ns) / 1e9, 3) for at in (span.from_ns, span.to_ns))
    level, seconds = float(np.median(y)), to_s - from_s
    bounds = (found.low, found.high)
    base = level if fit is theil_sen else 0.0  # a share is its own measure

    def share(slope: float) -> float | None:
        return round(slope * seconds / base, 6) if base > 0 else None

    middle_s = float(x.mean())
    return {
        "median": round(level, 6),
        "per_hour": round(found.slope * _HOUR_S, 6),
        "ci": [round(bound * _HOUR_S, 6) for bound in bounds],
        "over_run": round(found.slope * seconds, 6),
        "over_run_ci": [round(bound * seconds, 6) for bound in bounds],
        "share": share(found.slope),
        "share_ci": [share(bound) for bound in bounds] if base > 0 else None,
        "drifts": found.sure,
        "line": [
            [at, round(found.middle + found.slope * (at - middle_s), 6)] for at in (from_s, to_s)
        ],
    }


def _says(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Sum the drift up in a sentence."""
    moving = [
        f"{DRIFT_SAYS[name][0]} {'rises' if one['over_run'] > 0 else 'falls'} by {_by(one)}"
        for name, one in figures.items()
        if one["drifts"]
    ]
    if moving:
        return ", ".join(moving)
    if not figures:
        return "nothing to tell of drift"
    most = [f"{DRIFT_SAYS[name][0]} {_most(one)}" for name, one in figures.items()]
    return f"no drift seen; one beyond these would have been: {', '.join(most)}"


def _by(one: Mapping[str, Any]) -> str:
    """Tell how much a figure changed over the window."""
    if one["share"] is None:
        low, high = sorted(abs(bound) for bound in one["over_run_ci"])
        return f"{abs(one['over_run']):.2%} points [{low:.2%} – {high:.2%}]"
    low, high = sorted(abs(bound) for bound in one["share_ci"])
    return f"{abs(one['share']):.1%} [{low:.1%} – {high:.1%}]"


def _most(one: Mapping[str, Any]) -> str:
    """Tell how large a drift may still be."""
    bounds = one["over_run_ci"] if one["share"] is None else one["share_ci"]
    points = " points" if one["share"] is None else ""
    return f"±{max(abs(bound) for bound in bounds):.1%}{points}"
