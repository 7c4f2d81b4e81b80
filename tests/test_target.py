"""A target names what is tested and where its secrets are; it never holds one."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateproof.errors import UsageError
from gateproof.target import (
    Target,
    Upstream,
    check_url,
    check_variable,
    is_loopback,
    origin_of,
    read_secrets,
)

TARGET = Target(name="t", url="http://127.0.0.1:4000/v1", profile="openai", key_env="MY_KEY")


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("http://localhost:1/v1", True),
        ("http://LOCALHOST./v1", True),
        ("http://api.localhost/", True),
        ("http://127.0.0.1/", True),
        ("http://127.9.9.9:8080/v1", True),
        ("http://[::1]:4000/v1", True),
        ("http://localhost.example.com/", False),
        ("http://127.0.0.1.example.com/", False),
        ("http://127.example.com/", False),
        ("http://10.0.0.1/", False),
        ("http://0.0.0.0/", False),
        ("http://[::2]/", False),
        ("http://[::1:2]/", False),
        ("", False),
    ],
)
def test_loopback_is_this_machine_alone(url: str, wanted: bool) -> None:  # noqa: FBT001  # a column of the table
    """Only a host that cannot be another machine counts as this one."""
    assert is_loopback(url) == wanted


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("http://Example.COM/v1", "http://example.com"),
        ("HTTP://example.com:80/v1", "http://example.com"),
        ("https://example.com:443", "https://example.com"),
        ("https://example.com:80/v1", "https://example.com:80"),
        ("http://[::1]:4000/v1", "http://[::1]:4000"),
    ],
)
def test_an_origin_is_written_in_one_way(url: str, wanted: str) -> None:
    """Scheme, host and port are the same text for the same origin."""
    assert origin_of(url) == wanted


@pytest.mark.parametrize(
    "url",
    ["", "localhost:4000", "127.0.0.1/v1", "ftp://x/", "http://", "http:///v1", "http://:4000",
     "http://x:99999/v1", "http://x:0", "http://x:port/", "http://[::1", "http://[x]/",
     "http://ex ample/", "http://example/a b", "http://example/\n", "http://exa\u202emple/",
     "http://..", "http://-x-/", "http://é.example/", "http://256.1.1.1/", "http://1.2.3/",
     "http://%41/", "mailto:a@b"],
)  # fmt: skip
def test_what_is_no_base_url_is_refused(url: str) -> None:
    """What is no base URL is the caller's error, shown with an example."""
    with pytest.raises(UsageError) as caught:
        check_url(url)

    assert str(caught.value) == (
        f"Not a usable target URL: {url!r}.\n"
        "  Give the base URL with scheme, host and path, such as http://127.0.0.1:4000/v1."
    )


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://user:hunter22@x/v1", "The target URL carries a user name or a password."),
        ("http://sk-secret@x/v1", "The target URL carries a user name or a password."),
        ("http://@x/v1", "The target URL carries a user name or a password."),
        ("http://x/v1?key=hunter22", "The target URL has a query or a fragment."),
        ("http://x/v1#top", "The target URL has a query or a fragment."),
        ("http://x/v1?", "The target URL has a query or a fragment."),
    ],
)
def test_a_url_with_more_than_a_place_is_refused(url: str, message: str) -> None:
    """A URL that may hold a secret is refused, and not shown."""
    with pytest.raises(UsageError) as caught:
        check_url(url)

    assert caught.value.message == message
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("http://127.0.0.1:4000/v1/", "http://127.0.0.1:4000/v1"),
        ("https://api.example.com", "https://api.example.com"),
        ("http://[::1]:4000/v1", "http://[::1]:4000/v1"),
        ("http://my_gateway.internal/v1//", "http://my_gateway.internal/v1"),
    ],
)
def test_a_base_url_loses_its_last_slash(url: str, wanted: str) -> None:
    """A base URL is kept as given, without the slash at its end."""
    assert check_url(url) == wanted


