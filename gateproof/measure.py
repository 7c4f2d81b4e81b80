"""From samples to figures: the statistics of a load run, and whether they can be trusted.

Strategy: everything is derived from the files of ``gateproof.sample`` with numpy, so a run can be
measured again at any time; no figure exists that the samples do not hold.

Rules. Every figure has its unit in its name and its n beside it. A percentile needs enough samples
beyond it to mean something (no p99 under 100), otherwise it is ``None``, and has its 95 % interval
beside it where the samples bear one out. Warm-up and cool-down are cut by when a request was due.
Latencies are of requests due in the measured window; rates count what happened in the window. In
the open model the time from due is given beside the time from sent. A run in which the generator
was late or out of CPU is invalid, with the reason first.

The JSON form of a ``LoadSummary`` (``as_json``)::

    schema            "gateproof.load/1"
    verdict           {"valid", "says": the first line of every output, "reasons": [sentence],
                      "limits": [{"name", "unit", "limit", "got", "ok", "why"}]}
    plan              what was asked: the fields of ``gateproof.plan.LoadPlan``
    started_at        ISO time, UTC
    window            {"from_s", "to_s", "seconds", "warm_up": one sentence on what is cut off}
    notes             [sentence]
    requests          {"due", "answered", "clean", "flawed", "failed", "unfinished", "warm_up",
                      "cool_down", "reused", "retried", "delayed", "never_sent", "shown",
                      "waited"}
    failed            {"share", "ci"}: failed of those that came to an end
    errors, findings  [{"kind", "says", "count", "statuses"}], most frequent first
    tokens            {"prompt", "completion", "reasoning", "deltas", "compared", "differ"}
    rates             {"offered_per_s", "due_per_s", "answered_per_s", "tokens_per_s",
                      "in_flight": requests at a time, on average}
    cost              {"usd": decimal text, "per_1000_requests_usd", "source": "answers", "prices",
                      "answers and prices" or null, "priced", "unpriced", "says"}
    cost_usd          cost.usd
    metrics           name -> {"n", "mean", "sd", "min", "p50", "p90", "p95", "p99", "p999", "max",
                      "ci": {rank: [low, high] or null}}; names: the keys of METRIC_SAYS
    metric_says       name -> one sentence
    stalls            {"count", "streams", "of_streams", "longest_ms"}: gaps beyond 1 s and ten
                      times the median gap of their stream
    goodput           null, or {"slos", "n", "good", "share", "ci", "per_s", "missed": {slo: count}}
    drift             null (no steady load of half a minute), or as ``gateproof.drift`` has it:
                      {"says", "confidence", "intervals", "interval_s", "seconds", "figures":
                      {name: {"median", "per_hour", "ci", "over_run", "over_run_ci", "share",
                      "share_ci", "drifts", "line": [[s, height], [s, height]]}}}
    works             [] with one kind of work, else for each its "name", "requests", "failed",
                      "errors", "findings", "tokens", "rates", "cost", "metrics", "stalls" and
                      "goodput" as above
    stimulus          null, or {"planned", "due", "off", "tolerance", "ok"}: arrivals
    generator         {"workers", "lag_ms", "late_ms", "cpu_share", "cpu_shares", "rss_mb",
                      "local_errors", "lost_records"}
    calibration       null, or the joined form of gateproof.calibration
    series            {"bin_s", "t_s": [...], "due_per_s", "answered_per_s", "failed_per_s",
                      "tokens_per_s", "ttft_p50_ms", "ttft_p95_ms", "active", "lag_max_ms",
                      "planned": arrivals a second, or users}
    distributions     "ttft_ms", "itl_ms", "e2e_ms" -> {"cdf": [[value, share]],
                      "histogram": {"edges_ms", "counts"}}
    histograms        metric -> as ``gateproof.histogram.Histogram.as_json``; those of several runs
                      merge exactly (``merged``)
"""

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from gateproof.calibration import calibration_limits, calibration_says, read_calibration
from gateproof.clocks import Clock
from gateproof.drift import drift
from gateproof.errors import UsageError
from gateproof.evidence import compiled_note, reference_note, stamp_note, waits_note, word_notes
from gateproof.figures import Window, figures_by_work, figures_of, window_of
from gateproof.histogram import Histogram
from gateproof.latency import (
    METRIC_SAYS,
    US_PER_MS,
)
from gateproof.plan import LoadPlan
from gateproof.sample import (
    Samples,
    clocks_of,
    read_lag,
    read_samples,
)
from gateproof.spread import Spread
from gateproof.timeline import series
from gateproof.trust import Generator, generator_figures, stimulus, verdict
from gateproof.workers import read_workers, worker_limits, worker_notes

