"""Rules for the values of a request, and how rules are put together.

A rule takes a value and the name of its place; it returns nothing, or raises the 400 that names the
place. ``null`` is refused unless a rule says otherwise. The messages say what was wanted and what
kind of value came, never the value itself.
"""

from collections.abc import Callable, Mapping

from .errors import ApiError
from .jsontext import Json

__all__ = [
    "Rule",
    "boolean",
    "by_type",
    "list_of",
    "map_of",
    "missing",
    "nullable",
    "number",
    "object_",
    "one_of",
    "text",
    "wrong_type",
    "wrong_value",
]

Rule = Callable[[Json, str], None]

_NAMES = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}


def _kind(value: object) -> str:
    if value is None:
        return "null"
    for type_, name in _NAMES.items():
        if isinstance(value, type_):
            return name
    return "an integer" if isinstance(value, int) else "a number"


def wrong_type(param: str, wanted: str, value: object) -> ApiError:
    """Build the refusal of a value of the wrong type."""
    return ApiError(
        400,
        f"Invalid type for '{param}': expected {wanted}, but got {_kind(value)} instead.",
        param=param,
        code="invalid_type",
    )


def wrong_value(param: str, wanted: str) -> ApiError:
    """Build the refusal of a value that has the right type."""
    return ApiError(
        400, f"Invalid value for '{param}': expected {wanted}.", param=param, code="invalid_value"
    )


def missing(param: str) -> ApiError:
    """Build the refusal of a request that lacks something."""
    return ApiError(
        400,
        f"Missing required parameter: '{param}'.",
        param=param,
        code="missing_required_parameter",
    )


def number(low: float | None = None, high: float | None = None, *, whole: bool = False) -> Rule:
    """Accept a number within a range; a whole one may be written as 3 or 3.0."""
    wanted = "an integer" if whole else "a number"

    def check(value: Json, param: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong_type(param, wanted, value)
        if whole and value != int(value):
            raise wrong_type(param, wanted, value)
        if (low is not None and value < low) or (high is not None and value > high):
            ends = [f"at least {low}"] if low is not None else []
            ends += [f"at most {high}"] if high is not None else []
            raise wrong_value(param, f"{wanted} of {' and '.join(ends)}")

    return check


def boolean(value: Json, param: str) -> None:
    """Accept true or false."""
    if not isinstance(value, bool):
        raise wrong_type(param, "a boolean", value)


def text(most: int | None = None) -> Rule:
    """Accept a string, of so many characters at most."""

    def check(value: Json, param: str) -> None:
        if not isinstance(value, str):
            raise wrong_type(param, "a string", value)
        if most is not None and len(value) > most:
            raise wrong_value(param, f"a string of at most {most} characters")

    return check


def one_of(*values: str) -> Rule:
    """Accept one of these strings."""

    def check(value: Json, param: str) -> None:
        if not isinstance(value, str):
            raise wrong_type(param, "a string", value)
        if value not in values:
            raise wrong_value(param, f"one of {', '.join(map(repr, values))}")

    return check


def list_of(rule: Rule, least: int = 0, most: int | None = None) -> Rule:
    """Accept an array whose items obey a rule."""

    def check(value: Json, param: str) -> None:
        if not isinstance(value, list):
            raise wrong_type(param, "an array", value)
        if len(value) < least or (most is not None and len(value) > most):
            raise wrong_value(param, f"{least} to {most if most is not None else 'many'} items")
        for place, item in enumerate(value):
            rule(item, f"{param}[{place}]")

    return check


def object_(required: Mapping[str, Rule], optional: Mapping[str, Rule] | None = None) -> Rule:
    """Accept an object with these members; others are ignored."""
    known = {**required, **(optional or {})}

    def check(value: Json, param: str) -> None:
        if not isinstance(value, dict):
            raise wrong_type(param, "an object", value)
        for name in required:
            if name not in value:
                raise missing(f"{param}.{name}")
        for name, rule in known.items():
            if name in value:
                rule(value[name], f"{param}.{name}")

    return check


def by_type(rules: Mapping[str, Rule]) -> Rule:
    """Accept an object whose ``type`` chooses the rule for the rest."""

    def check(value: Json, param: str) -> None:
        object_({"type": one_of(*rules)})(value, param)
        rules[value["type"]](value, param)

    return check


def nullable(rule: Rule) -> Rule:
    """Accept null as well."""

    def check(value: Json, param: str) -> None:
        if value is not None:
            rule(value, param)

    return check


def map_of(rule: Rule, most: int | None = None, longest_key: int | None = None) -> Rule:
    """Accept an object whose members all obey a rule."""

    def check(value: Json, param: str) -> None:
        if not isinstance(value, dict):
            raise wrong_type(param, "an object", value)
        if most is not None and len(value) > most:
            raise wrong_value(param, f"at most {most} members")
        for name, item in value.items():
            if longest_key is not None and len(name) > longest_key:
                raise wrong_value(param, f"names of at most {longest_key} characters")
            rule(item, f"{param}.{name}")

    return check
