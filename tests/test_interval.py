"""Confidence intervals cover the truth as often as they say."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateproof.interval import (
    batches,
    binomial_ranks,
    quantile_interval,
    share_interval,
)


@settings(max_examples=60)
@given(st.integers(1, 60), st.sampled_from([0.05, 0.5, 0.9, 0.95]))
def test_ranks_are_those_of_the_binomial(n: int, share: float) -> None:
    """The ranks leave at most 2.5 % on either side, and one rank closer would leave more."""
    chance = [math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1)]
    lower = max((r for r in range(1, n + 1) if sum(chance[:r]) <= 0.025), default=0)
    upper = min((r for r in range(1, n + 1) if sum(chance[r:]) <= 0.025), default=n + 1)

    wanted = (lower, upper) if lower >= 1 and upper <= n else None
    assert binomial_ranks(n, share) == wanted


@pytest.mark.parametrize(("share", "least"), [(0.5, 6), (0.9, 36), (0.95, 72), (0.99, 368)])
def test_too_few_values_have_no_interval(share: float, least: int) -> None:
    """An interval is given from the first n on that can hold 95 %."""
    assert binomial_ranks(least, share) is not None
    assert binomial_ranks(least - 1, share) is None


def test_ranks_of_a_million() -> None:
    """Large n stay exact enough: the ranks of a median are 1.96 standard deviations around it."""
    got = binomial_ranks(10**6, 0.5)

    assert got is not None
    assert got == pytest.approx((500_000 - 980, 500_000 + 980), abs=2)


def _coverage(share: float, *, luck: float, runs: int = 200) -> float:
    """Give how often the interval of gaps holds the truth; each stream has a luck of its own."""
    random = np.random.default_rng(7)
    hits = 0
    truth = float(
        np.quantile(
            np.exp(luck * random.normal(size=400_000) + 0.3 * random.normal(size=400_000)), share
        )
    )
    for _ in range(runs):
        own = np.repeat(random.normal(size=80), 25)
        values = np.exp(luck * own + 0.3 * random.normal(size=2000))
        sizes = np.full(80, 25)
        got = quantile_interval(values, np.sort(values), share, [sizes], independent=False)
        assert got is not None
        hits += got[0] <= truth <= got[1]
    return hits / runs


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("luck", [0.0, 0.5], ids=["alike", "own luck"])
def test_grouped_interval_covers(share: float, luck: float) -> None:
    """The interval over streams covers about 95 %, however alike the gaps of one stream are."""
    assert _coverage(share, luck=luck) >= 0.89  # three standard errors below the least of them


def test_binomial_interval_would_be_too_narrow() -> None:
    """Gaps that share their stream's luck have a wider interval than as many independent ones."""
    random = np.random.default_rng(3)
    values = np.exp(np.repeat(random.normal(size=80), 25) + 0.1 * random.normal(size=2000))
    ordered = np.sort(values)
    alone = quantile_interval(values, ordered, 0.5)
    grouped = quantile_interval(values, ordered, 0.5, [np.full(80, 25)], independent=False)

    assert alone is not None
    assert grouped is not None
    assert grouped[1] - grouped[0] > 2 * (alone[1] - alone[0])


def test_values_that_drift_have_a_wider_interval() -> None:
    """Requests that share a slow wave are not counted as independent."""
    random = np.random.default_rng(5)
    wave = np.sin(np.arange(2000) / 150)
    values = 100 + 20 * wave + random.normal(size=2000)
    ordered = np.sort(values)
    drifting = quantile_interval(values, ordered, 0.5, [batches(2000)])
    mixed = random.permutation(values)
    alone = quantile_interval(mixed, ordered, 0.5, [batches(2000)])

    assert drifting is not None
    assert alone is not None
    assert drifting[1] - drifting[0] > 2 * (alone[1] - alone[0])


def test_interval_of_values_that_remember_covers() -> None:
    """Values that each resemble the one before are covered nearly as often as independent ones."""
    random = np.random.default_rng(11)
    series = np.empty((200, 2000))
    series[:, 0] = random.normal(size=200)
    for place in range(1, 2000):
        fresh = random.normal(size=200) * math.sqrt(1 - 0.9**2)
        series[:, place] = 0.9 * series[:, place - 1] + fresh
    hits = 0
    for values in series:
        got = quantile_interval(values, np.sort(values), 0.5, [batches(2000)])
        assert got is not None
        hits += got[0] <= 0 <= got[1]

    assert hits / 200 >= 0.88  # binomial intervals alone cover 0.37 of them


def test_equal_values_are_sure() -> None:
    """When all values are the same, so are both ends."""
    values = np.full(2000, 20.0)

    assert quantile_interval(values, values, 0.5, [np.full(80, 25)], independent=False) == (20, 20)


def test_few_groups_have_no_interval() -> None:
    """Nine streams do not tell how streams vary."""
    values = np.arange(900.0)

    assert quantile_interval(values, values, 0.5, [np.full(9, 100)], independent=False) is None
    assert batches(99).size == 0


@pytest.mark.parametrize(
    ("good", "n", "wanted"),
    [(0, 0, None), (0, 10, (0.0, 0.2775)), (10, 10, (0.7225, 1.0)), (50, 100, (0.4038, 0.5962))],
)
def test_share_interval(good: int, n: int, wanted: tuple[float, float] | None) -> None:
    """Wilson's interval, as in its tables; never outside of 0 and 1."""
    got = share_interval(good, n)

    assert got == (wanted and pytest.approx(wanted, abs=1e-4))
