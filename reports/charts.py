"""Charts of a load run as static SVG, drawn by Vega-Lite (through Altair and vl-convert).

Rules: no script and no font from elsewhere; colours are the page's own (placeholders become CSS
variables, so that light, dark and print follow); every value shows on hover, by ``<title>`` in a
band as high as the chart; every chart has a sentence and a table in words beside it. Altair is
imported only here, only when there is load.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from .drawing import FIRST, HEIGHT, INK, LINE, SECOND, THIRD, draw
from .values import mapping, number, numbers, rows_of
from .visible import plain

__all__ = ["Chart", "charts_of"]

MAX_POINTS = 150  # a chart of this width shows no more
TABLE_ROWS = 24


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, what it shows in a sentence, and its values in words."""

    title: str
    says: str
    svg: Markup
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    values: tuple[float | None, ...]
    colour: str


_Trend = tuple[tuple[float, float], tuple[float, float]]


def charts_of(summary: Mapping[str, Any]) -> tuple[Chart, ...]:
    """Draw every chart that a load summary has the values for."""
    series = {**mapping(summary.get("series")), "window": summary.get("window")}
    closed = mapping(summary.get("plan")).get("arrivals") == "closed"
    series["planned_users" if closed else "planned_per_s"] = series.get("planned")
    distributions = mapping(summary.get("distributions"))
    drift = mapping(mapping(summary.get("drift")).get("figures"))
    made = [
        _cdf(mapping(distributions.get("ttft_ms")), "TTFT", "time to first token"),
        _over_time(
            series,
            "TTFT over time",
            "ms",
            "Median and 95th percentile (from 20 samples on) of each interval, by when the request "
            "was due.",
            (("ttft_p50_ms", "p50", FIRST), ("ttft_p95_ms", "p95", SECOND)),
            _trend(drift, "ttft_ms"),
        ),
        _over_time(
            series,
            "Requests over time",
            "requests/s",
            "Due, answered in full, and failed, in each interval; and planned, if arrivals were.",
            (
                ("planned_per_s", "planned", INK),
                ("due_per_s", "due", SECOND),
                ("answered_per_s", "answered", FIRST),
                ("failed_per_s", "failed", THIRD),
            ),
            _trend(drift, "answered_per_s"),
        ),
        _over_time(
            series,
            "Output over time",
            "tokens/s",
            "Output tokens that arrived in each interval, over all streams.",
            (("tokens_per_s", "tokens/s", FIRST),),
            _trend(drift, "tokens_per_s"),
        ),
        _histogram(mapping(distributions.get("itl_ms")), "ITL", "gaps between output tokens"),
        _cdf(mapping(distributions.get("e2e_ms")), "End to end", "time to the end of the answer"),
        _errors(rows_of(summary.get("errors"))),
        _over_time(
            series,
            "Streams in flight",
            "streams",
            "Requests that were being answered in the middle of each interval; and users, where "
            "they were planned.",
            (("planned_users", "users planned", INK), ("active", "in flight", FIRST)),
        ),
        _over_time(
            series,
            "The generator's own lag",
            "ms",
            "The latest that the generator's own timer came in each interval: so late may a "
            "request have been sent, and an answer have been read.",
            (("lag_max_ms", "lag, max", THIRD),),
        ),
    ]
    return tuple(chart for chart in made if chart is not None)