__all__ = [
    "Generator",
    "LoadSummary",
    "measure",
    "measure_folder",
    "merged",
    "read_generator",
]

SCHEMA: Final = "gateproof.load/1"


@dataclass(frozen=True, slots=True)
class LoadSummary:
    """The figures of one load run; the module's docstring names every part."""

    verdict: Mapping[str, Any]
    plan: Mapping[str, Any]
    started_at: str
    window: Mapping[str, Any]
    notes: tuple[str, ...]
    requests: Mapping[str, int]
    failed: Mapping[str, Any]
    errors: tuple[Mapping[str, Any], ...]
    findings: tuple[Mapping[str, Any], ...]
    tokens: Mapping[str, int]
    rates: Mapping[str, float | None]
    cost: Mapping[str, Any]
    metrics: Mapping[str, Spread]
    stalls: Mapping[str, Any]
    goodput: Mapping[str, Any] | None
    drift: Mapping[str, Any] | None
    works: tuple[Mapping[str, Any], ...]
    stimulus: Mapping[str, Any] | None
    generator: Mapping[str, Any]
    calibration: Mapping[str, Any] | None
    series: Mapping[str, Any]
    distributions: Mapping[str, Any]
    histograms: Mapping[str, Any]

    @property
    def valid(self) -> bool:
        """Tell whether the generator was quick enough for the figures to be the target's."""
        return bool(self.verdict["valid"])

    @property
    def cost_usd(self) -> str | None:
        """Give what all requests cost, as decimal text; None when nothing tells."""
        usd = self.cost["usd"]
        return None if usd is None else str(usd)

    def as_json(self) -> dict[str, Any]:
        """Give the summary as plain JSON types: ``schema`` first, then the verdict."""
        more = {"cost_usd": self.cost_usd, "metric_says": METRIC_SAYS}
        plain: dict[str, Any] = json.loads(json.dumps({"schema": SCHEMA, **asdict(self), **more}))
        return plain


def measure(
    samples: Samples,
    generator: Generator,
    lag: tuple[NDArray[Any], NDArray[Any]],
    calibration: Mapping[str, Any] | None = None,
    workers: Mapping[str, Any] | None = None,
) -> LoadSummary:
    """Derive all figures of a run from its samples and the generator's notes about itself."""
    plan, records = generator.plan, samples.records
    window = window_of(generator, records)
    part = figures_of(samples, window, plan, whole=True)
    rows = window.inside(records)
    inside = (lag[0] >= window.from_ns) & (lag[0] <= window.to_ns)
    about = generator_figures(generator, samples, lag[1][inside] / US_PER_MS, rows)
    from_s, to_s = window.since_start_s(window.from_ns), window.since_start_s(window.to_ns)
    delivered = stimulus(plan, rows, from_s, to_s)
    requests, ttft = part["requests"], part["metrics"]["ttft_ms"]
    started = dt.datetime.fromtimestamp(generator.wall_ns / 1e9, dt.UTC)
    part["rates"] = {"offered_per_s": plan.rate_per_s, **part["rates"]}
    return LoadSummary(
        verdict=verdict(
            about,
            ttft,
            part["metrics"]["itl_ms"],
            requests["due"],
            requests["answered"],
            complete=generator.stop_ns is not None,
            delivered=delivered,
            calibrated=[*calibration_limits(calibration, ttft.p50), *worker_limits(workers)],
        ),
        plan=plan.as_json(),
        started_at=started.isoformat(timespec="seconds"),
        window={
            "from_s": from_s,
            "to_s": to_s,
            "seconds": round(window.seconds, 3),
            "warm_up": _cut(window, requests, len(records)),
        },
        notes=(
            *_notes(part),
            *worker_notes(workers),
            *stamp_note(generator.by_kernel),
            *compiled_note(compiled=generator.compiled),
            *word_notes(generator.learned),
            *calibration_says(calibration),
        ),
        drift=drift(records, window, plan),
        works=figures_by_work(samples, window, plan),
        stimulus=delivered,
        generator=about,
        calibration=calibration,
        series=series(samples, plan, generator.start_ns, window.stop_ns, lag),
        **part,
    )


