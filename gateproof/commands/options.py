"""From the options of a verb to the target that they name."""

import argparse

from gateproof.errors import UsageError
from gateproof.settings import resolve_target
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
    return resolve_target(
        args.target,
        file=args.config,
        profile=args.profile,
        key_env=args.key_env,
        model=args.model,
        upstream=args.upstream,
        upstream_models=args.upstream_models,
        allow_origins=args.allow_origin,
        # The load verbs have neither.
        plan_keys=getattr(args, "plan_key", ()),
        login=getattr(args, "login", None),
        budget=getattr(args, "budget", None),
    )
