"""Rate limits: who may call how often, by a rule that can be exchanged.

The rule here is a fixed window for each key: so many requests in each minute that begins with the
key's first request. Anything with the same ``take`` can stand in for it.
"""

from dataclasses import dataclass
from typing import Protocol

__all__ = ["FixedWindow", "Grant", "Limiter"]

_MINUTE_NS = 60_000_000_000


@dataclass(frozen=True, slots=True)
class Grant:
    """Whether a request may pass, and what is left."""

    allowed: bool
    limit: int
    remaining: int
    reset_s: int
    """Whole seconds until the window ends, at least 1."""


class Limiter(Protocol):
    """A rule that grants or refuses a request of a key."""

    def take(self, key: str, now_ns: int) -> Grant | None:
        """Count one request of the key; None when nothing is limited."""


class FixedWindow:
    """So many requests a minute for each key, counted in windows that begin with a request."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._windows: dict[str, tuple[int, int]] = {}

    def take(self, key: str, now_ns: int) -> Grant:
        """Count one request of the key in its window; forget windows that are over."""
        begin_ns, used = self._windows.get(key, (now_ns, 0))
        if now_ns - begin_ns >= _MINUTE_NS:
            begin_ns, used = now_ns, 0
        if len(self._windows) > 10_000:
            self._windows = {
                name: window
                for name, window in self._windows.items()
                if now_ns - window[0] < _MINUTE_NS
            }
        allowed = used < self._limit
        used += allowed
        self._windows[key] = (begin_ns, used)
        reset_s = max(1, -((now_ns - begin_ns - _MINUTE_NS) // 1_000_000_000))
        return Grant(allowed, self._limit, self._limit - used, reset_s)


def headers(family: str, grant: Grant, now_s: int) -> tuple[tuple[str, str], ...]:
    """Write a grant as headers of a family: what is reset is a duration, or a Unix time."""
    if family == "osmapi":
        return (
            ("X-RateLimit-Limit", str(grant.limit)),
            ("X-RateLimit-Remaining", str(grant.remaining)),
            ("X-RateLimit-Reset", str(now_s + grant.reset_s)),
        )
    return (
        ("x-ratelimit-limit-requests", str(grant.limit)),
        ("x-ratelimit-remaining-requests", str(grant.remaining)),
        ("x-ratelimit-reset-requests", f"{grant.reset_s}s"),
    )
