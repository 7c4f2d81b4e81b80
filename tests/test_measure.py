"""The figures of a load run, from samples whose answers are known."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateproof.errors import UsageError
from gateproof.latency import METRIC_SAYS, distribution, spread
from gateproof.measure import LoadSummary, measure_folder
from gateproof.plan import parse_slos
from gateproof.sample import ErrorKind, Flag, LagWriter, Sample, SampleWriter

MS = 1_000_000
S = 1000 * MS
START = 50 * S

Change = Callable[[int, Sample], None]


def _run(
    folder: Path,
    change: Change = lambda _number, _sample: None,
    *,
    count: int = 200,
    tokens: int = 5,
    plan: dict[str, Any] | None = None,
    lag_ms: float = 0.1,
    cpu: float = 0.2,
    stop: bool = True,
) -> LoadSummary:
    """Write and measure ten seconds: 20 requests/s, sent 1 ms late, TTFT 100 ms, 20 ms a token."""
    writer, lag = SampleWriter(folder, "7"), LagWriter(folder, "7")
    for number in range(count):
        due = START + number * 50 * MS
        sent = due + MS
        stamps = [sent + (100 + 20 * index) * MS for index in range(tokens)]
        sample = Sample(due_ns=due, sent_ns=sent, status=200, completion_tokens=tokens)
        sample.first_byte_ns = sample.first_event_ns = sent + 90 * MS
        sample.first_token_ns, sample.last_token_ns = stamps[0], stamps[-1]
        sample.end_ns = stamps[-1] + 5 * MS
        change(number, sample)
        writer.add(sample, stamps)
    for tick in range(1000):
        lag.add(START + tick * 10 * MS, round(lag_ms * MS))
    writer.close()
    lag.close()
    asked = {"scenario": "chat-open", "arrivals": "constant", "target": "http://h/v1", "model": "m"}
    asked |= {"warm_up_s": 1.0, **(plan or {})}
    rows: list[dict[str, Any]] = [{"kind": "start", "at_ns": START, "wall_ns": S, "plan": asked}]
    rows += [
        {"kind": "tick", "at_ns": START + s * S, "cpu_ns": round(s * S * cpu), "rss_kb": 51200}
        for s in range(11)
    ]
    if stop:
        rows.append({"kind": "stop", "at_ns": START + 10 * S})
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "generator.7.jsonl").write_text(text + '{"kind": "ti')
    return measure_folder(folder)


def test_known_run(tmp_path: Path) -> None:
    """A regular run gives the figures that it was made of."""
    got = _run(tmp_path)

    p50 = {name: got.metrics[name].p50 for name in METRIC_SAYS}
    assert p50 == {
        "ttft_ms": 100.0,
        "ttft_from_due_ms": 101.0,
        "content_ms": 100.0,
        "first_byte_ms": 90.0,
        "first_event_ms": 90.0,
        "gap_ms": 20.0,
        "itl_ms": 20.0,
        "tpot_ms": 20.0,
        "e2e_ms": 185.0,
        "e2e_from_due_ms": 186.0,
        "wait_ms": 1.0,
        "connect_ms": None,
        "stream_tokens_per_s": 50.0,
    }
    assert (got.requests["due"], got.requests["clean"], got.requests["warm_up"]) == (180, 180, 20)
    assert (got.rates["due_per_s"], got.rates["answered_per_s"]) == (20.0, 20.0)
    assert got.rates["tokens_per_s"] == pytest.approx(100.0, rel=0.01)
    assert (got.verdict["valid"], got.verdict["reasons"]) == (True, [])
    assert got.metrics["gap_ms"].n == 180 * 4


def test_summary_is_json(tmp_path: Path) -> None:
    """The summary is made of plain JSON types and names its schema first."""
    got = _run(tmp_path).as_json()

    assert json.loads(json.dumps(got, allow_nan=False)) == got
    assert next(iter(got.items())) == ("schema", "gateproof.load/1")


def test_series_spans_the_run(tmp_path: Path) -> None:
    """The series has a bin per second, warm-up included."""
    series = _run(tmp_path).series

    assert series["due_per_s"] == [20.0] * 10
    assert {len(values) for name, values in series.items() if name != "bin_s"} == {10}
    assert set(series["ttft_p50_ms"]) == {100.0}
    assert series["active"][5] in {3, 4}


def test_several_tokens_in_an_event(tmp_path: Path) -> None:
    """When usage counts four tokens an event, ITL and TPOT are per token; the gap is as seen."""

    def four(_number: int, sample: Sample) -> None:
        sample.completion_tokens = 64

    got = _run(tmp_path, four, tokens=16)

    assert (got.metrics["gap_ms"].p50, got.metrics["itl_ms"].p50) == (20.0, 4.7619)
    assert got.metrics["tpot_ms"].p50 == 4.7619
    assert got.tokens["differ"] == 180


def test_hidden_reasoning_is_no_output(tmp_path: Path) -> None:
    """Reasoning tokens that usage counts but the stream does not show change no TPOT."""

    def hidden(_number: int, sample: Sample) -> None:
        sample.completion_tokens, sample.reasoning_tokens = 105, 100

    assert _run(tmp_path, hidden).metrics["tpot_ms"].p50 == 20.0


def test_reasoning_first_gives_both_times(tmp_path: Path) -> None:
    """TTFT is the first token of any kind; the first content is told apart."""

    def reasons(_number: int, sample: Sample) -> None:
        sample.first_reasoning_ns, sample.first_token_ns = sample.first_token_ns, sample.end_ns

    got = _run(tmp_path, reasons)

    assert (got.metrics["ttft_ms"].p50, got.metrics["content_ms"].p50) == (100.0, 185.0)


def test_failures_are_counted_by_kind(tmp_path: Path) -> None:
    """A failed request is in no latency; findings make an answer flawed; the rest is clean."""

    def spoil(number: int, sample: Sample) -> None:
        if number % 10 == 0:
            sample.error, sample.status = ErrorKind.RATE_LIMITED, 429
        elif number % 10 == 1:
            sample.error = ErrorKind.IN_BAND_ERROR
        elif number % 10 == 2:
            sample.flags = Flag.NO_DONE | Flag.REUSED

    got = _run(tmp_path, spoil)

    counts = {name: got.requests[name] for name in ("due", "answered", "clean", "flawed", "failed")}
    assert counts == {"due": 180, "answered": 144, "clean": 126, "flawed": 18, "failed": 36}
    errors = [(row["kind"], row["count"], row["statuses"]) for row in got.errors]
    assert errors == [("rate-limited", 18, {"429": 18}), ("in-band-error", 18, {"200": 18})]
    assert [(row["kind"], row["count"]) for row in got.findings] == [("no-done", 18)]
    assert got.metrics["ttft_ms"].n == 144


def test_goodput_counts_requests_inside_all_slos(tmp_path: Path) -> None:
    """Goodput is judged from due; a failed request is outside, an unfinished one is not counted."""

    def mix(number: int, sample: Sample) -> None:
        if number % 4 == 0:
            sample.sent_ns += 30 * MS
            sample.first_token_ns += 30 * MS
        elif number % 4 == 1:
            sample.error = ErrorKind.CUT
        elif number % 4 == 2:
            sample.error = ErrorKind.UNFINISHED

    got = _run(tmp_path, mix, plan={"slos": {"ttft_ms": 120, "e2e_ms": 1000}})

    assert got.goodput == {
        "slos": {"ttft_ms": 120, "e2e_ms": 1000},
        "n": 135,
        "good": 45,
        "share": 0.333333,
        "per_s": 5.0,
        "missed": {"ttft_ms": 90, "e2e_ms": 45},
    }


def _cut(_number: int, sample: Sample) -> None:
    sample.error = ErrorKind.CUT


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"lag_ms": 9.0}, "loop lag p99 is 9 ms, over its limit of 5"),
        ({"cpu": 0.97}, "CPU of the busiest worker is 0.97 cores"),
        ({"stop": False}, "cut short"),
        ({"count": 10}, "before a request was due"),
        ({"change": _cut}, "no request was answered"),
    ],
    ids=["lag", "cpu", "cut-short", "nothing due", "nothing answered"],
)
def test_generator_in_the_way_is_invalid(tmp_path: Path, how: dict[str, Any], reason: str) -> None:
    """A run whose generator was late, out of CPU or cut short says so and is invalid."""
    got = _run(tmp_path, **how)

    assert not got.valid
    assert reason in " ".join(got.verdict["reasons"])


def test_late_sends_are_invalid_unless_a_cap_delayed_them(tmp_path: Path) -> None:
    """Requests that the generator sent late make the run invalid; those a cap delayed are noted."""

    def late(_number: int, sample: Sample) -> None:
        sample.due_ns -= 30 * MS

    def capped(number: int, sample: Sample) -> None:
        late(number, sample)
        sample.flags = Flag.DELAYED

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    by_generator, by_cap = _run(tmp_path / "a", late), _run(tmp_path / "b", capped)

    assert "late sends p99 is 31 ms" in by_generator.verdict["reasons"][0]
    assert by_cap.valid
    assert "The cap on concurrency delayed 179 of 179" in by_cap.notes[0]


def test_cost_is_exact(tmp_path: Path) -> None:
    """Costs are summed as whole nano-dollars and written as a decimal."""

    def cost(_number: int, sample: Sample) -> None:
        sample.cost_nano_usd = 285_000

    assert _run(tmp_path, cost).cost_usd == "0.057000000"


@pytest.mark.parametrize(
    ("n", "given"),
    [(0, ""), (1, "p50"), (10, "p50 p90"), (99, "p50 p90 p95"), (100, "p50 p90 p95 p99")],
)
def test_percentiles_need_samples(n: int, given: str) -> None:
    """A percentile is given only when a sample is expected beyond it."""
    got = spread(np.arange(n))

    names = [
        name for name in ("p50", "p90", "p95", "p99", "p999") if getattr(got, name) is not None
    ]
    assert " ".join(names) == given


def test_distribution_holds_every_value() -> None:
    """The histogram counts each value once, and the CDF ends at the maximum."""
    got = distribution(np.array([0.5, 1.0, 2.0, 1000.0]))

    assert (sum(got["histogram"]["counts"]), got["cdf"][-1]) == (4, [1000.0, 1.0])


def test_slos_are_read() -> None:
    """SLOs come as name=milliseconds; a wrong name is answered with the valid ones."""
    assert parse_slos("ttft_ms=500, e2e_ms=3000") == {"ttft_ms": 500.0, "e2e_ms": 3000.0}
    with pytest.raises(UsageError, match="Known: content_ms, e2e_ms, tpot_ms, ttft_ms"):
        parse_slos("ttft=500")
    with pytest.raises(UsageError, match="needs a number"):
        parse_slos("ttft_ms=soon")


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    """A folder without a run is answered with what to do."""
    with pytest.raises(UsageError, match="holds no load run"):
        measure_folder(tmp_path)
