"""The profiles: what each gateway serves, and how it differs from the one it claims to be like.

A profile is a row: its models, its routes, its fields, and what it adds to an answer. ``openai`` is
the upstream's definition; ``osmapi`` adds exact costs, provider prefixes, automatic routing,
web search and plugins as that vendor's page "Chat Completions" and its cost page describe them;
``losi`` has plans, keys with permissions and a model with a prompt of its own; ``omai`` has tiers,
a login, and chat answers that name no model; ``lunos`` has envelopes of its own, a balance and
answers that are kept on request.
``anthropic`` is the other upstream, with a dialect of its own.
Prices are the server's own: the vendor's sample shows none that its models have.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from . import envelopes, lunos
from .chat import Choice, Completion
from .errors import ApiError
from .jsontext import Json
from .limits import Limit
from .omega import with_omega
from .rules import Rule, boolean, list_of, nullable, one_of, text
from .state import Account, Seed, picodollars
from .tokens import tokenize
from .validate import CHAT_FIELDS

if TYPE_CHECKING:
    from .call import Call

__all__ = ["DEMO_KEY", "PROFILES", "Model", "Plan", "Profile", "seeds"]

DEMO_KEY = "sk-gateproof-demo"

_MINUTE_NS = 60_000_000_000
_MILLION = Decimal(1_000_000)
_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a profile serves; prices are in USD for a million tokens."""

    name: str
    owner: str
    created: int = 1_735_689_600
    reasons: bool = False
    context: int = 128_000
    price_in: Decimal = Decimal("0.15")
    price_out: Decimal = Decimal("0.6")
    does: tuple[str, ...] = ("chat",)
    """What it can be asked for: chat, completions, embeddings, images, speech, transcriptions."""
    inputs: tuple[str, ...] = ("text",)
    """The modalities that it reads."""
    outputs: tuple[str, ...] = ("text",)
    """The modalities that it writes."""
    title: str = ""
    """Its name for people."""
    dimensions: int = 0
    """The length of its embeddings."""
    shortens: bool = False
    """Takes ``dimensions``, for shorter embeddings."""
    pusd_in: int = field(init=False, default=0)
    """The price of one token in picodollars."""
    pusd_out: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pusd_in", picodollars(self.price_in / _MILLION))
        object.__setattr__(self, "pusd_out", picodollars(self.price_out / _MILLION))

    def card(self, name: str) -> dict[str, Any]:
        """Return the model as the list of models shows it."""
        return {"id": name, "object": "model", "created": self.created, "owned_by": self.owner}


def _plain_card(model: Model, name: str) -> dict[str, Any]:
    return model.card(name)


def _nothing_added(
    completion: Completion, _model: Model, _payload: Mapping[str, Any]
) -> Completion:
    return completion


def _not_observed(_call: "Call", _completion: Completion, _model: Model) -> None:
    return


