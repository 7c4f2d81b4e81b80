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

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from . import envelopes, lunos
from .chat import Completion
from .limits import Limit
from .omega import with_omega
from .osmapi_chat import OSMAPI_FIELDS, osmapi_add, osmapi_card, osmapi_models
from .profile import Model, Plan, Profile
from .rules import boolean, text
from .state import Account, Seed, picodollars
from .validate import CHAT_FIELDS

__all__ = ["PROFILES", "seeds"]

_MINUTE_NS = 60_000_000_000


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
        models=osmapi_models(),
        listed=list(osmapi_models()),
        fields=OSMAPI_FIELDS,
        add=osmapi_add,
        card=osmapi_card,
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
