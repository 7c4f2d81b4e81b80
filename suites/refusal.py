"""How the suites read a refusal: what counts as one, and where its message stands.

A request that should be refused can go wrong in four ways, each reported by a check of its own: it
is answered, it is refused with status 200, it meets a 5xx, or nothing comes. Each helper here lets
a check speak of its own way only and be untestable in the others.
"""

from collections.abc import Iterator
from typing import Any

from gateproof.check import Place, Untestable, expect
from gateproof.dialects import openai
from gateproof.transcript import Exchange, Transcript
from gateproof.wire import Response

from .reading import shown

__all__ = [
    "answered",
    "body_value",
    "is_error",
    "message_of",
    "refusals",
    "refused",
    "turned_down",
    "type_of",
]


def is_error(value: object) -> bool:
    """Tell whether a JSON body says that it is an error, in any of the known envelopes."""
    return isinstance(value, dict) and (
        bool(value.get("error")) or value.get("success") is False or value.get("type") == "error"
    )


def body_value(exchange: Exchange) -> Any:
    """Return the JSON value of a body, or ``None`` when it is not JSON."""
    try:
        return openai.json_value(exchange)
    except Untestable:
        return None


def answered(exchange: Exchange) -> bool:
    """Tell whether a request was answered as if it were right."""
    got = openai.response(exchange)
    if got.status >= 400:
        return False
    if is_error(body_value(exchange)):
        return False
    # An error that stands in a stream is a refusal too, if a late one.
    return not (got.media_type == "text/event-stream" and _errors_in_stream(exchange))


def _errors_in_stream(exchange: Exchange) -> bool:
    for event in exchange.events[:3]:
        try:
            value = openai.loads(event.data)
        except (ValueError, RecursionError):
            continue
        if is_error(value):
            return True
    return False


def refused(exchange: Exchange, *, wanted: str, at: Place) -> Response:
    """Return the response of a request that was refused with a status; a finding when answered.

    ``Untestable`` where another check reports what is wrong: no answer, status 200, a 5xx.
    """
    got = openai.response(exchange)
    expect(not answered(exchange), wanted=wanted, got=shown(got), at=at)
    if got.status < 400:
        raise Untestable(
            f"the refusal has status {got.status} (see err.not-200, sse.prestream-error-status)"
        )
    if got.status >= 500:
        raise Untestable(f"the refusal has status {got.status} (see err.status.400)")
    return got


def turned_down(
    exchange: Exchange, *, wanted: str, at: Place | None = None, saying_why: bool = False
) -> Response:
    """Return the 4xx that a request must get; whatever else it gets is a finding.

    ``saying_why`` wants a body too that is a JSON object with something in it. Where ``at`` says
    that it is one request of several, its label stands before what it got.
    """
    got = openai.response(exchange)
    value = body_value(exchange) if saying_why else None
    told = not saying_why or (isinstance(value, dict) and bool(value))
    label = f"{exchange.ask.label}: " if at is not None and exchange.ask.label else ""
    expect(
        400 <= got.status < 500 and told, wanted=wanted, got=label + shown(got), at=at or Place()
    )
    return got


def refusals(seen: Transcript) -> Iterator[tuple[Place, Exchange]]:
    """Iterate over the exchanges that were refused, with whatever status, and their places.

    ``Untestable`` when none was refused or nothing came.
    """
    found = [
        (Place(exchange=index), exchange)
        for index, exchange in enumerate(seen.exchanges)
        if not answered(exchange)
    ]
    if not found:
        raise Untestable(f"nothing was refused ({shown(openai.response(seen[0]))})")
    yield from found


def type_of(exchange: Exchange) -> str | None:
    """Return the type of a body's error; ``None`` where it has none that is a text."""
    value = body_value(exchange)
    error = value.get("error") if isinstance(value, dict) else None
    found = error.get("type") if isinstance(error, dict) else None
    return found if isinstance(found, str) else None


def message_of(value: object) -> str:
    """Return an error body's human-readable message from its known places; empty without one."""
    if not isinstance(value, dict):
        return ""
    error = value.get("error")
    if isinstance(error, dict):
        found = error.get("message")
    elif isinstance(error, str) and not isinstance(value.get("message"), str):
        found = error
    else:
        found = value.get("message")
    return found.strip() if isinstance(found, str) else ""
