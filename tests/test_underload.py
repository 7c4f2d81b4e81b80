"""Conformance under load: what checks say of answers that the load client kept.

One process of the load client asks everything once, before the first test; tests look at its own
answer. Faults are those of the kill list: under load they kill what they kill in conformance.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gateproof.reference_server.app import listing

import gateproof
from gateproof.check import needs_of
from gateproof.conform import make_plan
from gateproof.kills import Expectation, load_kills
from gateproof.likeness import Likeness, likeness_of
from gateproof.profile import load_profile
from gateproof.prove import Server, serving
from gateproof.requirement import load_requirements
from gateproof.suite import load_checks
from gateproof.target import Target
from gateproof.transcript import Ask, Transcript
from gateproof.underload import UnderLoad, gather, judge_under_load

ROOT = Path(gateproof.__file__).parent.parent
CHECKS = load_checks()
TEXT = "Repeat exactly: gp-00000001-0000000001 naïve 東京 🙂 and then some more words"
SAID = [{"role": "user", "content": TEXT}]
CHAT: dict[str, Any] = {"model": "gpt-4o-mini", "messages": SAID}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "look_up",
        "parameters": {
            "type": "object",
            "properties": {"word": {"type": "string"}},
            "required": ["word"],
        },
    },
}
CALL = {
    **CHAT,
    "tools": [TOOL],
    "tool_choice": {"type": "function", "function": {"name": "look_up"}},
}
STREAM: dict[str, Any] = {"stream": True}
USAGE = {**STREAM, "stream_options": {"include_usage": True}}
MESSAGE = {"model": "claude-haiku-4-5", "max_tokens": 64, "messages": SAID}
# The kinds of requests that a load run makes: profile, path, body.
KINDS: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "chat-stream with usage": ("openai", "/chat/completions", {**CHAT, **USAGE}),
    "chat-stream": ("openai", "/chat/completions", {**CHAT, **STREAM}),
    "chat": ("openai", "/chat/completions", CHAT),
    "tools-stream": ("openai", "/chat/completions", {**CALL, **USAGE}),
    "tools": ("openai", "/chat/completions", CALL),
    "tools-stream, bounded": ("openai", "/chat/completions", {**CALL, **STREAM, "max_tokens": 3}),
    "tools, bounded": ("openai", "/chat/completions", {**CALL, "max_tokens": 3}),
    "messages-stream": ("anthropic", "/messages", {**MESSAGE, **STREAM}),
    "messages": ("anthropic", "/messages", MESSAGE),
    "embeddings": ("openai", "/embeddings", {"model": "text-embedding-3-small", "input": "one"}),
    "completions-stream": (
        "openai",
        "/completions",
        {"model": "gpt-3.5-turbo-instruct", "prompt": TEXT, "stream": True},
    ),
    "chat of osmapi": ("osmapi", "/chat/completions", CHAT),
    "chat of lunos": ("lunos", "/chat/completions", {**CHAT, "model": "openai/gpt-4o-mini"}),
    "chat of omai": ("omai", "/chat/completions", {**CHAT, "model": "omai-gpt-4"}),
}
# The kinds that faults are tried with: each has checks that the others have not.
TRIED = (
    "chat-stream with usage", "chat", "tools-stream", "tools",
    "messages-stream", "messages",
    "chat of osmapi", "chat of lunos", "chat of omai",
)  # fmt: skip
STREAMS = ("chat-stream with usage", "messages-stream")
ODDITIES = [
    row["name"] for row in listing()
    if row["kind"] == "oddity" and (not row.get("parameter") or "(" in row["parameter"])
]  # fmt: skip
CROWD = 16  # the faults of crowds take 12


def _likeness(kind: str) -> Likeness:
    _, path, body = KINDS[kind]
    found = likeness_of(Ask.json(path, body))
    assert found is not None
    return found


def _judgeable(kind: str) -> frozenset[str]:
    """Return the checks that are judged on answers of a kind."""
    profile = load_profile(KINDS[kind][0])
    claims = profile.claims_with(profile.groups)
    return frozenset(
        check.id
        for check, item in _likeness(kind).cases(CHECKS.values())
        for requirement in [load_requirements()[check.requirement]]
        if profile.concerns(requirement) and needs_of(check, [item], requirement) <= claims
    )


# What one answer to such a request cannot show, though another of the same checks' can.
_CODED = "the generator reads no coded body, and counts it as a failure of its own kind"
_OTHER = "the fault shows in the other dialect of answers, in a second block, or in a tool's"
_UNSEEN = {
    ("chat-stream with usage", "gzip-label-without-gzip"): _CODED,
    ("chat-stream with usage", "tool-calls-null"): _OTHER,
    ("chat", "gzip-label-without-gzip"): _CODED,
    ("chat", "open-after-done"): _OTHER,
    ("chat", "tool-content-missing"): _OTHER,
    ("messages-stream", "gzip-label-without-gzip"): _CODED,
    ("messages-stream", "messages-block-start-missing"): _OTHER,
    ("messages-stream", "messages-delta-type-wrong"): _OTHER,
    ("messages-stream", "messages-index-gap"): _OTHER,
    ("messages-stream", "messages-index-same"): _OTHER,
    ("messages-stream", "messages-tool-start-full-input"): _OTHER,
    ("messages-stream", "messages-tool-start-no-input"): _OTHER,
    ("messages-stream", "messages-tool-start-no-name"): _OTHER,
    ("messages-stream", "tool-id-empty"): _OTHER,
    ("messages", "gzip-label-without-gzip"): _CODED,
    ("messages", "open-after-done"): _OTHER,
    ("tools", "tool-ids-duplicate"): _OTHER,
    ("tools-stream", "gzip-label-without-gzip"): _CODED,
    ("tools", "gzip-label-without-gzip"): _CODED,
}


def _rows() -> dict[str, tuple[str, Expectation]]:
    """Return the rows of the kill list by name, each with a kind of request that shows it first."""
    found = {}
    before: dict[str, frozenset[str]] = {}
    for kind in TRIED:
        profile, path, _ = KINDS[kind]
        own = _judgeable(kind) - before.get(path, frozenset())
        for row in load_kills():
            if row.group == profile and row.kills & own and (kind, row.fault) not in _UNSEEN:
                found[f"{kind}/{row.fault}"] = (kind, row)
                before[path] = before.get(path, frozenset()) | (row.kills & own)
    return found


ROWS = _rows()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Serve for all tests of this file."""
    with serving() as running:
        yield running