@dataclass(frozen=True, slots=True)
class Plan:
    """What an account pays for, and how the demo account of this plan begins."""

    name: str = "default"
    models: frozenset[str] | None = None
    """The names that it has; None is all."""
    limits: tuple[Limit, ...] = ()
    quota_tokens: int | None = None
    """Tokens for a month; None is without end."""
    balance: Decimal = Decimal(1000)
    """USD in the demo account."""
    alert: Decimal = Decimal(1)
    """USD below which the balance counts as low."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a target of this kind claims to be."""

    name: str
    models: Mapping[str, Model]
    """Every name that is served, listed or not, and the model that answers to it."""
    listed: Sequence[str]
    fields: Mapping[str, Rule] = field(default_factory=lambda: CHAT_FIELDS)
    add: Callable[[Completion, Model, Mapping[str, Any]], Completion] = _nothing_added
    card: Callable[[Model, str], dict[str, Any]] = _plain_card
    usage_always: bool = False
    """The last chunk of a stream carries usage without being asked."""
    show_reasoning: bool = False
    key: str = DEMO_KEY
    base: str = "/v1"
    """The path before every route."""
    key_headers: tuple[str, ...] = ("authorization",)
    """The headers that may carry the key, the first that does wins: ``authorization`` (Bearer),
    ``cookie`` (a session), or one that is the key."""
    session_cookie: str = ""
    """The cookie that carries a session."""
    open_routes: frozenset[tuple[str, ...]] = frozenset()
    """The routes that need no key."""
    plans: Mapping[str, Plan] = field(default_factory=lambda: {"default": Plan()})
    """The plans by name; the demo key's is the last, which is the highest."""
    restricted: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    """Further demo keys: the end of the key, its plan, and its permissions."""
    user: tuple[str, str] | None = None
    """Name and password of the demo account's user."""
    prompt: Callable[[Sequence[Json], Model], list[Json]] | None = None
    """Makes the messages that the model gets from those of the client; None leaves them."""
    observe: "Callable[[Call, Completion, Model], None]" = _not_observed
    """Takes notice of each answer, for the journal."""
    names_model: bool = True
    """Answers to a chat say which model gave them."""
    refuse: "Callable[[ApiError, Call | None, str], tuple[int, Json]]" = envelopes.openai
    """Gives the status and the body of an error, from the call (if it got that far) and the id."""
    limit_headers: str = "openai"
    """The family of rate-limit headers: ``openai``, ``osmapi`` or ``anthropic``."""

    def model_for(self, name: str, does: str | None) -> Model:
        """Find a model that can do this, or refuse the request."""
        model = self.models.get(name)
        if model is None:
            raise ApiError(
                404,
                f"The model {name[:100]!r} does not exist or you do not have access to it.",
                param="model",
                code="model_not_found",
            )
        if does is not None and does not in model.does:
            raise ApiError(
                400,
                f"The model {name!r} does not support {does}, only {' and '.join(model.does)}.",
                param="model",
                code="unsupported_model",
            )
        return model


_OPENAI = (
    Model("gpt-4o-mini", "system", 1_721_172_741),
    Model("gpt-4o", "system", 1_715_367_049, price_in=Decimal("2.5"), price_out=Decimal(10)),
    Model(
        "gpt-4.1-mini", "system", 1_744_318_173, price_in=Decimal("0.4"), price_out=Decimal("1.6")
    ),
    Model("gpt-5-mini", "system", 1_754_425_928, reasons=True),
    Model("demo/llama-3.1-8b", "demo", 1_721_692_800),
    Model("text-embedding-3-small", "system", 1_705_948_997, does=("embeddings",), dimensions=1536,
          shortens=True, price_in=Decimal("0.02"), price_out=Decimal(0)),
    Model("text-embedding-ada-002", "openai-internal", 1_671_217_299, does=("embeddings",),
          dimensions=1536, price_in=Decimal("0.1"), price_out=Decimal(0)),
    Model("gpt-3.5-turbo-instruct", "system", 1_692_901_427, does=("completions",), context=4096,
          price_in=Decimal("1.5"), price_out=Decimal(2)),
    Model("gpt-image-1", "system", 1_745_517_030, does=("images",), price_in=Decimal(5),
          price_out=Decimal(40)),
    Model("dall-e-2", "system", 1_698_798_177, does=("images",), price_in=Decimal(0),
          price_out=Decimal(40)),
    Model("whisper-1", "openai-internal", 1_677_532_384, does=("transcriptions",),
          price_in=Decimal(10), price_out=Decimal(0)),
    Model("gpt-4o-mini-transcribe", "system", 1_742_068_596,
          does=("transcriptions", "streamed transcriptions"), price_in=Decimal("1.25"),
          price_out=Decimal(5)),
    Model("tts-1", "openai-internal", 1_681_940_951, does=("speech",), price_in=Decimal(15),
          price_out=Decimal(0)),
)  # fmt: skip

_ANTHROPIC = (
    Model("claude-sonnet-4-6", "anthropic", 1_771_286_400, title="Claude Sonnet 4.6",
          context=200_000, price_in=Decimal(3), price_out=Decimal(15)),
    Model("claude-haiku-4-5", "anthropic", 1_760_486_400, title="Claude Haiku 4.5",
          context=200_000, price_in=Decimal(1), price_out=Decimal(5)),
)  # fmt: skip

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


def _osmapi_models() -> dict[str, Model]:
    names: dict[str, Model] = {}
    for provider, models in _PROVIDERS.items():
        for model in models:
            names[model.name] = model
            names[f"{provider}/{model.name}"] = model
    names["auto"] = names["gpt-4o-mini"]
    return names


