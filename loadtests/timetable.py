"""When requests arrive in the open model: offsets from one start, drawn from a seed."""

import random
from collections.abc import Iterator
from typing import Final

from gateproof.errors import unknown_name

__all__ = ["ARRIVALS", "offsets"]

ARRIVALS: Final = ("poisson", "constant")


def offsets(kind: str, rate_per_s: float, seed: int) -> Iterator[int]:
    """Draw the arrival times (ns after the start): evenly, or with exponential gaps."""
    if kind not in ARRIVALS:
        raise unknown_name("kind of arrivals", kind, ARRIVALS)
    draw = random.Random(seed)  # noqa: S311  # a schedule to be drawn again, not a secret
    number, at_s = 0, 0.0
    while True:
        if kind == "constant":
            yield round(number * 1e9 / rate_per_s)
            number += 1
        else:
            at_s += draw.expovariate(rate_per_s)
            yield round(at_s * 1e9)
