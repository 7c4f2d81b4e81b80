"""JSON text, written so that money stays exact.

Numbers that matter to the last digit are ``Decimal`` and are written in plain notation, never with
an exponent. ``Verbatim`` puts text down as it is, for numbers that no value can stand for.
"""

import json
from decimal import Decimal
from typing import Any, TypeAlias

import orjson

__all__ = ["Json", "Verbatim", "dumps", "loads"]


Json: TypeAlias = Any
"""A value that JSON can have, or one of a shape that only the reader knows."""


class Verbatim(str):
    """Text that is written into JSON as it is."""

    __slots__ = ()


def _exact(value: object) -> Json:
    if isinstance(value, Verbatim):
        return orjson.Fragment(str(value))
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f"))
    raise TypeError(f"{type(value).__name__} has no JSON form")


def dumps(value: object) -> bytes:
    """Write compact JSON as UTF-8, with decimals in plain notation."""
    return orjson.dumps(value, default=_exact, option=orjson.OPT_PASSTHROUGH_SUBCLASS)


def loads(text: bytes) -> Json:
    """Read JSON that ``dumps`` wrote, with its fractions as ``Decimal``."""
    return json.loads(text, parse_float=Decimal)
