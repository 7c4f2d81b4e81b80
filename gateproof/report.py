"""The one door to the reports room: the core calls it by name, when a run is over."""

import importlib
from pathlib import Path

__all__ = ["write_report", "write_tables"]


def write_report(folder: Path) -> Path:
    """Write report.html, junit.xml, summary.json and summary.md of a run; return the page."""
    page: Path = importlib.import_module("gateproof.reports").write_report(folder)
    return page


def write_tables(folder: Path) -> list[Path]:
    """Write the samples of each load run as ``samples.csv`` beside them; return the files."""
    table = importlib.import_module("gateproof.reports.table")
    found = sorted({path.parent for path in folder.rglob("samples.*.bin")})
    return [table.write_csv(place) for place in found]
