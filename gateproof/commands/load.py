"""``gateproof load SCENARIO``: a load run against a target, its samples, figures and report."""

import argparse
import contextlib
import json
import sys
import uuid
from pathlib import Path
from typing import Any

from gateproof.commands.limits import limits_into, told_limits
from gateproof.commands.options import target_of
from gateproof.commands.search import BUDGET_SPENT, search_into
from gateproof.commands.underload import broken_under_load, judge_kept
from gateproof.errors import TargetError, UsageError
from gateproof.kneerun import check_search
from gateproof.limitlab.documented import with_limits
from gateproof.live import Live
from gateproof.loadfile import overrides_of, plan_for, plan_of, profile_settings
from gateproof.loadrun import (
    LoadRun,
    budget_spent,
    check_load,
    in_vain,
    later_runs,
    run_load,
)
from gateproof.measure import LoadSummary
from gateproof.plan import LoadPlan
from gateproof.probe import probe
from gateproof.profile import load_profile
from gateproof.report import write_report
from gateproof.run import RunWriter, claim_folder, new_folder, read_run
from gateproof.summary import kept, print_summary, told
from gateproof.target import Target, read_secrets

__all__ = ["BUDGET_SPENT", "load_into", "load_plan", "run"]


def run(args: argparse.Namespace) -> int:
    """Run one scenario and write its report; an invalid run ends with status 1."""
    target = target_of(args)
    secrets = read_secrets(target)
    profile = load_profile(target.profile)
    plan = load_plan(target, target.model("chat", profile.models), args)
    check_load(_load_run(Path(), target, plan, args))
    if plan.search:
        check_search(plan)
    if args.web and (plan.search or plan.limits):
        raise UsageError(
            "Locust's page shows one load run, and a search or a look for limits is another thing.",
            "Leave --web out.",
        )
    if not plan.limits:  # what the probe takes of a limit would be missing in it
        probe(target, secrets)
    if args.out:
        folder = claim_folder(args.out)
    else:
        folder = new_folder(Path("gateproof-runs"), f"{target.name}-{plan.scenario}")
    writer = RunWriter(folder)
    try:
        writer.header(
            "load", uuid.uuid4().hex[:12], target, profile, plan.seed,
            sys.argv[1:],
        )  # fmt: skip
        status, why = _make(writer, target, plan, args)
        broken = broken_under_load(read_run(folder))
        if broken and not status:
            status, why = 1, f"{told(broken, 'promise')} broken under load"
        writer.footer(status, why)
    except TargetError as error:
        writer.note(f"The load run failed. {error.message}")
        writer.footer(error.exit_status, "the target was never reached")
        write_report(folder)
        raise
    except KeyboardInterrupt:
        sys.stderr.write(kept(folder, transcripts=False))
        raise
    finally:
        writer.close()
    page = write_report(folder)
    if args.json:
        made = read_run(folder)
        rows = made.searches if plan.search else made.limits if plan.limits else made.loads
        sys.stdout.write(json.dumps(rows[-1]["summary"], indent=1) + "\n")
    else:
        if plan.limits:
            sys.stdout.write(told_limits(read_run(folder)))
        print_summary(read_run(folder), page)
    return status


def _make(
    writer: RunWriter, target: Target, plan: LoadPlan, args: argparse.Namespace
) -> tuple[int, str]:
    """Do what a plan asks for; return the exit status, and why it is not 0."""
    place = f"load/{plan.scenario}"
    one = _load_run(writer.folder / place, target, plan, args)
    if plan.search:
        try:
            _, status, why = search_into(writer, one, place, _tell, args.for_rate)
        except KeyboardInterrupt:
            judge_kept(writer, plan.scenario, plan, target, ask=False)
            raise
        judge_kept(writer, plan.scenario, plan, target)
        return status, why
    if plan.limits:
        return limits_into(writer, one, place, Live(plan, verbose=getattr(args, "verbose", False)))
    summary = load_into(writer, target, plan, args)
    return _status(summary, writer.folder / place)


