"""osmAPI's chat: providers and their models, exact costs, web search and plugins.

As that vendor's pages "Chat Completions", "Cost Breakdown" and "Response Healing" describe them;
the prices are the server's own.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from .chat import Choice, Completion
from .jsontext import Json
from .profile import Model
from .rules import Rule, boolean, list_of, nullable, one_of, text
from .tokens import tokenize
from .validate import CHAT_FIELDS

__all__ = ["OSMAPI_FIELDS", "heal", "osmapi_add", "osmapi_card", "osmapi_models"]

_MILLION = Decimal(1_000_000)
_CENT = Decimal("0.01")

_PROVIDERS = {
    "openai": (
        Model("gpt-4o", "openai", 1_715_367_049, price_in=Decimal("2.5"), price_out=Decimal(10)),
        Model("gpt-4o-mini", "openai", 1_721_172_741),
        Model("gpt-5-mini", "openai", 1_754_425_928, reasons=True, price_in=Decimal("0.25"),
              price_out=Decimal(2)),
        Model("text-embedding-3-small", "openai", 1_705_948_997, does=("embeddings",),
              dimensions=1536, shortens=True, price_in=Decimal("0.02"), price_out=Decimal(0)),
        Model("tts-1", "openai", 1_681_940_951, does=("speech",), price_in=Decimal(15),
              price_out=Decimal(0)),
        Model("whisper-1", "openai", 1_677_532_384, does=("transcriptions",),
              price_in=Decimal(10), price_out=Decimal(0)),
        Model("gpt-realtime", "openai", 1_756_256_146, does=("realtime",), price_in=Decimal(4),
              price_out=Decimal(16)),
    ),
    "anthropic": (
        Model("claude-sonnet-4-6", "anthropic", 1_771_286_400, price_in=Decimal(3),
              price_out=Decimal(15)),
    ),
    "google-ai-studio": (
        Model("gemini-2.5-flash", "google-ai-studio", 1_750_118_400, price_in=Decimal("0.3"),
              price_out=Decimal("2.5")),
    ),
    "groq": (
        Model("llama-3.3-70b-instruct", "groq", 1_733_443_200, price_in=Decimal("0.59"),
              price_out=Decimal("0.79")),
    ),
}  # fmt: skip


def osmapi_models() -> dict[str, Model]:
    """Return the models by their names, bare and with a provider, and ``auto``."""
    names: dict[str, Model] = {}
    for provider, models in _PROVIDERS.items():
        for model in models:
            names[model.name] = model
            names[f"{provider}/{model.name}"] = model
    names["auto"] = names["gpt-4o-mini"]
    return names


def osmapi_card(model: Model, name: str) -> dict[str, Any]:
    """Return a model as the list of models shows it."""
    return {
        **model.card(name),
        "name": model.name,
        "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
        "providers": [{"providerId": model.owner, "modelName": model.name}],
        "pricing": {
            "prompt": format(model.price_in / _MILLION, "f"),
            "completion": format(model.price_out / _MILLION, "f"),
        },
        "context_length": model.context,
        "supported_parameters": sorted(OSMAPI_FIELDS),
    }


def _exact(value: Decimal) -> Decimal:
    """Drop trailing zeros; zero is 0."""
    return value.normalize() if value else Decimal(0)


def _cost(model: Model, usage: Mapping[str, Any], searches: int) -> dict[str, Decimal]:
    """Price an answer: the total is the sum of the parts, and no fee is taken for the request.

    The vendor's sample repeats the total in ``cost_usd_request``; its cost page calls that field a
    fee that is usually 0. The sum only comes out under the second reading.
    """
    cached = usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)
    input_ = (usage["prompt_tokens"] - cached) * model.price_in / _MILLION
    cached_input = cached * model.price_in / _MILLION / 2
    output = usage["completion_tokens"] * model.price_out / _MILLION
    search = searches * _CENT
    cost = {
        "cost_usd_total": _exact(input_ + cached_input + output + search),
        "cost_usd_input": _exact(input_),
        "cost_usd_output": _exact(output),
        "cost_usd_cached_input": _exact(cached_input),
        "cost_usd_request": Decimal(0),
    }
    if searches:
        cost["cost_usd_web_search"] = search
    return cost


def heal(text: str) -> str | None:
    """Find the JSON in an answer: without fences, words around it, or commas before an end."""
    start = min((p for p in (text.find("{"), text.find("[")) if p >= 0), default=-1)
    end = max(text.rfind("}"), text.rfind("]"))
    if start < 0 or end < start:
        return None
    inner = re.sub(r",(\s*[}\]])", r"\1", text[start : end + 1])
    try:
        json.loads(inner)
    except (ValueError, RecursionError):
        return None
    return inner


def _heals(payload: Mapping[str, Any]) -> bool:
    form = payload.get("response_format") or {}
    if form.get("type") not in {"json_object", "json_schema"} or int(payload.get("n") or 1) > 1:
        return False
    plugins = payload.get("plugins") or ()
    return any(
        plugin == "response-healing"
        or (isinstance(plugin, dict) and plugin.get("id") == "response-healing")
        for plugin in plugins
    )


def _healed(choice: Choice) -> Choice:
    text = choice.text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        healed = heal(text)
        if healed is not None and not choice.calls:
            return replace(choice, tokens=tokenize(healed))
    return choice


def osmapi_add(completion: Completion, model: Model, payload: Mapping[str, Any]) -> Completion:
    """Add what an answer has besides the upstream's: its cost, its route, and what plugins do."""
    searches = 1 if payload.get("web_search") else 0
    usage = completion.usage
    if usage is not None:
        reasoning = usage["completion_tokens_details"]["reasoning_tokens"]
        extra = {"reasoning_tokens": reasoning} if reasoning else {}
        usage = {**usage, **extra, **_cost(model, usage, searches)}
    annotations = {
        "annotations": [
            {
                "type": "url_citation",
                "url": "https://www.example.com/source",
                "title": "An example source",
            }
        ]
    }
    choices = completion.choices
    if _heals(payload):
        choices = tuple(_healed(choice) for choice in choices)
    requested = str(payload["model"])
    return replace(
        completion,
        choices=choices,
        usage=usage,
        extra={
            "metadata": {
                "requested_model": requested,
                "used_model": model.name,
                "used_provider": model.owner,
            }
        },
        message_extra=annotations if searches else None,
    )


def _plugin(value: Json, param: str) -> None:
    """Accept a plugin by name or as an object with an ``id``: the vendor's pages show both."""
    if isinstance(value, dict):
        text()(value.get("id"), f"{param}.id")
    else:
        text()(value, param)


OSMAPI_FIELDS: dict[str, Rule] = {
    **CHAT_FIELDS,
    "reasoning_effort": nullable(one_of("minimal", "low", "medium", "high")),
    "web_search": nullable(boolean),
    "plugins": nullable(list_of(_plugin)),
}
