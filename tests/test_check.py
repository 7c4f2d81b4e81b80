"""A check judges transcripts and nothing else; whose fault it is, is the type of what it raises."""

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any

import pytest

from gateproof import check as check_module
from gateproof.check import (
    Check,
    Finding,
    Inconclusive,
    Place,
    Result,
    Untestable,
    check,
    expect,
    judge,
)
from gateproof.profile import Override, Profile
from gateproof.requirement import Kind, Level, Requirement
from gateproof.scenario import SCENARIOS, Scenario, Steps, Use, canary_of, scenario
from gateproof.transcript import OWN_ERROR, Ask, Transcript

PROFILE = Profile("p", "P", "p.yaml", "/v1", "bearer", frozenset({"chat"}))
RULE = Requirement(
    "a.rule", Level.MUST, Kind.STANDARD, "chat", "chat", "A rule.", "A page", date(2026, 11, 21)
)


def steps(_: Use) -> Steps:
    """Ask once."""
    yield Ask(path="/x")


ONE = Scenario("one", "Asks once.", steps)
TWO = Scenario("two", "Asks once.", steps, frozenset({"tools"}))
SEEN = Transcript(scenario="one", exchanges=())


@pytest.fixture(autouse=True)
def registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test registries of its own."""
    monkeypatch.setattr(check_module, "CHECKS", {})
    known = dict(SCENARIOS)
    yield
    SCENARIOS.clear()
    SCENARIOS.update(known)


def raising(error: Exception) -> Callable[..., str | None]:
    """Make a check's function that raises."""

    def test_it(*_: Transcript) -> str | None:
        raise error

    return test_it


def judged(
    function: Callable[..., str | None],
    *,
    requirement: Requirement = RULE,
    profile: Profile = PROFILE,
    transcripts: Mapping[str, Transcript] | None = None,
    claims: Mapping[str, str] | None = None,
    case: tuple[Scenario, ...] = (ONE,),
) -> Result:
    """Judge one case of a check with this function."""
    made = Check("a.rule", requirement.id, "A rule.", case, (), frozenset(), function)
    given = {"one": SEEN} if transcripts is None else transcripts
    return judge(made, case, given, requirement, profile, claims or {})


def relaxed(**more: Any) -> Profile:
    """Return the profile with its own word on the rule."""
    return Profile(
        "p", "P", "p.yaml", "/v1", "bearer", frozenset({"chat"}),
        overrides=(Override("a.rule", "its own page", **more),),
    )  # fmt: skip


BROKEN = Finding(wanted="a", got=["b"], at=Place(frame=3))
SHOULD = Requirement(
    "a.rule", Level.SHOULD, Kind.STANDARD, "chat", "chat", "A rule.", "A page", date(2026, 11, 21)
)
FOREIGN = Requirement(
    "a.rule", Level.MUST, Kind.DOCUMENTED, "chat", "chat", "A rule.", "A page", date(2026, 11, 21),
    profile="other",
)  # fmt: skip

