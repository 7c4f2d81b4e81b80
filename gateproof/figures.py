"""The figures of all requests of a load run, or of those of one kind of work.

Strategy: the window cuts off warm-up and cool-down; from the rows inside come counts, spreads,
goodput and the rest, one metric at a time, since the gaps of a large run fill memory.

Rules. Latencies are of requests due in the window; rates count what happened in the window; cost is
of all requests, since all were paid for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateproof.evidence import references
from gateproof.goodput import cost, goodput
from gateproof.interval import batches, share_interval
from gateproof.latency import (
    METRIC_SAYS,
    Gaps,
    abandoned,
    gaps,
    metrics,
    stalls,
    token_count,
    where,
)
from gateproof.plan import LoadPlan
from gateproof.sample import ERROR_SAYS, FINDINGS, FLAG_SAYS, NEVER, ErrorKind, Flag, Samples
from gateproof.spread import Spread, distribution, histogram_of, spread_of
from gateproof.timeline import in_flight, tokens_between
from gateproof.trust import Generator
from gateproof.work import titles

__all__ = ["Window", "figures_by_work", "figures_of", "window_of"]

_DISTRIBUTIONS: Final = ("ttft_ms", "itl_ms", "e2e_ms")
_HISTOGRAMS: Final = ("ttft_ms", "ttft_from_due_ms", "gap_ms", "itl_ms", "tpot_ms", "e2e_ms",
                      "e2e_from_due_ms")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Window:
    """The span that is measured, on the generator's clock."""

    start_ns: int
    from_ns: int
    to_ns: int
    stop_ns: int

    @property
    def seconds(self) -> float:
        """Return how long it is."""
        return (self.to_ns - self.from_ns) / 1e9

    def inside(self, records: NDArray[np.void]) -> NDArray[np.void]:
        """Give the records that are due inside; they stand in order of due."""
        last_ns = self.to_ns - (self.to_ns < self.stop_ns)
        first = np.searchsorted(records["due_ns"], self.from_ns)
        return records[first : np.searchsorted(records["due_ns"], last_ns, side="right")]

    def since_start_s(self, at_ns: int) -> float:
        """Give a time as seconds since the run began."""
        return round((at_ns - self.start_ns) / 1e9, 3)


def window_of(generator: Generator, records: NDArray[np.void]) -> Window:
    """Cut off warm-up and cool-down; what is left is at least a nanosecond."""
    plan, start_ns = generator.plan, generator.start_ns
    last_ns = int(records["due_ns"].max()) if len(records) else start_ns
    stop_ns = generator.stop_ns or max([last_ns, *(tick["at_ns"] for tick in generator.ticks)])
    stop_ns = max(stop_ns, start_ns + 1)
    from_ns = min(start_ns + round(plan.warm_up_s * 1e9), stop_ns - 1)
    to_ns = max(stop_ns - round(plan.cool_down_s * 1e9), from_ns + 1)
    return Window(start_ns, from_ns, to_ns, stop_ns)


def _counted(rows: NDArray[np.void], kinds: Mapping[Any, str], *, flags: bool) -> list[Any]:
    """Count the rows of each kind, most frequent first, with the statuses they came with."""
    found = []
    for kind, says in kinds.items():
        hit = rows[rows["flags"] & int(kind) != 0] if flags else rows[rows["error"] == int(kind)]
        if len(hit):
            statuses, counts = np.unique(hit["status"], return_counts=True)
            found.append(
                {
                    "kind": kind.name.lower().replace("_", "-"),
                    "says": says,
                    "count": len(hit),
                    "statuses": {
                        str(s): int(c) for s, c in zip(statuses, counts, strict=True) if s
                    },
                }
            )
    return sorted(found, key=lambda row: -row["count"])


