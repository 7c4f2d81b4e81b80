"""Readers of values in files: each takes a value and its place, and gives it or says what is wrong.

A place names file, table and key, so that a message needs nothing else.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gateproof.errors import UsageError, unknown_name

__all__ = ["boolean", "known", "named", "number", "numbers", "text", "whole"]


def known(table: Mapping[str, Any], valid: Iterable[str], place: str, what: str = "key") -> None:
    """Refuse a table that holds a key which is not among the valid ones."""
    names = tuple(valid)
    for key in table:
        if key not in names:
            wrong = unknown_name(what, key, names)
            raise UsageError(f"{place}: {wrong.message}", wrong.hint)


def text(value: Any, place: str) -> str:
    """Give a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise UsageError(f"{place} must be a text, and is {value!r}.")
    return value


def boolean(value: Any, place: str) -> bool:
    """Give true or false."""
    if not isinstance(value, bool):
        raise UsageError(f"{place} must be true or false, and is {value!r}.")
    return value


def whole(low: int, high: int) -> Callable[[Any, str], int]:
    """Make the reader of whole numbers from one to another."""

    def read(value: Any, place: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise UsageError(
                f"{place} must be a whole number from {low} to {high}, and is {value!r}."
            )
        return value

    return read


def number(high: float, *, low: float = 0.0, above: bool = False) -> Callable[[Any, str], float]:
    """Make the reader of numbers up to ``high``, from ``low`` on or (``above``) beyond it."""

    def read(value: Any, place: str) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not low <= value <= high or (above and value == low):
            least = f"above {low:g}, at most" if above else f"from {low:g} to"
            raise UsageError(f"{place} must be a number {least} {high:g}, and is {value!r}.")
        return float(value)

    return read


def named(valid: Iterable[str], what: str) -> Callable[[Any, str], str]:
    """Make the reader of one of some names; ``what`` says what they name."""
    names = tuple(valid)

    def read(value: Any, place: str) -> str:
        if value not in names:
            error = unknown_name(what, str(value), names)
            raise UsageError(f"{place}: {error.message}", error.hint)
        return str(value)

    return read


def numbers(
    valid: Iterable[str], what: str, read: Callable[[Any, str], float]
) -> Callable[[Any, str], dict[str, float]]:
    """Make the reader of a table of numbers under some names."""
    names = tuple(valid)

    def read_table(value: Any, place: str) -> dict[str, float]:
        if not isinstance(value, Mapping):
            raise UsageError(f"{place} is not a table.", f"Write [{place.rpartition(', ')[2]}].")
        known(value, names, place, what)
        return {name: read(one, f"{place}.{name}") for name, one in value.items()}

    return read_table
