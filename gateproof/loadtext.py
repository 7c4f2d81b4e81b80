"""A load run in words: one line that sums it up, and a short block of its figures.

Rules. A summary is read defensively: it may be of a run that was cut short, or of another version,
and what it lacks is left out. A figure has its unit, and its 95 % interval where it has one. What
came from a target is shown with control characters escaped.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateproof.wording import safe, told

__all__ = ["headline", "interval", "invalid_line", "load_lines", "load_sentence"]

_METRICS: Final = (
    ("ttft_ms", "TTFT"),
    ("ttft_from_due_ms", "TTFT from due"),
    ("itl_ms", "ITL"),
    ("tpot_ms", "TPOT"),
    ("e2e_ms", "end to end"),
)
_RANKS: Final = ("p50", "p95", "p99")


def invalid_line(loads: Sequence[Mapping[str, Any]]) -> str:
    """Return what the first line of every output says when a load run is invalid, else nothing."""
    for row in loads:
        first = _reason(row.get("summary"))
        if first:
            name = row.get("scenario")
            return safe(f"INVALID: the figures of load run {name} are not certified: {first}.")
    return ""


def _reason(summary: Any) -> str:
    """Return the first reason for which a run is invalid; nothing when it is not."""
    if _at(summary, "verdict", "valid") is not False:
        return ""
    return str(next(iter(_rows(_at(summary, "verdict", "reasons"))), "no reason given"))


def headline(summary: Mapping[str, Any]) -> str:
    """Return a load summary in one line: the model of load, what came of it, whether it is valid.

    Parts that the summary lacks are left out.
    """
    arrivals = _at(summary, "plan", "arrivals")
    said = []
    invalid = _reason(summary)
    if invalid:
        said.append(f"INVALID ({invalid})")
    users, rate = _at(summary, "plan", "users"), _at(summary, "plan", "rate_per_s")
    if arrivals == "closed" and _number(users):
        said.append(f"closed, {told(users, 'user')}")
    elif isinstance(arrivals, str):
        stages = len(_rows(_at(summary, "plan", "stages")))
        level = f", {rate:g}/s" if _number(rate) else f" in {told(stages, 'stage')}"
        said.append(f"{arrivals} arrivals" + (level if _number(rate) or stages else ""))
    due, answered = _at(summary, "requests", "due"), _at(summary, "requests", "answered")
    if _number(due) and _number(answered):
        said.append(f"{answered:,} of {told(due, 'request')} answered")
    failed = _at(summary, "requests", "failed")
    if _number(failed) and failed:
        said.append(f"{failed:,} failed")
    for rank in ("p50", "p99"):
        value = _at(summary, "metrics", "ttft_ms", rank)
        if _number(value):
            said.append(f"TTFT {rank} {value:.1f} ms")
    tokens = _at(summary, "rates", "tokens_per_s")
    if _number(tokens) and answered != 0:
        said.append(f"{tokens:,.0f} tokens/s")
    return safe("; ".join(said)) or "see the report"


def load_sentence(loads: Sequence[Mapping[str, Any]]) -> str:
    """Return what load runs came to in a sentence: valid or not, and the key figures of the first.

    These are what was answered, the latency in the middle and at its end, and the output.
    """
    if not loads:
        return ""
    summary = loads[0].get("summary")
    valid = _at(summary, "verdict", "valid")
    due, answered = _at(summary, "requests", "due"), _at(summary, "requests", "answered")
    said = []
    if _number(due) and _number(answered):
        said.append(f"{answered:,} of {told(due, 'request')} answered")
    for key, name in (("ttft_ms", "TTFT"), ("e2e_ms", "end to end")):
        ranks = [(rank, _at(summary, "metrics", key, rank)) for rank in _RANKS]
        ranks = [(rank, value) for rank, value in ranks if _number(value)]
        if ranks:
            shown = [
                f"{rank} {_short(value)} ms" for rank, value in dict([ranks[0], ranks[-1]]).items()
            ]
            said.append(f"{name} {', '.join(shown)}")
            break
    for key, unit in (("tokens_per_s", "tokens/s"), ("answered_per_s", "requests/s")):
        rate = _at(summary, "rates", key)
        if _number(rate) and rate:
            said.append(f"{_short(rate)} {unit}")
            break
    state = "Valid load" if valid is True else "INVALID load" if valid is False else "Load"
    more = f"; {told(len(loads) - 1, 'more load run')}" if len(loads) > 1 else ""
    figures = _at(summary, "drift", "figures")
    moving = isinstance(figures, Mapping) and any(_at(one, "drifts") for one in figures.values())
    drift = f"; {_at(summary, 'drift', 'says')}" if moving else ""
    return safe(f"{state}: {', '.join(said) or 'no figures'}{drift}{more}")


def load_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return the figures of a load run as indented lines of text."""
    lines = [line for key, name in _METRICS if (line := _metric_line(summary, key, name))]
    share, slos = _at(summary, "goodput", "share"), _at(summary, "goodput", "slos")
    if _number(share) and isinstance(slos, Mapping):
        own = bool(_at(summary, "goodput", "by_work"))
        limits = "the SLOs of their work" if own else _limits(slos)
        within = interval(_at(summary, "goodput", "ci"), percent=True)
        n = _at(summary, "goodput", "n")
        lines.append(f"{'goodput':<14} {share:.1%}{within} of {n} requests inside {limits}")
    for kind, name in (("errors", "errors"), ("findings", "flaws")):
        rows = _rows(_at(summary, kind))
        found = [f"{_at(row, 'count')} {_at(row, 'kind')}" for row in rows if _at(row, "kind")]
        if found:
            lines.append(f"{name:<14} {', '.join(found)}")
    count, streams, longest = (
        _at(summary, "stalls", name) for name in ("count", "streams", "longest_ms")
    )
    if count and _number(longest) and isinstance(streams, int):
        within = told(streams, "stream")
        lines.append(f"{'stalls':<14} {count} in {within}, the longest {longest / 1000:.1f} s")
    drift = _at(summary, "drift", "says")
    lines += [f"{'drift':<14} {drift}"] if drift else []
    usd, says = _at(summary, "cost", "usd"), _at(summary, "cost", "says")
    if usd is not None:
        lines.append(f"{'cost':<14} {usd} USD, {says}")
    lines += [f"{'work':<14} {_work(work)}" for work in _rows(_at(summary, "works"))]
    says = _at(summary, "verdict", "says")
    lines += [f"{'generator':<14} {says}"] if says else []
    under = _under_load(_at(summary, "conformance"))
    lines += [f"{'under load':<14} {under}"] if under else []
    lines += [f"{'note':<14} {note}" for note in _rows(_at(summary, "notes"))]
    return [safe("  " + line) for line in lines]


