"""Arrivals of the open model, judged by their due times alone."""

from itertools import islice, pairwise

import numpy as np
import pytest
from gateproof.loadtests.prompts import Prompts
from gateproof.loadtests.timetable import offsets

from gateproof.errors import UsageError


def test_constant_arrivals_are_even() -> None:
    """Constant arrivals do not drift: the n-th is due at n divided by the rate."""
    got = list(islice(offsets("constant", 400.0, 1), 4001))

    assert (got[1], got[4000]) == (2_500_000, 10_000_000_000)


def test_poisson_gaps_are_exponential() -> None:
    """Poisson gaps have the mean of the rate, variation one, and the exponential distribution."""
    times = list(islice(offsets("poisson", 100.0, 7), 20_001))
    gaps = np.sort(np.array([after - before for before, after in pairwise(times)]) / 1e9)
    expected = 1 - np.exp(-100.0 * gaps)
    distance = np.abs(expected - np.arange(1, len(gaps) + 1) / len(gaps)).max()

    assert gaps.mean() == pytest.approx(0.01, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, rel=0.03)
    assert distance < 1.36 / len(gaps) ** 0.5  # Kolmogorov-Smirnov at 5 %


def test_arrivals_are_drawn_from_the_seed() -> None:
    """The same seed gives the same arrivals, another seed others."""
    first, again, other = (list(islice(offsets("poisson", 5.0, seed), 9)) for seed in (1, 1, 2))

    assert first == again
    assert first != other


def test_unknown_arrivals_are_refused() -> None:
    """A wrong kind is answered with the valid ones."""
    with pytest.raises(UsageError, match="Known: constant, poisson"):
        next(offsets("burst", 1.0, 1))


def test_prompts_are_alike_and_marked() -> None:
    """Bodies of a seed have one length, differ, and can be made again and found by their mark."""
    prompts, again = (Prompts("m", seed=3, words=20, max_tokens=5) for _ in range(2))
    bodies = [prompts.body(number) for number in range(200)]

    assert {len(body) for body in bodies} == {prompts.length}
    assert len(set(bodies)) == 200
    assert bodies == [again.body(number) for number in range(200)]
    assert prompts.reference(7).encode() in bodies[7]
