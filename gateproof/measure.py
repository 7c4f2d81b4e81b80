"""From samples to figures: the statistics of a load run, and whether they can be trusted.

Strategy: everything is derived from the files of ``gateproof.sample`` with numpy, so a run can be
measured again at any time; no figure exists that the samples do not hold.

Rules. Every figure has its unit in its name and its n beside it. A percentile needs enough samples
beyond it to mean something (``_LEAST``: no p99 under 100), otherwise it is ``None``. The warm-up is
cut by when a request was due. Latencies are of requests due in the measured window; rates count
what happened in the window. In the open model the time from due is given beside the time from sent.
A run in which the generator was late or out of CPU is invalid, with the reason first.

The JSON form of a ``LoadSummary`` (``as_json``)::

    schema            "gateproof.load/1"
    plan              what was asked: scenario, arrivals ("closed", "poisson", "constant"), users or
                      rate_per_s, duration_s, warm_up_s, model, target (origin only), seed, slos …
    started_at        ISO time, UTC
    window            {"from_s", "to_s", "seconds", "warm_up": one sentence}
    verdict           {"valid", "reasons": [sentence],
                      "limits": [{"name", "unit", "limit", "got", "ok", "why"}]}
    notes             [sentence]
    requests          {"due", "answered", "clean", "flawed", "failed", "unfinished", "warm_up",
                      "reused", "retried", "delayed"}
    errors, findings  [{"kind", "says", "count", "statuses"}], most frequent first
    tokens            {"prompt", "completion", "deltas", "compared", "differ"}
    rates             {"offered_per_s", "due_per_s", "answered_per_s", "tokens_per_s"}
    cost_usd          decimal text, or null when no answer named a cost
    metrics           name -> {"n", "mean", "sd", "min", "p50", "p90", "p95", "p99", "p999", "max"};
                      names: the keys of METRIC_SAYS
    metric_says       name -> one sentence
    goodput           null, or {"slos", "n", "good", "share", "per_s", "missed": {slo: count}}
    generator         {"workers", "lag_ms", "late_ms", "cpu_share", "rss_mb", "lost_records"}
    series            {"bin_s", "t_s": [...], "due_per_s", "answered_per_s", "failed_per_s",
                      "tokens_per_s", "ttft_p50_ms", "ttft_p95_ms", "active", "lag_max_ms"}
    distributions     "ttft_ms", "itl_ms", "e2e_ms" -> {"cdf": [[value, share]],
                      "histogram": {"edges_ms", "counts"}}
"""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateproof.errors import UsageError
from gateproof.latency import (
    METRIC_SAYS,
    NS_PER_MS,
    US_PER_MS,
    Spread,
    distribution,
    goodput,
    metrics,
    series,
    spread,
    token_count,
    token_times,
)
from gateproof.plan import LoadPlan
from gateproof.sample import (
    ERROR_SAYS,
    FINDINGS,
    FLAG_SAYS,
    NEVER,
    NO_COST,
    ErrorKind,
    Flag,
    Samples,
    read_lag,
    read_samples,
)

__all__ = [
    "Generator",
    "LoadSummary",
    "measure",
    "measure_folder",
    "read_generator",
]

SCHEMA: Final = "gateproof.load/1"

# Limits of the generator's own error. 2 ms is this tool's promise for TTFT (p99); 5 % of the
# median TTFT is an error that no conclusion should turn on.
_LAG_FLOOR_MS: Final = 2.0
_LAG_SHARE: Final = 0.05
# One event loop is one core: above this share of it, events queue before they are stamped.
_CPU_LIMIT: Final = 0.9


@dataclass(frozen=True, slots=True)
class Generator:
    """What the generator's processes wrote about themselves (``generator.*.jsonl``)."""

    plan: LoadPlan
    workers: int
    start_ns: int
    stop_ns: int | None  # None: cut short
    wall_ns: int
    ticks: tuple[Mapping[str, Any], ...] = ()  # per second: at_ns, cpu_ns, rss_kb, worker


@dataclass(frozen=True, slots=True)
class LoadSummary:
    """The figures of one load run; the module's docstring names every part."""

    plan: Mapping[str, Any]
    started_at: str
    window: Mapping[str, Any]
    verdict: Mapping[str, Any]
    notes: tuple[str, ...]
    requests: Mapping[str, int]
    errors: tuple[Mapping[str, Any], ...]
    findings: tuple[Mapping[str, Any], ...]
    tokens: Mapping[str, int]
    rates: Mapping[str, float | None]
    cost_usd: str | None
    metrics: Mapping[str, Spread]
    goodput: Mapping[str, Any] | None
    generator: Mapping[str, Any]
    series: Mapping[str, Any]
    distributions: Mapping[str, Any]

    @property
    def valid(self) -> bool:
        """Tell whether the generator was quick enough for the figures to be the target's."""
        return bool(self.verdict["valid"])

    def as_json(self) -> dict[str, Any]:
        """Give the summary as plain JSON types, ``schema`` first."""
        rows = {name: getattr(self, name) for name in ("notes", "errors", "findings")}
        lists = {name: list(row) for name, row in rows.items()}
        return {"schema": SCHEMA, **asdict(self), **lists, "metric_says": METRIC_SAYS}


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


