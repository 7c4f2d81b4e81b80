"""``gateproof load SCENARIO``: a load run against a target, its samples, figures and report."""

import argparse
import contextlib
import json
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateproof.commands.options import target_of
from gateproof.errors import TargetError
from gateproof.loadrun import LoadRun, check_load, run_load
from gateproof.measure import LoadSummary
from gateproof.probe import probe
from gateproof.profile import load_profile
from gateproof.report import write_report
from gateproof.run import RunWriter, claim_folder, new_folder, read_run
from gateproof.summary import kept, print_summary
from gateproof.target import Target, read_secrets

__all__ = ["load_into", "run"]

OPEN_MODEL = ("chat-open",)


def run(args: argparse.Namespace) -> int:
    """Run one scenario and write its report; an invalid run ends with status 1."""
    target = target_of(args)
    secrets = read_secrets(target)
    profile = load_profile(target.profile)
    check_load(_load_run(Path(), target, target.model(), args))
    probe(target, secrets)
    if args.out:
        folder = claim_folder(args.out)
    else:
        folder = new_folder(Path("gateproof-runs"), f"{target.name}-{args.scenario}")
    writer = RunWriter(folder)
    try:
        writer.header(
            "load", uuid.uuid4().hex[:12], target, profile, args.seed,
            sys.argv[1:],
        )  # fmt: skip
        summary = load_into(writer, target, target.model(), args)
        status = 0 if summary.valid else 1
        writer.footer(status, "" if summary.valid else "the load run is not valid")
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
        sys.stdout.write(json.dumps(summary.as_json(), indent=1) + "\n")
    else:
        print_summary(read_run(folder), page)
    return status


def load_into(
    writer: RunWriter, target: Target, model: str, args: argparse.Namespace
) -> LoadSummary:
    """Make a load run inside a run folder and add its summary to the run file.

    After Ctrl-C what was measured until then is added, and KeyboardInterrupt goes on.
    """
    place = f"load/{args.scenario}"
    folder = writer.folder / place
    try:
        summary = run_load(_load_run(folder, target, model, args), _progress)
    except KeyboardInterrupt:
        _tell("")
        with contextlib.suppress(OSError, ValueError):
            writer.load(args.scenario, place, json.loads((folder / "load.json").read_text("utf-8")))
        writer.note("The load run was interrupted; its figures are of what came until then.")
        raise
    _tell("")
    writer.load(args.scenario, place, summary.as_json())
    if not summary.requests["answered"] and summary.errors:
        raise TargetError(
            f"Not one request of {args.scenario} was answered: "
            + "; ".join(f"{row['says']} ({row['count']})" for row in summary.errors),
            f"The samples are in {folder}.",
        )
    return summary


def _load_run(folder: Path, target: Target, model: str, args: argparse.Namespace) -> LoadRun:
    is_open = args.scenario in OPEN_MODEL
    return LoadRun(
        scenario=args.scenario,
        target_base_url=target.url,
        model=model,
        out_dir=folder,
        users=None if is_open else args.users,
        rate_per_s=args.rate if is_open else None,
        duration_s=args.seconds,
        key_env=target.key_env,
        seed=args.seed,
        allow_load_origin=target.origin if target.load_allowed else None,
    )


def _progress(row: Mapping[str, Any]) -> None:
    ttft = row.get("ttft_p50_ms")
    shown = f", TTFT p50 {ttft:.0f} ms" if isinstance(ttft, int | float) else ""
    _tell(
        f"load {row['progress_s']:.0f} s: {row['active']} active, "
        f"{row['answered']} answered, {row['failed']} failed{shown}"
    )


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