def _spreads(
    rows: NDArray[np.void], stamps: NDArray[np.uint32], *, whole: bool
) -> tuple[dict[str, Spread], dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Give all metrics in brief, the stalls, and, of a ``whole`` run, distributions and histograms.

    One metric at a time, since those of gaps are as large as all stamps together.
    """
    spreads: dict[str, Spread] = {}
    distributions: dict[str, Any] = {}
    histograms: dict[str, Any] = {}

    def take(
        name: str,
        values: NDArray[Any],
        groups: list[NDArray[np.int64]],
        *,
        independent: bool = True,
    ) -> None:
        ordered = np.sort(values)
        spreads[name] = spread_of(values, ordered, groups, independent=independent)
        if whole and name in (*_DISTRIBUTIONS, "gap_ms"):
            distributions[name] = distribution(ordered)
        if whole and name in _HISTOGRAMS:
            histograms[name] = histogram_of(ordered).as_json()

    for name, values in metrics(rows).items():
        take(name, values, [batches(len(values))])
    seen = where(rows, (rows["error"] == ErrorKind.NONE) | (rows["error"] == ErrorKind.UNFINISHED))
    found: Gaps = gaps(seen, stamps)
    groups = [found.sizes, batches(len(found.sizes))]
    take("gap_ms", found.ms, groups, independent=False)
    stalled = stalls(found)
    if found.shared:
        take("itl_ms", found.share(), groups, independent=False)
    else:
        for part in (spreads, distributions, histograms) if whole else (spreads,):
            part["itl_ms"] = part["gap_ms"]
    distributions.pop("gap_ms", None)
    return {name: spreads[name] for name in METRIC_SAYS}, stalled, distributions, histograms


def figures_of(samples: Samples, window: Window, plan: LoadPlan, *, whole: bool) -> dict[str, Any]:
    """Give the figures of all samples of a run, or of one kind of work."""
    records = samples.records
    rows = window.inside(records)
    answered = where(rows, rows["error"] == ErrorKind.NONE)
    flawed = int((answered["flags"] & int(FINDINGS) != 0).sum())
    unfinished = int((rows["error"] == ErrorKind.UNFINISHED).sum())
    failed = len(rows) - len(answered) - unfinished
    end_at = records["sent_ns"] + records["end_us"].astype(np.int64) * 1000
    ended = (
        (records["error"] == ErrorKind.NONE)
        & (records["end_us"] != NEVER)
        & (end_at >= window.from_ns)
        & (end_at <= window.to_ns)
    )
    with_usage = where(
        answered, (answered["completion_tokens"] != NEVER) & (answered["deltas"] > 0)
    )
    spreads, stalled, distributions, histograms = _spreads(rows, samples.stamps, whole=whole)
    came = len(answered) + failed
    bounds = share_interval(failed, came)
    return {
        "requests": {
            "due": len(rows),
            "answered": len(answered),
            "clean": len(answered) - flawed,
            "flawed": flawed,
            "failed": failed,
            "unfinished": unfinished,
            "warm_up": int((records["due_ns"] < window.from_ns).sum()),
            "cool_down": int(
                (records["due_ns"] >= window.to_ns).sum() if window.to_ns < window.stop_ns else 0
            ),
            "reused": int((rows["flags"] & int(Flag.REUSED) != 0).sum()),
            "retried": int((rows["flags"] & int(Flag.RETRIED) != 0).sum()),
            "delayed": int((rows["flags"] & int(Flag.DELAYED) != 0).sum()),
            "never_sent": int(abandoned(rows).sum()),
            **references(rows),
        },
        "failed": {
            "share": round(failed / came, 6) if came else None,
            "ci": bounds and [round(bound, 6) for bound in bounds],
        },
        "errors": tuple(
            _counted(rows, {k: v for k, v in ERROR_SAYS.items() if k > 1}, flags=False)
        ),
        "findings": tuple(
            _counted(answered, {k: v for k, v in FLAG_SAYS.items() if k in FINDINGS}, flags=True)
        ),
        "tokens": {
            "prompt": int(_known(answered["prompt_tokens"]).sum()),
            "completion": int(_known(answered["completion_tokens"]).sum()),
            "reasoning": int(_known(answered["reasoning_tokens"]).sum()),
            "deltas": int(answered["deltas"].sum()),
            "compared": len(with_usage),
            "differ": int((token_count(with_usage) != with_usage["deltas"]).sum()),
        },
        "rates": {
            "due_per_s": round(len(rows) / window.seconds, 4),
            "answered_per_s": round(int(ended.sum()) / window.seconds, 4),
            "tokens_per_s": round(
                tokens_between(samples, window.from_ns, window.to_ns) / window.seconds, 3
            ),
            "in_flight": round(in_flight(records, window.from_ns, window.to_ns), 3),
        },
        "cost": cost(records, plan.prices),
        "metrics": spreads,
        "stalls": stalled,
        "goodput": goodput(rows, plan, window.seconds),
        "distributions": distributions,
        "histograms": histograms,
    }


def figures_by_work(samples: Samples, window: Window, plan: LoadPlan) -> tuple[dict[str, Any], ...]:
    """Give the figures of each kind of work, where there is more than one."""
    if len(plan.work) < 2:  # one kind of work is the whole
        return ()
    made = []
    for place, name in enumerate(titles(plan.work)):
        own = samples.records[samples.records["work"] == place]
        part = figures_of(Samples(own, samples.stamps), window, plan, whole=False)
        del part["distributions"], part["histograms"]
        made.append({"name": name, **part})
    return tuple(made)


def _known(counts: NDArray[Any]) -> NDArray[np.int64]:
    """Give the counts that the server named."""
    return np.asarray(counts[counts != NEVER], np.int64)
