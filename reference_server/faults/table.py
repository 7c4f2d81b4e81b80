"""The table of behaviours: its rows, how a row is added, and how a name finds it.

A row is a named function over one level of an answer. From the request down to the wire:

``request``     a call becomes another call, before anyone looks at it
``caller``      whose key it is becomes another one: his plan, limits and permissions
``state``       what the server remembers becomes something that forgets, or remembers wrongly
``prompt``      the messages that the model gets become others
``completion``  a completion becomes another one, before it is written in either mode
``reply``       status, headers, body or events become others; errors pass here too
``json``        each JSON object that is sent: a body, or the data of an event
``chunks``      the events of a stream, each step one JSON text
``text``        the text of each JSON object
``events``      the bytes of each server-sent event
``wire``        the bytes that are written, with heads and chunk sizes, and acts

A function gets the value, and if it takes them the call and its own argument. Several rows are
applied one after the other at each level, in the order in which they were named.
"""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args
from urllib.parse import unquote

from ..errors import OptionError, unknown
from ..jsontext import Json

__all__ = [
    "TABLE",
    "Behaviour",
    "Deed",
    "Kind",
    "Level",
    "apply",
    "behaviour",
    "fault",
    "oddity",
    "parse",
    "values",
    "whole",
]

Kind = Literal["fault", "oddity", "behaviour"]
Level = Literal[
    "request", "caller", "state", "prompt", "completion",
    "reply", "json", "chunks", "text", "events", "wire",
]  # fmt: skip
Act = Callable[..., Any]
_Act = TypeVar("_Act", bound=Act)
_ALL: tuple[Kind, ...] = ("fault", "oddity", "behaviour")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One row: a deed that the server can be asked to do."""

    name: str
    kind: Kind
    level: Level
    says: str
    act: Act
    arity: int
    seen_in: str = ""
    """The kind of public report in which a real gateway did this; empty for none."""
    parameter: str = ""
    """What the parameter means; empty for none."""
    read: Callable[[str], Any] | None = None
    """Reads the parameter's text; raises ValueError with what was wanted."""
    default: str | None = None
    """The parameter's text when none is given; None makes it required."""


@dataclass(frozen=True, slots=True)
class Deed:
    """A row and its argument, as one call asks for it."""

    behaviour: Behaviour
    argument: Any
    text: str


TABLE: dict[str, Behaviour] = {}


def behaviour(
    name: str,
    kind: Kind,
    level: Level,
    says: str,
    *,
    seen_in: str = "",
    parameter: str = "",
    read: Callable[[str], Any] | None = None,
    default: str | None = None,
) -> Callable[[_Act], _Act]:
    """Add the decorated function to the table."""
    assert level in get_args(Level), level
    assert name not in TABLE, name

    def add(act: _Act) -> _Act:
        arity = len(inspect.signature(act).parameters)
        TABLE[name] = Behaviour(
            name, kind, level, says, act, arity, seen_in, parameter, read, default
        )
        return act

    return add


def fault(
    name: str,
    level: Level,
    says: str,
    seen_in: str = "",
    *,
    parameter: str = "",
    read: Callable[[str], Any] | None = None,
) -> Callable[[_Act], _Act]:
    """Add a row for a deed that breaks one promise."""
    return behaviour(name, "fault", level, says, seen_in=seen_in, parameter=parameter, read=read)


def oddity(
    name: str,
    level: Level,
    says: str,
    *,
    parameter: str = "",
    read: Callable[[str], Any] | None = None,
    default: str | None = None,
) -> Callable[[_Act], _Act]:
    """Add a row for a deed that is legal and that the official clients tolerate."""
    return behaviour(name, "oddity", level, says, parameter=parameter, read=read, default=default)


def parse(text: str) -> Deed:
    """Find the row that a text such as ``drop-field:usage.total_tokens`` or ``itl=20`` names."""
    cut = min((place for place in (text.find(":"), text.find("=")) if place >= 0), default=-1)
    name, argument = (text, None) if cut < 0 else (text[:cut], unquote(text[cut + 1 :]))
    row = TABLE.get(name)
    if row is None:
        raise unknown("fault, oddity or behaviour", name, TABLE)
    if row.read is None:
        if argument is not None:
            raise OptionError(f"{name!r} takes no parameter, but {argument!r} was given.")
        return Deed(row, None, text)
    if argument is None:
        argument = row.default
    if argument is None:
        raise OptionError(f"{name!r} needs a parameter: {row.parameter}.")
    try:
        value = row.read(argument)
    except ValueError as error:
        raise OptionError(
            f"{name!r} takes {row.parameter}; {argument!r} is not: {error}."
        ) from None
    return Deed(row, value, text)


def apply(
    level: Level, deeds: Iterable[Deed], value: Json, call: object, *, kinds: Iterable[Kind] = _ALL
) -> Json:
    """Apply the deeds of a level (those of some kinds), in order."""
    for deed in deeds:
        row = deed.behaviour
        if row.level == level and row.kind in kinds:
            value = row.act(*(value, call, deed.argument)[: row.arity])
    return value


def values(text: str) -> tuple[str, str]:
    """Split a parameter that has two values, with a colon or a comma between them.

    Some gateways take a comma in a model's name for the end of it, so the colon reaches further.
    """
    cut = min((place for place in (text.find(":"), text.find(",")) if place >= 0), default=-1)
    return (text, "") if cut < 0 else (text[:cut], text[cut + 1 :])


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return a reader of whole numbers within a range."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise ValueError(f"wanted {low} to {high}")
        return int(text)

    return read
