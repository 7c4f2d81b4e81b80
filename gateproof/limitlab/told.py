"""What an answer says of limits: ``Retry-After`` and the families of rate-limit headers.

Rules. A value is read in every form that is in the field, and the form is kept, because the same
name means a duration here and a moment there: delta seconds, OpenAI's ``1m0s``, seconds or
milliseconds since 1970, RFC 3339, an HTTP date. What cannot be read is no value. Headers are the
target's: bounded, never trusted.
"""

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final, Literal

__all__ = ["Told", "ToldLimit", "read_moment", "read_told", "retry_after_ms"]

What = Literal["requests", "tokens"]

_NUMBER: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?\Z")
_DURATION: Final = re.compile(
    r"(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m(?!s))?"
    r"(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)s)?(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)ms)?\Z"
)
# A number of seconds beyond this is a moment: it is 1980 as a date, and ten years as a wait.
_EPOCH_S: Final = 315_532_800
_DAY_S: Final = 86_400

# (prefix, suffix) of a header's name around ``limit``, ``remaining`` or ``reset``, by what is told.
_FAMILIES: Final[tuple[tuple[str, What, str, str], ...]] = (
    ("openai", "requests", "x-ratelimit-", "-requests"),
    ("openai", "tokens", "x-ratelimit-", "-tokens"),
    ("anthropic", "requests", "anthropic-ratelimit-requests-", ""),
    ("anthropic", "tokens", "anthropic-ratelimit-tokens-", ""),
    ("plain", "requests", "x-ratelimit-", ""),
    ("ietf", "requests", "ratelimit-", ""),
)


@dataclass(frozen=True, slots=True)
class ToldLimit:
    """What one family of headers tells of one limit; ``None`` for what it leaves out."""

    family: str
    what: What
    limit: int | None = None
    remaining: int | None = None
    reset_s: float | None = None
    reset_form: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What one answer tells: how long to wait, and of which limits."""

    retry_after_s: float | None = None
    retry_form: str = ""
    limits: tuple[ToldLimit, ...] = ()

    def of(self, what: What) -> ToldLimit | None:
        """Return what is told of requests or of tokens."""
        return next((one for one in self.limits if one.what == what), None)


NOTHING: Final = Told()


def read_told(headers: Mapping[str, str], wall_s: float) -> Told:
    """Read an answer's headers (names in lower case); ``wall_s`` is the time since 1970."""
    limits = []
    for family, what, before, after in _FAMILIES:
        values = [headers.get(f"{before}{name}{after}") for name in ("limit", "remaining", "reset")]
        if any(value is not None for value in values):
            reset_s, form = read_moment(values[2], wall_s)
            limits.append(
                ToldLimit(family, what, _whole(values[0]), _whole(values[1]), reset_s, form)
            )
    millis = headers.get("retry-after-ms")
    wait_s, form = None, ""
    if millis is not None and _NUMBER.match(millis.strip()):
        wait_s, form = float(millis) / 1000, "milliseconds"
    elif "retry-after" in headers:
        wait_s, form = read_moment(headers["retry-after"], wall_s)
    if wait_s is None and not limits:
        return NOTHING
    return Told(wait_s, form, tuple(limits))


def read_moment(text: str | None, wall_s: float) -> tuple[float | None, str]:
    """Read a wait or a moment as seconds from now, and name its form; ``None`` when it is none."""
    text = (text or "").strip()[:64]
    if not text:
        return None, ""
    if _NUMBER.match(text):
        value = float(text)
        if value > _EPOCH_S * 1000:
            return max(0.0, value / 1000 - wall_s), "Unix milliseconds"
        if value > _EPOCH_S:
            return max(0.0, value - wall_s), "Unix time"
        return value, "seconds"
    found = _DURATION.match(text)
    if found is not None and any(found.groups()):
        parts = [float(part or 0) for part in found.groups()]
        sizes = (_DAY_S, 3600.0, 60.0, 1.0, 0.001)
        return sum(part * size for part, size in zip(parts, sizes, strict=True)), "duration"
    for read, form in ((dt.datetime.fromisoformat, "RFC 3339"), (parsedate_to_datetime, "date")):
        try:
            moment = read(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
        return max(0.0, moment.timestamp() - wall_s), form
    return None, "unreadable"


def retry_after_ms(told: Told) -> int | None:
    """Return the wait that an answer asks for in milliseconds."""
    return None if told.retry_after_s is None else round(told.retry_after_s * 1000)


def _whole(text: str | None) -> int | None:
    """Read a count; a policy such as ``60;w=60`` begins with it."""
    found = re.match(r"\s*([0-9]{1,15})", text or "")
    return int(found[1]) if found else None