def _osmapi_card(model: Model, name: str) -> dict[str, Any]:
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
        "supported_parameters": sorted(_OSMAPI_FIELDS),
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


def _osmapi_add(completion: Completion, model: Model, payload: Mapping[str, Any]) -> Completion:
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


_OSMAPI_FIELDS: dict[str, Rule] = {
    **CHAT_FIELDS,
    "reasoning_effort": nullable(one_of("minimal", "low", "medium", "high")),
    "web_search": nullable(boolean),
    "plugins": nullable(list_of(_plugin)),
}


def _tier(requests: int, tokens: int) -> tuple[Limit, ...]:
    return Limit("requests", requests, _MINUTE_NS), Limit("tokens", tokens, _MINUTE_NS)


def _wide_limits() -> tuple[Limit, ...]:
    minute_ns = 60_000_000_000
    return (
        Limit("requests", 10_000_000, minute_ns, algorithm="fixed-window"),
        Limit("tokens", 10_000_000_000, minute_ns, algorithm="fixed-window"),
    )


def _by_name(*plans: Plan) -> dict[str, Plan]:
    return {plan.name: plan for plan in plans}


_LOSI = (
    Model("losi-mini", "losi", 1_735_689_600),
    Model("losi-omega", "losi", 1_746_057_600, price_in=Decimal("1.5"), price_out=Decimal(6)),
    Model("gpt-4o-mini", "openai", 1_721_172_741),
    Model("claude-sonnet-4-6", "anthropic", 1_771_286_400, price_in=Decimal(3),
          price_out=Decimal(15)),
)  # fmt: skip
_OMAI = (
    Model("omai-gpt-4", "omai", 1_677_652_288, price_in=Decimal(10), price_out=Decimal(30)),
    Model("text-embedding-ada-002", "omai", 1_671_217_299, does=("embeddings",), dimensions=1536,
          price_in=Decimal("0.1"), price_out=Decimal(0)),
)  # fmt: skip

_LUNOS = {
    "openai": (
        Model("gpt-4o", "openai", 1_715_367_049, price_in=Decimal("2.5"), price_out=Decimal(10),
              inputs=("text", "image"), title="GPT-4o"),
        Model("gpt-4o-mini", "openai", 1_721_172_741, inputs=("text", "image"),
              title="GPT-4o mini"),
        Model("gpt-3.5-turbo-instruct", "openai", 1_692_901_427, does=("completions",),
              context=4096, price_in=Decimal("1.5"), price_out=Decimal(2),
              title="GPT-3.5 Turbo Instruct"),
        Model("text-embedding-3-small", "openai", 1_705_948_997, does=("embeddings",),
              dimensions=1536, shortens=True, price_in=Decimal("0.02"), price_out=Decimal(0),
              outputs=("embedding",), title="Text Embedding 3 Small"),
        Model("gpt-image-1", "openai", 1_745_517_030, does=("images",), price_in=Decimal(5),
              price_out=Decimal(40), outputs=("image",), title="GPT Image 1"),
        Model("dall-e-2", "openai", 1_698_798_177, does=("images",), price_in=Decimal(0),
              price_out=Decimal(40), outputs=("image",), title="DALL-E 2"),
        Model("whisper-1", "openai", 1_677_532_384, does=("transcriptions",),
              price_in=Decimal(10), price_out=Decimal(0), inputs=("audio",), title="Whisper"),
    ),
    "anthropic": (
        Model("claude-sonnet-4-6", "anthropic", 1_771_286_400, price_in=Decimal(3),
              price_out=Decimal(15), inputs=("text", "image"), title="Claude Sonnet 4.6"),
    ),
    "google": (
        Model("gemma-4-26b-a4b-it", "google", 1_775_520_000, price_in=Decimal("0.1"),
              price_out=Decimal("0.4"), inputs=("text", "image"), title="Gemma 4 26B"),
    ),
}  # fmt: skip


def _lunos_add(completion: Completion, model: Model, _payload: Mapping[str, Any]) -> Completion:
    return replace(completion, extra={"provider": model.owner})