@given(st.from_regex(r"https?://[ -~]{1,12}(:[0-9]{1,5})?(/[ -~]{0,5})?", fullmatch=True))
def test_what_is_taken_can_be_sent_to(url: str) -> None:
    """Any base URL that is taken is one that the HTTP client takes as well."""
    try:
        good = check_url(url)
    except UsageError:
        return

    assert httpx.URL(good + "/chat/completions").host


def test_a_secret_is_read_from_its_variable() -> None:
    """Each variable is read once, for the key and for secret headers."""
    target = Target(
        name="t",
        url="http://x",
        profile="openai",
        key_env="A_KEY",
        secret_headers={"x-one": "A_KEY", "x-two": "B_KEY"},
    )

    assert target.variables == ("A_KEY", "B_KEY")
    assert read_secrets(target, {"A_KEY": " secret-1\n", "B_KEY": "secret-2", "C": "x"}) == {
        "A_KEY": "secret-1",
        "B_KEY": "secret-2",
    }


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, "Target 't' takes its key from $MY_KEY, which is not set."),
        ({"MY_KEY": "  "}, "Target 't' takes its key from $MY_KEY, which is not set."),
        (
            {"MY_KEY": "hunter22\nx"},
            "The value of $MY_KEY has characters that no HTTP header can carry.",
        ),
        (
            {"MY_KEY": "hunter22é"},
            "The value of $MY_KEY has characters that no HTTP header can carry.",
        ),
        (
            {"MY_KEY": "hunte"},
            (
                "The secret in $MY_KEY is 5 characters long; at least 6 are needed to find and "
                "cover it in what is recorded."
            ),
        ),
    ],
    ids=["not set", "empty", "line break", "not ASCII", "short"],
)
def test_an_unusable_secret_is_refused(environ: dict[str, str], message: str) -> None:
    """A missing or unusable secret is the caller's error, and its value is not shown."""
    with pytest.raises(UsageError) as caught:
        read_secrets(TARGET, environ)

    assert caught.value.message == message
    assert caught.value.hint
    assert "hunte" not in str(caught.value)


def test_a_secret_given_as_a_name_is_not_shown() -> None:
    """Whoever gives the key itself for its variable's name does not see it printed."""
    with pytest.raises(UsageError) as caught:
        check_variable("sk-hunter22", "--key-env")

    assert caught.value.message.startswith("--key-env is not the name of an environment variable")
    assert "hunter22" not in str(caught.value)


def test_a_model_stands_for_a_use() -> None:
    """A use without a model of its own is done by the chat model."""
    target = Target(name="t", url="http://x", profile="p", models={"chat": "a", "tools": "b"})

    assert [target.model(use) for use in ("chat", "tools", "vision")] == ["a", "b", "a"]
    assert TARGET.model() == "gpt-4o-mini"


def test_a_profile_names_models_for_uses_that_the_target_does_not() -> None:
    """The target's own model for a use goes first, then the profile's, then the chat model."""
    target = Target(name="t", url="http://x", profile="p", models={"chat": "a", "tools": "b"})
    defaults = {"chat": "c", "tools": "d", "embeddings": "e"}

    assert [target.model(use, defaults) for use in ("chat", "tools", "embeddings", "vision")] == [
        "a", "b", "e", "a",
    ]  # fmt: skip
    assert [TARGET.model(use, defaults) for use in ("chat", "vision")] == ["c", "c"]


def test_an_upstream_model_carries_behaviours() -> None:
    """Behaviours are added to the base model, and the target's own prefix around them."""
    upstream = Upstream("http://x", "mock/{name}", "base")

    assert upstream.model("drop-done", "ttft=5") == "mock/base+drop-done+ttft=5"
    assert upstream.model() == "mock/base"
    assert Upstream("http://x").model("drop-done", default="m") == "m+drop-done"
