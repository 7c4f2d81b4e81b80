"""What is told of one capacity search: the knee, how sure it is, its steps, and two charts.

A search is read defensively, as a load summary is: it may have been stopped, or be of another
version, and what it lacks is left out. Both charts have the offered load across, by ratio, since
the search goes by ratio; the knee is a line, and its interval a band behind the points.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .charts import Chart
from .drawing import FIRST, HEIGHT, INK, SECOND, THIRD, draw
from .load_view import mapping, number, rows_of
from .visible import plain

__all__ = ["CapacityView", "view"]

OUTCOMES: Mapping[str, tuple[str, str]] = {
    "found": ("good", "Found."),
    "never-broke": ("", "Not found."),
    "broken-at-lowest": ("bad", "Below the lowest level."),
    "generator": ("bad", "Not valid above what held."),
    "unfinished": ("", "Not finished."),
}
TTFT: Sequence[tuple[str, str, str]] = (
    ("ttft_p50_ms", "p50", FIRST),
    ("ttft_p95_ms", "p95", SECOND),
    ("ttft_p99_ms", "p99", THIRD),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One step as it is told."""

    number: int
    cells: tuple[str, ...]
    note: str
    tone: str  # bad when it broke, dim when it is no evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityView:
    """One search as it is told."""

    scenario: str
    folder: str
    tone: str
    outcome: str
    says: str
    replicas: str
    wanted: str
    facts: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    charts: tuple[Chart, ...]


def view(row: Mapping[str, Any], serial: int) -> CapacityView:
    """Read a ``search`` row of a run file."""
    del serial  # the template has it
    summary = mapping(row.get("summary"))
    knee, search = mapping(summary.get("knee")), mapping(summary.get("search"))
    unit = str(summary.get("unit") or "requests/s")
    steps = [mapping(step) for step in rows_of(summary.get("steps"))]
    tone, outcome = OUTCOMES.get(str(summary.get("outcome")), ("", ""))
    wanted = _number(search.get("goodput"))
    return CapacityView(
        scenario=str(row.get("scenario") or ""),
        folder=str(row.get("folder") or ""),
        tone=tone,
        outcome=outcome,
        says=str(knee.get("says") or "Nothing was found."),
        replicas=str(mapping(summary.get("replicas")).get("says") or ""),
        wanted=_wanted(summary, wanted),
        facts=_facts(knee, search, unit, steps),
        columns=("step", unit, "arrived", "seconds", "requests", "good", "goodput", "TTFT p50",
                 "p95", "p99", "answered/s"),
        rows=tuple(_row(serial, step, wanted) for serial, step in enumerate(steps, 1)),
        notes=tuple(str(note) for note in rows_of(summary.get("notes"))),
        charts=_charts(steps, knee, unit, wanted, mapping(summary.get("slos"))),
    )  # fmt: skip


def _wanted(summary: Mapping[str, Any], wanted: float | None) -> str:
    """Say what a level must do to hold."""
    by_work = {
        str(title): _named(mapping(slos))
        for title, slos in mapping(summary.get("slos_by_work")).items()
    }
    named = "; ".join(f"{title}: {slos or 'none'}" for title, slos in by_work.items())
    named = named or _named(mapping(summary.get("slos")))
    if not named or wanted is None:
        return ""
    whose = "all SLOs of their work" if by_work else "all SLOs"
    return (
        f"A level holds when at least {100 * wanted:.4g} % of its requests are answered inside "
        f"{whose}: {named}, from when a request was due."
    )


def _named(slos: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{str(name).removesuffix('_ms').upper()} ≤ {limit:g} ms"
        for name, limit in slos.items()
        if number(limit)
    )


def _facts(
    knee: Mapping[str, Any], search: Mapping[str, Any], unit: str, steps: Sequence[Any]
) -> tuple[tuple[str, str], ...]:
    low, high = _number(knee.get("low")), _number(knee.get("high"))
    confidence = _number(knee.get("confidence")) or 0.95
    ends = [_told(end) if end is not None else "open" for end in (low, high)]
    facts = [
        ("knee", f"{_told(knee.get('estimate'))} {unit}"),
        (f"{confidence:.0%} interval", f"{ends[0]} to {ends[1]} {unit}"),
        ("headroom to plan with", f"{_told(search.get('headroom'))} of the lower bound"),
        ("steps", f"{len(steps)}"),
    ]
    seconds = sum(_number(step.get("seconds")) or 0.0 for step in steps)
    return (*facts, ("load put on the target", f"{seconds:.0f} s"))


