"""Judges what a gateway says at its limits against what it does.

Strategy: each judgment reads the record alone and says on how many answers it rests. A claim is
held to the requests that followed it: who waits as told must pass, and who waits clearly less must
not. Claims in whole seconds, or as dates, are given a second; all others the time of a few round
trips, since no clock is shared.

Verdicts: ``true``; ``false`` (the target misleads its clients); ``warn`` (it tells less than
clients could use); ``untold`` (the evidence does not say).
"""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from gateproof.limitlab.exchange import Entry, Record
from gateproof.limitlab.plan import What
from gateproof.limitlab.told import ToldLimit

__all__ = ["Found", "Judgment", "Verdict", "judge"]

Verdict = Literal["true", "false", "warn", "untold"]

_COARSE: Final = {"seconds": 1.0, "date": 2.0, "Unix time": 1.0, "RFC 3339": 1.0}
_SHARE: Final = 0.1  # of a wait: how much longer than needed it may be told
_TRIPS: Final = 4
_EVIDENCE: Final = 5
_SHOWN: Final = 160
# What clients of OpenAI's read in headers of these names.
_FORMS: Final = {"openai": ("duration",), "anthropic": ("RFC 3339",), "ietf": ("seconds",)}


@dataclass(frozen=True, slots=True)
class Judgment:
    """One judgment: what was judged, how, on how many answers, and some of them in words."""

    name: str
    verdict: Verdict
    says: str
    n: int
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What the judgments need of a limit that was found, in seconds of our own clock."""

    what: What
    low: float
    high: float
    unit: float
    full_s: float | None
    """How long after the last refusal of the first rush all of the limit is there again."""
    refill_per_s: float = 0.0
    of_large: bool = False
    """Whether it was met by the large requests: each limit is judged by its own refusals."""


def judge(record: Record, found: Sequence[Found]) -> list[Judgment]:
    """Judge every refusal, and the claims of all answers."""
    refusals = [entry for entry in record.entries if entry.kind == "refused"]
    if not refusals:
        return []
    rows = [_status(refusals), _body(refusals), *_retry_after(record, refusals)]
    for one in found:
        rows += _headers(record, one)
    if not any(entry.reply.told.limits for entry in record.entries):
        rows.append(
            Judgment(
                "rate-limit headers", "warn",
                "No answer tells of limits in its headers: clients cannot pace themselves.",
                len(record.entries),
            )
        )  # fmt: skip
    return rows


def _status(refusals: Sequence[Entry]) -> Judgment:
    counts = Counter(entry.reply.status for entry in refusals)
    shown = ", ".join(f"{status} ({count})" for status, count in sorted(counts.items()))
    right = set(counts) == {429}
    says = "Each refusal has status 429." if right else (
        f"Refusals have status {shown}; clients take 429 alone for a limit."
    )  # fmt: skip
    return Judgment("status", "true" if right else "false", says, len(refusals))


def _body(refusals: Sequence[Entry]) -> Judgment:
    shapes = Counter(_shape(entry.reply.body) for entry in refusals)
    names = ", ".join(f"{name} ({count})" for name, count in shapes.most_common(3))
    good = all(name.startswith("error") for name in shapes)
    says = f"The body is JSON with a message: {names}." if good else (
        f"The body is not JSON with a message that clients find: {names}."
    )  # fmt: skip
    shown = tuple(dict.fromkeys(entry.reply.body[:_SHOWN] for entry in refusals))[:2]
    return Judgment("body", "true" if good else "warn", says, len(refusals), shown)


def _shape(body: str) -> str:
    """Name the shape of a refusal's body."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return "text" if body.strip() else "empty"
    error = value.get("error") if isinstance(value, dict) else None
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return "error.message"
    if isinstance(error, str):
        return "error, a text"
    if isinstance(value, dict) and isinstance(value.get("message"), str):
        return "error: message"
    return "JSON without a message"


def _of_first(record: Record) -> list[Entry]:
    return [
        entry
        for entry in record.entries
        if entry.ask.key == "first"
        and entry.ask.model == "first"
        and entry.kind in ("passed", "refused")
    ]