# name: (function, options, verdict, level, fields of the result)
VERDICTS: dict[str, tuple[Callable[..., str | None], dict[str, Any], str, str, dict[str, Any]]] = {
    "it passes": (lambda _: None, {}, "pass", "MUST", {}),
    "it tells": (lambda _: "with usage", {}, "pass", "MUST", {"seen": "with usage"}),
    "a MUST is broken": (
        raising(BROKEN), {}, "fail", "MUST",
        {"wanted": "a", "got": "['b']", "at": Place(frame=3)},
    ),
    "a SHOULD is broken": (raising(BROKEN), {"requirement": SHOULD}, "warn", "SHOULD", {}),
    "the profile makes it a SHOULD": (
        raising(BROKEN), {"profile": relaxed(level=Level.SHOULD)}, "warn", "SHOULD",
        {"reason": "its own page"},
    ),
    "the profile makes it an INFO": (
        raising(BROKEN), {"profile": relaxed(level=Level.INFO)}, "info", "INFO", {},
    ),
    "the profile makes it a MUST": (
        raising(BROKEN), {"requirement": SHOULD, "profile": relaxed(level=Level.MUST)},
        "fail", "MUST", {},
    ),
    "the profile departs": (
        raising(BROKEN), {"profile": relaxed(departs=True)}, "departs", "INFO",
        {"reason": "its own page"},
    ),
    "the profile departs and it holds": (
        lambda _: None, {"profile": relaxed(departs=True)}, "pass", "INFO", {},
    ),
    "the profile departs and it cannot be tested": (
        raising(Untestable("it has no error object")), {"profile": relaxed(departs=True)},
        "not-applicable", "INFO", {"reason": "it has no error object; its own page"},
    ),
    "of another profile": (
        raising(BROKEN), {"requirement": FOREIGN}, "not-applicable", "MUST",
        {"reason": "a promise of other alone"},
    ),
    "not claimed": (
        raising(BROKEN), {"claims": {"chat": "p does not claim chat"}}, "not-applicable", "MUST",
        {"reason": "p does not claim chat"},
    ),
    "not recorded": (
        raising(BROKEN), {"transcripts": {}}, "untestable", "MUST",
        {"reason": "scenario one was not recorded"},
    ),
    "not recorded to its end": (
        raising(BROKEN),
        {"transcripts": {"one": Transcript(scenario="one", exchanges=(), problem="no id came")}},
        "untestable", "MUST", {"reason": "scenario one: no id came"},
    ),
    "the scenario broke": (
        raising(BROKEN),
        {"transcripts": {"one": Transcript(scenario="one", exchanges=(), problem=OWN_ERROR + "x")}},
        "error", "MUST", {"reason": "scenario one: gateproof's own error: x"},
    ),
    "nothing to read": (
        raising(Untestable("no stream")), {}, "untestable", "MUST", {"reason": "no stream"},
    ),
    "the model disobeyed": (
        raising(Inconclusive("no call")), {}, "inconclusive", "MUST", {"reason": "no call"},
    ),
    "the check broke": (
        raising(KeyError("x")), {}, "error", "MUST", {"reason": "KeyError: 'x'"},
    ),
    "an assertion is no finding": (
        raising(AssertionError("x")), {}, "error", "MUST", {"reason": "AssertionError: x"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("function", "options", "verdict", "level", "fields"), VERDICTS.values(), ids=VERDICTS
)
def test_what_a_check_raises_is_its_verdict(
    function: Callable[..., str | None],
    options: dict[str, Any],
    verdict: str,
    level: str,
    fields: dict[str, Any],
) -> None:
    """The verdict follows from what was raised, the rule's level here, and what was recorded."""
    got = judged(function, **options)

    assert (got.verdict, got.level, got.check, got.case) == (verdict, level, "a.rule", "one")
    assert {name: getattr(got, name) for name in fields} == fields


def test_a_check_across_scenarios_gets_all_of_them() -> None:
    """A check across scenarios is called once, with a transcript of each, in their order."""
    called = []

    @check("a.rule", across=[ONE, TWO], needs=["usage"])
    def test_both(first: Transcript, second: Transcript) -> None:
        """Both are seen."""
        called.append((first.scenario, second.scenario))

    [made] = check_module.CHECKS.values()
    given = {name: Transcript(scenario=name, exchanges=()) for name in ("one", "two")}
    got = judge(made, made.cases[0], given, RULE, PROFILE, {})

    assert (called, got.case, got.scenarios) == ([("one", "two")], "one+two", ("one", "two"))
    assert check_module.needs_of(made, made.cases[0], RULE) == {"usage", "chat", "tools"}


def test_a_check_on_scenarios_has_a_case_for_each() -> None:
    """A check on scenarios is called once for each of them."""

    @check("a.rule", on=[ONE, TWO])
    def test_each(seen: Transcript) -> None:
        """Each is seen.

        The rest of the docstring is for the reader of the code.
        """
        assert seen

    [made] = check_module.CHECKS.values()

    assert made.cases == ((ONE,), (TWO,))
    assert (made.says, made.requirement) == ("Each is seen.", "a.rule")


def test_a_check_is_made_whole_or_not_at_all() -> None:
    """A check without a rule, with no scenario, or with the id of another is our own mistake."""

    def test_bare(seen: Transcript) -> None:
        assert seen

    def test_told(seen: Transcript) -> None:
        """Is told."""
        assert seen

    def test_other(seen: Transcript) -> None:
        """Is another."""
        assert seen

    with pytest.raises(ValueError, match="no docstring"):
        check("a", on=[ONE])(test_bare)
    with pytest.raises(ValueError, match="either on= or across"):
        check("a")(test_told)
    with pytest.raises(ValueError, match="either on= or across"):
        check("a", on=[ONE], across=[ONE, TWO])(test_told)
    check("a", on=[ONE])(test_told)
    check("a", on=[ONE])(test_told)
    with pytest.raises(ValueError, match="two checks are named 'a'"):
        check("a", on=[ONE])(test_other)
    test_other.__qualname__, test_other.__module__ = test_told.__qualname__, "elsewhere"
    with pytest.raises(ValueError, match="two checks are named 'a'"):
        check("a", on=[ONE])(test_other)


def test_a_scenario_has_one_function() -> None:
    """A scenario is registered under its name; a second function of that name is a mistake."""
    made = scenario("test.once", needs=["chat", "upstream"])(steps)

    assert (made.says, made.journal, made.retry_429) == ("Ask once.", True, True)
    assert scenario("test.once")(steps).name == "test.once"
    with pytest.raises(ValueError, match=r"two scenarios are named 'test.once'"):
        scenario("test.once")(lambda _: iter(()))


def test_a_canary_is_of_one_run_and_one_scenario() -> None:
    """A canary is the same for the same run and scenario, and for no other."""
    words = {canary_of(run, name) for run in ("r", "s") for name in ("a", "b")}

    assert len(words) == 4
    assert canary_of("r", "a") in words
    assert all(word.isalnum() and len(word) == 14 for word in words)


def test_an_expectation_says_what_came() -> None:
    """What came is shown as it is when it is a text, else as a literal, and not without end."""
    expect(1, wanted="x", got="y")
    with pytest.raises(Finding) as text:
        expect(0, wanted="x", got="y\n")
    with pytest.raises(Finding) as long:
        expect([], wanted="x", got=["z" * 1000], at=Place(1, 2, 3))

    assert (text.value.got, text.value.at) == ("y\n", Place())
    assert long.value.got == "['" + "z" * 298 + "… (1004 characters)"
    assert str(long.value).startswith("wanted x; got ['zzz")
