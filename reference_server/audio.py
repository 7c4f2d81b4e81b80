"""Audio: speech that carries its text, and transcriptions that find it there.

Speech is a short tone, or silence, in a real file with the text in its comment; a transcription of
such a file gives the text back. What is said in any other file follows from its bytes, as prose.
Times are spread over the file's length: that of a WAV file is exact, others are taken for speech
of 16 kilobytes a second.
Sources: OpenAI's OpenAPI document 2.3.0, createTranscription and createSpeech.
"""

import hashlib
import io
import struct
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .access import check_quota, model_of, spend
from .call import Call
from .chat import complete
from .errors import ApiError
from .jsontext import dumps
from .multipart import Form
from .rules import Rule, missing, nullable, number, object_, one_of, text, wrong_type, wrong_value
from .script import JSON, Reply, Step
from .tokens import count, tokenize
from .validate import check_fields

__all__ = ["speak", "spoken_text", "transcribe"]

_KINDS = ("flac", "mp3", "mp4", "mpeg", "mpga", "m4a", "ogg", "oga", "opus", "wav", "webm")
_FORMATS = ("json", "text", "srt", "verbose_json", "vtt", "diarized_json")
_RATE = 8000
_MARK = b"gateproof:"


# Speech


def _voice(value: object, param: str) -> None:
    if isinstance(value, dict):
        object_({"id": text()})(value, param)
    else:
        text()(value, param)


def _spoken(value: object, param: str) -> None:
    text(4096)(value, param)
    if not value:
        raise wrong_value(param, "a text that is not empty")


_SPEECH_FIELDS: dict[str, Rule] = {
    "model": text(),
    "input": _spoken,
    "voice": _voice,
    "instructions": nullable(text(4096)),
    "response_format": nullable(one_of("mp3", "opus", "aac", "flac", "wav", "pcm")),
    "speed": nullable(number(0.25, 4)),
    "stream_format": nullable(one_of("sse", "audio")),
}


def _tone(seconds: float) -> bytes:
    samples = int(seconds * _RATE)
    return bytes(128 + (40 if place // 20 % 2 else -40) for place in range(samples))


def _wav(said: str, seconds: float) -> bytes:
    comment = _MARK + said.encode("utf-8", "replace")
    comment += b"\0" * (len(comment) % 2)
    info = b"INFO" + b"ICMT" + struct.pack("<I", len(comment)) + comment
    sound = _tone(seconds)
    sound += b"\0" * (len(sound) % 2)
    body = (
        b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, _RATE, _RATE, 1, 8)
        + b"LIST" + struct.pack("<I", len(info)) + info
        + b"data" + struct.pack("<I", len(sound)) + sound
    )  # fmt: skip
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _mp3(said: str, seconds: float) -> bytes:
    """Write silent frames of MPEG 1 layer III (128 kbit/s, 44.1 kHz, mono) after an ID3 tag."""
    title = b"\x03" + _MARK + said.encode("utf-8", "replace")

    def syncsafe(size: int) -> bytes:
        return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))

    frame = b"TIT2" + syncsafe(len(title)) + b"\0\0" + title
    tag = b"ID3\x04\0\0" + syncsafe(len(frame)) + frame
    silence = b"\xff\xfb\x90\xc4".ljust(417, b"\0")
    return tag + silence * max(1, round(seconds / 0.0261))


def speak(call: Call) -> Reply:
    """Answer ``POST /audio/speech``."""
    if call.problem is not None:
        raise call.problem
    payload = call.payload
    check_fields(payload, _SPEECH_FIELDS, "model", "input", "voice")
    model = model_of(call, payload["model"], "speech")
    check_quota(call)
    kind = payload.get("response_format") or "mp3"
    if kind not in {"mp3", "wav", "pcm"} or payload.get("stream_format") == "sse":
        name = "response_format" if payload.get("stream_format") != "sse" else "stream_format"
        raise ApiError(
            400, "Only mp3, wav and pcm are made here.", param=name, code="unsupported_value"
        )
    said = payload["input"]
    spend(call, model, count(said), 0)
    seconds = min(0.1 + 0.02 * count(said), 2.0)
    if kind == "mp3":
        return Reply(200, (("Content-Type", "audio/mpeg"),), text=_mp3(said, seconds))
    if kind == "wav":
        return Reply(200, (("Content-Type", "audio/wav"),), text=_wav(said, seconds))
    return Reply(200, (("Content-Type", "audio/pcm"),), text=b"\0\0" * int(seconds * 24_000))


