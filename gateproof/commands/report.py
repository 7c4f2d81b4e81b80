"""``gateproof report RUN``: write a recorded run's page and summaries anew."""

import argparse
import sys

from gateproof.report import write_report

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Write the report of a run folder and print where its page is."""
    page = write_report(args.run)
    sys.stdout.write(f"{page}\n")
    return 0
