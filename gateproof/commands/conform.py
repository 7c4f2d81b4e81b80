"""``gateproof conform``: pytest with our plugin, out of reach of the user's own pytest set-up."""

import argparse
import contextlib
import os
import sys
import warnings
from pathlib import Path

import pytest

from gateproof.commands.options import target_of
from gateproof.conform import held_back, make_plan, plan_lines, require_known, split_groups
from gateproof.probe import probe
from gateproof.profile import load_profile
from gateproof.report import write_report
from gateproof.run import claim_folder, new_folder, read_run
from gateproof.suite import load_checks, room_path, select
from gateproof.summary import kept, print_summary
from gateproof.target import read_secrets

__all__ = ["conform", "run"]

_INI = Path(__file__).parent.parent / "conform.ini"


def run(args: argparse.Namespace) -> int:
    """Run the suites, write the report, print what matters."""
    folder, status = conform(args)
    if folder is None:
        return status
    report = write_report(folder)
    if args.json:
        sys.stdout.write((folder / "summary.json").read_text("utf-8"))
    else:
        print_summary(read_run(folder), report)
    return status


def conform(args: argparse.Namespace) -> tuple[Path | None, int]:
    """Run the suites and return the run folder, if one was made, and the exit status."""
    target = target_of(args)
    checks = load_checks()
    groups = split_groups(args.groups)
    profile = load_profile(target.profile).with_groups(groups)
    require_known(target, profile, checks)
    chosen = select(checks, args.check)
    ungenerated = held_back(target)
    plan = make_plan(target, profile, chosen, ungenerated=ungenerated)
    secrets = read_secrets(target)
    if target.variables:
        _say(f"${', $'.join(target.variables)} goes to {target.origin} and nowhere else.")
    probe(target, secrets)
    for line in plan_lines(plan, groups):
        _say(line)
    if ungenerated and any(item.generative for item in chosen.values()):
        _say(f"{ungenerated[:1].upper()}{ungenerated[1:]}.")
    default = Path("gateproof-runs")
    folder = claim_folder(args.out) if args.out else new_folder(default, target.name)
    options = [
        f"--rootdir={_INI.parent}",
        "-c",
        str(_INI),
        "--noconftest",
        "--import-mode=importlib",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:terminal",
        # They collect garbage for a second at the end, and make an error of what they find there.
        "-p",
        "no:unraisableexception",
        "-p",
        "no:threadexception",
        "--assert=plain",
        "-p",
        "gateproof.plugin",
        f"--target={args.target}",
        f"--run-folder={folder}",
        f"--run-verb={args.verb}",
        f"--run-seed={args.seed}",
        f"--cases={args.cases}",
        *(f"--check={name}" for name in args.check),
        *(f"--allow-origin={origin}" for origin in args.allow_origin),
        *(f"--with={group}" for group in groups),
        *(f"--plan-key={pair}" for pair in args.plan_key),
        f"--retry-5xx={args.retry_5xx}",
        *(["--allow-partial"] if args.allow_partial else []),
    ]
    for option, value in (
        ("target-file", args.config),
        ("profile", args.profile),
        ("key-env", args.key_env),
        ("model", args.model),
        ("upstream", args.upstream),
        ("upstream-models", args.upstream_models),
        ("login", args.login),
        ("budget", args.budget),
    ):
        if value is not None:
            options.append(f"--{option}={value}")
    users = _isolate()
    outcome = _Outcome()
    try:
        with warnings.catch_warnings():
            ended = pytest.main([*options, str(room_path("suites"))], plugins=[outcome])
    finally:
        os.environ.update(users)
    if ended == pytest.ExitCode.INTERRUPTED or outcome.interrupted:
        if not _dropped(folder):
            sys.stderr.write(kept(folder))
        raise KeyboardInterrupt
    if outcome.status is None:
        # The plugin never came to a verdict: pytest has said why.
        return None, 2 if ended == pytest.ExitCode.USAGE_ERROR else 4
    return folder, outcome.status


def _dropped(folder: Path) -> bool:
    """Remove a folder in which no run has begun; tell whether it was one."""
    with contextlib.suppress(OSError):
        folder.rmdir()
    return not folder.exists()


class _Outcome:
    """Takes the plugin's own exit status, which pytest's statuses would hide."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.interrupted = False

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Note the status of the run."""
        from gateproof.plugin import STATE  # noqa: PLC0415  # pytest wants to import it first

        state = session.config.stash.get(STATE, None)
        self.status = state.exit_status if state is not None else None

    def pytest_keyboard_interrupt(self) -> None:
        """Note that the run was interrupted."""
        self.interrupted = True


def _isolate() -> dict[str, str]:
    """Take the user's pytest settings out of the environment and return them."""
    kept = {
        name: os.environ.pop(name)
        for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")
        if name in os.environ
    }
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    return kept


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
