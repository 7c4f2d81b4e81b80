"""Faults that tell promises apart change what they name, and leave what stands beside it alone."""

from typing import Any

import pytest
from gateproof.reference_server.app import App
from gateproof.reference_server.faults import FAULTS
from gateproof.reference_server.journal import Journal

from tests.reference_calls import Got, call, chat

MINE = sorted(n for n, row in FAULTS.items() if row.act.__module__.endswith(".routes"))
PLAIN = (("content-type", "text/plain"),)
VERSION = ("anthropic-version", "2023-06-01")
LUNOS = "lunos/v1/chat/completions"
CHAT = chat("openai/gpt-4o-mini")
MESSAGE = {**chat("anthropic/claude-sonnet-4-6"), "max_tokens": 9}
Ask = tuple[str, str, Any, dict[str, Any]]


def post(path: str, body: Any, **more: Any) -> Ask:
    """Return a POST."""
    return "POST", path, body, more


def get(path: str) -> Ask:
    """Return a GET."""
    return "GET", path, None, {}


# Each fault, with its parameter; a request that it changes, what comes; and one that it leaves.
SHOWN: dict[str, tuple[str, Ask, Any, Ask]] = {
    "app-id-chat-only": (
        "",
        post("lunos/v1/messages", MESSAGE, headers=[VERSION, ("x-app-id", "a")]), 400,
        post(LUNOS, CHAT, headers=[("x-app-id", "a")]),
    ),
    "auth-type-upstream": (
        "",
        post("losi/api/v1/chat/completions", CHAT, key="sk-x"), "invalid_request_error",
        post("losi/api/v1/chat/completions", {}),
    ),
    "filter-extra": ("", get("lunos/v1/models?output=text"), "hidden/mini", get("lunos/v1/models")),
    "media-type-500": (
        "", post("v1/chat/completions", chat("gpt-4o-mini"), media="text/plain"), 500,
        post("v1/chat/completions", chat("gpt-4o-mini")),
    ),
    "media-type-ignored": (
        "", post("v1/chat/completions", chat("gpt-4o-mini"), media="text/plain"), 200,
        post("v1/chat/completions", chat("gpt-4o-mini")),
    ),
    "models-bare-names": ("", get("lunos/v1/models"), {"id", "name"}, get("v1/models")),
    "models-ghost": ("", get("v1/models"), "ghost-mini", post(LUNOS, CHAT)),
    "models-nested": ("", get("lunos/v1/models"), '"models":[', post(LUNOS, CHAT)),
    "models-single": ("", get("losi/api/v1/models"), 1, post(LUNOS, CHAT)),
    "observability-chat-only": (
        "",
        post("lunos/v1/messages", {**MESSAGE, "observability": True}, headers=[VERSION]), 400,
        post(LUNOS, {**CHAT, "observability": True}),
    ),
    "provider-refused": ("google", post(LUNOS, chat("google/gemma-4-26b-a4b-it")), 400,
                         post(LUNOS, CHAT)),
    "route-missing": ("audio", post("lunos/v1/audio/transcriptions", {}), 404, post(LUNOS, CHAT)),
    "unknown-model-forbidden": ("", post(LUNOS, chat("x/y")), 403, post(LUNOS, {})),
    "validation-422": ("", post(LUNOS, {}), 422, post(LUNOS, chat("x/y"))),
}  # fmt: skip


def send(ask: Ask, deed: str = "") -> Got:
    """Send a request, under a fault or none."""
    method, path, body, more = ask
    headers = list(more.get("headers", ()))
    if "media" in more:
        headers.insert(0, ("content-type", more["media"]))
    given = {"key": more["key"]} if "key" in more else {}
    place = f"/with/{deed}/{path}" if deed else f"/{path}"
    return call(App(Journal(0)), method, place, body, headers=headers, **given)


def test_each_fault_is_shown() -> None:
    """The table has every fault of this kind."""
    assert sorted(SHOWN) == MINE


@pytest.mark.parametrize("name", MINE)
def test_a_fault_changes_what_it_names(name: str) -> None:
    """It changes the answer as it says, and leaves what stands beside it as it is."""
    parameter, changed, wanted, left = SHOWN[name]
    deed = f"{name}:{parameter}" if parameter else name
    got, healthy = send(changed, deed), send(changed)

    assert (got.status, got.text) != (healthy.status, healthy.text)
    if isinstance(wanted, str):
        assert wanted in got.text.decode()
        assert wanted not in healthy.text.decode()
    elif isinstance(wanted, set):
        assert set(got.body[0]) == wanted
    elif wanted == 1:
        assert len(got.body["data"]) == 1
    else:
        assert got.status == wanted
    assert (send(left, deed).status, len(send(left, deed).text)) == (
        send(left).status,
        len(send(left).text),
    )


@pytest.mark.parametrize("name", ["route-missing", "provider-refused"])
def test_a_parameter_is_needed(name: str) -> None:
    """Without its parameter the fault is refused."""
    assert send(get("v1/models"), f"{name}:").status == 400