def _cut(window: Window, requests: Mapping[str, int], count: int) -> str:
    """Say what is left out of the figures."""
    said = [f"the first {window.since_start_s(window.from_ns):g} s"]
    left_out = requests["warm_up"]
    if window.to_ns < window.stop_ns:
        said.append(f"the last {(window.stop_ns - window.to_ns) / 1e9:g} s")
        left_out += requests["cool_down"]
    return (
        f"requests due in {' and '.join(said)} are left out of all figures but the series and the "
        f"cost ({left_out} of {count})"
    )


def _notes(part: Mapping[str, Any]) -> tuple[str, ...]:
    """Say what a reader must know beside the figures."""
    requests, tokens, ttft = part["requests"], part["tokens"], part["metrics"]["ttft_ms"]
    notes = []
    if requests["delayed"]:
        lost = requests["never_sent"]
        less = (
            f" {lost} of them were never sent: less load was put on than planned." if lost else ""
        )
        notes.append(
            f"The cap on concurrency delayed {requests['delayed']} of {requests['due']} arrivals; "
            f"times from due contain that wait.{less}"
        )
    running = requests["unfinished"] - requests["never_sent"]
    if running:
        notes.append(
            f"{running} requests were still running at the end: their first tokens "
            "and gaps count, their end-to-end times do not."
        )
    if requests["retried"]:
        notes.append(f"{requests['retried']} requests met a kept connection that had just closed.")
    if tokens["differ"]:
        notes.append(
            f"Usage and the count of events with output differ in {tokens['differ']} of "
            f"{tokens['compared']} answers; TPOT and tokens/s go by usage."
        )
    if 0 < ttft.n < 100:  # as spread has it
        notes.append(f"TTFT has {ttft.n} samples: too few for a p99.")
    notes += [*reference_note(requests, part["errors"]), *waits_note(requests)]
    return tuple(notes)


def read_generator(folder: Path) -> Generator:
    """Read what the generator's processes wrote about themselves; a torn last line is left out."""
    rows: list[dict[str, Any]] = []
    clocks, workers = clocks_of(folder), read_workers(folder) or {}
    for path in sorted(folder.glob("generator.*.jsonl")):
        worker = path.name.split(".")[1]
        clock = clocks.get(worker, Clock())
        for line in path.read_bytes().split(b"\n"):
            try:
                row = json.loads(line)
            except ValueError:
                continue
            rows.append({**row, "worker": worker, "at_ns": clock.common(row["at_ns"])})
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
        wall_ns=workers.get("wall_ns") or min(row["wall_ns"] for row in starts),
        ticks=tuple(row for row in rows if row["kind"] == "tick"),
        learned=tuple(row["learned"] for row in rows if row["kind"] == "words"),
        by_kernel=tuple(row["by_kernel"] for row in rows if "by_kernel" in row),
        compiled=all(row.get("compiled", True) for row in starts),
    )


def measure_folder(folder: Path) -> LoadSummary:
    """Read a run's folder and measure it; works as well on what a crash has left."""
    samples, generator = read_samples(folder), read_generator(folder)
    calibration, workers = read_calibration(folder), read_workers(folder)
    return measure(samples, generator, read_lag(folder), calibration, workers)


def merged(summaries: Iterable[Mapping[str, Any]]) -> dict[str, Histogram]:
    """Merge the histograms of several runs (``load.json``): exactly those of all their requests."""
    made: dict[str, Histogram] = {}
    for summary in summaries:
        for name, row in summary["histograms"].items():
            made.setdefault(name, Histogram()).merge(Histogram.from_json(row))
    return made
