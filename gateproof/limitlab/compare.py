"""Compares what was found with what is documented, and the keys with each other."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from gateproof.limitlab.exchange import Entry
from gateproof.limitlab.judge import Judgment
from gateproof.limitlab.plan import Expected, LimitsPlan
from gateproof.limitlab.stage import Outcome

__all__ = ["amount_of", "compare_all", "group_of", "judge_keys", "span_of"]

_BEFORE: Final = frozenset({"first", "others", "rush"})  # the parts up to the first refusal
_WINDOW_SHARE: Final = 0.04  # how near a window must be to the documented one


def group_of(outcome: Outcome) -> Callable[[Entry], str | None]:
    """Return what tells whose counter a request is on."""
    scope = outcome.scopes[0] if outcome.scopes else "key"

    def group(entry: Entry) -> str | None:
        if entry.ask.key == "stranger":
            return "" if outcome.stranger_refused else None
        key = "" if entry.ask.key == "first" else entry.ask.key
        model = "" if entry.ask.model == "first" else entry.ask.model
        return {"account": "", "key": key, "model": model}.get(scope, f"{key} {model}".strip())

    return group


def amount_of(row: Mapping[str, Any]) -> str:
    """Return how much a limit allows, as text."""
    low, high = row["amount_low"], row["amount_high"]
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def span_of(row: Mapping[str, Any]) -> str:
    """Return in how much time it allows that, as text."""
    window_s, low_s, high_s = (row[name] for name in ("window_s", "window_low_s", "window_high_s"))
    if low_s is None:
        return "in a time that is not known"
    if window_s is None:
        return f"for {low_s:g} s at least"
    return f"in {window_s:g} s ({low_s:g} to {high_s:g})"


def judge_keys(outcome: Outcome) -> list[Judgment]:
    """Judge the keys against each other."""
    rows = []
    first = _passed_first(outcome)
    second, scopes = outcome.second_passed, outcome.scopes
    if outcome.stranger_refused is not None:
        held = outcome.stranger_refused
        says = (
            "A key of another account is refused while the first key has used its limit up: "
            "strangers starve each other."
            if held
            else "A key of another account is served while the first key has used its limit up."
        )
        rows.append(Judgment("other accounts", "false" if held else "true", says, 2))
    if second is None or not first:
        return rows
    if set(scopes) & {"account", "model"}:
        says = "Both keys use one limit: what one takes, the other lacks."
        rows.append(Judgment("fairness between keys", "true", says, 2))
        return rows
    alike = abs(second - first) <= max(1, round(0.01 * first))
    says = f"The first key passed {first:,} requests, the second {second:,}" + (
        ", while the first was used up: each has its own, and the same." if alike else "."
    )
    rows.append(
        Judgment("fairness between keys", "true" if alike else "false", says, first + second)
    )
    return rows


def _passed_first(outcome: Outcome) -> int:
    """Return how many requests passed on the first key's counter before its first refusal."""
    group = group_of(outcome)
    return sum(
        entry.kind == "passed" and entry.part in _BEFORE and group(entry) == ""
        for entry in outcome.record.entries
    )


def compare_all(
    plan: LimitsPlan,
    found: Sequence[Mapping[str, Any]],
    none: Sequence[Mapping[str, Any]],
    outcome: Outcome,
) -> list[dict[str, Any]]:
    """Compare each documented limit with what was found."""
    rows = [_compare(one, found, none) for one in plan.expect]
    if plan.unlimited:
        met = "; ".join(row["says"] for row in found)
        says = f"Documented as unlimited, but: {met}" if found else (
            "Documented as unlimited: " + ("; ".join(row["says"] for row in none) or "not tried")
        )  # fmt: skip
        verdict = "differs" if found else "same" if none else "untold"
        rows.append({"what": "requests and tokens", "documented": "unlimited", "found": met or
                     "none found", "verdict": verdict, "says": says, "source": ""})  # fmt: skip
    if outcome.stopped and rows and not found and not none:
        for row in rows:
            row["verdict"] = "untold"
    return rows


def _compare(
    expected: Expected,
    found: Sequence[Mapping[str, Any]],
    none: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Compare one documented limit."""
    whose = f"for each {expected.scope}" if expected.scope else ""
    documented = ", ".join(
        filter(
            None,
            (
                f"{expected.amount:,} {expected.what} in {expected.window_s:g} s",
                expected.algorithm,
                whose,
            ),
        )
    )
    row = {"what": expected.what, "documented": documented, "source": expected.source}
    met = next((one for one in found if one["what"] == [expected.what]), None)
    open_one = next((one for one in found if expected.what in one["what"]), None)
    missed = next((one for one in none if one["what"] == expected.what), None)
    if met is None:
        if (
            missed
            and missed["upto"] > 1.02 * expected.amount
            and missed["in_s"] < (1.2 * expected.window_s)
        ):
            return row | {
                "verdict": "differs", "found": missed["says"],
                "says": f"Documented: {documented}. It is not held: {missed['says']}.",
            }  # fmt: skip
        holds = open_one is not None and not open_one["let_go"]
        if open_one and holds and open_one["window_low_s"] > 1.1 * expected.window_s:
            return row | {
                "verdict": "differs", "found": open_one["says"],
                "says": f"Documented: {documented}. Found: it holds {span_of(open_one)}.",
            }  # fmt: skip
        if open_one and expected.what == "requests" and _outran(open_one, expected):
            passed = f"{open_one['passed_first']:,} requests passed in {open_one['rush_s']:g} s"
            return row | {
                "verdict": "differs", "found": open_one["says"],
                "says": f"Documented: {documented}. Found: {passed}.",
            }  # fmt: skip
        told = open_one["says"] if open_one else missed["says"] if missed else "not looked for"
        return row | {"verdict": "untold", "found": told,
                      "says": f"Documented: {documented}. Not told: {told}."}  # fmt: skip
    wrong = []
    unit = 1 if expected.what == "requests" else met["tokens_a_request"]
    leeway = 0 if expected.what == "requests" else max(unit, 0.02 * expected.amount)
    if not met["amount_low"] - leeway <= expected.amount <= met["amount_high"] + leeway:
        wrong.append(f"{amount_of(met)} {expected.what}")
    low_s, high_s = met["window_low_s"], met["window_high_s"]
    near_s = _WINDOW_SHARE * expected.window_s
    if high_s is None and low_s is not None and low_s > expected.window_s * 1.05:
        wrong.append(f"it holds {span_of(met)}")
    elif high_s is not None and not low_s - near_s <= expected.window_s <= high_s + near_s:
        wrong.append(f"a window of {met['window_s']:g} s")
    if expected.algorithm and met["algorithms"] and expected.algorithm not in met["algorithms"]:
        wrong.append(" or ".join(met["algorithms"]))
    if expected.scope and met["scopes"] and expected.scope not in met["scopes"]:
        wrong.append(f"for each {' or '.join(met['scopes'])}")
    if wrong:
        return row | {"verdict": "differs", "found": met["says"],
                      "says": f"Documented: {documented}. Found: {', '.join(wrong)}."}  # fmt: skip
    return row | {"verdict": "same", "found": met["says"],
                  "says": f"As documented: {documented}."}  # fmt: skip


def _outran(row: Mapping[str, Any], expected: Expected) -> bool:
    """Tell whether more passed in one rush than the documented limit allows, whatever its kind."""
    share = row["rush_s"] / expected.window_s
    return bool(share < 1 and row["passed_first"] > expected.amount * (1 + share) + 1)
