"""Checks of audio: transcriptions of multipart uploads, and speech."""

from gateproof.check import Inconclusive, Untestable, check, expect
from gateproof.dialects import openai
from gateproof.transcript import Transcript

from .reading import accepted, clean_refusal, each, shown
from .refusal import turned_down
from .scenarios.audio import FORMATS, GRAINS, INCOMPLETE, ORDER, SPEECH, STREAM, TRANSCRIBED

JSON_FORMATS = ("json", "verbose_json")


@check("audio.answers", on=[TRANSCRIBED])
def test_recording_is_transcribed(seen: Transcript) -> str:
    """A recording is answered with 200 and a string text."""
    accepted(seen[0], wanted="200 and a text")
    text = openai.answer(seen[0]).get("text")
    expect(isinstance(text, str), wanted="text: a string", got=f"text: {text!r}")
    return f"{text!r}"[:60]


@check("audio.multipart-order", across=[ORDER, TRANSCRIBED])
def test_parts_come_in_any_order(order: Transcript, usual: Transcript) -> None:
    """The parts of the body may come in any order, model after the file too."""
    if openai.response(usual[0]).status != 200:
        raise Untestable("no order of the parts is accepted (see audio.answers)")
    accepted(order[0], wanted="200 to a form with its model after the file")


@check("audio.response-format", on=[FORMATS])
def test_format_decides_the_answer(seen: Transcript) -> str:
    """response_format decides the answer: JSON for json and verbose_json, else plain text."""
    told = []
    for at, exchange in each(seen):
        label = exchange.ask.label
        got = openai.response(exchange)
        if label != "json" and got.status in (400, 422) and clean_refusal(got):
            told.append(f"{label} refused")
            continue
        accepted(exchange, wanted=f"200 to response_format {label}", at=at)
        if label in JSON_FORMATS:
            value = openai.json_value(exchange)
            right = isinstance(value, dict) and got.media_type == "application/json"
            if label == "verbose_json":
                right = right and "duration" in value
        else:
            right = not got.body.lstrip().startswith(b"{") and "json" not in got.media_type
            begins = {"vtt": b"WEBVTT", "srt": b"1"}.get(label, b"")
            body = got.body.lstrip()
            right = right and (not body or body.startswith(begins))
        expect(right, wanted=f"an answer as {label}", got=shown(got), at=at)
        told.append(f"{label} as {got.media_type or 'no type'}")
    return ", ".join(told)


@check("audio.granularities", on=[GRAINS])
def test_granularities_are_understood(seen: Transcript) -> str:
    """timestamp_granularities[] with its brackets is understood: the answer has words."""
    got = openai.response(seen[0])
    if got.status in (400, 422) and clean_refusal(got):
        raise Inconclusive(f"the model gives no times of words: {shown(got)}")
    accepted(seen[0], wanted="200 and the times of words")
    value = openai.answer(seen[0])
    if not value.get("text"):
        return "no words were heard"
    words = value.get("words")
    expect(isinstance(words, list), wanted="words, as asked for", got=sorted(value))
    return f"{len(words or [])} words"


@check("audio.missing-file", on=[INCOMPLETE])
def test_incomplete_form_is_refused(seen: Transcript) -> None:
    """A transcription without a file, or without a model, is refused with a 4xx and an error."""
    for at, exchange in each(seen):
        wanted = f"a 4xx and an error to {exchange.ask.label}"
        turned_down(exchange, wanted=wanted, at=at, saying_why=True)


@check("audio.sse-end", on=[STREAM])
def test_stream_ends_without_done(seen: Transcript) -> str:
    """A streamed transcription ends without [DONE]."""
    got = openai.response(seen[0])
    if got.status != 200:
        return f"no stream: status {got.status}"
    if got.media_type != "text/event-stream":
        return "not streamed"
    found = [event for event in seen[0].events if event.data == openai.DONE]
    expect(not found, wanted="no data: [DONE], as the upstream's stream has none", got="[DONE]")
    return f"{len(seen[0].events)} events, no [DONE]"


@check("audio.speech-answers", on=[SPEECH])
def test_word_is_spoken(seen: Transcript) -> str:
    """A text is answered with 200 and a body of audio."""
    got = accepted(seen[0], wanted="200 and audio")
    audio = got.media_type.startswith("audio/") or got.media_type == "application/octet-stream"
    expect(
        audio and got.body,
        wanted="a body of audio",
        got=f"{got.media_type or 'no content type'}, {len(got.body)} bytes",
    )
    return f"{len(got.body)} bytes of {got.media_type}"
