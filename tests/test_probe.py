"""Before a run the probe tells a target that can be judged from one that was never reached."""

import socket
from collections.abc import Callable

import pytest

from gateproof import probe as probe_module
from gateproof.errors import GateproofError, TargetError, UsageError
from gateproof.probe import probe
from gateproof.target import Target, Upstream
from tests.liars import Deed, lying, reply, reset


def answer(status: str, body: bytes = b"{}", kind: str = "application/json") -> Deed:
    """Answer with a status and a body."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return reply(head.encode() + body)


LISTED = b'{"data": [{"id": "a-model"}, {"id": "gpt-4o-mini"}]}'
OTHERS = b'{"data": [{"id": "a-model"}, {"id": "b-model"}]}'

# name: (deed, key, models, the error or nothing, what it says)
ANSWERS: dict[
    str, tuple[Deed, str | None, dict[str, str], type[GateproofError] | None, list[str]]
] = {
    "an API": (answer("200 OK", LISTED), "MY_KEY", {}, None, []),
    "an API that refuses what was asked": (answer("400 No"), "MY_KEY", {}, None, []),
    "an API that fails": (answer("500 No"), None, {}, None, []),
    "a limited one": (answer("429 No"), None, {}, None, []),
    "errors as web pages": (
        answer("502 Bad Gateway", b"<html>", "text/html; charset=utf-8"), None, {}, TargetError,
        ["answers with web pages (status 502, text/html)", "it ends in /v1"],
    ),
    "a refused key": (
        answer("401 No"), "MY_KEY", {}, TargetError,
        ["refuses the key in $MY_KEY (status 401)", "a key of this gateway"],
    ),
    "a forbidden key": (
        answer("403 No"), "MY_KEY", {}, TargetError, ["refuses the key in $MY_KEY (status 403)"],
    ),
    "no key": (
        answer("401 No"), None, {}, TargetError,
        ["refuses requests without a key (status 401)", "--key-env NAME"],
    ),
    "another path": (
        answer("404 No"), None, {}, TargetError,
        ["knows neither /models nor /chat/completions (status 404 and 404)", "/v1"],
    ),
    "another method": (answer("405 No"), None, {}, TargetError, ["status 405 and 405"]),
    "another protocol": (
        reply(b"220 smtp.example ESMTP\r\n"), None, {}, TargetError,
        ["does not answer in HTTP/1.1", "host, port and scheme"],
    ),
    "silence, then the end": (reply(), None, {}, TargetError, ["does not answer in HTTP/1.1"]),
    "a redirect": (
        reply(b"HTTP/1.1 308 No\r\nLocation: https://h/\x1b[2Jv1\r\nContent-Length: 0\r\n\r\n"),
        "MY_KEY", {}, TargetError, ["redirects (status 308) to 'https://h/", "URL it leads to"],
    ),
    "a reset": (reset, None, {}, TargetError, ["does not answer in HTTP/1.1 (reset"]),
    "a model that is not listed": (
        answer("200 OK", OTHERS), None, {}, UsageError,
        ["does not list 'gpt-4o-mini'", "--model; it lists: a-model, b-model."],
    ),
    "a model that was named": (answer("200 OK", OTHERS), None, {"chat": "mine"}, None, []),
    "a list that is none": (answer("200 OK", b'{"data": 1}'), None, {}, None, []),
    "a list of nothing": (answer("200 OK", b'{"data": []}'), None, {}, None, []),
}  # fmt: skip


@pytest.mark.parametrize(("deed", "key", "models", "error", "says"), ANSWERS.values(), ids=ANSWERS)
def test_the_probe_tells_what_it_met(
    deed: Deed,
    key: str | None,
    models: dict[str, str],
    error: type[GateproofError] | None,
    says: list[str],
) -> None:
    """Each thing that is no API is named, with what to do; everything else can be judged."""
    with lying(deed) as liar:
        target = Target(name="t", url=liar.url, profile="openai", key_env=key, models=models)
        caught: GateproofError | None = None
        try:
            probe(target, {"MY_KEY": "sk-hunter22"})
        except GateproofError as told:
            caught = told

    assert (type(caught) if caught else None) == error
    assert [text for text in says if text not in str(caught)] == []
    assert "hunter22" not in str(caught)


def test_a_model_name_cannot_rewrite_the_terminal() -> None:
    """Names from a target's list are shown only when they are printable."""
    body = b'{"data": [{"id": "\\u001b[2J"}, {"id": "\\u202eevil"}, {"id": "good"}]}'
    with lying(answer("200 OK", body)) as liar, pytest.raises(UsageError) as caught:
        probe(Target(name="t", url=liar.url, profile="openai"), {})

    assert str(caught.value).replace("\n", "").isprintable()
    assert "it lists: good." in str(caught.value)


def dead() -> str:
    """Return the URL of a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}/v1"


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        (dead, "Is the gateway running and listening there (http://127.0.0.1:"),
        (lambda: "http://gateproof.invalid/v1", "host name"),
    ],
    ids=["a dead port", "an unknown host"],
)
def test_an_unreached_target_is_named(url: Callable[[], str], hint: str) -> None:
    """A target that cannot be reached is named with its URL, and what may be wrong."""
    with pytest.raises(TargetError, match="cannot be reached at http") as caught:
        probe(Target(name="t", url=url(), profile="openai"), {})

    assert hint in caught.value.hint


def silent(wire: socket.socket) -> None:
    """Take the request and say nothing until the client has gone."""
    wire.recv(1)


def test_silence_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes connections and says nothing is told from what speaks another protocol."""
    monkeypatch.setattr(probe_module, "PROBE_TIMEOUT_S", 0.2)
    with lying(silent) as liar, pytest.raises(TargetError, match="says nothing") as caught:
        probe(Target(name="t", url=liar.url, profile="openai"), {})

    assert "whether the gateway hangs" in caught.value.hint


UPSTREAMS: dict[str, tuple[Deed, str]] = {
    "no journal": (answer("404 Not Found"), "has no journal to read: Client error '404"),
    "a page": (answer("200 OK", b"<html>", "text/html"), "has no journal to read: Expecting value"),
    "another JSON": (answer("200 OK", b"[]"), "its answer holds no entries"),
    "nothing": (reset, "has no journal to read: ReadError"),
}


@pytest.mark.parametrize(("deed", "says"), UPSTREAMS.values(), ids=UPSTREAMS)
def test_an_upstream_that_is_none_of_ours_is_named(deed: Deed, says: str) -> None:
    """An upstream without a journal ends the run before it begins, with what to do."""
    with lying(answer("200 OK", LISTED)) as liar, lying(deed) as other:
        target = Target(
            name="t",
            url=liar.url,
            profile="openai",
            upstream=Upstream(other.url.removesuffix("/v1")),
        )
        with pytest.raises(TargetError) as caught:
            probe(target, {})

    assert says in caught.value.message
    assert "gateproof serve" in caught.value.hint


def test_an_upstream_with_a_journal_is_taken() -> None:
    """An upstream whose journal can be read is ready."""
    with (
        lying(answer("200 OK", LISTED)) as liar,
        lying(answer("200 OK", b'{"entries": []}')) as ours,
    ):
        upstream = Upstream(ours.url.removesuffix("/v1"))
        probe(Target(name="t", url=liar.url, profile="openai", upstream=upstream), {})

    assert b"GET /_journal?canary=" in ours.requests[0]
