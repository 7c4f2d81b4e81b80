"""From a run to what its report says: the verdict, findings with evidence, what was not tested.

Page, JUnit, JSON and Markdown are all made from one ``Report``, so that they cannot disagree.
Nothing here is markup except the evidence, whose bytes are already laid open. A run that was cut
short, or that has only checks or only load, is an ordinary run with parts missing.
"""

import datetime as dt
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateproof.requirement import Requirement, load_requirements
from gateproof.run import ORDER, Run
from gateproof.summary import (
    TESTED,
    invalid_line,
    is_of_others,
    others_promises,
    run_sentence,
    shown_verdict,
    verdicts,
)
from gateproof.transcript import Transcript

from .evidence import Evidence, evidence_of
from .load_view import LoadView, load_view
from .underload_view import underload_view
from .values import mapping

__all__ = ["Case", "Finding", "Group", "Report", "make_report"]

# Where a rule comes from, the most binding first: it orders findings of the same weight.
KINDS = ("documented", "standard", "upstream", "measured", "invariant", "field")
FULL_CASES = 3  # cases of one check that get evidence of their own; the others name their file


@dataclass(frozen=True, slots=True)
class Case:
    """One judgment of a check, as it is told."""

    case: str
    verdict: str
    level: str
    wanted: str
    got: str
    reason: str
    waiver: str
    seen: str
    at: Mapping[str, Any] | None
    scenarios: tuple[str, ...]
    evidence: tuple[Evidence, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """Return where its transcripts are, inside the run folder."""
        return tuple(f"transcripts/{name}.json" for name in self.scenarios)


@dataclass(frozen=True, slots=True)
class Finding:
    """A check and its cases of one verdict, with the requirement in full."""

    check: str
    verdict: str
    level: str
    surface: str
    says: str
    requirement: Mapping[str, Any]
    cases: tuple[Case, ...]
    case_count: int

    @property
    def anchor(self) -> str:
        """Return a fragment name that is ours whatever the id holds."""
        return f"{self.verdict}-" + re.sub(r"[^A-Za-z0-9._-]", "_", self.check)

    def told(self, name: str) -> str:
        """Return a field of the requirement as text; empty when it has none."""
        return str(self.requirement.get(name) or "")


@dataclass(frozen=True, slots=True)
class Group:
    """Checks that were not tested for one reason."""

    reason: str
    checks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that a report says, in the order of the page."""

    run: Run
    sentence: str
    invalid: str  # the first line of every output when a load run is not valid
    tone: str  # good, bad, or neither when nothing was judged
    counts: Mapping[str, int]
    case_counts: Mapping[str, int]
    requests: int
    started: str
    findings: Mapping[str, tuple[Finding, ...]]
    not_applicable: tuple[Group, ...]
    others: int  # checks of what only other profiles promise: counted, and left out of all else
    passed: Mapping[str, tuple[Finding, ...]]
    excused: tuple[Requirement, ...]
    loads: tuple[LoadView, ...] = ()

    @property
    def complete(self) -> bool:
        """Tell whether the run came to its end."""
        return self.run.complete

    @property
    def tested(self) -> int:
        """Return how many checks came to a judgment."""
        return sum(self.counts.get(verdict, 0) for verdict in TESTED)


def make_report(
    run: Run, transcripts: Mapping[str, Transcript], evidence_bytes: int = 800_000
) -> Report:
    """Work out what a run says; evidence stops where it would pass its bytes in all."""
    by_check: dict[str, list[Mapping[str, Any]]] = {}
    for row in run.results:
        by_check.setdefault(row["check"], []).append(row)
    others = others_promises(run)
    of_check = {name: item for name, item in verdicts(run).items() if name not in others}
    counts = Counter(of_check.values())
    findings = {
        verdict: _ordered(
            _finding(run, check, verdict, rows)
            for check, rows in by_check.items()
            if any(shown_verdict(row) == verdict for row in rows)
        )
        for verdict in ("error", "fail", "untestable", "departs", "warn", "info", "inconclusive",
                        "waived")
    }  # fmt: skip
    budget = [evidence_bytes]
    key_env = run.header["target"].get("key_env")
    shown = {
        verdict: tuple(_with_evidence(item, transcripts, key_env, budget) for item in found)
        for verdict, found in findings.items()
    }
    passed: dict[str, list[Finding]] = {}
    for check, verdict in sorted(of_check.items()):
        if verdict == "pass":
            item = _finding(run, check, "pass", by_check[check])
            passed.setdefault(item.surface, []).append(item)
    return Report(
        run=run,
        sentence=run_sentence(run, counts),
        invalid=invalid_line(run.loads),
        tone=_tone(counts, invalid=bool(invalid_line(run.loads))),
        counts={name: counts[name] for name in ORDER if counts[name]},
        case_counts=dict(
            Counter(shown_verdict(row) for row in run.results if row["check"] not in others)
        ),
        requests=_requests(run),
        started=_date(run.header.get("started")),
        findings=shown,
        not_applicable=_groups(run, of_check, others),
        others=len(others),
        passed={name: tuple(items) for name, items in sorted(passed.items())},
        excused=_excused(run) if run.results else (),
        loads=tuple(
            replace(load_view(row, number, run.folder), under=underload_view(row, run.results))
            for number, row in enumerate(run.loads)
        ),
    )


def _tone(counts: Mapping[str, int], *, invalid: bool) -> str:
    if invalid or any(counts.get(name) for name in ("error", "fail", "untestable")):
        return "bad"
    return "good" if any(counts.get(name) for name in TESTED) else ""


def _finding(run: Run, check: str, verdict: str, rows: Sequence[Mapping[str, Any]]) -> Finding:
    about = run.checks.get(check, {})
    requirement = about.get("requirement") or {}
    cases = tuple(_case(row) for row in rows if shown_verdict(row) == verdict)
    return Finding(
        check=check,
        verdict=verdict,
        level=str(about.get("level") or (cases[0].level if cases else "")),
        surface=str(about.get("surface") or requirement.get("surface") or "other"),
        says=str(about.get("says") or ""),
        requirement=requirement,
        cases=cases,
        case_count=len(rows),
    )


def _case(row: Mapping[str, Any]) -> Case:
    def text(name: str) -> str:
        return str(row.get(name) or "")

    at = row.get("at")
    return Case(
        case=text("case"),
        verdict=shown_verdict(row),
        level=text("level"),
        wanted=text("wanted"),
        got=text("got"),
        reason=text("reason"),
        waiver=text("waiver"),
        seen=text("seen"),
        at=at if isinstance(at, Mapping) else None,
        scenarios=tuple(str(name) for name in row.get("scenarios") or ()),
    )


def _ordered(found: Any) -> tuple[Finding, ...]:
    """Put first what harms real clients, then what fails most often, then what binds most."""

    def weight(item: Finding) -> tuple[Any, ...]:
        kind = item.told("kind")
        return (
            item.level != "MUST",
            not item.told("impact"),
            -len(item.cases),
            KINDS.index(kind) if kind in KINDS else len(KINDS),
            item.check,
        )

    return tuple(sorted(found, key=weight))


def _with_evidence(
    item: Finding,
    transcripts: Mapping[str, Transcript],
    key_env: str | None,
    budget: list[int],
) -> Finding:
    cases = []
    for number, case in enumerate(item.cases):
        shown: list[Evidence] = []
        if number < FULL_CASES:
            place = case.at or {}
            meant = place.get("scenario") or next(iter(case.scenarios), "")
            # First what the finding is about, then what it was held against.
            for name in sorted(case.scenarios, key=lambda name: name != meant)[:FULL_CASES]:
                if name not in transcripts:
                    continue
                at = place if name == meant else None
                several = len(case.scenarios) > 1
                found = evidence_of(transcripts[name], at, key_env, named=several)
                if found is not None and found.size <= budget[0]:
                    budget[0] -= found.size
                    shown.append(found)
        cases.append(replace(case, evidence=tuple(shown)))
    return replace(item, cases=tuple(cases))


def _groups(run: Run, of_check: Mapping[str, str], others: frozenset[str]) -> tuple[Group, ...]:
    """Group what is not applicable by its reason, the largest group first.

    A case of a check that was judged elsewhere is named, unless that was under load alone: then
    nothing else was to be judged.
    """
    groups: dict[str, set[str]] = {}
    apart = {
        row["check"]
        for row in run.results
        if row["verdict"] != "not-applicable" and not str(row["case"]).startswith("load/")
    }
    for row in run.results:
        if row["verdict"] == "not-applicable" and not is_of_others(row):
            name = row["check"]
            if of_check[name] != "not-applicable":
                if name not in apart:
                    continue
                name = f"{name} [{row.get('case', '')}]"
            groups.setdefault(str(row.get("reason") or "no reason given"), set()).add(name)
    judged = of_check.keys() | others
    left = {check for check in run.checks if check not in judged}
    if left:
        groups.setdefault("the run ended before they were judged", set()).update(left)
    made = [Group(reason, tuple(sorted(checks))) for reason, checks in groups.items()]
    return tuple(sorted(made, key=lambda group: (-len(group.checks), group.reason)))


def _excused(run: Run) -> tuple[Requirement, ...]:
    """Return the registered rules for this profile that nothing judges, with their reasons."""
    name = run.header["profile"].get("name")
    return tuple(
        item for item in load_requirements().values() if item.excused and item.profile in ("", name)
    )


def _requests(run: Run) -> int:
    loaded = sum(
        count
        for row in run.loads
        for name in ("due", "warm_up", "cool_down")
        if isinstance(count := mapping(row["summary"].get("requests")).get(name), int)
    )
    if run.footer is not None and isinstance(run.footer.get("requests"), int):
        return int(run.footer["requests"]) + loaded
    return len(run.exchanges) + loaded


def _date(text: object) -> str:
    try:
        moment = dt.datetime.fromisoformat(str(text)).astimezone(dt.UTC)
    except ValueError:
        return str(text or "at an unknown time")
    return f"{moment:%Y-%m-%d %H:%M} UTC"
