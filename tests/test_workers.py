"""Who took part in a load of several processes, and what it means for the run."""

import json
from pathlib import Path

from gateproof.workers import read_workers, worker_limits, worker_notes


def test_a_load_of_one_process_has_no_workers(tmp_path: Path) -> None:
    """Without the file, or with a torn one, nothing is said of workers."""
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "workers.json").write_text('{"expected": 2')

    assert read_workers(tmp_path) is None
    assert read_workers(tmp_path / "torn") is None
    assert worker_limits(None) == []
    assert worker_notes(None) == ()


def test_workers_that_died_are_beyond_a_limit(tmp_path: Path) -> None:
    """None may die; which did, and how, is in the reason."""
    row = {"expected": 3, "died": [{"worker": "w1", "how": "fell silent"}]}
    (tmp_path / "workers.json").write_text(json.dumps(row))
    workers = read_workers(tmp_path)
    (limit,) = worker_limits(workers)

    assert (limit["got"], limit["limit"], limit["ok"]) == (1, 0, False)
    assert limit["so"].startswith("1 of 3 workers died (w1 fell silent); what they had sent is")
    assert worker_limits({"expected": 3, "died": []})[0]["ok"]


def test_clocks_of_other_hosts_are_told() -> None:
    """Which worker's clock is another one, and how well it is known; the leader's own is not."""
    readings = [{"at_ns": 5, "ahead_ns": 7, "within_ns": ns} for ns in (900_000, 250_000)]
    own = [{"at_ns": 5, "ahead_ns": 0, "within_ns": 0}]
    (note,) = worker_notes({"expected": 2, "clocks": {"w0": own, "w1": readings}})

    assert "compared with theirs over the network: w1 to within 0.25 ms." in note
    assert worker_notes({"expected": 2, "clocks": {"w0": own, "w1": own}}) == ()