def load_into(
    writer: RunWriter, target: Target, plan: LoadPlan, args: argparse.Namespace
) -> LoadSummary:
    """Make a load run inside a run folder and add its summary to the run file.

    After Ctrl-C what was measured and kept until then is judged and added, nothing more is asked,
    and KeyboardInterrupt goes on.
    """
    place = f"load/{plan.scenario}"
    folder = writer.folder / place
    live = Live(plan, verbose=getattr(args, "verbose", False))
    try:
        summary = run_load(_load_run(folder, target, plan, args), live.take)
    except KeyboardInterrupt:
        with contextlib.suppress(OSError, ValueError):
            row = json.loads((folder / "load.json").read_text("utf-8"))
            _write_load(writer, target, plan, plan.scenario, row, ask=False)
        writer.note("The load run was interrupted; its figures are of what came until then.")
        raise
    finally:
        live.close()
    _write_load(writer, target, plan, plan.scenario, summary.as_json())
    for later in later_runs(folder):
        with contextlib.suppress(OSError, ValueError):
            row = json.loads((later / "load.json").read_text("utf-8"))
            _write_load(writer, target, plan, f"{plan.scenario}/{later.name}", row)
    if why := in_vain(folder):
        writer.note(f"The load of {plan.scenario} was ended early: {why}.")
    # A 200 is the target's own answer, however wrong: then the run has found something.
    begun = any("200" in error["statuses"] for error in summary.errors)
    if not summary.requests["answered"] and summary.errors and not begun:
        raise TargetError(
            f"Not one request of {plan.scenario} was answered: "
            + "; ".join(f"{row['says']} ({row['count']})" for row in summary.errors),
            f"The samples are in {folder}.",
        )
    return summary


def _write_load(
    writer: RunWriter,
    target: Target,
    plan: LoadPlan,
    name: str,
    row: dict[str, Any],
    *,
    ask: bool = True,
) -> None:
    """Write one run's figures, and judge what it kept of its answers."""
    talk = sum(item["count"] for item in row["errors"] if item["kind"] == "cross-talk")
    under = None
    try:
        under = judge_kept(writer, name, plan, target, talk, ask=ask)
    finally:  # a second Ctrl-C leaves the figures
        writer.load(name, f"load/{name}", {**row, "conformance": under} if under else row)


def load_plan(target: Target, model: str, args: argparse.Namespace) -> LoadPlan:
    """Resolve the scenario that is named, the target's budget, and the options over both."""
    profile = load_profile(target.profile)
    about = profile_settings(profile)
    about["models"] |= target.models
    about["models"].pop("chat", None)
    about |= {"headers": dict(target.headers), "secret_headers": dict(target.secret_headers)}
    given = about | overrides_of(args)
    plan = plan_of(args.scenario, target=target.url, model=model, within=target.budget, **given)
    plan = with_limits(plan, target.profile, target.keys, target.clock_scale)
    return plan_for(profile, plan)


def _load_run(folder: Path, target: Target, plan: LoadPlan, args: argparse.Namespace) -> LoadRun:
    allowed = [*args.allow_origin, *([target.origin] if target.load_allowed else [])]
    page = _show_page if getattr(args, "web", False) else None
    return LoadRun(
        plan,
        folder,
        target.key_env,
        tuple(allowed),
        calibrate=not args.no_calibration,
        page=page,
        processes=getattr(args, "processes", 1),  # an audit has one
    )


def _show_page(address: str) -> None:
    sys.stderr.write(
        f"Locust's page: {address}\nIt stays when the load is over. Ctrl-C ends it, and the report "
        "is written.\n"
    )
    sys.stderr.flush()


def _status(summary: LoadSummary, folder: Path) -> tuple[int, str]:
    """Tell the exit status of a run, and why it is not 0."""
    spent = budget_spent(folder)
    if spent:
        return BUDGET_SPENT, f"the budget ended the load: {spent}"
    if not summary.valid:
        return 1, "the load run is not valid"
    wanted, got = summary.plan.get("goodput"), (summary.goodput or {}).get("share")
    if wanted is not None and (got is None or got < wanted):
        told = "no request was judged" if got is None else f"{got:.2%} of requests were"
        return 1, f"goodput missed: {told} inside all SLOs, wanted {wanted:.2%}"
    return 0, ""


def _tell(text: str) -> None:
    """Show one line about a search in place of the last; nothing where no terminal is."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
