"""Histograms merge exactly, and a quantile is within half a per cent of the true one."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateproof.errors import UsageError
from gateproof.histogram import RELATIVE_ERROR, Histogram, bounds_ns, bucket_of

TIMES = st.lists(st.integers(0, 2**62) | st.integers(0, 10**7), min_size=1, max_size=60)


def _of(times: list[int]) -> Histogram:
    made = Histogram()
    for ns in times:
        made.add(ns)
    return made


@given(TIMES, st.floats(0, 1))
def test_quantile_is_near_the_true_one(times: list[int], q: float) -> None:
    """Every quantile is within the stated share of the value of its rank."""
    wanted = sorted(times)[min(max(math.ceil(q * len(times)), 1), len(times)) - 1]
    got = _of(times).quantile(q)

    assert RELATIVE_ERROR <= 0.005
    assert got is not None
    assert abs(got - wanted) <= wanted * RELATIVE_ERROR


@given(st.lists(TIMES, min_size=1, max_size=5))
def test_merging_is_exact(parts: list[list[int]]) -> None:
    """Histograms of parts, merged in any order, are the histogram of all."""
    forth, back = Histogram(), Histogram()
    for part in parts:
        forth.merge(_of(part))
    for part in reversed(parts):
        back.merge(_of(part))
    whole = _of([ns for part in parts for ns in part])

    assert forth == whole
    assert back.to_bytes() == whole.to_bytes()


@given(TIMES)
def test_round_trips(times: list[int]) -> None:
    """Bytes and JSON bring back the same histogram, sum and ends included."""
    made = _of(times)

    assert Histogram.from_bytes(made.to_bytes()) == made
    assert Histogram.from_json(made.as_json()) == made
    assert (made.n, made.sum_ns, made.min_ns, made.max_ns) == (
        len(times), sum(times), min(times), max(times)
    )  # fmt: skip


@given(st.integers(0, 2**63 - 1))
def test_buckets_are_narrow_and_leave_no_gap(ns: int) -> None:
    """A time lies in its bucket, whose neighbour begins where it ends."""
    bucket = bucket_of(ns)
    low, high = bounds_ns(bucket)

    assert low <= ns < high
    assert high - low <= max(low >> 7, 1)
    assert bounds_ns(bucket + 1)[0] == high


def test_empty_has_no_quantile() -> None:
    """Without a time there is neither a quantile nor a mean, and it still travels."""
    empty = Histogram()

    assert (empty.quantile(0.5), empty.mean()) == (None, None)
    assert Histogram.from_bytes(empty.to_bytes()) == empty


def test_negative_time_counts_as_zero() -> None:
    """A time before its beginning, which only a clock's fault can give, counts as 0."""
    assert _of([-5]).as_json() == _of([0]).as_json()


@given(st.binary(max_size=80))
def test_foreign_bytes_are_refused(data: bytes) -> None:
    """Bytes that are no histogram raise a UsageError, and nothing else."""
    for tried in (data, b"GPH1" + data):
        with contextlib.suppress(UsageError):
            assert Histogram.from_bytes(tried).to_bytes() == tried


@pytest.mark.parametrize(
    "change",
    [
        {"sum": 10**12},
        {"min": 3},
        {"max": 5 * 10**9},
        {"buckets": [[5, -1]]},
        {"buckets": None},
        {"buckets": []},
        {"buckets": [[10**9, 1]]},
    ],
    ids=["sum", "min", "max", "negative", "none", "emptied", "beyond"],
)
def test_parts_that_do_not_fit_are_refused(change: dict[str, object]) -> None:
    """Counts, ends and sum must fit together: a worker's histogram is not believed blindly."""
    row = _of([1000, 2000, 3000]).as_json()

    with pytest.raises(UsageError, match="not a whole histogram"):
        Histogram.from_json({**row, **change})
