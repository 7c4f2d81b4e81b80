"""Faults of single routes and providers: one is missing, or takes less than the others."""

from dataclasses import replace

from ..call import Call
from ..errors import ApiError
from ..jsontext import Json
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
