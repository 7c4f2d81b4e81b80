"""Checks of refusals, model paths and headers, on answers that the proof cannot make."""

import pytest
from gateproof.suites.scenarios.errors import LONG_ID

from gateproof.check import CHECKS, Finding, Untestable
from gateproof.suite import load_checks
from gateproof.transcript import Ask, Exchange, Transcript
from gateproof.wire import Read


def exchange(received: str, path: str = "/models/") -> Exchange:
    """Return an exchange that got this."""
    return Exchange(
        ask=Ask(method="GET", path=path),
        url=f"http://127.0.0.1:1/v1{path}",
        started_ns=0,
        connected_ns=0,
        ended_ns=2,
        ended="closed",
        received=(Read(1, received.encode()),),
    )


def answer(status: int, *headers: str, body: str = "{}") -> str:
    """Return the text of a response."""
    lines = [f"HTTP/1.1 {status} X", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", body])


def verdict(check: str, *received: str) -> str:
    """Return what a check makes of these answers."""
    load_checks()
    exchanges = tuple(exchange(text) for text in received)
    try:
        CHECKS[check].function(Transcript(scenario="x", exchanges=exchanges))
    except (Finding, Untestable) as raised:
        return type(raised).__name__
    return "pass"


JSON = "Content-Type: application/json"
THERE = "Location: /v1/models"
CASES = {
    "slash: answered": ("models.trailing-slash", [answer(200, JSON)], "pass"),
    "slash: unknown": ("models.trailing-slash", [answer(404, JSON)], "pass"),
    "slash: redirected once": (
        "models.trailing-slash", [answer(307, THERE), answer(200, JSON)], "pass"
    ),
    "slash: loops": (
        "models.trailing-slash", [answer(307, THERE), answer(307, THERE)], "Finding"
    ),
    "slash: redirected nowhere": ("models.trailing-slash", [answer(307)], "Finding"),
    "slash: fails": ("models.trailing-slash", [answer(500, JSON)], "Finding"),
    "id: the gateway's": ("hdr.request-id-sane", [answer(400, "X-Request-Id: 7")], "pass"),
    "id: none": ("hdr.request-id-sane", [answer(400)], "pass"),
    "id: shortened": (
        "hdr.request-id-sane", [answer(400, f"X-Request-Id: {LONG_ID[:64]}")], "pass"
    ),
    "id: echoed": ("hdr.request-id-sane", [answer(400, f"X-Request-Id: {LONG_ID}")], "Finding"),
    "coding: none": ("hdr.content-encoding", [answer(200)], "pass"),
    "coding: identity": (
        "hdr.content-encoding", [answer(200, "Content-Encoding: identity")], "pass"
    ),
    "coding: unknown": ("hdr.content-encoding", [answer(200, "Content-Encoding: br")], "Finding"),
    "coding: a lie": ("hdr.content-encoding", [answer(200, "Content-Encoding: gzip")], "Finding"),
    "framing: whole": ("http.framing-complete", [answer(200)], "pass"),
    "framing: short": ("http.framing-complete", [answer(200)[:-1]], "Finding"),
    "framing: long": ("http.framing-complete", [answer(200) + "x"], "Finding"),
    "framing: until closed": ("http.framing-complete", ["HTTP/1.1 200 X\r\n\r\n{}"], "pass"),
    "http: a page of 0.9": ("http.valid-response", ["<html>\r\n\r\n"], "Finding"),
    "http: two framings": (
        "http.valid-response", [answer(200, "Transfer-Encoding: chunked")], "Finding"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("check", "received", "wanted"), CASES.values(), ids=CASES.keys())
def test_what_the_proof_cannot_show(check: str, received: list[str], wanted: str) -> None:
    """A right answer passes, and one that is wrong in this way is found."""
    assert verdict(check, *received) == wanted
