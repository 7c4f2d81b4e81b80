"""Checks of answers, on transcripts written by hand: what the proof's server never does.

A real model disobeys, refuses a parameter, or counts otherwise: then the gateway is not to blame.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from gateproof.suites.reading import oddness
from gateproof.suites.scenarios import chat, tools

from gateproof.check import CHECKS, Finding, Inconclusive, Untestable
from gateproof.scenario import Scenario
from gateproof.suite import load_checks
from gateproof.transcript import Ask, Exchange, Transcript
from gateproof.wire import Read

USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
SUMS = {
    "usage_sums": [
        ["prompt_tokens", "completion_tokens"],
        ["prompt_tokens", "completion_tokens", "reasoning_tokens"],
    ],
    "cost_sums": [["input", "output"], ["input", "output", "request"]],
}


def respond(status: int, kind: str, body: bytes) -> bytes:
    """Return the bytes of a response."""
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def answer(content: str | None = "Hi.", finish: str = "stop", **more: Any) -> bytes:
    """Return a completion; ``usage`` and further members of the message may be given."""
    usage = more.pop("usage", USAGE)
    message = {"role": "assistant", "content": content, **more}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    value = {"id": "x", "object": "chat.completion", "created": 1_700_000_000, "model": "m"}
    return respond(
        200, "application/json", json.dumps({**value, "choices": [choice], "usage": usage}).encode()
    )


def stream(*deltas: Mapping[str, Any], finish: str = "stop") -> bytes:
    """Return a stream of these deltas, ended as it should be."""
    base = {"id": "x", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m"}
    parts = [(delta, None) for delta in deltas] + [({}, finish)]
    chunks = [
        {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": end}]}
        for delta, end in parts
    ]
    text = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    return respond(200, "text/event-stream", (text + "data: [DONE]\n\n").encode())


REFUSAL = respond(400, "application/json", b'{"error": {"message": "Not with this model."}}')
COST = {"cost_usd_total": 3, "cost_usd_input": 1, "cost_usd_output": 2}


def verdict(check: str, cases: Sequence[tuple[Scenario, Sequence[tuple[str, bytes]]]]) -> str:
    """Return what a check makes of transcripts, each of labelled answers."""
    load_checks()
    seen = [
        Transcript(
            scenario=scenario.name,
            exchanges=tuple(
                Exchange(
                    ask=Ask.json("/chat/completions", {"model": "m"}, label=label),
                    url="http://127.0.0.1:1/v1/chat/completions",
                    started_ns=0,
                    connected_ns=0,
                    ended_ns=2,
                    ended="closed",
                    received=(Read(1, received),),
                )
                for label, received in answers
            ),
            use={"options": SUMS},
        )
        for scenario, answers in cases
    ]
    try:
        CHECKS[check].function(*seen)
    except (Finding, Inconclusive, Untestable) as raised:
        return type(raised).__name__
    return "pass"


def one(scenario: Scenario, received: bytes) -> tuple[Scenario, list[tuple[str, bytes]]]:
    """Return a scenario with its one answer."""
    return scenario, [("", received)]


ENDS = ["temperature=0", "temperature=2", "presence_penalty=-2", "presence_penalty=2"]
CALL = {"id": "c", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
CASES = [
    ("refused at both ends", "chat.range.ends",
     [(chat.RANGE_ENDS, [(e, REFUSAL if "temp" in e else answer()) for e in ENDS])],
     "Inconclusive"),
    ("refused at one end", "chat.range.ends",
     [(chat.RANGE_ENDS, [(e, REFUSAL if e == ENDS[1] else answer()) for e in ENDS])], "Finding"),
    ("JSON cut by a limit", "chat.response-format.json-object",
     [one(chat.JSON_OBJECT, answer('{"city": "Par', "length"))], "Inconclusive"),
    ("schema refused", "chat.response-format.json-schema",
     [one(chat.JSON_SCHEMA, REFUSAL)], "pass"),
    ("model refuses the schema", "chat.response-format.json-schema",
     [one(chat.JSON_SCHEMA, answer(None, refusal="No."))], "Inconclusive"),
    ("only the new bound", "usage.max-tokens-bound", [one(chat.CUT, REFUSAL)], "Inconclusive"),
    ("no count at all", "chat.finish.length", [one(chat.CUT, answer("Sure!"))], "Inconclusive"),
    ("both bounds refused", "chat.max-completion-tokens",
     [one(chat.CUT_NEW, REFUSAL), one(chat.CUT, REFUSAL)], "Finding"),
    ("model is not steady", "chat.stream-eq-nonstream",
     [one(chat.STREAM, stream({"content": "Hi"})), one(chat.PLAIN, answer("Ho")),
      one(chat.AGAIN, answer("Hu"))], "Inconclusive"),
    ("model is steady", "chat.stream-eq-nonstream",
     [one(chat.STREAM, stream({"content": "Hi"})), one(chat.PLAIN, answer("Ho")),
      one(chat.AGAIN, answer("Ho"))], "Finding"),
    ("parts are answered otherwise", "chat.content-parts",
     [one(chat.PARTS, answer("Hi")), one(chat.PLAIN, answer("Ho"))], "Inconclusive"),
    ("no call with auto", "tool.finish.auto", [one(tools.AUTO, answer())], "Inconclusive"),
    ("no call though forced", "tool.choice.named", [one(tools.FORCED, answer())], "Finding"),
    ("forced call ends with stop", "tool.choice.named",
     [one(tools.FORCED, answer(None, tool_calls=[CALL]))], "pass"),
    ("one call of two", "tool.id.unique",
     [one(tools.PARALLEL, answer(None, tool_calls=[CALL]))], "Inconclusive"),
    ("reasoning counted apart", "usage.sum",
     [one(chat.PLAIN, answer(usage={**USAGE, "reasoning_tokens": 5, "total_tokens": 17}))],
     "pass"),
    ("sum within the tolerance", "cost.sum",
     [one(chat.PLAIN, answer(usage={**USAGE, **COST, "cost_usd_total": 3.0000000005}))], "pass"),
    ("sum beyond the tolerance", "cost.sum",
     [one(chat.PLAIN, answer(usage={**USAGE, **COST, "cost_usd_total": 3.00001}))], "Finding"),
    ("newer names", "cost.sum",
     [one(chat.PLAIN, answer(usage={
         **USAGE, "cost": 3, "cost_details": {"input_cost": 1, "output_cost": 2}}))], "pass"),
    ("cached prompt is cheaper", "cost.equal-input",
     [one(chat.PLAIN, answer(usage={**USAGE, **COST})),
      one(chat.AGAIN, answer(usage={
          **USAGE, **COST, "cost_usd_input": 0.5,
          "prompt_tokens_details": {"cached_tokens": 4}}))], "pass"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "cases", "wanted"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_model_is_told_from_gateway(check: str, cases: Any, wanted: str) -> None:
    """What the model did is not laid to the gateway, and the readings that pass do pass."""
    assert verdict(check, cases) == wanted


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ("", "empty"),
        ('"[DONE]"', "done"),
        ("[done]", "done"),
        (": keep-alive", "comment"),
        ('{"a": 1}\n{"b": 2}', "several"),
        ('{"a": 1} x', "garbage"),
        ('{"a": ', "garbage"),
    ],
)
def test_unreadable_data_is_sorted(data: str, wanted: str) -> None:
    """Each way in which an event's data cannot be read is told apart."""
    assert oddness(data) == wanted