def _row(serial: int, step: Mapping[str, Any], wanted: float | None) -> Row:
    figures, share = mapping(step.get("figures")), _number(step.get("share"))
    limited = str(step.get("limited") or "")
    broke = share is not None and wanted is not None and share < wanted
    broke = broke or step.get("grows") is True
    offered = _number(step.get("offered"))
    cells = (
        str(serial),
        _told(step.get("level")),
        _told(offered) if offered else "-",
        _told(step.get("seconds")),
        _told(step.get("n")),
        _told(step.get("good")),
        "-" if share is None else f"{share:.1%}",
        *(_told(figures.get(key)) for key, _, _ in TTFT),
        _told(figures.get("answered_per_s")),
    )
    notes = [str(step.get("why") or "")]
    served = _number(step.get("served"))
    if step.get("grows") is True and served is not None:
        notes.append(f"waiting grew all the while: at most {_told(served)} a second were served")
    for key, says in (("failed", "failed"), ("unfinished", "not ended")):
        if _number(figures.get(key)):
            notes.append(f"{_told(figures[key])} {says}")
    if limited:
        notes.append(f"no evidence, the generator was late: {limited}")
    tone = "dim" if limited else "bad" if broke else ""
    return Row(serial, cells, "; ".join(filter(None, notes)), tone)


def _charts(
    steps: Sequence[Mapping[str, Any]],
    knee: Mapping[str, Any],
    unit: str,
    wanted: float | None,
    slos: Mapping[str, Any],
) -> tuple[Chart, ...]:
    """Draw latency and goodput against the offered load, steps that are no evidence left out."""
    seen = [
        step for step in steps if not step.get("limited") and (_number(step.get("level")) or 0) > 0
    ]
    seen.sort(key=lambda step: float(step["level"]))
    latency = [
        {"x": step["level"], "y": value, "line": name}
        for step in seen
        for key, name, _ in TTFT
        if (value := _number(mapping(step.get("figures")).get(key))) and value > 0
    ]
    good = [
        {"x": step["level"], "y": 100 * share, "line": "goodput"}
        for step in seen
        if (share := _number(step.get("share"))) is not None
    ]
    colours = {name: colour for _, name, colour in TTFT}
    made = []
    if len({point["x"] for point in latency}) > 1:
        title = "TTFT against offered load"
        limit = _number(slos.get("ttft_ms"))
        spec = _spec(latency, colours, knee, (unit, "ms (logarithmic)"), log=True, level=limit)
        rows = [_figures(step, [key for key, _, _ in TTFT]) for step in seen]
        dashed = "" if limit is None else f"; the dashed line is the SLO of {limit:g} ms"
        says = f"Of each step, from when its requests were due{dashed}; {_band_says(knee)}"
        columns = (unit, *(f"{name}, ms" for name in colours))
        made.append(Chart(title, says, draw(spec, title), columns, tuple(rows)))
    if len({point["x"] for point in good}) > 1:
        title = "Goodput against offered load"
        level = None if wanted is None else 100 * wanted
        spec = _spec(good, {"goodput": FIRST}, knee, (unit, "% inside all SLOs"), level=level)
        told = "Share of each step's requests that are inside all SLOs, and their mean"
        dashed = "" if level is None else f"; the dashed line is the wanted {level:.4g} %"
        table = tuple((_told(point["x"]), f"{point['y']:.1f} %") for point in good)
        says = f"{told}{dashed}; {_band_says(knee)}"
        made.append(Chart(title, says, draw(spec, title), (unit, "inside all SLOs"), table))
    return tuple(made)


def _band_says(knee: Mapping[str, Any]) -> str:
    if _number(knee.get("low")) is None and _number(knee.get("high")) is None:
        return "no knee is known."
    return "the band is the interval of the knee, the line in it its estimate."


