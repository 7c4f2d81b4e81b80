"""A plan asks for no more than its checks need, and waivers excuse what they name and no more."""

import dataclasses
import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from gateproof.budget import Budget
from gateproof.check import Result, Verdict
from gateproof.conform import (
    held_back,
    judge_case,
    make_plan,
    patience_notes,
    plan_lines,
    require_known,
    split_groups,
    stale_waivers,
    waive,
)
from gateproof.errors import UsageError
from gateproof.profile import load_profile
from gateproof.suite import load_checks, room_path, scenarios_of, select
from gateproof.target import Target, Waiver
from gateproof.transcript import Ask, Exchange, Transcript

OPENAI = load_profile("openai")
TODAY = dt.date(2026, 11, 21)
PAST = dt.date(2026, 11, 20)


def target(*waivers: Waiver, **disclaims: str) -> Target:
    """Make a target with these waivers and disclaimed capabilities."""
    named = {name.replace("_", "."): reason for name, reason in disclaims.items()}
    return Target(name="t", url="http://x", profile="openai", waivers=waivers, disclaims=named)


def result(check: str, verdict: Verdict) -> Result:
    """Make a result."""
    return Result(check=check, case="c", verdict=verdict, level="MUST")


def test_only_needed_scenarios_are_planned() -> None:
    """Scenarios that only checks out of reach would read are not made."""
    checks = load_checks()
    every = {item.name for item in scenarios_of(list(checks.values()))}
    planned = {item.name for item in make_plan(target(), OPENAI, checks).scenarios}
    chosen = make_plan(target(), OPENAI, select(checks, ["sse.done-terminator"]))

    assert planned < every
    assert not any(
        "upstream" in item.needs for item in make_plan(target(), OPENAI, checks).scenarios
    )
    assert {item.name for item in chosen.scenarios} <= planned
    assert "chat.stream" in {item.name for item in chosen.scenarios}
    assert make_plan(target(chat_stream="not built"), OPENAI, chosen.checks).scenarios == ()


@pytest.mark.parametrize(
    ("url", "more", "held"),
    [
        ("http://127.0.0.1:1/v1", {}, False),
        ("https://gateway.example/v1", {}, True),
        ("https://gateway.example/v1", {"load_allowed": True}, True),
        ("https://gateway.example/v1", {"budget": Budget(requests=9)}, True),
        ("https://gateway.example/v1", {"load_allowed": True, "budget": Budget(usd=Decimal(1))},
         False),
    ],
)  # fmt: skip
def test_nothing_is_generated_for_strangers(url: str, more: dict[str, Any], held: bool) -> None:  # noqa: FBT001  # a column of the table
    """Requests are generated for loopback, or for an origin that is named, within a budget."""
    other = Target(name="t", url=url, profile="openai", **more)
    checks = select(load_checks(), ["fuzz", "chat.answers"])
    plan = make_plan(other, OPENAI, checks, ungenerated=held_back(other))
    generated = [item.name for item in plan.scenarios if item.generative]
    fuzz = checks["fuzz.no-5xx-on-valid"]

    assert ("--allow-origin https://gateway.example" in held_back(other)) == held
    assert (generated == []) == held
    assert any(not item.generative for item in plan.scenarios)
    assert (judge_case(plan, fuzz, fuzz.cases[0], {}).verdict == "not-applicable") == held


@pytest.mark.parametrize(
    ("wanted", "count"),
    [([], None), (["sse.done-terminator"], 1), (["sse.done-terminator", "sse"], None)],
)
def test_checks_are_chosen_by_name_and_beginning(wanted: list[str], count: int | None) -> None:
    """A check is chosen by its id or by a whole part of its beginning."""
    checks = load_checks()
    chosen = select(checks, wanted)

    assert list(chosen) == sorted(chosen)
    assert count in (None, len(chosen))
    assert all(name.startswith(("sse.", "") if not wanted else "sse.") for name in chosen)
    with pytest.raises(UsageError, match="Unknown check: 'ss'"):
        select(checks, ["ss"])


def test_a_room_is_found() -> None:
    """A room's folder is found under its one name."""
    assert (room_path("suites") / "kills.toml").is_file()
    with pytest.raises(RuntimeError, match="the room attic is missing"):
        room_path("attic")


