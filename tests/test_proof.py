"""Every check is proven: each fault of the reference server kills exactly the listed checks.

Each test records and judges one batch of rows, on a server of its own.
"""

from collections.abc import Iterator, Sequence

import pytest
from gateproof.reference_server.app import listing

from gateproof.kills import Expectation, load_elsewhere, load_kills, load_unheld
from gateproof.prove import Server, plan_rows, prove, serving
from gateproof.suite import load_checks

KILLS = load_kills()


def _cover(rows: Sequence[Expectation]) -> list[Expectation]:
    """Choose the healthy servers, and few faults that together kill every check once."""
    chosen = [row for row in rows if not row.fault]
    open_ = {check for row in rows for check in row.kills}
    while open_:
        best = max(rows, key=lambda row: len(open_ & row.kills))
        chosen.append(best)
        open_ -= best.kills
    return chosen


def _batches(rows: Sequence[Expectation]) -> Iterator[tuple[str, list[Expectation]]]:
    """Share the rows of each table out, so that several processes can take them."""
    for group in dict.fromkeys(row.group for row in rows):
        own = [row for row in rows if row.group == group]
        for at in range(0, len(own), _BATCH):
            yield f"{group}-{at // _BATCH + 1}", own[at : at + _BATCH]


# The whole matrix is `gateproof prove`, which CI runs as well.
_BATCH = 20
BATCHES = dict(_batches(_cover(plan_rows(Server("", listing()), KILLS))))


@pytest.mark.timeout(240)  # each records all its rows
@pytest.mark.parametrize("name", BATCHES)
def test_faults_kill_exactly_what_is_listed(name: str) -> None:
    """Under a fault the listed checks have a finding, and no others; under none, no check has."""
    with serving() as server:
        outcomes = list(prove(server, BATCHES[name], load_checks()))

    told = {
        f"{outcome.row.name}: {text}": outcome.why(text.rpartition(" ")[2])
        for outcome in outcomes
        for text in outcome.complaints
    }

    assert told == {}
    assert [outcome.row.name for outcome in outcomes] == [row.name for row in BATCHES[name]]


def test_list_kills_each_check() -> None:
    """Each check is killed by some row of the list, found by generation, or shown elsewhere."""
    shown = {check for row in KILLS for check in (*row.kills, *row.finds)} | set(load_elsewhere())

    assert set(load_checks()) - shown == set()


def test_list_tells_checks_apart() -> None:
    """No two checks are killed by the very same rows."""
    rows: dict[str, set[str]] = {}
    for row in KILLS:
        for check in row.kills:
            rows.setdefault(check, set()).add(row.name)
    found = [frozenset(names) for names in rows.values()]

    assert [sorted(names) for names in set(found) if found.count(names) > 1] == []


def test_checks_shown_elsewhere_exist() -> None:
    """The kill list excuses no check that is not there."""
    assert [name for name in load_elsewhere() if name not in load_checks()] == []


def test_faults_that_nothing_holds_exist() -> None:
    """A fault is said to break no rule only where it exists and kills nothing."""
    known = {row["name"] for row in listing() if row["kind"] == "fault"}
    held = {row.fault.partition(":")[0].partition("=")[0] for row in KILLS}

    assert [name for name in load_unheld() if name not in known or name in held] == []


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
