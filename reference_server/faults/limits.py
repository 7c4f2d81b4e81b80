"""Faults of rate limits: limits that are not the documented ones, and 429s that mislead."""

import time
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate

from ..access import Caller
from ..limits import Limit
from ..script import Reply
from .table import fault, oddity

__all__: list[str] = []

_PREFIX = "x-ratelimit-"


def _limits(caller: Caller, change: Callable[[Limit], Limit | None]) -> Caller:
    changed = (change(limit) for limit in caller.limits)
    return replace(caller, limits=tuple(limit for limit in changed if limit is not None))


@fault("tier-ignored", "caller", "Limits nobody, whatever the plan says.")
def _tier_ignored(caller: Caller) -> Caller:
    return replace(caller, limits=())


@fault("tier-lowest", "caller", "Limits everybody to sixty requests a minute, as the lowest tier.")
def _tier_lowest(caller: Caller) -> Caller:
    return replace(caller, limits=(Limit("requests", 60, 60_000_000_000),))


@fault("limit-requests-ignored", "caller", "Limits tokens only.")
def _requests_ignored(caller: Caller) -> Caller:
    return _limits(caller, lambda limit: None if limit.what == "requests" else limit)


@fault("limit-tokens-ignored", "caller", "Limits requests only.")
def _tokens_ignored(caller: Caller) -> Caller:
    return _limits(caller, lambda limit: None if limit.what == "tokens" else limit)


@fault("limit-halved", "caller", "Refuses at half of the limit.")
def _halved(caller: Caller) -> Caller:
    return _limits(caller, lambda limit: replace(limit, amount=-(-limit.amount // 2)))


@fault(
    "limit-doubled", "caller", "Refuses at twice the limit only.", "counters that are not shared"
)
def _doubled(caller: Caller) -> Caller:
    return _limits(caller, lambda limit: replace(limit, amount=limit.amount * 2))


@fault("limit-window-long", "caller", "Counts over ten times the time.")
def _window_long(caller: Caller) -> Caller:
    return _limits(caller, lambda limit: replace(limit, window_ns=limit.window_ns * 10))


@fault(
    "limit-shared", "caller", "Counts the calls of all keys together.", "one limit for everybody"
)
def _shared(caller: Caller) -> Caller:
    limited = _limits(caller, lambda limit: replace(limit, scope="key"))
    return replace(limited, key="everybody")


def _headers(reply: Reply, change: Callable[[str, str], str | None]) -> Reply:
    found: list[tuple[str, str]] = []
    for name, value in reply.headers:
        changed: str | None = value
        if name.lower().startswith(_PREFIX):
            changed = change(name.lower().removeprefix(_PREFIX), value)
        if changed is not None:
            found.append((name, changed))
    return replace(reply, headers=tuple(found))


@fault("ratelimit-headers-missing", "reply", "Tells nothing of limits.")
def _headers_missing(reply: Reply) -> Reply:
    return _headers(reply, lambda _, __: None)


@fault("ratelimit-limit-wrong", "reply", "Tells of twice the limit that there is.")
def _limit_wrong(reply: Reply) -> Reply:
    return _headers(reply, lambda n, v: str(int(v) * 2) if n.startswith("limit") else v)


@fault("ratelimit-remaining-frozen", "reply", "Always tells that the whole limit is left.",
       "headers made before the count")  # fmt: skip
def _remaining_frozen(reply: Reply) -> Reply:
    limits = {name.lower(): value for name, value in reply.headers}

    def change(name: str, value: str) -> str:
        limit = limits.get(_PREFIX + name.replace("remaining", "limit"))
        return limit or value if name.startswith("remaining") else value

    return _headers(reply, change)


@fault("ratelimit-reset-zero", "reply", "Always tells that the limit is reset now.")
def _reset_zero(reply: Reply) -> Reply:
    return _headers(reply, lambda n, v: "0s" if n.startswith("reset") else v)


@fault("ratelimit-reset-unix", "reply", "Writes a Unix time where a duration belongs.",
       "several meanings of one name")  # fmt: skip
def _reset_unix(reply: Reply) -> Reply:
    moment = str(int(time.time()) + 60)
    return _headers(reply, lambda n, v: moment if n.startswith("reset") else v)


def _retry_after(reply: Reply, change: Callable[[int], int]) -> Reply:
    found: list[tuple[str, str]] = []
    for name, value in reply.headers:
        own = name.lower() in {"retry-after", "retry-after-ms"} and value.isdigit()
        found.append((name, str(change(int(value))) if own else value))
    return replace(reply, headers=tuple(found))


@fault("retry-after-short", "reply", "Tells to wait half as long as is needed.",
       "clients that fail again")  # fmt: skip
def _retry_short(reply: Reply) -> Reply:
    return _retry_after(reply, lambda wait: wait // 2)


@fault("retry-after-long", "reply", "Tells to wait three times as long as is needed.")
def _retry_long(reply: Reply) -> Reply:
    return _retry_after(reply, lambda wait: wait * 3)


@oddity("retry-after-date", "reply", "Writes Retry-After as a date, as HTTP allows.")
def _retry_date(reply: Reply) -> Reply:
    value = reply.header("Retry-After")
    if value is None or not value.isdigit():
        return reply
    # A date has whole seconds, so it is one later than the wait, not earlier.
    moment = formatdate(int(time.time()) + int(value) + 1, usegmt=True)
    return replace(reply, headers=reply.with_header("Retry-After", moment))


def _is_limit(reply: Reply) -> bool:
    error = reply.body.get("error") if isinstance(reply.body, dict) else None
    return reply.status == 429 and isinstance(error, dict) and (
        error.get("code") == "rate_limit_exceeded"
    )  # fmt: skip


@fault("limit-status-400", "reply", "Refuses at the limit with 400.")
def _status_400(reply: Reply) -> Reply:
    return replace(reply, status=400) if _is_limit(reply) else reply


@fault("limit-status-503", "reply", "Refuses at the limit with 503.", "limits of a proxy")
def _status_503(reply: Reply) -> Reply:
    return replace(reply, status=503) if _is_limit(reply) else reply


@fault("limit-body-text", "reply", "Refuses at the limit with a line of text.", "limits of a proxy")
def _body_text(reply: Reply) -> Reply:
    if not _is_limit(reply):
        return reply
    headers = reply.with_header("Content-Type", "text/plain")
    return replace(reply, headers=headers, text=b"Too Many Requests\n")
