"""What a profile is made of: its models, the plans of its accounts, and how its answers differ."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from . import envelopes
from .chat import Completion
from .errors import ApiError
from .jsontext import Json
from .limits import Limit
from .rules import Rule
from .state import picodollars
from .validate import CHAT_FIELDS

if TYPE_CHECKING:
    from .call import Call

__all__ = ["DEMO_KEY", "Model", "Plan", "Profile"]

DEMO_KEY = "sk-gateproof-demo"
_MILLION = Decimal(1_000_000)


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
