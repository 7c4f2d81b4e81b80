"""What a run says on a terminal: the verdict, what fails, what was not tested, where the report is.

Text from a target is shown with control characters escaped, so that it cannot rewrite a terminal.
"""

import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gateproof.loadtext import headline, invalid_line, load_lines, load_sentence
from gateproof.run import ORDER, Run, worst
from gateproof.wording import safe, told

__all__ = [
    "TESTED",
    "headline",
    "invalid_line",
    "is_of_others",
    "kept",
    "lab_headline",
    "labs_done",
    "others_promises",
    "print_summary",
    "run_sentence",
    "safe",
    "sentence",
    "shown_verdict",
    "told",
    "verdicts",
]

SHOWN = ("error", "fail", "untestable", "inconclusive", "warn", "departs", "waived")
# The verdicts of checks that came to a judgment.
TESTED = ("pass", "info", "fail", "warn", "departs", "waived")
_COLOURS = {"fail": "31", "error": "31", "untestable": "31", "warn": "33", "pass": "32"}


def verdicts(run: Run) -> dict[str, str]:
    """Return each check's verdict: the worst of its cases, a waived finding counted as waived."""
    cases: dict[str, list[str]] = {}
    for row in run.results:
        cases.setdefault(row["check"], []).append(shown_verdict(row))
    return {check: worst(found) for check, found in cases.items()}


# As a check's result and a profile's claims say it (gateproof.check, gateproof.record).
_OTHERS = re.compile(r"a promise of [\w-]+ alone|profile [\w-]+ does not claim ")


def others_promises(run: Run) -> frozenset[str]:
    """Return the checks that judge only what other profiles promise and this one does not."""
    of_others: dict[str, bool] = {}
    for row in run.results:
        of_others[row["check"]] = of_others.get(row["check"], True) and is_of_others(row)
    return frozenset(check for check, other in of_others.items() if other)


def is_of_others(row: Mapping[str, Any]) -> bool:
    """Tell whether a result row is about what only other profiles promise."""
    return row["verdict"] == "not-applicable" and bool(_OTHERS.search(str(row["reason"])))


def shown_verdict(row: Mapping[str, Any]) -> str:
    """Return the verdict of a result row, ``waived`` when the operator accepts it."""
    return "waived" if row.get("waiver") else str(row["verdict"])


def run_sentence(run: Run, counts: Mapping[str, int]) -> str:
    """Return a run's verdict in one sentence; of a run of load alone, it is the load's.

    ``counts`` are its checks by verdict.
    """
    judged_apart = any(not str(row["case"]).startswith("load/") for row in run.results)
    said = [load_sentence(run.loads), *(_found(row) for row in (*run.searches, *run.limits))]
    said = [part for part in said if part]
    if judged_apart or not said or run.header.get("verb") == "audit":
        return sentence(counts, run.loads, labs_done(run))
    broken = sum(counts.get(verdict, 0) for verdict in ("fail", "untestable"))
    if broken:
        tested = sum(counts.get(verdict, 0) for verdict in TESTED)
        of = f" of {tested}" if tested >= broken else ""
        said.append(f"{broken}{of} promises {'is' if broken == 1 else 'are'} broken under load")
    return "; ".join(said)


def _found(row: Mapping[str, Any]) -> str:
    knee = row["summary"].get("knee")
    says = knee.get("says") if isinstance(knee, Mapping) else None
    return (safe(says) if isinstance(says, str) else lab_headline(row["summary"])).rstrip(".")


