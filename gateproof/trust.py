"""Whether a load run's figures are the target's: what the generator cost, and what it delivered.

Strategy: each measure of the generator's own error is held to a limit with its reason, and so is
the load that was delivered against the load that was planned. What is beyond a limit makes the run
invalid, and says what to change.

Rules. What was not recorded is not good. The reasons begin with what makes all figures void.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateproof.latency import NS_PER_MS
from gateproof.plan import LoadPlan
from gateproof.sample import ErrorKind, Flag, Samples
from gateproof.spread import Spread, spread

__all__ = ["Generator", "generator_figures", "stimulus", "verdict"]

# Limits of the generator's own error. 2 ms is this tool's promise for TTFT (p99); 5 % of the
# median TTFT is an error that no conclusion should turn on.
_LAG_FLOOR_MS: Final = 2.0
_LAG_SHARE: Final = 0.05
# Of the gap between tokens: a loop that comes within half of it joins no two of them.
_GAP_SHARE: Final = 0.5
# One event loop is one core: above this share of it, events queue before they are stamped.
_CPU_LIMIT: Final = 0.9
# How far the load that was delivered may be from the one that was planned.
_DELIVERED: Final = 0.02
# Random arrivals differ from their rate: by more than so many standard deviations never.
_DEVIATIONS: Final = 4.0
_STEPS: Final = 2000  # in which the area under the rate is summed up
_CHANGE: Final = "use more workers (--processes), fewer streams or a quieter machine"


@dataclass(frozen=True, slots=True)
class Generator:
    """What the generator's processes wrote about themselves (``generator.*.jsonl``)."""

    plan: LoadPlan
    workers: int
    start_ns: int
    stop_ns: int | None  # None: cut short
    wall_ns: int
    ticks: tuple[Mapping[str, Any], ...] = ()  # per second: at_ns, cpu_ns, rss_kb, worker
    learned: tuple[Any, ...] = ()  # of each worker: tokens per word, by work
    by_kernel: tuple[bool, ...] = ()  # of each worker: whether the kernel said when bytes came
    compiled: bool = True  # whether every worker read with compiled code


def generator_figures(
    generator: Generator, samples: Samples, lag_ms: NDArray[Any], rows: NDArray[np.void]
) -> dict[str, Any]:
    """Tell what the generator cost and how late it was."""
    begun_ns = rows["sent_ns"] - rows["connect_us"].astype(np.int64) * 1000
    prompt = rows["flags"] & int(Flag.DELAYED | Flag.RETRIED) == 0
    late_ms = np.maximum(begun_ns - rows["due_ns"], 0)[prompt] / NS_PER_MS
    shares, rss_kb = [], 0
    for worker in sorted({tick["worker"] for tick in generator.ticks}):
        own = [tick for tick in generator.ticks if tick["worker"] == worker]
        wall = own[-1]["at_ns"] - own[0]["at_ns"]
        if wall > 0:
            shares.append((own[-1]["cpu_ns"] - own[0]["cpu_ns"]) / wall)
        rss_kb = max(rss_kb, *(tick["rss_kb"] for tick in own))
    return {
        "workers": generator.workers,
        "lag_ms": asdict(spread(lag_ms)),
        "late_ms": asdict(spread(late_ms)),
        "cpu_share": round(max(shares), 4) if shares else None,
        "cpu_shares": [round(share, 4) for share in shares],
        "rss_mb": round(rss_kb / 1024, 1) if rss_kb else None,
        "local_errors": int((rows["error"] == ErrorKind.LOCAL).sum()),
        "lost_records": samples.lost,
        "by_kernel": bool(generator.by_kernel) and all(generator.by_kernel),
        "compiled": generator.compiled,
    }


def stimulus(
    plan: LoadPlan, rows: NDArray[np.void], from_s: float, to_s: float
) -> dict[str, Any] | None:
    """Hold the arrivals that came to those that were planned; None for a closed or replayed load.

    ``tolerance`` is 2 %, or what chance alone does to random arrivals.
    """
    planned = _planned(plan, from_s, to_s)
    if planned is None or planned <= 0:
        return None
    noise = {"poisson": 1.0, "gamma": _cv(plan)}.get(plan.arrivals, 0.0)
    tolerance = max(_DELIVERED, _DEVIATIONS * noise / math.sqrt(planned), 1.5 / planned)
    off = len(rows) / planned - 1
    return {
        "planned": round(planned, 1),
        "due": len(rows),
        "off": round(off, 5),
        "tolerance": round(tolerance, 5),
        "ok": abs(off) <= tolerance,
    }