# Transcriptions


def spoken_text(data: bytes) -> str | None:
    """Return the text that a file of this server's carries, or None."""
    start = data.find(_MARK)
    if start < 0:
        return None
    start += len(_MARK)
    if data.startswith(b"RIFF"):
        size = int.from_bytes(data[start - len(_MARK) - 4 : start - len(_MARK)], "little")
        written = data[start : start - len(_MARK) + size].rstrip(b"\0")
    else:
        end = data.find(b"\xff\xfb\x90\xc4", start)
        written = data[start:end] if end >= 0 else data[start:]
    return written.decode("utf-8", "replace")


def _length_s(data: bytes) -> float:
    try:
        with wave.open(io.BytesIO(data)) as sound:
            return float(sound.getnframes() / (sound.getframerate() or 1))
    except (wave.Error, EOFError):
        return len(data) / 16_000


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a form asks for."""

    model: str
    data: bytes
    format: str
    grains: tuple[str, ...]
    language: str
    streams: bool


def _choice(form: Form, name: str, values: Sequence[str], default: str) -> str:
    given = form.text(name)
    if given is None:
        return default
    one_of(*values)(given, name)
    return given


def _read(form: Form) -> _Wanted:
    files = form.all("file")
    if not files:
        raise missing("file")
    file = files[-1]
    if file.filename is None:
        raise wrong_type("file", "a file with its name", file.text)
    if not file.data:
        raise wrong_value("file", "a file that is not empty")
    ending = file.filename.rpartition(".")[2].lower()
    if ending not in _KINDS:
        raise wrong_value("file", f"a file whose name ends with one of {', '.join(_KINDS)}")
    model = form.text("model")
    if model is None:
        raise missing("model")
    kind = _choice(form, "response_format", _FORMATS, "json")
    temperature = form.text("temperature")
    if temperature is not None:
        try:
            number(0, 1)(float(temperature), "temperature")
        except ValueError:
            raise wrong_type("temperature", "a number", temperature) from None
    grains = []
    for name in ("timestamp_granularities[]", "timestamp_granularities"):
        for part in form.all(name):
            one_of("word", "segment")(part.text, name)
            grains.append(part.text)
    if grains and kind != "verbose_json":
        raise ApiError(
            400,
            "'timestamp_granularities' needs the response format 'verbose_json'.",
            param="timestamp_granularities[]",
        )
    streams = _choice(form, "stream", ("true", "false", "True", "False", "1", "0"), "false")
    return _Wanted(
        model, file.data, kind, tuple(grains), form.text("language") or "en",
        streams in {"true", "True", "1"},
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Heard:
    """What is said in a file, and when."""

    text: str
    length_s: float

    def words(self) -> list[dict[str, Any]]:
        words = self.text.split()
        step = self.length_s / max(1, len(words))
        return [
            {
                "word": word.strip(".,!?;:"),
                "start": round(place * step, 3),
                "end": round((place + 1) * step, 3),
            }
            for place, word in enumerate(words)
        ]

    def segments(self) -> list[tuple[float, float, str]]:
        """Cut the text into pieces of at most ten words, with their times."""
        words = self.text.split()
        step = self.length_s / max(1, len(words))
        return [
            (at * step, min(at + 10, len(words)) * step, " ".join(words[at : at + 10]))
            for at in range(0, len(words), 10)
        ]


def _clock(at_s: float, comma: str) -> str:
    ms = round(at_s * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{comma}{ms % 1000:03}"


def _subtitles(heard: _Heard, kind: str) -> str:
    comma = "," if kind == "srt" else "."
    lines = ["WEBVTT\n"] if kind == "vtt" else []
    for place, (start, end, said) in enumerate(heard.segments(), start=1):
        number_ = f"{place}\n" if kind == "srt" else ""
        lines.append(f"{number_}{_clock(start, comma)} --> {_clock(end, comma)}\n{said}\n")
    return "\n".join(lines) + "\n"


def _verbose(heard: _Heard, wanted: _Wanted) -> dict[str, Any]:
    grains = wanted.grains or ("segment",)
    body: dict[str, Any] = {
        "task": "transcribe",
        "language": "english" if wanted.language == "en" else wanted.language,
        "duration": round(heard.length_s, 3),
        "text": heard.text,
    }
    if "word" in grains:
        body["words"] = heard.words()
    if "segment" in grains:
        body["segments"] = [
            {
                "id": place,
                "seek": 0,
                "start": round(start, 3),
                "end": round(end, 3),
                "text": said,
                "tokens": [],
                "temperature": 0.0,
                "avg_logprob": -0.25,
                "compression_ratio": 1.1,
                "no_speech_prob": 0.01,
            }
            for place, (start, end, said) in enumerate(heard.segments())
        ]
    return body


def _events(call: Call, heard: _Heard, usage: dict[str, Any]) -> Iterator[Step]:
    schedule = call.timing.schedule(0)
    at_ns = schedule.at(0)
    for place, token in enumerate(tokenize(heard.text)):
        at_ns = max(at_ns, schedule.at(place))
        yield Step(at_ns, dumps({"type": "transcript.text.delta", "delta": token}), "content")
    done = {"type": "transcript.text.done", "text": heard.text, "usage": usage}
    yield Step(at_ns, dumps(done), "finish")


def transcribe(call: Call) -> Reply:
    """Answer ``POST /audio/transcriptions``."""
    if call.form is None:
        raise call.form_problem or ApiError(
            415,
            "A transcription is asked for with a body of the type multipart/form-data.",
            code="unsupported_media_type",
        )
    wanted = _read(call.form)
    name = wanted.model.partition("+")[0]
    model = model_of(call, name, "transcriptions")
    streamed = "streamed transcriptions" in model.does
    check_quota(call)
    if wanted.format == "diarized_json":
        raise ApiError(
            400, "No model here tells speakers apart.", param="response_format",
            code="unsupported_value",
        )  # fmt: skip
    said = spoken_text(wanted.data)
    if said is None:
        digest = hashlib.blake2b(wanted.data, digest_size=8).hexdigest()
        message = {"role": "user", "content": f"What is said in {digest}?"}
        said = complete({"messages": [message]}, model=model.name).choices[0].text
    heard = _Heard(said, _length_s(wanted.data))
    read, written = round(heard.length_s * 10), count(said)
    spend(call, model, read, written, name=name)
    usage: dict[str, Any] = {"type": "duration", "seconds": -int(-heard.length_s // 1)}
    if streamed:
        usage = {
            "type": "tokens",
            "input_tokens": read,
            "output_tokens": written,
            "total_tokens": read + written,
            "input_token_details": {"text_tokens": 0, "audio_tokens": read},
        }
    if wanted.streams and streamed:
        headers = (("Content-Type", "text/event-stream; charset=utf-8"),)
        events = _events(call, heard, usage)
        return Reply(200, headers, events=events, at_ns=call.timing.ttft_ns)
    at_ns = call.timing.ttft_ns
    if wanted.format == "json":
        return Reply(200, (JSON,), body={"text": said, "usage": usage}, at_ns=at_ns)
    if wanted.format == "verbose_json":
        body = {**_verbose(heard, wanted), "usage": usage}
        return Reply(200, (JSON,), body=body, at_ns=at_ns)
    plain = said + "\n" if wanted.format == "text" else _subtitles(heard, wanted.format)
    headers = (("Content-Type", "text/plain; charset=utf-8"),)
    return Reply(200, headers, text=plain.encode(), at_ns=at_ns)
