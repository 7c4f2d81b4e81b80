"""When requests arrive in the open model: offsets from one start, drawn or replayed.

Strategy: draw a process of rate one, then map its times through the inverse of the area under the
wanted rate. For even, Poisson and gamma gaps that is exact at any shape, also while the rate
changes, and a steady rate does not drift. A trace is replayed as it was recorded, faster or slower
by a factor.
"""

import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

from gateproof.errors import unknown_name
from gateproof.plan import LoadPlan, place_of
from gateproof.shape import Shape
from gateproof.trace import read_trace

__all__ = ["PROCESSES", "Arrival", "arrivals", "offsets"]

Arrival = tuple[int, tuple[int, int] | None]
"""When a request is due (ns after the start), and the tokens of prompt and answer in a trace."""

PROCESSES: Final = ("constant", "gamma", "poisson")


def arrivals(plan: LoadPlan) -> Iterator[Arrival]:
    """Give all arrivals of a plan of the open model, in order."""
    if plan.arrivals == "trace":
        for row in read_trace(Path(place_of(plan.trace or "")), plan.trace_format or ""):
            yield round(row.at_ns / plan.speed), (row.prompt_tokens, row.output_tokens)
        return
    times = offsets(plan.arrivals, plan.shape, plan.seed, burstiness=plan.burstiness)
    for at_ns in times:
        yield at_ns, None


def offsets(kind: str, rate: Shape | float, seed: int, *, burstiness: float = 1.0) -> Iterator[int]:
    """Draw the arrival times (ns after the start); they end where the shape ends, if it does.

    ``burstiness`` is the shape of the gamma distribution of gaps: below 1 arrivals come in bursts,
    1 is Poisson, far above 1 they are even.
    """
    if kind not in PROCESSES:
        raise unknown_name("kind of arrivals", kind, PROCESSES)
    shape = rate if isinstance(rate, Shape) else Shape.steady(rate)
    for at_s in shape.times_of(_of_rate_one(kind, seed, burstiness)):
        yield round(at_s * 1e9)


def _of_rate_one(kind: str, seed: int, burstiness: float) -> Iterator[float]:
    """Draw the times of a process whose mean gap is one."""
    if kind == "constant":
        yield from map(float, count())
        return
    draw = random.Random(seed)  # noqa: S311  # a schedule to be drawn again, not a secret
    at = 0.0
    while True:
        at += (
            draw.expovariate(1.0)
            if kind == "poisson"
            else draw.gammavariate(burstiness, 1 / burstiness)
        )
        yield at
