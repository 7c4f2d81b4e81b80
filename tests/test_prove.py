"""The proof's own logic: the kill list is read strictly, and rows and gaps are told as they are."""

import dataclasses

import pytest

from gateproof.check import CHECKS, Result
from gateproof.errors import UsageError
from gateproof.kills import Expectation, load_elsewhere, load_kills
from gateproof.prove import Outcome, Server, gaps, plan_rows
from gateproof.suite import load_checks

LIST = """
[openai.drop-done]
kills = ["sse.done-terminator"]
untestable = ["sse.done-literal"]

[openai."drop-field:usage"]
kills = ["usage.present"]

[osmapi.healthy]
departs = ["chat.usage.only-if-asked"]

[osmapi.cost-missing]
kills = ["cost.present"]

[gateway.no-cancel]
kills = ["gateway.cancel-propagates"]

[generative.validation-500]
finds = ["fuzz.no-5xx-on-invalid"]

[elsewhere]
"gateway.key-not-forwarded" = "tests/test_suites_gateway.py: it takes two servers"
"""
TABLE = [
    {"name": "drop-done", "kind": "fault"},
    {"name": "drop-field", "kind": "fault"},
    {"name": "unseen", "kind": "fault"},
    {"name": "crlf", "kind": "oddity"},
]
SERVER = Server("http://127.0.0.1:1", TABLE)


def outcome(row: Expectation, **states: str) -> Outcome:
    """Return an outcome in which checks, whose dots are written as __, have these states."""
    return Outcome(row, {name.replace("__", "."): state for name, state in states.items()}, ())


def test_kill_list_is_read() -> None:
    """A row knows its table, its profile, its fault, and what it does."""
    rows = load_kills(LIST)

    assert [(row.name, row.profile) for row in rows] == [
        ("openai drop-done", "openai"),
        ("openai drop-field:usage", "openai"),
        ("osmapi cost-missing", "osmapi"),
        ("gateway no-cancel", "openai"),
        ("generative validation-500", "openai"),
    ]
    assert rows[0].kills == {"sse.done-terminator"}
    assert rows[2].departs == {"chat.usage.only-if-asked"}
    assert rows[4].finds == {"fuzz.no-5xx-on-invalid"}
    assert list(load_elsewhere(LIST)) == ["gateway.key-not-forwarded"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[opena.x]\nkills = []", "table in kills.toml"),
        ("[openai.x]\nkill = []", "key of openai.x in kills.toml"),
        ("[generative.x]\nkills = []", "key of generative.x in kills.toml"),
    ],
    ids=["table", "key", "key of a generative row"],
)
def test_misspelt_list_is_refused(text: str, told: str) -> None:
    """What the list does not know is an error that names it."""
    with pytest.raises(UsageError, match=told):
        load_kills(text)


def test_rows_are_health_faults_and_oddities() -> None:
    """Each table begins with the healthy server; the first one holds the oddities."""
    rows = plan_rows(SERVER, load_kills(LIST))

    assert [(row.name, row.kind) for row in rows] == [
        ("openai healthy", "healthy"),
        ("openai drop-done", "fault"),
        ("openai drop-field:usage", "fault"),
        ("openai crlf", "oddity"),
        ("osmapi healthy", "healthy"),
        ("osmapi cost-missing", "fault"),
        ("gateway healthy", "healthy"),
        ("gateway no-cancel", "fault"),
        ("generative validation-500", "fault"),
    ]


def test_rows_are_chosen_by_table_and_fault() -> None:
    """A fault is chosen by its whole name or without its parameter, a table by its name."""
    kills = load_kills(LIST)

    chosen = plan_rows(SERVER, kills, profile="openai", faults=["drop-field", "crlf"])

    assert [row.fault for row in chosen] == ["drop-field:usage", "crlf"]


@pytest.mark.parametrize("wrong", [{"profile": "nosuch"}, {"faults": ["nosuch"]}], ids=str)
def test_wrong_choice_is_told(wrong: dict[str, str]) -> None:
    """A wrong table or fault is answered with the right ones."""
    with pytest.raises(UsageError, match="nosuch"):
        plan_rows(SERVER, load_kills(LIST), **wrong)  # type: ignore[arg-type]  # by keyword


ROW = Expectation("openai", "f", kills=frozenset({"a.x"}), untestable=("b.*", "!b.y"))


@pytest.mark.parametrize(
    ("states", "told"),
    [
        ({"a__x": "killed", "b__x": "untestable", "b__y": "pass"}, ()),
        ({"a__x": "pass"}, ("missed by a.x",)),
        ({"a__x": "killed", "c__x": "killed"}, ("cried wolf: c.x",)),
        ({"a__x": "killed", "b__x": "pass"}, ("not untestable: b.x",)),
        ({"a__x": "killed", "b__y": "untestable"}, ("untestable: b.y",)),
        ({"a__x": "killed", "c__x": "inconclusive"}, ("inconclusive: c.x",)),
        ({"a__x": "killed", "c__x": "error"}, ("error in c.x",)),
        ({"c__x": "pass"}, ()),
    ],
    ids=[
        "as listed", "missed", "wolf", "not untestable", "untestable", "inconclusive", "error",
        "not taking part",
    ],
)  # fmt: skip
def test_difference_is_told(states: dict[str, str], told: tuple[str, ...]) -> None:
    """Each check whose state is not the listed one is named, with how it differs."""
    assert outcome(ROW, **states).complaints == told


def test_departure_is_no_finding() -> None:
    """What the profile departs from is found everywhere and told nowhere, unless it is kept."""
    healthy = Expectation("osmapi", "", departs=frozenset({"a.x"}))

    assert outcome(healthy, a__x="killed").complaints == ()
    assert outcome(healthy, a__x="pass").complaints == ("kept, though said to depart: a.x",)


def test_generative_row_must_be_found() -> None:
    """A generative row is content when the named checks find it, whatever others do."""
    row = Expectation("generative", "f", finds=frozenset({"fuzz.x"}))

    assert outcome(row, fuzz__x="killed", fuzz__y="killed").complaints == ()
    assert outcome(row, fuzz__x="pass").complaints == ("not found by fuzz.x",)


def test_worst_case_is_told() -> None:
    """Why a check is in its state is told with the case and the values."""
    finding = Result(
        check="a.x", case="chat.plain", verdict="fail", level="MUST", wanted="one", got="two"
    )
    seen = dataclasses.replace(outcome(ROW, a__x="killed"), results=(finding,))

    assert seen.why("a.x") == "[chat.plain] wanted one; got two"
    assert seen.why("b.x") == ""


def test_gaps_are_found() -> None:
    """Checks that nothing kills, or that nothing tells apart, and unlisted faults are named."""
    load_checks()
    names = ("sse.done-terminator", "sse.done-literal", "usage.sum", "usage.present")
    checks = {name: CHECKS[name] for name in names}
    row = Expectation("openai", "drop-done")
    other = Expectation("openai", "drop-field:usage")
    outcomes = [
        outcome(row, **{"sse__done-terminator": "killed", "sse__done-literal": "killed"}),
        outcome(other, usage__present="killed"),
    ]

    found = gaps(SERVER, outcomes, checks)

    assert found.unproven == ("usage.sum",)
    assert found.alike == (("sse.done-literal", "sse.done-terminator"),)
    assert found.unlisted == ("unseen",)