def _generator(
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
        "rss_mb": round(rss_kb / 1024, 1) if rss_kb else None,
        "lost_records": samples.lost,
    }


def _verdict(
    generator: Mapping[str, Any], ttft_ms: Spread, due: int, answered: int, *, complete: bool
) -> dict[str, Any]:
    """Judge the generator: a run in which it was the bottleneck is invalid, and says why."""
    lag_limit = round(max(_LAG_FLOOR_MS, _LAG_SHARE * (ttft_ms.p50 or 0.0)), 3)
    why_lag = (
        f"the larger of {_LAG_FLOOR_MS:g} ms and {_LAG_SHARE:.0%} of the median TTFT: "
        "a time stamp is late by as much as the loop is"
    )
    rows = [
        ("loop lag p99", "ms", lag_limit, _top(generator["lag_ms"]), why_lag),
        ("late sends p99", "ms", lag_limit, _top(generator["late_ms"]) or 0.0, why_lag),
        (
            "CPU of the busiest worker",
            "cores",
            _CPU_LIMIT,
            generator["cpu_share"],
            "one event loop is one core: nearer to it, events queue before they are stamped",
        ),
    ]
    limits = [
        {
            "name": name,
            "unit": unit,
            "limit": limit,
            "got": got,
            "ok": got is not None and got <= limit,
            "why": why,
        }
        for name, unit, limit, got, why in rows
    ]
    reasons = [
        f"{row['name']} is {row['got']:.3g} {row['unit']}, over its limit of {row['limit']:.3g}: "
        "the generator was a bottleneck; use fewer streams, more workers or a quieter machine"
        if row["got"] is not None
        else f"{row['name']} was not recorded, so the generator's own error is unknown"
        for row in limits
        if not row["ok"]
    ]
    # First what makes all figures void, then what makes them wrong.
    void = []
    if not due:
        void.append("the run ended before a request was due behind its warm-up: make it longer")
    elif not answered:
        void.append("no request was answered in full in the measured window")
    if not complete:
        void.append("the run was cut short")
    reasons = [*void, *reasons]
    return {"valid": not reasons, "reasons": reasons, "limits": limits}


def _top(lag: Mapping[str, Any]) -> float | None:
    """Give p99, or the maximum when there are too few samples for it."""
    got = lag["p99"] if lag["p99"] is not None else lag["max"]
    return None if got is None else float(got)


def measure(
    samples: Samples, generator: Generator, lag: tuple[NDArray[Any], NDArray[Any]]
) -> LoadSummary:
    """Derive all figures of a run from its samples and the generator's notes about itself."""
    plan, records = generator.plan, samples.records
    last_ns = int(records["due_ns"].max()) if len(records) else generator.start_ns
    stop_ns = generator.stop_ns or max([last_ns, *(tick["at_ns"] for tick in generator.ticks)])
    stop_ns = max(stop_ns, generator.start_ns + 1)
    from_ns = min(generator.start_ns + round(plan.warm_up_s * 1e9), stop_ns - 1)
    seconds = (stop_ns - from_ns) / 1e9
    inside = (records["due_ns"] >= from_ns) & (records["due_ns"] <= stop_ns)
    rows = records[inside]
    answered = rows[rows["error"] == ErrorKind.NONE]
    flawed = int((answered["flags"] & int(FINDINGS) != 0).sum())
    unfinished = int((rows["error"] == ErrorKind.UNFINISHED).sum())

    values = metrics(rows, samples.stamps)
    spreads = {name: spread(values[name]) for name in METRIC_SAYS}
    lag_inside = lag[1][(lag[0] >= from_ns) & (lag[0] <= stop_ns)] / US_PER_MS
    about = _generator(generator, samples, lag_inside, rows)

    end_at = records["sent_ns"] + records["end_us"].astype(np.int64) * 1000
    ended = (
        (records["error"] == ErrorKind.NONE)
        & (records["end_us"] != NEVER)
        & (end_at >= from_ns)
        & (end_at <= stop_ns)
    )
    token_at = token_times(samples)
    counted = token_count(records) / np.maximum(records["deltas"], 1)
    weights = np.repeat(counted, records["deltas"])
    tokens_in = float(weights[(token_at >= from_ns) & (token_at <= stop_ns)].sum())

    with_usage = answered[answered["completion_tokens"] != NEVER]
    differ = int((token_count(with_usage) != with_usage["deltas"]).sum())
    costs = records["cost_nano_usd"][records["cost_nano_usd"] != NO_COST]
    requests = {
        "due": len(rows),
        "answered": len(answered),
        "clean": len(answered) - flawed,
        "flawed": flawed,
        "failed": len(rows) - len(answered) - unfinished,
        "unfinished": unfinished,
        "warm_up": int((records["due_ns"] < from_ns).sum()),
        "reused": int((rows["flags"] & int(Flag.REUSED) != 0).sum()),
        "retried": int((rows["flags"] & int(Flag.RETRIED) != 0).sum()),
        "delayed": int((rows["flags"] & int(Flag.DELAYED) != 0).sum()),
    }
    warm_up = (
        f"requests due in the first {plan.warm_up_s:g} s are left out of all figures "
        f"but the series ({requests['warm_up']} of {len(records)})"
    )
    wall_ns = generator.wall_ns
    return LoadSummary(
        plan=plan.as_json(),
        started_at=dt.datetime.fromtimestamp(wall_ns / 1e9, dt.UTC).isoformat(timespec="seconds"),
        window={
            "from_s": round((from_ns - generator.start_ns) / 1e9, 3),
            "to_s": round((stop_ns - generator.start_ns) / 1e9, 3),
            "seconds": round(seconds, 3),
            "warm_up": warm_up,
        },
        verdict=_verdict(
            about,
            spreads["ttft_ms"],
            len(rows),
            len(answered),
            complete=generator.stop_ns is not None,
        ),
        notes=_notes(requests, differ, len(with_usage), spreads["ttft_ms"]),
        requests=requests,
        errors=tuple(_counted(rows, {k: v for k, v in ERROR_SAYS.items() if k > 1}, flags=False)),
        findings=tuple(
            _counted(answered, {k: v for k, v in FLAG_SAYS.items() if k in FINDINGS}, flags=True)
        ),
        tokens={
            "prompt": int(_known(answered["prompt_tokens"]).sum()),
            "completion": int(_known(answered["completion_tokens"]).sum()),
            "deltas": int(answered["deltas"].sum()),
            "compared": len(with_usage),
            "differ": differ,
        },
        rates={
            "offered_per_s": plan.rate_per_s,
            "due_per_s": round(len(rows) / seconds, 4),
            "answered_per_s": round(int(ended.sum()) / seconds, 4),
            "tokens_per_s": round(tokens_in / seconds, 3),
        },
        cost_usd=f"{Decimal(int(costs.sum())).scaleb(-9):f}" if len(costs) else None,
        metrics=spreads,
        goodput=goodput(rows, plan.slos, seconds),
        generator=about,
        series=series(samples, generator.start_ns, stop_ns, lag),
        distributions={
            name: distribution(values[name]) for name in ("ttft_ms", "itl_ms", "e2e_ms")
        },
    )


