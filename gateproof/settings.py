"""From what a caller names (a target's name or a URL, and options) to a target."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateproof.budget import parse_budget
from gateproof.config import CONFIG_NAME, load_targets
from gateproof.errors import UsageError, unknown_name
from gateproof.target import Login, Target, Upstream, check_url, check_variable, origin_of

__all__ = ["resolve_target", "target_of_options"]


def resolve_target(  # noqa: PLR0913  # each is an option of the command line
    named: str,
    *,
    file: Path | None = None,
    profile: str | None = None,
    key_env: str | None = None,
    model: str | None = None,
    upstream: str | None = None,
    upstream_models: str | None = None,
    allow_origins: Sequence[str] = (),
    plan_keys: Sequence[str] = (),
    login: str | None = None,
    budget: str | None = None,
) -> Target:
    """Return the target that is named; options beside the name override what its table says.

    With ``allow_origins`` a target that takes secrets must have one of these origins, so that a
    changed file cannot send a secret elsewhere. An origin that they name may also be loaded, and
    be asked generated requests, within a budget.
    """
    if "/" in named or ":" in named:
        target = Target(name=_name_of(check_url(named)), url=check_url(named), profile="openai")
    else:
        target = _from_file(named, file or Path(CONFIG_NAME))
    if profile:
        target = dataclasses.replace(target, profile=profile)
    if key_env:
        target = dataclasses.replace(target, key_env=check_variable(key_env, "--key-env"))
    if model:
        target = dataclasses.replace(target, models={**target.models, "chat": model})
    if upstream:
        known = target.upstream or Upstream("")
        target = dataclasses.replace(
            target,
            upstream=Upstream(check_url(upstream, "upstream URL"), known.models, known.base),
        )
    if upstream_models:
        target = dataclasses.replace(target, upstream=_renamed(target.upstream, upstream_models))
    if plan_keys:
        keys = dict(_pair(text, "=", "--plan-key", "basic=BASIC_KEY") for text in plan_keys)
        target = dataclasses.replace(target, keys={**target.keys, **keys})
    if login:
        target = dataclasses.replace(
            target, login=Login(*_pair(login, ":", "--login", "demo:DEMO_PASSWORD"))
        )
    allowed = {origin_of(check_url(origin, "origin")) for origin in allow_origins}
    if allowed and target.variables and target.origin not in allowed:
        raise UsageError(
            f"Target {target.name!r} would send ${', $'.join(target.variables)} to "
            f"{target.origin}, which --allow-origin does not name.",
            f"Allowed: {', '.join(sorted(allowed))}.",
        )
    if target.origin in allowed:
        target = dataclasses.replace(target, load_allowed=True)
    if budget:
        target = dataclasses.replace(target, budget=parse_budget(budget))
    return target


def target_of_options(options: object, file: Path | None) -> Target:
    """Return the target that the options of a verb, or of pytest, name; they have the same names.

    What a verb has no option for counts as not given.
    """

    def given(name: str) -> Any:
        return getattr(options, name, None)

    return resolve_target(
        given("target"),
        file=file,
        profile=given("profile"),
        key_env=given("key_env"),
        model=given("model"),
        upstream=given("upstream"),
        upstream_models=given("upstream_models"),
        allow_origins=given("allow_origin") or (),
        plan_keys=given("plan_key") or (),
        login=given("login"),
        budget=given("budget"),
    )


def _from_file(named: str, path: Path) -> Target:
    targets = load_targets(path)
    if named not in targets:
        raise unknown_name("target", named, targets)
    return targets[named]


def _renamed(upstream: Upstream | None, models: str) -> Upstream:
    if upstream is None:
        raise UsageError("--upstream-models says nothing without an upstream.", "Add --upstream.")
    if "{name}" not in models:
        raise UsageError(
            f"--upstream-models has no {{name}} in it: {models!r}.",
            "Say where the upstream finds its own model name, such as mock/{name}.",
        )
    return dataclasses.replace(upstream, models=models)


def _pair(text: str, between: str, option: str, example: str) -> tuple[str, str]:
    """Split a name and the variable that holds a secret."""
    name, found, variable = text.partition(between)
    if not (name and found):
        raise UsageError(
            f"{option} wants a name and a variable.", f"Write it as in {option} {example}."
        )
    return name, check_variable(variable, option)


def _name_of(url: str) -> str:
    return origin_of(url).partition("://")[2].replace(":", "-")
