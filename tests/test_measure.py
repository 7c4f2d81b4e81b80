"""The figures of a load run, from samples whose answers are known.

Long, because every figure is read off the same run, each time with one thing changed.
"""

import json
import struct
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateproof.errors import UsageError
from gateproof.histogram import Histogram
from gateproof.latency import METRIC_SAYS
from gateproof.loadtext import load_lines
from gateproof.measure import LoadSummary, measure_folder, merged
from gateproof.plan import parse_slos
from gateproof.sample import ErrorKind, Flag, LagWriter, Sample, SampleWriter
from gateproof.spread import distribution, histogram_of, spread

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
    by_kernel: bool = False,
    worker: str = "7",
    streams: Callable[[int], bool] = lambda _number: True,
    stamps: Callable[[int, list[int]], list[int]] = lambda _number, times: times,
) -> LoadSummary:
    """Write and measure ten seconds: 20 requests/s, sent 1 ms late, TTFT 100 ms, 20 ms a token."""
    writer, lag = SampleWriter(folder, worker), LagWriter(folder, worker)
    for number in range(count):
        due = START + number * 50 * MS
        sent = due + MS
        times = [sent + (100 + 20 * index) * MS for index in range(tokens)]
        sample = Sample(due_ns=due, sent_ns=sent, status=200, completion_tokens=tokens)
        sample.first_byte_ns = sample.first_event_ns = sent + 90 * MS
        sample.first_token_ns, sample.last_token_ns = times[0], times[-1]
        sample.end_ns = times[-1] + 5 * MS
        change(number, sample)
        writer.add(sample, stamps(number, times) if streams(number) else [])
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
    words = {"kind": "words", "at_ns": START + 10 * S, "learned": []}
    rows.append(words | {"by_kernel": by_kernel})
    if stop:
        rows.append({"kind": "stop", "at_ns": START + 10 * S})
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / f"generator.{worker}.jsonl").write_text(text + '{"kind": "ti')
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
        "after_first_byte_ms": 10.0,
        "reasoning_ms": None,
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
    assert got.rates["in_flight"] == pytest.approx(20 * 0.185, rel=0.01)  # Little's law
    assert got.rates["tokens_per_s"] == pytest.approx(100.0, rel=0.01)
    assert (got.verdict["valid"], got.verdict["reasons"]) == (True, [])
    assert got.metrics["gap_ms"].n == 180 * 4


def test_summary_is_json(tmp_path: Path) -> None:
    """The summary is made of plain JSON types, names its schema first, and keeps to it."""
    work = [{"kind": "chat-stream"}, {"kind": "chat"}]
    got = _run(tmp_path, plan={"work": work, "slos": {"ttft_ms": 99.0}}).as_json()
    text = (files("gateproof.reports") / "schemas" / "load.schema.json").read_text("utf-8")
    jsonschema.Draft202012Validator(json.loads(text)).validate(got)

    assert json.loads(json.dumps(got, allow_nan=False)) == got
    assert next(iter(got.items())) == ("schema", "gateproof.load/1")


def test_series_spans_the_run(tmp_path: Path) -> None:
    """The series has a bin per second, warm-up included."""
    series = _run(tmp_path, plan={"rate_per_s": 20.0}).series

    assert series["planned"] == [20.0] * 10
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
        "by_work": {},
        "n": 135,
        "good": 45,
        "share": 0.333333,
        "ci": [0.259397, 0.416492],
        "per_s": 5.0,
        "missed": {"ttft_ms": 90, "e2e_ms": 45},
    }


def test_goodput_counts_what_never_came_in_time(tmp_path: Path) -> None:
    """An arrival that was never sent, or cut off, is outside once it had waited beyond an SLO."""

    def held(number: int, sample: Sample) -> None:
        if number >= 150:
            sample.sent_ns, sample.error = sample.due_ns, ErrorKind.UNFINISHED
            sample.flags = Flag.DELAYED
            sample.first_byte_ns = sample.first_event_ns = sample.first_token_ns = 0
            sample.end_ns = START + 10 * S

    got = _run(tmp_path, held, plan={"slos": {"ttft_ms": 500}}, streams=lambda number: number < 150)
    assert got.goodput is not None

    # Those due in the last half second may still have come in time: they are not counted.
    assert (got.goodput["good"], got.goodput["n"]) == (130, 170)
    assert got.requests["never_sent"] == 50
    assert got.metrics["wait_ms"].n == 130


