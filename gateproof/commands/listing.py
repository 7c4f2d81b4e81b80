"""What ``list`` and ``explain`` tell about, as rows of plain values: one function for each kind."""

from collections.abc import Iterable
from typing import Any

from gateproof.bundled import fault_table
from gateproof.check import Check, needs_of
from gateproof.kills import load_kills
from gateproof.loadfile import load_scenario, plan_of, scenario_names
from gateproof.plan import describe
from gateproof.profile import GROUPS, Profile, load_profile, profile_names
from gateproof.requirement import Requirement, load_requirements
from gateproof.suite import load_checks, scenarios_of

__all__ = ["KINDS", "Row", "rows_of"]

Row = dict[str, Any]


def rows_of(what: str, profile: Profile | None = None) -> list[Row]:
    """Return all rows of a kind; with a profile, as that profile sees them."""
    return KINDS[what](profile)


def _checks(profile: Profile | None) -> list[Row]:
    requirements = load_requirements()
    rows = []
    for check in load_checks().values():
        requirement = requirements[check.requirement]
        needs = sorted(_needs(check, requirement))
        row: Row = {
            "id": check.id,
            "level": str(profile.level_of(requirement) if profile else requirement.level),
            "surface": requirement.surface,
            "requirement": requirement.id,
            "says": check.says,
            "needs": needs,
            "scenarios": sorted({item.name for case in check.cases for item in case}),
            "generative": check.generative,
        }
        if profile is not None:
            row["excused"] = _excuse(profile, requirement, needs)
        rows.append(row)
    return rows


def _needs(check: Check, requirement: Requirement) -> frozenset[str]:
    """Return what every case of a check needs."""
    return frozenset.intersection(*(needs_of(check, case, requirement) for case in check.cases))


def _excuse(profile: Profile, requirement: Requirement, needs: list[str]) -> str:
    """Return why a check does not concern a profile, or nothing when it does."""
    if not profile.concerns(requirement):
        return f"a promise of {requirement.profile} alone"
    missing = sorted(_asked(needs) - profile.claims)
    never = [need for need in missing if not profile.group_of(need)]
    if never:
        return f"{profile.name} does not claim {', '.join(never)}"
    groups = sorted({profile.group_of(need) for need in missing})
    return f"opt in with --with {','.join(groups)}" if groups else ""


def _asked(needs: Iterable[str]) -> frozenset[str]:
    """Return what is needed of a profile; an upstream, keys, a login and load are the target's.

    Whether requests may be generated is the operator's word.
    """
    of_target = ("upstream", "credentials", "generated", "load")
    return frozenset(n for n in needs if n not in of_target and not n.startswith("plan:"))


def _requirements(profile: Profile | None) -> list[Row]:
    return [
        {
            "id": item.id,
            "level": str(profile.level_of(item) if profile else item.level),
            "kind": str(item.kind),
            "surface": item.surface,
            "capability": item.capability,
            "profile": item.profile,
            "says": item.rule,
            "source": item.source,
            "read": item.read.isoformat(),
            "impact": item.impact,
            "reading": item.reading,
            "judged_by": list(item.judged_by),
            "excused": item.excused,
        }
        for item in load_requirements().values()
        if profile is None or profile.concerns(item)
    ]


def _scenarios(profile: Profile | None) -> list[Row]:
    checks = load_checks()
    readers: dict[str, list[str]] = {}
    for check in checks.values():
        for name in {item.name for case in check.cases for item in case}:
            readers.setdefault(name, []).append(check.id)
    return [
        {
            "id": item.name,
            "says": item.says,
            "needs": sorted(item.needs),
            "checks": readers[item.name],
        }
        for item in scenarios_of(list(checks.values()))
        if profile is None or _asked(item.needs) <= profile.claims_with(profile.groups)
    ]


def _profiles(profile: Profile | None) -> list[Row]:
    found = [load_profile(name) for name in profile_names()]
    return [
        {
            "id": item.name,
            "says": item.title,
            "document": item.document,
            "extends": item.extends,
            "claims": sorted(item.claims),
            "overrides": [
                {
                    "requirement": own.requirement,
                    "level": str(own.level or ""),
                    "departs": own.departs,
                    "reason": own.reason,
                }
                for own in item.overrides
            ],
        }
        for item in found
        if profile is None or item == profile
    ]


def _groups(profile: Profile | None) -> list[Row]:
    found = [profile] if profile else [load_profile(name) for name in profile_names()]
    return [
        {
            "id": group,
            "says": says,
            "profiles": [item.name for item in found if group in item.groups],
        }
        for group, says in GROUPS.items()
        if any(group in item.groups for item in found)
    ]


def _faults(profile: Profile | None) -> list[Row]:
    kills: dict[str, dict[str, list[str]]] = {}
    for row in load_kills():
        if profile is None or row.profile == profile.name:
            name, _, parameter = row.fault.partition(":")
            label = row.profile + (f", {parameter}" if parameter else "")
            kills.setdefault(name, {}).setdefault(label, []).extend(sorted(row.kills | row.finds))
    # In a process of its own: the core and the server share no code, so they share no mistake.
    return [
        {
            "id": row["name"],
            "kind": row["kind"],
            "says": row["says"],
            "parameter": row["parameter"],
            "kills": kills.get(row["name"], {}),
        }
        for row in fault_table()
    ]


def _loads(profile: Profile | None) -> list[Row]:
    del profile  # every profile has the same ones
    found = [load_scenario(name) for name in scenario_names()]
    return [
        {
            "id": item.name,
            "says": item.says,
            "load": describe(plan_of(item, target="", model="")),
            "file": item.text,
        }
        for item in found
    ]


KINDS = {
    "checks": _checks,
    "requirements": _requirements,
    "scenarios": _scenarios,
    "profiles": _profiles,
    "groups": _groups,
    "faults": _faults,
    "loads": _loads,
}
