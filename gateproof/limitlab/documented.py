"""What vendors document of their rate limits (``specs/limits.toml``), put into a run's plan."""

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final

from gateproof.errors import unknown_name
from gateproof.limitlab.plan import Expected, LimitsPlan, parse_limits
from gateproof.plan import LoadPlan

__all__ = ["settled", "tiers", "with_documented", "with_limits"]

NO_KEYS: Final[Mapping[str, str]] = MappingProxyType({})


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


def settled(
    table: Mapping[str, Any],
    place: str,
    *,
    profile: str,
    keys: Mapping[str, str],
    clock_scale: float = 1.0,
) -> dict[str, Any]:
    """Return a scenario's ``[limits]`` with what is documented, and keys as their variables.

    ``keys`` are the variables of the target's further keys by name; a name that is none of them is
    a variable itself.
    """
    plan = with_documented(parse_limits(table, place), profile)
    found = dict(table) | {
        name: keys.get(value, value)
        for name in ("key", "second_key", "stranger_key")
        if (value := getattr(plan, name))
    }
    if clock_scale != 1:
        found["clock_scale"] = clock_scale
    if plan.unlimited:
        found["unlimited"] = True
    if plan.expect:
        found["expect"] = [
            {name: value for name, value in asdict(one).items() if value != ""}
            for one in plan.expect
        ]
    return found


def with_limits(
    plan: LoadPlan, profile: str, keys: Mapping[str, str] = NO_KEYS, clock_scale: float = 1.0
) -> LoadPlan:
    """Return a load plan whose ``[limits]``, if it has any, is settled, and its longest time."""
    if not plan.limits:
        return plan
    place = f"{plan.scenario}, limits"
    table = settled(plan.limits, place, profile=profile, keys=keys, clock_scale=clock_scale)
    limits = parse_limits(table, place)
    # Three windows for each of two limits, the wait between them, and the requests themselves.
    longest_s = 9 * limits.real_s(limits.longest_window_s) + 0.2 * limits.most_requests
    return replace(plan, limits=table, duration_s=longest_s)
