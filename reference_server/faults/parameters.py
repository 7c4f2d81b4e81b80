"""Faults of parameters: what a request asked for and did not get."""

from dataclasses import replace

from ..call import Call
from ..chat import Choice, Completion
from ..jsontext import Json
from ..tokens import tokenize
from .table import fault

__all__: list[str] = []

_NO_LIMIT = 100_000  # Messages must have a limit


def _without(call: Call, *names: str) -> Call:
    if not isinstance(call.payload, dict) or not any(name in call.payload for name in names):
        return call
    payload = {name: value for name, value in call.payload.items() if name not in names}
    return replace(call, payload=payload, changed=True)


def _add_ignored(name: str, says: str, *parameters: str, seen_in: str = "") -> None:
    @fault(name, "request", says, seen_in)
    def _ignored(call: Call) -> Call:
        return _without(call, *parameters)


for _name, _says, _parameters in (
    ("max-completion-tokens-ignored", "Ignores max_completion_tokens.", ("max_completion_tokens",)),
    ("stop-ignored", "Ignores stop, or stop_sequences.", ("stop", "stop_sequences")),
    ("n-ignored", "Ignores n and gives one choice.", ("n",)),
    ("response-format-ignored", "Ignores response_format.", ("response_format",)),
    ("logprobs-ignored", "Ignores logprobs.", ("logprobs", "top_logprobs")),
    ("stream-options-ignored", "Ignores stream_options.", ("stream_options",)),
    ("reasoning-effort-ignored", "Ignores reasoning_effort.", ("reasoning_effort",)),
    ("web-search-ignored", "Ignores web_search.", ("web_search",)),
    ("plugins-ignored", "Ignores plugins.", ("plugins",)),
):
    _add_ignored(_name, _says, *_parameters, seen_in="parameters lost on the way")


@fault("max-tokens-ignored", "request", "Ignores max_tokens.", "parameters lost on the way")
def _max_tokens_ignored(call: Call) -> Call:
    if call.route == ("messages",) and isinstance(call.payload, dict):
        if "max_tokens" not in call.payload:
            return call
        payload = {**call.payload, "max_tokens": _NO_LIMIT}
        return replace(call, payload=payload, changed=True)
    return _without(call, "max_tokens")


def _field(text: str) -> str:
    if not text:
        raise ValueError("wanted the name of a field")
    return text


@fault("drop-parameter", "request", "Does not pass a field of the request on.",
       "parameters lost on the way", parameter="the field's name", read=_field)  # fmt: skip
def _drop_parameter(call: Call, _: None, name: str) -> Call:
    return _without(call, name)


@fault("json-schema-as-json-object", "request", "Keeps to JSON, but not to the schema asked for.",
       "upstreams without structured outputs")  # fmt: skip
def _schema_dropped(call: Call) -> Call:
    form = call.payload.get("response_format") if isinstance(call.payload, dict) else None
    if not isinstance(form, dict) or form.get("type") != "json_schema":
        return call
    payload = {**call.payload, "response_format": {"type": "json_object"}}
    return replace(call, payload=payload, changed=True)


def _messages(call: Call) -> list[Json]:
    messages = call.payload.get("messages") if isinstance(call.payload, dict) else None
    return messages if isinstance(messages, list) else []


def _kept(call: Call, messages: list[Json]) -> Call:
    if not messages or len(messages) == len(_messages(call)):
        return call
    return replace(call, payload={**call.payload, "messages": messages}, changed=True)


@fault("system-dropped", "request", "Does not pass system and developer messages on.")
def _system_dropped(call: Call) -> Call:
    unwanted = {"system", "developer"}
    return _kept(
        call,
        [m for m in _messages(call) if not (isinstance(m, dict) and m.get("role") in unwanted)],
    )


@fault("history-dropped", "request", "Passes only the last message on.")
def _history_dropped(call: Call) -> Call:
    last = _messages(call)[-1:]
    if last and isinstance(last[0], dict) and last[0].get("role") == "tool":
        return call
    return _kept(call, last)


def _told(completion: Completion, change: Json) -> Completion:
    return replace(completion, choices=tuple(change(choice) for choice in completion.choices))


@fault("stop-kept-in-content", "completion", "Leaves the stop string at the end of the text.")
def _stop_kept(completion: Completion) -> Completion:
    def change(choice: Choice) -> Choice:
        if not choice.stopped_by:
            return choice
        return replace(choice, tokens=tokenize(choice.text + choice.stopped_by))

    return _told(completion, change)


@fault("json-mode-fenced", "completion", "Wraps JSON that was asked for in a Markdown fence.",
       "models without constrained decoding")  # fmt: skip
def _fenced(completion: Completion, call: Call) -> Completion:
    form = call.payload.get("response_format") or {}
    if form.get("type") not in {"json_object", "json_schema"}:
        return completion

    def change(choice: Choice) -> Choice:
        if choice.calls:
            return choice
        return replace(choice, tokens=tokenize(f"```json\n{choice.text}\n```"))

    return _told(completion, change)


@fault("text-altered", "completion", "Changes the first letter of the text.")
def _altered(completion: Completion) -> Completion:
    def change(choice: Choice) -> Choice:
        text = choice.text
        return replace(choice, tokens=tokenize(text[:1].swapcase() + text[1:]))

    return _told(completion, change)


@fault("n-same-index", "completion", "Gives all choices the index 0.")
def _same_index(completion: Completion) -> Completion:
    return _told(completion, lambda choice: replace(choice, index=0))


@fault("model-name-replaced", "completion", "Names a model in the answer that was not asked for.")
def _model_replaced(completion: Completion) -> Completion:
    return replace(completion, model="some-other-model")


@fault("model-name-empty", "completion", "Gives an empty model in the answer.")
def _model_empty(completion: Completion) -> Completion:
    return replace(completion, model="")


@fault("content-empty", "completion", "Answers with an empty text.")
def _content_empty(completion: Completion) -> Completion:
    return _told(completion, lambda choice: replace(choice, tokens=()))


@fault("created-past", "completion", "Gives a created that is 400 days old.")
def _created_past(completion: Completion) -> Completion:
    return replace(completion, created=completion.created - 400 * 86_400)


@fault("created-milliseconds", "completion", "Gives created in milliseconds.")
def _created_ms(completion: Completion) -> Completion:
    return replace(completion, created=completion.created * 1000)