def _retry_after(record: Record, refusals: Sequence[Entry]) -> list[Judgment]:
    """Judge whether ``Retry-After`` is there, and true."""
    told = [entry for entry in refusals if entry.reply.told.retry_after_s is not None]
    absent = len(refusals) - len(told)
    if not told:
        text = "No refusal has Retry-After: clients do not know when to come again."
        return [Judgment("Retry-After", "warn", text, len(refusals))]
    forms = Counter(entry.reply.told.retry_form for entry in told)
    rows = [
        Judgment(
            "Retry-After", "warn" if absent else "true",
            f"{len(told)} of {len(refusals)} refusals have it ({', '.join(sorted(forms))}).",
            len(refusals),
        )
    ]  # fmt: skip
    short, long, right, evidence = _claims(record)
    n = short + long + right
    if not n:
        says, verdict = "No request was made at the time that a refusal told.", "untold"
    elif short:
        says = f"Who waits as told is refused again: {short} of {n} claims are too short."
        verdict = "false"
    elif long > max(1, n // 10):
        says = f"Less suffices: {long} of {n} claims are longer than the limit holds."
        verdict = "false"
    else:
        says = "Who waits exactly as told passes, and who waits clearly less does not."
        verdict = "true"
    rows.append(Judgment("Retry-After is true", verdict, says, n, tuple(evidence)))  # type: ignore[arg-type]  # one of the four
    return rows


def _claims(record: Record) -> tuple[int, int, int, list[str]]:
    """Count the claims that were too short, too long and right, by what followed each."""
    short = long = right = 0
    evidence: list[str] = []
    trip_s = record.trip_ns / 1e9
    row: list[Entry] = []
    for entry in _of_first(record):
        if entry.kind == "refused":
            row.append(entry)
            continue
        for place, one in enumerate(row):
            wait_s = one.reply.told.retry_after_s
            if wait_s is None or one.ask.tokens < entry.ask.tokens:
                continue
            due_s = wait_s + one.reply.done_ns / 1e9
            # Between sending and answering neither side's clock is known.
            trips_s = (_took_ns(one) + _took_ns(entry)) / 1e9 + _TRIPS * trip_s
            leeway_s = _COARSE.get(one.reply.told.retry_form, 0.0) + max(trips_s, _SHARE * wait_s)
            later = [
                next_one for next_one in row[place + 1 :]
                if next_one.ask.tokens <= one.ask.tokens
                and next_one.reply.sent_ns / 1e9 >= due_s + trip_s
            ]  # fmt: skip
            came_s = entry.reply.sent_ns / 1e9
            if later:
                short += 1
                after_s = (later[0].reply.sent_ns - one.reply.done_ns) / 1e9
                shown = f"told {wait_s:.3f} s, and refused again after {after_s:.3f} s"
            elif due_s - entry.reply.done_ns / 1e9 > leeway_s:
                long += 1
                after_s = came_s - one.reply.done_ns / 1e9
                shown = f"told {wait_s:.3f} s, and passed after {after_s:.3f} s"
            elif came_s <= due_s + max(trips_s, _SHARE * wait_s):
                right += 1
                after_s = came_s - one.reply.done_ns / 1e9
                shown = f"told {wait_s:.3f} s; passed after {after_s:.3f} s"
            else:
                continue
            if len(evidence) < _EVIDENCE or (later and len(evidence) < 2 * _EVIDENCE):
                evidence.append(shown)
        row = []
    return short, long, right, evidence


def _took_ns(entry: Entry) -> int:
    return entry.reply.done_ns - entry.reply.sent_ns


def _told(entry: Entry, what: What) -> ToldLimit | None:
    return entry.reply.told.of(what)


def _headers(record: Record, found: Found) -> list[Judgment]:
    """Judge what the headers tell of one limit."""
    rows = []
    chosen = [
        (entry, told)
        for entry in _of_first(record)
        if (told := _told(entry, found.what)) is not None
        and (entry.part == "tokens") == found.of_large
    ]
    if not chosen:
        return []
    name = f"headers of {found.what}"
    limits = Counter(told.limit for _, told in chosen if told.limit is not None)
    if limits and math.isfinite(found.high):
        wrong = [
            limit for limit in limits
            if not found.low - found.unit <= limit <= found.high + found.unit
        ]  # fmt: skip
        shown = ", ".join(f"{limit:,}" for limit in sorted(limits))
        says = f"They tell a limit of {shown}; " + (
            f"what holds is {_range(found.low, found.high)}." if wrong else "that is what holds."
        )
        verdict: Verdict = "false" if wrong else "true"
        rows.append(Judgment(f"{name}: limit", verdict, says, limits.total()))
    rows += _remaining(record, chosen, found, name)
    rows += _reset(record, chosen, found, name)
    return rows


def _range(low: float, high: float) -> str:
    return f"{low:,.0f}" if round(low) >= round(high) else f"{low:,.0f} to {high:,.0f}"


def _remaining(
    record: Record, chosen: Sequence[tuple[Entry, ToldLimit]], found: Found, name: str
) -> list[Judgment]:
    """Judge whether what is left counts down as requests pass."""
    batches: dict[int, list[tuple[Entry, int]]] = {}
    for entry, told in chosen:
        if entry.kind == "passed" and told.remaining is not None:
            batches.setdefault(entry.batch, []).append((entry, told.remaining))
    rush = max(batches.values(), key=len, default=[])
    if len(rush) < 3:
        return []
    lefts = [left for _, left in rush]
    drop = max(lefts) - min(lefts)
    costs = [record.cost_of(entry) if found.what == "tokens" else 1 for entry, _ in rush]
    wanted = sum(costs) - max(costs)
    seconds = (rush[-1][0].reply.done_ns - rush[0][0].reply.sent_ns) / 1e9
    # Buckets and fading windows give back meanwhile; thousands are how Anthropic's count tokens.
    leeway = 1.2 * found.refill_per_s * seconds + 2 * max(costs) + 0.02 * wanted
    leeway += 1000 if found.what == "tokens" and all(left % 1000 == 0 for left in lefts) else 0
    refused = [
        told.remaining
        for entry, told in chosen
        if entry.kind == "refused" and told.remaining is not None
    ]
    unit = max(found.unit, *costs)
    high = [left for left in refused if left > 2 * unit + 0.02 * max(lefts)]
    shown = (f"{lefts[0]:,} to {lefts[-1]:,} over {len(lefts)} answers of {sum(costs):,}",)
    if not drop and wanted:
        says, verdict = f"What is left stays at {lefts[0]:,} while requests pass.", "false"
    elif abs(drop - wanted) > leeway:
        says, verdict = f"What is left falls by {drop:,} while {wanted:,} are used.", "false"
    elif len(high) > len(refused) // 2:
        says, verdict = f"{max(high):,} are told to be left when a request is refused.", "false"
    else:
        says, verdict = "What is left counts down as requests pass.", "true"
    return [Judgment(f"{name}: remaining", verdict, says, len(lefts), shown)]  # type: ignore[arg-type]  # one of the four


def _reset(
    record: Record, chosen: Sequence[tuple[Entry, ToldLimit]], found: Found, name: str
) -> list[Judgment]:
    """Judge the time of reset at a refusal: when something passes again, or all of the limit."""
    told = [(entry, one) for entry, one in chosen if one.reset_form]
    if not told:
        return []
    forms = Counter(one.reset_form for _, one in told)
    family = told[0][1].family
    wanted = _FORMS.get(family)
    if wanted and not set(forms) <= set(wanted):
        got = ", ".join(sorted(forms))
        text = f"The reset is written as {got}; clients read a {' or '.join(wanted)} there."
        return [Judgment(f"{name}: reset", "false", text, len(told))]
    row: list[tuple[Entry, ToldLimit]] = []
    for entry, one in told:
        if entry.kind == "refused":
            row.append((entry, one))
        elif row:
            break
    passed = next(
        (
            entry
            for entry in _of_first(record)
            if row and entry.kind == "passed" and entry.reply.sent_ns > row[-1][0].reply.sent_ns
        ),
        None,
    )
    if not row or passed is None:
        return [Judgment(f"{name}: reset", "untold", "No limit let go after a reset was told.", 0)]
    right = 0
    evidence: list[str] = []
    for entry, one in row:
        if one.reset_s is None:
            continue
        done_s = entry.reply.done_ns / 1e9
        next_s = passed.reply.sent_ns / 1e9 - done_s
        full_s = row[0][0].reply.done_ns / 1e9 + (found.full_s or 0.0) - done_s
        leeway_s = _COARSE.get(one.reset_form, 0.0) + max(
            _TRIPS * record.trip_ns / 1e9, 0.12 * max(full_s, next_s)
        )
        if min(abs(one.reset_s - next_s), abs(one.reset_s - full_s)) <= leeway_s:
            right += 1
        elif len(evidence) < _EVIDENCE:
            evidence.append(
                f"told {one.reset_s:.3f} s; a request passes after {next_s:.3f} s, all of the "
                f"limit after {full_s:.3f} s"
            )
    good = right >= 0.8 * len(row)
    says = (
        "The reset is when requests pass again, or all of the limit is there."
        if good
        else f"{len(row) - right} of {len(row)} resets at a refusal are neither when a request "
        "passes again nor when all of the limit is there."
    )
    if not good and found.full_s is None and any(one.reset_s for _, one in row):
        says = "When all of the limit is there is not known, so the reset is not judged."
        return [Judgment(f"{name}: reset", "untold", says, len(row))]
    verdict: Verdict = "true" if good else "false"
    return [Judgment(f"{name}: reset", verdict, says, len(row), tuple(evidence))]
