"""Makes a capacity search: one load run after the other, and what they say together.

Strategy: ``gateproof.capacity`` names each step; a step is a load run of its own in
``step-NN/``, drained before the next one begins. ``search.json`` is written anew after every step,
so a search that is stopped keeps what it found.

Rules. A step is judged by its samples: a request that failed, or that had not ended when the drain
did, is outside the SLOs; and by how fast waiting grew in it (``gateproof.growth``). A step in which
the generator was late is no evidence, whatever its requests say. All steps together keep one
budget.
"""

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateproof.budget import Budget, budget_of
from gateproof.capacity import (
    Ask,
    Search,
    Stop,
    find_knee,
    next_step,
    parse_search,
    replicas,
)
from gateproof.errors import TargetError, UsageError
from gateproof.falling import Step
from gateproof.goodput import cost, goodput, own_slos
from gateproof.growth import growth_of
from gateproof.latency import first_us
from gateproof.loadrun import LoadRun, budget_spent, run_load
from gateproof.measure import LoadSummary, read_generator
from gateproof.plan import LoadPlan
from gateproof.sample import NEVER, ErrorKind, read_samples

__all__ = [
    "SEARCH_FILE",
    "Found",
    "check_search",
    "has_room",
    "rest_of",
    "run_search",
    "search_of",
]

