"""The registry and the checks hold each other: no judgment without a rule, no rule in vain."""

import pytest

from gateproof.profile import GROUPS, load_profile, profile_names
from gateproof.requirement import load_requirements
from gateproof.scenario import Scenario
from gateproof.suite import load_checks, scenarios_of

CHECKS = load_checks()
ROWS = load_requirements()
SCENARIOS = scenarios_of(list(CHECKS.values()))
WAITS = "not yet judged: "


def test_every_check_has_a_requirement() -> None:
    """A check enforces a rule of the registry that is not excused."""
    wrong = [
        item.id
        for item in CHECKS.values()
        if item.requirement not in ROWS or ROWS[item.requirement].excused
    ]

    assert wrong == []


def test_every_requirement_is_judged_or_excused() -> None:
    """A rule is judged by checks that exist, or says why nothing judges it."""
    wrong = {
        row.id: missing
        for row in ROWS.values()
        if (missing := [name for name in row.judged_by if name not in CHECKS])
        or not (row.judged_by or row.excused)
    }

    assert wrong == {}


def test_what_is_judged_does_not_wait() -> None:
    """No statement says that it waits for checks that are all there."""
    stale = {
        row.id: row.excused
        for row in ROWS.values()
        if row.excused.startswith(WAITS)
        and all(name in CHECKS for name in row.excused.removeprefix(WAITS).split(", "))
    }

    assert stale == {}


@pytest.mark.parametrize("name", profile_names())
def test_every_statement_of_a_vendor_reaches_its_profile(name: str) -> None:
    """What judges a vendor's statement can judge a target of that vendor's profile."""
    profile = load_profile(name)
    has = profile.claims_with(profile.groups) | {"upstream"}
    out_of_reach = {
        (row.id, check)
        for row in ROWS.values()
        if row.profile == name
        for check in row.judged_by
        if ROWS[check].capability not in has or not profile.concerns(ROWS[check])
    }

    assert out_of_reach == set()


@pytest.mark.parametrize("item", SCENARIOS, ids=[item.name for item in SCENARIOS])
def test_opt_in_scenarios_tell_what_they_ask(item: Scenario) -> None:
    """A scenario that changes the account or meets limits says how many requests it makes."""
    costly = {"keys.manage", "login", "rate-limits", "tiers"}

    assert not item.needs & costly or item.requests > 0


def test_every_group_is_in_some_profile() -> None:
    """No group is explained that no profile has."""
    used = {group for name in profile_names() for group in load_profile(name).groups}

    assert sorted(used) == sorted(GROUPS)
