"""Arrivals of the open model, judged by their due times alone."""

from itertools import islice, pairwise

import numpy as np
import pytest
from gateproof.loadtests.timetable import offsets
from hypothesis import given
from hypothesis import strategies as st

from gateproof.errors import UsageError
from gateproof.shape import Shape, Stage


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
    with pytest.raises(UsageError, match="Known: constant, gamma, poisson"):
        next(offsets("burst", 1.0, 1))


def test_gamma_gaps_follow_their_burstiness() -> None:
    """Gamma gaps have the mean of the rate and the variation that the burstiness says."""
    for burstiness in (0.25, 4.0):
        times = list(islice(offsets("gamma", 100.0, 3, burstiness=burstiness), 20_001))
        gaps = np.array([after - before for before, after in pairwise(times)]) / 1e9

        assert gaps.mean() == pytest.approx(0.01, rel=0.05)
        assert gaps.std() / gaps.mean() == pytest.approx(burstiness**-0.5, rel=0.05)


STAGES = (
    Stage(2.0, rate_per_s=50.0),
    Stage(4.0, rate_per_s=200.0, ramp=True),
    Stage(1.0, rate_per_s=0.0),
    Stage(3.0, rate_per_s=100.0),
    Stage(2.0, rate_per_s=0.0, ramp=True),
)


def test_constant_arrivals_follow_the_stages_exactly() -> None:
    """Even arrivals of a changing rate are as many as the area under it, in each stage."""
    times = np.array(list(offsets("constant", Shape(STAGES), 1))) / 1e9
    counts = np.histogram(times, [0, 2, 6, 7, 10, 12])[0]

    assert counts.tolist() == [100, 500, 0, 300, 100]
    assert float(times[200]) == pytest.approx(2 + 4 * (-50 + (50**2 + 75 * 100) ** 0.5) / 150)


def test_a_ramp_from_nothing_begins_at_once() -> None:
    """Even arrivals of a rate that grows from nothing come at the roots of their numbers."""
    times = list(offsets("constant", Shape([Stage(10.0, rate_per_s=20.0, ramp=True)]), 1))

    assert len(times) == 100
    assert [round(at / 1e6) for at in times[:5]] == [0, 1000, 1414, 1732, 2000]


@pytest.mark.parametrize("kind", ["poisson", "gamma"])
def test_random_arrivals_follow_the_stages(kind: str) -> None:
    """Arrivals mapped back by the area under the rate are the process of rate one again."""
    shape = Shape(STAGES)
    got: list[float] = []
    for seed in range(20):
        times = [at / 1e9 for at in offsets(kind, shape, seed)]
        assert times == sorted(times)
        got += (at for at in times if 2 <= at < 6)
    # The share of the ramp's arrivals that came by t, against the area under the ramp.
    since = np.sort(np.array(got)) - 2
    expected = (50 * since + 150 / 4 * since**2 / 2) / 500
    distance = np.abs(expected - np.arange(1, len(since) + 1) / len(since)).max()

    assert len(got) == pytest.approx(20 * 500, rel=0.04)
    assert distance < 1.36 / len(since) ** 0.5


def test_spans_tell_when_a_level_is_passed() -> None:
    """Each user of a closed load knows when it is among the users."""
    shape = Shape(
        [
            Stage(2.0, users=10, ramp=True),
            Stage(1.0, users=10),
            Stage(1.0, users=2),
            Stage(1.0, users=6),
        ]
    )

    assert shape.spans_above(0.5) == ((0.1, 5.0),)
    assert shape.spans_above(4.5) == ((0.9, 3.0), (4.0, 5.0))
    assert shape.spans_above(9.5) == ((1.9, 3.0),)
    assert shape.spans_above(10.5) == ()
    assert [shape.level(at_s) for at_s in (-1, 0, 1, 2.5, 3.5, 5)] == [0, 0, 5, 10, 2, 0]


# No rate between 0 and one arrival in 30 years, whose area is less than a float can tell from 0.
RATES = st.just(0.0) | st.floats(1e-9, 1e5)


@given(st.lists(st.tuples(st.floats(0.01, 1e4), RATES, st.booleans()), min_size=1, max_size=6))
def test_every_area_is_reached_in_order(rows: list[tuple[float, float, bool]]) -> None:
    """Whatever the stages, times grow, lie inside them, and come where the level is above 0."""
    shape = Shape([Stage(for_s, rate_per_s=rate, ramp=ramp) for for_s, rate, ramp in rows])
    times = list(islice(shape.times_of(map(float, range(10**9))), 200))

    assert times == sorted(times)
    assert all(0 <= at_s <= shape.length_s for at_s in times)
    assert bool(times) == (shape.most > 0)
    if times:  # the first is due as soon as there is a rate at all
        assert times[0] == next(from_s for from_s, _ in shape.spans_above(0.0))