def _spec(
    points: Sequence[Mapping[str, Any]],
    colours: Mapping[str, str],
    knee: Mapping[str, Any],
    titles: tuple[str, str],
    *,
    log: bool = False,
    level: float | None = None,
) -> Any:
    """Lay points, the line through their means, the knee and its interval over each other."""
    import altair as alt  # noqa: PLC0415  # only a run with a search pays for it

    levels = [float(point["x"]) for point in points]
    low, high = min(levels) / 1.08, max(levels) * 1.08
    across = alt.X(
        "x:Q",
        title=f"{titles[0]} (logarithmic)",
        scale=alt.Scale(type="log", domain=[low, high], nice=False),
        axis=alt.Axis(format="~r", values=sorted(set(levels))),
    )
    heights = [float(point["y"]) for point in points] + ([level] if level else [])
    up = alt.Scale(domain=[0, 100])
    if log:
        up = alt.Scale(type="log", domain=[min(heights) / 1.3, max(heights) * 1.3], nice=False)
    axis = alt.Axis(tickCount=4, format="~r")
    names = list(colours)
    legend = (
        alt.Legend(title=None, orient="top", symbolType="stroke", symbolStrokeWidth=3)
        if len(names) > 1
        else None
    )
    base = alt.Chart(alt.InlineData(values=[dict(point) for point in points])).encode(
        x=across,
        color=alt.Color(
            "line:N",
            scale=alt.Scale(domain=names, range=list(colours.values())),
            legend=legend,
        ),
    )
    layers = [
        *_knee(alt, knee, across, (low, high)),
        base.mark_line(strokeWidth=2).encode(
            y=alt.Y("mean(y):Q", title=titles[1], scale=up, axis=axis)
        ),
        base.mark_circle(size=26, opacity=0.75).encode(
            y=alt.Y("y:Q", title=titles[1], scale=up, axis=axis)
        ),
    ]
    if level is not None:
        rule = alt.Chart(alt.InlineData(values=[{"y": level}]))
        layers.append(
            rule.mark_rule(color=INK, strokeDash=[4, 3]).encode(
                y=alt.Y("y:Q", title=titles[1], scale=up, axis=axis)
            )
        )
    layers.append(_hover(alt, points, across))
    return alt.layer(*layers)


def _knee(alt: Any, knee: Mapping[str, Any], across: Any, domain: tuple[float, float]) -> list[Any]:
    """Return the interval as a band and the estimate as a line; an open end goes to the edge."""
    low, high = _number(knee.get("low")), _number(knee.get("high"))
    found = []
    if low is not None or high is not None:
        band = {"x": max(low or 0, domain[0]), "x2": min(high or domain[1], domain[1])}
        found.append(
            alt.Chart(alt.InlineData(values=[band]))
            .mark_rect(color=INK, fillOpacity=0.13)
            .encode(x=across, x2="x2:Q", y=alt.value(0), y2=alt.value(HEIGHT))
        )
    estimate = _number(knee.get("estimate"))
    if estimate is not None and domain[0] <= estimate <= domain[1]:
        found.append(
            alt.Chart(alt.InlineData(values=[{"x": estimate}]))
            .mark_rule(color=INK, strokeWidth=1.5)
            .encode(x=across, y=alt.value(0), y2=alt.value(HEIGHT))
        )
    return found


def _hover(alt: Any, points: Sequence[Mapping[str, Any]], across: Any) -> Any:
    """Return bands as high as the chart, one a level, that tell its values on hover."""
    by_level: dict[float, list[str]] = {}
    for point in points:
        said = f"{point['line']} {_told(point['y'])}"
        by_level.setdefault(float(point["x"]), []).append(said)
    levels = sorted(by_level)
    edges = [(a * b) ** 0.5 for a, b in pairwise(levels)]
    bands = [
        {"x": left, "x2": right, "says": f"{_told(level)}: {', '.join(by_level[level])}"}
        for level, left, right in zip(
            levels, [levels[0] / 1.08, *edges], [*edges, levels[-1] * 1.08], strict=True
        )
    ]
    return (
        alt.Chart(alt.InlineData(values=bands))
        .mark_rect(color=INK, fillOpacity=0)
        .encode(x=across, x2="x2:Q", y=alt.value(0), y2=alt.value(HEIGHT), description="says:N")
    )


def _figures(step: Mapping[str, Any], keys: Sequence[str]) -> tuple[str, ...]:
    figures = mapping(step.get("figures"))
    return (_told(step.get("level")), *(_told(figures.get(key)) for key in keys))


def _number(value: object) -> float | None:
    return float(value) if number(value) else None  # type: ignore[arg-type]  # number tells


def _told(value: object) -> str:
    if not number(value):
        return "-" if value is None else plain(str(value))[:20]
    assert isinstance(value, int | float)
    return f"{value:,.0f}" if abs(value) >= 999.5 or isinstance(value, int) else f"{value:.3g}"
