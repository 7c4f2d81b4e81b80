"""Tests of speech, transcriptions and multipart bodies in the reference server."""

import contextlib
import io
import json
import wave
from collections.abc import Iterator
from typing import Any

import pytest
from gateproof.reference_server.audio import spoken_text
from gateproof.reference_server.errors import ApiError
from gateproof.reference_server.multipart import Part, read_form
from gateproof.reference_server.server import serve_in_thread
from hypothesis import given
from hypothesis import strategies as st

from tests.reference_http import KEY, Got, send

BOUNDARY = "edge"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"
TEXT = "Héllo world, this is a test of speech."


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Run one server for all tests of this file."""
    with serve_in_thread() as url:
        yield url


@pytest.fixture(scope="module")
def recording(server: str) -> bytes:
    """Have a text spoken."""
    body = {"model": "tts-1", "voice": "alloy", "input": TEXT, "response_format": "wav"}
    return send(server, "POST", "/v1/audio/speech", body).body


def form(*fields: tuple[str, str | bytes]) -> bytes:
    """Write a multipart body; bytes are a file."""
    lines = b""
    for name, value in fields:
        file = '; filename="speech.wav"' if isinstance(value, bytes) else ""
        data = value if isinstance(value, bytes) else value.encode()
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        lines += head.encode() + data + b"\r\n"
    return lines + f"--{BOUNDARY}--\r\n".encode()


def transcribe(url: str, *fields: tuple[str, str | bytes], type_: str = TYPE) -> Got:
    """Ask for a transcription."""
    headers = {"authorization": f"Bearer {KEY}", "content-type": type_}
    return send(url, "POST", "/v1/audio/transcriptions", form(*fields), headers=headers)


MODEL = ("model", "whisper-1")


@pytest.mark.parametrize("kind", ["wav", "mp3"])
def test_speech_carries_its_text(server: str, kind: str) -> None:
    """Speech is a file of its kind, and a transcription finds the text in it."""
    body = {"model": "tts-1", "voice": "alloy", "input": TEXT, "response_format": kind}

    got = send(server, "POST", "/v1/audio/speech", body)

    assert got.header("content-type") == {"wav": "audio/wav", "mp3": "audio/mpeg"}[kind]
    assert spoken_text(got.body) == TEXT
    if kind == "wav":
        with wave.open(io.BytesIO(got.body)) as sound:
            assert (sound.getnchannels(), sound.getframerate()) == (1, 8000)


@pytest.mark.parametrize("file_first", [False, True], ids=["model first", "file first"])
def test_fields_come_in_any_order(server: str, recording: bytes, file_first: bool) -> None:  # noqa: FBT001  # a table's column
    """A transcription does not depend on the order of the form's fields."""
    fields = [("file", recording), MODEL] if file_first else [MODEL, ("file", recording)]

    body = transcribe(server, *fields).json()

    assert body["text"] == TEXT
    assert body["usage"]["type"] == "duration"


def test_a_strange_file_is_heard_as_prose(server: str) -> None:
    """What is said in a file that is not of the server's follows from its bytes."""
    texts = [transcribe(server, MODEL, ("file", b"noise")).json()["text"] for _ in range(2)]

    assert texts[0] == texts[1] != ""


@pytest.mark.parametrize(
    ("kind", "type_", "begins"),
    [
        ("json", "application/json", '{"text":'),
        ("verbose_json", "application/json", '{"task":"transcribe"'),
        ("text", "text/plain; charset=utf-8", "Héllo"),
        ("srt", "text/plain; charset=utf-8", "1\n00:00:00,000 --> 00:00:00,"),
        ("vtt", "text/plain; charset=utf-8", "WEBVTT\n\n00:00:00.000 --> 00:00:00."),
    ],
)
def test_the_answer_has_the_form_asked_for(
    server: str, recording: bytes, kind: str, type_: str, begins: str
) -> None:
    """response_format decides the body and its type."""
    got = transcribe(server, MODEL, ("file", recording), ("response_format", kind))

    assert (got.status, got.header("content-type")) == (200, type_)
    assert got.body.decode().startswith(begins)


