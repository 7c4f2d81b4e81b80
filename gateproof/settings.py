"""From what a caller names (a target's name or a URL, and options) to a target."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from gateproof.errors import UsageError, unknown_name
from gateproof.target import CONFIG_NAME, Target, Upstream, check_url, load_targets, origin_of

__all__ = ["resolve_target"]


def resolve_target(  # each is an option of the command line
    named: str,
    *,
    file: Path | None = None,
    profile: str | None = None,
    key_env: str | None = None,
    model: str | None = None,
    upstream: str | None = None,
    upstream_models: str | None = None,
    allow_origins: Sequence[str] = (),
) -> Target:
    """Return the target that is named; options beside the name override what its table says.

    With ``allow_origins`` a target that takes secrets must have one of these origins, so that a
    changed file cannot send a secret elsewhere.
    """
    if "://" in named:
        target = Target(name=_name_of(named), url=check_url(named), profile=profile or "openai")
    else:
        targets = load_targets(file or Path(CONFIG_NAME))
        if named not in targets:
            raise unknown_name("target", named, targets)
        target = targets[named]
        if profile:
            target = dataclasses.replace(target, profile=profile)
    if key_env:
        target = dataclasses.replace(target, key_env=key_env)
    if model:
        target = dataclasses.replace(target, models={**target.models, "chat": model})
    if upstream:
        base = target.upstream.base if target.upstream else "gpt-4o-mini"
        models = upstream_models or (target.upstream.models if target.upstream else "{name}")
        target = dataclasses.replace(
            target, upstream=Upstream(check_url(upstream, "upstream URL"), models, base)
        )
    allowed = {origin_of(check_url(origin, "origin")) for origin in allow_origins}
    if allowed and target.variables and target.origin not in allowed:
        raise UsageError(
            f"Target {target.name!r} would send ${', $'.join(target.variables)} to "
            f"{target.origin}, which --allow-origin does not name.",
            f"Allowed: {', '.join(sorted(allowed))}.",
        )
    return target


def _name_of(url: str) -> str:
    return origin_of(url).partition("://")[2].replace(":", "-")
