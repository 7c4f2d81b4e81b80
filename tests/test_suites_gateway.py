"""Checks of the gateway between, on transcripts written by hand.

The proof runs the reference server as its own upstream, where nothing is forwarded: what a gateway
of its own does to the key, to headers, to an odd upstream and to its figures is shown here.
"""

import dataclasses
import json
from typing import Any

import pytest
from gateproof.suites.scenarios import upstream as up

from gateproof.check import CHECKS, Finding, Inconclusive, Untestable
from gateproof.suite import load_checks
from gateproof.transcript import Ask, Exchange, Mark, Transcript
from gateproof.wire import Read

CANARY = "gp0123456789ab"
KEY = "[Bearer, 17 characters, the demo key]"
OTHER_KEY = "[Bearer, 21 characters, not the demo key]"
CLIENTS_KEY = "[Bearer, 30 characters, not the demo key]"
PAGE = b"<html><body>Bad gateway</body></html>"


def answer(status: int, body: bytes, kind: str = "application/json") -> bytes:
    """Return the bytes of a response."""
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def exchange(label: str, received: bytes, key_length: int = 30) -> Exchange:
    """Return an exchange that sent a key of this length and got this."""
    return Exchange(
        ask=Ask.json("/chat/completions", {"model": "m"}, label=label),
        url="http://127.0.0.1:1/v1/chat/completions",
        started_ns=0,
        connected_ns=0,
        ended_ns=2,
        ended="closed",
        received=(Read(1, received),),
        marks=(Mark("KEY", "sent", 40, key_length, "plain"),) if key_length else (),
    )


def transcript(*exchanges: Exchange, **headers: str) -> Transcript:
    """Return a transcript whose requests all reached the upstream, with these headers there."""
    entries: tuple[dict[str, Any], ...] = tuple(
        {
            "method": "POST",
            "body": json.dumps({"messages": [up.tag(CANARY, made.ask.label)]}),
            "headers": [[name.replace("_", "-"), value] for name, value in headers.items()],
        }
        for made in exchanges
    )
    return Transcript(scenario="x", exchanges=exchanges, canary=CANARY, upstream=entries)


def verdict(check: str, seen: Transcript) -> str:
    """Return what a check makes of a transcript."""
    load_checks()
    try:
        CHECKS[check].function(seen)
    except (Finding, Inconclusive, Untestable) as raised:
        return type(raised).__name__
    return "pass"


