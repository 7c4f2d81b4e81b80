"""What Locust was asked to do: the options of a load run, and the plan that they come to.

Rules. The plan comes whole (``--plan``) or from a scenario and the options over it; both ways meet
in ``gateproof.loadfile``. Secrets are named by their variables. A target that may not be loaded is
refused here, whoever started the process.
"""

import json
import os
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from gateproof.budget import budget_of
from gateproof.errors import UsageError
from gateproof.limitlab.documented import with_limits
from gateproof.loadfile import (
    OPTIONS,
    load_scenario,
    overrides_of,
    plan_for,
    plan_of,
    profile_settings,
    scenario_names,
)
from gateproof.manners import refuse_foreign
from gateproof.plan import LoadPlan

from .stream import Target

__all__ = ["add_options", "asked_plan", "check_variables", "variables"]

_OF_LOCUST: Final = ("--users",)  # options that Locust has under names of its own


def add_options(parser: ArgumentParser, **_: object) -> None:
    """Add the options of a load run to Locust's own."""
    add = parser.add_argument_group("gateproof").add_argument
    add("--scenario", default="", metavar="NAME|FILE", help=", ".join(scenario_names()))
    add("--plan", default="", metavar="FILE", help="a whole plan (plan.json of a run) instead")
    add("--model", default="gpt-4o-mini", help="the model to ask for")
    add("--target-profile", default="openai", help="what the target claims to be")
    add("--key-env", default="", metavar="NAME", help="the environment variable that holds the key")
    add("--samples", default="", metavar="DIR", help="write samples into this folder")
    add("--allow-origin", default="", metavar="URL", help="an origin beside loopback to be loaded")
    add("--no-calibration", action="store_true", help="do not measure the generator's own error")
    add("--exit-with-stdin", action="store_true", help="stop when standard input ends")
    add("--progress", action="store_true", help="print a line of JSON each second")
    for option in OPTIONS:
        if option.flag not in _OF_LOCUST:
            add(option.flag, default="", metavar=option.metavar, help=option.says)


def asked_plan(environment: Any, users: int | None = None) -> LoadPlan:
    """Resolve what Locust was asked to do; ``users`` are those that its page wants."""
    options = environment.parsed_options
    if options.plan:
        plan = LoadPlan.of(json.loads(Path(options.plan).read_text("utf-8")))
        if users and plan.users is not None:  # as the page wants
            plan = replace(plan, users=users)
    else:
        if not options.scenario:
            raise UsageError(
                "No scenario is named.", f"Give --scenario: {', '.join(scenario_names())}."
            )
        host = environment.host or options.host
        if not host:
            raise UsageError("No target.", "Give it as --host http://127.0.0.1:8080/v1.")
        scenario, given = load_scenario(options.scenario), overrides_of(options, but=_OF_LOCUST)
        if options.run_time:
            given.setdefault("duration_s", float(options.run_time))
        if given.get("arrivals", scenario.arrivals) == "closed" and (users or options.num_users):
            given["users"] = users or options.num_users
        from gateproof.profile import load_profile  # noqa: PLC0415  # a whole plan needs none

        profile = load_profile(options.target_profile)
        given = {**profile_settings(profile), **given}
        plan = plan_of(scenario, target=host, model=options.model, **given)
        plan = plan_for(profile, with_limits(plan, options.target_profile))
    check_variables(plan, options.key_env)
    Target.of(plan.target)
    budget = budget_of(plan.budget, "The budget") if plan.budget else None
    refuse_foreign(plan.target, filter(None, [options.allow_origin]), budget)
    return plan


def check_variables(plan: LoadPlan, key_env: str) -> None:
    """Refuse a plan whose secrets are not in the environment of this process."""
    for name in variables(plan, key_env):
        if not os.environ.get(name):
            raise UsageError(
                f"The environment variable {name} is not set.",
                f"It is to hold the target's key, or a header's value: export {name}=…",
            )


def variables(plan: LoadPlan, key_env: str) -> list[str]:
    """Name the environment variables that hold a plan's secrets."""
    names = [plan.limits.get(name) for name in ("key", "second_key", "stranger_key")]
    return [*filter(None, [key_env, *names]), *plan.secret_headers.values()]