def test_each_work_is_held_to_its_own_slos(tmp_path: Path) -> None:
    """A work's own SLOs take the place of the plan's; one with none is not counted at all."""

    def third(number: int, sample: Sample) -> None:
        sample.work = number % 3

    work = [
        {"name": "slow", "slos": {"e2e_ms": 100}},
        {"name": "usual"},
        {"name": "free", "slos": {}},
    ]
    got = _run(tmp_path, third, plan={"work": work, "slos": {"ttft_ms": 500}})

    assert got.goodput == {
        "slos": {"ttft_ms": 500},
        "by_work": {"slow": {"e2e_ms": 100}, "usual": {"ttft_ms": 500}, "free": {}},
        "n": 120,
        "good": 60,
        "share": 0.5,
        "ci": [0.411939, 0.588061],
        "per_s": 6.6667,
        "missed": {"e2e_ms": 60, "ttft_ms": 0},
    }
    slow, usual, free = (one["goodput"] for one in got.works)
    assert (slow["slos"], slow["share"], usual["slos"], usual["share"], free) == (
        {"e2e_ms": 100}, 0.0, {"ttft_ms": 500}, 1.0, None,
    )  # fmt: skip
    text = "\n".join(load_lines(got.as_json()))
    assert "of 120 requests inside the SLOs of their work" in text
    assert (
        "slow: 60 of 60 answered, TTFT p50 100 ms, end to end p50 185 ms, 0.0% inside e2e" in text
    )
    text = (files("gateproof.reports") / "schemas" / "load.schema.json").read_text("utf-8")
    jsonschema.Draft202012Validator(json.loads(text)).validate(got.as_json())


def test_a_late_loop_is_no_matter_where_the_kernel_stamps(tmp_path: Path) -> None:
    """While reads come within half the gap between tokens, no two of them get one time."""
    got = _run(tmp_path, lag_ms=9.0, by_kernel=True)

    assert got.valid
    assert got.generator["by_kernel"]


def _cut(_number: int, sample: Sample) -> None:
    sample.error = ErrorKind.CUT


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"lag_ms": 9.0}, "loop lag p99 is 9 ms, over its limit of 5"),
        ({"lag_ms": 11.0, "by_kernel": True}, "loop lag p99 is 11 ms, over its limit of 10"),
        ({"cpu": 0.97}, "CPU of the busiest worker is 0.97 cores"),
        ({"stop": False}, "cut short"),
        ({"count": 10}, "before a request was due"),
        ({"change": _cut}, "no request was answered"),
    ],
    ids=["lag", "lag beyond half the ITL", "cpu", "cut-short", "nothing due", "nothing answered"],
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
        if number >= 190:  # as arrivals that were given up at the end are recorded
            sample.error, sample.sent_ns = ErrorKind.UNFINISHED, sample.due_ns

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    by_generator, by_cap = _run(tmp_path / "a", late), _run(tmp_path / "b", capped)

    assert "late sends p99 is 31 ms" in by_generator.verdict["reasons"][0]
    assert by_cap.valid
    assert "The cap on concurrency delayed 179 of 179" in by_cap.notes[0]
    assert "10 of them were never sent" in by_cap.notes[0]
    assert "still running" not in " ".join(by_cap.notes)


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


def test_works_are_told_apart(tmp_path: Path) -> None:
    """With two kinds of work each has its own figures; one in one piece has no TTFT to hold."""

    def mixed(number: int, sample: Sample) -> None:
        sample.work = number % 2
        sample.prompt_tokens = 10
        if sample.work:
            sample.first_token_ns = sample.last_token_ns = 0
            sample.end_ns = sample.sent_ns + 900 * MS

    plan = {
        "work": [{"kind": "chat-stream"}, {"kind": "chat", "name": "whole"}],
        "slos": {"ttft_ms": 500, "e2e_ms": 1000},
        "prices": {"prompt": 1.0, "completion": 2.5},
    }
    got = _run(tmp_path, mixed, plan=plan, streams=lambda number: number % 2 == 0)
    stream, whole = got.works

    assert [work["name"] for work in got.works] == ["chat-stream", "whole"]
    assert (stream["metrics"]["ttft_ms"].p50, whole["metrics"]["ttft_ms"].n) == (100.0, 0)
    assert (stream["metrics"]["e2e_ms"].p50, whole["metrics"]["e2e_ms"].p50) == (185.0, 900.0)
    assert [work["requests"]["answered"] for work in got.works] == [90, 90]
    assert [work["goodput"]["share"] for work in got.works] == [1.0, 1.0]
    assert stream["rates"]["tokens_per_s"] == pytest.approx(50, rel=0.02)
    assert whole["rates"]["tokens_per_s"] == pytest.approx(50, rel=0.07)
    assert got.cost["usd"] == "0.004500000"  # 200 x (10 x 1.0 + 5 x 2.5) millionths
    assert (got.cost["source"], got.cost["priced"], got.cost["unpriced"]) == ("prices", 200, 0)
    assert json.loads(json.dumps(got.as_json())) == got.as_json()


def test_cool_down_is_cut(tmp_path: Path) -> None:
    """Requests due in the last seconds are left out like those of the warm-up, and it is said."""
    got = _run(tmp_path, plan={"cool_down_s": 2.0})

    assert (got.requests["due"], got.requests["warm_up"], got.requests["cool_down"]) == (
        140,
        20,
        40,
    )
    assert got.window["to_s"] == 8.0
    assert "the first 1 s and the last 2 s are left out" in got.window["warm_up"]


