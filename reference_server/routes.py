"""The routes of each profile: which endpoint answers which path below the base, by method."""

from collections.abc import Callable, Mapping

from . import (
    anthropic,
    audio,
    completions,
    endpoints,
    images,
    losi,
    lunos,
    messages,
    omai,
    osmapi,
    realtime,
)
from .call import Call
from .embeddings import embeddings
from .script import Reply

__all__ = ["Handler", "handlers_of"]

Handler = Callable[[Call], Reply]
Route = tuple[str, ...]

_REST = "*"
"""The last segment of a route that stands for one or more segments."""

_CHAT: dict[Route, dict[str, Handler]] = {("chat", "completions"): {"POST": endpoints.chat}}
_MODELS: dict[Route, dict[str, Handler]] = {
    ("models",): {"GET": endpoints.list_models},
    ("models", _REST): {"GET": endpoints.retrieve_model},
}
_COMPLETIONS: dict[Route, dict[str, Handler]] = {
    ("completions",): {"POST": completions.completions}
}
_IMAGES: dict[Route, dict[str, Handler]] = {("images", "generations"): {"POST": images.generate}}
_SPEECH: dict[Route, dict[str, Handler]] = {("audio", "speech"): {"POST": audio.speak}}
_TRANSCRIPTIONS: dict[Route, dict[str, Handler]] = {
    ("audio", "transcriptions"): {"POST": audio.transcribe}
}
_REALTIME: dict[Route, dict[str, Handler]] = {("realtime",): {"GET": realtime.open_session}}
_EMBEDDINGS: dict[Route, dict[str, Handler]] = {("embeddings",): {"POST": embeddings}}

_MESSAGES: dict[Route, dict[str, Handler]] = {
    ("messages",): {"POST": messages.messages},
    ("messages", "count_tokens"): {"POST": messages.count_tokens},
}
_LUNOS: dict[Route, dict[str, Handler]] = {
    **_CHAT,
    **_EMBEDDINGS,
    **_IMAGES,
    **_TRANSCRIPTIONS,
    **_MESSAGES,
    ("completions",): {"POST": lunos.complete},
    ("models",): {"GET": lunos.list_models},
    ("balance",): {"GET": lunos.balance},
}

ROUTES: Mapping[str, Mapping[Route, Mapping[str, Handler]]] = {
    "openai": {
        **_CHAT,
        **_COMPLETIONS,
        **_EMBEDDINGS,
        **_IMAGES,
        **_SPEECH,
        **_TRANSCRIPTIONS,
        **_MODELS,
    },
    "osmapi": {
        **_CHAT,
        **_MESSAGES,
        **_SPEECH,
        **_TRANSCRIPTIONS,
        **_REALTIME,
        ("embeddings",): {"POST": osmapi.embeddings},
        **_MODELS,
    },
    "losi": {
        **_CHAT,
        **_MODELS,
        ("api-keys",): {
            "GET": losi.list_keys,
            "POST": losi.create_key,
            "DELETE": losi.delete_key,
        },
        ("api-usage",): {"GET": losi.usage},
    },
    "omai": {**_CHAT, **_EMBEDDINGS, ("auth", "login"): {"POST": omai.login}},
    "lunos": {
        route: {method: lunos.attributed(handler) for method, handler in handlers.items()}
        for route, handlers in _LUNOS.items()
    },
    "anthropic": {
        **_MESSAGES,
        ("models",): {"GET": anthropic.list_models},
        ("models", _REST): {"GET": anthropic.retrieve_model},
    },
}
"""The endpoints of each profile."""


def handlers_of(profile: str, route: Route) -> Mapping[str, Handler] | None:
    """Return the endpoints of a path by method, or None when there is no such path."""
    routes = ROUTES[profile]
    found = routes.get(route)
    if found is None and len(route) > 1:
        found = routes.get((route[0], _REST))
    return found
