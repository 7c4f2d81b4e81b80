"""Faults of text completions, images, speech, transcriptions and the realtime handshake."""

import base64
from collections.abc import Iterator
from dataclasses import replace

from ..call import Call
from ..errors import ApiError
from ..images import png
from ..jsontext import Json, dumps
from ..multipart import Form, Part
from ..script import JSON, Reply, Step
from .table import fault

__all__: list[str] = []

_KEPT = frozenset({"x-request-id", "date", "server"})


def _refused(reply: Reply, call: Call, status: int, message: str) -> Reply:
    status, body = call.profile.refuse(ApiError(status, message), call, call.id)
    headers = (JSON, *(pair for pair in reply.headers if pair[0].lower() in _KEPT))
    return Reply(status, headers, body=body, error=True)


def _filled(call: Call, **defaults: Json) -> Call:
    if not isinstance(call.payload, dict):
        return call
    return replace(call, payload={**defaults, **call.payload})


def _first(call: Call, does: str) -> str:
    models = call.profile.models
    return next((name for name in call.profile.listed if does in models[name].does), "")


# Text completions


def _completes(call: Call) -> bool:
    return call.route == ("completions",)


@fault("completions-missing-prompt-200", "request", "Completes a request that has no prompt.")
def _no_prompt(call: Call) -> Call:
    return _filled(call, prompt="") if _completes(call) else call


@fault("completions-missing-model-200", "request", "Completes a request that names no model.")
def _no_model(call: Call) -> Call:
    return _filled(call, model=_first(call, "completions")) if _completes(call) else call


@fault("completions-range-end-refused", "reply", "Refuses a completion at temperature 2.")
def _range_end(reply: Reply, call: Call) -> Reply:
    payload = call.payload if isinstance(call.payload, dict) else {}
    if not _completes(call) or payload.get("temperature") != 2:
        return reply
    return _refused(reply, call, 400, "'temperature' must be below 2.")


@fault("completions-refused-500", "reply", "Fails with 500 where a completion is to be refused.",
       "unhandled validation errors")  # fmt: skip
def _completion_500(reply: Reply, call: Call) -> Reply:
    refused = _completes(call) and reply.error and 400 <= reply.status < 500
    return replace(reply, status=500) if refused and reply.status != 401 else reply


@fault("completions-range-ignored", "request", "Completes whatever the values of its parameters.",
       "lenient parsers")  # fmt: skip
def _range_ignored(call: Call) -> Call:
    from ..completions import COMPLETION_FIELDS  # noqa: PLC0415  # it uses the table itself

    if not _completes(call) or not isinstance(call.payload, dict):
        return call
    kept: dict[str, Json] = {}
    for name, value in call.payload.items():
        rule = COMPLETION_FIELDS.get(name)
        try:
            if rule is not None and name not in {"model", "prompt"}:
                rule(value, name)
        except ApiError:
            continue
        kept[name] = value
    return replace(call, payload=kept)


@fault("completions-finish-missing", "json", "Sends the choices of a completion without a reason.")
def _no_finish(value: Json, call: Call) -> Json:
    if not _completes(call) or not isinstance(value, dict):
        return value
    holder = value.get("data") if isinstance(value.get("data"), dict) else value
    for choice in (holder or {}).get("choices") or ():
        choice.pop("finish_reason", None)
    return value


# Images


def _images(value: Json, call: Call) -> list[Json]:
    if call.route != ("images", "generations") or not isinstance(value, dict):
        return []
    data = value.get("data")
    return data if isinstance(data, list) else []


@fault("images-count-ignored", "json", "Draws one image however many are asked for.")
def _one_image(value: Json, call: Call) -> Json:
    return {**value, "data": value["data"][:1]} if _images(value, call) else value


@fault("images-created-missing", "json", "Leaves created out of the answer with images.")
def _no_created(value: Json, call: Call) -> Json:
    if not _images(value, call):
        return value
    return {name: item for name, item in value.items() if name != "created"}


@fault("images-format-ignored", "json", "Gives images in the other form than asked for.")
def _other_form(value: Json, call: Call) -> Json:
    for image in _images(value, call):
        if "b64_json" in image:
            del image["b64_json"]
            image["url"] = "http://127.0.0.1/_images/0123456789ab.png"
        else:
            del image["url"]
            image["b64_json"] = base64.b64encode(png(b"123456")).decode()
    return value


@fault("images-base64-garbage", "json", "Gives base64 that is no image.")
def _no_image(value: Json, call: Call) -> Json:
    for image in _images(value, call):
        if "b64_json" in image:
            image["b64_json"] = base64.b64encode(b"no image at all").decode()
    return value


@fault("images-empty", "json", "Gives entries without an image.")
def _no_data(value: Json, call: Call) -> Json:
    for image in _images(value, call):
        image.clear()
    return value


@fault("images-missing-prompt-200", "request", "Draws without a prompt.")
def _no_image_prompt(call: Call) -> Call:
    return _filled(call, prompt="?") if call.route == ("images", "generations") else call


# Speech


