"""Parts of what is told of a load run: cards, kinds of work, facts, and what failures said.

What failures said is read from the load folder, a little of each kind, and never from outside of
the run folder.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from gateproof.drift import DRIFT_SAYS
from gateproof.loadtext import interval

from .values import mapping, number, text

__all__ = [
    "CALIBRATION_COLUMNS",
    "DRIFT_COLUMNS",
    "WORK_COLUMNS",
    "Card",
    "calibration_rows",
    "cards",
    "drift_rows",
    "facts_of",
    "failures_said",
    "slos_of",
    "work_row",
]

WORK_COLUMNS = ("Work", "due", "answered", "failed", "TTFT p50", "TTFT p95", "ITL p95", "TPOT p50",
                "end to end p50", "end to end p95", "goodput", "tokens/s", "USD")  # fmt: skip
DRIFT_COLUMNS = ("Figure", "unit", "median", "change over the window", "as a share", "per hour",
                 "drifts")  # fmt: skip
CALIBRATION_COLUMNS = ("Calibration", "streams", "chunks/s", "time stamp p50", "time stamp p99",
                       "time stamp max", "TTFT p99", "gap p99", "CPU")  # fmt: skip
_EXAMPLES = 2  # of what failures of a kind said
_FILES = 64  # files of failures that are looked into, one a worker
_LINES = 200  # of each


@dataclass(frozen=True, slots=True)
class Card:
    """One of the figures that a reader looks for first."""

    name: str
    value: str
    unit: str
    within: str  # its 95 % interval
    more: str


def cards(summary: Mapping[str, Any]) -> tuple[Card, ...]:
    """Choose the figures that a reader looks for first."""
    metrics, rates = mapping(summary.get("metrics")), mapping(summary.get("rates"))
    made = []
    for key, name, rank in (
        ("ttft_ms", "TTFT", "p50"),
        ("ttft_ms", "TTFT", "p95"),
        ("ttft_ms", "TTFT", "p99"),
        ("itl_ms", "ITL", "p95"),
        ("e2e_ms", "end to end", "p95"),
    ):
        spread = mapping(metrics.get(key))
        if number(spread.get(rank)):
            within = interval(mapping(spread.get("ci")).get(rank)).strip()
            more = f"n = {text(spread.get('n'))}"
            made.append(Card(f"{name} {rank}", text(spread[rank]), "ms", within, more))
    goodput = mapping(summary.get("goodput"))
    if number(goodput.get("share")):
        within = interval(goodput.get("ci"), percent=True).strip()
        made.append(Card("goodput", f"{goodput['share']:.1%}", "", within, "inside all limits"))
    failed, requests = mapping(summary.get("failed")), mapping(summary.get("requests"))
    if number(failed.get("share")):
        within = interval(failed.get("ci"), percent=True).strip()
        more = f"{text(requests.get('failed'))} of {text(requests.get('due'))}"
        made.append(Card("failed", f"{failed['share']:.1%}", "", within, more))
    for key, name, unit in (
        ("answered_per_s", "answered", "requests/s"),
        ("tokens_per_s", "output", "tokens/s"),
    ):
        if number(rates.get(key)):
            made.append(Card(name, text(rates[key]), unit, "", "in all"))
    return tuple(made)


def work_row(work: Mapping[str, Any]) -> tuple[str, ...]:
    """Give the row of one kind of work, in the order of ``WORK_COLUMNS``."""
    requests, metrics = mapping(work.get("requests")), mapping(work.get("metrics"))
    share = mapping(work.get("goodput")).get("share")

    def rank(key: str, name: str) -> str:
        return text(mapping(metrics.get(key)).get(name))

    return (
        str(work.get("name") or ""),
        *(text(requests.get(name)) for name in ("due", "answered", "failed")),
        rank("ttft_ms", "p50"),
        rank("ttft_ms", "p95"),
        rank("itl_ms", "p95"),
        rank("tpot_ms", "p50"),
        rank("e2e_ms", "p50"),
        rank("e2e_ms", "p95"),
        f"{share:.1%}" if number(share) else "-",
        text(mapping(work.get("rates")).get("tokens_per_s")),
        str(mapping(work.get("cost")).get("usd") or "-"),
    )


def slos_of(goodput: Mapping[str, Any]) -> str:
    """Name the limits that a goodput was judged by."""
    return ", ".join(
        f"{str(name).removesuffix('_ms')} ≤ {text(limit)} ms"
        for name, limit in mapping(goodput.get("slos")).items()
    )


def facts_of(summary: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Tell of tokens, stalls, cost and arrivals, in words."""
    facts = []
    tokens, stalls = mapping(summary.get("tokens")), mapping(summary.get("stalls"))
    cost, delivered = mapping(summary.get("cost")), mapping(summary.get("stimulus"))
    if number(tokens.get("completion")):
        hidden = tokens.get("reasoning")
        reasoning = f", of them {text(hidden)} reasoning" if number(hidden) and hidden else ""
        facts.append(
            (
                "tokens by usage",
                (
                    f"{text(tokens.get('prompt'))} in, {text(tokens['completion'])} out"
                    f"{reasoning}; {text(tokens.get('deltas'))} events with output; the two differ "
                    f"in {text(tokens.get('differ'))} of {text(tokens.get('compared'))} streams"
                ),
            )
        )
    split = _split(mapping(summary.get("metrics")))
    if split:
        facts.append(("first byte against first token", split))
    if number(stalls.get("count")):
        longest = stalls.get("longest_ms")
        told_longest = f", the longest {text(longest)} ms" if number(longest) else ""
        facts.append(
            (
                "stalls",
                (
                    f"{text(stalls['count'])} in {text(stalls.get('streams'))} of "
                    f"{text(stalls.get('of_streams'))} streams{told_longest} (gaps beyond 1 s and "
                    "ten times the median gap of their stream)"
                ),
            )
        )
    if cost.get("says"):
        usd = f"{cost['usd']} USD in all, " if cost.get("usd") is not None else ""
        each = cost.get("per_1000_requests_usd")
        per = f"{each} USD per 1,000 answers; " if each is not None else ""
        facts.append(("cost", f"{usd}{per}{cost['says']}"))
    if number(delivered.get("planned")):
        facts.append(
            (
                "load delivered",
                f"{text(delivered.get('due'))} arrivals of {text(delivered['planned'])} planned",
            )
        )
    return tuple(facts)


