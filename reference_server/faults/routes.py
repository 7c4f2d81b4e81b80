"""Faults that tell promises apart: of routes, providers, lists of models, kinds of errors."""

from dataclasses import replace

from ..call import Call, json_of
from ..errors import ApiError
from ..jsontext import Json
from ..script import Reply
from .table import fault

__all__: list[str] = []


def _name(text: str) -> str:
    if not text:
        raise ValueError("a name")
    return text


@fault("route-missing", "request", "Does not know a route.", read=_name,
       parameter="the route's first segment, as audio")  # fmt: skip
def _route_missing(call: Call, _: Call, name: str) -> Call:
    if call.route[:1] != (name,):
        return call
    return replace(call, route=("gateproof-no-such-route",))


@fault("provider-refused", "request", "Refuses the names of a provider's models as malformed.",
       read=_name, parameter="the provider, as google")  # fmt: skip
def _provider_refused(call: Call, _: Call, name: str) -> Call:
    if call.problem is not None or not call.model.startswith(f"{name}/"):
        return call
    return replace(call, problem=ApiError(400, "Malformed request.", param="model"))


def _only_chat(call: Call, *, refuses: bool) -> Call:
    if not refuses or call.problem is not None or call.route == ("chat", "completions"):
        return call
    return replace(call, problem=ApiError(400, "Only chat takes this."))


@fault("app-id-chat-only", "request", "Refuses X-App-ID on every route but chat.")
def _app_id_chat_only(call: Call) -> Call:
    return _only_chat(call, refuses=call.header("x-app-id") is not None)


@fault("observability-chat-only", "request", "Refuses observability on every route but chat.")
def _observability_chat_only(call: Call) -> Call:
    payload = call.payload
    return _only_chat(call, refuses=isinstance(payload, dict) and "observability" in payload)


def _is_list(call: Call) -> bool:
    return call.route == ("models",)


@fault("models-nested", "json", "Lists models in an object under data, as Lunos once did.")
def _nested(value: Json, call: Call) -> Json:
    if not _is_list(call) or (isinstance(value, dict) and "error" in value):
        return value
    models = value["data"] if isinstance(value, dict) else value
    return {"status": "success", "data": {"models": models}}


@fault("models-single", "json", "Lists the first model only.")
def _single(value: Json, call: Call) -> Json:
    if not _is_list(call) or not isinstance(value, dict) or not isinstance(value.get("data"), list):
        return value
    return {**value, "data": value["data"][:1]}


@fault("models-bare-names", "json", "Lists models without provider, modalities and prices.")
def _bare_names(value: Json, call: Call) -> Json:
    if not _is_list(call) or not isinstance(value, list):
        return value
    return [{"id": card["id"], "name": card["name"]} for card in value]


@fault("filter-extra", "json", "Lists a model more where a filter is given.")
def _filter_extra(value: Json, call: Call) -> Json:
    if not _is_list(call) or not isinstance(value, list) or not value or not call.query:
        return value
    return [*value, {**value[0], "id": "hidden/mini"}]


@fault("models-ghost", "json", "Lists a model for chat that there is not.")
def _ghost(value: Json, call: Call) -> Json:
    if call.route != ("models",):
        return value
    entries = value.get("data") if isinstance(value, dict) else value
    if isinstance(entries, list) and entries:
        entries.append({**entries[0], "id": "ghost-mini"})
    return value


# Refusals


def _error(reply: Reply) -> Json:
    body = reply.body
    error = body.get("error") if isinstance(body, dict) else None
    return error if reply.error and isinstance(error, dict) else None


def _with_type(reply: Reply, type_: str) -> Reply:
    error = _error(reply)
    if error is None or not isinstance(reply.body, dict):
        return reply
    return replace(reply, body={**reply.body, "error": {**error, "type": type_}})


def _status(reply: Reply, old: int, new: int) -> Reply:
    return replace(reply, status=new) if _error(reply) and reply.status == old else reply


@fault("auth-type-upstream", "reply", "Gives the error of a wrong key the type that OpenAI has.",
       "gateways that pass types on")  # fmt: skip
def _auth_type(reply: Reply) -> Reply:
    return _with_type(reply, "invalid_request_error") if reply.status == 401 else reply


@fault("unknown-model-forbidden", "reply", "Answers an unknown model as one that is not allowed.")
def _model_forbidden(reply: Reply) -> Reply:
    if _error(reply) is None or reply.cause != "model_not_found":
        return reply
    return replace(_with_type(reply, "permission_error"), status=403)


@fault("media-type-500", "reply", "Answers another content type than JSON with 500.")
def _media_type_500(reply: Reply) -> Reply:
    return _status(reply, 415, 500)


@fault("media-type-ignored", "request", "Reads a body as JSON, whatever its content type.")
def _media_type_ignored(call: Call) -> Call:
    if call.problem is None or call.problem.code != "unsupported_media_type":
        return call
    try:
        payload = json_of({}, call.body)
    except ApiError as problem:
        return replace(call, problem=problem)
    return replace(call, problem=None, payload=payload, model=str(payload.get("model")))


@fault("validation-422", "reply", "Answers requests that are not valid with 422.",
       "web frameworks' own validation")  # fmt: skip
def _validation_422(reply: Reply) -> Reply:
    error = _error(reply)
    if error is None or reply.status != 400 or reply.cause == "invalid_json":
        return reply
    return replace(reply, status=422)
