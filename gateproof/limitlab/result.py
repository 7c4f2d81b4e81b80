"""What a run of the lab found, as data for every output: ``limits.json`` and the row of a run.

Strategy: each stage's fits become one limit told with its ranges; what the evidence leaves open
stays a list, with the reason. It is compared with what is documented, and each difference is a
finding. Times are told by the clock of the target's limits, which a test server's may run faster.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from gateproof.limitlab.compare import amount_of, compare_all, group_of, judge_keys, span_of
from gateproof.limitlab.exchange import Record
from gateproof.limitlab.fit import Fit, brackets, fit
from gateproof.limitlab.judge import Found, judge
from gateproof.limitlab.lab import Lab
from gateproof.limitlab.models import Event, free_at
from gateproof.limitlab.plan import LimitsPlan
from gateproof.limitlab.stage import Outcome, Stage

__all__ = ["ALGORITHM_SAYS", "result_of", "text_of"]

ALGORITHM_SAYS: Final[Mapping[str, str]] = {
    "fixed-window": "fixed window",
    "sliding-log": "sliding window (log)",
    "sliding-counter": "sliding window (counter)",
    "token-bucket": "token bucket",
}
FORM_SAYS: Final[Mapping[str, str]] = {
    "": "",
    "aligned": "its windows lie by a clock of the gateway's own",
    "counts-refused": "refused requests count as well",
}
_MOST_POINTS: Final = 1500
_CURVE: Final = 160


def result_of(lab: Lab) -> dict[str, Any]:
    """Return all that a run found and judged."""
    outcome, plan = lab.outcome, lab.plan
    found = [_limit(outcome, plan, stage) for stage in outcome.stages if stage.refused]
    none = [_none(plan, stage) for stage in outcome.stages if not stage.refused and stage.passed]
    judgments = judge(outcome.record, [one for row in found for one in row.pop("_found")])
    judgments += judge_keys(outcome)
    documented = compare_all(plan, found, none, outcome)
    findings = [row["says"] for row in documented if row["verdict"] == "differs"]
    findings += [f"{one.name}: {one.says}" for one in judgments if one.verdict == "false"]
    spent = {
        "requests": outcome.record.sent,
        "refused": sum(entry.kind == "refused" for entry in outcome.record.entries),
        "tokens": outcome.record.tokens,
        "usd": round(outcome.record.usd, 6),
        "seconds": round(_seconds(outcome.record), 3),
    }
    return {
        "kind": "limits",
        "headline": _headline(found, none, findings, outcome),
        "findings": findings,
        "exit": 5 if outcome.spent else 1 if findings or _failed(outcome) else 0,
        "stopped": outcome.stopped,
        "plan": asdict(plan) | {"requests": plan.most_requests, "tokens": plan.most_tokens},
        "spent": spent,
        "limits": found,
        "none": none,
        "documented": documented,
        "judgments": [asdict(one) for one in judgments],
        "notes": [*outcome.notes, *(note for stage in outcome.stages for note in stage.notes)],
        "timeline": _timeline(outcome.record, plan),
    }


def _failed(outcome: Outcome) -> bool:
    """Tell whether the lab ended before it could look for anything."""
    return bool(outcome.stopped) and not any(stage.passed for stage in outcome.stages)


def _seconds(record: Record) -> float:
    if not record.entries:
        return 0.0
    return (max(entry.reply.done_ns for entry in record.entries) - record.begin_ns) / 1e9


# One limit.


def _limit(outcome: Outcome, plan: LimitsPlan, stage: Stage) -> dict[str, Any]:
    """Tell of one limit that was met."""
    record, scale = outcome.record, plan.clock_scale
    small = max(record.costs.get(0, 1), 1)
    in_tokens = stage.whats == ("tokens",)
    fits, events, unit = _told_in(outcome, stage, small)
    low = min((one.reach.low for one in fits), default=float(stage.passed))
    high = max((one.reach.high for one in fits), default=math.inf)
    if not fits and in_tokens:
        low, high = float(stage.passed_tokens), math.inf
    amount_low = max(1, math.ceil(low - 1e-6))
    amount_high = amount_low
    if math.isfinite(high):
        amount_high = max(amount_low, math.ceil(high - 1e-6) - 1)
    met = len(brackets(events))
    windows = [_window(one) for one in fits] if met else []
    best = windows[0][1] if windows else None
    algorithms = list(dict.fromkeys(one.variant.algorithm for one in fits)) if met else []
    waited_s = stage.named_s - stage.rush_at_s
    row: dict[str, Any] = {
        "what": list(stage.whats),
        "unit": "tokens" if in_tokens else "requests",
        "amount": amount_low if amount_high - amount_low < 2 else round((low + high) / 2),
        "amount_low": amount_low,
        "amount_high": amount_high,
        "window_s": _up(best, scale),
        "window_low_s": _up(
            min((one[0] for one in windows), default=None if met else waited_s), scale
        ),
        "window_high_s": _up(max((one[2] for one in windows), default=None), scale),
        "algorithms": algorithms,
        "forms": list(dict.fromkeys(one.variant.form for one in fits)) if met else [],
        "scopes": list(outcome.scopes) if stage.name == "requests" else [],
        "passed_first": stage.passed,
        "rush_s": round(stage.rush_s * scale, 4),
        "let_go": bool(met),
        "windows_used": round((stage.named_s - stage.begin_s) / best, 2) if best else None,
        "tokens_a_request": small,
        "notes": list(stage.notes),
        "curve": _curve(fits[0], events, scale) if fits and met else [],
    }
    if algorithms == ["token-bucket"] and best:
        row["refill_per_s"] = round(low / best / scale, 6)
    row["ambiguous"] = _ambiguous(row)
    row["says"] = _says(row)
    refill = low / best if best and algorithms[0] in ("token-bucket", "sliding-counter") else 0.0
    sure = bool(best) and len(stage.whats) == 1
    row["_found"] = [
        Found(
            what,
            amount_low if sure else 0,
            amount_high if sure else math.inf,
            unit,
            _full_s(fits[0], events) if sure else None,
            refill,
            of_large=stage.name == "tokens",
        )
        for what in stage.whats
    ]
    return row


def _told_in(
    outcome: Outcome, stage: Stage, small: int
) -> tuple[Sequence[Fit], Sequence[Event], float]:
    """Return a stage's fits in what the limit counts, the decisions, and one request's worth."""
    group = group_of(outcome)
    if stage.name == "tokens":
        tokens = [entry for entry in outcome.record.entries if entry.part == "tokens"]
        chosen = {id(entry) for entry in tokens}
        events = outcome.record.events(
            lambda entry: group(entry) if id(entry) in chosen else None, in_tokens=True
        )
        return stage.fits, events, max(stage.unit, 1.0)
    small_ones = outcome.record.events(
        lambda entry: group(entry) if entry.part != "tokens" and not entry.ask.tokens else None
    )
    if stage.whats != ("tokens",):
        return stage.fits, small_ones, 1.0
    events = outcome.record.events(
        lambda entry: group(entry) if entry.part != "tokens" else None, in_tokens=True
    )
    # Large requests were refused or passed as well: with them the limit is known better.
    known = [one.times(small) for one in stage.fits]
    variants = [one.variant for one in known]
    return fit(events, variants, near=known) or known, events, float(small)


def _window(one: Fit) -> tuple[float, float, float]:
    """Return a window's least, best and greatest length; a bucket's is how long it fills."""
    by = one.limit if one.is_bucket else 1.0
    return one.low_s * by, one.best_s * by, one.high_s * by


def _up(value_s: float | None, scale: float) -> float | None:
    return None if value_s is None else float(f"{value_s * scale:.4g}")


def _full_s(one: Fit, events: Sequence[Event]) -> float:
    """Return how long after the first refusal all of the limit is there again."""
    place = next((n for n, event in enumerate(events) if not event.passed), len(events))
    before = [event for event in events[:place] if not event.group]
    if not before:
        return one.window_s
    at_s = before[-1].at_s
    low_s, high_s = 0.0, 2.2 * one.window_s
    for _ in range(24):
        middle_s = (low_s + high_s) / 2
        free = free_at(
            before, one.variant, one.best_s, one.limit, at_s + middle_s, phase_s=one.phase_s
        )
        if free >= one.limit - 0.5:
            high_s = middle_s
        else:
            low_s = middle_s
    return high_s


def _curve(one: Fit, events: Sequence[Event], scale: float) -> list[list[float]]:
    """Return how much would have passed at each moment, by the limiter that was found."""
    own = [event for event in events if not event.group]
    if not own:
        return []
    end_s = own[-1].at_s
    points = []
    for step in range(_CURVE + 1):
        at_s = end_s * step / _CURVE
        past = [event for event in own if event.at_s <= at_s]
        free = free_at(past, one.variant, one.best_s, one.limit, at_s, phase_s=one.phase_s)
        points.append([round(at_s * scale, 3), round(max(0.0, free), 2)])
    return points


def _ambiguous(row: Mapping[str, Any]) -> str:
    """Say what the evidence does not tell apart, and why; empty when nothing is left open."""
    said = []
    if len(row["what"]) > 1:
        said.append("requests or tokens: no large request was made at a moment that could tell")
    if len(row["algorithms"]) > 1:
        names = " or ".join(ALGORITHM_SAYS[name] for name in row["algorithms"])
        reason = (
            "with so small a limit they answer alike"
            if row["amount_high"] <= 3
            else "they would have answered every request alike"
        )
        said.append(f"{names}: {reason}")
    elif row["algorithms"] and "counts-refused" in row["forms"] and len(row["forms"]) > 1:
        said.append("whether refused requests count: too few were refused to tell")
    elif not row["let_go"]:
        said.append("its kind: the limit did not let go while it was looked at")
    elif not row["algorithms"]:
        said.append("its kind: no limiter that is known agrees with every answer")
    if len(row["scopes"]) > 1:
        said.append(
            f"whose it is ({' or '.join(row['scopes'])}): a second key and a second model tell"
        )
    return "; ".join(said)


def _says(row: Mapping[str, Any]) -> str:
    """Tell a limit in one sentence."""
    what = " or ".join(row["what"])
    kind = " or ".join(ALGORITHM_SAYS[name] for name in row["algorithms"]) or "kind unknown"
    form = [FORM_SAYS[form] for form in row["forms"] if form]
    if len(row["forms"]) == 1 and form:
        kind += f", {form[0]}"
    scope = f", for each {' or '.join(row['scopes'])}" if row["scopes"] else ""
    refill = f", refilled by {row['refill_per_s']:g} a second" if row.get("refill_per_s") else ""
    said = f"{amount_of(row)} {what} {span_of(row)}, {kind}{refill}{scope}"
    return f"{said}; ambiguous: {row['ambiguous']}" if row["ambiguous"] else said


def _none(plan: LimitsPlan, stage: Stage) -> dict[str, Any]:
    """Tell of a limit that was looked for and not met."""
    seconds = stage.rush_s * plan.clock_scale
    tokens = stage.name == "tokens"
    upto = stage.passed_tokens if tokens else stage.passed
    return {
        "what": stage.name,
        "upto": upto,
        "in_s": round(seconds, 3),
        "says": f"no limit of {stage.name}: none found up to {upto:,} in {seconds:.3g} s",
    }


# What is told of all of it.


def _headline(
    found: Sequence[Mapping[str, Any]],
    none: Sequence[Mapping[str, Any]],
    findings: Sequence[str],
    outcome: Outcome,
) -> str:
    said = [str(row["says"]) for row in found] or [str(row["says"]) for row in none]
    if outcome.stopped:
        said.append(f"stopped: {outcome.stopped}")
    if findings:
        said.insert(0, f"{len(findings)} finding{'s' if len(findings) > 1 else ''}")
    return "; ".join(said) or "nothing was found"


def _timeline(record: Record, plan: LimitsPlan) -> list[list[Any]]:
    """Return each request: when, whose, how large, what came; bounded, evenly thinned."""
    rows = [
        [
            round((entry.reply.sent_ns - record.begin_ns) / 1e9 * plan.clock_scale, 4),
            entry.kind, entry.ask.key, entry.ask.model, record.cost_of(entry), entry.part,
        ]
        for entry in record.entries
    ]  # fmt: skip
    if len(rows) <= _MOST_POINTS:
        return rows
    step = len(rows) / _MOST_POINTS
    kept = {round(place * step) for place in range(_MOST_POINTS)}
    return [row for place, row in enumerate(rows) if place in kept or row[1] != "passed"]


def text_of(summary: Mapping[str, Any]) -> str:
    """Return a result as lines for a terminal."""
    spent = summary["spent"]
    lines = [str(row["says"]) for row in (*summary["limits"], *summary["none"])]
    lines += ["", *(f"{row['verdict'].upper():<8} {row['says']}" for row in summary["documented"])]
    lines += [f"{row['verdict'].upper():<8} {row['name']}: {row['says']}"
              for row in summary["judgments"]]  # fmt: skip
    lines += ["", *summary["notes"]] if summary["notes"] else []
    lines.append(
        f"Spent {spent['requests']:,} requests ({spent['refused']:,} refused), "
        f"{spent['tokens']:,} tokens, in {spent['seconds']:.1f} s."
    )
    if summary["stopped"]:
        lines.append(f"Stopped: {summary['stopped']}.")
    return "\n".join(lines).strip()
