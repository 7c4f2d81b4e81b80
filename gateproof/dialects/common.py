"""What the readers of both dialects read with: JSON with exact numbers, answers, objects.

They raise ``Untestable`` when there is nothing to read; that is reported by the checks of answering
and framing. Numbers that are not integers are ``Decimal`` from the JSON text: money is among them.
"""

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, TypeGuard

from gateproof.check import Untestable
from gateproof.sse import Frame
from gateproof.transcript import Exchange
from gateproof.wire import Response

__all__ = [
    "DONE",
    "answer",
    "answered",
    "error_of",
    "events",
    "is_int",
    "is_number",
    "json_value",
    "loads",
    "objects",
    "response",
    "unread",
]

DONE = "[DONE]"


def loads(text: str | bytes) -> Any:
    """Parse JSON with exact decimals; raises ``ValueError`` on anything else, NaN included."""
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    return json.loads(text, parse_float=Decimal, parse_constant=_refuse)


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def is_int(value: object) -> TypeGuard[int]:
    """Tell whether a JSON value is an integer, which a boolean is not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[int | Decimal]:
    """Tell whether a JSON value is a finite number."""
    return is_int(value) or (isinstance(value, Decimal) and value.is_finite())


def response(exchange: Exchange) -> Response:
    """Return the response; ``Untestable`` when none came."""
    if exchange.response is None:
        raise Untestable(f"no response came ({exchange.ended}: {exchange.error or 'no reason'})")
    return exchange.response


def answered(exchange: Exchange) -> Response:
    """Return the response of a 200; ``Untestable`` otherwise."""
    got = response(exchange)
    if got.status != 200:
        raise Untestable(f"the request was answered with status {got.status}")
    return got


def json_value(exchange: Exchange) -> Any:
    """Return the body's JSON value, whatever the status; ``Untestable`` when it is not JSON."""
    body = response(exchange).body
    try:
        return loads(body)
    except (ValueError, RecursionError):
        raise Untestable(f"the body is not JSON: {body[:120]!r}") from None


def answer(exchange: Exchange) -> dict[str, Any]:
    """Return the JSON object of a 200; ``Untestable`` otherwise."""
    answered(exchange)
    value = json_value(exchange)
    if not isinstance(value, dict):
        raise Untestable(f"the answer is not a JSON object: {str(value)[:120]}")
    return value


def error_of(exchange: Exchange) -> Any:
    """Return what stands under ``error``; ``Untestable`` when the body has no such member."""
    value = json_value(exchange)
    if not isinstance(value, dict) or "error" not in value:
        raise Untestable("the body has no member named error")
    return value["error"]


def objects(value: object) -> Iterator[Mapping[str, Any]]:
    """Iterate over those items of a JSON array that are objects; nothing when it is no array."""
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))


def events(exchange: Exchange) -> Iterator[tuple[int, Frame, int, str, dict[str, Any] | None]]:
    """Iterate over the dispatched events of a stream: index, frame, time, data, JSON object.

    The object is None when the data is none.
    """
    for index, frame in enumerate(exchange.frames):
        if frame.event is None:
            continue
        try:
            value = loads(frame.event.data)
        except (ValueError, RecursionError):
            value = None
        event, read = frame.event, value if isinstance(value, dict) else None
        yield index, frame, event.at_ns, event.data, read


def unread(got: Response) -> Untestable:
    """Say that a stream holds nothing to judge."""
    kind = got.media_type or "no content type"
    return Untestable(f"the answer ({kind}) holds no event that can be read")
