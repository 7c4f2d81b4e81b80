"""What is told of one load run: its model, whether it can be trusted, and its figures.

A load summary is read defensively: it may be of a run that was cut short or of another version, and
what it lacks is left out. Figures keep their unit, their n and their interval. What failures said
is read from the load folder, a little of each kind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateproof.loadtext import headline, interval
from gateproof.summary import told

from .load_parts import (
    Card,
    calibration_rows,
    cards,
    drift_rows,
    facts_of,
    failures_said,
    slos_of,
    work_row,
)
from .underload_view import UnderLoadView
from .values import mapping, number, numbers, rows_of, text

__all__ = ["Figure", "LoadView", "load_view", "mapping", "number", "numbers", "rows_of"]

# In the order of a request's life; what is left out of the table is in the run file.
METRICS: Mapping[str, tuple[str, str]] = {
    "ttft_ms": ("TTFT", "ms"),
    "ttft_from_due_ms": ("TTFT from due", "ms"),
    "first_byte_ms": ("first byte", "ms"),
    "after_first_byte_ms": ("TTFT after first byte", "ms"),
    "content_ms": ("first content", "ms"),
    "reasoning_ms": ("reasoning", "ms"),
    "itl_ms": ("ITL", "ms"),
    "gap_ms": ("gap between events", "ms"),
    "tpot_ms": ("TPOT", "ms"),
    "e2e_ms": ("end to end", "ms"),
    "e2e_from_due_ms": ("end to end from due", "ms"),
    "stream_tokens_per_s": ("one stream", "tokens/s"),
    "wait_ms": ("wait before sending", "ms"),
    "connect_ms": ("connect", "ms"),
}
ARRIVALS: Mapping[str, str] = {
    "poisson": "random (Poisson) arrivals",
    "constant": "evenly spaced arrivals",
    "gamma": "bursty (gamma) arrivals",
    "trace": "the arrivals of a recorded trace",
}
RATES: Mapping[str, tuple[str, str]] = {
    "offered_per_s": ("asked for", "requests/s"),
    "due_per_s": ("due", "requests/s"),
    "answered_per_s": ("answered", "requests/s"),
    "tokens_per_s": ("output", "tokens/s"),
    "in_flight": ("in flight", "on average"),
}
RANKS = ("mean", "p50", "p90", "p95", "p99", "p999", "max")
RANK_NAMES = ("mean", "p50", "p90", "p95", "p99", "p99.9", "max")


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table of figures: what it is, its unit, how many samples, its spread.

    ``values`` are (value, its interval or nothing), in the order of ``RANKS``.
    """

    name: str
    unit: str
    says: str
    n: int
    values: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadView:
    """One load run as it is told."""

    number: int
    scenario: str
    folder: str
    headline: str
    model: str
    window: str
    valid: bool | None
    reasons: tuple[str, ...]
    limits: tuple[Mapping[str, Any], ...]
    cards: tuple[Card, ...]
    notes: tuple[str, ...]
    counts: tuple[tuple[str, str], ...]
    rates: tuple[tuple[str, str, str], ...]
    figures: tuple[Figure, ...]
    goodput: str
    missed: str
    drift: str
    drift_rows: tuple[tuple[str, ...], ...]
    works: tuple[tuple[str, ...], ...]
    limits_by_work: str
    facts: tuple[tuple[str, str], ...]
    errors: tuple[Mapping[str, Any], ...]
    said: Mapping[str, tuple[str, ...]]
    findings: tuple[Mapping[str, Any], ...]
    generator: tuple[tuple[str, str], ...]
    calibration: tuple[tuple[str, ...], ...]
    summary: Mapping[str, Any]
    under: UnderLoadView | None = None


def load_view(row: Mapping[str, Any], serial: int, run_folder: Path | None = None) -> LoadView:
    """Read a ``load`` row of a run file; with its folder, what failures said as well."""
    summary = mapping(row.get("summary"))
    verdict = mapping(summary.get("verdict"))
    valid = verdict.get("valid")
    says = mapping(summary.get("metric_says"))
    return LoadView(
        number=serial,
        scenario=str(row.get("scenario") or "load"),
        folder=str(row.get("folder") or ""),
        headline=headline(summary),
        model=_model(mapping(summary.get("plan"))),
        window=_window(summary),
        valid=valid if isinstance(valid, bool) else None,
        reasons=_texts(verdict.get("reasons")),
        limits=tuple(mapping(item) for item in rows_of(verdict.get("limits"))),
        cards=cards(summary),
        notes=_texts(summary.get("notes")),
        counts=tuple(
            (name.replace("_", " "), text(value))
            for name, value in mapping(summary.get("requests")).items()
            if number(value) and (value or name in ("due", "answered", "failed"))
        ),
        rates=tuple(
            (name, text(mapping(summary.get("rates")).get(key)), unit)
            for key, (name, unit) in RATES.items()
            if number(mapping(summary.get("rates")).get(key))
        ),
        figures=_figures(mapping(summary.get("metrics")), says),
        goodput=_goodput(mapping(summary.get("goodput"))),
        missed=_missed(mapping(summary.get("goodput"))),
        drift=_drift(mapping(summary.get("drift"))),
        drift_rows=drift_rows(mapping(summary.get("drift"))),
        works=tuple(work_row(mapping(work)) for work in rows_of(summary.get("works"))),
        limits_by_work=_limits_by_work(rows_of(summary.get("works"))),
        facts=facts_of(summary),
        said=failures_said(run_folder, str(row.get("folder") or "")),
        errors=tuple(mapping(item) for item in rows_of(summary.get("errors"))),
        findings=tuple(mapping(item) for item in rows_of(summary.get("findings"))),
        generator=_generator(mapping(summary.get("generator"))),
        calibration=calibration_rows(mapping(summary.get("calibration"))),
        summary=summary,
    )


