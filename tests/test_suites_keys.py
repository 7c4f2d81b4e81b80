"""The life of a key, driven by answers written by hand: nothing is deleted that was not made."""

import json
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest
from gateproof.suites.scenarios import keys as scenarios

from gateproof.check import CHECKS, Finding, Inconclusive, Untestable
from gateproof.profile import load_profile
from gateproof.scenario import SCENARIOS, Scenario, Use
from gateproof.suite import load_checks
from gateproof.target import Target
from gateproof.transcript import Ask, Exchange, Mark, Transcript
from gateproof.wire import Read

load_checks()
Answer = Callable[[Ask, int], tuple[int, Any]]
TARGET = Target(name="t", url="http://127.0.0.1:1/api/v1", profile="losi", clock_scale=1000)
THEIRS = "key_theirs"


def drive(scenario: Scenario, answer: Answer, target: Target = TARGET) -> Transcript:
    """Run a scenario against answers of a function, which gets each request and its number."""
    use = Use(target, load_profile("losi").with_groups(["keys"]), "gpcanary")
    steps = scenario(use)
    made: list[Exchange] = []
    sent: Any = None
    while True:
        try:
            asked = steps.send(sent)
        except StopIteration:
            return Transcript(scenario=scenario.name, exchanges=tuple(made))
        asks = [asked] if isinstance(asked, Ask) else list(asked)
        done = [exchange(ask, *answer(ask, len(made) + n)) for n, ask in enumerate(asks)]
        made += done
        sent = done[0] if isinstance(asked, Ask) else done


def exchange(ask: Ask, status: int, value: Any) -> Exchange:
    """Return an exchange with a JSON answer; a member named key is a secret that is covered."""
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 {status} x\r\nContent-Type: application/json\r\n"
    issued = ask.issues is not None and isinstance(value, dict) and "key" in value
    return Exchange(
        ask=ask,
        url="http://127.0.0.1:1/api/v1" + ask.path,
        started_ns=0,
        connected_ns=0,
        ended_ns=2,
        ended="closed",
        received=(Read(1, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body),),
        marks=(Mark(ask.issues or "", "received", 9, 20, "plain"),) if issued else (),
    )


def sloppy(ask: Ask, number: int) -> tuple[int, Any]:
    """Say yes to everything, and list keys of others."""
    if ask.method == "POST" and ask.path == "/api-keys":
        return 201, {"id": f"key_{number}", "key": "*" * 20}
    return 200, {"data": [{"id": THEIRS}, {"id": "key_0"}], "choices": []}


def nested(ask: Ask, _: int) -> tuple[int, Any]:
    """Tell of a new key under data, and refuse the rest."""
    return (200, {"data": {"id": "key_9"}}) if ask.method == "POST" else (403, {"error": {}})


def mute(_: Ask, __: int) -> tuple[int, Any]:
    """Make keys and tell nothing of them."""
    return 200, {}


def refusing(_: Ask, __: int) -> tuple[int, Any]:
    """Refuse everything."""
    return 403, {"error": {"message": "no", "type": "permission_error"}}


@pytest.mark.parametrize("answer", [sloppy, nested, mute, refusing])
@pytest.mark.parametrize("name", ["keys.life", "keys.invalid", "keys.restricted"])
def test_nothing_is_deleted_that_was_not_made(name: str, answer: Answer) -> None:
    """Each id that is deleted stood in an answer to a creation of the same scenario."""
    seen = drive(SCENARIOS[name], answer)
    created = {scenarios.created_id(item) for item in seen.exchanges if item.ask.method == "POST"}
    deleted = [
        urllib.parse.parse_qs(item.ask.path.partition("?")[2]).get("id", [""])[0]
        for item in seen.exchanges
        if item.ask.method == "DELETE"
    ]

    assert [id_ for id_ in deleted if id_ and id_ not in created] == []
    assert deleted.count("") <= (name == "keys.life")
    assert len(seen) <= SCENARIOS[name].requests


@pytest.mark.parametrize("answer", [sloppy, nested])
@pytest.mark.parametrize("name", ["keys.life", "keys.invalid", "keys.restricted"])
def test_what_was_made_is_deleted(name: str, answer: Answer) -> None:
    """Every key that a scenario made and knows by its id is deleted by it."""
    seen = drive(SCENARIOS[name], answer)
    created = {scenarios.created_id(item) for item in seen.exchanges if item.ask.method == "POST"}
    gone = {
        item.ask.path.partition("id=")[2] for item in seen.exchanges if item.ask.method == "DELETE"
    }

    assert created - {""} <= gone


def verdict(check: str, seen: Transcript) -> str:
    """Return what a check makes of a transcript."""
    try:
        told = CHECKS[check].function(seen)
    except (Finding, Untestable, Inconclusive) as raised:
        return type(raised).__name__
    return f"passes: {told}"


def made_key(status: int, type_: str = "permission_error") -> Answer:
    """Answer a chat with a key made without permissions with this status."""

    def answer(ask: Ask, number: int) -> tuple[int, Any]:
        if ask.path == "/api-keys":
            return sloppy(ask, number)
        return status, {"error": {"message": "no", "type": type_}} if status >= 400 else {}

    return answer


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        pytest.param(made_key(403), "passes: with a key made without permissions", id="refused"),
        pytest.param(made_key(403, "x"), "Finding", id="another type"),
        pytest.param(made_key(200), "Inconclusive", id="none may mean all"),
        pytest.param(made_key(500), "Finding", id="a 5xx"),
        pytest.param(refusing, "Inconclusive", id="no key was made"),
    ],
)
def test_a_key_made_without_permissions(answer: Answer, wanted: str) -> None:
    """Without a key of the operator's one is made; that it may do all is not held against it."""
    assert verdict("keys.permission", drive(scenarios.KEY_RESTRICTED, answer)) == wanted


def test_a_deleted_key_is_given_time() -> None:
    """A deleted key is asked with again for thirty seconds before it counts as still good."""
    seen = drive(scenarios.KEY_LIFE, sloppy)
    waits = [item.ask.after_s for item in seen.labelled("use deleted")]

    assert waits == [wait_s / 1000 for wait_s in (0, 2, 4, 8, 16)]
