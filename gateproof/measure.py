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
    rates             {"offered_per_s", "due_per_s", "answered_per_s", "tokens_per_s"}
    cost              {"usd": decimal text, "per_1000_requests_usd", "source": "answers", "prices",
                      "answers and prices" or null, "priced", "unpriced", "says"}
    cost_usd          cost.usd
    metrics           name -> {"n", "mean", "sd", "min", "p50", "p90", "p95", "p99", "p999", "max",
                      "ci": {rank: [low, high] or null}}; names: the keys of METRIC_SAYS
    metric_says       name -> one sentence
    stalls            {"count", "streams", "of_streams", "longest_ms"}: gaps beyond 1 s and ten
                      times the median gap of their stream
    goodput           null, or {"slos", "n", "good", "share", "ci", "per_s", "missed": {slo: count}}
    works             [] with one kind of work, else for each its "name", "requests", "failed",
                      "errors", "findings", "tokens", "rates", "cost", "metrics", "stalls" and
                      "goodput" as above
    stimulus          null, or {"planned", "due", "off", "tolerance", "ok"}: arrivals
    generator         {"workers", "lag_ms", "late_ms", "cpu_share", "cpu_shares", "rss_mb",
                      "local_errors", "lost_records"}
    calibration       null, or the joined form of gateproof.calibration
    series            {"bin_s", "t_s": [...], "due_per_s", "answered_per_s", "failed_per_s",
                      "tokens_per_s", "ttft_p50_ms", "ttft_p95_ms", "active", "lag_max_ms"}
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

import numpy as np
from numpy.typing import NDArray

from gateproof.calibration import calibration_limits, calibration_says, read_calibration
from gateproof.errors import UsageError
from gateproof.evidence import reference_note, references, waits_note, word_notes
from gateproof.goodput import cost, goodput
from gateproof.histogram import Histogram
from gateproof.interval import batches, share_interval
from gateproof.latency import (
    METRIC_SAYS,
    US_PER_MS,
    Gaps,
    abandoned,
    gaps,
    metrics,
    stalls,
    token_count,
    where,
)
from gateproof.plan import LoadPlan
from gateproof.sample import (
    ERROR_SAYS,
    FINDINGS,
    FLAG_SAYS,
    NEVER,
    ErrorKind,
    Flag,
    Samples,
    clock_shifts,
    read_lag,
    read_samples,
)
from gateproof.spread import Spread, distribution, histogram_of, spread_of
from gateproof.timeline import series, tokens_between
from gateproof.trust import Generator, generator_figures, stimulus, verdict
from gateproof.work import titles

__all__ = [
    "Generator",
    "LoadSummary",
    "measure",
    "measure_folder",
    "merged",
    "read_generator",
]

SCHEMA: Final = "gateproof.load/1"
_DISTRIBUTIONS: Final = ("ttft_ms", "itl_ms", "e2e_ms")
_HISTOGRAMS: Final = ("ttft_ms", "ttft_from_due_ms", "gap_ms", "itl_ms", "tpot_ms", "e2e_ms",
                      "e2e_from_due_ms")  # fmt: skip


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


@dataclass(frozen=True, slots=True)
class _Window:
    """The span that is measured, on the generator's clock."""

    start_ns: int
    from_ns: int
    to_ns: int
    stop_ns: int

    @property
    def seconds(self) -> float:
        return (self.to_ns - self.from_ns) / 1e9

    def inside(self, records: NDArray[np.void]) -> NDArray[np.void]:
        """Give the records that are due inside; they stand in order of due."""
        last_ns = self.to_ns - (self.to_ns < self.stop_ns)
        first = np.searchsorted(records["due_ns"], self.from_ns)
        return records[first : np.searchsorted(records["due_ns"], last_ns, side="right")]

    def since_start_s(self, at_ns: int) -> float:
        return round((at_ns - self.start_ns) / 1e9, 3)