def _split(metrics: Mapping[str, Any]) -> str:
    """Say what part of TTFT passed before the first byte, by the means."""
    ttft = mapping(metrics.get("ttft_ms")).get("mean")
    after = mapping(metrics.get("after_first_byte_ms")).get("mean")
    if not number(ttft) or not number(after) or not ttft:
        return ""
    assert isinstance(ttft, int | float)
    assert isinstance(after, int | float)
    return (
        f"{max(1 - after / ttft, 0):.0%} of the mean TTFT passed before the first byte, "
        f"{text(after)} ms of {text(ttft)} ms after it"
    )


def calibration_rows(calibration: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    """Give the generator's own errors, as measured on this machine, by ``CALIBRATION_COLUMNS``."""
    made = []
    for time in ("before", "after"):
        run = mapping(calibration.get(time))
        if not run:
            continue

        def error(name: str, rank: str, run: Mapping[str, Any] = run) -> str:
            return text(mapping(run.get(f"{name}_error_ms")).get(rank))

        made.append(
            (
                f"{time} the load",
                text(run.get("streams")),
                text(run.get("chunks_per_s")),
                *(error("stamp", rank) for rank in ("p50", "p99", "max")),
                error("ttft", "p99"),
                error("itl", "p99"),
                text(run.get("cpu_share")),
            )
        )
    return tuple(made)


def drift_rows(drift: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    """Give the drift of each figure, by ``DRIFT_COLUMNS``; none where none is told."""
    figures = mapping(drift.get("figures"))
    made = []
    for key, (name, unit) in DRIFT_SAYS.items():
        one = mapping(figures.get(key))
        if not number(one.get("over_run")):
            continue
        share = one.get("share")
        within = interval(one.get("share_ci"), percent=True)
        made.append(
            (
                name,
                unit,
                text(one.get("median")),
                f"{text(one['over_run'])}{interval(one.get('over_run_ci'))}",
                f"{share:+.1%}{within}" if number(share) else "-",
                f"{text(one.get('per_hour'))}{interval(one.get('ci'))}",
                "yes" if one.get("drifts") is True else "none seen",
            )
        )
    return tuple(made)


def failures_said(run_folder: Path | None, folder: str) -> Mapping[str, tuple[str, ...]]:
    """Read what the first failures of each kind said, from inside the run folder only."""
    found: dict[str, list[str]] = {}
    if run_folder is None or not folder:
        return {}
    try:
        place = (run_folder / folder).resolve()
        inside = place.is_relative_to(run_folder.resolve())
        paths = sorted(place.glob("failures.*.jsonl")) if inside else []
    except (OSError, ValueError):  # a name that no file can have
        return {}
    for path in paths[:_FILES]:
        try:
            with path.open(encoding="utf-8", errors="replace") as lines:
                rows = [_row(line) for line in islice(lines, _LINES)]
        except OSError:
            continue
        for row in rows:
            kept = found.setdefault(str(row.get("kind")), [])
            says = str(row.get("says") or "")
            if says and says not in kept and len(kept) < _EXAMPLES:
                kept.append(says)
    return {kind: tuple(says) for kind, says in found.items()}


def _row(line: str) -> Mapping[str, Any]:
    try:
        return mapping(json.loads(line))
    except (ValueError, RecursionError):
        return {}
