"""What an answer says that it cost is read in either dialect, and leniently."""

import json
from decimal import Decimal

import pytest

from gateproof.spending import Spent, spent_in
from gateproof.transcript import Ask, Exchange
from gateproof.wire import Read

USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "cost_usd_total": 0.25}


def answered(body: str, kind: str = "application/json", status: int = 200) -> Exchange:
    """Make an exchange that got this body."""
    data = body.encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
    return Exchange(
        ask=Ask(path="/x"), url="http://x/x", started_ns=0, connected_ns=0, ended_ns=2,
        ended="closed", received=(Read(1, head.encode() + data),),
    )  # fmt: skip


def events(*values: object) -> str:
    """Write a stream of events."""
    return "".join(f"data: {json.dumps(value)}\n\n" for value in values) + "data: [DONE]\n\n"


START = {"message": {"usage": {"input_tokens": 7, "output_tokens": 1}}}
STREAM = "text/event-stream"


@pytest.mark.parametrize(
    ("exchange", "wanted"),
    [
        (answered(json.dumps({"usage": USAGE})), Spent(7, 5, Decimal("0.25"))),
        (answered(json.dumps({"usage": {"cost": 3}})), Spent(0, 0, Decimal(3))),
        (answered(events({"x": 1}, {"usage": USAGE}), STREAM), Spent(7, 5, Decimal("0.25"))),
        (answered(events(START, {"usage": {"output_tokens": 9}}), STREAM), Spent(7, 9)),
        (answered('{"usage": '), Spent()),
        (answered('["usage"]'), Spent()),
        (answered('{"usage": [1]}'), Spent()),
        (answered('{"usage": {"prompt_tokens": true, "cost": -1}}'), Spent()),
        (answered('data: {"usage"\n\n', STREAM), Spent()),
        (answered(json.dumps({"usage": USAGE}), status=500), Spent()),
    ],
    ids=[
        "answer", "newer cost", "stream", "messages", "cut", "no object", "no usage", "odd",
        "odd event", "refusal",
    ],
)  # fmt: skip
def test_cost_of_an_answer(exchange: Exchange, wanted: Spent) -> None:
    """Tokens and money are what the answer names; what cannot be read counts as nothing."""
    assert spent_in(exchange) == wanted
