"""Run files to tables and pages; the JSON Schemas of every output.

``write_report`` puts ``report.html``, ``junit.xml``, ``summary.json`` and ``summary.md`` into a run
folder, from what its ``run.jsonl`` and ``transcripts/`` hold. It may be called again at any time,
and on a run that was cut short.
"""

from pathlib import Path

from gateproof.run import read_run, read_transcripts

from .junit import junit_xml
from .page import render_page
from .report_model import make_report
from .summary import summary_json, summary_markdown

__all__ = ["write_report"]


def write_report(folder: Path) -> Path:
    """Write the four reports of a run into its folder; return the path of the page."""
    run = read_run(folder)
    transcripts = read_transcripts(run.folder)
    page = run.folder / "report.html"
    report = make_report(run, {}, 0)
    _write(run.folder / "junit.xml", junit_xml(report))
    _write(run.folder / "summary.json", summary_json(report))
    _write(run.folder / "summary.md", summary_markdown(report))
    _write(page, render_page(run, transcripts))
    return page


def _write(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, never a half."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(text, "utf-8", errors="replace")
    partial.replace(path)