def _over_time(
    series: Mapping[str, Any],
    title: str,
    unit: str,
    says: str,
    wanted: Sequence[tuple[str, str, str]],
    trend: _Trend | None = None,
) -> Chart | None:
    times = numbers(series.get("t_s"))
    bin_s = series.get("bin_s")
    lines = [_Line(name, numbers(series.get(key)), colour) for key, name, colour in wanted]
    lines = [
        line
        for line in lines
        if len(line.values) == len(times) and any(v is not None for v in line.values)
    ]
    if not lines or not number(bin_s) or not bin_s or any(at is None for at in times):
        return None
    step = -(-len(times) // MAX_POINTS)
    places = range(0, len(times), step)
    values, bands = [], []
    for place in places:
        at = float(times[place] or 0)
        said = []
        for line in lines:
            # Of several intervals drawn as one, the largest is kept: peaks must not vanish.
            kept = [v for v in line.values[place : place + step] if v is not None]
            y = max(kept, default=None)
            values.append({"x": at + bin_s * step / 2, "y": y, "line": line.name})
            said.append(f"{line.name} {_figure(y)}")
        end = at + bin_s * step
        bands.append({"x": at, "x2": end, "says": f"{at:g} to {end:g} s: {', '.join(said)} {unit}"})
    spec = _layers(
        values,
        bands,
        lines,
        x="seconds since the start",
        y=unit,
        mark={"type": "line", "point": len(places) <= 30, "strokeWidth": 2},
        cut=_left_out(series, float(bands[-1]["x2"])),
        trend=trend,
    )
    if trend is not None:
        says += " Dashed: its drift over the measured window."
    columns = ("from, s", *(f"{line.name}, {unit}" for line in lines))
    rows = [
        (_figure(times[i]), *(_figure(line.values[i]) for line in lines)) for i in range(len(times))
    ]
    return Chart(title, says, draw(spec, title), columns, _thin(rows))


def _trend(drift: Mapping[str, Any], name: str) -> _Trend | None:
    """Return the line of a drift that was seen, from the beginning of the window to its end."""
    if mapping(drift.get(name)).get("drifts") is not True:
        return None
    ends = [numbers(end) for end in rows_of(mapping(drift.get(name)).get("line"))]
    if len(ends) != 2 or any(len(end) != 2 or None in end for end in ends):
        return None
    (one, two) = ((float(x or 0), float(y or 0)) for x, y in ends)
    return one, two


def _left_out(series: Mapping[str, Any], end: float) -> tuple[tuple[float, float], ...]:
    """Return the spans that the figures leave out: warm-up and cool-down."""
    window = mapping(series.get("window"))
    from_s, to_s = window.get("from_s"), window.get("to_s")
    if not number(from_s) or not number(to_s):
        return ()
    assert isinstance(from_s, int | float)
    assert isinstance(to_s, int | float)
    spans = ((0.0, float(from_s)), (float(to_s), end))
    return tuple((low, high) for low, high in spans if 0 <= low < high <= end)


def _cdf(distribution: Mapping[str, Any], name: str, what: str) -> Chart | None:
    points = [
        (float(item[0]), float(item[1]))
        for item in map(rows_of, rows_of(distribution.get("cdf")))
        if len(item) == 2 and number(item[0]) and number(item[1])
    ]
    points = sorted(points)[:: max(1, -(-len(points) // MAX_POINTS))] + sorted(points)[-1:]
    if len(points) < 3:
        return None
    values = [{"x": x, "y": share * 100, "line": name} for x, share in points]
    bands = [
        {"x": low, "x2": high, "says": f"{share:.1%} within {_figure(high)} ms"}
        for (low, _), (high, share) in pairwise(points)
    ]
    spec = _layers(
        values,
        bands,
        [_Line(name, (), FIRST)],
        x="ms",
        y="% of requests",
        mark={"type": "line", "interpolate": "step-after", "strokeWidth": 2},
    )
    title = f"{name}, distribution"
    says = f"Share of requests whose {what} is at most so long."
    rows = [(f"{share:.1%}", _figure(x)) for x, share in points]
    return Chart(title, says, draw(spec, title), ("share", "at most, ms"), _thin(rows))


def _histogram(distribution: Mapping[str, Any], name: str, what: str) -> Chart | None:
    histogram = mapping(distribution.get("histogram"))
    edges, counts = numbers(histogram.get("edges_ms")), numbers(histogram.get("counts"))
    if not counts or len(edges) != len(counts) + 1 or any(e is None or e <= 0 for e in edges):
        return None
    total = sum(count or 0 for count in counts)
    if not total or list(edges) != sorted(edges, key=lambda edge: edge or 0):
        return None
    bars = [
        {
            "x": low,
            "x2": high,
            "y": 100 * (count or 0) / total,
            "says": f"{_figure(low)} to {_figure(high)} ms: {_share(count or 0, total)}",
        }
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
    ]
    import altair as alt  # noqa: PLC0415  # only a run with load pays for it

    base = alt.Chart(alt.InlineData(values=bars))
    x = alt.X("x:Q", title="ms (logarithmic)", scale=alt.Scale(type="log", nice=False))
    spec = alt.layer(
        base.mark_rect(color=FIRST).encode(
            x=x, x2="x2:Q", y=alt.Y("y:Q", title="% of gaps"), y2=alt.datum(0)
        ),
        _bands(alt, bars, x),
    )
    title = f"{name}, distribution"
    says = f"How long the {what} were, in steps of 10 %; {total:,.0f} in all."
    rows = [
        (f"{_figure(low)} to {_figure(high)}", f"{count or 0:,.0f}")
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
        if count
    ]
    return Chart(title, says, draw(spec, title), ("ms", "count"), _thin(rows))


def _errors(errors: Sequence[Any]) -> Chart | None:
    rows = [(plain(str(e.get("kind")))[:40], e["count"]) for e in map(mapping, errors)
            if number(e.get("count"))][:12]  # fmt: skip
    if not rows:
        return None
    import altair as alt  # noqa: PLC0415  # only a run with load pays for it

    values = [{"kind": kind, "count": n, "says": f"{kind}: {n:,}"} for kind, n in rows]
    spec = (
        alt.Chart(alt.InlineData(values=values))
        .mark_bar(color=THIRD, cornerRadiusEnd=2)
        .encode(
            x=alt.X("count:Q", title="requests", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("kind:N", title=None, sort=None, axis=alt.Axis(minExtent=110)),
            description="says:N",
        )
    )
    table = tuple((kind, f"{n:,}") for kind, n in rows)
    title = "Errors by kind"
    return Chart(title, "Requests that failed, by how.", draw(spec, title, 26 * len(rows)),
                 ("kind", "requests"), table)  # fmt: skip


def _layers(
    values: Sequence[Mapping[str, Any]],
    bands: Sequence[Mapping[str, Any]],
    lines: Sequence[_Line],
    *,
    x: str,
    y: str,
    mark: Mapping[str, Any],
    cut: Sequence[tuple[float, float]] = (),
    trend: _Trend | None = None,
) -> Any:
    import altair as alt  # noqa: PLC0415  # only a run with load pays for it

    names = [line.name for line in lines]
    across = alt.X("x:Q", title=x, scale=alt.Scale(nice=True, zero=False))
    legend = (
        alt.Legend(title=None, orient="top", symbolType="stroke", symbolStrokeWidth=3)
        if len(names) > 1
        else None
    )
    drawn = (
        alt.Chart(alt.InlineData(values=[dict(value) for value in values]))
        .mark_line(**{key: value for key, value in mark.items() if key != "type"})
        .encode(
            x=across,
            y=alt.Y("y:Q", title=y, scale=alt.Scale(zero=True, nice=True)),
            color=alt.Color(
                "line:N",
                scale=alt.Scale(domain=names, range=[line.colour for line in lines]),
                legend=legend,
            ),
        )
    )
    layers = [drawn, _bands(alt, bands, across)]
    if trend is not None:
        ends = [{"x": at, "y": max(height, 0.0)} for at, height in trend]
        dashed = alt.Chart(alt.InlineData(values=ends)).mark_line(
            color=INK, strokeDash=[5, 4], strokeWidth=1.5
        )
        layers.insert(1, dashed.encode(x=across, y=alt.Y("y:Q", title=y)))
    if cut:
        spans = [{"x": low, "x2": high} for low, high in cut]
        shade = alt.Chart(alt.InlineData(values=spans)).mark_rect(color=LINE, fillOpacity=0.45)
        at = alt.X("x:Q", title=x)
        layers.insert(0, shade.encode(x=at, x2="x2:Q", y=alt.value(0), y2=alt.value(HEIGHT)))
    return alt.layer(*layers)


def _bands(alt: Any, bands: Sequence[Mapping[str, Any]], across: Any) -> Any:
    """Return bands as high as the chart that carry the values for hovering."""
    return (
        alt.Chart(alt.InlineData(values=[dict(band) for band in bands]))
        .mark_rect(color=INK, fillOpacity=0)
        .encode(x=across, x2="x2:Q", y=alt.value(0), y2=alt.value(HEIGHT), description="says:N")
    )


def _share(count: float, total: float) -> str:
    return f"{count:,.0f} ({count / total:.1%})"


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _thin(rows: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Return at most so many rows as one reads, evenly chosen, the last one among them."""
    step = max(1, -(-len(rows) // TABLE_ROWS))
    return (*rows[:-1:step], *rows[-1:])
