"""Profiles are read strictly, and say at which level a target is held to a rule."""

from pathlib import Path

import pytest

from gateproof import profile as module
from gateproof.errors import GateproofError, UsageError
from gateproof.profile import Override, Profile, load_profile, profile_names
from gateproof.requirement import Level, find_requirement

TEXT = """
name = "a"
title = "A"
document = "a.yaml"
base_path = "/v1"
auth = "bearer"
claims = ["chat"]
"""
OVERRIDE = '[[override]]\nrequirement = "usage.sum"\nreason = "So it says."\n'


@pytest.mark.parametrize("name", profile_names())
def test_each_profile_loads(name: str) -> None:
    """Each profile loads under its name and claims chat."""
    profile = load_profile(name)

    assert (profile.name, "chat" in profile.claims) == (name, True)


def test_an_unknown_profile_is_answered_with_the_valid_ones() -> None:
    """A wrong profile name raises a usage error that lists the valid names."""
    with pytest.raises(UsageError, match=r"'opnai'.\n.*openai, osmapi"):
        load_profile("opnai")


@pytest.mark.parametrize(
    ("profile", "requirement", "level", "departs"),
    [
        pytest.param("openai", "err.envelope", Level.MUST, False, id="as registered"),
        pytest.param("osmapi", "err.envelope", Level.INFO, True, id="departs"),
        pytest.param("osmapi", "usage.present", Level.MUST, False, id="tightened"),
        pytest.param("osmapi", "tool.choice.required", Level.SHOULD, False, id="relaxed"),
    ],
)
def test_level_of(profile: str, requirement: str, level: Level, departs: bool) -> None:  # noqa: FBT001  # a table's column
    """An override changes a rule's level; a departure is never above INFO."""
    loaded, rule = load_profile(profile), find_requirement(requirement)

    assert (loaded.level_of(rule), loaded.departs_from(rule)) == (level, departs)


@pytest.mark.parametrize(
    ("profile", "requirement", "concerns"),
    [("openai", "OSM-43", False), ("osmapi", "OSM-43", True), ("osmapi", "usage.sum", True)],
)
def test_concerns(profile: str, requirement: str, concerns: bool) -> None:  # noqa: FBT001  # a table's column
    """A vendor's own statements concern its profile only; the others concern all."""
    assert load_profile(profile).concerns(find_requirement(requirement)) is concerns


def test_a_file_becomes_a_profile(tmp_path: Path) -> None:
    """A file becomes a profile with its overrides and options."""
    file = tmp_path / "a.toml"
    options = '[options]\nusage_sums = [["prompt_tokens", "completion_tokens"]]\n'
    file.write_text(TEXT + options + OVERRIDE + "departs = true\n", encoding="utf-8")

    assert module._read_profile(file) == Profile(
        name="a",
        title="A",
        document="a.yaml",
        base_path="/v1",
        auth="bearer",
        claims=frozenset({"chat"}),
        overrides=(Override("usage.sum", "So it says.", departs=True),),
        options={"usage_sums": [["prompt_tokens", "completion_tokens"]]},
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("name =", "a.toml is not TOML", id="not toml"),
        pytest.param(TEXT + "x = 1", "a.toml: unknown key 'x'", id="unknown key"),
        pytest.param(TEXT.replace('title = "A"', ""), "a.toml: no title", id="no title"),
        pytest.param(TEXT.replace('name = "a"', 'name = "b"'), "its name is 'b'", id="other name"),
        pytest.param(TEXT.replace('"chat"', '"chta"'), "unknown capability 'chta'", id="claim"),
        pytest.param(
            TEXT.replace('"chat"', '"upstream"'), "unknown capability 'upstream'", id="upstream"
        ),
        pytest.param(TEXT.replace("bearer", "basic"), "unknown auth 'basic'", id="auth"),
        pytest.param(TEXT + 'extends = "x"', "unknown profile 'x'", id="extends"),
        pytest.param(TEXT + "[options]\nx = []", "unknown option 'x'", id="option"),
        pytest.param(TEXT + OVERRIDE, "wanted level, or departs = true", id="neither"),
        pytest.param(
            TEXT + OVERRIDE + 'departs = true\nlevel = "INFO"', "wanted level, or", id="both"
        ),
        pytest.param(TEXT + OVERRIDE + 'level = "LOW"', "unknown level 'LOW'", id="level"),
        pytest.param(
            TEXT + OVERRIDE.replace("sum", "smu") + "departs = true",
            "unknown requirement 'usage.smu'",
            id="requirement",
        ),
        pytest.param(
            TEXT + OVERRIDE.replace("So it says.", "") + "departs = true",
            "override of usage.sum: no reason",
            id="no reason",
        ),
        pytest.param(
            TEXT + 2 * (OVERRIDE + "departs = true\n"), "overridden twice", id="two overrides"
        ),
    ],
)
def test_a_malformed_profile_is_named(tmp_path: Path, text: str, said: str) -> None:
    """A malformed profile is an error that names the file and what is wrong."""
    file = tmp_path / "a.toml"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(GateproofError) as caught:
        module._read_profile(file)

    assert said in str(caught.value)
