"""From the options of a verb to the target that they name."""

import argparse

from gateproof.errors import UsageError
from gateproof.settings import target_of_options
from gateproof.target import Target

__all__ = ["target_of"]


def target_of(args: argparse.Namespace) -> Target:
    """Return the target of a verb's options; naming none is the caller's error."""
    if not args.target:
        raise UsageError(
            "No target is named.",
            "Give --target with a base URL, or with a name in gateproof.toml. "
            "`gateproof audit` without one audits the bundled reference server.",
        )
    return target_of_options(args, args.config)
