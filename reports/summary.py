"""The run in brief, for programs (``summary.json``) and for a CI job's page (``summary.md``).

The shape of the JSON is ``schemas/summary.schema.json``. Markdown is escaped so that no text of a
target becomes a link, an image, HTML or a mention.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from gateproof.summary import lab_headline, told

from .load_view import LoadView
from .report_model import Case, Finding, Report
from .values import mapping
from .visible import clip, lay_open

__all__ = ["SCHEMA", "summary_json", "summary_markdown"]

SCHEMA = "gateproof.summary/1"
FINDINGS = ("error", "fail", "untestable", "departs", "warn", "info", "inconclusive", "waived")
MAX_ROWS = 40


def summary_json(report: Report) -> str:
    """Return the summary as JSON text."""
    run = report.run
    footer = run.footer or {}
    target = run.header["target"]
    value = {
        "schema": SCHEMA,
        "invalid": report.invalid or None,
        "run": run.header.get("run"),
        "gateproof": run.header.get("gateproof"),
        "verb": run.header.get("verb"),
        "started": run.header.get("started"),
        "finished": footer.get("finished"),
        "complete": report.complete,
        "exit": footer.get("exit"),
        "target": {"name": target.get("name"), "url": target.get("url")},
        "profile": run.header["profile"].get("name"),
        "seed": run.header.get("seed"),
        "sentence": report.sentence,
        "checks": {"tested": report.tested, **report.counts},
        "cases": dict(report.case_counts),
        "requests": report.requests,
        "findings": [_finding(item) for name in FINDINGS for item in report.findings[name]],
        "not_applicable": [
            {"reason": group.reason, "checks": list(group.checks)}
            for group in report.not_applicable
        ],
        "others_promises": report.others,
        "loads": [_load(load) for load in report.loads],
        "searches": [_lab(row) for row in run.searches],
        "limits": [_lab(row) for row in run.limits],
        "notes": list(run.notes),
        "files": {"page": "report.html", "junit": "junit.xml", "run": "run.jsonl"},
    }
    return json.dumps(_finite(value), ensure_ascii=False, indent=1).translate(_LONE) + "\n"


# A lone surrogate is no UTF-8; JSON has an escape for it.
_LONE = {code: f"\\u{code:04x}" for code in range(0xD800, 0xE000)}


def _finite(value: Any) -> Any:
    """Return a value without NaN and infinity, which are no JSON."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _finding(item: Finding) -> dict[str, Any]:
    return {
        "check": item.check,
        "verdict": item.verdict,
        "level": item.level,
        "surface": item.surface,
        "requirement": item.told("id"),
        "rule": item.told("rule"),
        "kind": item.told("kind"),
        "source": item.told("source"),
        "impact": item.told("impact"),
        "cases": [_case(case) for case in item.cases],
    }


def _case(case: Case) -> dict[str, Any]:
    at = case.at or {}
    return {
        "case": case.case,
        "wanted": case.wanted,
        "got": case.got,
        "reason": case.reason,
        "waiver": case.waiver,
        "transcripts": list(case.files),
        "scenario": at.get("scenario") or None,
        "exchange": at.get("exchange"),
        "offset": at.get("offset"),
        "frame": at.get("frame"),
    }


def _load(load: LoadView) -> dict[str, Any]:
    summary = load.summary
    return {
        "scenario": load.scenario,
        "folder": load.folder,
        "headline": load.headline,
        "valid": load.valid,
        "reasons": list(load.reasons),
        "plan": mapping(summary.get("plan")),
        "requests": mapping(summary.get("requests")),
        "rates": mapping(summary.get("rates")),
        "metrics": mapping(summary.get("metrics")),
        "goodput": mapping(summary.get("goodput")) or None,
        "conformance": mapping(summary.get("conformance")) or None,
    }


def _lab(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("scenario", "folder", "summary")}


def summary_markdown(report: Report) -> str:
    """Return the summary as Markdown, short enough for the page of a CI job."""
    run = report.run
    parts = ", ".join(f"{count} {name}" for name, count in report.counts.items())
    lines = [f"## {_md(report.invalid, 600)}", ""] if report.invalid else []
    lines += [
        f"## {report.sentence}.",
        "",
        ", ".join(
            (
                _code(run.header["target"].get("url")),
                f"profile {_code(run.header['profile'].get('name'))}",
                _md(report.started),
                *([told(report.requests, "request")] if report.requests else []),
                f"gateproof {_md(run.header.get('gateproof'))}.",
            )
        ),
        "",
    ]
    if not report.complete:
        lines += ["**This run was cut short**; what follows is what it had recorded.", ""]
    if parts:
        lines += [f"{told(sum(report.counts.values()), 'check')}: {parts}.", ""]
    rows = [
        item for name in ("error", "fail", "untestable", "warn") for item in report.findings[name]
    ]
    if rows:
        lines += ["| verdict | check | rule | got |", "| --- | --- | --- | --- |"]
        for item in rows[:MAX_ROWS]:
            case = item.cases[0]
            lines.append(
                f"| {item.verdict} | {_code(item.check)} | {_md(item.told('rule') or item.says)} "
                f"| {_md(case.got or case.reason, 160)} |"
            )
        if len(rows) > MAX_ROWS:
            lines.append(f"\n… and {len(rows) - MAX_ROWS} more.")
        lines.append("")
    for load in report.loads:
        lines += [f"Load, {_md(load.scenario)}: {_md(load.headline)}.", ""]
        lines += [f"- {_md(reason)}" for reason in load.reasons] + [""] * bool(load.reasons)
    for kind, labs in (("Capacity", run.searches), ("Rate limits", run.limits)):
        for row in labs:
            lines += [f"{kind}, {_md(row['scenario'])}: {_md(lab_headline(row['summary']))}", ""]
    lines += [f"- {_md(note)}" for note in run.notes]
    return "\n".join(lines).rstrip() + "\n"


def _md(text: object, limit: int = 300) -> str:
    """Escape text for Markdown, inside a table as well; addresses and mentions stay plain text."""
    shown = lay_open(clip(str(text or ""), limit)).replace("&", "&amp;").replace("<", "&lt;")
    shown = re.sub(r"([\\`*_{}\[\]()#+!|>~$-])", r"\\\1", shown)
    shown = re.sub(r"(?i)www\.", "www&#46;", shown)
    return re.sub(r"([@:])", lambda match: f"&#{ord(match.group())};", shown)


def _code(text: object) -> str:
    """Return text as a code span that nothing in it can leave."""
    shown = lay_open(clip(str(text or "-"), 200)).replace("|", "\\|")
    ticks = max((len(run) for run in re.findall(r"`+", shown)), default=0) + 1
    fence = "`" * ticks
    return f"{fence}{' ' * (ticks > 1)}{shown}{' ' * (ticks > 1)}{fence}"
