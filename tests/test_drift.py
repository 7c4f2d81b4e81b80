"""Drift over a run: found where it is, and quiet where nothing drifts."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gateproof.drift import DRIFT_SAYS, drift, least_squares, theil_sen
from gateproof.figures import Window
from gateproof.plan import LoadPlan, Stage
from gateproof.sample import NEVER, NO_COST, ErrorKind, sample_dtype

S = 10**9
PLAN = LoadPlan("soak", "poisson", "http://h/v1", "m", rate_per_s=5.0, warm_up_s=5.0)


def _records(
    seed: int,
    *,
    seconds: float = 305.0,
    rise: float = 0.0,
    pace_rise: float = 0.0,
    failures: tuple[float, float] = (0.02, 0.02),
    stalls: bool = False,
) -> NDArray[np.void]:
    """Make a run of 5 requests/s with scattered latencies; a rise is of the whole, by its end.

    ``failures`` is their share at the beginning and at the end; ``stalls`` makes every request of
    some ten seconds slow.
    """
    chance = np.random.default_rng(seed)
    due_s = np.cumsum(chance.exponential(0.2, round(seconds * 5 * 1.2)))
    due_s = due_s[due_s < seconds]
    n, part = len(due_s), due_s / seconds
    rows = np.zeros(n, sample_dtype())
    ttft_ms = chance.lognormal(4.0, 0.4, n) * (1 + rise * part)
    if stalls:
        ttft_ms[(due_s > 280) & (due_s < 290)] *= 30
    tokens = chance.integers(20, 60, n)
    itl_ms = chance.normal(15, 1.0, n) * (1 + pace_rise * part)
    rows["due_ns"] = rows["sent_ns"] = (due_s * S).astype(np.int64) + S
    for name in ("first_byte_us", "first_event_us", "first_token_us"):
        rows[name] = ttft_ms * 1e3
    rows["last_token_us"] = rows["end_us"] = (ttft_ms + itl_ms * (tokens - 1)) * 1e3
    rows["deltas"] = rows["completion_tokens"] = tokens
    rows["first_reasoning_us"] = rows["reasoning_tokens"] = rows["prompt_tokens"] = NEVER
    rows["cost_nano_usd"] = NO_COST
    low, high = failures
    failed = chance.random(n) < low + (high - low) * part
    rows["error"] = np.where(failed, ErrorKind.SERVER_ERROR, ErrorKind.NONE)
    return rows


def _drift(records: NDArray[np.void], seconds: float = 305.0, plan: LoadPlan = PLAN) -> Any:
    return drift(
        records, Window(S, 6 * S, round((1 + seconds) * S), round((1 + seconds) * S)), plan
    )


def test_a_steady_run_is_quiet() -> None:
    """Each figure of a steady load is told to drift in no more of the runs than its level says."""
    runs = [_drift(_records(seed)) for seed in range(300)]
    alarms = {name: sum(run["figures"][name]["drifts"] for run in runs) for name in DRIFT_SAYS}

    assert max(alarms.values()) <= 9  # of 300, at 1 %: 3 in the mean, more than 9 never
    assert {run["intervals"] for run in runs} == {30}
    assert "no drift seen; one beyond these would have been: TTFT ±" in runs[0]["says"]


@pytest.mark.parametrize(
    ("name", "made", "share"),
    [
        pytest.param("ttft_ms", {"rise": 0.5}, 0.5 / 1.25, id="TTFT"),
        pytest.param("itl_ms", {"pace_rise": 0.2}, 0.2 / 1.1, id="ITL"),
        pytest.param("e2e_ms", {"pace_rise": 0.5}, 0.35, id="end to end"),
    ],
)
def test_a_drift_is_found_and_measured(name: str, made: dict[str, Any], share: float) -> None:
    """A figure that rises over the run is told to, in nearly every run, and by how much."""
    runs = [_drift(_records(seed, **made)) for seed in range(40)]
    found = [run["figures"][name] for run in runs]

    assert sum(one["drifts"] for one in found) >= 38
    assert float(np.median([one["share"] for one in found])) == pytest.approx(share, rel=0.15)
    inside = [low <= share * 1.0 <= high for low, high in (one["share_ci"] for one in found)]
    assert sum(inside) >= 36
    assert " rises by " in runs[0]["says"]


def test_failures_that_come_late_are_found() -> None:
    """A share of failures that grows from 1 % to 15 % is told, in points and in no share of it."""
    runs = [_drift(_records(seed, failures=(0.01, 0.15))) for seed in range(20)]
    found = [run["figures"]["failed"] for run in runs]

    assert sum(one["drifts"] for one in found) >= 19
    assert found[0]["share"] is None
    assert float(np.median([one["over_run"] for one in found])) == pytest.approx(0.138, rel=0.2)


def test_one_bad_interval_is_no_drift() -> None:
    """Ten slow seconds near the end turn no slope of latencies."""
    told = [_drift(_records(seed, stalls=True))["figures"]["ttft_ms"] for seed in range(40)]

    assert sum(one["drifts"] for one in told) <= 3


def test_neighbours_that_are_alike_widen_the_interval() -> None:
    """A wandering series without slope is told to drift about as rarely as an even one."""
    chance, x = np.random.default_rng(1), np.arange(30.0)
    alarms = {theil_sen: 0, least_squares: 0}
    for _ in range(400):
        noise = chance.normal(size=80)
        for place in range(1, 80):
            noise[place] += 0.4 * noise[place - 1]
        for fit in alarms:
            found = fit(x, noise[50:])
            alarms[fit] += found is not None and found.sure

    assert max(alarms.values()) <= 16  # 4 %; without it, one in twelve


def test_a_slope_is_that_of_the_line() -> None:
    """Points on a line give its slope, its height in the middle, and no doubt."""
    x = np.arange(12.0)
    for fit in (theil_sen, least_squares):
        found = fit(x, 3 * x + 1)
        assert found is not None
        assert (found.slope, found.low, found.high) == pytest.approx((3, 3, 3))
        assert (found.middle, found.sure) == (pytest.approx(17.5), True)
    assert theil_sen(x[:2], x[:2]) is None
    assert theil_sen(x[:4], x[:4]) is None  # too few to be sure of anything
    assert least_squares(x[:3], x[:3]) is None


def test_no_drift_of_what_was_not_to_be_steady() -> None:
    """A load in stages, a trace and a few seconds have no drift; too few answers are said."""
    records = _records(1)
    staged = LoadPlan("s", "poisson", "http://h", "m", stages=(Stage(9, rate_per_s=1.0),))

    assert _drift(records, plan=staged) is None
    assert _drift(records, plan=LoadPlan("s", "trace", "http://h", "m", trace="t")) is None
    assert _drift(records, seconds=30.0) is None
    few = _drift(records[::20], plan=PLAN)
    assert few["figures"] == {}
    assert few["says"].startswith("too short to tell of drift: ")
    assert _drift(records[:0])["intervals"] == 0


def test_rates_begin_when_answers_can_end() -> None:
    """Answers that are longer than the warm-up make no drift of the rate at its beginning."""
    records = _records(3)
    records["end_us"] += 6_000_000
    told = _drift(records)["figures"]
    records["end_us"][::40] += 200_000_000  # so long that little of the window is left

    assert told["answered_per_s"]["drifts"] is False
    assert told["answered_per_s"]["median"] == pytest.approx(4.9, rel=0.1)
    assert "answered_per_s" not in _drift(records)["figures"]
