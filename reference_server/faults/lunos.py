"""Faults and oddities of Lunos: models and their filters, envelopes, balance, applications."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from ..call import Call
from ..jsontext import Json, dumps
from ..script import JSON, Reply, Step
from .edits import edit_each
from .table import fault, oddity

__all__: list[str] = []

_SWITCHES = ("data", "list")


def _is(call: Call, *route: str) -> bool:
    return call.profile.name == "lunos" and call.route == route


def _own_completion(value: Json) -> bool:
    return isinstance(value, dict) and value.get("object") == "completion"


# Envelopes


def _envelope(text: str) -> str:
    if text not in _SWITCHES:
        raise ValueError(f"wanted one of {', '.join(_SWITCHES)}")
    return text


@oddity("models-envelope", "json", "Gives Lunos' list of models in one of its older forms.",
        parameter="data, or list (list)", read=_envelope, default="list")  # fmt: skip
def _models_envelope(value: Json, call: Call, form: str) -> Json:
    if not _is(call, "models") or not isinstance(value, list):
        return value
    return {"object": "list", "data": value} if form == "list" else {"data": value}


@oddity("openai-completions", "json", "Gives Lunos' text completions in the upstream's form.")
def _openai_completions(value: Json) -> Json:
    if not _own_completion(value):
        return value
    return {
        "id": value["id"].replace("resp_", "cmpl-", 1),
        "object": "text_completion",
        "created": value["created"],
        "model": value["model"],
        "choices": [{**choice, "logprobs": None} for choice in value["data"]["choices"]],
        **({"usage": value["usage"]} if "usage" in value else {}),
    }


@fault("envelope-on-chat", "json", "Answers chats in the envelope of text completions.")
def _envelope_on_chat(value: Json, call: Call) -> Json:
    if not _is(call, "chat", "completions") or not isinstance(value, dict) or "error" in value:
        return value
    if value.get("object") != "chat.completion":
        return value
    choices = [
        {
            "text": choice["message"]["content"] or "",
            "index": choice["index"],
            "finish_reason": choice["finish_reason"],
        }
        for choice in value["choices"]
    ]
    rest = {name: item for name, item in value.items() if name != "choices"}
    return {**rest, "object": "completion", "data": {"choices": choices}}


@fault("completion-choices-missing", "json", "Sends a text completion without its choices.")
def _no_choices(value: Json) -> Json:
    if _own_completion(value):
        return {**value, "data": {}}
    if isinstance(value, dict) and value.get("object") == "text_completion":
        return {name: item for name, item in value.items() if name != "choices"}
    return value


@fault("completion-text-missing", "json", "Sends the choices of a text completion without text.")
def _no_text(value: Json) -> Json:
    if not isinstance(value, dict):
        return value
    holder = value.get("data") if _own_completion(value) else value
    if isinstance(holder, dict) and value.get("object") in {"completion", "text_completion"}:
        for choice in holder.get("choices") or ():
            choice.pop("text", None)
    return value


@fault("completion-as-chat", "json", "Answers text completions as chats.",
       "gateways that serve the old route by the new one")  # fmt: skip
def _completion_as_chat(value: Json) -> Json:
    if not isinstance(value, dict) or value.get("object") not in {"completion", "text_completion"}:
        return value
    data = value.get("data") if value["object"] == "completion" else value
    choices = [
        {
            "index": choice["index"],
            "message": {"role": "assistant", "content": choice["text"]},
            "finish_reason": choice["finish_reason"],
        }
        for choice in (data or {}).get("choices") or ()
    ]
    rest = {name: item for name, item in value.items() if name != "data"}
    return {**rest, "object": "chat.completion", "choices": choices}


@fault("completion-stream-as-chat", "chunks", "Streams text completions as chunks of a chat.",
       "gateways that serve the old route by the new one")  # fmt: skip
def _stream_as_chat(steps: Iterator[Step]) -> Iterator[Step]:
    def change(value: Json) -> Json:
        if value.get("object") != "text_completion":
            return value
        choices = [
            {
                "index": choice["index"],
                "delta": {"content": choice["text"]} if choice["text"] else {},
                "finish_reason": choice["finish_reason"],
            }
            for choice in value["choices"]
        ]
        return {**value, "object": "chat.completion.chunk", "choices": choices}

    return edit_each(steps, change)


@fault("provider-wrong", "json", "Names another provider than the model's.")
def _provider_wrong(value: Json) -> Json:
    if isinstance(value, dict) and isinstance(value.get("provider"), str) and "usage" in value:
        return {**value, "provider": "nobody"}
    return value


@fault("unknown-model-message-vague", "reply", "Does not name the model that does not exist.")
def _vague(reply: Reply) -> Reply:
    if reply.cause != "model_not_found" or not isinstance(reply.body, dict):
        return reply
    error = reply.body.get("error")
    if not isinstance(error, dict):
        return reply
    body = {**reply.body, "error": {**error, "message": "The model does not exist."}}
    return replace(reply, body=body)


# Models and filters


def _cards(value: Json, call: Call) -> list[dict[str, Any]] | None:
    return value if _is(call, "models") and isinstance(value, list) else None


def _unfiltered(call: Call, *names: str) -> Call:
    if not _is(call, "models"):
        return call
    return replace(call, query={key: v for key, v in call.query.items() if key not in names})


@fault("filter-output-ignored", "request", "Lists all models whatever output is asked for.")
def _output_ignored(call: Call) -> Call:
    return _unfiltered(call, "output")


@fault("filter-input-ignored", "request", "Lists all models whatever input is asked for.")
def _input_ignored(call: Call) -> Call:
    return _unfiltered(call, "input")


@fault("filter-first-only", "request", "Looks at the first of several modalities only.")
def _first_only(call: Call) -> Call:
    if not _is(call, "models"):
        return call
    return replace(call, query={key: v.partition(",")[0] for key, v in call.query.items()})


@fault("filter-unknown-lists-all", "request", "Lists all models when a modality is unknown.")
def _unknown_lists_all(call: Call) -> Call:
    if not _is(call, "models"):
        return call
    models = [call.profile.models[name] for name in call.profile.listed]
    known = {m for model in models for m in (*model.inputs, *model.outputs)}
    kept = {
        key: value
        for key, value in call.query.items()
        if key not in {"input", "output"} or set(value.split(",")) & known
    }
    return replace(call, query=kept)


@fault("filter-unknown-500", "reply", "Fails with 500 when a modality is unknown.")
def _unknown_500(reply: Reply, call: Call) -> Reply:
    asked = call.query.get("input") or call.query.get("output")
    if not _is(call, "models") or not asked or reply.body != []:
        return reply
    return _failed(reply)


def _failed(reply: Reply, status: int = 500, message: str = "The server failed.") -> Reply:
    error = {"message": message, "type": "server_error", "param": None, "code": "server_error"}
    if status < 500:
        error.update(type="invalid_request_error", code="invalid_request_error")
    kept = tuple(p for p in reply.headers if p[0].lower() in {"x-request-id", "date", "server"})
    return Reply(status, (JSON, *kept), body={"error": error}, error=True)


@fault("filters-or", "json", "Lists what either filter leaves, not what both leave.")
def _filters_or(value: Json, call: Call) -> Json:
    if _cards(value, call) is None or not {"input", "output"} <= set(call.query):
        return value
    from ..lunos import list_models  # noqa: PLC0415  # it uses the table itself

    found: dict[str, Json] = {}
    for name in ("input", "output"):
        one = replace(call, query={name: call.query[name]})
        for card in list_models(one).body:  # type: ignore[attr-defined]  # a list of cards
            found[card["id"]] = card
    return list(found.values())


@fault("filter-encoded-comma-ignored", "request", "Takes %2C in a filter for a part of a name.",
       "queries decoded too late")  # fmt: skip
def _encoded_comma(call: Call) -> Call:
    # By now both forms of the comma look alike, and only the journal's path tells them apart.
    if not _is(call, "models") or "%2c" not in call.target.lower():
        return call
    return replace(call, query={key: quote(v) for key, v in call.query.items()})


@fault("model-price-missing", "json", "Lists models without their prices.")
def _no_price(value: Json, call: Call) -> Json:
    for card in _cards(value, call) or ():
        card.pop("pricePerMillionTokens", None)
    return value


@fault("model-modalities-missing", "json", "Lists models without their modalities.")
def _no_modalities(value: Json, call: Call) -> Json:
    for card in _cards(value, call) or ():
        card.pop("inputModalities", None)
        card.pop("outputModalities", None)
    return value


@fault("model-id-missing", "json", "Lists models without their ids.")
def _no_id(value: Json, call: Call) -> Json:
    for card in _cards(value, call) or ():
        card.pop("id", None)
    return value


@fault("model-id-repeated", "json", "Lists the first model of Lunos twice.")
def _id_repeated(value: Json, call: Call) -> Json:
    cards = _cards(value, call)
    return [cards[0], *cards] if cards else value


@fault("model-list-empty", "json", "Lists no models of Lunos.")
def _list_empty(value: Json, call: Call) -> Json:
    return [] if _cards(value, call) is not None else value


@fault("models-refused-with-key", "reply", "Refuses the list of models although a key is given.")
def _list_refused(reply: Reply, call: Call) -> Reply:
    if not _is(call, "models") or not call.key:
        return reply
    return _failed(reply, 403, "The list is not for keys.")


# Balance


def _balance(value: Json, call: Call) -> dict[str, Any] | None:
    if not _is(call, "balance") or not isinstance(value, dict):
        return None
    data = value.get("data")
    return data if isinstance(data, dict) else None


@fault("balance-string", "json", "Writes the balance as a string.")
def _balance_string(value: Json, call: Call) -> Json:
    if data := _balance(value, call):
        data["balance"] = str(data["balance"])
    return value


@fault("balance-missing", "json", "Tells the alert's settings without the balance.")
def _balance_missing(value: Json, call: Call) -> Json:
    if data := _balance(value, call):
        del data["balance"]
    return value


@fault("balance-rounded", "json", "Rounds the balance to cents.")
def _balance_rounded(value: Json, call: Call) -> Json:
    if data := _balance(value, call):
        data["balance"] = round(data["balance"], 2)
    return value


@fault("balance-alert-missing", "json", "Tells the balance without the alert's settings.")
def _alert_missing(value: Json, call: Call) -> Json:
    if data := _balance(value, call):
        for name in ("alertBalance", "enableAlert", "isAlertEnabled", "isBalanceLow"):
            data.pop(name, None)
    return value


@fault("balance-low-wrong", "json", "Says that the balance is low when it is not, and the reverse.")
def _low_wrong(value: Json, call: Call) -> Json:
    if data := _balance(value, call):
        data["isBalanceLow"] = not data["isBalanceLow"]
    return value


@fault("balance-alert-contradicts", "json", "Says that the alert is off beside enableAlert 1.")
def _alert_contradicts(value: Json, call: Call) -> Json:
    if data := _balance(value, call):
        data["isAlertEnabled"] = not data["isAlertEnabled"]
    return value


@fault("balance-rises", "json", "Adds to the balance what an answer costs.")
def _balance_rises(value: Json, call: Call) -> Json:
    if data := _balance(value, call):
        # What was spent since the beginning is added instead of taken away.
        data["balance"] = 2 * call.profile.plans["standard"].balance - data["balance"]
    return value


class _Unspent:
    """A state that forgets what answers cost."""

    def __init__(self, state: Any) -> None:
        self._state = state

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    def record(self, *arguments: Any) -> None:
        """Count an answer for nothing."""
        *counts, _ = arguments
        self._state.record(*counts, 0)


@fault("balance-not-charged", "state", "Takes nothing from the balance for an answer.")
def _not_charged(state: Any) -> Any:
    return _Unspent(state)


class _Twice(_Unspent):
    def record(self, *arguments: Any) -> None:
        """Count an answer's cost twice."""
        *counts, cost = arguments
        self._state.record(*counts, 2 * cost)


