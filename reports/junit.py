"""JUnit XML, as CI servers read it: one suite per surface, one case per check and scenario.

A failed, untestable or erroneous judgment is red there; what is not applicable, inconclusive,
waived, or a departure is skipped with its reason; a warning passes and says so. Characters that
XML forbids become U+FFFD, everything else invisible is laid open.
"""

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any

from gateproof.summary import shown_verdict

from .report_model import Report
from .visible import clip, lay_open, plain

__all__ = ["junit_xml"]

FAILED = ("fail", "untestable")
SKIPPED = ("not-applicable", "inconclusive", "waived", "departs")


def junit_xml(report: Report) -> str:
    """Return a run as JUnit XML."""
    run = report.run
    suites: dict[str, list[Mapping[str, Any]]] = {}
    for row in run.results:
        surface = str(run.checks.get(row["check"], {}).get("surface") or "other")
        suites.setdefault(surface, []).append(row)
    root = ET.Element(
        "testsuites", {"name": "gateproof", **_counts(list(run.results)), "time": "0"}
    )
    for surface, rows in sorted(suites.items()):
        suite = ET.SubElement(
            root,
            "testsuite",
            {
                "name": _text(surface),
                **_counts(rows),
                "time": "0",
                "timestamp": str(run.header.get("started") or "").partition("+")[0],
                "hostname": "localhost",
            },
        )
        properties = ET.SubElement(suite, "properties")
        for name, value in (
            ("target", run.header["target"].get("url")),
            ("profile", run.header["profile"].get("name")),
            ("run", run.header.get("run")),
        ):
            ET.SubElement(properties, "property", {"name": name, "value": _text(value)})
        for row in rows:
            _case(suite, surface, row, run.checks.get(row["check"], {}))
    if run.loads:
        root.insert(0, _loads(report))
        for name in ("tests", "failures"):
            root.set(name, str(int(root.get(name, "0")) + int(root[0].get(name, "0"))))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _loads(report: Report) -> ET.Element:
    """Return a suite with a case per load run; one whose figures are not certified has failed."""
    invalid = [load for load in report.loads if load.valid is False]
    suite = ET.Element(
        "testsuite",
        {
            "name": "load",
            "tests": str(len(report.loads)),
            "failures": str(len(invalid)),
            "errors": "0",
            "skipped": "0",
            "time": "0",
            "timestamp": str(report.run.header.get("started") or "").partition("+")[0],
            "hostname": "localhost",
        },
    )
    ET.SubElement(suite, "properties")
    for load in report.loads:
        name = {"classname": "load", "name": _text(load.scenario), "time": "0"}
        case = ET.SubElement(suite, "testcase", name)
        if load.valid is False:
            message = _text(f"INVALID: {'; '.join(load.reasons)}")
            failure = ET.SubElement(case, "failure", {"type": "invalid", "message": message})
            failure.text = _text(load.headline)
        else:
            ET.SubElement(case, "system-out").text = _text(load.headline)
    return suite


def _counts(rows: list[Mapping[str, Any]]) -> dict[str, str]:
    verdicts = [shown_verdict(row) for row in rows]
    return {
        "tests": str(len(verdicts)),
        "failures": str(sum(verdict in FAILED for verdict in verdicts)),
        "errors": str(verdicts.count("error")),
        "skipped": str(sum(verdict in SKIPPED for verdict in verdicts)),
    }


def _case(
    suite: ET.Element, surface: str, row: Mapping[str, Any], check: Mapping[str, Any]
) -> None:
    verdict = shown_verdict(row)
    name = f"{row['check']}[{row.get('case') or ''}]"
    case = ET.SubElement(
        suite, "testcase", {"classname": _text(surface), "name": _text(name), "time": "0"}
    )
    message = _message(row, verdict)
    if verdict in FAILED:
        failure = ET.SubElement(case, "failure", {"type": verdict, "message": message})
        failure.text = _details(row, check)
    elif verdict == "error":
        error = ET.SubElement(case, "error", {"type": verdict, "message": message})
        error.text = _details(row, check)
    elif verdict in SKIPPED:
        ET.SubElement(case, "skipped", {"message": f"{verdict}: {message}"})
    elif verdict in ("warn", "info"):
        ET.SubElement(case, "system-out").text = f"{verdict}: {_details(row, check)}"


def _message(row: Mapping[str, Any], verdict: str) -> str:
    if verdict == "waived":
        return _text(row.get("waiver"))
    if row.get("wanted"):
        return _text(f"wanted {row['wanted']}; got {row.get('got') or 'nothing'}")
    return _text(row.get("reason") or verdict)


def _details(row: Mapping[str, Any], check: Mapping[str, Any]) -> str:
    requirement = check.get("requirement") or {}
    lines = [
        f"{label:<9}{_text(value)}"
        for label, value in (
            ("rule", requirement.get("rule") or check.get("says")),
            ("level", row.get("level")),
            ("source", requirement.get("source")),
            ("wanted", row.get("wanted")),
            ("got", row.get("got")),
            ("reason", row.get("reason")),
            *(("file", f"transcripts/{name}.json") for name in row.get("scenarios") or ()),
        )
        if value
    ]
    return "\n" + "\n".join(lines) + "\n"


def _text(value: object) -> str:
    return plain(lay_open(clip(str(value or ""), 1500)))
