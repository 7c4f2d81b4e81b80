"""Every check is proven: each fault of the reference server kills exactly the listed checks.

All rows that were selected are recorded and judged once, on one server, before the first test; a
test then looks at its own row.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest
from gateproof.reference_server.app import listing

from gateproof.prove import (
    Gaps,
    Outcome,
    Server,
    gaps,
    load_elsewhere,
    load_kills,
    plan_rows,
    prove,
    serving,
)
from gateproof.suite import load_checks

KILLS = load_kills()
ROWS = {row.name: row for row in plan_rows(Server("", listing()), KILLS)}


@dataclass(frozen=True, slots=True)
class Proof:
    """What came of the rows that some test needs, and what they leave open."""

    outcomes: Mapping[str, Outcome]
    gaps: Gaps


@pytest.fixture(scope="module")
def proof(request: pytest.FixtureRequest) -> Iterator[Proof]:
    """Record and judge the rows of all selected tests."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    wanted = {item.callspec.params["name"] for item in items if _is_row(item)}
    whole = any(item.originalname == "test_nothing_is_left_open" for item in items)
    rows = [row for name, row in ROWS.items() if whole or name in wanted]
    checks = load_checks()
    with serving() as server:
        outcomes = prove(server, rows, checks)
        yield Proof(
            {outcome.row.name: outcome for outcome in outcomes}, gaps(server, outcomes, checks)
        )


def _is_row(item: pytest.Function) -> bool:
    return item.originalname == "test_fault_kills_exactly_what_is_listed"


@pytest.mark.timeout(240)  # the first one records everything
@pytest.mark.parametrize("name", list(ROWS))
def test_fault_kills_exactly_what_is_listed(proof: Proof, name: str) -> None:
    """Under a fault the listed checks have a finding, and no others; under none, no check has."""
    outcome = proof.outcomes[name]

    told = {text: outcome.why(text.rpartition(" ")[2]) for text in outcome.complaints}

    assert told == {}


@pytest.mark.timeout(240)
def test_nothing_is_left_open(proof: Proof) -> None:
    """Each check is killed by some fault, and no two checks by the same faults."""
    assert (proof.gaps.unproven, proof.gaps.alike) == ((), ())


def test_checks_shown_elsewhere_exist() -> None:
    """The kill list excuses no check that is not there."""
    assert [name for name in load_elsewhere() if name not in load_checks()] == []


def test_list_names_checks_that_exist() -> None:
    """The kill list names no check that is not there."""
    named = {
        check
        for row in KILLS
        for check in (*row.kills, *row.inconclusive, *row.finds, *row.untestable, *row.departs)
    }
    checks = load_checks()

    unknown = [n for n in named if "*" not in n and n.removeprefix("!") not in checks]

    assert unknown == []