OK = answer(200, b"{}")
ENVELOPE = b'{"error": {"message": "The upstream failed.", "type": "server_error"}}'
CASES = [
    ("key: own", "gateway.key-not-forwarded", [exchange("plain", OK)],
     {"authorization": KEY}, "pass"),
    ("key: another", "gateway.key-not-forwarded", [exchange("plain", OK)],
     {"authorization": OTHER_KEY}, "pass"),
    ("key: none", "gateway.key-not-forwarded", [exchange("plain", OK)], {}, "pass"),
    ("key: the client's", "gateway.key-not-forwarded", [exchange("plain", OK)],
     {"authorization": CLIENTS_KEY}, "Finding"),
    ("key: the client's, as x-api-key", "gateway.key-not-forwarded", [exchange("plain", OK)],
     {"x_api_key": "[no scheme, 30 characters, not the demo key]"}, "Finding"),
    ("key: one for both", "gateway.key-not-forwarded", [exchange("plain", OK, 17)],
     {"authorization": KEY}, "Inconclusive"),
    ("key: client without", "gateway.key-not-forwarded", [exchange("plain", OK, 0)],
     {"authorization": KEY}, "pass"),
    ("hop: dropped", "hdr.hop-by-hop", [exchange("plain", OK)], {"accept": "*/*"}, "pass"),
    ("hop: forwarded", "hdr.hop-by-hop", [exchange("plain", OK)],
     {"X_Gateproof_Hop": CANARY}, "Finding"),
    ("malformed: 502", "gateway.malformed-upstream-visible",
     [exchange("cut", answer(502, ENVELOPE))], {}, "pass"),
    ("malformed: passed on", "gateway.malformed-upstream-visible",
     [exchange("cut", answer(200, b'{"choices": ['))], {}, "Finding"),
    ("malformed: empty answer", "gateway.malformed-upstream-visible",
     [exchange("cut", OK)], {}, "Finding"),
    ("malformed: broken off", "gateway.malformed-upstream-visible",
     [exchange("cut", answer(200, b'{"choices": [')[:-3])], {}, "pass"),
    ("odd errors: translated", "gateway.upstream-error-envelope",
     [exchange("page", answer(502, ENVELOPE)), exchange("text", answer(400, ENVELOPE))], {},
     "pass"),
    ("odd errors: a page", "gateway.upstream-error-envelope",
     [exchange("page", answer(502, PAGE, "text/html"))], {}, "Finding"),
    ("odd errors: hidden", "gateway.upstream-error-envelope",
     [exchange("page", OK)], {}, "Untestable"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "exchanges", "headers", "wanted"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_what_needs_two_servers(
    check: str, exchanges: list[Exchange], headers: dict[str, str], wanted: str
) -> None:
    """A gateway that keeps its promise passes, and one that breaks it is found."""
    got = verdict(check, transcript(*exchanges, **headers))

    assert got == wanted


@pytest.mark.parametrize(
    "check",
    [
        "gateway.key-not-forwarded",
        "hdr.hop-by-hop",
    ],
)
def test_own_upstream_forwards_nothing(check: str) -> None:
    """A target that is its own upstream is not blamed for what it does not forward."""
    got = verdict(check, transcript())

    assert got == "pass"


def stream(text: str, *more: str, finish: str = "stop") -> bytes:
    """Return an event stream of one chunk, further data lines, and the end mark."""
    chunk = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}
    events = [json.dumps(chunk), *more, "[DONE]"]
    body = "".join(f"data: {event}\n\n" for event in events)
    return answer(200, body.encode(), "text/event-stream")


def streamed(label: str, received: bytes) -> Exchange:
    """Return an exchange that asked for a stream."""
    ask = Ask.json("/chat/completions", {"model": "m", "stream": True}, label=label)
    return dataclasses.replace(exchange(label, received), ask=ask)


TOLERANCES = [
    "gateway.codepoint-intact",
    "gateway.comments-not-data",
    "gateway.crlf-upstream-tolerated",
    "gateway.extra-fields-tolerated",
    "gateway.multiline-data-tolerated",
    "gateway.silence-tolerated",
    "gateway.split-writes-tolerated",
]
ODD = [
    ("the same", stream("Grüße"), stream("Grüße"), "pass"),
    ("as wrong as without", stream("Gr", finish="length"), stream("Gr", finish="length"), "pass"),
    ("a lost code point", stream("Grüße"), stream("Gr\ufffd\ufffdße"), "Finding"),
    ("an error event", stream("Grüße"), stream("Grüße", ENVELOPE.decode()), "Finding"),
    ("a comment as data", stream("Grüße"), stream("Grüße", ": comment"), "Finding"),
    ("cut short", stream("Grüße"), stream("Gr", finish="length"), "Finding"),
    ("a refusal", stream("Grüße"), answer(500, ENVELOPE), "Finding"),
    ("nothing", stream("Grüße"), answer(200, b"", "text/event-stream"), "Finding"),
    ("no control", answer(500, ENVELOPE), stream("Grüße"), "Untestable"),
]


@pytest.mark.parametrize("check", TOLERANCES)
@pytest.mark.parametrize(
    ("control", "odd", "wanted"), [case[1:] for case in ODD], ids=[case[0] for case in ODD]
)
def test_an_odd_upstream_makes_no_difference(
    check: str, control: bytes, odd: bytes, wanted: str
) -> None:
    """What reaches the client is the same with and without the upstream's oddity."""
    got = verdict(check, transcript(streamed("control", control), streamed("stream", odd)))

    assert got == wanted


def limited(*retry_after: str) -> bytes:
    """Return a 429, with Retry-After or without."""
    header = b"".join(b"Retry-After: %s\r\n" % value.encode() for value in retry_after)
    return answer(429, ENVELOPE).replace(b"Content-Type", header + b"Content-Type", 1)


LIMITED = [
    ("as long", limited(str(up.RETRY_AFTER_S)), ["pass", "pass", "pass"]),
    ("longer", limited("3600"), ["pass", "pass", "pass"]),
    ("shorter", limited("1"), ["Finding", "pass", "pass"]),
    ("a date", limited("Sat, 21 Nov 2026 08:49:37 GMT"), ["pass", "pass", "pass"]),
    ("a fraction", limited("7.5"), ["pass", "pass", "Finding"]),
    ("none", limited(), ["Untestable", "Finding", "pass"]),
    ("no 429", answer(503, ENVELOPE), ["Untestable", "Untestable", "Untestable"]),
]


@pytest.mark.parametrize(
    ("received", "wanted"), [case[1:] for case in LIMITED], ids=[case[0] for case in LIMITED]
)
def test_retry_after(received: bytes, wanted: list[str]) -> None:
    """Retry-After is there, can be read, and is not shorter than the upstream's."""
    checks = ["gateway.retry-after-forwarded", "err.429.retry-after", "err.429.retry-after-syntax"]

    got = [verdict(check, transcript(exchange("plain", received))) for check in checks]

    assert got == wanted


def counted(prompt: int, completion: int) -> bytes:
    """Return an answer with these token counts."""
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    return answer(200, json.dumps({"choices": [{"index": 0}], "usage": usage}).encode())


@pytest.mark.parametrize(("counts", "wanted"), [(up.USAGE, "pass"), ((7, 9), "Finding")])
def test_usage_is_the_upstreams(counts: tuple[int, int], wanted: str) -> None:
    """Counts of the gateway's own are told from the upstream's."""
    got = verdict("gateway.usage-kept", transcript(exchange("plain", counted(*counts))))

    assert got == wanted


def test_what_did_not_reach_the_upstream_is_untestable() -> None:
    """Without an entry in the journal nothing is said of the gateway."""
    lost = Transcript(scenario="x", exchanges=(exchange("plain", OK),), canary=CANARY, upstream=())

    assert verdict("hdr.hop-by-hop", lost) == "Untestable"


def test_an_unread_journal_is_untestable() -> None:
    """When the upstream's journal could not be read, no check blames the gateway."""
    unread = Transcript(scenario="x", exchanges=(exchange("plain", OK),), canary=CANARY)

    assert verdict("gateway.forwards", unread) == "Untestable"
