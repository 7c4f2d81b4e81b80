"""``gateproof audit``: conformance and a short load run against one target, then one report.

Without a target it starts the bundled reference server and audits that, as gateway and as its own
controlled upstream.
"""

import argparse
import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from gateproof.bundled import DEMO_KEY_ENV, bundled_server
from gateproof.commands.conform import conform
from gateproof.commands.listing import rows_of
from gateproof.commands.load import BUDGET_SPENT, load_into, load_plan
from gateproof.commands.options import target_of
from gateproof.commands.underload import broken_under_load
from gateproof.errors import TargetError, UsageError, unknown_name
from gateproof.loadrun import budget_spent
from gateproof.profile import load_profile
from gateproof.report import write_report
from gateproof.run import INTERRUPTED, RunWriter, new_folder, read_run
from gateproof.summary import kept, print_summary
from gateproof.target import is_loopback

__all__ = ["run"]

# What the bundled server's load run looks like: an answer that a reader would wait for.
PACED = ("ttft=150", "itl=20", "tokens=64")


def run(args: argparse.Namespace) -> int:
    """Audit a target, or the bundled server when none is named."""
    if args.target and args.faults:
        raise UsageError("--faults is for the bundled server.", "Leave out --target, or --faults.")
    with contextlib.nullcontext() if args.target else _bundled(args):
        args.scenario = "chat-steady"
        args.out = args.out or new_folder(Path("gateproof-runs"), _name(args.target))
        folder, status = conform(args)
        if folder is None:
            return status
        if not args.no_load:
            status = _load(args, folder, status)
        report = write_report(folder)
    if args.json:
        sys.stdout.write((folder / "summary.json").read_text("utf-8"))
    else:
        print_summary(read_run(folder), report)
    return status


@contextlib.contextmanager
def _bundled(args: argparse.Namespace) -> Iterator[None]:
    """Start the reference server and make it the target that ``args`` names."""
    profile = args.profile or "openai"
    base_path = load_profile(profile).base_path
    known = {row["id"] for row in rows_of("faults")} if args.faults else set()
    for fault in filter(None, args.faults.split("+")):
        name = re.split("[:=]", fault, maxsplit=1)[0]
        if name not in known:
            raise unknown_name("fault", name, known)
    with bundled_server() as server:
        faults = f"/with/{args.faults}" if args.faults else ""
        args.profile = profile
        args.target = f"{server.url}{faults}/{profile}{base_path}"
        args.key_env = args.key_env or DEMO_KEY_ENV
        args.upstream = server.url
        args.upstream_models = "{name}"
        yield


def _load(args: argparse.Namespace, folder: Path, status: int) -> int:
    """Add a load run to the run folder, unless the target may not be loaded."""
    target = target_of(args)
    writer = RunWriter.resume(folder)
    try:
        if not is_loopback(target.url) and not (target.load_allowed and target.budget):
            writer.note(
                f"No load run was made: {target.origin} is not on this machine. If you may load "
                "it, say so in its table of gateproof.toml: load_allowed = true, and "
                "budget = { requests = 1000, usd = 5 }."
            )
            return status
        plain = target.model("chat", load_profile(target.profile).models)
        model = target.upstream.model(*PACED) if target.upstream else plain
        try:
            plan = load_plan(target, model, args)
            load_into(writer, target, plan, args)
            status = status or (1 if broken_under_load(read_run(folder)) else 0)
            if budget_spent(folder / "load" / plan.scenario):
                status = status or BUDGET_SPENT
        except TargetError as error:
            writer.note(f"The load run failed. {error.message}")
            status = status or 1
        except KeyboardInterrupt:
            writer.footer(INTERRUPTED, "interrupted while load was made")
            sys.stderr.write(kept(folder))
            raise
        writer.footer(status)
    finally:
        writer.close()
    return status


def _name(target: str | None) -> str:
    return "reference-server" if target is None else target.partition("://")[2] or target
