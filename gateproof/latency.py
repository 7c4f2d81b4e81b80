"""Latencies from samples: pure functions from records and token stamps to values in milliseconds.

Rules. What did not happen has no value. Percentiles interpolate linearly, and one with too few
samples beyond it is ``None`` (``_LEAST``: no p99 under 100). Histograms have one fixed set of
edges, so those of several runs or workers add up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateproof.sample import NEVER, ErrorKind, Samples

__all__ = [
    "METRIC_SAYS",
    "NS_PER_MS",
    "US_PER_MS",
    "Spread",
    "distribution",
    "goodput",
    "metrics",
    "series",
    "spread",
    "token_count",
    "token_times",
]

METRIC_SAYS: Final[dict[str, str]] = {
    "ttft_ms": "time to first token: from sent to the first event with output of any kind",
    "ttft_from_due_ms": "the same from when the request was due: what a user waits",
    "content_ms": "from sent to the first event with content or a tool call, after any reasoning",
    "first_byte_ms": "from sent to the first byte of the answer",
    "first_event_ms": "from sent to the first event, which may hold only a role",
    "gap_ms": "time between two events with output, as they came",
    "itl_ms": "inter-token latency: each gap, shared over its tokens when usage counts more tokens "
    "than events",
    "tpot_ms": "time per output token: (last - first) / (tokens - 1), one value a request",
    "e2e_ms": "from sent to [DONE], or to the end of the body",
    "e2e_from_due_ms": "the same from when the request was due",
    "wait_ms": "from due to sent: the generator's own wait, a cap's, and connecting",
    "connect_ms": "making a connection, name look-up and TLS included; fresh connections only",
    "stream_tokens_per_s": "output tokens per second of one stream, from its first to its last",
}

NS_PER_MS: Final = 1e6
US_PER_MS: Final = 1e3
# A percentile is given when at least one sample is expected beyond it.
_LEAST: Final[dict[str, tuple[float, int]]] = {
    "p50": (50.0, 1),
    "p90": (90.0, 10),
    "p95": (95.0, 20),
    "p99": (99.0, 100),
    "p999": (99.9, 1000),
}
_CDF_POINTS: Final = 201
_TORN_BIN: Final = 0.5  # less than half a bin at the end belongs to the bin before it
_MOST_BINS: Final = 600  # a chart has no more columns than that
_EDGES_MS: Final = 0.01 * 1.1 ** np.arange(0, 200)  # 10 us to 28 min, 10 % a step: they merge


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution in brief; a percentile with too few samples behind it is ``None``."""

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


def spread(values: NDArray[Any]) -> Spread:
    """Sum up values; percentiles interpolate linearly, and are None when n is too small."""
    n = len(values)
    if not n:
        return Spread(0)
    wanted = {name: rank for name, (rank, least) in _LEAST.items() if n >= least}
    got = dict(zip(wanted, np.percentile(values, list(wanted.values())), strict=True))
    values = values.astype(np.float64, copy=False)
    rounded = {name: round(float(value), 4) for name, value in got.items()}
    return Spread(
        n=n,
        mean=round(float(values.mean()), 4),
        sd=round(float(values.std(ddof=1)), 4) if n > 1 else None,
        min=round(float(values.min()), 4),
        max=round(float(values.max()), 4),
        **rounded,
    )


def _ms(us: NDArray[Any]) -> NDArray[np.float64]:
    """Give the times that happened, in milliseconds."""
    return np.asarray(us[us != NEVER], np.float64) / US_PER_MS


def _first_us(rows: NDArray[np.void]) -> NDArray[np.uint32]:
    """Give the first output of any kind; NEVER sorts last, so the minimum is right."""
    return np.asarray(np.minimum(rows["first_token_us"], rows["first_reasoning_us"]), np.uint32)


def token_count(rows: NDArray[np.void]) -> NDArray[np.int64]:
    """Count each stream's tokens: by usage less reasoning that was not shown, else by events."""
    deltas = rows["deltas"].astype(np.int64)
    usage = rows["completion_tokens"].astype(np.int64)
    reasoning = rows["reasoning_tokens"].astype(np.int64)
    hidden = np.where(
        (rows["first_reasoning_us"] == NEVER) & (rows["reasoning_tokens"] != NEVER), reasoning, 0
    )
    shown = usage - hidden
    return np.where((rows["completion_tokens"] != NEVER) & (shown > 0), shown, deltas)