def test_stalls_are_counted(tmp_path: Path) -> None:
    """A gap beyond a second and ten times its stream's median is a stall; the longest is named."""

    def stamps(number: int, times: list[int]) -> list[int]:
        late = {0: 3 * S, 1: 900 * MS}.get(number % 50, 0)
        return [*times[:-1], times[-1] + late]

    got = _run(tmp_path, tokens=20, stamps=stamps)

    assert got.stalls == {"count": 3, "streams": 3, "of_streams": 180, "longest_ms": 3020.0}


def test_percentiles_have_intervals(tmp_path: Path) -> None:
    """Every percentile that the samples bear out has its interval; a p99 of 180 has none."""

    def slower(number: int, sample: Sample) -> None:
        sample.first_token_ns += (number * 7919 % 100) * MS

    ci = _run(tmp_path, slower).metrics["ttft_ms"].ci

    assert ci["p50"] == pytest.approx((142.0, 157.0), abs=5)
    assert ci["p99"] is None


@pytest.mark.parametrize(
    ("count", "valid"), [(200, True), (180, False)], ids=["as planned", "a tenth missing"]
)
def test_delivered_load_is_held_to_the_plan(tmp_path: Path, count: int, valid: bool) -> None:  # noqa: FBT001  # a column of the table
    """Arrivals that did not come, though they were planned, make the run invalid."""
    got = _run(tmp_path, count=count, plan={"rate_per_s": 20.0, "arrivals": "constant"})

    assert got.valid == valid
    assert got.stimulus is not None
    assert got.stimulus["planned"] == 180.0
    assert valid or "arrivals off the plan" in got.verdict["says"]


def test_own_socket_errors_are_invalid(tmp_path: Path) -> None:
    """Requests that failed for want of a port or a file of the generator's are not the target's."""

    def local(number: int, sample: Sample) -> None:
        if number == 50:
            sample.error = ErrorKind.LOCAL

    got = _run(tmp_path, local)

    assert got.verdict["says"].startswith("INVALID: own socket errors is 1 requests")


def test_histograms_of_runs_merge_exactly(tmp_path: Path) -> None:
    """The merged histograms of two runs are those of one run with all of their requests."""

    def spoil(number: int, sample: Sample) -> None:
        sample.first_token_ns += number * 12_345

    folders = [tmp_path / "a", tmp_path / "b", tmp_path / "both"]
    for folder in folders:
        folder.mkdir()
    first = _run(folders[0], spoil, worker="1").as_json()
    second = _run(folders[1], count=150, worker="2").as_json()
    for folder in folders[:2]:
        for path in folder.iterdir():
            (folders[2] / path.name).write_bytes(path.read_bytes())
    both = measure_folder(folders[2]).as_json()

    assert merged([first, second]) == merged([both])
    assert merged([both])["ttft_ms"].n == first["metrics"]["ttft_ms"]["n"] + 130


def test_workers_of_two_hosts_are_one_run(tmp_path: Path) -> None:
    """A worker on a host that booted later counts like one beside the first."""
    away = 30 * S  # the other host's monotonic clock is so far ahead

    def there(_number: int, sample: Sample) -> None:
        for name in ("due_ns", "sent_ns", "first_byte_ns", "first_event_ns", "first_token_ns",
                     "last_token_ns", "end_ns"):  # fmt: skip
            setattr(sample, name, getattr(sample, name) + away)

    def stamps(_number: int, times: list[int]) -> list[int]:
        return [at + away for at in times]

    _run(tmp_path, worker="1")
    _run(tmp_path, there, worker="2", stamps=stamps)
    here, other = b"h" * 16, b"o" * 16
    for worker, boot, shift in (("1", here, 0), ("2", other, away)):
        for kind in ("samples", "lag"):
            path = tmp_path / f"{kind}.{worker}.bin"
            data = bytearray(path.read_bytes())
            data[16:32] = struct.pack("<qq", 10**18, START + shift)
            data[40:56] = boot
            path.write_bytes(data)
        notes = tmp_path / f"generator.{worker}.jsonl"
        rows = [json.loads(line) for line in notes.read_text().splitlines()[:-1]]
        lines = [json.dumps({**row, "at_ns": row["at_ns"] + shift}) + "\n" for row in rows]
        notes.write_text("".join(lines))
    got = measure_folder(tmp_path)

    assert (got.requests["due"], got.rates["due_per_s"]) == (360, 40.0)
    assert got.series["due_per_s"] == [40.0] * 10
    assert (got.metrics["ttft_ms"].p50, got.generator["workers"]) == (100.0, 2)


def test_a_large_run_is_measured_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are the same however small the blocks are that they are worked out in."""
    whole = _run(tmp_path, tokens=9).as_json()
    monkeypatch.setattr("gateproof.latency._BLOCK", 50)
    monkeypatch.setattr("gateproof.spread._CHUNK", 7)

    assert measure_folder(tmp_path).as_json() == whole


@given(st.lists(st.integers(0, 2**50), min_size=1, max_size=50))
def test_many_are_counted_like_one(values: list[int]) -> None:
    """Counting an array gives the histogram that counting one by one gives."""
    one = Histogram()
    for ns in values:
        one.add(ns)

    assert histogram_of(np.array(values, np.float64), 1.0) == one
