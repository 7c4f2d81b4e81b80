"""How a load run went over time: rates, latencies, streams in flight and the generator's lag.

Rules. The whole run is shown, what is cut off for the figures included. Bins are whole seconds, or
more when the run is long; an event belongs to the bin in which it happened, a latency to that in
which its request was due. Tokens are counted block by block: there may be many millions.
"""

from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateproof.interval import at_share
from gateproof.latency import US_PER_MS, abandoned, blocks, first_us, stamps_of, token_count, where
from gateproof.plan import LoadPlan
from gateproof.sample import NEVER, ErrorKind, Samples

__all__ = ["in_flight", "series", "tokens_between"]

_TORN_BIN: Final = 0.5  # less than half a bin at the end belongs to the bin before it
_MOST_BINS: Final = 600  # a chart has no more columns than that
_WIDTHS_S: Final = (1, 2, 5, 10, 30, 60, 300, 900, 3600, 10**6)
_LEAST_P95: Final = 20


def _token_blocks(samples: Samples) -> Any:
    """Give (arrival in ns, tokens) of all output, block by block; what has no stamps comes last.

    An event stands for as many tokens as usage says, shared evenly over the events of its answer;
    an answer in one piece stands for all of its tokens when it ends.
    """
    rows = samples.records
    for part in blocks(where(rows, rows["deltas"] > 0)):
        since = samples.stamps[stamps_of(part)].astype(np.int64) * 1000
        at_ns = np.repeat(part["sent_ns"], part["deltas"]) + since
        yield at_ns, np.repeat(token_count(part) / part["deltas"], part["deltas"])
    whole = rows[(rows["deltas"] == 0) & (rows["error"] == ErrorKind.NONE)]
    whole = whole[whole["end_us"] != NEVER]
    yield (
        whole["sent_ns"] + whole["end_us"].astype(np.int64) * 1000,
        token_count(whole).astype(np.float64),
    )


def tokens_between(samples: Samples, from_ns: int, to_ns: int) -> float:
    """Count the output tokens that arrived in a span of time."""
    return float(
        sum(
            tokens[(at_ns >= from_ns) & (at_ns <= to_ns)].sum()
            for at_ns, tokens in _token_blocks(samples)
        )
    )


def in_flight(rows: NDArray[np.void], from_ns: int, to_ns: int) -> float:
    """Give how many requests were being answered at a time, on average over a span of time."""
    rows = where(rows, ~abandoned(rows) & (rows["end_us"] != NEVER))
    end_at = rows["sent_ns"] + rows["end_us"].astype(np.int64) * 1000
    inside = np.clip(end_at, from_ns, to_ns) - np.clip(rows["sent_ns"], from_ns, to_ns)
    return float(inside.sum() / (to_ns - from_ns))


def series(
    samples: Samples,
    plan: LoadPlan,
    start_ns: int,
    end_ns: int,
    lag: tuple[NDArray[Any], NDArray[Any]],
) -> dict[str, Any]:
    """Bin the whole run, warm-up included, by second (or by more when it is long).

    ``planned`` is the level that was asked for in the middle of each bin: arrivals a second, or
    users; it is ``None`` where a trace was replayed.
    """
    rows = samples.records
    seconds = max((end_ns - start_ns) / 1e9, 1e-9)
    bin_s = next(s for s in _WIDTHS_S if seconds / s <= _MOST_BINS)
    bins = max(int(np.ceil(seconds / bin_s - _TORN_BIN)), 1)
    widths = np.full(bins, float(bin_s))
    widths[-1] = seconds - (bins - 1) * bin_s

    def place(at_ns: NDArray[Any]) -> NDArray[Any]:
        at = np.minimum((at_ns - start_ns) // (bin_s * 10**9), bins - 1)
        return np.where((at_ns < start_ns) | (at_ns > end_ns), -1, at)

    def count(at_ns: NDArray[Any], weights: NDArray[Any] | None = None) -> NDArray[Any]:
        at = place(at_ns)
        inside = at >= 0
        kept = None if weights is None else weights[inside]
        return np.bincount(at[inside], kept, minlength=bins)

    def rate(at_ns: NDArray[Any]) -> list[float]:
        return _rounded(count(at_ns) / widths)

    def grouped(at_ns: NDArray[Any], values: NDArray[Any]) -> list[NDArray[Any]]:
        at = place(at_ns)
        order = np.argsort(at, kind="stable")
        cuts = np.searchsorted(at[order], np.arange(bins + 1))
        return [np.sort(values[order[a:b]]) for a, b in pairwise(cuts)]

    ended = where(rows, rows["end_us"] != NEVER)
    end_at = ended["sent_ns"] + ended["end_us"].astype(np.int64) * 1000
    tokens = sum((count(*block) for block in _token_blocks(samples)), np.zeros(bins))
    first = first_us(rows)
    has_first = first != NEVER
    ttfts = grouped(rows["due_ns"][has_first], first[has_first] / US_PER_MS)
    late = grouped(lag[0], lag[1])
    middles = start_ns + (np.arange(bins) * bin_s * 10**9) + bin_s * 5 * 10**8
    begun = np.searchsorted(np.sort(rows["sent_ns"][~abandoned(rows)]), middles)
    over = np.searchsorted(np.sort(end_at[~abandoned(ended)]), middles)
    return {
        "bin_s": bin_s,
        "t_s": [index * bin_s for index in range(bins)],
        "planned": [
            None if plan.arrivals == "trace" else round(plan.shape.level((at - start_ns) / 1e9), 3)
            for at in middles.tolist()
        ],
        "due_per_s": rate(rows["due_ns"]),
        "answered_per_s": rate(end_at[ended["error"] == ErrorKind.NONE]),
        "failed_per_s": rate(end_at[ended["error"] > ErrorKind.UNFINISHED]),
        "tokens_per_s": _rounded(tokens / widths),
        "ttft_p50_ms": [round(at_share(g, 0.5), 4) if len(g) else None for g in ttfts],
        "ttft_p95_ms": [
            round(at_share(g, 0.95), 4) if len(g) >= _LEAST_P95 else None for g in ttfts
        ],
        "active": [int(many) for many in begun - over],
        "lag_max_ms": [round(float(g[-1]) / US_PER_MS, 3) if len(g) else None for g in late],
    }


def _rounded(values: NDArray[Any]) -> list[float]:
    return [round(float(value), 3) for value in values]
