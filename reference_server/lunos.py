"""Lunos' own: its list of models, its text completions, the balance, and who is shown what.

The list is the bare array of the current page; ``input`` and ``output`` each leave the models that
have one of the modalities named, both together what both leave. Completions have the envelope of
the introduction's sample. Each answer's exact cost is taken from the balance before it is told.
A call that asks for ``observability`` is kept in the journal, as ``observed``; the application
that it names, by ``X-App-ID`` or ``appId``, as ``app``.
Sources: Lunos, Introduction and API reference; the pages on models and on the balance.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from .chat import Completion
from .completions import completed, reply_of
from .script import JSON, Reply

if TYPE_CHECKING:
    from .call import Call
    from .profile import Model

__all__ = ["attributed", "balance", "complete", "list_models", "observe"]

_UNKNOWN_APP = "unknown"


def attributed(handler: "Callable[[Call], Reply]") -> "Callable[[Call], Reply]":
    """Have the journal note which application a call is for."""

    def attribute(call: "Call") -> Reply:
        payload = call.payload if isinstance(call.payload, dict) else {}
        named = payload.get("appId")
        app = call.header("x-app-id") or (named if isinstance(named, str) else "")
        call.notes["app"] = app or _UNKNOWN_APP
        return handler(call)

    return attribute


def observe(call: "Call", completion: Completion, model: "Model") -> None:
    """Keep what was asked and answered, if the caller wants it kept."""
    payload = call.payload
    if payload.get("observability") is not True:
        return
    usage = completion.usage or {"prompt_tokens": 0, "completion_tokens": 0}
    cost = (
        usage["prompt_tokens"] * model.pusd_in + usage["completion_tokens"] * model.pusd_out
    )  # fmt: skip
    call.notes["observed"] = {
        "id": completion.id,
        "messages": payload.get("messages", payload.get("prompt")),
        "output": [
            {
                "text": choice.text,
                "calls": [{"name": c.name, "arguments": c.arguments} for c in choice.calls],
            }
            for choice in completion.choices
        ],
        "usage": {**usage, "cost_usd": _usd(cost)},
    }


def _usd(pusd: int) -> Decimal:
    exact = Decimal(pusd).scaleb(-12)
    return exact.normalize() if exact else Decimal(0)


# Models


def _price(value: Decimal) -> Decimal:
    return value.normalize() if value else Decimal(0)


def _day(at_s: int) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d}"


def _card(model: "Model", name: str) -> dict[str, Any]:
    most = min(16_384, model.context)
    chats = "chat" in model.does
    supported = ["temperature", "top_p", "max_tokens", "stop"] if chats else []
    return {
        "id": name,
        "provider": name.partition("/")[0],
        "name": model.title or model.name,
        "description": f"{model.title or model.name}, for {' and '.join(model.does)}.",
        "inputModalities": list(model.inputs),
        "outputModalities": list(model.outputs),
        "pricePerMillionTokens": {
            "input": _price(model.price_in),
            "output": _price(model.price_out),
            "discountPercentage": 0,
        },
        "parameters": {"context": model.context, "max_output_tokens": most, "size": None},
        "supportedParameters": supported,
        "freeConfig": {"maxTokens": 0, "isPremium": True},
        "isEnabled": True,
        "supportReasoning": model.reasons,
        "maxCompletionTokens": most,
        "releaseDate": _day(model.created),
        "createdAt": f"{_day(model.created)}T00:00:00Z",
        "updatedAt": f"{_day(model.created)}T00:00:00Z",
    }


def _wanted(query: Mapping[str, str], name: str) -> set[str] | None:
    """Return the modalities that a parameter names, or None without it."""
    if name not in query:
        return None
    return {part.strip().lower() for part in query[name].split(",") if part.strip()}


def list_models(call: "Call") -> Reply:
    """Answer ``GET /models``."""
    profile = call.profile
    read, written = _wanted(call.query, "input"), _wanted(call.query, "output")
    cards = []
    for name in profile.listed:
        model = profile.models[name]
        if read is not None and not read & set(model.inputs):
            continue
        if written is not None and not written & set(model.outputs):
            continue
        cards.append(_card(model, name))
    return Reply(200, (JSON,), body=cards)


# Completions and balance


def complete(call: "Call") -> Reply:
    """Answer ``POST /completions`` in the envelope of the introduction's sample."""
    completion = completed(call)
    body: dict[str, Any] = {
        "id": completion.id.replace("cmpl-", "resp_", 1),
        "object": "completion",
        "created": completion.created,
        "model": completion.model,
        "provider": completion.model.partition("/")[0],
        "data": {
            "choices": [
                {"text": choice.text, "index": choice.index, "finish_reason": choice.finish}
                for choice in completion.choices
            ]
        },
    }
    if completion.usage is not None:
        body["usage"] = completion.usage
    return reply_of(call, completion, body)


def balance(call: "Call") -> Reply:
    """Answer ``GET /balance``: what is left, to the last digit, and when its owner is alerted."""
    assert call.caller is not None
    assert call.state is not None
    account = call.state.account(call.caller.account)
    data = {
        "balance": _usd(account.balance_pusd),
        "email": "demo@example.com",
        "alertBalance": _usd(account.alert_pusd),
        "enableAlert": 1,
        "updatedAt": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "isAlertEnabled": True,
        "isBalanceLow": account.balance_pusd < account.alert_pusd,
    }
    body = {"success": True, "message": "The balance was read.", "data": data}
    return Reply(200, (JSON,), body=body)
