"""Under every oddity that streams have been seen with, a load run reports the right numbers.

Each probe is a small load by the real client over real sockets, recorded and measured as a run is.
A wrong reading is wrong for every request, a busy machine is not late for every one: the least of
the times is held to what was played, below which a right one can never be, and some TPOT is right.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateproof.latency import metrics
from gateproof.measure import LoadSummary, measure_folder
from gateproof.sample import ErrorKind, Flag, read_samples
from tests.load_script import ITL_MS, LIMIT, SCRIPTS, TOKENS, TTFT_MS, Stage, stage

PROBER = Path(__file__).with_name("load_prober.py")
USERS, TIMES = 4, 4
ALL = USERS * TIMES
LATE_MS = 60.0  # a quiet machine: 2 ms
ARRIVALS = 600


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, LoadSummary], Stage]:
    """Run all probes at once, and measure each."""
    folder = tmp_path_factory.mktemp("probes")
    with stage() as (base, played):
        asked: dict[str, Any] = {
            name: (f"{base}/{name}", USERS, TIMES, False)
            for name in SCRIPTS
            if name not in {"freeze", "limited"}
        }
        asked["freeze"] = (f"{base}/freeze", 0, ARRIVALS, False)
        asked["limited"] = (f"{base}/limited", USERS, 8, True)
        done = subprocess.run(
            [sys.executable, str(PROBER), str(folder), json.dumps(asked)],
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr.decode()
    return folder, {name: measure_folder(folder / name) for name in asked}, played


def _within(got: float | None, low: float, high: float) -> bool:
    """Tell whether a figure is in a range."""
    return got is not None and low <= got <= high


@pytest.mark.parametrize(
    ("name", "ttft_ms", "tpot_ms", "tokens", "deltas", "findings"),
    [
        ("plain", TTFT_MS, ITL_MS, TOKENS, TOKENS, set()),
        # The role comes at once, and is no token.
        ("role", TTFT_MS, ITL_MS, TOKENS, TOKENS, set()),
        # Six events of four tokens each: five gaps, shared by 23 tokens.
        ("four", TTFT_MS, 5 * ITL_MS / 23, TOKENS, TOKENS // 4, set()),
        ("comments", TTFT_MS, ITL_MS, TOKENS, TOKENS, set()),
        ("crlf", TTFT_MS, ITL_MS, TOKENS, TOKENS, set()),
        ("no-done", TTFT_MS, ITL_MS, 0, TOKENS, {"no-done", "no-usage"}),
        # An event is there once its second half is.
        ("split", TTFT_MS + 2, ITL_MS, TOKENS, TOKENS, set()),
        ("thinking", TTFT_MS, ITL_MS, TOKENS, TOKENS, set()),
        # The first chunk of content holds none.
        ("empty-first", TTFT_MS + ITL_MS, ITL_MS * 22 / 23, TOKENS, TOKENS - 1, set()),
    ],
)
def test_a_good_answer_has_the_right_times_and_counts(
    seen: Any, name: str, ttft_ms: float, tpot_ms: float, tokens: int, deltas: int, findings: Any
) -> None:
    """Whatever its form, a good answer's TTFT, TPOT and tokens are those that were played."""
    summary = seen[1][name]
    ttft = summary.metrics["ttft_ms"]
    tpots = metrics(read_samples(seen[0] / name).records)["tpot_ms"]

    assert (summary.requests["answered"], summary.requests["failed"]) == (ALL, 0)
    assert _within(ttft.min, ttft_ms - 1, ttft_ms + LATE_MS), ttft
    assert any(_within(tpot, tpot_ms * 0.7, tpot_ms * 1.4) for tpot in tpots), tpots
    counted = summary.tokens
    assert (counted["completion"], counted["deltas"]) == (ALL * tokens, ALL * deltas)
    assert {row["kind"] for row in summary.findings} == findings


