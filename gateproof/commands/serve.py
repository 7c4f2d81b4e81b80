"""``gateproof serve``: the reference server in the foreground, with its own options."""

import argparse
import os
import sys

from gateproof.bundled import DEMO_KEY

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Become the reference server; it says in one line of JSON where it listens."""
    rest = list(args.rest)
    while rest[:1] == ["--"]:
        del rest[0]
    if not {"-h", "--help", "--list-faults"} & set(rest):
        sys.stderr.write(
            f"gateproof: the reference server takes the key {DEMO_KEY}; Ctrl-C ends it.\n"
        )
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, "-m", "gateproof.reference_server", *rest]
    os.execv(sys.executable, command)  # noqa: S606  # our own module, in our own place