@pytest.mark.parametrize(
    ("grains", "members"),
    [
        ([], {"segments"}),
        (["word"], {"words"}),
        (["word", "segment"], {"words", "segments"}),
    ],
)
def test_times_come_as_asked_for(
    server: str, recording: bytes, grains: list[str], members: set[str]
) -> None:
    """verbose_json has times of words, of segments, or of both, within the recording."""
    fields = [("timestamp_granularities[]", grain) for grain in grains]

    body = transcribe(
        server, MODEL, ("file", recording), ("response_format", "verbose_json"), *fields
    ).json()

    assert {"words", "segments"} & set(body) == members
    ends = [piece["end"] for name in members for piece in body[name]]
    assert max(ends) <= body["duration"] + 0.001


def test_a_streamed_transcription_ends_without_done(server: str, recording: bytes) -> None:
    """A stream has deltas and a last event with the whole text, and no [DONE]."""
    model = ("model", "gpt-4o-mini-transcribe")

    got = transcribe(server, model, ("file", recording), ("stream", "true"))

    events = [json.loads(line[6:]) for line in got.body.decode().split("\n\n") if line]
    assert "".join(event.get("delta", "") for event in events) == TEXT
    assert (events[-1]["type"], events[-1]["text"]) == ("transcript.text.done", TEXT)


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ([MODEL], 400, "file"),
        ([("file", b"x")], 400, "model"),
        ([MODEL, ("file", "no file")], 400, "file"),
        ([MODEL, ("file", b"")], 400, "file"),
        ([MODEL, ("file", b"x"), ("response_format", "pdf")], 400, "response_format"),
        ([MODEL, ("file", b"x"), ("temperature", "warm")], 400, "temperature"),
        ([MODEL, ("file", b"x"), ("temperature", "2")], 400, "temperature"),
        (
            [MODEL, ("file", b"x"), ("timestamp_granularities[]", "word")],
            400,
            "timestamp_granularities[]",
        ),
        ([("model", "gpt-4o"), ("file", b"x")], 400, "model"),
        ([("model", "nope"), ("file", b"x")], 404, "model"),
    ],
)
def test_what_breaks_a_rule_is_refused(
    server: str, fields: list[Any], status: int, param: str
) -> None:
    """A form that breaks a rule is refused with an error that names the field."""
    got = transcribe(server, *fields)

    assert (got.status, got.json()["error"]["param"]) == (status, param)


def test_each_route_wants_its_type(server: str) -> None:
    """A transcription is no JSON, and a chat is no form."""
    as_json = send(server, "POST", "/v1/audio/transcriptions", {"model": "whisper-1"})
    headers = {"authorization": f"Bearer {KEY}", "content-type": TYPE}
    as_form = send(server, "POST", "/v1/chat/completions", form(MODEL), headers=headers)

    assert (as_json.status, as_form.status) == (415, 415)


def test_a_model_in_a_form_may_name_behaviours(server: str) -> None:
    """Behaviours after the model's name act on forms as on JSON."""
    got = transcribe(server, ("model", "whisper-1+status=503"), ("file", b"x"))

    assert got.status == 503


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no boundary",
        b"--edge\r\n\r\n",
        b"--edge--\r\n",
        b"--edge\r\nContent-Disposition: form-data\r\n\r\nx\r\n--edge--\r\n",
        b'--edge\r\nContent-Disposition: form-data; name="a"\r\nx\r\n--edge--\r\n',
        b'--edge\r\nContent-Disposition: form-data; name="a"\r\n\r\nx',
        b'--edgeContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--edge--\r\n',
    ],
)
def test_a_broken_form_is_refused(server: str, body: bytes) -> None:
    """A form that is not whole gets 400, and never ends the server."""
    headers = {"authorization": f"Bearer {KEY}", "content-type": TYPE}

    got = send(server, "POST", "/v1/audio/transcriptions", body, headers=headers)

    assert got.status == 400


@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="ascii", categories=["L"]), min_size=1),
                  st.binary().filter(lambda data: b"\r\n--edge" not in data)),
        min_size=1, max_size=5,
    )
)  # fmt: skip
def test_what_is_written_is_read(fields: list[tuple[str, bytes]]) -> None:
    """Whatever bytes a part has, they come out again."""
    got = read_form(TYPE, form(*fields))

    assert got.parts == tuple(Part(name, data, "speech.wav") for name, data in fields)


@given(st.binary())
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """No body makes the reader fail otherwise than by refusing it."""
    with contextlib.suppress(ApiError):
        read_form(TYPE, b"--edge" + body + b"--edge--")
