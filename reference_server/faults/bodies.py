"""Faults of JSON bodies: single fields, and the list of models."""

from dataclasses import replace

from ..call import Call
from ..jsontext import Json, dumps
from ..script import Reply
from .edits import Path, assignment, choices_of, holders, path_of
from .table import fault

__all__: list[str] = []


@fault("drop-field", "json", "Leaves a field out of every JSON object that has it.",
       "fields lost on the way", read=path_of,
       parameter="a path: usage.total_tokens, choices.*.index, /error/type")  # fmt: skip
def _drop_field(value: Json, _: Call, path: Path) -> Json:
    for holder, key in reversed(list(holders(value, path))):
        del holder[key]
    return value


@fault("set-field", "json", "Gives a field another value in every JSON object that has it.",
       read=assignment, parameter="PATH=JSON, as usage.total_tokens=null")  # fmt: skip
def _set_field(value: Json, _: Call, argument: tuple[Path, Json]) -> Json:
    path, other = argument
    for holder, key in holders(value, path):
        holder[key] = other
    return value


@fault("message-role-missing", "json", "Leaves the role out of the message of a body.")
def _role_missing(value: Json) -> Json:
    for choice in choices_of(value):
        choice.get("message", {}).pop("role", None)
    return value


@fault("choices-empty", "json", "Sends a body without any choice.")
def _choices_empty(value: Json) -> Json:
    if isinstance(value, dict) and value.get("object") == "chat.completion":
        return {**value, "choices": []}
    return value


@fault("content-type-text-on-json", "reply", "Labels a JSON body text/plain.")
def _text_label(reply: Reply) -> Reply:
    if reply.error or reply.events is not None:
        return reply
    return replace(reply, headers=reply.with_header("Content-Type", "text/plain"))


@fault("trailing-comma", "text", "Writes a comma too many into JSON.")
def _trailing_comma(text: bytes) -> bytes:
    return text[:-1] + b",}" if text.endswith(b"}") else text


@fault("two-bodies", "reply", "Sends the JSON body twice.")
def _two_bodies(reply: Reply) -> Reply:
    if reply.events is not None or reply.text is not None or reply.error:
        return reply
    return replace(reply, text=dumps(reply.body) * 2)


# The list of models


def _lists_models(reply: Reply, call: Call | None) -> bool:
    return call is not None and call.route == ("models",) and not reply.error


@fault("models-500", "reply", "Fails to list models.", "discovery of an upstream's models")
def _models_500(reply: Reply, call: Call | None) -> Reply:
    if not _lists_models(reply, call):
        return reply
    error = {"message": "Internal error.", "type": "server_error", "param": None, "code": None}
    return replace(reply, status=500, body={"error": error}, error=True)


@fault("models-html", "reply", "Answers the list of models with a page.", "catch-all routes")
def _models_html(reply: Reply, call: Call | None) -> Reply:
    if not _lists_models(reply, call):
        return reply
    headers = reply.with_header("Content-Type", "text/html; charset=utf-8")
    return replace(reply, headers=headers, text=b"<html><body>Models</body></html>\n")


@fault("models-slash-loop", "reply", "Redirects a path of models that ends in a slash to itself.",
       "redirects of frameworks")  # fmt: skip
def _slash_loop(reply: Reply, call: Call | None) -> Reply:
    if call is None or call.route[:1] != ("models",) or not call.path.endswith("/"):
        return reply
    headers = (("Location", call.path), *reply.headers)
    return replace(reply, status=307, headers=headers, text=b"")


def _is_list(value: Json) -> bool:
    if not isinstance(value, dict) or value.get("object") != "list":
        return False
    return all(isinstance(c, dict) and c.get("object") == "model" for c in value.get("data") or ())


def _cards(value: Json) -> list[Json]:
    if _is_list(value):
        return list(value["data"])
    return [value] if isinstance(value, dict) and value.get("object") == "model" else []


@fault("models-no-object", "json", "Leaves object out of the list of models.")
def _no_object(value: Json) -> Json:
    return {"data": value["data"]} if _is_list(value) else value


@fault("models-bare-array", "json", "Sends the list of models as a bare array.")
def _bare_array(value: Json) -> Json:
    return value["data"] if _is_list(value) else value


@fault("models-duplicate-ids", "json", "Lists the first model twice.")
def _duplicate_ids(value: Json) -> Json:
    return {**value, "data": [value["data"][0], *value["data"]]} if _is_list(value) else value


@fault("models-empty", "json", "Lists no models.")
def _no_models(value: Json) -> Json:
    return {**value, "data": []} if _is_list(value) else value


@fault("models-created-string", "json", "Writes a model's created as a string.")
def _created_string(value: Json) -> Json:
    for card in _cards(value):
        card["created"] = str(card["created"])
    return value


@fault("models-created-changes", "json", "Gives models another created time at each request.")
def _created_changes(value: Json, call: Call) -> Json:
    for card in _cards(value):
        card["created"] += int(call.id[4:16], 16) % 1_000_000
    return value


@fault("models-owned-by-missing", "json", "Leaves owned_by out of models.")
def _no_owner(value: Json) -> Json:
    for card in _cards(value):
        card.pop("owned_by", None)
    return value


def _is_retrieval(call: Call) -> bool:
    return call.route[:1] == ("models",) and len(call.route) > 1


def _not_found(reply: Reply) -> Reply:
    error = {
        "message": "Not found.", "type": "invalid_request_error", "param": None,
        "code": "unknown_url",
    }  # fmt: skip
    return replace(reply, status=404, body={"error": error}, error=True)


@fault("model-retrieve-404", "reply", "Finds none of the models that it lists.")
def _retrieve_404(reply: Reply, call: Call) -> Reply:
    return _not_found(reply) if _is_retrieval(call) and not reply.error else reply


@fault("model-retrieve-slash-404", "reply", "Finds no model whose id has a slash.",
       "routes that decode too early")  # fmt: skip
def _retrieve_slash(reply: Reply, call: Call) -> Reply:
    slash = any("/" in segment for segment in call.route[1:])
    return _not_found(reply) if _is_retrieval(call) and slash and not reply.error else reply


@fault("model-retrieve-other", "json", "Answers with another model than the one asked for.")
def _retrieve_other(value: Json, call: Call) -> Json:
    if isinstance(value, dict) and _is_retrieval(call) and value.get("object") == "model":
        return {**value, "id": "another-model"}
    return value