@pytest.mark.parametrize(
    ("waiver", "wanted"),
    [
        (Waiver("a", "ticket"), "ticket"),
        (Waiver("a", "ticket", TODAY), "ticket"),
        (Waiver("a", "ticket", PAST), ""),
        (Waiver("b", "ticket"), ""),
    ],
    ids=["open", "last day", "ended", "of another"],
)
def test_a_waiver_excuses_until_its_day(waiver: Waiver, wanted: str) -> None:
    """A waiver excuses its own check up to and with its last day."""
    assert waive(result("a", "fail"), target(waiver), TODAY) == wanted


@pytest.mark.parametrize(
    ("waiver", "verdicts", "told"),
    [
        (Waiver("a", "x"), ["fail"], []),
        (Waiver("a", "x"), ["warn"], []),
        (Waiver("a", "x"), ["untestable", "pass"], []),
        (Waiver("a", "x"), ["inconclusive"], []),
        (Waiver("a", "x"), [], []),
        (Waiver("a", "x"), ["pass"], ["The waiver of a excuses nothing: it passes. Remove it."]),
        (Waiver("a", "x", PAST), ["fail"], ["The waiver of a ended on 2026-11-20."]),
    ],
    ids=["fails", "warns", "in part", "unclear", "not judged", "passes", "ended"],
)
def test_a_stale_waiver_is_told(waiver: Waiver, verdicts: list[Verdict], told: list[str]) -> None:
    """A waiver that ended or excuses nothing is told; one whose check was not judged is not."""
    results = [result("a", verdict) for verdict in verdicts]

    assert stale_waivers(target(waiver), results, TODAY) == told


def test_what_a_target_names_must_exist() -> None:
    """A waiver of no check and a disclaimed capability that is not claimed are mistakes."""
    checks = load_checks()
    require_known(target(Waiver("sse.done-terminator", "x"), chat_n="x"), OPENAI, checks)
    with pytest.raises(UsageError, match="Unknown check in a waiver of target 't'"):
        require_known(target(Waiver("sse.done", "x")), OPENAI, checks)
    with pytest.raises(UsageError, match="disclaims 'cost', which profile openai does not claim"):
        require_known(target(cost="x"), OPENAI, checks)


def test_groups_are_split() -> None:
    """Groups are named one by one, or several with commas between; each counts once."""
    assert split_groups(["keys,limits", " keys", ","]) == ("keys", "limits")


def test_a_plan_is_told_before_it_is_done() -> None:
    """A plan says how much it asks, and what each group adds and changes."""
    groups = ("keys", "undocumented")
    profile = load_profile("losi").with_groups(groups)
    losi = dataclasses.replace(target(), profile="losi")
    checks = select(load_checks(), ["keys", "chat.answers"])
    first, keys, undocumented = plan_lines(make_plan(losi, profile, checks), groups)

    assert first == f"{len(checks)} checks read 4 scenarios."
    assert keys.startswith("--with keys (3 scenarios, at most 21 requests): creates API keys")
    assert undocumented.startswith("--with undocumented (0 scenarios")


def test_without_its_group_a_check_says_how_to_opt_in() -> None:
    """A check of a group that nobody asked for is not applicable, and says how to ask."""
    losi = dataclasses.replace(target(), profile="losi")
    plan = make_plan(losi, load_profile("losi"), select(load_checks(), ["keys.create"]))

    assert plan.scenarios == ()
    assert plan.missing["keys.manage"].startswith("opt in with --with keys: it creates API keys")


def test_requests_made_again_are_told() -> None:
    """A run tells how many requests it made again, and in which scenarios; none is no note."""
    once, thrice = (
        Exchange(
            ask=Ask(path="/x"),
            url="http://x/x",
            started_ns=0,
            connected_ns=0,
            ended_ns=1,
            ended="closed",
            attempts=attempts,
        )
        for attempts in (1, 3)
    )
    busy = Transcript(scenario="busy", exchanges=(once, thrice))

    assert patience_notes([Transcript(scenario="calm", exchanges=(once,))]) == []
    (note,) = patience_notes([busy])
    assert note.startswith("2 requests were made again")
    assert note.endswith("was judged: busy (2).")
