"""Images, speech and transcriptions."""

import base64
import io
import json
import urllib.request
from pathlib import Path

import pytest
from openai import OpenAI

PNG = b"\x89PNG\r\n\x1a\n"
SAID = "The harbour was quiet before the first boats came in."


@pytest.fixture(scope="module")
def recording(client: OpenAI) -> bytes:
    """Return speech in a WAV file."""
    return client.audio.speech.create(
        model="tts-1", voice="alloy", input=SAID, response_format="wav"
    ).read()


def test_images_come_as_base64(client: OpenAI) -> None:
    """Images come as real PNGs in base64, as many as asked for."""
    answer = client.images.generate(
        model="dall-e-2", prompt="a harbour", n=2, size="1024x1024", response_format="b64_json"
    )

    images = [base64.b64decode(image.b64_json, validate=True) for image in answer.data]
    assert [image[:8] for image in images] == [PNG, PNG]
    assert answer.created > 0


def test_images_come_by_url(client: OpenAI) -> None:
    """An image's URL leads to a real PNG."""
    answer = client.images.generate(model="dall-e-2", prompt="a harbour", response_format="url")
    with urllib.request.urlopen(answer.data[0].url, timeout=5) as image:
        assert image.read(8) == PNG
        assert image.headers["Content-Type"] == "image/png"


def test_image_model_answers_base64_unasked(client: OpenAI) -> None:
    """The newer image model always answers in base64, and counts tokens."""
    answer = client.images.generate(model="gpt-image-1", prompt="a harbour")

    assert base64.b64decode(answer.data[0].b64_json, validate=True)[:8] == PNG
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


def test_speech_is_streamed_to_a_file(client: OpenAI, tmp_path: Path) -> None:
    """Speech can be streamed to a file as the client does it."""
    file = tmp_path / "speech.mp3"
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=SAID
    ) as answer:
        answer.stream_to_file(file)

    assert file.stat().st_size > 100


def test_transcription_is_typed(client: OpenAI, recording: bytes, tmp_path: Path) -> None:
    """A file is sent as the client sends files, and its text comes back."""
    file = tmp_path / "speech.wav"
    file.write_bytes(recording)
    with file.open("rb") as opened:
        answer = client.audio.transcriptions.create(model="whisper-1", file=opened)

    assert answer.text == SAID


@pytest.mark.parametrize(
    ("form", "begin"), [("text", "The harbour"), ("srt", "1\n00:00:00,000 --> "), ("vtt", "WEBVTT")]
)  # fmt: skip
def test_transcription_as_text(client: OpenAI, recording: bytes, form: str, begin: str) -> None:
    """Text, SRT and VTT come as plain strings."""
    answer = client.audio.transcriptions.create(
        model="whisper-1", file=("speech.wav", recording, "audio/wav"), response_format=form
    )

    assert isinstance(answer, str)
    assert answer.startswith(begin)
    assert "boats came in" in answer


def test_transcription_with_times(client: OpenAI, recording: bytes) -> None:
    """Segments and words come with their times when both are asked for."""
    answer = client.audio.transcriptions.create(
        model="whisper-1", file=("speech.wav", io.BytesIO(recording)), language="en",
        prompt="A harbour.", temperature=0, response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )  # fmt: skip

    assert answer.text == SAID
    assert answer.language
    assert [word.word for word in answer.words][:2] == ["The", "harbour"]
    assert all(word.start <= word.end <= float(answer.duration) for word in answer.words)
    assert answer.segments[0].start == 0


def test_transcription_stream(client: OpenAI, recording: bytes) -> None:
    """A streamed transcription tells deltas and ends with the whole text."""
    events = list(
        client.audio.transcriptions.create(
            model="gpt-4o-mini-transcribe", file=("speech.wav", recording), stream=True
        )
    )

    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    assert "".join(deltas) == events[-1].text == SAID
    assert events[-1].type == "transcript.text.done"


def test_legacy_completions(client: OpenAI) -> None:
    """Text completions answer prompts, one or several, whole and streamed."""
    wanted = {"model": "gpt-3.5-turbo-instruct", "prompt": "Repeat exactly: a b c"}
    whole = client.completions.create(**wanted)
    with client.completions.create(**wanted, stream=True) as stream:
        parts = [choice.text for chunk in stream for choice in chunk.choices]
    several = client.completions.create(
        model="gpt-3.5-turbo-instruct", prompt=["Repeat exactly: x", "Repeat exactly: y"]
    )

    assert whole.object == "text_completion"
    assert whole.choices[0].text == "".join(parts) == "a b c"
    assert [(choice.index, choice.text) for choice in several.choices] == [(0, "x"), (1, "y")]


def test_body_of_a_transcription_is_a_form(client: OpenAI, recording: bytes, seen) -> None:
    """The server reads the very form that this client writes."""
    client.audio.transcriptions.create(
        model="whisper-1", file=("speech.wav", recording), extra_headers=seen.header
    )

    kind = seen.only()["headers"]["content-type"]
    assert kind.startswith("multipart/form-data; boundary=")
    assert json.dumps(kind)
