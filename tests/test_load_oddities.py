"""At 200 streams at once, every oddity of streams is reported with the right numbers, each of them.

The loads of ``test_load_probes.py``, of 200 users each, one after another, by the real client over
real sockets; no answer begins before all 200 are asked for. Each request is joined by its number
with the times at which the server wrote its events: no time stamp may be before them, whatever the
machine, and the promptest of 200 is on time.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateproof.measure import LoadSummary, measure_folder
from gateproof.sample import ErrorKind, Flag, Samples, read_samples
from tests.load_script import ITL_MS, SPLIT_ANYWHERE, TOKENS, TTFT_MS, Stage, stage

PROBER = Path(__file__).with_name("load_prober.py")
STREAMS = 200
TIMES = {"limited": 2}  # 1 for all others
LIMIT = 60  # in a window of the limiter
ARRIVALS, RATE_PER_S = 900, 600.0  # of the freeze: 300 are due in its half second
ROUNDED_NS = 1000  # times are kept in microseconds
PROMPT_NS = round(ITL_MS * 1e6)  # no reading is so late for every one; on a quiet machine 0.1 ms

# path: output events, tokens by usage, findings
GOOD: dict[str, tuple[int, int, set[str]]] = {
    "role": (TOKENS, TOKENS, set()),
    "four": (TOKENS // 4, TOKENS, set()),
    "comments": (TOKENS, TOKENS, set()),
    "no-done": (TOKENS, 0, {"no-done", "no-usage"}),
    "crlf": (TOKENS, TOKENS, set()),
    "thinking": (TOKENS, TOKENS, set()),
    "empty-first": (TOKENS - 1, TOKENS, set()),
    "anywhere": (TOKENS, TOKENS, set()),
    "anywhere-crlf": (TOKENS, TOKENS, set()),
}
BROKEN = {"error": "in-band-error", "cut": "cut"}


@dataclass(frozen=True, slots=True)
class Seen:
    """What one load left: its samples, its figures, and what was played to it."""

    samples: Samples
    summary: LoadSummary
    played: Stage


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    """Make all loads in turn, and measure each."""
    folder = tmp_path_factory.mktemp("oddities")
    options = {"in_turn": True, "rate_per_s": RATE_PER_S, "cap": STREAMS}
    with stage(LIMIT, at_once=STREAMS) as (base, played):
        asked: dict[str, Any] = {
            name: (f"{base}/{name}", STREAMS, TIMES.get(name, 1), name == "limited")
            for name in (*GOOD, *BROKEN, "fifth", "limited")
        }
        asked["freeze"] = (f"{base}/freeze", 0, ARRIVALS, False)
        done = subprocess.run(
            [sys.executable, str(PROBER), str(folder), json.dumps(asked), json.dumps(options)],
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr.decode()
    return {
        name: Seen(read_samples(folder / name), measure_folder(folder / name), played)
        for name in asked
    }


def _late_ns(seen: Seen, name: str) -> list[np.ndarray[Any, Any]]:
    """Give how late each output event's time stamp is, a row a good answer."""
    late = []
    for row in seen.samples.records:
        if row["error"] == ErrorKind.NONE:
            at, sent_ns = int(row["stamps_at"]), int(row["sent_ns"])
            stamps = seen.samples.stamps[at : at + int(row["deltas"])].astype(np.int64) * 1000
            ready = np.asarray(seen.played.ready_ns[name, int(row["number"])], np.int64)
            assert len(stamps) == len(ready)
            late.append(stamps + sent_ns - ready)
    return late


def _assert_true_times(seen: Seen, name: str) -> None:
    """Hold each time stamp to when the server wrote it, and TTFT to the first of them."""
    late = _late_ns(seen, name)
    rows = seen.samples.records[seen.samples.records["error"] == ErrorKind.NONE]
    begins = np.asarray([seen.played.ready_ns[name, int(row["number"])][0] for row in rows])
    ttft_ms = np.minimum(rows["first_token_us"], rows["first_reasoning_us"]) / 1000
    true_ms = (begins - rows["sent_ns"]) / 1e6

    assert min(row.min() for row in late) >= -ROUNDED_NS
    assert min(float(np.median(row)) for row in late) < PROMPT_NS
    assert (ttft_ms - true_ms).min() >= -ROUNDED_NS / 1e6
    assert (ttft_ms - true_ms).min() < PROMPT_NS / 1e6
    assert seen.summary.metrics["ttft_ms"].min == pytest.approx(ttft_ms.min(), abs=0.002)
    assert seen.summary.metrics["ttft_ms"].p50 == pytest.approx(np.median(ttft_ms), rel=0.02)


@pytest.mark.parametrize("name", GOOD)
def test_each_of_200_streams_has_its_own_true_times_and_counts(
    seen: dict[str, Seen], name: str
) -> None:
    """TTFT, each token's time, deltas, usage and findings are right for each stream by itself."""
    one, count = seen[name], STREAMS * TIMES.get(name, 1)
    deltas, tokens, findings = GOOD[name]
    rows, summary = one.samples.records, one.summary

    assert (summary.requests["answered"], summary.requests["failed"]) == (count, 0)
    assert sorted(rows["number"].tolist()) == list(range(count))
    assert set(rows["deltas"].tolist()) == {deltas}
    counted = summary.tokens
    assert (counted["completion"], counted["deltas"]) == (count * tokens, count * deltas)
    assert {row["kind"] for row in summary.findings} == findings
    if tokens:  # its own usage: the count of the prompt is made from the request's number
        assert (rows["prompt_tokens"] == rows["number"] + 1000).all()
    _assert_true_times(one, name)


