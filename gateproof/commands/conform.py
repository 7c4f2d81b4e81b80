"""``gateproof conform``: pytest with our plugin, out of reach of the user's own pytest set-up."""

import argparse
import os
import sys
import warnings
from pathlib import Path

import pytest

from gateproof.commands.options import target_of
from gateproof.probe import probe
from gateproof.report import write_report
from gateproof.run import new_folder, read_run
from gateproof.suite import room_path
from gateproof.summary import print_summary
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
    secrets = read_secrets(target)
    if target.variables:
        _say(f"${', $'.join(target.variables)} goes to {target.origin} and nowhere else.")
    probe(target, secrets)
    folder = args.out or new_folder(Path("gateproof-runs"), target.name)
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
        "-p",
        "gateproof.plugin",
        f"--target={args.target}",
        f"--run-folder={folder}",
        f"--run-seed={args.seed}",
        f"--cases={args.cases}",
        *(f"--check={name}" for name in args.check),
        *(f"--allow-origin={origin}" for origin in args.allow_origin),
        *(["--allow-partial"] if args.allow_partial else []),
    ]
    for option, value in (
        ("target-file", args.config),
        ("profile", args.profile),
        ("key-env", args.key_env),
        ("model", args.model),
        ("upstream", args.upstream),
        ("upstream-models", args.upstream_models),
    ):
        if value is not None:
            options.append(f"--{option}={value}")
    kept = _isolate()
    try:
        with warnings.catch_warnings():
            status = int(pytest.main([*options, str(room_path("suites"))]))
    finally:
        os.environ.update(kept)
    return (folder if (folder / "run.jsonl").exists() else None), status


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
