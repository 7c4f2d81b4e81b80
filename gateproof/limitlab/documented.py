"""What vendors document of their rate limits: the data is ``specs/limits.toml``."""

import functools
import tomllib
from dataclasses import replace
from importlib.resources import files
from typing import Any

from gateproof.errors import unknown_name
from gateproof.limitlab.plan import Expected, LimitsPlan

__all__ = ["tiers", "with_documented"]


@functools.cache
def _rows() -> tuple[dict[str, Any], ...]:
    text = (files("gateproof.specs") / "limits.toml").read_text("utf-8")
    return tuple(tomllib.loads(text)["tier"])


def tiers(profile: str) -> tuple[str, ...]:
    """Return the tiers whose limits a profile documents."""
    return tuple(row["tier"] for row in _rows() if row["profile"] == profile)


def with_documented(plan: LimitsPlan, profile: str) -> LimitsPlan:
    """Return a plan that expects what its tier documents; the key's name may name the tier.

    What the scenario file expects goes before what is documented.
    """
    known = tiers(profile)
    tier = plan.tier or (plan.key if plan.key in known else "")
    if not tier or plan.expect or plan.unlimited:
        return plan
    if tier not in known:
        raise unknown_name(f"tier of {profile}", tier, known)
    row = next(row for row in _rows() if (row["profile"], row["tier"]) == (profile, tier))
    expect = tuple(
        Expected(
            one["what"], one["amount"], float(one["window_s"]), one.get("algorithm", ""),
            one.get("scope", ""), row["source"],
        )
        for one in row.get("limits", ())
    )  # fmt: skip
    return replace(plan, tier=tier, expect=expect, unlimited=bool(row.get("unlimited")))