_LUNOS_MODELS = {
    f"{provider}/{model.name}": model for provider, models in _LUNOS.items() for model in models
}

PROFILES: dict[str, Profile] = {
    "openai": Profile(
        name="openai",
        models={model.name: model for model in _OPENAI},
        listed=[model.name for model in _OPENAI],
    ),
    "osmapi": Profile(
        name="osmapi",
        models=_osmapi_models(),
        listed=list(_osmapi_models()),
        fields=_OSMAPI_FIELDS,
        add=_osmapi_add,
        card=_osmapi_card,
        usage_always=True,
        show_reasoning=True,
        limit_headers="osmapi",
    ),
    "losi": Profile(
        name="losi",
        models={model.name: model for model in _LOSI},
        listed=[model.name for model in _LOSI],
        base="/api/v1",
        refuse=envelopes.losi,
        # The page's table of plans is lost: these are the server's own.
        plans=_by_name(
            Plan("spent", quota_tokens=0),
            Plan("limited", limits=(Limit("requests", 5, _MINUTE_NS),)),
            Plan("free", models=frozenset({"losi-mini", "gpt-4o-mini"})),
            Plan("pro"),
        ),
        restricted={"readonly": ("pro", ("models",))},
        prompt=with_omega,
    ),
    "omai": Profile(
        name="omai",
        models={model.name: model for model in _OMAI},
        listed=[model.name for model in _OMAI],
        refuse=envelopes.omai,
        key_headers=("authorization", "cookie"),
        session_cookie="omai_session",
        open_routes=frozenset({("auth", "login")}),
        # The reference names neither window nor scope nor tokens: see ``limits`` for the readings.
        plans=_by_name(
            Plan("basic", limits=_tier(60, 40_000)),
            Plan("pro", limits=_tier(3_000, 2_000_000)),
            Plan("enterprise"),
        ),
        user=("demo", "gateproof-demo-password"),
        names_model=False,
    ),
    "lunos": Profile(
        name="lunos",
        models=_LUNOS_MODELS,
        listed=list(_LUNOS_MODELS),
        fields={**CHAT_FIELDS, "observability": boolean, "appId": text()},
        add=_lunos_add,
        observe=lunos.observe,
        refuse=envelopes.lunos,
        # One page shows the list without a key, another wants one for every request.
        open_routes=frozenset({("models",)}),
        plans=_by_name(
            Plan("low", balance=Decimal("0.5")),
            Plan("limited", limits=(Limit("requests", 5, _MINUTE_NS),)),
            Plan("standard"),
        ),
    ),
    "anthropic": Profile(
        name="anthropic",
        models={model.name: model for model in _ANTHROPIC},
        listed=[model.name for model in _ANTHROPIC],
        key_headers=("x-api-key", "authorization"),
        refuse=envelopes.anthropic,
        # The upstream always tells its limits; these are too wide to be met.
        plans=_by_name(Plan("standard", limits=_wide_limits())),
        limit_headers="anthropic",
    ),
}
"""Every profile that the server speaks; each has its routes under its own prefix."""


def seeds() -> list[Seed]:
    """Return the demo accounts: one for each plan of each profile, with two keys.

    Their keys are ``sk-gateproof-PROFILE-PLAN`` and the same with ``-2``; the account of a
    profile's highest plan has ``sk-gateproof-demo`` as well. With ``--WORD`` behind it, each of
    these keys opens an account of its own (see ``State``).
    """
    found: list[Seed] = []
    for profile in PROFILES.values():
        *_, highest = profile.plans
        for plan in profile.plans.values():
            secret = f"sk-gateproof-{profile.name}-{plan.name}"
            keys: list[tuple[str, tuple[str, ...] | None]] = [(secret, None), (f"{secret}-2", None)]
            if plan.name == highest:
                keys.insert(0, (profile.key, None))
            keys += [
                (f"sk-gateproof-{profile.name}-{end}", permissions)
                for end, (of, permissions) in profile.restricted.items()
                if of == plan.name
            ]
            account = Account(
                f"{profile.name}-{plan.name}",
                profile.name,
                plan.name,
                picodollars(plan.balance),
                picodollars(plan.alert),
            )
            user = profile.user if plan.name == highest else None
            found.append(Seed(account, tuple(keys), user))
    return found
