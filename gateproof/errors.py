"""Whose fault an error is, is its type.

``UsageError`` is the caller's (a wrong name, a bad file, a missing key): it is shown as a message
with what to do and ends in exit status 2. ``TargetError`` is the target's (it cannot be reached at
all): exit status 3. A gateway's broken promise is a ``gateproof.check.Finding``. Anything else is
ours.
"""

import difflib
from collections.abc import Iterable

__all__ = ["GateproofError", "TargetError", "UsageError", "unknown_name"]


class GateproofError(Exception):
    """An error that a user can act on: a message, and a hint that says how."""

    exit_status = 4

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UsageError(GateproofError):
    """The caller asked for what cannot be: says what was wanted, what came, what to do."""

    exit_status = 2


class TargetError(GateproofError):
    """The target was never reached: wrong address, dead port, TLS failure, not an API."""

    exit_status = 3


def unknown_name(what: str, name: str, valid: Iterable[str]) -> UsageError:
    """Build the error for a wrong name: it gives the nearest names, or all when they are few."""
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
    if len(names) <= 20:
        hint = f"Known: {', '.join(names) or 'none'}."
    elif near:
        hint = f"Did you mean {', '.join(near)}? There are {len(names)}; see `gateproof list`."
    else:
        hint = f"There are {len(names)}; see `gateproof list`."
    return UsageError(f"Unknown {what}: {name!r}.", hint)
