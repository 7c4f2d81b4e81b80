"""The registry is read strictly, and every row of it is judged or excused."""

from datetime import date
from pathlib import Path

import pytest

from gateproof.errors import GateproofError, UsageError
from gateproof.profile import profile_names
from gateproof.requirement import (
    CAPABILITIES,
    SURFACES,
    Kind,
    Level,
    Requirement,
    find_requirement,
    load_requirements,
)

ROW = """
[[requirement]]
id = "sse.sample"
level = "MUST"
kind = "standard"
surface = "streaming"
capability = "chat.stream"
rule = "A sample."
source = "A standard, section 1"
read = 2026-11-21
"""

OSMAPI_NUMBERS = (
    *range(1, 13),  # basics and models
    *range(20, 36),  # parameters
    *range(40, 48),  # cost
    *range(50, 55),  # errors and limits
)
STATEMENTS = {
    "LOSI": [
        *(f"{number:02}" for number in range(1, 47)),
        *("25a", "25b", "25c"),  # streaming
        *("29a", "29b", "29c", "29d"),  # deleting a key
        *("30a", "30b"),  # function calling
    ],
    "LUNOS": [*(f"{number:02}" for number in range(1, 64)), "54a"],
    "OMAI": [
        f"{number:02}"
        for numbers in (
            range(1, 7),  # keys and login
            range(10, 19),  # chat
            range(20, 26),  # embeddings
            range(30, 34),  # errors
            range(40, 43),  # limits
            range(50, 53),  # packages and gaps
        )
        for number in numbers
    ],
    "OSM": [f"{number:02}" for number in OSMAPI_NUMBERS],
}
"""The numbers of each vendor's statements."""


def test_a_row_becomes_a_requirement(tmp_path: Path) -> None:
    """A row becomes a requirement, with the defaults of its file under its own keys."""
    text = '[defaults]\nlevel = "INFO"\nimpact = "None."\n' + ROW
    (tmp_path / "a.toml").write_text(text, encoding="utf-8")

    assert dict(load_requirements(tmp_path)) == {
        "sse.sample": Requirement(
            id="sse.sample",
            level=Level.MUST,
            kind=Kind.STANDARD,
            surface="streaming",
            capability="chat.stream",
            rule="A sample.",
            source="A standard, section 1",
            read=date(2026, 11, 21),
            impact="None.",
        )
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("[[requirement", "a.toml is not TOML", id="not toml"),
        pytest.param('extra = "x"\n' + ROW, "a.toml: unknown key 'extra'", id="unknown table"),
        pytest.param(
            '[defaults]\nid = "x.y"\n' + ROW, "defaults: unknown key 'id'", id="default id"
        ),
        pytest.param(ROW + 'levle = "MUST"', "sse.sample: unknown key 'levle'", id="unknown key"),
        pytest.param(ROW + ROW, "sse.sample stands twice", id="two of one id"),
        pytest.param(
            ROW.replace("MUST", "STRICT"), "sse.sample: unknown level 'STRICT'", id="bad level"
        ),
        pytest.param(
            ROW.replace('"standard"', '"hearsay"'), "unknown kind 'hearsay'", id="bad kind"
        ),
        pytest.param(
            ROW.replace('"streaming"', '"stream"'), "unknown surface 'stream'", id="bad surface"
        ),
        pytest.param(
            ROW.replace('"chat.stream"', '"chta"'), "unknown capability 'chta'", id="bad capability"
        ),
        pytest.param(ROW.replace("sse.sample", "Sample"), "Sample: 'Sample' is no id", id="bad id"),
        pytest.param(
            ROW.replace('"A sample."', "7"), "sse.sample: rule is 7, wanted str", id="bad type"
        ),
        pytest.param(ROW.replace('"A sample."', '""'), "sse.sample: no rule", id="empty rule"),
        pytest.param(
            ROW + 'checks = ["sse.other"]', "names the check sse.other", id="unknown check"
        ),
        pytest.param(
            ROW + 'checks = ["sse.sample"]\nexcused = "No."',
            "sse.sample: both checks and excused",
            id="judged and excused",
        ),
        pytest.param(
            ROW + 'checks = ["sse.b"]\n' + ROW.replace("sample", "b") + 'excused = "No."',
            "names the check sse.b, which nothing judges",
            id="excused check",
        ),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, text: str, said: str) -> None:
    """A malformed row is an error that says where it stands and what is wrong."""
    (tmp_path / "a.toml").write_text(text, encoding="utf-8")

    with pytest.raises(GateproofError) as caught:
        load_requirements(tmp_path)

    assert said in str(caught.value)


def test_two_files_cannot_share_an_id(tmp_path: Path) -> None:
    """An id that stands in two files is an error that names the second one."""
    (tmp_path / "a.toml").write_text(ROW, encoding="utf-8")
    (tmp_path / "b.toml").write_text(ROW, encoding="utf-8")

    with pytest.raises(GateproofError, match=r"b\.toml: requirement sse\.sample stands twice"):
        load_requirements(tmp_path)


def test_every_statement_of_the_vendors_is_there() -> None:
    """Each numbered statement of a vendor's pages is a row with its number; there is no other."""
    numbered = [name for name in load_requirements() if name[0].isupper()]
    wanted = [f"{vendor}-{number}" for vendor, numbers in STATEMENTS.items() for number in numbers]

    assert sorted(numbered) == sorted(wanted)


def test_what_is_not_yet_judged_says_by_what() -> None:
    """A statement that waits for checks names them: rows, of which one at least waits too."""
    rows = load_requirements()
    wrong = []
    for row in rows.values():
        waits, _, text = row.excused.partition("not yet judged: ")
        if row.id[0].isupper() and not waits and text:
            names = text.split(", ")
            wrong += [(row.id, name) for name in names if name not in rows]
            if all(not rows[name].excused for name in names if name in rows):
                wrong.append((row.id, "all of them are judged"))

    assert wrong == []


def test_every_row_is_whole() -> None:
    """Each row has a rule and a source in words, a known profile, and used vocabulary."""
    rows = load_requirements().values()

    assert [row.id for row in rows if not row.rule.endswith(".") or len(row.rule) > 240] == []
    assert [row.id for row in rows if row.profile not in ("", *profile_names())] == []
    assert {row.surface for row in rows} == set(SURFACES)
    assert {row.capability for row in rows} <= set(CAPABILITIES)


@pytest.mark.parametrize(
    ("name", "judges"),
    [
        pytest.param("sse.done-terminator", ("sse.done-terminator",), id="its own check"),
        pytest.param("sse.truncation-visible", ("gateway.cut-visible",), id="another check"),
        pytest.param("OSM-47", (), id="excused"),
    ],
)
def test_judged_by(name: str, judges: tuple[str, ...]) -> None:
    """A rule is judged under its own id, by the checks it lists, or by nothing when excused."""
    assert find_requirement(name).judged_by == judges


def test_a_wrong_id_is_answered_with_near_ones() -> None:
    """A misspelt id raises a usage error that offers the right one."""
    with pytest.raises(UsageError, match=r"sse\.done-terminator"):
        find_requirement("sse.done-terminater")
