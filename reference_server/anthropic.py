"""What is Anthropic's own besides Messages: its versions, and its list of models.

Sources: Anthropic's pages on versions and models.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .access import model_of
from .errors import ApiError
from .script import JSON, Reply

if TYPE_CHECKING:
    from .call import Call
    from .profile import Model

__all__ = [
    "VERSIONS",
    "list_models",
    "retrieve_model",
    "speaks_messages",
    "version_of",
]

VERSIONS = ("2023-06-01", "2026-10-21")
"""The API versions that clients send; the later one is known from its clients only."""


def speaks_messages(profile: str, route: tuple[str, ...]) -> bool:
    """Tell whether a path of a profile is of this dialect."""
    return profile == "anthropic" or route[:1] == ("messages",)


def version_of(call: "Call") -> str:
    """Return the API version that a call asks for, or refuse the call."""
    version = call.header("anthropic-version")
    if version is None and call.profile.name != "anthropic":
        return VERSIONS[0]  # a gateway of another make has a default
    if not version:
        raise ApiError(400, "anthropic-version: the header is required.")
    if version not in VERSIONS:
        raise ApiError(
            400,
            f"anthropic-version: {version[:40]!r} is not a version. Known: {', '.join(VERSIONS)}.",
        )
    return version


def _card(model: "Model", name: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": model.title or name,
        "created_at": datetime.fromtimestamp(model.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def list_models(call: "Call") -> Reply:
    """Answer ``GET /models``: the newest first, a page of them by ``limit`` and an id."""
    version_of(call)
    models = call.profile.models
    names = sorted(call.profile.listed, key=lambda name: -models[name].created)
    limit = call.query.get("limit", "20")
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit) <= 1000:
        raise ApiError(400, f"limit: expected 1 to 1000, but got {limit[:20]!r}.")
    size = int(limit)
    after, before = call.query.get("after_id"), call.query.get("before_id")
    for param, name in (("after_id", after), ("before_id", before)):
        if name is not None and name not in names:
            raise ApiError(400, f"{param}: there is no model {name[:80]!r}.")
    if after is not None:
        names = names[names.index(after) + 1 :]
        page = names[:size]
    elif before is not None:
        names = names[: names.index(before)]
        page = names[-size:]
    else:
        page = names[:size]
    body = {
        "data": [_card(models[name], name) for name in page],
        "has_more": len(page) < len(names),
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
    }
    return Reply(200, (JSON,), body=body)


def retrieve_model(call: "Call") -> Reply:
    """Answer ``GET /models/{id}``."""
    version_of(call)
    name = "/".join(call.route[1:])
    return Reply(200, (JSON,), body=_card(model_of(call, name), name))
