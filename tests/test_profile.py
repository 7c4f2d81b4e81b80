"""Profiles are read strictly, and say at which level a target is held to a rule."""

from pathlib import Path

import pytest

from gateproof import profile as module
from gateproof.errors import GateproofError, UsageError
from gateproof.profile import Override, Profile, load_profile, profile_names
from gateproof.requirement import Level, find_requirement, load_requirements

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
    """Each profile loads under its name and claims a way to get answers."""
    profile = load_profile(name)

    assert (profile.name, bool({"chat", "messages"} & profile.claims)) == (name, True)


@pytest.mark.parametrize("name", profile_names())
def test_its_own_words_can_matter(name: str) -> None:
    """What a profile overrides concerns it, and needs a capability that it has."""
    profile = load_profile(name)
    has = profile.claims_with(profile.groups) | {"upstream"}
    rules = [find_requirement(override.requirement) for override in profile.overrides]

    assert [r.id for r in rules if r.capability not in has or not profile.concerns(r)] == []


@pytest.mark.parametrize("name", profile_names())
def test_every_statement_can_matter(name: str) -> None:
    """Each statement of a vendor needs a capability that its profile claims or has in a group."""
    profile = load_profile(name)
    has = profile.claims_with(profile.groups) | {"upstream"}
    own = [rule for rule in load_requirements().values() if rule.profile == name]

    assert [rule.id for rule in own if rule.capability not in has] == []


def test_groups_are_asked_for() -> None:
    """A group's capabilities are claimed only when its name is given."""
    profile = load_profile("openai")

    assert profile.claims_with([]) == profile.claims
    assert profile.claims_with(["images", "audio"]) - profile.claims == {
        "images",
        "transcriptions",
    }


def test_a_profile_with_groups_claims_them() -> None:
    """With groups a profile claims their capabilities too, and tells the group of each."""
    profile = load_profile("losi")
    held = profile.with_groups(["keys"])

    assert held.claims - profile.claims == {"keys.manage"}
    assert (profile.group_of("keys.manage"), profile.group_of("chat")) == ("keys", "")


def test_some_capabilities_follow_from_others() -> None:
    """HTTP is everyone's, and event streams are theirs who stream anything."""
    implied = {
        name: sorted(load_profile(name).claims_with(()) & {"http", "streams"})
        for name in ("openai", "omai")
    }

    assert implied == {"openai": ["http", "streams"], "omai": ["http"]}


def test_a_profile_has_the_models_of_the_one_it_extends() -> None:
    """A vendor's profile asks for the upstream's models where it names none of its own."""
    models = load_profile("osmapi").models

    assert models["embeddings"] == load_profile("openai").models["embeddings"]


def test_an_unknown_group_is_answered_with_the_valid_ones() -> None:
    """A wrong group name raises a usage error that lists the valid names."""
    with pytest.raises(UsageError, match=r"(?s)'image'.*images"):
        load_profile("openai").claims_with(["image"])


def test_an_unknown_profile_is_answered_with_the_valid_ones() -> None:
    """A wrong profile name raises a usage error that lists the valid names."""
    with pytest.raises(UsageError, match=r"'opnai'.\n.*openai"):
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
    override = loaded.override_of(rule)

    assert (loaded.level_of(rule), bool(override and override.departs)) == (level, departs)


@pytest.mark.parametrize(
    ("profile", "requirement", "concerns"),
    [("openai", "OSM-43", False), ("osmapi", "OSM-43", True), ("osmapi", "usage.sum", True)],
)
def test_concerns(profile: str, requirement: str, concerns: bool) -> None:  # noqa: FBT001  # a table's column
    """A vendor's own statements concern its profile only; the others concern all."""
    assert load_profile(profile).concerns(find_requirement(requirement)) is concerns


def test_a_file_becomes_a_profile(tmp_path: Path) -> None:
    """A file becomes a profile with its groups, overrides and options."""
    file = tmp_path / "a.toml"
    groups = '[groups]\nimages = ["images"]\n'
    options = '[options]\nusage_sums = [["prompt_tokens", "completion_tokens"]]\n'
    models = '[models]\nchat = "m"\n'
    file.write_text(
        TEXT + models + groups + options + OVERRIDE + "departs = true\n", encoding="utf-8"
    )

    assert module._read_profile(file) == Profile(
        name="a",
        title="A",
        document="a.yaml",
        base_path="/v1",
        auth="bearer",
        claims=frozenset({"chat", "http"}),
        models={"chat": "m"},
        groups={"images": frozenset({"images"})},
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
        pytest.param(TEXT + "[groups]\nkeys = []", "group keys is []", id="empty group"),
        pytest.param(TEXT + '[groups]\nkeys = "chat"', "group keys is 'chat'", id="no list"),
        pytest.param(TEXT + '[groups]\nx = ["images"]', "unknown group 'x'", id="group"),
        pytest.param(
            TEXT + '[groups]\nkeys = ["chta"]', "unknown capability 'chta'", id="group of what"
        ),
        pytest.param(
            TEXT + '[groups]\nkeys = ["chat"]', "keys has chat, which is", id="claimed anyway"
        ),
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
