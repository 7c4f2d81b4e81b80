"""Generated requests: the same for the same seed, right or wrong as said, judged from records."""

import json
from pathlib import Path

import pytest
from gateproof.suites.openapi_cases import CHAT, breaks_document, problems

from gateproof.check import CHECKS, Finding
from gateproof.profile import load_profile, profile_names
from gateproof.scenario import SCENARIOS, Use
from gateproof.suite import load_checks
from gateproof.target import Target
from gateproof.transcript import Ask, Exchange, Transcript
from gateproof.wire import Read

LABEL = json.dumps({"operation": CHAT})
MESSAGE = '"message": {"role": "assistant", "content": "ok", "refusal": null}'
ANSWER = (
    '{"id": "a", "object": "chat.completion", "created": 1, "model": "m", "choices": ['
    '{"index": 0, "finish_reason": "stop", "logprobs": null, ' + MESSAGE + "}],"
    '"usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}'
)
CHUNK = (
    '{"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": '
    '[{"index": 0, "delta": {"content": "ok"}, "finish_reason": "stop"}]}'
)
ERROR = '{"error": {"message": "m", "type": "invalid_request_error"}}'


def asks(scenario: str, *, profile: str = "openai", seed: int = 0, cases: int = 8) -> list[Ask]:
    """Return what a generative scenario asks."""
    load_checks()
    target = Target(name="x", url="http://127.0.0.1:1/v1", profile=profile)
    use = Use(target, load_profile(profile), "gp", seed, cases)
    made = next(SCENARIOS[scenario](use))
    assert isinstance(made, list)
    return made


def exchange(
    body: str,
    *,
    status: int = 200,
    kind: str = "application/json",
    sent: str = "{}",
    label: str = LABEL,
) -> Exchange:
    """Return an exchange of the chat route that got this."""
    data = body.encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
    return Exchange(
        ask=Ask(path="/chat/completions", body=sent.encode(), label=label),
        url="http://127.0.0.1:1/v1/chat/completions",
        started_ns=0,
        connected_ns=0,
        ended_ns=2,
        ended="closed",
        received=(Read(1, head.encode() + data),),
    )


def transcript(*exchanges: Exchange) -> Transcript:
    """Return a transcript of a run of the openai profile."""
    return Transcript(scenario="x", exchanges=exchanges, use={"profile": "openai", "options": {}})


@pytest.mark.parametrize("scenario", ["fuzz.positive", "fuzz.negative", "fuzz.conversations"])
def test_a_seed_gives_the_same_requests(
    scenario: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same seed gives the same requests, another one others, and no folder is left behind."""
    monkeypatch.chdir(tmp_path)

    first, again, other = asks(scenario), asks(scenario), asks(scenario, seed=1)

    assert first == again
    assert first != other
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "profile", [name for name in profile_names() if "chat" in load_profile(name).claims]
)
def test_requests_are_right_or_wrong_as_said(profile: str) -> None:
    """Positive requests fit the profile's document, negative ones do not, all ask for the model."""
    positive = [a for a in asks("fuzz.positive", profile=profile) if a.method == "POST"]
    negative = asks("fuzz.negative", profile=profile)

    wanted = load_profile(profile).models.get("chat", "gpt-4o-mini")
    assert {ask.value["model"] for ask in positive} == {wanted}
    assert [ask for ask in positive if breaks_document(profile, ask)] == []
    assert [ask for ask in negative if not breaks_document(profile, ask)] == []
    assert len(positive) >= 6
    assert len(negative) >= 3


STREAM = "text/event-stream"
JUDGED = [
    ("right", exchange(ANSWER), 0),
    ("refused", exchange(ERROR, status=400), 0),
    ("stream", exchange(f"data: {CHUNK}\n\ndata: [DONE]\n\n", kind=STREAM), 0),
    ("extra members", exchange(ANSWER.replace('"id"', '"new": 1, "id"')), 0),
    ("undeclared status", exchange(ERROR, status=418), 1),
    ("wrong type", exchange(ANSWER, kind="text/plain"), 1),
    ("wrong schema", exchange(ANSWER.replace('"created": 1', '"created": "1"')), 1),
    ("wrong error", exchange('{"detail": "m"}', status=400), 1),
    ("wrong chunk", exchange(f"data: {CHUNK}\n\n".replace('"ok"', "7"), kind=STREAM), 1),
    ("no JSON in an event", exchange("data: x\n\n", kind=STREAM), 1),
]  # fmt: skip


@pytest.mark.parametrize(
    ("made", "wanted"), [case[1:] for case in JUDGED], ids=[case[0] for case in JUDGED]
)
def test_answers_are_held_against_the_document(made: Exchange, wanted: int) -> None:
    """An answer that the document does not describe has a problem, and any other has none."""
    assert len(problems("openai", made)) == wanted


def test_the_smallest_failing_request_is_shown() -> None:
    """A finding points at the failing exchange with the smallest request, and counts the others."""
    load_checks()
    large = exchange(ERROR, status=500, sent='{"messages": []}')
    small = exchange(ERROR, status=503)
    seen = transcript(exchange(ANSWER, sent=""), large, small)

    with pytest.raises(Finding) as raised:
        CHECKS["fuzz.no-5xx-on-invalid"].function(seen)

    assert raised.value.at.exchange == 2
    assert raised.value.got.endswith("2 of 3 requests, this is the smallest")
