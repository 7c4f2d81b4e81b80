"""``gateproof report RUN``: write a recorded run's page and summaries anew."""

import argparse
import sys

from gateproof.errors import UsageError
from gateproof.report import write_report, write_tables

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Write the report of a run folder, with ``--csv`` its samples as tables; print the paths."""
    made = [write_report(args.run)]
    if args.csv:
        tables = write_tables(args.run)
        if not tables:
            raise UsageError(
                f"{args.run} holds no load samples.", "Only a run with load has a table."
            )
        made += tables
    sys.stdout.write("".join(f"{path}\n" for path in made))
    return 0