@fault("balance-charged-twice", "state", "Takes the cost of an answer twice.",
       "retries that are billed")  # fmt: skip
def _charged_twice(state: Any) -> Any:
    return _Twice(state)


@fault("balance-without-auth", "request", "Tells the balance to anybody.")
def _open_balance(call: Call) -> Call:
    return replace(call, key=call.profile.key) if _is(call, "balance") else call


# Applications and observability


@fault("app-id-refused", "reply", "Refuses requests that name their application in a header.")
def _app_refused(reply: Reply, call: Call) -> Reply:
    if reply.error or call.header("x-app-id") is None:
        return reply
    return _failed(reply, 400, "Unknown header: X-App-ID.")


@fault("app-id-body-refused", "reply", "Refuses requests that have appId in their body.")
def _app_body_refused(reply: Reply, call: Call) -> Reply:
    if reply.error or not isinstance(call.payload, dict) or "appId" not in call.payload:
        return reply
    return _failed(reply, 400, "Unknown field: appId.")


@fault("app-id-long-500", "reply", "Fails with 500 at a long name of an application.")
def _app_long(reply: Reply, call: Call) -> Reply:
    app = call.header("x-app-id")
    if app is None or (0 < len(app) <= 64 and app.isascii()):
        return reply
    return _failed(reply)


