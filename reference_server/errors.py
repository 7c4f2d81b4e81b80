"""Errors of the reference server: what its operator did wrong, and what its client did wrong.

``OptionError`` is the operator's (an unknown fault, a parameter that cannot be read): it becomes
one message and exit status 2, or an error answer when the name came in a URL or a model name.
``ApiError`` is the client's: it becomes an HTTP error in the shape of the profile.
"""

import difflib
from collections.abc import Iterable, Mapping

__all__ = ["ApiError", "OptionError", "unknown"]


class OptionError(Exception):
    """A name or a parameter that the server cannot use; the message says what would do."""


class ApiError(Exception):
    """A request that is refused: status, message, and the fields of the error object."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type_: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type_
        self.param = param
        self.code = code
        self.headers = headers
        self.details = details


def unknown(what: str, name: str, valid: Iterable[str]) -> OptionError:
    """Build the error for a wrong name: it gives the nearest names, or all when they are few."""
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
    if near and len(names) > 12:
        hint = f"Nearest of the {len(names)} known: {', '.join(near)}."
    else:
        hint = f"Known: {', '.join(names)}."
    return OptionError(f"Unknown {what} {name!r}. {hint}")