SEARCH_FILE: Final = "search.json"
_SCHEMA: Final = "gateproof.search/1"
_SLICES: Final = 5
_WARM_UP_SHARE: Final = 0.1  # of a step, in which its queue fills


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to: its JSON form, and why it ended."""

    summary: Mapping[str, Any]
    stop: Stop


def search_of(plan: LoadPlan) -> Search:
    """Give the search that a plan asks for; a goodput that the run was given goes before its."""
    search = parse_search(plan.search, f"{plan.scenario}, search")
    return search if plan.goodput is None else replace(search, goodput=plan.goodput)


def check_search(plan: LoadPlan) -> Search:
    """Refuse a search that cannot be meant, before anything is sent."""
    search = search_of(plan)
    if not any(plan.slos_by_work):
        raise UsageError(
            f"{plan.scenario} searches for the load at which the SLOs hold, and names none.",
            "Add [slos] to its file, or --slo ttft_ms=500.",
        )
    if plan.arrivals == "trace" or plan.is_open != (search.by == "rate"):
        wanted = "an open model" if search.by == "rate" else "the closed model"
        raise UsageError(
            f"{plan.scenario} searches by {search.by}, which needs {wanted}; its arrivals are "
            f"{plan.arrivals}.",
            'Change arrivals, or by = "rate" or "users" in [search].',
        )
    return search


def run_search(
    run: LoadRun,
    told: Callable[[str, Mapping[str, Any]], None] | None = None,
    rate_per_s: float | None = None,
    kept: Callable[[Mapping[str, Any]], None] | None = None,
) -> Found:
    """Search until the knee is found or nothing more can be; writes ``search.json``.

    ``told`` gets a line about the step and the generator's own progress, each second; ``kept`` what
    the search has found, whenever it is written. ``rate_per_s`` asks for replicas. A first step
    without any connection is a TargetError; after Ctrl-C what was found so far is written, and
    KeyboardInterrupt goes on.
    """
    search = check_search(run.plan)
    run.out_dir.mkdir(parents=True, exist_ok=True)
    (run.out_dir / "plan.json").write_text(run.plan.as_text(), "utf-8")
    steps: list[Step] = []
    whys: list[str] = []
    budget = budget_of(run.plan.budget, "The budget") if run.plan.budget else None

    def write(stop: Stop) -> Found:
        summary = _summary(run.plan, search, steps, whys, stop, rate_per_s)
        _write(summary, run.out_dir / SEARCH_FILE)
        if kept is not None:
            kept(summary)
        return Found(summary, stop)

    try:
        while isinstance(ask := next_step(search, steps), Ask):
            number = len(steps) + 1
            line = f"step {number}, {ask.level:g} {search.unit}, {ask.why}"
            folder = run.out_dir / f"step-{number:02d}"
            one = LoadRun(
                _step_plan(run.plan, search, ask, number, budget),
                folder,
                run.key_env,
                run.allowed_origins,
                calibrate=run.calibrate and number == 1,
                processes=run.processes,
            )
            try:
                summary = run_load(one, None if told is None else _teller(told, line))
            except TargetError as error:
                if not steps:
                    raise
                return write(Stop("unfinished", f"the target was gone: {error.message}"))
            spent = budget_spent(folder)
            if spent:
                return write(Stop("budget", f"the budget is spent: {spent}"))
            steps.append(_step(one, search, ask, summary))
            whys.append(ask.why)
            write(Stop("unfinished", "it is still under way"))
            budget = budget and rest_of(budget, one.out_dir, one.plan.prices)
            if budget is not None and not has_room(budget):
                return write(Stop("budget", "the budget is spent"))
    except KeyboardInterrupt:
        write(Stop("unfinished", "it was interrupted"))
        raise
    return write(ask)


def _teller(
    told: Callable[[str, Mapping[str, Any]], None], line: str
) -> Callable[[Mapping[str, Any]], None]:
    return lambda row: told(line, row)


def _step_plan(
    plan: LoadPlan, search: Search, ask: Ask, number: int, budget: Budget | None
) -> LoadPlan:
    """Give the plan of one step: a steady load at its level, with arrivals of its own."""
    level: dict[str, Any] = {"rate_per_s": ask.level, "users": None}
    if search.by == "users":
        level = {"rate_per_s": None, "users": round(ask.level)}
    return replace(
        plan,
        **level,
        stages=(),
        duration_s=ask.seconds,
        warm_up_s=ask.seconds * _WARM_UP_SHARE,
        cool_down_s=0.0,
        seed=(plan.seed + number) % 2**32,
        goodput=None,
        search={},
        budget=budget.as_table() if budget is not None else {},
    )


def _step(run: LoadRun, search: Search, ask: Ask, summary: LoadSummary) -> Step:
    """Judge a step by its samples."""
    plan = run.plan
    records = read_samples(run.out_dir).records
    start_ns = read_generator(run.out_dir).start_ns
    seconds = float(summary.window["to_s"]) - float(summary.window["from_s"])
    edges = start_ns + np.linspace(
        float(summary.window["from_s"]) * 1e9, float(summary.window["to_s"]) * 1e9, _SLICES + 1
    ).astype(np.int64)
    slices = []
    for from_ns, to_ns in pairwise(edges):
        rows = records[(records["due_ns"] >= from_ns) & (records["due_ns"] < to_ns)]
        judged = goodput(rows, plan, seconds)
        unended = int((rows["error"] == ErrorKind.UNFINISHED).sum())
        slices.append((int(judged["good"]), int(judged["n"]) + unended))
    by_rate = search.by == "rate"
    return Step(
        level=ask.level,
        n=sum(n for _, n in slices),
        good=sum(good for good, _ in slices),
        slices=tuple(slices),
        offered=len(records) / ask.seconds if by_rate else 0.0,
        growth=_growth(records, start_ns, edges) if by_rate else None,
        limited=_limited(summary),
        seconds=ask.seconds,
        folder=run.out_dir.name,
        figures=_figures(summary),
    )


def _growth(
    records: NDArray[np.void], start_ns: int, edges: NDArray[Any]
) -> tuple[float, float, float] | None:
    """Tell how fast waiting grew in a step: for the first output, or for answers in one piece."""
    rows = records[(records["due_ns"] >= edges[0]) & (records["due_ns"] < edges[-1])]
    first = first_us(rows)
    came = np.where(first == NEVER, rows["end_us"], first)
    seen = (rows["error"] == ErrorKind.NONE) & (came != NEVER)
    wait_s = (rows["sent_ns"] - rows["due_ns"])[seen] / 1e9 + came[seen] / 1e6
    return growth_of((rows["due_ns"][seen] - start_ns) / 1e9, wait_s)


def _limited(summary: LoadSummary) -> str:
    """Say why the generator was the bottleneck of a step; empty when it was not.

    A run is invalid as well when nothing was answered, which is the target's doing, and evidence.
    """
    verdict = summary.verdict
    if verdict["valid"]:
        return ""
    # The reasons that are about the generator stand last, one for each limit that is passed.
    passed = sum(not row["ok"] for row in verdict["limits"])
    reasons = list(verdict["reasons"])
    own = reasons[len(reasons) - passed :] if passed else []
    own += [reason for reason in reasons if "cut short" in reason]
    return str(own[0]).partition(": the generator was a bottleneck")[0] if own else ""


def _figures(summary: LoadSummary) -> dict[str, Any]:
    """Give what a reader wants to see of a step."""
    ttft = summary.metrics["ttft_from_due_ms"]
    e2e = summary.metrics["e2e_from_due_ms"]
    return {
        "ttft_p50_ms": ttft.p50,
        "ttft_p95_ms": ttft.p95,
        "ttft_p99_ms": ttft.p99,
        "e2e_p95_ms": e2e.p95,
        "answered_per_s": summary.rates["answered_per_s"],
        "tokens_per_s": summary.rates["tokens_per_s"],
        "failed": summary.requests["failed"],
        "unfinished": summary.requests["unfinished"],
        "lag_p99_ms": summary.generator["lag_ms"]["p99"],
    }


def rest_of(budget: Budget, folder: Path, prices: Mapping[str, float]) -> Budget:
    """Take off a budget what the run in a folder has spent."""
    records = read_samples(folder).records
    tokens = sum(
        int(records[name][records[name] != NEVER].sum(dtype=np.int64))
        for name in ("prompt_tokens", "completion_tokens")
    )
    usd = Decimal(cost(records, prices)["usd"] or 0)
    return Budget(
        None if budget.requests is None else budget.requests - len(records),
        None if budget.tokens is None else budget.tokens - tokens,
        None if budget.usd is None else budget.usd - usd,
    )


def has_room(budget: Budget) -> bool:
    """Tell whether anything may still be spent."""
    return all(part is None or part > 0 for part in (budget.requests, budget.tokens, budget.usd))


def _summary(
    plan: LoadPlan,
    search: Search,
    steps: Sequence[Step],
    whys: Sequence[str],
    stop: Stop,
    rate_per_s: float | None,
) -> dict[str, Any]:
    """Give all that a search has found, as plain JSON types."""
    knee = find_knee(search, steps, stop)
    answer = None if rate_per_s is None else replicas(search, knee, rate_per_s)
    headline = knee.says if answer is None else f"{knee.says} {answer.says}"
    rows = [
        {
            **asdict(step),
            "share": step.good / step.n if step.n else None,
            "grows": step.grows,
            "served": step.served,
            "why": why,
        }
        for step, why in zip(steps, whys, strict=True)
    ]
    return {
        "schema": _SCHEMA,
        "headline": headline,
        "scenario": plan.scenario,
        "target": plan.target,
        "model": plan.model,
        "arrivals": plan.arrivals,
        "slos": dict(plan.slos),
        "slos_by_work": own_slos(plan),
        "search": asdict(search),
        "unit": search.unit,
        "outcome": knee.outcome,
        "stopped": stop.why,
        "knee": knee.as_json(),
        "replicas": None if answer is None else asdict(answer),
        "notes": _notes(search, steps),
        "steps": json.loads(json.dumps(rows)),
    }


def _notes(search: Search, steps: Sequence[Step]) -> list[str]:
    """Say what a reader must know beside the knee."""
    notes = []
    if steps:
        shortest, longest = (pick(step.seconds for step in steps) for pick in (min, max))
        notes.append(
            f"Steps lasted {shortest:g} to {longest:g} s; that of a longer load is said as far as "
            "waiting grew in them."
        )
    held = sorted({step.level for step in steps if _would_hold(search, step)})
    if held:
        levels = ", ".join(f"{level:g}" for level in held)
        notes.append(
            f"At {levels} {search.unit} the SLOs held to the end of a step, but waiting grew all "
            "the while: a longer load breaks there, and so it is judged."
        )
    late = sum(bool(step.limited) for step in steps)
    if late:
        notes.append(
            f"In {late} of {len(steps)} steps the generator was the bottleneck; they count for "
            "nothing."
        )
    return notes


def _would_hold(search: Search, step: Step) -> bool:
    """Tell whether only its growth speaks against a step."""
    held = step.n > 0 and step.good / step.n >= search.goodput
    return held and step.grows and not step.limited


def _write(summary: Mapping[str, Any], path: Path) -> None:
    """Write the search, whole or not at all."""
    part = path.with_suffix(".part")
    text = json.dumps({**summary, "written_at_ns": time.time_ns()}, indent=1)
    part.write_text(text + "\n", encoding="utf-8")
    with contextlib.suppress(FileNotFoundError):
        part.replace(path)