def _stamps_of(rows: NDArray[np.void]) -> NDArray[np.int64]:
    """Give the places of all stamps of these rows, row by row."""
    deltas = rows["deltas"].astype(np.int64)
    ends = np.cumsum(deltas)
    at = np.repeat(rows["stamps_at"].astype(np.int64) - (ends - deltas), deltas)
    return at + np.arange(len(at))


def token_times(samples: Samples) -> NDArray[np.int64]:
    """Give the absolute arrival (ns) of every event with output, row by row."""
    rows = samples.records
    since = samples.stamps[_stamps_of(rows)].astype(np.int64) * 1000
    return np.repeat(rows["sent_ns"], rows["deltas"]) + since


def _gaps(rows: NDArray[np.void], stamps: NDArray[np.uint32]) -> tuple[Any, Any]:
    """Give all gaps between output events, and the same shared over their tokens, both in ms."""
    rows = rows[rows["deltas"] > 1]
    if not len(rows):
        return np.empty(0), np.empty(0)
    deltas = rows["deltas"].astype(np.int64)
    ends = np.cumsum(deltas)
    gaps = np.diff(stamps[_stamps_of(rows)].astype(np.int64))
    inside = np.ones(len(gaps), bool)
    inside[ends[:-1] - 1] = False
    gap_ms = gaps[inside] / US_PER_MS
    per_gap = np.maximum((token_count(rows) - 1) / (deltas - 1), 1.0)
    return gap_ms, gap_ms / np.repeat(per_gap, deltas - 1)


def metrics(rows: NDArray[np.void], stamps: NDArray[np.uint32]) -> dict[str, NDArray[Any]]:
    """Give each metric's values, in milliseconds where not said otherwise."""
    seen = rows[(rows["error"] == ErrorKind.NONE) | (rows["error"] == ErrorKind.UNFINISHED)]
    done = rows[rows["error"] == ErrorKind.NONE]
    wait = np.maximum(seen["sent_ns"] - seen["due_ns"], 0) / NS_PER_MS
    wait_done = np.maximum(done["sent_ns"] - done["due_ns"], 0) / NS_PER_MS
    first = _first_us(seen)
    has_first = first != NEVER
    gap_ms, itl_ms = _gaps(seen, stamps)
    paced = done[(done["deltas"] > 1) & (token_count(done) > 1)]
    span_ms = (paced["last_token_us"].astype(np.float64) - _first_us(paced)) / US_PER_MS
    tpot = span_ms / (token_count(paced) - 1)
    return {
        "ttft_ms": _ms(first),
        "ttft_from_due_ms": _ms(first) + wait[has_first],
        "content_ms": _ms(seen["first_token_us"]),
        "first_byte_ms": _ms(seen["first_byte_us"]),
        "first_event_ms": _ms(seen["first_event_us"]),
        "gap_ms": gap_ms,
        "itl_ms": itl_ms,
        "tpot_ms": tpot,
        "e2e_ms": _ms(done["end_us"]),
        "e2e_from_due_ms": _ms(done["end_us"]) + wait_done[done["end_us"] != NEVER],
        "wait_ms": wait,
        "connect_ms": seen["connect_us"][seen["connect_us"] > 0] / US_PER_MS,
        "stream_tokens_per_s": 1000.0 / tpot[tpot > 0],
    }


def goodput(rows: NDArray[np.void], slos: Mapping[str, float], seconds: float) -> Any:
    """Count the requests inside all SLOs; one that failed is outside, one cut by the end is out."""
    if not slos:
        return None
    rows = rows[rows["error"] != ErrorKind.UNFINISHED]
    tokens = np.maximum(token_count(rows) - 1, 1)
    first = _first_us(rows)
    wait_ms = np.maximum(rows["sent_ns"] - rows["due_ns"], 0) / NS_PER_MS
    last = np.where(rows["last_token_us"] == NEVER, first, rows["last_token_us"])
    values = {
        "ttft_ms": wait_ms + first / US_PER_MS,
        "content_ms": wait_ms + rows["first_token_us"] / US_PER_MS,
        "tpot_ms": (last.astype(np.float64) - first) / US_PER_MS / tokens,
        "e2e_ms": wait_ms + rows["end_us"] / US_PER_MS,
    }
    answered = rows["error"] == ErrorKind.NONE
    inside = {name: answered & (values[name] <= limit) for name, limit in slos.items()}
    good = int(np.logical_and.reduce(list(inside.values())).sum())
    return {
        "slos": dict(slos),
        "n": len(rows),
        "good": good,
        "share": round(good / len(rows), 6) if len(rows) else None,
        "per_s": round(good / seconds, 4),
        "missed": {name: int(len(rows) - hit.sum()) for name, hit in inside.items()},
    }


