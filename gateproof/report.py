"""The one door to the reports room: the core calls it by name, when a run is over."""

import importlib
from pathlib import Path

__all__ = ["write_report"]


def write_report(folder: Path) -> Path:
    """Write report.html, junit.xml, summary.json and summary.md of a run; return the page."""
    page: Path = importlib.import_module("gateproof.reports").write_report(folder)
    return page
