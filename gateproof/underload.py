"""Conformance under load: the same checks, judged on answers that were kept while load was on.

Strategy: what a request is like (see ``gateproof.likeness``) says which checks can be judged on its
answer, and as which scenario; each answer is judged by itself, and the results of one check are
told as one.

Rules. A check that compares scenarios, or looks at what was asked for in its own prompt, is not
judged here. An answer that refuses for load (429, 503, 529), or that the generator broke off, is
set aside and counted: it is load's to tell. A check has a finding as soon as one answer has;
it is untestable only where no answer could be judged. Whether a finding comes with load only is
told by the same check without load.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from gateproof.check import Result, judge
from gateproof.clocks import Clock
from gateproof.conform import Plan, judge_case, record_plan
from gateproof.likeness import likeness_of
from gateproof.requirement import UNDER_LOAD
from gateproof.sample import clocks_of
from gateproof.scenario import Scenario
from gateproof.transcript import Exchange, Transcript, from_json

__all__ = [
    "ONLY_UNDER_LOAD",
    "UnderLoad",
    "ask_alone",
    "gather",
    "judge_under_load",
    "tell_alone",
]

FINDINGS: Final = ("fail", "warn", "info", "departs")
ONLY_UNDER_LOAD: Final = "only under load: it is kept without"
REFUSES_LOAD: Final = (429, 503, 529)
_RANK: Final = ("error", *FINDINGS, "pass", "untestable", "inconclusive", "not-applicable")


@dataclass(frozen=True, slots=True)
class UnderLoad:
    """What was judged under load: the results, how many answers they rest on, and what was not."""

    results: tuple[Result, ...]
    kept: int
    judged: Mapping[str, int]
    set_aside: Mapping[str, int]
    read_as: Mapping[str, str]
    """As which scenario the answer that decided was read, by check."""

    @property
    def found(self) -> dict[str, str]:
        """Return the checks that have a finding, each with the scenario as which it was read."""
        return {
            item.check: self.read_as[item.check]
            for item in self.results
            if item.verdict in FINDINGS and item.check in self.read_as
        }

    def as_json(self) -> dict[str, Any]:
        """Return what a load summary says of it."""
        counts = Counter(item.verdict for item in self.results)
        return {
            "kept": self.kept,
            "judged": dict(self.judged),
            "set_aside": dict(self.set_aside),
            "checks": len(self.results),
            "counts": dict(sorted(counts.items())),
        }


def gather(folders: Iterable[Path], name: str, use: Mapping[str, Any]) -> Transcript:
    """Put together what the workers of a load run kept, in the order in which it was asked.

    ``name`` is the transcript's: ``load/`` and the load scenario's. Raises ``ValueError`` or
    ``KeyError`` on what is no transcript.
    """
    kept: list[tuple[int, Exchange]] = []
    dropped: Counter[str] = Counter()
    for folder in folders:
        clocks = clocks_of(folder.parent)
        for path in sorted(folder.glob("*.json")):
            part = from_json(json.loads(path.read_text("utf-8")))
            clock = clocks.get(path.stem, Clock())
            kept += [(clock.common(item.started_ns), item) for item in part.exchanges]
            dropped.update(part.use.get("dropped") or {})
    kept.sort(key=itemgetter(0))
    exchanges = tuple(item for _, item in kept)
    return Transcript(scenario=name, exchanges=exchanges, use={**use, "dropped": dict(dropped)})


def judge_under_load(plan: Plan, transcript: Transcript) -> UnderLoad:
    """Judge the answers that a load run kept; ``transcript.scenario`` is ``load/`` and its name."""
    tallies: dict[str, _Tally] = {}
    set_aside: Counter[str] = Counter(transcript.use.get("dropped") or {})
    judged: Counter[str] = Counter()
    for index, exchange in enumerate(transcript.exchanges):
        kind = likeness_of(exchange.ask)
        why = _aside(exchange) or ("" if kind else "no check reads such a request")
        if why or kind is None:
            set_aside[why] += 1
            continue
        judged[kind.name] += 1
        for check, item in kind.cases(plan.checks.values()):
            seen = replace(transcript, scenario=item.name, exchanges=(exchange,))
            result = judge_case(plan, check, (item,), {item.name: seen})
            if result.verdict != "not-applicable":
                tallies.setdefault(check.id, _Tally()).add(index, item, result)
    told = [tally.result(transcript.scenario) for tally in tallies.values()]
    results = [result for result, _ in told]
    results += _of_the_whole(plan, transcript)
    return UnderLoad(
        tuple(sorted(results, key=lambda item: item.check)),
        len(transcript.exchanges),
        dict(sorted(judged.items())),
        dict(sorted(set_aside.items())),
        {result.check: item.name for result, item in told},
    )


async def ask_alone(
    plan: Plan, secrets: Mapping[str, str], run: str, found: Mapping[str, str]
) -> dict[tuple[str, str], str]:
    """Ask without load for what findings under load are about; return the verdicts of ``alone``.

    ``found`` maps checks to scenarios. It makes the requests of each of these scenarios once: few,
    whatever the load was.
    """
    scenarios = {
        item.name: item for name, read in found.items() for item in plan.checks[name].on
        if item.name == read
    }  # fmt: skip
    transcripts: dict[str, Transcript] = {}

    def keep(transcript: Transcript) -> None:
        transcripts[transcript.scenario] = transcript

    await record_plan(replace(plan, scenarios=tuple(scenarios.values())), secrets, run, keep)
    return {
        (name, read): judge_case(plan, plan.checks[name], (scenarios[read],), transcripts).verdict
        for name, read in found.items()
    }


def tell_alone(under: UnderLoad, alone: Mapping[tuple[str, str], str]) -> UnderLoad:
    """Say of each finding whether it comes with load only; ``alone`` has verdicts without load."""
    told = []
    for item in under.results:
        verdict = alone.get((item.check, under.read_as.get(item.check, "")))
        if verdict is not None and item.verdict in FINDINGS:
            said = (
                "broken without load as well"
                if verdict in FINDINGS
                else ONLY_UNDER_LOAD
                if verdict == "pass"
                else f"without load it is {verdict}"
            )
            told.append(replace(item, reason=f"{said}; {item.reason}"))
        else:
            told.append(item)
    return replace(under, results=tuple(told))


def _aside(exchange: Exchange) -> str:
    """Return why an exchange is not judged; nothing when it is."""
    response = exchange.response
    if exchange.ended == "refused":
        return "no connection"
    if response is None:
        return ""
    if response.status in REFUSES_LOAD:
        return "refused for load (429, 503, 529)"
    # The generator stops at what it cannot read on; what is missing then is not the target's fault.
    if exchange.ended in ("cancelled", "too-large") and not response.error:
        return "not read to its end by the generator"
    return ""


class _Tally:
    """The results of one check, one for each answer."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[int, Scenario, Result]] = {}
        self._counts: Counter[str] = Counter()

    def add(self, index: int, item: Scenario, result: Result) -> None:
        self._counts[result.verdict] += 1
        self._first.setdefault(result.verdict, (index, item, result))

    def result(self, name: str) -> tuple[Result, Scenario]:
        """Tell the results as one: the worst, where it was first seen, and in how many answers."""
        verdict = min(self._first, key=_RANK.index)
        index, item, first = self._first[verdict]
        count, total = self._counts[verdict], self._counts.total()
        seen = f"{count} of {total} sampled answers"
        told = replace(
            first,
            case=name,
            scenarios=(name,),
            reason="" if verdict == "pass" else "; ".join(filter(None, (first.reason, seen))),
            seen="; ".join(filter(None, (first.seen, seen))) if verdict == "pass" else "",
            at=replace(first.at, exchange=index, scenario=name) if first.at else None,
        )
        return told, item


def _of_the_whole(plan: Plan, transcript: Transcript) -> list[Result]:
    """Judge the checks that are made for load: they read all answers together."""
    claims = {need: why for need, why in plan.missing.items() if need != UNDER_LOAD}
    made = []
    for check in plan.checks.values():
        for item in check.on:
            if UNDER_LOAD in item.needs:
                seen = {item.name: replace(transcript, scenario=item.name)}
                requirement = plan.requirement(check)
                result = judge(check, (item,), seen, requirement, plan.profile, claims)
                at = replace(result.at, scenario=transcript.scenario) if result.at else None
                name = transcript.scenario
                made.append(replace(result, case=name, scenarios=(name,), at=at))
    return made