def _speaks(reply: Reply, call: Call) -> bool:
    return call.route == ("audio", "speech") and not reply.error


@fault("speech-as-json", "reply", "Wraps speech as base64 into JSON.")
def _speech_json(reply: Reply, call: Call) -> Reply:
    if not _speaks(reply, call):
        return reply
    body = {"audio": base64.b64encode(reply.text or b"").decode()}
    return replace(reply, headers=reply.with_header("Content-Type", JSON[1]), text=dumps(body))


@fault("speech-empty", "reply", "Answers with speech of no bytes.")
def _speech_empty(reply: Reply, call: Call) -> Reply:
    return replace(reply, text=b"") if _speaks(reply, call) else reply


@fault("speech-type-wrong", "reply", "Labels speech as text.")
def _speech_type(reply: Reply, call: Call) -> Reply:
    if not _speaks(reply, call):
        return reply
    return replace(reply, headers=reply.with_header("Content-Type", "text/plain"))


# Transcriptions


def _hears(call: Call) -> bool:
    return call.route == ("audio", "transcriptions")


def _with_part(call: Call, part: Part) -> Call:
    form = call.form
    if not _hears(call) or form is None or form.all(part.name):
        return call
    return replace(call, form=Form((*form.parts, part)))


def _without_parts(call: Call, *names: str) -> Call:
    if not _hears(call) or call.form is None:
        return call
    return replace(call, form=Form(tuple(p for p in call.form.parts if p.name not in names)))


@fault("audio-text-missing", "json", "Leaves the text out of a transcription.")
def _no_text(value: Json, call: Call) -> Json:
    if _hears(call) and isinstance(value, dict):
        value.pop("text", None)
    return value


@fault("audio-order", "reply", "Refuses a form whose model comes after its file.",
       "parsers that stream the file")  # fmt: skip
def _order(reply: Reply, call: Call) -> Reply:
    if not _hears(call) or call.form is None or reply.error:
        return reply
    names = [part.name for part in call.form.parts]
    if "file" not in names or "model" not in names or names.index("model") < names.index("file"):
        return reply
    return _refused(reply, call, 400, "The model must come before the file.")


@fault("audio-granularities-ignored", "request", "Ignores timestamp_granularities[].",
       "fields whose brackets are lost")  # fmt: skip
def _grains_ignored(call: Call) -> Call:
    return _without_parts(call, "timestamp_granularities[]")


@fault("audio-format-ignored", "request", "Answers with JSON whatever format is asked for.")
def _format_ignored(call: Call) -> Call:
    return _without_parts(call, "response_format", "timestamp_granularities[]")


@fault("audio-missing-file-200", "request", "Transcribes without a file.")
def _no_file(call: Call) -> Call:
    return _with_part(call, Part("file", b"\0", "empty.wav"))


@fault("audio-missing-model-200", "request", "Transcribes without a model.")
def _no_audio_model(call: Call) -> Call:
    return _with_part(call, Part("model", _first(call, "transcriptions").encode()))


@fault("audio-refused-500", "reply", "Fails with 500 where a transcription is to be refused.")
def _audio_500(reply: Reply, call: Call) -> Reply:
    refused = _hears(call) and reply.error and 400 <= reply.status < 500
    return replace(reply, status=500) if refused and reply.status != 401 else reply


@fault("audio-stream-done", "chunks", "Ends a streamed transcription with [DONE].")
def _audio_done(steps: Iterator[Step], call: Call) -> Iterator[Step]:
    yield from steps
    if _hears(call):
        yield Step(0, b"[DONE]", "done")


# Realtime


def _opens(call: Call) -> bool:
    return call.route == ("realtime",)


@fault("realtime-accept-wrong", "reply", "Answers a handshake with the proof of another key.")
def _accept_wrong(reply: Reply, call: Call) -> Reply:
    if not _opens(call) or reply.status != 101:
        return reply
    headers = reply.with_header("Sec-WebSocket-Accept", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    return replace(reply, headers=headers)


@fault("realtime-200", "reply", "Answers a handshake with 200.")
def _no_upgrade(reply: Reply, call: Call) -> Reply:
    if not _opens(call) or reply.status != 101:
        return reply
    return Reply(200, (JSON,), body={"object": "realtime.session"})


@fault("realtime-plain-200", "reply", "Answers a request that is no handshake with 200.")
def _plain_200(reply: Reply, call: Call) -> Reply:
    if not _opens(call) or reply.status != 426:
        return reply
    return Reply(200, (JSON,), body={"object": "realtime.session"})


@fault("realtime-without-auth", "request", "Opens a socket to anybody.")
def _open_socket(call: Call) -> Call:
    return replace(call, key=call.profile.key) if _opens(call) else call


@fault("realtime-refused-500", "reply", "Fails with 500 where a handshake is to be refused.")
def _realtime_500(reply: Reply, call: Call) -> Reply:
    refused = _opens(call) and reply.error and 400 <= reply.status < 500
    return replace(reply, status=500) if refused and reply.status != 401 else reply
