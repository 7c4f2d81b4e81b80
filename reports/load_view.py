"""What is told of one load run: its model, whether it can be trusted, and its figures.

A load summary is read defensively: it may be of a run that was cut short or of another version, and
what it lacks is left out. Figures keep their unit and their n.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateproof.summary import headline, told

__all__ = ["Figure", "LoadView", "load_view", "mapping", "number", "numbers", "rows_of"]

# In the order of a request's life; what is left out of the table is in the run file.
METRICS: Mapping[str, tuple[str, str]] = {
    "ttft_ms": ("TTFT", "ms"),
    "ttft_from_due_ms": ("TTFT from due", "ms"),
    "content_ms": ("first content", "ms"),
    "itl_ms": ("ITL", "ms"),
    "gap_ms": ("gap between events", "ms"),
    "tpot_ms": ("TPOT", "ms"),
    "e2e_ms": ("end to end", "ms"),
    "e2e_from_due_ms": ("end to end from due", "ms"),
    "stream_tokens_per_s": ("one stream", "tokens/s"),
    "wait_ms": ("wait before sending", "ms"),
    "connect_ms": ("connect", "ms"),
}
RATES: Mapping[str, tuple[str, str]] = {
    "offered_per_s": ("asked for", "requests/s"),
    "due_per_s": ("due", "requests/s"),
    "answered_per_s": ("answered", "requests/s"),
    "tokens_per_s": ("output", "tokens/s"),
}
RANKS = ("mean", "p50", "p90", "p95", "p99", "max")


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table of figures: what it is, its unit, how many samples, its spread."""

    name: str
    unit: str
    says: str
    n: int
    values: tuple[str, ...]


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
    notes: tuple[str, ...]
    counts: tuple[tuple[str, str], ...]
    rates: tuple[tuple[str, str, str], ...]
    figures: tuple[Figure, ...]
    goodput: str
    errors: tuple[Mapping[str, Any], ...]
    findings: tuple[Mapping[str, Any], ...]
    generator: tuple[tuple[str, str], ...]
    summary: Mapping[str, Any]


def mapping(value: object) -> Mapping[str, Any]:
    """Return a value if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def rows_of(value: object) -> tuple[Any, ...]:
    """Return the items of a list, else none."""
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()


def number(value: object) -> bool:
    """Tell whether a value is a finite number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and -1e300 < value < 1e300  # type: ignore[operator]  # is_number tells


def numbers(value: object) -> tuple[float | None, ...]:
    """Return the items of a list as numbers, ``None`` for what is none."""
    return tuple(item if number(item) else None for item in rows_of(value))


def load_view(row: Mapping[str, Any], serial: int) -> LoadView:
    """Read a ``load`` row of a run file."""
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
        notes=_texts(summary.get("notes")),
        counts=tuple(
            (name.replace("_", " "), _text(value))
            for name, value in mapping(summary.get("requests")).items()
            if number(value) and (value or name in ("due", "answered", "failed"))
        ),
        rates=tuple(
            (name, _text(mapping(summary.get("rates")).get(key)), unit)
            for key, (name, unit) in RATES.items()
            if number(mapping(summary.get("rates")).get(key))
        ),
        figures=_figures(mapping(summary.get("metrics")), says),
        goodput=_goodput(mapping(summary.get("goodput"))),
        errors=tuple(mapping(item) for item in rows_of(summary.get("errors"))),
        findings=tuple(mapping(item) for item in rows_of(summary.get("findings"))),
        generator=_generator(mapping(summary.get("generator"))),
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
        return (
            f"Closed model: {users}, and each waits for its answer before it asks again, so a slow "
            f"target is asked less{tail}."
        )
    if isinstance(arrivals, str):
        rate = f" at {_text(plan['rate_per_s'])} a second" if number(plan.get("rate_per_s")) else ""
        kind = {"poisson": "random (Poisson) arrivals", "constant": "evenly spaced arrivals"}
        return (
            f"Open model: {kind.get(arrivals, arrivals)}{rate}, which wait for nobody; times from "
            f"due hold the wait as well{tail}."
        )
    return f"The run does not say whether its load was open or closed{tail}."


def _window(summary: Mapping[str, Any]) -> str:
    window = mapping(summary.get("window"))
    seconds = window.get("seconds")
    said = f"Measured over {_text(seconds)} s" if number(seconds) else ""
    warm_up = window.get("warm_up")
    return f"{said}; {warm_up}." if said and warm_up else said and f"{said}."


def _figures(metrics: Mapping[str, Any], says: Mapping[str, Any]) -> tuple[Figure, ...]:
    found = []
    for key, (name, unit) in METRICS.items():
        spread = mapping(metrics.get(key))
        n = spread.get("n")
        if isinstance(n, int) and n > 0:
            values = tuple(_text(spread.get(rank)) for rank in RANKS)
            found.append(Figure(name, unit, str(says.get(key) or ""), n, values))
    return tuple(found)


def _goodput(goodput: Mapping[str, Any]) -> str:
    share, n = goodput.get("share"), goodput.get("n")
    if not number(share) or not number(n):
        return ""
    slos = ", ".join(
        f"{str(name).removesuffix('_ms')} ≤ {_text(limit)} ms"
        for name, limit in mapping(goodput.get("slos")).items()
    )
    return (
        f"Goodput: {share:.1%} of {told(int(n or 0), 'request')} inside all limits ({slos}), "
        f"{_text(goodput.get('per_s'))} a second."
    )


def _generator(about: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    found = []
    for key, name in (("lag_ms", "loop lag"), ("late_ms", "late sends")):
        spread = mapping(about.get(key))
        if number(spread.get("n")):
            said = ", ".join(f"{r} {_text(spread.get(r))}" for r in ("p50", "p99", "max"))
            found.append((name, f"{said} ms (n = {_text(spread['n'])})"))
    for key, name, unit in (
        ("workers", "workers", ""),
        ("cpu_share", "CPU of the busiest worker", " of a core"),
        ("rss_mb", "memory of the largest worker", " MB"),
        ("lost_records", "records lost", ""),
    ):
        if number(about.get(key)):
            found.append((name, _text(about[key]) + unit))
    return tuple(found)


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in rows_of(value))


def _text(value: object) -> str:
    """Return a number with as many digits as one reads; a dash for what is not there."""
    if not number(value):
        return "-"
    assert isinstance(value, int | float)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return (
        f"{value:.1f}"
        if abs(value) >= 10
        else f"{value:.2f}"
        if abs(value) >= 1
        else f"{value:.3f}"
    )
