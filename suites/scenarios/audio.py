"""Audio: a recording of a second to transcribe, in several forms, and a word to speak.

The recording is a tone, so that no words are wanted of it; what comes back is judged by its form.
"""

import io
import math
import struct
import wave
from collections.abc import Sequence
from functools import cache

from gateproof.scenario import Steps, Use, scenario
from gateproof.transcript import Ask

__all__ = ["FORMATS", "GRAINS", "INCOMPLETE", "ORDER", "SPEECH", "STREAM", "TRANSCRIBED"]

PATH = "/audio/transcriptions"
BOUNDARY = "gateproof-7c1e0f52a4b94d"
RATE = 8000


@cache
def tone() -> bytes:
    """Return a WAV file of one second, 440 Hz, in mono."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        waves = (math.sin(2 * math.pi * 440 * place / RATE) for place in range(RATE))
        sound.writeframes(b"".join(struct.pack("<h", int(8000 * height)) for height in waves))
    return file.getvalue()


def form(fields: Sequence[tuple[str, str | bytes]], *, label: str = "") -> Ask:
    """Build a multipart request; bytes are a file."""
    parts = []
    for name, value in fields:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'
        if isinstance(value, bytes):
            head += '; filename="tone.wav"\r\nContent-Type: audio/wav'
        data = value if isinstance(value, bytes) else value.encode()
        parts.append(head.encode() + b"\r\n\r\n" + data + b"\r\n")
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    headers = (("content-type", f"multipart/form-data; boundary={BOUNDARY}"),)
    return Ask(path=PATH, body=body, headers=headers, label=label)


@scenario("audio.transcribed", needs=["transcriptions"], requests=1)
def TRANSCRIBED(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Transcribe a recording: the model first, then the file."""
    yield form([("model", use.model("transcription")), ("file", tone())])


@scenario("audio.order", needs=["transcriptions"], requests=1)
def ORDER(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Transcribe a recording: the file first, then the model."""
    yield form([("file", tone()), ("model", use.model("transcription"))])


@scenario("audio.formats", needs=["transcriptions"], requests=5)
def FORMATS(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Transcribe a recording in each format that the upstream has."""
    yield [
        form(
            [
                ("model", use.model("transcription")),
                ("response_format", name),
                ("file", tone()),
            ],
            label=name,
        )
        for name in ("json", "verbose_json", "text", "srt", "vtt")
    ]


@scenario("audio.granularities", needs=["transcriptions"], requests=1)
def GRAINS(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Transcribe a recording with the times of words."""
    yield form(
        [
            ("model", use.model("transcription")),
            ("response_format", "verbose_json"),
            ("timestamp_granularities[]", "word"),
            ("file", tone()),
        ]
    )


@scenario("audio.stream", needs=["transcriptions"], requests=1)
def STREAM(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Transcribe a recording, streamed."""
    model = use.model("transcription-stream")
    yield form([("model", model), ("stream", "true"), ("file", tone())])


@scenario("audio.incomplete", needs=["transcriptions"], requests=2)
def INCOMPLETE(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Leave out the file, and leave out the model."""
    yield [
        form([("model", use.model("transcription"))], label="no file"),
        form([("file", tone())], label="no model"),
    ]


@scenario("audio.speech", needs=["speech"], requests=1)
def SPEECH(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Speak a word."""
    value = {"model": use.model("speech"), "input": "Hello.", "voice": "alloy"}
    yield Ask.json("/audio/speech", value)
