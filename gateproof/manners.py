"""Who may be loaded: this machine, or an origin that the operator names, within a budget.

Load, searches for limits and generated requests cost whoever runs the target, and whoever pays for
it. So neither a default nor a slip of the keyboard may send them to a machine that is not ours.
"""

from collections.abc import Iterable

from gateproof.address import check_url, is_loopback, origin_of
from gateproof.budget import Budget
from gateproof.errors import UsageError

__all__ = ["refuse_foreign"]


def refuse_foreign(
    url: str, allowed_origins: Iterable[str], budget: Budget | None, *, what: str = "load"
) -> None:
    """Raise a UsageError unless a target is on loopback, or both named and bounded by a budget."""
    check_url(url)
    if is_loopback(url):
        return
    origin = origin_of(url)
    allowed = sorted({origin_of(check_url(one, "origin")) for one in allowed_origins})
    named = origin in allowed
    if named and budget is not None:
        return
    if named:
        raise UsageError(
            f"{origin} is not on loopback, and no budget is set for the {what}.",
            "Set one in its table of gateproof.toml: budget = { requests = 1000, usd = 5 }; "
            "or give --budget requests=1000,tokens=200000,usd=5.",
        )
    others = f" (named: {', '.join(allowed)})" if allowed else ""
    raise UsageError(
        f"{origin} is not on loopback, and {what} may not be put on it unasked{others}.",
        "If you may, say so in its table of gateproof.toml: load_allowed = true and "
        f"budget = {{ requests = 1000, usd = 5 }}; or give --allow-origin {origin} "
        "--budget requests=1000,usd=5.",
    )
