"""What is told of one look for rate limits: the limits, the judgments, and each request over time.

The row is read defensively: it may be of another version, and what it lacks is left out. The chart
shows what passed and what was refused, by whose key, and what the limiter that was found would have
let pass at each moment.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .charts import Chart
from .drawing import FIRST, LINE, SECOND, THIRD, draw
from .values import mapping, number, rows_of

__all__ = ["LimitsView", "view"]

MAX_MARKS = 400
VERDICTS: Mapping[str, tuple[str, str]] = {
    "true": ("true", "pass"),
    "same": ("as documented", "pass"),
    "false": ("not true", "fail"),
    "differs": ("differs", "fail"),
    "warn": ("told less", "warn"),
    "untold": ("not told", "not-applicable"),
}
_WHO: Mapping[str, str] = {"first": "first key", "second": "second key", "stranger": "stranger"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsView:
    """One look for rate limits as it is told."""

    scenario: str
    folder: str
    headline: str
    good: bool
    findings: tuple[str, ...]
    limits: tuple[Mapping[str, Any], ...]
    none: tuple[str, ...]
    documented: tuple[Mapping[str, Any], ...]
    judgments: tuple[Mapping[str, Any], ...]
    spent: str
    notes: tuple[str, ...]
    charts: tuple[Chart, ...]
    verdicts: Mapping[str, tuple[str, str]]


def view(row: Mapping[str, Any], _serial: int) -> LimitsView:
    """Read a ``limits`` row of a run file."""
    summary = mapping(row.get("summary"))
    spent = mapping(summary.get("spent"))
    limits = tuple(mapping(one) for one in rows_of(summary.get("limits")))
    findings = tuple(str(one) for one in rows_of(summary.get("findings")))
    notes = [str(one) for one in rows_of(summary.get("notes"))]
    if summary.get("stopped"):
        notes.append(f"Stopped: {summary['stopped']}.")
    return LimitsView(
        scenario=str(row.get("scenario") or "limits"),
        folder=str(row.get("folder") or ""),
        headline=str(summary.get("headline") or ""),
        good=not findings and not summary.get("stopped"),
        findings=findings,
        limits=limits,
        none=tuple(str(mapping(one).get("says", "")) for one in rows_of(summary.get("none"))),
        documented=tuple(mapping(one) for one in rows_of(summary.get("documented"))),
        judgments=tuple(mapping(one) for one in rows_of(summary.get("judgments"))),
        spent=", ".join(
            f"{spent[name]:,} {name}"
            for name in ("requests", "refused", "tokens", "seconds")
            if number(spent.get(name))
        ),
        notes=tuple(notes),
        charts=tuple(
            chart for chart in (_timeline(summary, one) for one in limits[:2]) if chart is not None
        ),
        verdicts=VERDICTS,
    )


def _timeline(summary: Mapping[str, Any], limit: Mapping[str, Any]) -> Chart | None:
    """Draw the requests over time, and what the limit that was found left at each moment."""
    import altair as alt  # noqa: PLC0415  # only a run with such a row pays for it

    curve = [point for point in rows_of(limit.get("curve")) if len(rows_of(point)) == 2]
    of_tokens = "tokens" in rows_of(limit.get("what")) and limit.get("unit") == "tokens"
    marks = []
    for entry in rows_of(summary.get("timeline")):
        fields = rows_of(entry)
        if len(fields) < 6 or not number(fields[0]) or fields[1] not in ("passed", "refused"):
            continue
        if not curve or float(fields[0]) <= float(curve[-1][0]) * 1.02 + 1e-3:
            marks.append((float(fields[0]), str(fields[1]), _WHO.get(str(fields[2]), "other")))
    if not marks or not curve:
        return None
    step = -(-len(marks) // MAX_MARKS)
    most = max(float(point[1]) for point in curve) or 1.0
    place = {"first key": -0.06, "second key": -0.13, "stranger": -0.2, "other": -0.2}
    shown = [
        {"t": at, "y": place[who] * most, "what": what, "says": f"{at:.2f} s: {who}, {what}"}
        for at, what, who in (marks[::step] if len(marks) > MAX_MARKS else marks)
    ]
    unit = str(limit.get("unit") or "requests")
    line = (
        alt.Chart(alt.InlineData(values=[{"t": p[0], "y": p[1]} for p in curve]))
        .mark_line(color=FIRST, strokeWidth=1.6, interpolate="step-after")
        .encode(
            x=alt.X("t:Q", title="seconds of the limits' clock"),
            y=alt.Y("y:Q", title=f"{unit} left"),
        )
    )
    points = (
        alt.Chart(alt.InlineData(values=shown))
        .mark_tick(thickness=1.4, orient="vertical", height=9)
        .encode(
            x="t:Q",
            y="y:Q",
            color=alt.Color(
                "what:N",
                scale=alt.Scale(domain=["passed", "refused"], range=[SECOND, THIRD]),
                legend=alt.Legend(title=None, orient="top"),
            ),
            description="says:N",
        )
    )
    zero = alt.Chart(alt.InlineData(values=[{"y": 0}])).mark_rule(color=LINE).encode(y="y:Q")
    title = f"What the limit of {'tokens' if of_tokens else 'requests'} left"
    says = (
        "The line is what the limiter that was found would let pass at each moment; the ticks "
        "below are the requests: first key, second key, another account."
    )
    svg = draw(zero + line + points, title)
    rows = tuple((f"{point[0]:g}", f"{point[1]:g}") for point in curve[:: max(1, len(curve) // 24)])
    return Chart(title, says, svg, ("second", f"{unit} left"), rows)