def _window(generator: Generator, records: NDArray[np.void]) -> _Window:
    """Cut off warm-up and cool-down; what is left is at least a nanosecond."""
    plan, start_ns = generator.plan, generator.start_ns
    last_ns = int(records["due_ns"].max()) if len(records) else start_ns
    stop_ns = generator.stop_ns or max([last_ns, *(tick["at_ns"] for tick in generator.ticks)])
    stop_ns = max(stop_ns, start_ns + 1)
    from_ns = min(start_ns + round(plan.warm_up_s * 1e9), stop_ns - 1)
    to_ns = max(stop_ns - round(plan.cool_down_s * 1e9), from_ns + 1)
    return _Window(start_ns, from_ns, to_ns, stop_ns)


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
        if whole and name in _DISTRIBUTIONS:
            distributions[name] = distribution(ordered)
        if whole and name in _HISTOGRAMS:
            histograms[name] = histogram_of(ordered).as_json()

    for name, values in metrics(rows).items():
        take(name, values, [batches(len(values))])
    seen = where(rows, (rows["error"] == ErrorKind.NONE) | (rows["error"] == ErrorKind.UNFINISHED))
    found: Gaps = gaps(seen, stamps)
    cuts = batches(len(found.sizes))
    groups = [found.sizes]
    if len(cuts):
        groups.append(np.add.reduceat(found.sizes, np.concatenate([[0], np.cumsum(cuts)[:-1]])))
    take("gap_ms", found.ms, groups, independent=False)
    stalled = stalls(found)
    if found.shared:
        take("itl_ms", found.share(), groups, independent=False)
    else:
        spreads["itl_ms"] = spreads["gap_ms"]
        if whole:
            histograms["itl_ms"] = histograms["gap_ms"]
            distributions["itl_ms"] = distribution(np.sort(found.ms))
    return {name: spreads[name] for name in METRIC_SAYS}, stalled, distributions, histograms


def _part(samples: Samples, window: _Window, plan: LoadPlan, *, whole: bool) -> dict[str, Any]:
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
        },
        "cost": cost(records, plan.prices),
        "metrics": spreads,
        "stalls": stalled,
        "goodput": goodput(rows, plan.slos, window.seconds),
        "distributions": distributions,
        "histograms": histograms,
    }


def _works(samples: Samples, window: _Window, plan: LoadPlan) -> tuple[dict[str, Any], ...]:
    """Give the figures of each kind of work, where there is more than one."""
    if len(plan.work) < 2:  # one kind of work is the whole
        return ()
    made = []
    for place, name in enumerate(titles(plan.work)):
        own = samples.records[samples.records["work"] == place]
        part = _part(Samples(own, samples.stamps), window, plan, whole=False)
        del part["distributions"], part["histograms"]
        made.append({"name": name, **part})
    return tuple(made)


def measure(
    samples: Samples,
    generator: Generator,
    lag: tuple[NDArray[Any], NDArray[Any]],
    calibration: Mapping[str, Any] | None = None,
) -> LoadSummary:
    """Derive all figures of a run from its samples and the generator's notes about itself."""
    plan, records = generator.plan, samples.records
    window = _window(generator, records)
    part = _part(samples, window, plan, whole=True)
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
            requests["due"],
            requests["answered"],
            complete=generator.stop_ns is not None,
            delivered=delivered,
            calibrated=calibration_limits(calibration, ttft.p50),
        ),
        plan=plan.as_json(),
        started_at=started.isoformat(timespec="seconds"),
        window={
            "from_s": from_s,
            "to_s": to_s,
            "seconds": round(window.seconds, 3),
            "warm_up": _cut(window, requests, len(records)),
        },
        notes=(*_notes(part), *word_notes(generator.learned), *calibration_says(calibration)),
        works=_works(samples, window, plan),
        stimulus=delivered,
        generator=about,
        calibration=calibration,
        series=series(samples, generator.start_ns, window.stop_ns, lag),
        **part,
    )


def _cut(window: _Window, requests: Mapping[str, int], count: int) -> str:
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


def _known(counts: NDArray[Any]) -> NDArray[np.int64]:
    """Give the counts that the server named."""
    return np.asarray(counts[counts != NEVER], np.int64)


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
    if requests["unfinished"]:
        notes.append(
            f"{requests['unfinished']} requests were still running at the end: their first tokens "
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
    shifts = {boot.hex(): shift for boot, shift in clock_shifts(folder).items()}
    for path in sorted(folder.glob("generator.*.jsonl")):
        shift = 0
        for line in path.read_bytes().split(b"\n"):
            try:
                row = json.loads(line)
            except ValueError:
                continue
            shift = shifts.get(row.get("boot", ""), shift)
            rows.append({**row, "worker": path.name.split(".")[1], "at_ns": row["at_ns"] + shift})
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
        learned=tuple(row["learned"] for row in rows if row["kind"] == "words"),
    )


def measure_folder(folder: Path) -> LoadSummary:
    """Read a run's folder and measure it; works as well on what a crash has left."""
    calibration = read_calibration(folder)
    return measure(read_samples(folder), read_generator(folder), read_lag(folder), calibration)


def merged(summaries: Iterable[Mapping[str, Any]]) -> dict[str, Histogram]:
    """Merge the histograms of several runs (``load.json``): exactly those of all their requests."""
    made: dict[str, Histogram] = {}
    for summary in summaries:
        for name, row in summary["histograms"].items():
            made.setdefault(name, Histogram()).merge(Histogram.from_json(row))
    return made
