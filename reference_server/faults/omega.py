"""Faults of a model's own prompt: not given, given wrongly, or shown."""

from dataclasses import replace

from ..call import Call
from ..chat import Completion
from ..errors import ApiError
from ..jsontext import Json
from ..omega import OMEGA_PROMPT
from ..tokens import tokenize
from .table import fault, oddity

__all__: list[str] = []

Messages = list[Json]
_OMEGA = "losi-omega"


def _is_omega(call: Call) -> bool:
    return isinstance(call.payload, dict) and call.payload.get("model") == _OMEGA


def _sent(call: Call) -> Messages:
    """Return the client's own messages."""
    return list(call.payload["messages"])


@fault("omega-not-injected", "prompt", "Gives losi-omega the client's messages only.")
def _not_injected(messages: Messages, call: Call) -> Messages:
    return _sent(call) if _is_omega(call) else messages


@fault("omega-replaces-system", "prompt", "Puts the prompt in the place of the client's own.")
def _replaces(messages: Messages, call: Call) -> Messages:
    if not _is_omega(call):
        return messages
    rest = [message for message in _sent(call) if message["role"] not in {"system", "developer"}]
    return [{"role": "system", "content": OMEGA_PROMPT}, *rest]


@fault("omega-prompt-first", "prompt", "Puts the prompt before the client's own.")
def _first(messages: Messages, call: Call) -> Messages:
    if not _is_omega(call):
        return messages
    return [{"role": "system", "content": OMEGA_PROMPT}, *_sent(call)]


@fault("omega-everywhere", "prompt", "Gives the prompt of losi-omega to every model.")
def _everywhere(messages: Messages, call: Call) -> Messages:
    if _is_omega(call):
        return messages
    return [{"role": "system", "content": OMEGA_PROMPT}, *messages]


@oddity("omega-own-message", "prompt", "Appends the prompt as a system message of its own.")
def _own_message(messages: Messages, call: Call) -> Messages:
    if not _is_omega(call):
        return messages
    sent = _sent(call)
    places = [p for p, message in enumerate(sent) if message["role"] in {"system", "developer"}]
    place = places[-1] + 1 if places else 0
    return [*sent[:place], {"role": "system", "content": OMEGA_PROMPT}, *sent[place:]]


@fault("omega-prompt-leaked", "completion", "Shows the prompt at the beginning of the answer.")
def _leaked(completion: Completion, call: Call) -> Completion:
    if not _is_omega(call):
        return completion
    told = tokenize(f"{OMEGA_PROMPT}\n")
    choices = (replace(choice, tokens=[*told, *choice.tokens]) for choice in completion.choices)
    return replace(completion, choices=tuple(choices))


@fault("omega-extra-choice", "completion", "Shows the prompt as a choice more than was asked for.")
def _extra_choice(completion: Completion, call: Call) -> Completion:
    if not _is_omega(call):
        return completion
    last = completion.choices[-1]
    extra = replace(last, index=last.index + 1, tokens=tokenize(OMEGA_PROMPT), calls=())
    return replace(completion, choices=(*completion.choices, extra))


@fault("omega-unlisted", "json", "Leaves losi-omega out of the list of models.")
def _unlisted(value: Json, call: Call) -> Json:
    if call.route != ("models",) or not isinstance(value, dict) or "data" not in value:
        return value
    return {**value, "data": [card for card in value["data"] if card["id"] != _OMEGA]}


@fault("omega-unknown", "request", "Does not know losi-omega when it comes to a chat.")
def _unknown(call: Call) -> Call:
    if call.route == ("chat", "completions") and _is_omega(call):
        raise ApiError(
            404, f"The model {_OMEGA!r} does not exist.", param="model", code="model_not_found"
        )
    return call
