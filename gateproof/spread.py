"""A distribution in brief: percentiles with their intervals, points of a CDF, histograms.

Strategy: the values are sorted once, and everything else is read off the sorted array, so that a
run of many millions of gaps needs two arrays of them and no more.

Rules. A percentile with too few samples beyond it is ``None`` (``_LEAST``: no p99 under 100), and
an interval that the samples do not bear out is ``None`` as well. Histograms have one fixed set of
buckets (``gateproof.histogram``), so those of several runs or workers add up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateproof.histogram import Histogram
from gateproof.interval import at_share, quantile_interval

__all__ = ["Spread", "distribution", "histogram_of", "spread", "spread_of"]

# A percentile is given when at least one sample is expected beyond it.
_LEAST: Final[dict[str, tuple[float, int]]] = {
    "p50": (0.5, 1),
    "p90": (0.9, 10),
    "p95": (0.95, 20),
    "p99": (0.99, 100),
    "p999": (0.999, 1000),
}
_CDF_POINTS: Final = 201
_EDGES_MS: Final = 0.01 * 1.1 ** np.arange(0, 200)  # 10 us to 28 min, 10 % a step: they merge
_CHUNK: Final = 1 << 20  # values that are widened at a time


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution in brief; a percentile with too few samples behind it is ``None``.

    ``ci`` holds the 95 % confidence interval of each percentile, or ``None`` (``interval``).
    """

    n: int
    mean: float | None = None
    sd: float | None = None
    min: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p999: float | None = None
    max: float | None = None
    ci: Mapping[str, tuple[float, float] | None] = field(default_factory=dict)


def spread(values: NDArray[Any]) -> Spread:
    """Sum up values that are independent of each other."""
    return spread_of(values, np.sort(values))


def spread_of(
    values: NDArray[Any],
    ordered: NDArray[Any],
    groups: Sequence[NDArray[np.int64]] = (),
    *,
    independent: bool = True,
) -> Spread:
    """Sum up values; ``ordered`` are the same, sorted; ``groups`` as in ``quantile_interval``."""
    n = len(values)
    if not n:
        return Spread(0)
    mean = float(ordered.mean(dtype=np.float64))
    squares = 0.0
    for at in range(0, n, _CHUNK):
        squares += float(np.square(ordered[at : at + _CHUNK].astype(np.float64) - mean).sum())
    ranks: dict[str, float] = {}
    ci: dict[str, tuple[float, float] | None] = {}
    for name, (share, least) in _LEAST.items():
        if n < least:
            continue
        ranks[name] = round(at_share(ordered, share), 4)
        bounds = quantile_interval(values, ordered, share, groups, independent=independent)
        ci[name] = bounds and (round(bounds[0], 4), round(bounds[1], 4))
    return Spread(
        n=n,
        mean=round(mean, 4),
        sd=round((squares / (n - 1)) ** 0.5, 4) if n > 1 else None,
        min=round(float(ordered[0]), 4),
        max=round(float(ordered[-1]), 4),
        ci=ci,
        **ranks,
    )


def distribution(ordered: NDArray[Any]) -> dict[str, Any]:
    """Give points of the CDF of sorted values, and a histogram whose edges are always the same."""
    if not len(ordered):
        return {"cdf": [], "histogram": {"edges_ms": [], "counts": []}}
    shares = [index / (_CDF_POINTS - 1) for index in range(_CDF_POINTS)]
    inner = np.searchsorted(ordered, _EDGES_MS[1:-1].astype(ordered.dtype))
    counts = np.diff(np.concatenate([[0], inner, [len(ordered)]]))
    used = np.flatnonzero(counts)
    low, high = int(used[0]), int(used[-1]) + 1
    return {
        "cdf": [[round(at_share(ordered, share), 4), round(share, 4)] for share in shares],
        "histogram": {
            "edges_ms": [round(float(edge), 5) for edge in _EDGES_MS[low : high + 1]],
            "counts": [int(count) for count in counts[low:high]],
        },
    }


def histogram_of(values: NDArray[Any], unit_ns: float = 1e6) -> Histogram:
    """Count values by the buckets of ``gateproof.histogram``; they are milliseconds by default."""
    made = Histogram()
    for at in range(0, len(values), _CHUNK):
        ns = np.rint(values[at : at + _CHUNK].astype(np.float64) * unit_ns).astype(np.int64)
        ns = np.maximum(ns, 0)
        # bucket_of, for many: frexp gives the bit length of whole numbers below 2**53.
        shift = np.maximum(np.frexp(ns.astype(np.float64))[1].astype(np.int64) - 8, 0)
        buckets = np.where(shift > 0, (shift << 7) + (ns >> shift), ns)
        places, counts = np.unique(buckets, return_counts=True)
        made.add_counts(
            zip(places.tolist(), counts.tolist(), strict=True),
            sum_ns=int(ns.sum()),
            min_ns=int(ns.min()),
            max_ns=int(ns.max()),
        )
    return made
