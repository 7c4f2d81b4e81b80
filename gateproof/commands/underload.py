"""Judges what a load run kept of its answers; the results go into the run beside its figures.

Used by ``gateproof load`` and ``gateproof audit`` once the load is over.
"""

import asyncio
import contextlib
import datetime as dt
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateproof.budget import Budget, budget_of
from gateproof.conform import Plan, make_plan, waive
from gateproof.kneerun import has_room, rest_of
from gateproof.plan import LoadPlan
from gateproof.profile import Profile, load_profile
from gateproof.run import Run, RunWriter, read_run
from gateproof.suite import load_checks
from gateproof.target import Target, read_secrets
from gateproof.transcript import Transcript
from gateproof.underload import UnderLoad, ask_alone, gather, judge_under_load, tell_alone

__all__ = ["broken_under_load", "judge_kept", "write_results"]


def judge_kept(
    writer: RunWriter,
    scenario: str,
    load: LoadPlan,
    target: Target,
    cross_talk: int = 0,
    *,
    ask: bool = True,
) -> dict[str, Any] | None:
    """Judge the answers that a load run kept, write the results, and return what a summary says.

    Those of all steps of a search are judged together. ``cross_talk`` is how many answers the
    generator found another request's reference in. Nothing is returned where nothing was kept. What
    has a finding is asked for once more without load, within what the load has left of its budget,
    unless the run has judged it so already, or nothing more is to be asked (``ask``).
    """
    place = f"load/{scenario}"
    folders = [writer.folder / place, *sorted((writer.folder / place).glob("step-*"))]
    kept = [folder / "transcripts" for folder in folders]
    profile = load_profile(target.profile)
    use = {
        "model": load.model,
        "models": dict(target.models),
        "profile": profile.name,
        "options": dict(profile.options),
        "cross_talk": cross_talk,
    }
    transcript = gather(kept, place, use)
    if not transcript.exchanges:
        return None
    plan = make_plan(target, profile, load_checks())
    under = judge_under_load(plan, transcript)
    budget = _left(load, folders)
    if budget is not None:  # of the target's own, or of the run
        plan = replace(plan, target=replace(target, budget=budget))
    alone = _alone(writer, plan, under, ask=ask and (budget is None or has_room(budget)))
    transcript = _with(transcript, {"alone": [[*key, said] for key, said in alone.items()]})
    under = tell_alone(under, alone)
    writer.keep(transcript)
    for folder in kept:
        shutil.rmtree(folder, ignore_errors=True)
    write_results(writer, plan, profile, target, under)
    return under.as_json()


def write_results(
    writer: RunWriter, plan: Plan, profile: Profile, target: Target, under: UnderLoad
) -> list[tuple[str, str]]:
    """Write results of checks under load, and the checks that the run does not have yet.

    Verdicts, with what is waived told as waived, and levels are returned.
    """
    pairs: list[tuple[str, str]] = []
    known = read_run(writer.folder).checks
    today = dt.datetime.now(dt.UTC).date()
    for result in under.results:
        if result.check not in known:
            check = plan.checks[result.check]
            requirement = plan.requirement(check)
            writer.check(check, requirement, profile.level_of(requirement))
        waivable = result.verdict in ("fail", "warn", "untestable")
        waiver = waive(result, target, today) if waivable else ""
        writer.result(result, waiver)
        pairs.append(("waived" if waiver else result.verdict, result.level))
    return pairs


def broken_under_load(run: Run) -> int:
    """Count the checks under load that fail, could not be judged, or broke, and are not waived."""
    return sum(
        row["case"].startswith("load/")
        and row["verdict"] in ("fail", "untestable", "error")
        and not row["waiver"]
        for row in run.results
    )


def _left(load: LoadPlan, folders: Sequence[Path]) -> Budget | None:
    """Give what a load has left of its budget; None where it has none."""
    if not load.budget:
        return None
    budget = budget_of(load.budget, "The budget")
    for folder in folders:
        if any(folder.glob("samples.*.bin")):
            budget = rest_of(budget, folder, load.prices)
    return budget


def _alone(
    writer: RunWriter, plan: Plan, under: UnderLoad, *, ask: bool
) -> dict[tuple[str, str], str]:
    """Return the verdicts without load of what has a finding: those of this run, or new ones."""
    known = {
        (row["check"], row["case"]): str(row["verdict"]) for row in read_run(writer.folder).results
    }
    found = {key: known[key] for key in under.found.items() if key in known}
    left = {check: read for check, read in under.found.items() if (check, read) not in found}
    if left and ask:
        with contextlib.suppress(OSError):  # then the findings are told without
            secrets = read_secrets(plan.target)
            found |= asyncio.run(ask_alone(plan, secrets, uuid.uuid4().hex[:12], left))
    elif left:
        writer.note(
            f"What broke under load ({', '.join(sorted(left))}) was not asked for without load: "
            "the run was interrupted, or its budget is spent."
        )
    return found


def _with(transcript: Transcript, use: Mapping[str, Any]) -> Transcript:
    return Transcript(
        scenario=transcript.scenario,
        exchanges=transcript.exchanges,
        use={**transcript.use, **use},
    )
