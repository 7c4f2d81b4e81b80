"""How fast waiting grows within one step of a capacity search: what a longer load would come to.

Strategy: while a queue grows, a request that is due a second later waits longer by the same part of
a second, each time: as much as arrivals exceed what is served. So the slope of the wait over a step
(a plain number: seconds a second) tells what load the target really carried, whatever the SLO still
allows at the end of so short a step.

Rules. The slope is that of the medians of equal times of the step, by least squares, with a 95 %
interval that allows for what neighbours have in common. Too few requests tell nothing.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateproof.drift import least_squares

__all__ = ["growth_of"]

_PARTS: Final = 10
_LEAST: Final = 3  # requests of a part, in the mean
_Z: Final = 1.959964  # of the normal distribution, 95 % in the middle


def growth_of(
    due_s: Sequence[float] | NDArray[Any], wait_s: Sequence[float] | NDArray[Any]
) -> tuple[float, float, float] | None:
    """Give the slope of the wait over time with the ends of its interval; None where none is.

    Both are of the same requests, in the order of due.
    """
    due, wait = np.asarray(due_s, np.float64), np.asarray(wait_s, np.float64)
    if len(due) < _PARTS * _LEAST or due[-1] <= due[0]:
        return None
    cuts = np.searchsorted(due, np.linspace(due[0], due[-1], _PARTS + 1)[1:-1])
    parts = [
        (float(np.median(at)), float(np.median(took)))
        for at, took in zip(np.split(due, cuts), np.split(wait, cuts), strict=True)
        if len(at)
    ]
    x, y = np.array(parts).T
    found = least_squares(x, y, _Z)
    return None if found is None else (found.slope, found.low, found.high)
