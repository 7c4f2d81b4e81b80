"""What a run says on a terminal: the verdict, what fails, what was not tested, where the report is.

Text from a target is shown with control characters escaped, so that it cannot rewrite a terminal.
"""

import sys
import textwrap
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateproof.run import ORDER, Run, worst

__all__ = ["print_summary", "verdicts"]

SHOWN = ("error", "fail", "untestable", "inconclusive", "warn", "departs", "waived")
_COLOURS = {"fail": "31", "error": "31", "untestable": "31", "warn": "33", "pass": "32"}


def verdicts(run: Run) -> dict[str, str]:
    """Return each check's verdict: the worst of its cases, a waived finding counted as waived."""
    cases: dict[str, list[str]] = {}
    for row in run.results:
        cases.setdefault(row["check"], []).append("waived" if row["waiver"] else row["verdict"])
    return {check: worst(found) for check, found in cases.items()}


def print_summary(run: Run, report: Path | None) -> None:
    """Print a run's summary to standard output."""
    target = run.header["target"]
    by_check = verdicts(run)
    counts = Counter(by_check.values())
    out = [f"{run.header['profile']['title']} profile, {safe(target['url'])}", ""]
    for verdict in SHOWN:
        for row in run.results:
            shown = "waived" if row["waiver"] else row["verdict"]
            if shown == verdict:
                out += _row_lines(shown, row)
    if run.results:
        told = ", ".join(f"{counts[name]} {name}" for name in reversed(ORDER) if counts[name])
        out += ["", f"{len(by_check)} checks: {told}."]
    for load in run.loads:
        out += ["", f"load {load['scenario']}: {headline(load['summary'])}"]
    out += [safe(note) for note in run.notes]
    if run.footer is None:
        out.append("This run was cut short.")
    if report is not None:
        out += ["", f"Report: {report}"]
    sys.stdout.write("\n".join(out).strip() + "\n")


def headline(summary: Mapping[str, Any]) -> str:
    """Return a load summary's own first line."""
    return safe(str(summary.get("headline", "see the report")))


def safe(text: str) -> str:
    """Escape what could move a terminal's cursor or hide text."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _row_lines(shown: str, row: Mapping[str, Any]) -> list[str]:
    lines = [f"{_colour(shown, shown.upper()):<10} {row['check']}  [{row['case']}]"]
    for name in ("wanted", "got", "reason"):
        if row[name]:
            text = textwrap.shorten(safe(row[name]), 300, placeholder=" …")
            lines.append(textwrap.indent(f"{name:<7} {text}", "           "))
    return lines


def _colour(verdict: str, text: str) -> str:
    if verdict in _COLOURS and sys.stdout.isatty():
        return f"\x1b[{_COLOURS[verdict]}m{text}\x1b[0m"
    return text