def sentence(counts: Mapping[str, int], loads: Sequence[Mapping[str, Any]], labs: str = "") -> str:
    """Return a run's verdict in one sentence, from its checks by verdict and its load rows.

    ``labs`` says what else was done (``labs_done``), for a run that did nothing but that.
    """
    tested = sum(counts.get(verdict, 0) for verdict in TESTED)
    broken, untestable = counts.get("fail", 0), counts.get("untestable", 0)
    if not sum(counts.values()):
        if loads:
            return _of_load(loads)
        return f"No promise was tested; {labs}" if labs else "Nothing was judged"
    if broken:
        said = (
            f"{broken} of {told(tested, 'tested promise')} {'is' if broken == 1 else 'are'} broken"
        )
        return said + (f", and {untestable} could not be tested" if untestable else "")
    if untestable:
        return f"No tested promise is broken, but {untestable} could not be tested"
    if not tested:
        return "No promise came to a judgment"
    said = "Keeps every promise that was tested"
    if counts.get("error"):
        said += f", but gateproof itself failed in {told(counts['error'], 'check')}"
    if counts.get("waived"):
        said += f", not counting {counts['waived']} waived"
    if counts.get("warn"):
        said += f", with {told(counts['warn'], 'warning')}"
    return said


def labs_done(run: Run) -> str:
    """Return what was searched for, in words; nothing when there was no search."""
    done = [
        said
        for rows, said in (
            (run.searches, "capacity was searched for"),
            (run.limits, "rate limits were looked for"),
        )
        if rows
    ]
    return " and ".join(done)


def _of_load(loads: Sequence[Mapping[str, Any]]) -> str:
    invalid = ", but its figures are INVALID" if invalid_line(loads) else ""
    return f"No promise was tested; load was measured{invalid}"


def kept(folder: Path, *, transcripts: bool = True) -> str:
    """Return what is said of a run that was interrupted: where it is, and what can be done."""
    judge = f", and `gateproof judge {folder}` judges it" if transcripts else ""
    return (
        f"\nWhat was recorded is in {folder}; "
        f"`gateproof report {folder}` makes a page of it{judge}.\n"
    )


def print_summary(run: Run, report: Path | None) -> None:
    """Print a run's summary to standard output."""
    target = run.header["target"]
    others = others_promises(run)
    by_check = {name: item for name, item in verdicts(run).items() if name not in others}
    counts = Counter(by_check.values())
    out = [line for line in (invalid_line(run.loads),) if line]
    out += [f"{run.header['profile']['title']} profile, {safe(target['url'])}", ""]
    for verdict in SHOWN:
        for rows in _alike(row for row in run.results if shown_verdict(row) == verdict):
            out += _row_lines(verdict, rows)
    if run.results:
        parts = ", ".join(f"{counts[name]} {name}" for name in reversed(ORDER) if counts[name])
        more = f" {len(others)} more for what only other profiles promise." * bool(others)
        out += ["", f"{told(len(by_check), 'check')}: {parts}.{more}"]
        out += [f"{run_sentence(run, counts)}."]
    for load in run.loads:
        out += ["", f"load {safe(load['scenario'])}: {headline(load['summary'])}"]
        out += load_lines(load["summary"])
    for kind, labs in (("capacity", run.searches), ("limits", run.limits)):
        out += [f"{kind} {row['scenario']}: {lab_headline(row['summary'])}" for row in labs]
    out += [safe(note) for note in run.notes]
    if not run.complete:
        out.append("This run was cut short.")
    if report is not None:
        out += ["", f"Report: {report}"]
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(out).strip())
    sys.stdout.write(text + "\n")


def lab_headline(summary: Mapping[str, Any]) -> str:
    """Return what a search for capacity or for limits has found, in the one line that it gives."""
    return safe(str(summary.get("headline") or "")) or "see the report"


def _alike(rows: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Group the cases of a check that say the same, in order."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["check"], row["wanted"], row["reason"]), []).append(row)
    return list(groups.values())


def _row_lines(shown: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    row = rows[0]
    more = f" and {told(len(rows) - 1, 'more case')}" if len(rows) > 1 else ""
    lines = [f"{_colour(shown, f'{shown.upper():<12}')} {row['check']}  [{row['case']}{more}]"]
    for name in ("wanted", "got", "reason"):
        if row[name]:
            text = textwrap.shorten(safe(row[name]), 300, placeholder=" …")
            lines.append(textwrap.indent(f"{name:<7} {text}", " " * 13))
    return lines


def _colour(verdict: str, text: str) -> str:
    if verdict in _COLOURS and sys.stdout.isatty():
        return f"\x1b[{_COLOURS[verdict]}m{text}\x1b[0m"
    return text