def test_reasoning_and_content_have_their_own_first_token(seen: Any) -> None:
    """Where thoughts come first, the first token and the first content are told apart."""
    times = seen[1]["thinking"].metrics
    content_ms = TTFT_MS + 16 * ITL_MS

    assert _within(times["ttft_ms"].min, TTFT_MS - 1, TTFT_MS + LATE_MS)
    assert _within(times["content_ms"].min, content_ms - 1, content_ms + LATE_MS)


def test_role_is_an_event_and_no_token(seen: Any) -> None:
    """The role's event has a time of its own, long before the first token."""
    times = seen[1]["role"].metrics

    assert _within(times["first_event_ms"].min, 0, TTFT_MS - 1)


@pytest.mark.parametrize(("name", "kind"), [("error", "in-band-error"), ("cut", "cut")])
def test_a_broken_answer_is_never_a_success(seen: Any, name: str, kind: str) -> None:
    """An error inside a stream, and a cut body, fail every request; the run is measured still."""
    summary = seen[1][name]

    assert (summary.requests["answered"], summary.requests["failed"]) == (0, ALL)
    assert {row["kind"]: row["count"] for row in summary.errors} == {kind: ALL}
    assert summary.metrics["ttft_ms"].n == summary.metrics["e2e_ms"].n == 0


def test_errors_among_answers_are_counted_apart(seen: Any) -> None:
    """Some 500s are failures, as many as there were, and in no latency."""
    _, summaries, played = seen
    summary, failed = summaries["fifth"], played.counts["fifth", "500"]

    wanted = {"server-error": {"500": ALL // 5}}
    assert {row["kind"]: row["statuses"] for row in summary.errors} == wanted
    assert failed == ALL // 5
    assert summary.requests["answered"] == ALL - failed == summary.metrics["ttft_ms"].n
    assert _within(summary.metrics["ttft_ms"].min, TTFT_MS - 1, TTFT_MS + LATE_MS)


def test_refusals_are_counted_and_their_waits_are_kept(seen: Any) -> None:
    """A user that is refused waits as long as Retry-After says, is then served, and says so."""
    folder, summaries, played = seen
    refused, served = played.counts["limited", "429"], played.counts["limited", "200"]
    rows = read_samples(folder / "limited").records
    order = rows["sent_ns"].argsort()
    waited = rows[order][(rows[order]["flags"] & int(Flag.WAITED)) != 0]
    windows = (rows["sent_ns"].max() - rows["sent_ns"].min()) / 250e6

    assert refused + served == USERS * 8 == len(rows)
    assert {row["kind"]: row["count"] for row in summaries["limited"].errors} == {
        "rate-limited": refused
    }
    assert summaries["limited"].metrics["ttft_ms"].n == served
    # Whoever was refused waited, but for a last request; nobody asked a second time at once.
    assert refused - USERS <= len(waited) <= refused
    assert served <= LIMIT * (windows + 2)
    assert refused <= USERS * (windows + 2)


def test_a_freeze_is_not_omitted(seen: Any) -> None:
    """Requests that were due while the target froze are late from due, though none from sent."""
    folder, summaries, _ = seen
    summary = summaries["freeze"]
    rows = read_samples(folder / "freeze").records
    times = summary.metrics

    assert len(rows) == ARRIVALS == summary.requests["due"]
    assert (rows["error"] == ErrorKind.NONE).all()
    # 100 of 600 were due in half a second of silence; the cap let 20 of them be sent.
    assert _within(summary.requests["delayed"], 60, ARRIVALS)
    assert _within(times["e2e_from_due_ms"].p90, 150, 10_000), times["e2e_from_due_ms"]
    assert _within(times["e2e_from_due_ms"].p99, 440, 10_000), times["e2e_from_due_ms"]
    # From sent, the same run looks well: what was not sent was not slow.
    assert _within(times["e2e_ms"].p90, 9, times["e2e_from_due_ms"].p90 / 2), times["e2e_ms"]
    # As a schedule has it, evenly: due times are what they were, whatever waited.
    due_ms = (rows["due_ns"] - rows["due_ns"].min()) / 1e6
    assert sorted(due_ms.round(3).tolist()) == [5.0 * number for number in range(ARRIVALS)]
