"""Makes a transcript of an exchange that was kept under load: the form that conformance judges.

Imported once the load is over, because parsers and patterns cost a worker's start. The request is
taken apart again from its own bytes; the key in it, and any in the answer, becomes a mark.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from gateproof.redact import cover_reads, cover_text
from gateproof.sample import ErrorKind, Flag
from gateproof.transcript import Ask, Exchange, Transcript, to_json
from gateproof.wire import Read

__all__ = ["transcribe", "transcript_of"]

CROSS_TALK = "cross-talk"
"""The label of an exchange in whose answer the generator found another request's reference."""

_ASKED = frozenset({"content-type", "accept", "anthropic-version", "anthropic-beta"})
"""Headers that a check may ask for; the others are ours, and stand in the bytes that were sent."""


def transcribe(request: bytes, seen: Any, base_url: str, secrets: Mapping[str, str]) -> Exchange:
    """Return the exchange that a request's bytes and what was seen of its answer are."""
    sample = seen.sample
    sent_ns = sample.sent_ns or seen.ended_ns
    sent, sent_marks = cover_reads((Read(sent_ns, request),), secrets, "sent")
    received = tuple(Read(at_ns, data) for at_ns, data in seen.reads or ())
    received, marks = cover_reads(received, secrets, "received")
    flagged = sample.error == getattr(ErrorKind, "CROSS_TALK", -1) or bool(
        sample.flags & getattr(Flag, "CROSS_TALK", 0)
    )
    ask = _ask(sent[0].data, base_url, CROSS_TALK if flagged else "")
    return Exchange(
        ask=ask,
        url=cover_text(base_url.rstrip("/") + ask.path, secrets),
        started_ns=sent_ns - sample.connect_ns,
        connected_ns=sent_ns,
        ended_ns=max(seen.ended_ns, sent_ns),
        ended=_end(seen),
        error=cover_text(seen.error or _said(seen), secrets),
        sent=sent,
        received=received,
        marks=sent_marks + marks,
    )


def transcript_of(exchanges: Sequence[Exchange], dropped: Mapping[str, int]) -> str:
    """Return a transcript of exchanges as JSON, with how many were kept, and were not, and why."""
    use = {"kept": len(exchanges), "dropped": dict(dropped)}
    made = Transcript(scenario="load", exchanges=tuple(exchanges), use=use)
    return json.dumps(to_json(made), ensure_ascii=False)


def _end(seen: Any) -> Any:
    """Tell how an exchange ended, as the conformance client would."""
    if seen.ended:
        return seen.ended
    error = seen.sample.error
    if error == ErrorKind.TOO_LARGE:
        return "too-large"
    # Here the generator stops reading where the conformance client would have gone on.
    if error in (ErrorKind.ENCODED, ErrorKind.MALFORMED_HTTP):
        return "cancelled"
    return "closed"


def _said(seen: Any) -> str:
    return str(seen.says) if _end(seen) != "closed" else ""


def _ask(request: bytes, base_url: str, label: str) -> Ask:
    """Take a request apart."""
    head, _, body = request.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    method, target, *_ = [*line.split(" "), ""]
    headers = []
    for field in fields:
        name, _, value = field.partition(":")
        if name.lower() in _ASKED:
            headers.append((name.lower(), value.strip()))
    path = target.removeprefix(urlsplit(base_url).path.rstrip("/"))
    return Ask(path=path, method=method, headers=tuple(headers), body=body, label=label)