def _planned(plan: LoadPlan, from_s: float, to_s: float) -> float | None:
    """Give how many arrivals were to be expected in a span; None when the plan does not tell.

    It does not where an arrival begins a conversation: when its later turns are due is the answers'
    doing.
    """
    if plan.arrivals not in ("constant", "poisson", "gamma"):
        return None
    if any("turns" in table for table in plan.work):
        return None
    step_s = (to_s - from_s) / _STEPS
    shape = plan.shape
    levels = [shape.level(from_s + (step + 0.5) * step_s) for step in range(_STEPS)]
    return math.fsum(levels) * step_s


def _cv(plan: LoadPlan) -> float:
    """Give the coefficient of variation of the gaps between arrivals."""
    return 1 / math.sqrt(plan.burstiness)


def verdict(
    generator: Mapping[str, Any],
    ttft_ms: Spread,
    itl_ms: Spread,
    due: int,
    answered: int,
    *,
    complete: bool,
    delivered: Mapping[str, Any] | None = None,
    calibrated: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Judge the generator: a run in which it was the bottleneck is invalid, and says why.

    ``calibrated`` are rows of ``gateproof.calibration``, as ``limits`` has them.
    """
    late_limit = lag_limit = max(_LAG_FLOOR_MS, _LAG_SHARE * (ttft_ms.p50 or 0.0))
    why = f"the larger of {_LAG_FLOOR_MS:g} ms and {_LAG_SHARE:.0%} of the median TTFT: "
    why_lag = why + "a time stamp is late by as much as the loop is"
    gap_ms = _GAP_SHARE * (itl_ms.p50 or 0.0)
    if generator["by_kernel"] and gap_ms > lag_limit:
        lag_limit = gap_ms
        why_lag = (
            f"{_GAP_SHARE:.0%} of the median ITL: the kernel stamps what comes in, but a read "
            "that is later than the next token gives both one time"
        )
    lag, late = _top(generator["lag_ms"]), _top(generator["late_ms"]) or 0.0
    why += "a request that is sent late meets another state of the target"
    limits = [
        _limit("loop lag p99", "ms", round(lag_limit, 3), lag, why_lag),
        _limit("late sends p99", "ms", round(late_limit, 3), late, why),
        _limit(
            "CPU of the busiest worker",
            "cores",
            _CPU_LIMIT,
            generator["cpu_share"],
            "one event loop is one core: nearer to it, events queue before they are stamped",
        ),
    ]
    limits.append(
        _limit(
            "own socket errors",
            "requests",
            0,
            generator["local_errors"],
            "the generator had no file, port or memory left: these requests never reached the "
            "target",
        )
    )
    if delivered is not None:
        limits.append(
            {
                **_limit(
                    "arrivals off the plan",
                    "%",
                    round(100 * delivered["tolerance"], 2),
                    round(100 * abs(delivered["off"]), 2),
                    f"{delivered['due']} of {delivered['planned']:g} planned arrivals came due: "
                    "with more or fewer, the load is not the one that was asked for",
                ),
                "so": "another load than the planned one was put on the target",
            }
        )
    limits += [dict(row) for row in calibrated]
    reasons = [_reason(row) for row in limits if not row["ok"]]
    # First what makes all figures void, then what makes them wrong.
    void = []
    if not due:
        void.append("the run ended before a request was due behind its warm-up: make it longer")
    elif not answered:
        void.append("no request was answered in full in the measured window")
    if not complete:
        void.append("the run was cut short")
    reasons = [*void, *reasons]
    says = "Valid: the generator kept up, and its own error is within the limits."
    return {
        "valid": not reasons,
        "says": f"INVALID: {reasons[0]}." if reasons else says,
        "reasons": reasons,
        "limits": limits,
    }


def _limit(name: str, unit: str, limit: float, got: float | None, why: str) -> dict[str, Any]:
    ok = got is not None and got <= limit
    return {"name": name, "unit": unit, "limit": limit, "got": got, "ok": ok, "why": why}


def _reason(row: Mapping[str, Any]) -> str:
    """Say what is beyond a limit, and what to change."""
    if row.get("got") is None:
        return f"{row['name']} was not recorded, so the generator's own error is unknown"
    return (
        f"{row['name']} is {row['got']:.3g} {row['unit']}, over its limit of {row['limit']:.3g}: "
        f"{row.get('so') or 'the generator was a bottleneck'}; {row.get('change') or _CHANGE}"
    )


def _top(lag: Mapping[str, Any]) -> float | None:
    """Give p99, or the maximum when there are too few samples for it."""
    got = lag["p99"] if lag["p99"] is not None else lag["max"]
    return None if got is None else float(got)