def _known(counts: NDArray[Any]) -> NDArray[np.int64]:
    """Give the counts that the server named."""
    return np.asarray(counts[counts != NEVER], np.int64)


def _notes(
    requests: Mapping[str, int], differ: int, compared: int, ttft: Spread
) -> tuple[str, ...]:
    """Say what a reader must know beside the figures."""
    notes = []
    if requests["delayed"]:
        notes.append(
            f"The cap on concurrency delayed {requests['delayed']} of {requests['due']} arrivals; "
            "times from due contain that wait."
        )
    if requests["unfinished"]:
        notes.append(
            f"{requests['unfinished']} requests were still running at the end: their first tokens "
            "and gaps count, their end-to-end times do not."
        )
    if requests["retried"]:
        notes.append(f"{requests['retried']} requests met a kept connection that had just closed.")
    if differ:
        notes.append(
            f"Usage and the count of events with output differ in {differ} of {compared} answers; "
            "TPOT and tokens/s go by usage."
        )
    if 0 < ttft.n < 100:
        notes.append(f"TTFT has {ttft.n} samples: too few for a p99.")
    return tuple(notes)


def read_generator(folder: Path) -> Generator:
    """Read what the generator's processes wrote about themselves; a torn last line is left out."""
    rows: list[dict[str, Any]] = []
    paths = sorted(folder.glob("generator.*.jsonl"))
    for path in paths:
        for line in path.read_bytes().split(b"\n"):
            try:
                row = json.loads(line)
            except ValueError:
                continue
            rows.append({**row, "worker": path.name.split(".")[1]})
    starts = [row for row in rows if row["kind"] == "start"]
    if not starts:
        raise UsageError(
            f"{folder} holds no load run.",
            "Wanted a generator.*.jsonl with a start line; run `gateproof load` first.",
        )
    stops = [row["at_ns"] for row in rows if row["kind"] == "stop"]
    plan = LoadPlan.of(starts[0]["plan"])
    if plan.users is not None and len(starts) > 1:
        users = sum(row["plan"].get("users") or 0 for row in starts)
        plan = LoadPlan.of({**plan.as_json(), "users": users})
    return Generator(
        plan=plan,
        workers=len(starts),
        start_ns=min(row["at_ns"] for row in starts),
        stop_ns=max(stops) if len(stops) == len(starts) else None,
        wall_ns=min(row["wall_ns"] for row in starts),
        ticks=tuple(row for row in rows if row["kind"] == "tick"),
    )


def measure_folder(folder: Path) -> LoadSummary:
    """Read a run's folder and measure it; works as well on what a crash has left."""
    return measure(read_samples(folder), read_generator(folder), read_lag(folder))
