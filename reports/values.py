"""Values of a run file, read defensively: what is not of the kind that was wanted is left out."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["mapping", "number", "numbers", "rows_of", "text"]


def mapping(value: object) -> Mapping[str, Any]:
    """Return a value if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def rows_of(value: object) -> tuple[Any, ...]:
    """Return the items of a list, else none."""
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()


def number(value: object) -> bool:
    """Tell whether a value is a finite number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and -1e300 < value < 1e300  # type: ignore[operator]  # is_number tells


def numbers(value: object) -> tuple[float | None, ...]:
    """Return the items of a list as numbers, ``None`` for what is none."""
    return tuple(item if number(item) else None for item in rows_of(value))


def text(value: object) -> str:
    """Return a number with as many digits as one reads; a dash for what is not there."""
    if not number(value):
        return "-"
    assert isinstance(value, int | float)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return (
        f"{value:.1f}"
        if abs(value) >= 10
        else f"{value:.2f}"
        if abs(value) >= 1
        else f"{value:.3f}"
    )
