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
    row = {"expected": 3, "died": [{"worker": "w1", "how": "fell silent"}], "clocks_off_s": {}}
    (tmp_path / "workers.json").write_text(json.dumps(row))
    workers = read_workers(tmp_path)
    (limit,) = worker_limits(workers)

    assert (limit["got"], limit["limit"], limit["ok"]) == (1, 0, False)
    assert limit["so"].startswith("1 of 3 workers died (w1 fell silent); what they had sent is")
    assert worker_limits({"expected": 3, "died": []})[0]["ok"]


def test_clocks_that_differ_are_told() -> None:
    """Which worker's clock is off, by how much, and what it does to the figures."""
    (note,) = worker_notes({"expected": 2, "clocks_off_s": {"w1": -0.25}})

    assert note.startswith("The clocks of hosts differ from the master's: w1 by -0.25 s.")
