"""Options beside a target's name override its table, and secrets stay where they may go."""

from pathlib import Path
from typing import Any

import pytest

from gateproof.budget import Budget
from gateproof.errors import UsageError
from gateproof.settings import resolve_target
from gateproof.target import Login, Target, Upstream

FILE = """
[targets.local]
url = "http://127.0.0.1:4000/v1"
profile = "osmapi"
key = { env = "MY_KEY" }
models = { chat = "a", tools = "b" }
upstream = { url = "http://127.0.0.1:9090", models = "mock/{name}", base = "m" }
"""
LOCAL: dict[str, Any] = {
    "name": "local",
    "url": "http://127.0.0.1:4000/v1",
    "profile": "osmapi",
    "key_env": "MY_KEY",
    "models": {"chat": "a", "tools": "b"},
    "upstream": Upstream("http://127.0.0.1:9090", "mock/{name}", "m"),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write a file with one target."""
    path = tmp_path / "gateproof.toml"
    path.write_text(FILE, "utf-8")
    return path


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({}, {}),
        ({"profile": "openai"}, {"profile": "openai"}),
        ({"key_env": "OTHER"}, {"key_env": "OTHER"}),
        ({"model": "c"}, {"models": {"chat": "c", "tools": "b"}}),
        (
            {"upstream": "http://127.0.0.1:1/"},
            {"upstream": Upstream("http://127.0.0.1:1", "mock/{name}", "m")},
        ),
        (
            {"upstream_models": "x/{name}"},
            {"upstream": Upstream("http://127.0.0.1:9090", "x/{name}", "m")},
        ),
        ({"allow_origins": ["http://127.0.0.1:4000/other"]}, {"load_allowed": True}),
        ({"budget": "requests=7"}, {"budget": Budget(requests=7)}),
        ({"plan_keys": ["basic=BASIC_KEY"]}, {"keys": {"basic": "BASIC_KEY"}}),
        ({"login": "demo:MY_PASSWORD"}, {"login": Login("demo", "MY_PASSWORD")}),
    ],
)
def test_options_override_the_table(
    options: dict[str, Any], changes: dict[str, Any], file: Path
) -> None:
    """An option changes its own part of a target that stands in a file, and no other."""
    assert resolve_target("local", file=file, **options) == Target(**{**LOCAL, **changes})


def test_a_url_is_a_target() -> None:
    """A base URL alone is a target of the openai profile, named for its origin."""
    assert resolve_target("http://127.0.0.1:4000/v1/") == Target(
        name="127.0.0.1-4000", url="http://127.0.0.1:4000/v1", profile="openai"
    )
    assert resolve_target(
        "http://127.0.0.1:4000/v1", upstream="http://127.0.0.1:9", upstream_models="x/{name}"
    ).upstream == Upstream("http://127.0.0.1:9", "x/{name}")


@pytest.mark.parametrize(
    ("named", "options", "says"),
    [
        ("lokal", {}, ["Unknown target: 'lokal'.", "Known: local."]),
        ("127.0.0.1:4000", {}, ["Not a usable target URL: '127.0.0.1:4000'."]),
        ("api.example.com/v1", {}, ["Not a usable target URL: 'api.example.com/v1'."]),
        ("local", {"upstream": "9090"}, ["Not a usable upstream URL: '9090'."]),
        ("local", {"upstream_models": "x"}, ["--upstream-models has no {name} in it: 'x'."]),
        ("http://127.0.0.1", {"upstream_models": "{name}"}, ["without an upstream", "--upstream"]),
        ("local", {"key_env": "sk-hunter22"}, ["--key-env is not the name of"]),
        ("local", {"allow_origins": ["x"]}, ["Not a usable origin: 'x'."]),
        (
            "local",
            {"allow_origins": ["http://127.0.0.1:4001", "https://127.0.0.1:4000"]},
            [
                "would send $MY_KEY to http://127.0.0.1:4000",
                "Allowed: http://127.0.0.1:4001, https://127.0.0.1:4000.",
            ],
        ),
    ],
)
def test_a_wrong_option_is_named(
    named: str, options: dict[str, Any], says: list[str], file: Path
) -> None:
    """A wrong option is the caller's error; it is named, and no secret is shown."""
    with pytest.raises(UsageError) as caught:
        resolve_target(named, file=file, **options)

    assert [text for text in says if text not in str(caught.value)] == []
    assert "hunter22" not in str(caught.value)


def test_without_secrets_any_origin_is_allowed() -> None:
    """An origin is pinned for secrets alone: a target that takes none may stand anywhere."""
    got = resolve_target("http://127.0.0.1:1/v1", allow_origins=["http://127.0.0.1:2"])

    assert got.variables == ()
