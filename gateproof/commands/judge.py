"""``gateproof judge RUN``: judge a recorded run again, offline, with today's checks.

The recorded bytes are all that it reads: the target is asked nothing, and generative checks judge
the cases that were recorded. It judges the checks that the run planned, and those new ones whose
scenarios the run happens to hold; what it leaves out it says. Waivers and disclaimed capabilities
are those of the run. What was kept under load is judged as well; figures are told again as they
were.
"""

import argparse
import datetime as dt
import json
import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateproof.check import Check
from gateproof.commands.underload import write_results
from gateproof.conform import judge_all, make_plan, waive
from gateproof.errors import UsageError
from gateproof.profile import load_profile
from gateproof.report import write_report
from gateproof.run import Run, RunWriter, claim_folder, exit_status, read_run, read_transcripts
from gateproof.suite import load_checks, select
from gateproof.summary import print_summary
from gateproof.target import Login, Target, Upstream, Waiver
from gateproof.transcript import Transcript
from gateproof.underload import judge_under_load, tell_alone

__all__ = ["judge_again", "run", "target_of"]


def run(args: argparse.Namespace) -> int:
    """Judge a run folder again into a new one, write its report, print what matters."""
    folder, status = judge_again(args.run, args.out, args.check)
    report = write_report(folder)
    judged = read_run(folder)
    if args.json:
        for row in judged.results:
            sys.stdout.write(json.dumps(row, ensure_ascii=True) + "\n")
    else:
        print_summary(judged, report)
    return status


def judge_again(
    recorded: Path, out: Path | None = None, wanted: Sequence[str] = ()
) -> tuple[Path, int]:
    """Judge a recorded run with today's checks; return the new run folder and the exit status."""
    old = read_run(recorded)
    if not (old.folder / "transcripts").is_dir():
        raise UsageError(
            f"{old.folder} has no transcripts, so there is nothing to judge.",
            "Give a folder that `gateproof conform` or `gateproof audit` wrote.",
        )
    every = read_transcripts(old.folder)
    kept = {name: item for name, item in every.items() if name.startswith("load/")}
    transcripts = {name: item for name, item in every.items() if name not in kept}
    target = target_of(old)
    groups = old.header["profile"].get("groups") or ()
    profile = load_profile(target.profile).with_groups(groups)
    checks, notes = _choose(old, transcripts, wanted, under_load=bool(kept))
    # A waiver of a check that is not judged now excuses nothing here, and is no mistake.
    known = checks.keys() | (old.checks.keys() if kept else set())
    target = replace(target, waivers=tuple(item for item in target.waivers if item.check in known))
    plan = make_plan(target, profile, checks)
    folder = claim_folder(out or _beside(old.folder))
    writer = RunWriter(folder)
    seed = old.header.get("seed")
    writer.header(
        "judge",
        uuid.uuid4().hex[:12],
        target,
        profile,
        seed if isinstance(seed, int) else 0,
        sys.argv[1:],
        groups=groups,
    )
    for check in checks.values():
        requirement = plan.requirement(check)
        writer.check(check, requirement, profile.level_of(requirement))
    for transcript in transcripts.values():
        writer.transcript(transcript)
    today = dt.datetime.now(dt.UTC).date()
    pairs: list[tuple[str, str]] = []
    for result in judge_all(plan, transcripts):
        waivable = result.verdict in ("fail", "warn", "untestable")
        waiver = waive(result, target, today) if waivable else ""
        writer.result(result, waiver)
        pairs.append(("waived" if waiver else result.verdict, result.level))
    pairs += _under_load(writer, target, kept, wanted)
    writer.note(
        f"Run {old.header.get('run')} of {old.header.get('started')}, recorded with gateproof "
        f"{old.header.get('gateproof')}, was judged again; its target was asked nothing."
    )
    for note in notes:
        writer.note(note)
    for rows, write in (
        (old.loads, writer.load),
        (old.searches, writer.search),
        (old.limits, writer.limits),
    ):
        for row in rows:
            # Its samples stay where they are: they can be large, and nothing of them is judged.
            samples = os.path.relpath(old.folder / row["folder"], folder)
            write(row["scenario"], Path(samples).as_posix(), row["summary"])
    status = exit_status(pairs)
    writer.footer(status)
    writer.close()
    return folder, status


def _under_load(
    writer: RunWriter, target: Target, kept: Mapping[str, Transcript], wanted: Sequence[str]
) -> list[tuple[str, str]]:
    """Judge again what was kept under load; return verdicts and levels."""
    if not kept:
        return []
    profile = load_profile(target.profile)
    plan = make_plan(target, profile, select(load_checks(), wanted))
    pairs: list[tuple[str, str]] = []
    for transcript in kept.values():
        writer.keep(transcript)
        alone = {
            (str(check), str(read)): str(said)
            for check, read, said in transcript.use.get("alone") or ()
        }
        under = tell_alone(judge_under_load(plan, transcript), alone)
        pairs += write_results(writer, plan, profile, target, under)
    return pairs


def target_of(run: Run) -> Target:
    """Build the target that a run's header tells of; headers and keys are not needed any more."""
    told: Mapping[str, Any] = run.header["target"]
    try:
        return Target(
            name=told["name"],
            url=told["url"],
            profile=told["profile"],
            key_env=told.get("key_env"),
            models=dict(told.get("models") or {}),
            upstream=Upstream(told["upstream"]) if told.get("upstream") else None,
            disclaims=dict(told.get("disclaims") or {}),
            keys=dict.fromkeys(told.get("plans") or (), ""),
            login=Login("", "") if told.get("login") else None,
            waivers=_waivers(run),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{run.folder}: its header does not tell the target: {error!r}.",
            "Give a folder that this version of gateproof wrote.",
        ) from None


def _waivers(run: Run) -> tuple[Waiver, ...]:
    """Return the waivers that excused something in the run."""
    found = {row["check"]: str(row["waiver"]) for row in run.results if row.get("waiver")}
    return tuple(Waiver(check, reason) for check, reason in found.items())


def _choose(
    old: Run, transcripts: Mapping[str, Transcript], wanted: Sequence[str], *, under_load: bool
) -> tuple[dict[str, Check], list[str]]:
    """Return the checks to judge, and a sentence for each kind that is left out.

    A run that is of load alone planned none; what it kept under load is judged apart.
    """
    if under_load and not transcripts:
        return {}, []
    known = load_checks()
    chosen = select(known, wanted)
    notes = []
    left_out = []
    checks = {}
    for name, check in chosen.items():
        recorded = all(item.name in transcripts for case in check.cases for item in case)
        if name in old.checks or recorded:
            checks[name] = check
        else:
            left_out.append(name)
    if left_out:
        notes.append(
            f"Left out, since this run holds none of their scenarios: {', '.join(left_out)}."
        )
    gone = sorted(set(old.checks) - set(known))
    if gone and not wanted:
        notes.append(f"No longer among the checks: {', '.join(gone)}.")
    if not checks:
        raise UsageError(
            f"{old.folder} holds the scenarios of none of these checks.",
            "Record them: gateproof conform --check ID.",
        )
    return checks, notes


def _beside(folder: Path) -> Path:
    """Return a free name beside a run folder."""
    parent = folder.resolve().parent
    name = f"{folder.resolve().name}-judged"
    for serial in range(1, 1000):
        path = parent / (name if serial == 1 else f"{name}-{serial}")
        if not path.exists():
            return path
    raise UsageError(f"{parent} is full of judged runs.", "Give a place: --out DIR.")