def interval(bounds: Any, *, percent: bool = False) -> str:
    """Return an interval in brackets, with a space before; nothing when there is none."""
    if not (
        isinstance(bounds, Sequence) and len(bounds) == 2 and all(map(_number, bounds))
    ):  # both ends
        return ""
    low, high = bounds
    return f" [{low:.1%} – {high:.1%}]" if percent else f" [{_short(low)} – {_short(high)}]"


def _under_load(about: Any) -> str:
    """Tell of the checks that were judged while load was on; nothing when none were."""
    kept, checks, counts = (_at(about, name) for name in ("kept", "checks", "counts"))
    if not isinstance(kept, int) or not isinstance(checks, int) or not isinstance(counts, Mapping):
        return ""
    found = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return f"{told(checks, 'check')} judged on {told(kept, 'sampled answer')}: {found}"


def _metric_line(summary: Mapping[str, Any], key: str, name: str) -> str:
    spread = _at(summary, "metrics", key)
    if not isinstance(spread, Mapping) or not spread.get("n"):
        return ""
    said = [
        f"{rank} {_short(spread[rank])}{interval(_at(spread, 'ci', rank))}"
        for rank in _RANKS
        if _number(spread.get(rank))
    ]
    return f"{name:<14} {', '.join(said)} ms" if said else ""


def _limits(slos: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} <= {limit:g}" for name, limit in slos.items() if _number(limit))


def _work(work: Any) -> str:
    requests = _at(work, "requests")
    said = [f"{_at(work, 'name')}: {_at(requests, 'answered')} of {_at(requests, 'due')} answered"]
    for key, name in (("ttft_ms", "TTFT"), ("e2e_ms", "end to end")):
        value = _at(work, "metrics", key, "p50")
        if _number(value):
            said.append(f"{name} p50 {_short(value)} ms")
    share, slos = _at(work, "goodput", "share"), _at(work, "goodput", "slos")
    if _number(share) and isinstance(slos, Mapping):
        said.append(f"{share:.1%} inside {_limits(slos)}")
    return ", ".join(said)


def _at(value: Any, *path: str) -> Any:
    """Return what lies at the end of a path of keys, or nothing."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _rows(value: object) -> Sequence[Any]:
    """Return a list's items, else none."""
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: float) -> str:
    """Return a number with about three digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if value else "0"  # digits
