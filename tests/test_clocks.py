"""Clocks of several hosts: what they show is compared, and all times are read on one of them."""

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateproof.clocks import Clock, Gauge, Reading, clock_id, clocks_told

MS = 10**6
S = 10**9
OWN, OTHER = b"o" * 16, b"t" * 16


def test_a_clock_has_one_name() -> None:
    """The name of this process' clock is the same each time."""
    assert clock_id() == clock_id()
    assert len(clock_id()) == 16


@given(
    ahead_ns=st.integers(-(2**60), 2**60),
    there_ns=st.integers(0, S),
    back_ns=st.integers(0, S),
)
def test_a_reading_holds_what_is_so(ahead_ns: int, there_ns: int, back_ns: int) -> None:
    """However uneven the ways there and back are, the clock is ahead as said, give or take."""
    gauge = Gauge(OWN)
    gauge.hear(7 * S, 7 * S + there_ns + ahead_ns, 7 * S + there_ns + back_ns, OTHER)
    (reading,) = gauge.readings()

    assert abs(reading.ahead_ns - ahead_ns) <= reading.within_ns + 1
    assert reading.within_ns <= (there_ns + back_ns) // 2 + 1
    assert gauge.theirs(9 * S) == 9 * S + reading.ahead_ns


def test_the_shortest_way_counts() -> None:
    """Of several looks within a stretch the closest is kept; before the first nothing is known."""
    gauge = Gauge(OWN)
    nothing = gauge.readings(), gauge.theirs(5)
    for way_ns in (8 * MS, MS, 30 * MS):
        gauge.hear(0, 500 * S + way_ns, way_ns, OTHER)

    assert nothing == ([], None)
    assert gauge.readings() == [Reading(500 * S + MS, 500 * S + MS // 2, MS // 2)]
    assert gauge.heard == 3


@pytest.mark.parametrize(
    ("clock", "ahead_ns", "shifted"),
    [(OWN, 0, 0), (OWN, MS // 2, 0), (OWN, 3 * S, 3 * S), (OTHER, MS // 2, MS // 2)],
    ids=["ours", "ours, looked at a little later", "a copy of our host", "another host"],
)
def test_our_own_clock_is_not_shifted(clock: bytes, ahead_ns: int, shifted: int) -> None:
    """A clock of our name that shows our time is ours; a copied host has the name alone."""
    gauge = Gauge(OWN)
    gauge.hear(S, S + ahead_ns, S, clock)

    assert [reading.ahead_ns for reading in gauge.readings()] == [shifted]


def test_a_late_answer_bends_nothing() -> None:
    """A look that the drift of clocks cannot make better than its neighbours is left out."""
    gauge = Gauge(OWN)
    for second, way_ns, ahead_ns in ((5, MS, 0), (15, 200 * MS, MS), (25, MS, 2 * MS)):
        gauge.hear(second * S, second * S + way_ns + ahead_ns, second * S + way_ns, OTHER)

    assert [reading.at_ns // S for reading in gauge.readings()] == [5, 25]


def test_scatter_is_no_drift() -> None:
    """Answers that one difference of the clocks agrees with are one reading, and a closer one."""
    gauge = Gauge(OWN)
    for second, ahead_ns in ((5, 0), (15, 600_000), (25, 200_000)):
        gauge.hear(second * S - MS, second * S + ahead_ns, second * S + MS, OTHER)

    assert gauge.readings() == [Reading(25 * S + 200_000, 300_000, 700_000)]


def test_a_long_run_keeps_few_readings() -> None:
    """A week of looks at a drifting clock is kept in few readings, and followed all the same."""
    gauge = Gauge(OWN)
    for second in range(0, 7 * 86_400, 5):
        at_ns = second * S
        gauge.hear(at_ns, at_ns + at_ns // 50_000, at_ns, OTHER)  # 20 ppm
    readings = gauge.readings()
    clock = Clock(tuple((one.at_ns, one.ahead_ns) for one in readings))
    middle_ns = 3 * 86_400 * S

    assert 100 < len(readings) <= 256
    assert abs(clock.common(middle_ns + middle_ns // 50_000) - middle_ns) < MS


CLOCK = Clock(((100 * S, 50 * S), (200 * S, 51 * S), (300 * S, 51 * S)))


@pytest.mark.parametrize(
    ("at_s", "common_s"),
    [(90, 40), (100, 50), (150, 99.5), (200, 149), (250, 199), (999, 948)],
)
def test_times_are_read_on_the_common_clock(at_s: float, common_s: float) -> None:
    """Between readings a clock drifts evenly, outside of them not; one time and many agree."""
    at_ns = np.array([at_s * S], np.int64)

    assert CLOCK.common(round(at_s * S)) == common_s * S
    assert (at_ns + CLOCK.shift(at_ns)).tolist() == [common_s * S]


def test_a_clock_without_readings_is_the_common_one() -> None:
    """Nothing is shifted where there is nothing to compare, and by one amount after one look."""
    at_ns = np.array([7, 9], np.int64)

    assert (Clock().common(7), Clock().shift(at_ns)) == (7, 0)
    assert (Clock(((5, 3),)).common(7), Clock(((5, 3),)).shift(at_ns)) == (4, -3)


def test_clocks_are_told_as_they_were_read() -> None:
    """The rows of workers.json give the clocks of its workers; without it there are none."""
    rows = [asdict(Reading(200, 7, 1)), asdict(Reading(100, 5, 1))]

    assert clocks_told({"clocks": {"w1": rows}}) == {"w1": Clock(((100, 5), (200, 7)))}
    assert (clocks_told(None), clocks_told({"expected": 2})) == ({}, {})