def distribution(values: NDArray[Any]) -> dict[str, Any]:
    """Give points of the CDF, and a histogram whose edges are always the same."""
    if not len(values):
        return {"cdf": [], "histogram": {"edges_ms": [], "counts": []}}
    shares = np.linspace(0.0, 1.0, _CDF_POINTS)
    points = np.quantile(values, shares)
    counts, _ = np.histogram(np.clip(values, _EDGES_MS[0], _EDGES_MS[-1]), _EDGES_MS)
    used = np.flatnonzero(counts)
    low, high = int(used[0]), int(used[-1]) + 1
    return {
        "cdf": [
            [round(float(x), 4), round(float(y), 4)] for x, y in zip(points, shares, strict=True)
        ],
        "histogram": {
            "edges_ms": [round(float(edge), 5) for edge in _EDGES_MS[low : high + 1]],
            "counts": [int(count) for count in counts[low:high]],
        },
    }


def series(
    samples: Samples, start_ns: int, end_ns: int, lag: tuple[NDArray[Any], NDArray[Any]]
) -> dict[str, Any]:
    """Bin the whole run, warm-up included, by second (or by more when it is long)."""
    rows = samples.records
    seconds = max((end_ns - start_ns) / 1e9, 1e-9)
    bin_s = next(
        s for s in (1, 2, 5, 10, 30, 60, 300, 900, 3600, 10**6) if seconds / s <= _MOST_BINS
    )
    bins = max(int(np.ceil(seconds / bin_s - _TORN_BIN)), 1)
    widths = np.full(bins, float(bin_s))
    widths[-1] = seconds - (bins - 1) * bin_s

    def place(at_ns: NDArray[Any]) -> NDArray[Any]:
        at = np.minimum((at_ns - start_ns) // (bin_s * 10**9), bins - 1)
        return np.where((at_ns < start_ns) | (at_ns > end_ns), -1, at)

    def rate(at_ns: NDArray[Any]) -> list[float]:
        at = place(at_ns)
        counts = np.bincount(at[at >= 0], minlength=bins)
        return [round(float(each), 3) for each in counts / widths]

    ended = rows[rows["end_us"] != NEVER]
    end_at = ended["sent_ns"] + ended["end_us"].astype(np.int64) * 1000
    token_at = token_times(samples)
    first = _first_us(rows)
    started = rows[first != NEVER]
    bin_of = place(started["due_ns"])
    ttft_ms = first[first != NEVER] / US_PER_MS
    groups = [ttft_ms[bin_of == index] for index in range(bins)]
    middles = start_ns + (np.arange(bins) * bin_s * 10**9) + bin_s * 5 * 10**8
    begun = np.searchsorted(np.sort(rows["sent_ns"]), middles)
    over = np.searchsorted(np.sort(end_at), middles)
    lag_bin = place(lag[0])
    late = [lag[1][lag_bin == index] for index in range(bins)]
    return {
        "bin_s": bin_s,
        "t_s": [index * bin_s for index in range(bins)],
        "due_per_s": rate(rows["due_ns"]),
        "answered_per_s": rate(end_at[ended["error"] == ErrorKind.NONE]),
        "failed_per_s": rate(end_at[ended["error"] > ErrorKind.UNFINISHED]),
        "tokens_per_s": rate(token_at),
        "ttft_p50_ms": [round(float(np.median(g)), 4) if len(g) else None for g in groups],
        "ttft_p95_ms": [
            round(float(np.percentile(g, 95)), 4) if len(g) >= 20 else None for g in groups
        ],
        "active": [int(count) for count in begun - over],
        "lag_max_ms": [round(float(g.max()) / US_PER_MS, 3) if len(g) else None for g in late],
    }
