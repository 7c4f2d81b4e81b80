"""Runs the rate-limit lab in the load generator's process, and gives what it found."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gateproof.errors import TargetError
from gateproof.limitlab.plan import parse_limits
from gateproof.loadrun import LoadRun, generate, tail

__all__ = ["announce", "read_found", "run_limits"]


def announce(run: LoadRun) -> str:
    """Say what a look for limits may spend at the most, before it begins."""
    limits = parse_limits(run.plan.limits, f"{run.plan.scenario}, limits")
    budget = run.plan.budget
    requests = min(limits.most_requests, budget.get("requests") or limits.most_requests)
    tokens = min(limits.most_tokens, budget.get("tokens") or limits.most_tokens)
    dearest = max(run.plan.prices.values(), default=0.0)
    money = f", {tokens * dearest / 1e6:.2f} USD" if dearest else ""
    window_s = limits.real_s(limits.longest_window_s)
    return (
        f"Looks for rate limits with at most {requests:,} requests and {tokens:,} tokens{money}; "
        f"the key that it uses up is refused meanwhile, for windows of up to {window_s:g} s."
    )


def run_limits(
    run: LoadRun, progress: Callable[[Mapping[str, Any]], None] | None = None
) -> dict[str, Any]:
    """Look for rate limits, and return what ``limits.json`` says of them.

    Raises UsageError for what cannot be run, and TargetError when nothing was answered.
    """
    generate(run, progress)
    try:
        found = read_found(run.out_dir)
    except (OSError, ValueError):
        raise RuntimeError(f"The lab wrote nothing: {tail(run.out_dir)}") from None
    if not found["limits"] and not found["none"]:
        raise TargetError(
            f"Nothing was found of limits: {found['stopped'] or 'no request was answered'}.",
            f"What the generator wrote is in {run.out_dir}.",
        )
    return found


def read_found(folder: Path) -> dict[str, Any]:
    """Read what a look for limits has written."""
    found: dict[str, Any] = json.loads((folder / "limits.json").read_text("utf-8"))
    return found