@fault("app-id-lost", "request", "Notes no application, whatever the request names.")
def _app_lost(call: Call) -> Call:
    headers = tuple(pair for pair in call.headers if pair[0] != "x-app-id")
    return replace(call, headers=headers)


@fault("app-id-other-shape", "json", "Answers in another form when an application is named.")
def _other_shape(value: Json, call: Call) -> Json:
    if call.header("x-app-id") is None or not isinstance(value, dict) or "usage" not in value:
        return value
    return {"data": value, "status": "ok"}


def _wishes(call: Call) -> bool:
    return isinstance(call.payload, dict) and "observability" in call.payload


@fault("observability-refused", "reply", "Refuses requests that have observability.")
def _observability_refused(reply: Reply, call: Call) -> Reply:
    if reply.error or not _wishes(call):
        return reply
    return _failed(reply, 400, "Unknown field: observability.")


@fault("observability-always", "request", "Keeps what was asked and answered without being told.",
       "logs that nobody asked for")  # fmt: skip
def _observed_always(call: Call) -> Call:
    if not isinstance(call.payload, dict) or call.payload.get("observability") is True:
        return call
    return replace(call, payload={**call.payload, "observability": True})


@fault("observability-never", "request", "Keeps nothing although it was told to.")
def _observed_never(call: Call) -> Call:
    if not _wishes(call):
        return call
    payload = {name: value for name, value in call.payload.items() if name != "observability"}
    return replace(call, payload=payload)


@fault("observability-other-shape", "json", "Answers in another form when it is observed.")
def _observed_shape(value: Json, call: Call) -> Json:
    wishes = isinstance(call.payload, dict) and call.payload.get("observability") is True
    if not wishes or not isinstance(value, dict) or "usage" not in value:
        return value
    return {"response": value, "observability": dumps(call.payload.get("messages")).decode()}


@fault("observability-type-500", "reply", "Fails with 500 when observability is no boolean.")
def _observed_type(reply: Reply, call: Call) -> Reply:
    if not reply.error or not _wishes(call) or isinstance(call.payload["observability"], bool):
        return reply
    return _failed(reply)