def _model(plan: Mapping[str, Any]) -> str:
    arrivals = plan.get("arrivals")
    asked = [f"model {plan['model']}"] if plan.get("model") else []
    if number(plan.get("max_tokens")):
        asked.append(f"at most {told(plan['max_tokens'], 'token')} an answer")
    if number(plan.get("duration_s")):
        asked.append(f"for {plan['duration_s']:g} s")
    if plan.get("seed") is not None:
        asked.append(f"seed {plan['seed']}")
    tail = "; ".join(asked)
    tail = f" ({tail})" if tail else ""
    if arrivals == "closed":
        users = told(plan["users"], "user") if isinstance(plan.get("users"), int) else "users"
        stages = rows_of(plan.get("stages"))
        users += f" in {told(len(stages), 'stage')}" if stages else ""
        return (
            f"Closed model: {users}, and each waits for its answer before it asks again, so a slow "
            f"target is asked less{tail}."
        )
    if isinstance(arrivals, str):
        rate = f" at {text(plan['rate_per_s'])} a second" if number(plan.get("rate_per_s")) else ""
        stages = rows_of(plan.get("stages"))
        rate = rate or (f" in {told(len(stages), 'stage')}" if stages else "")
        return (
            f"Open model: {ARRIVALS.get(arrivals, arrivals)}{rate}, which wait for nobody; times "
            f"from due hold the wait as well{tail}."
        )
    return f"The run does not say whether its load was open or closed{tail}."


def _window(summary: Mapping[str, Any]) -> str:
    window = mapping(summary.get("window"))
    seconds = window.get("seconds")
    said = f"Measured over {text(seconds)} s" if number(seconds) else ""
    warm_up = window.get("warm_up")
    return (
        f"{said}; {warm_up}, and shaded in the charts." if said and warm_up else said and f"{said}."
    )


def _figures(metrics: Mapping[str, Any], says: Mapping[str, Any]) -> tuple[Figure, ...]:
    found = []
    for key, (name, unit) in METRICS.items():
        spread = mapping(metrics.get(key))
        n = spread.get("n")
        if isinstance(n, int) and n > 0:
            bounds = mapping(spread.get("ci"))
            values = tuple(
                (text(spread.get(rank)), interval(bounds.get(rank)).strip()) for rank in RANKS
            )
            found.append(Figure(name, unit, str(says.get(key) or ""), n, values))
    return tuple(found)


def _goodput(goodput: Mapping[str, Any]) -> str:
    share, n = goodput.get("share"), goodput.get("n")
    if not number(share) or not number(n):
        return ""
    own = mapping(goodput.get("by_work"))
    slos = "of each kind of work its own" if own else slos_of(goodput)
    within = interval(goodput.get("ci"), percent=True)
    return (
        f"Goodput: {share:.1%}{within} of {told(int(n or 0), 'request')} inside all limits "
        f"({slos}), {text(goodput.get('per_s'))} a second."
    )


def _missed(goodput: Mapping[str, Any]) -> str:
    """Say which limit was missed how often."""
    said = [
        f"{str(name).removesuffix('_ms')} {text(count)}"
        for name, count in mapping(goodput.get("missed")).items()
        if number(count) and count
    ]
    return f"Outside of a limit, or failed: {', '.join(said)}." if said else ""


def _limits_by_work(works: Sequence[Any]) -> str:
    """Name the limits of each kind of work."""
    told_of = [
        (str(work.get("name") or ""), mapping(work.get("goodput"))) for work in map(mapping, works)
    ]
    return "; ".join(
        f"{name}: {slos_of(goodput) or 'none'}" for name, goodput in told_of if goodput
    )


def _drift(drift: Mapping[str, Any]) -> str:
    """Say what drifted, or that nothing was seen to."""
    says = str(drift.get("says") or "")
    return says and f"{says[0].upper()}{says[1:]}."


def _generator(about: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    found = []
    for key, name in (("lag_ms", "loop lag"), ("late_ms", "late sends")):
        spread = mapping(about.get(key))
        if number(spread.get("n")):
            said = ", ".join(f"{r} {text(spread.get(r))}" for r in ("p50", "p99", "max"))
            found.append((name, f"{said} ms (n = {text(spread['n'])})"))
    for key, name, unit in (
        ("workers", "workers", ""),
        ("cpu_share", "CPU of the busiest worker", " of a core"),
        ("rss_mb", "memory of the largest worker", " MB"),
        ("local_errors", "socket errors of its own", ""),
        ("lost_records", "records lost", ""),
    ):
        if number(about.get(key)):
            found.append((name, text(about[key]) + unit))
    return tuple(found)


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in rows_of(value))
