"""What a calibration says of a run: joined over workers, judged, told."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateproof.calibration import calibration_limits, calibration_says, read_calibration


def run(p99: float | None, streams: int = 20) -> dict[str, Any]:
    """Give what one calibration run found."""
    spread = {"n": 500, "p50": 0.02, "p99": p99, "max": p99}
    return {
        "streams": streams,
        "gap_ms": 20.0,
        "stamp_error_ms": spread,
        "ttft_error_ms": spread,
        "itl_error_ms": spread,
    }


def folder_of(path: Path, *workers: Any) -> Path:
    """Write what each worker left."""
    for number, worker in enumerate(workers):
        text = worker if isinstance(worker, str) else json.dumps(worker)
        (path / f"calibration.{number}.json").write_text(text, "utf-8")
    return path


def test_nothing(tmp_path: Path) -> None:
    """A run without a word of calibration has none, and is not judged by one."""
    assert read_calibration(tmp_path) is None
    assert calibration_limits(None, 200.0) == []
    assert calibration_says(None) == ()


def test_worst_worker(tmp_path: Path) -> None:
    """Of several workers the worst one counts, at each time for itself."""
    both = folder_of(
        tmp_path,
        {"before": run(0.1), "after": run(9.0)},
        {"before": run(0.4), "after": run(0.2)},
    )
    joined = read_calibration(both)
    assert joined is not None
    assert joined["workers"] == 2
    got = [row["got"] for row in calibration_limits(joined, 100.0)]
    assert got == [0.4, 9.0]


@pytest.mark.parametrize(
    ("p99", "ttft_ms", "ok"),
    [(0.3, None, True), (2.1, None, False), (2.1, 20.0, False), (9.9, 200.0, True)],
)
def test_limit(p99: float, ttft_ms: float | None, *, ok: bool) -> None:
    """The error may be 2 ms, or a twentieth of the median TTFT."""
    rows = calibration_limits({"before": run(p99), "after": run(0.1)}, ttft_ms)
    assert [row["ok"] for row in rows] == [ok, True]


@pytest.mark.parametrize(
    "workers",
    [
        [{"before": run(0.1)}],
        [{"before": run(0.1), "after": {"streams": 3, "failure": "it could not be run"}}],
        [{"before": run(0.1), "after": run(0.1)}, "{torn"],
        [{"before": run(0.1), "after": run(None)}],
    ],
    ids=["absent", "failed", "torn", "no token"],
)
def test_what_is_missing(tmp_path: Path, workers: list[Any]) -> None:
    """A calibration that was to be and did not come is not good."""
    joined = read_calibration(folder_of(tmp_path, *workers))
    rows = calibration_limits(joined, 200.0)
    assert [(row["got"], row["ok"]) for row in rows][-1] == (None, False)


def test_skipped(tmp_path: Path) -> None:
    """A calibration that was not wanted judges nothing, and is said."""
    joined = read_calibration(folder_of(tmp_path, {"skipped": "it was not to be measured"}))
    assert calibration_limits(joined, 200.0) == []
    wanted = "The generator's own error is unknown: it was not to be measured."
    assert calibration_says(joined) == (wanted,)


def test_says() -> None:
    """A reader is told the error of stamps, TTFT and gaps, before and after."""
    (said,) = calibration_says({"before": run(0.125), "after": run(0.5, streams=8)})
    assert said == (
        "The generator's own error here (p99): before the load 0.125 ms of a time stamp, "
        "0.125 ms of TTFT, 0.125 ms of a gap (20 streams); after the load 0.5 ms of a time stamp, "
        "0.5 ms of TTFT, 0.5 ms of a gap (8 streams)."
    )
