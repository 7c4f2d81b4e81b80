"""``gateproof prove``: the kill matrix, and what it leaves open."""

import argparse
import json
import sys
import time
from collections.abc import Sequence

from gateproof.kills import GENERATIVE, load_kills
from gateproof.prove import Gaps, Outcome, gaps, plan_rows, prove, serving, to_json
from gateproof.suite import load_checks, select

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Prove the checks, print what came of it, and return 0 when nothing is left to say."""
    checks = select(load_checks(), args.check)
    started = time.monotonic()
    with serving() as server:
        rows = plan_rows(server, load_kills(), profile=args.profile, faults=args.fault)
        if args.check:
            wanted = checks.keys()
            rows = tuple(row for row in rows if row.group != GENERATIVE or row.finds & wanted)
        progress = _Progress(len(rows))
        outcomes = prove(server, rows, checks, progress.done)
        progress.end()
        whole = not args.profile and not args.fault
        open_ = gaps(server, outcomes, checks) if whole else None
    wrong = any(outcome.complaints for outcome in outcomes)
    if open_ is not None:
        wrong = wrong or bool(open_.unproven or open_.alike)
    if args.json:
        sys.stdout.write(json.dumps(to_json(outcomes, open_), indent=1) + "\n")
    else:
        if args.matrix:
            _print_matrix(outcomes)
        _print_outcomes(outcomes)
        if open_ is not None:
            _print_gaps(open_)
        _print_summary(outcomes, len(checks), time.monotonic() - started, wrong=wrong)
    return 1 if wrong else 0


class _Progress:
    """One line of a terminal that counts the rows."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.count = 0
        self.shown = sys.stderr.isatty()

    def done(self, outcome: Outcome) -> None:
        """Count a row."""
        self.count += 1
        if self.shown:
            sys.stderr.write(f"\r\x1b[K{self.count}/{self.total} {outcome.row.name}")
            sys.stderr.flush()

    def end(self) -> None:
        """Leave the line."""
        if self.shown:
            sys.stderr.write("\r\x1b[K")


def _say(text: str = "") -> None:
    sys.stdout.write(text + "\n")


def _print_outcomes(outcomes: Sequence[Outcome]) -> None:
    width = max((len(outcome.row.name) for outcome in outcomes), default=0)
    for outcome in outcomes:
        killed = sorted(outcome.row.finds or outcome.killed)
        told = ", ".join(killed) if killed else "no finding"
        untestable = len(outcome.having("untestable"))
        more = f" ({untestable} untestable)" if untestable else ""
        mark = "✗" if outcome.complaints else "✓"
        _say(f"{mark} {outcome.row.name:<{width}}  {told}{more}")
        for complaint in outcome.complaints:
            _say(f"    {complaint}")
            why = outcome.why(complaint.rpartition(" ")[2])
            if why and not complaint.startswith(("missed", "not ")):
                _say(f"      {why}")


def _print_matrix(outcomes: Sequence[Outcome]) -> None:
    """Print, for each check, the faults that kill it."""
    killers: dict[str, list[str]] = {}
    for outcome in outcomes:
        for check in outcome.states:
            killers.setdefault(check, [])
        for check in outcome.killed:
            killers[check].append(outcome.row.name)
    width = max((len(check) for check in killers), default=0)
    for check, names in sorted(killers.items()):
        _say(f"{check:<{width}}  {', '.join(names)}")
    _say()


def _print_gaps(open_: Gaps) -> None:
    for check in open_.unproven:
        _say(f"✗ {check}: no fault kills it, so it is no check")
    for same in open_.alike:
        _say(f"✗ {' = '.join(same)}: no fault tells them apart")
    if open_.unlisted:
        _say(f"Faults of the server that no check is held to: {', '.join(open_.unlisted)}.")


def _print_summary(
    outcomes: Sequence[Outcome], checks: int, seconds: float, *, wrong: bool
) -> None:
    kinds = [outcome.row.kind for outcome in outcomes if outcome.row.fault]
    oddities = kinds.count("oddity")
    bad = sum(1 for outcome in outcomes if outcome.complaints)
    end = f"{bad} rows differ from the list" if bad else "as listed"
    _say(
        f"{checks} checks, {len(kinds) - oddities} faults, {oddities} oddities: "
        f"{end if wrong else 'all killed, and no wolf cried'} ({seconds:.1f} s)"
    )
