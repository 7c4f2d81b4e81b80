"""Record what the selected checks need, then judge them: the run that plugin and prove share.

It prints nothing; progress goes to a callback.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateproof.budget import Meter
from gateproof.check import Check, Result, judge, needs_of
from gateproof.client import Client
from gateproof.errors import UsageError, unknown_name
from gateproof.profile import GROUPS, Profile
from gateproof.record import record, unclaimed
from gateproof.requirement import Requirement, load_requirements
from gateproof.run import worst
from gateproof.scenario import Scenario
from gateproof.suite import scenarios_of
from gateproof.target import Target, is_loopback
from gateproof.transcript import Transcript

__all__ = [
    "Plan",
    "held_back",
    "judge_all",
    "judge_case",
    "make_plan",
    "patience_notes",
    "plan_lines",
    "record_plan",
    "require_known",
    "split_groups",
    "stale_waivers",
    "waive",
]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do: the checks, why some cannot apply, and the scenarios to record."""

    target: Target
    profile: Profile
    checks: Mapping[str, Check]
    requirements: Mapping[str, Requirement]
    missing: Mapping[str, str]
    scenarios: tuple[Scenario, ...]

    def requirement(self, check: Check) -> Requirement:
        """Return a check's requirement."""
        return self.requirements[check.requirement]


def held_back(target: Target) -> str:
    """Say why no requests are generated for a target; empty when they may be."""
    if is_loopback(target.url) or (target.load_allowed and target.budget):
        return ""
    return (
        f"generated requests are not sent to {target.origin}, which is not on loopback, until you "
        f"name it and set a budget: --allow-origin {target.origin} --budget requests=N"
    )


def make_plan(
    target: Target, profile: Profile, checks: Mapping[str, Check], *, ungenerated: str = ""
) -> Plan:
    """Plan a run; a check without a registered requirement is an error of ours.

    ``ungenerated`` says why no requests may be generated, where they may not be.
    """
    requirements = load_requirements()
    for item in checks.values():
        if item.requirement not in requirements:
            raise unknown_name(f"requirement of check {item.id}", item.requirement, requirements)
    scenarios = scenarios_of(list(checks.values()))
    cases = [
        (
            case,
            requirements[check.requirement],
            needs_of(check, case, requirements[check.requirement]),
        )
        for check in checks.values()
        for case in check.cases
    ]
    missing = unclaimed(profile, target, [needs for _, _, needs in cases])
    missing |= {"generated": ungenerated} if ungenerated else {}
    # A scenario is made when some check that applies reads it.
    wanted = {
        item.name
        for case, requirement, needs in cases
        if profile.concerns(requirement) and not any(need in missing for need in needs)
        for item in case
    }
    return Plan(
        target,
        profile,
        checks,
        requirements,
        missing,
        tuple(item for item in scenarios if item.name in wanted),
    )


def split_groups(given: Iterable[str]) -> tuple[str, ...]:
    """Return the groups that ``--with A,B --with C`` names, each once."""
    names = (name.strip() for text in given for name in text.split(","))
    return tuple(dict.fromkeys(name for name in names if name))


def plan_lines(plan: Plan, groups: Sequence[str]) -> list[str]:
    """Say what a run will do before it does it: what is asked, and what each group adds."""
    lines = [f"{len(plan.checks)} checks read {len(plan.scenarios)} scenarios."]
    for group in groups:
        has = plan.profile.groups[group]
        own = [item for item in plan.scenarios if item.needs & has]
        most = sum(item.requests for item in own)
        bound = f"at most {most} requests" if all(item.requests for item in own) else ""
        told = ", ".join(filter(None, (f"{len(own)} scenarios", bound)))
        lines.append(f"--with {group} ({told}): {GROUPS[group]}.")
    if plan.target.budget is not None:
        lines.append(f"The budget is {plan.target.budget}; when it is spent nothing more is asked.")
    return lines


def patience_notes(transcripts: Iterable[Transcript]) -> list[str]:
    """Return a sentence for the reader where requests were made again; none where none were."""
    again = {
        item.scenario: sum(exchange.attempts - 1 for exchange in item.exchanges)
        for item in transcripts
    }
    found = {name: count for name, count in sorted(again.items()) if count}
    if not found:
        return []
    where = ", ".join(f"{name} ({count})" for name, count in found.items())
    told = f"{sum(found.values())} requests were made again, after a 429 or as --retry-5xx allows; "
    return [f"{told}of each only the last answer was judged: {where}."]


async def record_plan(  # each is its own decision
    plan: Plan,
    secrets: Mapping[str, str],
    run: str,
    on_done: Callable[[Transcript], None],
    *,
    seed: int = 0,
    cases: int = 0,
    patience: int = 2,
    retry_5xx: int = 0,
) -> str:
    """Record a plan's scenarios; say what of the target's budget is spent, if that ended them."""
    budget = plan.target.budget
    async with Client(
        plan.target,
        secrets,
        auth=plan.profile.auth,
        patience=patience,
        retry_5xx=retry_5xx,
        meter=Meter(budget) if budget is not None else None,
    ) as client:
        await record(
            plan.scenarios,
            client,
            plan.profile,
            run,
            on_done,
            seed=seed,
            cases=cases,
        )
        return client.spent


def judge_all(plan: Plan, transcripts: Mapping[str, Transcript]) -> list[Result]:
    """Judge every case of every check."""
    return [
        judge_case(plan, check, case, transcripts)
        for check in plan.checks.values()
        for case in check.cases
    ]


def judge_case(
    plan: Plan, check: Check, case: Sequence[Scenario], transcripts: Mapping[str, Transcript]
) -> Result:
    """Judge one case of one check."""
    return judge(check, case, transcripts, plan.requirement(check), plan.profile, plan.missing)


def waive(result: Result, target: Target, today: dt.date) -> str:
    """Return the reason of the waiver that covers a result, or nothing."""
    for waiver in target.waivers:
        expired = waiver.until is not None and waiver.until < today
        if waiver.check == result.check and not expired:
            return waiver.reason
    return ""


def stale_waivers(target: Target, results: Sequence[Result], today: dt.date) -> list[str]:
    """Return a sentence for each waiver that has expired or that excuses nothing any more."""
    told = []
    for waiver in target.waivers:
        verdicts = [item.verdict for item in results if item.check == waiver.check]
        if waiver.until is not None and waiver.until < today:
            told.append(f"The waiver of {waiver.check} ended on {waiver.until}.")
        elif verdicts and worst(verdicts) in ("pass", "info", "not-applicable"):
            told.append(f"The waiver of {waiver.check} excuses nothing: it passes. Remove it.")
    return told


def require_known(target: Target, profile: Profile, checks: Mapping[str, Check]) -> None:
    """Refuse to waive a check that there is not, or to disclaim what the profile does not claim."""
    for waiver in target.waivers:
        if waiver.check not in checks:
            raise unknown_name(f"check in a waiver of target {target.name!r}", waiver.check, checks)
    for claim in target.disclaims:
        if claim not in profile.claims:
            raise UsageError(
                f"Target {target.name!r} disclaims {claim!r}, which profile {profile.name} "
                "does not claim.",
                f"It claims: {', '.join(sorted(profile.claims))}.",
            )
