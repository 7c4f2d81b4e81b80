"""The page: one HTML file that needs nothing else, from a report.

Its content security policy forbids every script and every load; the stylesheet stands inside.
Templates escape all that they are given; text of a target passes ``show`` as well, which lays open
what is invisible. The page is held under its size by giving evidence less room, never by leaving
a finding out.

A ``search`` or ``limits`` row is shown by a module and a template of its own (``LABS``): what the
module's ``view(row, serial)`` returns is the template's ``view``, beside ``row`` and ``serial``.
The template writes a section whose id is ``capacity-<serial>`` or ``limits-<serial>``.
"""

import importlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from gateproof.run import Run
from gateproof.summary import lab_headline, told
from gateproof.transcript import Transcript

from .charts import charts_of
from .load_parts import CALIBRATION_COLUMNS, DRIFT_COLUMNS, WORK_COLUMNS
from .load_view import RANK_NAMES
from .report_model import Report, make_report
from .visible import show, show_command

__all__ = ["MAX_PAGE_BYTES", "render_page"]

MAX_PAGE_BYTES = 1_500_000
EVIDENCE_BYTES = (800_000, 200_000, 20_000, 0)
# kind of section: the module of this room that reads its rows; the template is _<kind>.html.j2.
# They are imported when there is such a row, because they may draw.
LABS: Mapping[str, str] = {"capacity": ".capacity_view", "limits": ".limits_view"}
LABELS: Mapping[str, str] = {
    "error": "own error",
    "fail": "broken",
    "untestable": "untestable",
    "inconclusive": "inconclusive",
    "warn": "warning",
    "departs": "departs",
    "waived": "waived",
    "info": "info",
    "pass": "kept",
    "not-applicable": "not applicable",
}


def render_page(run: Run, transcripts: Mapping[str, Transcript]) -> str:
    """Return the page of a run."""
    # Charts cost seconds to draw and are the same however much evidence there is room for.
    charts = [charts_of(row.get("summary") or {}) for row in run.loads]
    labs = _labs(run)
    page = ""
    for size in EVIDENCE_BYTES:
        report = make_report(run, transcripts, size)
        page = _render(report, charts, labs)
        if len(page.encode("utf-8", "replace")) <= MAX_PAGE_BYTES:
            break
        if size == EVIDENCE_BYTES[-2]:
            charts = [() for _ in charts]
    return page


def _labs(run: Run) -> list[dict[str, Any]]:
    """Return what is shown of each search for capacity and for limits, in order."""
    shown = []
    for kind, rows in (("capacity", run.searches), ("limits", run.limits)):
        for serial, row in enumerate(rows):
            module = importlib.import_module(LABS[kind], __package__)
            shown.append(
                {
                    "kind": kind,
                    "serial": serial,
                    "row": row,
                    "headline": lab_headline(row["summary"]),
                    "template": f"_{kind}.html.j2",
                    "view": module.view(row, serial),
                }
            )
    return shown


def _render(report: Report, charts: list[Any], labs: list[dict[str, Any]]) -> str:
    run = report.run
    return (
        _templates()
        .get_template("page.html")
        .render(
            report=report,
            run=run,
            header=run.header,
            target=run.header["target"],
            charts=charts,
            labs=labs,
            rank_names=RANK_NAMES,
            work_columns=WORK_COLUMNS,
            calibration_columns=CALIBRATION_COLUMNS,
            drift_columns=DRIFT_COLUMNS,
            bar=_bar(report),
            labels=LABELS,
        )
    )


def _bar(report: Report) -> list[tuple[str, int, str]]:
    """Return the counts as segments: verdict, count, width in per cent."""
    total = sum(report.counts.values()) or 1
    return [(name, n, f"{100 * n / total:.2f}") for name, n in report.counts.items()]


@cache
def _templates() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("gateproof.reports", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["show"] = show
    made.filters["command"] = show_command
    made.globals["told"] = told
    made.globals["style"] = Markup(  # noqa: S704  # our own file
        (Path(__file__).parent / "templates" / "style.css").read_text("utf-8")
    )
    return made