def _asked(server: Server, kind: str, fault: str) -> list[Any]:
    """Return what is asked of a fault: once, and of a crowd's fault by a crowd."""
    profile, path, body = KINDS[kind]
    behaving = f"/with/{fault}" if fault else ""
    base = f"{server.url}{behaving}/{profile}{load_profile(profile).base_path}"
    bodies = [body]
    if "crowd" in fault:
        bodies = [_numbered(body, number) for number in range(CROWD)]
    return [base, path, [json.dumps(one, ensure_ascii=False) for one in bodies]]


def _numbered(body: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return a request with a reference of its own, whose answer takes a while."""
    said = f"Repeat exactly: gp-0000abcd-{number:010d} and some more of it"
    model = f"{body['model']}+ttft=40+itl=15"
    return {**body, "model": model, "messages": [{"role": "user", "content": said}]}


_NONE = SimpleNamespace(params={})


@pytest.fixture(scope="module")
def answers(
    server: Server, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, UnderLoad]:
    """Ask, once, for all tests that were selected, and judge what came."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    names = {
        str(item.callspec.params["name"])
        for item in items
        if item.path == Path(__file__) and "name" in getattr(item, "callspec", _NONE).params
    }
    folder = tmp_path_factory.mktemp("kept")
    asked = {str(n): _asked(server, *name.split("/", 1)) for n, name in enumerate(sorted(names))}
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONWARNINGS", None)
    subprocess.run(
        [sys.executable, str(ROOT / "tests/witness_client.py"), str(folder)],
        input=json.dumps(asked),
        text=True,
        check=True,
        timeout=60,
        env=environment,
    )
    return {
        name: _judge(gather([folder / str(n)], "load/test", {}), KINDS[name.split("/")[0]][0])
        for n, name in enumerate(sorted(names))
    }


def _judge(transcript: Transcript, profile: str) -> UnderLoad:
    target = Target(name="test", url="http://127.0.0.1:1/v1", profile=profile)
    made = load_profile(profile)
    plan = make_plan(target, made.with_groups(made.groups), CHECKS)
    return judge_under_load(plan, transcript)


@pytest.mark.parametrize("name", [f"{kind}/" for kind in KINDS])
def test_healthy_answers_pass(answers: Mapping[str, UnderLoad], name: str) -> None:
    """A healthy server keeps every promise under load, and each that applies is judged."""
    under = answers[name]

    fine = ("pass", "departs")
    odd = {item.check: item.got for item in under.results if item.verdict not in fine}
    # Forced calls and numbers have no text to repeat a reference in.
    assert odd.keys() <= {"load.cross-talk"}
    assert under.judged == {_likeness(name.removesuffix("/")).name: 1}
    assert under.set_aside == {}


@pytest.mark.parametrize("name", [f"{kind}/{odd}" for kind in STREAMS for odd in ODDITIES])
def test_oddities_are_tolerated(answers: Mapping[str, UnderLoad], name: str) -> None:
    """What is legal and tolerated by clients is no finding under load either."""
    assert answers[name].found == {}


@pytest.mark.parametrize(
    ("name", "kills"),
    [
        ("chat-stream with usage/", []),
        ("chat-stream with usage/crowd-loses-done", ["sse.done-terminator"]),
        ("chat-stream with usage/crowd-mixes-streams", ["load.cross-talk"]),
        ("messages-stream/crowd-mixes-streams", ["load.cross-talk"]),
        ("chat-stream with usage/crowd-mixes-streams:500", []),
    ],
)
def test_crowds_show_what_one_does_not(
    answers: Mapping[str, UnderLoad], name: str, kills: list[str]
) -> None:
    """Faults of a crowd kill their checks, and those alone, when there is one."""
    found = [item.check for item in answers[name].results if item.verdict == "fail"]

    assert found == kills


@pytest.mark.parametrize("name", list(ROWS))
def test_faults_kill_what_they_kill_in_conformance(
    answers: Mapping[str, UnderLoad], name: str
) -> None:
    """Under a fault the checks that fail under load are those that fail in conformance."""
    kind, row = ROWS[name]
    under = answers[name]

    assert set(under.found) - row.departs == row.kills & _judgeable(kind)


def test_every_check_is_killed_under_load(answers: Mapping[str, UnderLoad]) -> None:
    """Each check that is judged under load is killed by some fault under load."""
    judged = {check for kind in TRIED for check in _judgeable(kind)}
    killed = {check for name in ROWS for check in answers[name].found}

    assert judged - killed == {"hdr.content-encoding"}  # the generator reads no coded body