@pytest.mark.parametrize("name", GOOD)
def test_all_200_were_under_way_at_once(seen: dict[str, Seen], name: str) -> None:
    """Each load had all of its streams open at one time."""
    rows = seen[name].samples.records[:STREAMS]
    ends_ns = rows["sent_ns"] + rows["end_us"].astype(np.int64) * 1000

    assert rows["sent_ns"].max() < ends_ns.min()


@pytest.mark.parametrize("name", SPLIT_ANYWHERE)
def test_streams_were_cut_at_every_byte_offset(seen: dict[str, Seen], name: str) -> None:
    """The head, each chunk and the end of the body were cut at each place that they have."""
    cuts = {length: at for (path, length), at in seen[name].played.cuts.items() if path == name}

    assert len(cuts) == 4  # the head, a word, what ends an answer, the end of the body
    assert cuts == {length: set(range(1, length)) for length in cuts}


def test_thoughts_and_content_are_told_apart(seen: dict[str, Seen]) -> None:
    """The first token is a thought's, and the first content comes with the seventeenth event."""
    one = seen["thinking"]
    rows = one.samples.records
    content_ns = rows["sent_ns"] + rows["first_token_us"].astype(np.int64) * 1000
    ready = [one.played.ready_ns["thinking", int(number)][16] for number in rows["number"]]
    late = content_ns - np.asarray(ready)

    assert -ROUNDED_NS <= late.min() < PROMPT_NS


def test_the_role_is_no_token(seen: dict[str, Seen]) -> None:
    """The role's event has a time of its own, far before the first token's."""
    one = seen["role"]

    assert one.summary.metrics["first_event_ms"].min < TTFT_MS
    assert one.summary.metrics["ttft_ms"].min >= TTFT_MS - 1


@pytest.mark.parametrize(("name", "kind"), BROKEN.items())
def test_no_broken_answer_is_a_success(seen: dict[str, Seen], name: str, kind: str) -> None:
    """An error inside a stream, and a cut body, fail each of 200 requests, for what they are."""
    summary = seen[name].summary

    assert (summary.requests["answered"], summary.requests["failed"]) == (0, STREAMS)
    assert {row["kind"]: row["count"] for row in summary.errors} == {kind: STREAMS}
    assert summary.metrics["ttft_ms"].n == 0


def test_errors_are_counted_apart(seen: dict[str, Seen]) -> None:
    """Each fifth is a 500: as many failures, and no latency of theirs."""
    one = seen["fifth"]
    summary = one.summary

    assert {row["kind"]: row["statuses"] for row in summary.errors} == {
        "server-error": {"500": STREAMS // 5}
    }
    assert one.played.counts["fifth", "500"] == STREAMS // 5
    assert summary.metrics["ttft_ms"].n == STREAMS - STREAMS // 5
    _assert_true_times(one, "fifth")


def test_who_is_refused_waits(seen: dict[str, Seen]) -> None:
    """Refusals are counted as the server counted them, and Retry-After is waited for."""
    one = seen["limited"]
    refused, served = (one.played.counts["limited", status] for status in ("429", "200"))
    rows, summary = one.samples.records, one.summary
    waited = (rows["flags"] & int(Flag.WAITED)) != 0

    assert refused + served == len(rows) == STREAMS * TIMES["limited"]
    assert {row["kind"]: row["count"] for row in summary.errors} == {"rate-limited": refused}
    assert summary.metrics["ttft_ms"].n == served
    # All asked at once, and only so many were let in: the others had to wait, and did.
    assert refused >= STREAMS - LIMIT
    assert refused - STREAMS <= int(waited.sum()) <= refused
    assert (rows["retry_after_ms"][rows["status"] == 429] <= 250).all()


def test_a_freeze_is_told_from_due(seen: dict[str, Seen]) -> None:
    """Requests that were due while the target froze and the cap was full are late from due."""
    one = seen["freeze"]
    rows, summary = one.samples.records, one.summary
    delayed = rows[(rows["flags"] & int(Flag.DELAYED)) != 0]
    due_ms = (rows["due_ns"] - rows["due_ns"].min()) / 1e6

    assert len(rows) == ARRIVALS == summary.requests["due"]
    assert (rows["error"] == ErrorKind.NONE).all()
    # 300 were due in half a second of silence; the cap let 200 of them be sent.
    assert len(delayed) == summary.requests["delayed"] >= 60
    assert (delayed["sent_ns"] > delayed["due_ns"]).all()
    assert summary.metrics["e2e_from_due_ms"].p99 >= 440
    assert summary.metrics["e2e_from_due_ms"].p99 >= summary.metrics["e2e_ms"].p99
    wanted = np.round(np.arange(ARRIVALS) * 1e9 / RATE_PER_S) / 1e6
    assert np.abs(np.sort(due_ms) - wanted).max() < 0.001
