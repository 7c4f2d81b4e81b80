"""A call: one request as the gateway understands it, before anything was answered.

Where it went (profile, route), what it carries (headers, body, the JSON in it), and how the server
was asked to behave, by URL, by the model's name, or for all calls. Frozen: a fault that changes a
call makes another one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from .chat import Timing
from .errors import ApiError

if TYPE_CHECKING:
    from .access import Caller
    from .faults.table import Deed
    from .limits import Gate
    from .multipart import Form
    from .profile import Profile
    from .state import State

__all__ = ["Call", "json_of"]


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a route of a profile."""

    id: str
    method: str
    route: tuple[str, ...]
    """The path below the profile's base, its segments decoded."""
    profile: "Profile"
    headers: tuple[tuple[str, str], ...]
    body: bytes
    target: str
    """The path and query as they came."""
    key: str | None
    """The key as it came, or None without one."""
    query: Mapping[str, str] = field(default_factory=dict)
    """The query's parameters; of one that is repeated, the last."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What the journal is to show of the call besides, by name."""
    caller: "Caller | None" = None
    """Whose key it is; None before that is known, and where none is needed."""
    state: "State | None" = None
    """What the server remembers."""
    gate: "Gate | None" = None
    """The limits that hold the call; None without any."""
    deeds: tuple["Deed", ...] = ()
    payload: Any = None
    """The JSON of the body, with the model's bare name; None when it has none."""
    model: str = ""
    """The model's name as it came, with behaviours."""
    path: str = ""
    """The path as it came."""
    problem: ApiError | None = None
    """Why the body has no JSON, for routes that need it."""
    form: "Form | None" = None
    """The fields of a multipart body."""
    form_problem: ApiError | None = None
    """Why a multipart body has no fields."""
    timing: Timing = field(default_factory=Timing)
    length: int | None = None
    """The tokens that prose is to have."""
    changed: bool = False
    """A fault has changed the payload: what went upstream is not what came."""

    def header(self, name: str) -> str | None:
        """Return a header's value, or None; names are in lower case."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def streams(self) -> bool:
        """Whether the client asked for a stream."""
        return isinstance(self.payload, dict) and self.payload.get("stream") is True

    def asks_for(self, option: str) -> bool:
        """Tell whether a member of ``stream_options`` is true."""
        options = self.payload.get("stream_options") if isinstance(self.payload, dict) else None
        return isinstance(options, dict) and options.get(option) is True


def _media_type(value: str) -> tuple[str, Mapping[str, str]]:
    parts = [part.strip() for part in value.split(";")]
    parameters = {}
    for part in parts[1:]:
        name, _, setting = part.partition("=")
        parameters[name.strip().lower()] = setting.strip().strip('"').lower()
    return parts[0].lower(), parameters


def json_of(headers: Mapping[str, str], body: bytes) -> Any:
    """Read a JSON object from a body, or refuse it with the status and the reason."""
    coding = headers.get("content-encoding", "identity").lower()
    if coding != "identity":
        raise ApiError(415, f"Content-Encoding {coding!r} is not supported: send the body plain.")
    media_type, parameters = _media_type(headers.get("content-type", "application/json"))
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise ApiError(
            415,
            f"Content-Type {media_type[:80]!r} is not supported: send 'application/json'.",
            code="unsupported_media_type",
        )
    if parameters.get("charset", "utf-8") not in {"utf-8", "utf8", "us-ascii"}:
        raise ApiError(415, "JSON is sent as UTF-8.", code="unsupported_media_type")
    if not body.strip():
        raise ApiError(400, "The request has no body: send a JSON object.", code="invalid_json")
    try:
        value = orjson.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(
            400, f"The body could not be read as JSON: {error}.", code="invalid_json"
        ) from None
    if not isinstance(value, dict):
        raise ApiError(400, "The body must be a JSON object.", code="invalid_json")
    return value
