"""Scenarios are recorded side by side, each to its own end, and one that breaks ends no other."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from gateproof import record as record_module
from gateproof.client import Client
from gateproof.profile import load_profile
from gateproof.record import record, unclaimed
from gateproof.scenario import Scenario, Steps, Unanswered, Use
from gateproof.target import Target, Upstream
from gateproof.transcript import OWN_ERROR, Ask, Exchange, Transcript
from tests.liars import Liar, lying, reply

KEY = "sk-hunter22-hunter22"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
OPENAI = load_profile("openai")


def recorded(
    liar: Liar, *scenarios: Scenario, upstream: Upstream | None = None, **options: Any
) -> dict[str, Transcript]:
    """Record scenarios against a liar."""
    done: dict[str, Transcript] = {}
    target = Target(
        name="t", url=liar.url, profile="openai", key_env="MY_KEY", upstream=upstream, **options
    )

    async def run() -> None:
        def keep(transcript: Transcript) -> None:
            done[transcript.scenario] = transcript

        async with Client(target, {"MY_KEY": KEY}) as client:
            await record(scenarios, client, OPENAI, "run", keep)

    asyncio.run(run())
    return done


def named(name: str, steps: Callable[[Use], Steps], **more: Any) -> Scenario:
    """Make a scenario without registering it."""
    return Scenario(name, "A test's own.", steps, **more)


def test_later_asks_are_built_from_earlier_answers() -> None:
    """A scenario is sent the exchange of one ask, and the list of a list's, in their order."""

    def steps(use: Use) -> Steps:
        first: Exchange = yield Ask(path="/a", label=use.canary)
        assert first.response is not None
        both: Sequence[Exchange] = yield [Ask(path="/b"), Ask(path="/c")]
        yield Ask(path="/d" + "".join(one.ask.path for one in both).replace("/", "-"))

    with lying(reply(OK)) as liar:
        got = recorded(liar, named("s", steps))["s"]

    assert [exchange.ask.path for exchange in got.exchanges] == ["/a", "/b", "/c", "/d-b-c"]
    assert (got.problem, got.upstream, got[0].ask.label) == ("", None, got.canary)
    assert got.use["model"] == "gpt-4o-mini"


def unanswered(_: Use) -> Steps:
    """Give up after the first answer."""
    yield Ask(path="/a")
    raise Unanswered("the answer has no id")


def broken(_: Use) -> Steps:
    """Break after the first answer."""
    yield Ask(path="/a")
    raise KeyError("id")


def unsendable(_: Use) -> Steps:
    """Ask for what no client can send."""
    yield Ask(path="/a", headers=(("x", "a\nb"),))


def fine(_: Use) -> Steps:
    """Ask twice."""
    yield Ask(path="/a")
    yield Ask(path="/b")


def test_a_scenario_that_breaks_ends_no_other() -> None:
    """What a scenario cannot go on with is its problem; what it recorded until then is kept."""
    scenarios = [named(f.__name__, f) for f in (unanswered, broken, unsendable, fine)]
    with lying(reply(OK)) as liar:
        got = recorded(liar, *scenarios)

    assert {name: (len(one), one.problem) for name, one in got.items()} == {
        "unanswered": (1, "the answer has no id"),
        "broken": (1, "gateproof's own error: KeyError: 'id'"),
        "unsendable": (0, got["unsendable"].problem),
        "fine": (2, ""),
    }
    assert got["unsendable"].problem.startswith("gateproof's own error: ")


def test_the_journal_is_waited_for_and_covered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The upstream's journal is asked for by the canary until nothing is open, without the key."""
    open_entry = {"outcome": "open", "body": f"it holds {KEY}"}
    states = [[], [open_entry], [{**open_entry, "outcome": "cancelled"}]]
    asked: list[int] = []

    def journal(wire: socket.socket) -> None:
        body = json.dumps({"entries": states[min(len(asked), 2)]}).encode()
        asked.append(1)
        wire.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    monkeypatch.setattr(record_module, "JOURNAL_PATIENCE_S", 60.0)
    with lying(reply(OK)) as liar, lying(journal) as upstream:
        origin = Upstream(upstream.url.removesuffix("/v1"))
        got = recorded(liar, named("s", fine, journal=True), upstream=origin)["s"]

    assert got.upstream == ({"outcome": "cancelled", "body": "it holds " + "*" * len(KEY)},)
    assert len(asked) == 3
    assert all(
        b"GET /_journal?canary=" + got.canary.encode() in request and KEY.encode() not in request
        for request in upstream.requests
    )


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", OK],
    ids=["gone", "failing", "of another kind"],
)
def test_an_upstream_that_is_gone_tells_nothing(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the journal cannot be read in time, there is none, and the recording goes on."""
    monkeypatch.setattr(record_module, "JOURNAL_PATIENCE_S", 0.0)
    with lying(reply(OK)) as liar, lying(reply(answer)) as upstream:
        origin = Upstream(upstream.url.removesuffix("/v1"))
        got = recorded(liar, named("s", fine, journal=True), upstream=origin)["s"]

    assert (got.upstream, len(got)) == (None, 2)


def test_what_is_not_claimed_has_a_reason() -> None:
    """Each capability that is needed and missing is named with the reason."""
    target = Target(name="t", url="http://x", profile="openai", disclaims={"chat.n": "not built"})
    needs = [frozenset({"chat", "chat.n"}), frozenset({"upstream", "cost"})]

    assert unclaimed(OPENAI, target, needs) == {
        "chat.n": "chat.n taken out of the profile: not built",
        "cost": "profile openai does not claim cost",
        "upstream": "no controlled upstream",
    }
    assert unclaimed(OPENAI, target, []) == {}


def test_the_longest_begin_first() -> None:
    """With one request at a time, scenarios of more rounds come before the others."""

    def one(path: str) -> Callable[[Use], Steps]:
        def steps(_: Use) -> Steps:
            yield Ask(path=path)

        return steps

    with lying(reply(OK)) as liar:
        recorded(
            liar, named("a", one("/a")), named("b", one("/b"), rounds=2),
            named("c", one("/c"), rounds=7), concurrency=1,
        )  # fmt: skip
    paths = [request.split(b" ", 2)[1] for request in liar.requests]

    assert paths == [b"/v1/c", b"/v1/b", b"/v1/a"]


def test_generative_scenarios_compute_while_others_wait() -> None:
    """They compute in a thread of their own, and ask when all others are over."""
    seen: list[str] = []

    def computing(_: Use) -> Steps:
        seen.append(threading.current_thread().name)
        yield [Ask(path="/drawn"), Ask(path="/drawn")]

    def waiting(_: Use) -> Steps:
        yield Ask(path="/plain")
        seen.append("plain")

    def timed(_: Use) -> Steps:
        yield Ask(path="/alone")
        seen.append("alone")

    def failing(_: Use) -> Steps:
        yield from ()
        raise KeyError("drawn")

    with lying(reply(OK)) as liar:
        got = recorded(
            liar, named("g", computing, generative=True), named("f", failing, generative=True),
            named("t", timed, alone=True), named("w", waiting),
        )  # fmt: skip
    paths = [request.split(b" ", 2)[1] for request in liar.requests]

    assert paths == [b"/v1/plain", b"/v1/alone", b"/v1/drawn", b"/v1/drawn"]
    assert seen[-1] == "alone"
    assert threading.current_thread().name not in seen
    assert got["f"].problem == f"{OWN_ERROR}KeyError: 'drawn'"
