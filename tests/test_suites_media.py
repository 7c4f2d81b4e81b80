"""What the checks of embeddings, completions, images and audio tolerate, on written transcripts.

The proof shows what they find.
"""

import base64
import json
import struct
from typing import Any

import pytest
from gateproof.suites.scenarios import audio

from gateproof.check import CHECKS, Finding, Inconclusive, Untestable
from gateproof.suite import load_checks
from gateproof.transcript import Ask, Exchange, Transcript
from gateproof.wire import Read

VECTOR = [0.6, -0.8]
REFUSAL = {"error": {"message": "Not this model.", "type": "invalid_request_error"}}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n...").decode()


def got(
    value: object, status: int = 200, label: str = "", kind: str = "application/json"
) -> Exchange:
    """Return an exchange that was answered with a JSON value, or with bytes."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return Exchange(
        ask=Ask.json("/x", {"model": "m"}, label=label),
        url="http://127.0.0.1:1/v1/x",
        started_ns=0,
        connected_ns=0,
        ended_ns=2,
        ended="closed",
        received=(Read(1, head.encode() + body),),
    )


def embedded(*vectors: Any, label: str = "") -> Exchange:
    """Return an answer with these embeddings."""
    data = [
        {"object": "embedding", "index": place, "embedding": vector}
        for place, vector in enumerate(vectors)
    ]
    return got({"object": "list", "data": data, "model": "m"}, label=label)


def packed(*numbers: float, order: str = "<") -> str:
    """Return base64 of 32-bit numbers."""
    return base64.b64encode(struct.pack(f"{order}{len(numbers)}f", *numbers)).decode()


def verdict(check: str, *exchanges: Exchange) -> str:
    """Return what a check makes of exchanges: one transcript, or one for each."""
    load_checks()
    found = CHECKS[check]
    groups = [(item,) for item in exchanges] if found.across else [exchanges]
    seen = [Transcript(scenario="x", exchanges=tuple(group)) for group in groups]
    try:
        return found.function(*seen) or "pass"
    except (Finding, Inconclusive, Untestable) as raised:
        return type(raised).__name__


def completion(text: str, reason: str, **more: Any) -> dict[str, Any]:
    """Return a completion in the envelope that puts its choices under data."""
    choices = [{"text": text, "index": 0, "finish_reason": reason}]
    return {"object": "completion", "data": {"choices": choices}, **more}


FLOATS = [embedded(VECTOR, label="float"), embedded(VECTOR, label="default")]
CASES: list[tuple[str, str, list[Exchange], str]] = [
    ("no base64 claimed", "emb.float", FLOATS, "not compared with base64"),
    ("rounded to 32 bits", "emb.float", [*FLOATS, embedded(packed(*VECTOR), label="base64")],
     "as base64, within 3.0e-08"),
    ("other order of bytes", "emb.float",
     [*FLOATS, embedded(packed(*VECTOR, order=">"), label="base64")], "Untestable"),
    ("other order of bytes", "emb.base64-default",
     [*FLOATS, embedded(packed(*VECTOR, order=">"), label="base64")], "Finding"),
    ("refused", "emb.base64-default", [*FLOATS, got(REFUSAL, 400, "base64")], "refused with 400"),
    ("crashed", "emb.base64-default", [*FLOATS, got(REFUSAL, 500, "base64")], "Finding"),
    ("refused", "emb.dimensions", [got(REFUSAL, 400)], "refused with 400"),
    ("tokens refused", "emb.input-forms", [got(REFUSAL, 422, "tokens")], "tokens refused"),
    ("strings refused", "emb.input-forms", [got(REFUSAL, 400, "a list of strings")], "Finding"),
    ("a batch's noise", "emb.order-index",
     [embedded([0.6001, -0.7999], [0.8, 0.6], [-1.0, 0.0]), embedded(VECTOR)], "pass"),
    ("only chats", "completions.answers", [got(REFUSAL, 404)], "refused with 404"),
    ("only chats", "completions.schema", [got(REFUSAL, 400)], "Inconclusive"),
    ("only chats", "completions.range-ends", [got(REFUSAL, 400), got(REFUSAL, 400)],
     "Inconclusive"),
    ("a crash", "completions.answers", [got(REFUSAL, 500)], "Finding"),
    ("another envelope", "completions.max-tokens-bound", [got(completion("1, 2, 3", "length"))],
     "pass"),
    ("ended by itself", "completions.max-tokens-bound", [got(completion("No.", "stop"))],
     "Inconclusive"),
    ("no usage", "completions.usage", [got(completion("a", "stop"))], "no usage"),
    ("base64 for a URL", "img.b64-or-url", [got({"data": [{"b64_json": PNG}]}, label="url")],
     "url as b64_json"),
    ("URL for base64", "img.b64-or-url",
     [got({"data": [{"url": "https://x/y.png"}]}, label="b64_json")], "Finding"),
    ("form refused", "img.b64-or-url", [got(REFUSAL, 400, "url")], "url refused"),
    ("data URL", "img.b64-or-url", [got({"data": [{"url": "data:image/png;base64,AA"}]})],
     "default as url"),
    ("format refused", "audio.response-format", [got(REFUSAL, 400, "vtt")], "vtt refused"),
    ("empty subtitles", "audio.response-format", [got(b"", label="srt", kind="text/plain")],
     "srt as text/plain"),
    ("no words heard", "audio.granularities", [got({"text": ""})], "no words were heard"),
    ("no times", "audio.granularities", [got(REFUSAL, 400)], "Inconclusive"),
    ("not streamed", "audio.sse-end", [got({"text": ""})], "not streamed"),
    ("refused", "audio.sse-end", [got(REFUSAL, 400)], "no stream: status 400"),
    ("no type of its own", "audio.speech-answers",
     [got(b"ID3", kind="application/octet-stream")], "3 bytes of application/octet-stream"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "exchanges", "wanted"),
    [pytest.param(*case[1:], id=f"{case[1]}: {case[0]}") for case in CASES],
)
def test_lenience(check: str, exchanges: list[Exchange], wanted: str) -> None:
    """A check takes every reading of its requirement, and blames no gateway for its model."""
    assert verdict(check, *exchanges) == wanted


def test_a_form_is_multipart() -> None:
    """An upload has its fields in the order given, the file with its name and type."""
    ask = audio.form([("model", "m"), ("file", b"\0\1")])
    boundary = audio.BOUNDARY.encode()

    assert ask.headers == (("content-type", f"multipart/form-data; boundary={audio.BOUNDARY}"),)
    assert ask.body.split(b"--" + boundary) == [
        b"",
        b'\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n',
        (
            b'\r\nContent-Disposition: form-data; name="file"; filename="tone.wav"\r\n'
            b"Content-Type: audio/wav\r\n\r\n\0\1\r\n"
        ),
        b"--\r\n",
    ]
