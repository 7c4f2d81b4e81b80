"""Who calls, what he may do, and what it costs him.

The doors, in their order: a key that is known (401), a permission for the route (403), the limits
of his plan (429), a model that his plan has, and a quota that is not used up.
"""

import base64
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from .errors import ApiError
from .limits import Limit
from .state import picodollars

if TYPE_CHECKING:
    from .call import Call
    from .profile import Model, Plan, Profile
    from .state import State

__all__ = [
    "Caller",
    "basic",
    "check_permission",
    "check_quota",
    "find_key",
    "identify",
    "model_of",
    "spend",
]


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose key a call came with."""

    key: str
    """The key's id."""
    account: str
    plan: "Plan"
    permissions: frozenset[str] | None = None
    """The first segments of the routes that the key opens; None opens all."""
    limits: tuple[Limit, ...] = ()


def find_key(
    headers: tuple[tuple[str, str], ...], profile: "Profile", route: tuple[str, ...] = ()
) -> str | None:
    """Return the key that a request carries, from the first header that the profile looks at.

    Anthropic's clients put it into one of two headers, so that routes of theirs take both.
    """
    names = profile.key_headers
    if route[:1] == ("messages",) and "x-api-key" not in names:
        names = (*names, "x-api-key")
    for wanted in names:
        for name, value in headers:
            if name != wanted:
                continue
            if name == "authorization":
                scheme, _, key = value.partition(" ")
                if scheme.lower() == "bearer" and key.strip():
                    return key.strip()
            elif name == "cookie":
                for pair in value.split(";"):
                    cookie, _, token = pair.strip().partition("=")
                    if cookie == profile.session_cookie and token:
                        return token
            elif value:
                return value
    return None


def basic(header: str | None) -> tuple[str, str] | None:
    """Read name and password of HTTP Basic, or None."""
    scheme, _, text = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = (
            base64.b64decode(text.strip(), validate=True).decode().partition(":")
        )
    except ValueError:
        return None
    return (name, password) if colon else None


def identify(call: "Call", state: "State", limits: tuple[Limit, ...]) -> Caller:
    """Find whose key the call has, or refuse it; the server's own limits hold for everybody."""
    profile = call.profile
    holder = state.holder(profile.name, call.key) if call.key else None
    if holder is None:
        raise ApiError(
            401,
            "Incorrect API key provided."
            if call.key
            else "No API key provided: send it as 'Authorization: Bearer KEY'.",
            code="invalid_api_key",
            headers=(("WWW-Authenticate", "Bearer"),),
        )
    plan = profile.plans[holder.plan]
    return Caller(
        holder.key, holder.account, plan, holder.permissions, (*plan.limits, *limits)
    )  # fmt: skip


def check_permission(call: "Call", caller: Caller) -> None:
    """Refuse a call of a route that the key does not open."""
    allowed = caller.permissions
    if allowed is not None and "*" not in allowed and call.route[0] not in allowed:
        raise ApiError(
            403,
            f"This API key has no permission for {call.route[0]!r}; "
            f"it has: {', '.join(sorted(allowed)) or 'none'}.",
            type_="permission_error",
            code="insufficient_permissions",
        )


def check_quota(call: "Call") -> None:
    """Refuse a call of an account that has used up the tokens of its plan for this month."""
    caller, state = call.caller, call.state
    if caller is None or state is None or caller.plan.quota_tokens is None:
        return
    today = state.today()
    rows = state.usage(caller.account, today.replace(day=1), today)
    used = sum(row.prompt_tokens + row.completion_tokens for row in rows)
    if used >= caller.plan.quota_tokens:
        raise ApiError(
            429,
            f"You have used {used} tokens this month; the plan {caller.plan.name!r} has "
            f"{caller.plan.quota_tokens}.",
            type_="insufficient_quota",
            code="insufficient_quota",
        )


def model_of(call: "Call", name: str, does: str | None = None) -> "Model":
    """Find a model that the call may use (for this), or refuse the call."""
    model = call.profile.model_for(name, does)
    caller = call.caller
    if caller is not None and caller.plan.models is not None and name not in caller.plan.models:
        raise ApiError(
            403,
            f"The plan {caller.plan.name!r} does not have the model {name!r}.",
            type_="insufficient_quota",
            param="model",
            code="model_not_in_plan",
        )
    return model


def spend(
    call: "Call",
    model: "Model",
    prompt_tokens: int,
    completion_tokens: int,
    cost_usd: Decimal | None = None,
    name: str = "",
) -> None:
    """Count what an answer takes, before it is given: against the limits, then on the account.

    Raises ``Refused`` when it is more than a limit leaves. Without a cost, it follows from the
    model's prices; without a name, the model is counted by the one in the body.
    """
    if call.gate is not None:
        call.gate.check(prompt_tokens + completion_tokens)
    if call.caller is None or call.state is None:
        return
    if cost_usd is None:
        cost_pusd = prompt_tokens * model.pusd_in + completion_tokens * model.pusd_out
    else:
        cost_pusd = picodollars(cost_usd)
    name = name or str(call.payload["model"])
    call.state.record(call.caller.account, name, prompt_tokens, completion_tokens, cost_pusd)
