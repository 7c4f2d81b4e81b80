"""Load runs end to end: the generator in its own process, its samples, its figures."""

import _thread
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from gateproof.loadtests.timetable import offsets

import gateproof
from gateproof.bundled import DEMO_KEY_ENV, bundled_server
from gateproof.errors import TargetError, UsageError
from gateproof.loadfile import plan_of
from gateproof.loadrun import LoadRun, budget_spent, in_vain, run_load
from gateproof.measure import measure_folder
from gateproof.plan import LoadPlan
from gateproof.sample import ErrorKind, Flag, read_samples
from tests.load_responder import responder

KEY = "sk-secret-for-this-test"
ROOT = Path(gateproof.__file__).parent.parent


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Serve for all tests of this file."""
    with responder() as where:
        yield where


def _run(
    address: str,
    folder: Path,
    how: str = "slow",
    scenario: str = "chat-steady",
    key_env: str | None = None,
    **more: Any,
) -> LoadRun:
    """Give a short run, of four users where nothing else is said."""
    named = {"duration_s": 0.7, "warm_up_s": 0.07, "drain_s": 2.0} | more
    if scenario == "chat-steady":
        named.setdefault("users", 4)
    plan = plan_of(scenario, target=f"http://{address}/{how}", model="m", **named)
    return LoadRun(plan, folder / "load", key_env)


def test_closed_model_end_to_end(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run gives clean samples; no option from outside reaches it; the key is in no file."""
    monkeypatch.setenv("TEST_KEY", KEY)
    monkeypatch.setenv("LOCUST_USERS", "99")
    monkeypatch.setenv("LOCUST_WEB_PORT", "nonsense")
    (tmp_path / "locust.conf").write_text("users = 77\n")
    monkeypatch.chdir(tmp_path)
    lines: list[Mapping[str, Any]] = []
    run = _run(address, tmp_path, key_env="TEST_KEY", slos={"ttft_ms": 10_000.0})
    got = run_load(run, lines.append)

    records = read_samples(run.out_dir).records
    assert len(records) == got.requests["due"] + got.requests["warm_up"]
    assert set(records["stream"].tolist()) == {1, 2, 3, 4}
    assert (got.requests["failed"], got.requests["flawed"]) == (0, 0)
    assert got.goodput is not None
    assert got.goodput["share"] == 1.0
    assert got.plan["users"] == 4
    assert got.tokens["differ"] == 0
    assert {"progress_s", "active", "answered", "ttft_p50_ms"} <= lines[0].keys()
    written = json.loads((run.out_dir / "load.json").read_text())
    assert written["requests"] == got.requests
    for path in filter(Path.is_file, run.out_dir.rglob("*")):
        assert KEY.encode() not in path.read_bytes()


def test_open_model_keeps_its_timetable(address: str, tmp_path: Path) -> None:
    """Requests are due exactly when the timetable says, however slow the answers are."""
    run = _run(address, tmp_path, scenario="chat-open", rate_per_s=60.0, seed=5)
    got = run_load(run)

    due = read_samples(run.out_dir).records["due_ns"]
    due.sort()
    wanted = list(islice(offsets("poisson", 60.0, 5), len(due)))
    assert (due - due[0]).tolist() == [at - wanted[0] for at in wanted]
    assert len(due) > 20
    assert got.requests["delayed"] == 0


def test_a_run_is_calibrated_on_both_sides(address: str, tmp_path: Path) -> None:
    """Before the load and after it the generator's own error is measured, judged and told."""
    run = dataclasses.replace(_run(address, tmp_path), calibrate=True)
    got = run_load(run)
    assert got.calibration is not None
    streams = [got.calibration[time]["streams"] for time in ("before", "after")]
    assert streams == [4, 4]
    assert all(got.calibration[time]["stamp_error_ms"]["n"] > 5 for time in ("before", "after"))
    limits = [row["name"] for row in got.verdict["limits"]]
    assert [name for name in limits if "calibrated" in name] == [
        "calibrated error p99 before the load",
        "calibrated error p99 after the load",
    ]
    assert any(
        note.startswith("The generator's own error here (p99): before") for note in got.notes
    )
    # What the responder was asked is no part of the run.
    assert got.requests["due"] + got.requests["warm_up"] == len(read_samples(run.out_dir).records)


def test_a_run_says_that_it_is_not_calibrated(address: str, tmp_path: Path) -> None:
    """A run whose generator was not measured says so, and is not judged by it."""
    got = run_load(_run(address, tmp_path))
    assert "The generator's own error is unknown: it was not to be measured." in got.notes
    assert not any("calibrated" in row["name"] for row in got.verdict["limits"])


def test_cap_is_reported(address: str, tmp_path: Path) -> None:
    """Arrivals that a cap delays keep their due times; those that never began are not forgotten."""
    run = _run(address, tmp_path, scenario="chat-open", rate_per_s=60.0, cap=2)
    got = run_load(run)
    records = read_samples(run.out_dir).records

    assert got.requests["delayed"] > 0
    assert got.requests["unfinished"] > 0
    assert "The cap on concurrency delayed" in got.notes[0]
    assert int(records["stream"].max()) <= 2
    assert (got.metrics["e2e_from_due_ms"].max or 0) > (got.metrics["e2e_ms"].max or 0)


def test_failures_leave_evidence(address: str, tmp_path: Path) -> None:
    """Failed requests are counted by kind, and the first few are kept in words."""
    run = _run(address, tmp_path, how="limited", think_s=0.1, duration_s=0.3)
    got = run_load(run)

    assert [row["kind"] for row in got.errors] == ["rate-limited"]
    assert not got.valid
    path = next(run.out_dir.glob("failures.*.jsonl"))
    assert json.loads(path.read_text().splitlines()[0])["status"] == 429


def test_a_load_in_vain_ends_soon(tmp_path: Path) -> None:
    """When nothing but refusals of the same hopeless kind came, no more of them are asked for."""
    with bundled_server() as server:
        plan = plan_of("chat-steady", target=f"{server.url}/v1", model="nope", duration_s=30.0)
        run_load(LoadRun(plan, tmp_path / "load", DEMO_KEY_ENV))
    errors = read_samples(tmp_path / "load").records["error"]

    assert in_vain(tmp_path / "load").startswith("its first 200 requests all failed")
    assert set(errors.tolist()) == {ErrorKind.CLIENT_ERROR}
    assert 200 <= len(errors) <= 200 + 2 * (plan.users or 0)


def test_dead_target_is_a_target_error(tmp_path: Path) -> None:
    """A port where nobody listens is said so, once."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = f"127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(TargetError, match=f"No connection to http://{dead}"):
        run_load(_run(dead, tmp_path, think_s=0.1, duration_s=0.3))


def test_a_run_without_its_key_is_refused(tmp_path: Path) -> None:
    """What cannot be run is refused before anything starts."""
    with pytest.raises(UsageError, match="NO_SUCH_VARIABLE is not set"):
        run_load(_run("127.0.0.1:1", tmp_path, key_env="NO_SUCH_VARIABLE"))

    assert not (tmp_path / "load").exists()


def test_stages_of_users(address: str, tmp_path: Path) -> None:
    """Users come and go as the stages say."""
    text = (
        'says = "s"\nwarm_up_s = 0\n'
        "[[stages]]\nfor_s = 0.4\nusers = 1\n[[stages]]\nfor_s = 0.6\nusers = 5\n"
        "[[stages]]\nfor_s = 0.8\nusers = 2\n"
    )
    (tmp_path / "steps.toml").write_text(text)
    plan = plan_of(str(tmp_path / "steps.toml"), target=f"http://{address}/slow", model="m")
    got = run_load(LoadRun(plan, tmp_path / "load"))
    records = read_samples(tmp_path / "load").records
    since_s = (records["due_ns"] - records["due_ns"].min()) / 1e9

    # An answer takes 0.3 s, so within 0.35 s every user asks at least once.
    assert int((since_s < 0.39).sum()) == 2
    assert int(((since_s > 0.39) & (since_s < 0.5)).sum()) >= 4
    last = records[since_s > 1.4]
    assert (len(set(last["stream"].tolist())), got.requests["failed"]) == (2, 0)
    assert got.plan["stages"][1] == {"for_s": 0.6, "users": 5, "rate_per_s": None, "ramp": False}


def test_refused_users_wait_as_they_are_told(address: str, tmp_path: Path) -> None:
    """A user of a patient load asks again when Retry-After says, and the run tells of the wait."""
    run = _run(address, tmp_path, "limited", users=3, duration_s=1.5, honour_retry_after=True)
    got = run_load(run)
    rows = read_samples(run.out_dir).records

    assert (rows["error"] == ErrorKind.RATE_LIMITED).all()
    assert ((rows["flags"] & int(Flag.WAITED)) != 0).tolist() == [False] * 3 + [True] * 3
    assert any("Retry-After had asked for" in note for note in got.notes)


def test_a_budget_ends_the_load(address: str, tmp_path: Path) -> None:
    """When the budget is spent nothing more is sent, and what ran is read to its end."""
    run = _run(address, tmp_path, duration_s=30.0, budget={"requests": 9})
    got = run_load(run)

    assert (len(read_samples(run.out_dir).records), got.requests["failed"]) == (9, 0)
    assert budget_spent(run.out_dir) == "9 of 9 requests are sent"
    assert got.requests["unfinished"] == 0


def test_occupied_folder_is_refused(tmp_path: Path) -> None:
    """Samples of two runs are not mixed."""
    (tmp_path / "load").mkdir()
    (tmp_path / "load" / "samples.1.bin").write_bytes(b"")
    with pytest.raises(UsageError, match="holds a load run already"):
        run_load(_run("127.0.0.1:1", tmp_path))


def test_interrupt_leaves_a_readable_run(address: str, tmp_path: Path) -> None:
    """After Ctrl-C the samples so far are measured and written."""
    program = (
        "import sys, pathlib; from gateproof.loadrun import *\n"
        "from gateproof.loadfile import plan_of\n"
        "plan = plan_of('chat-steady', target=sys.argv[1], model='m', users=2, duration_s=60.0,"
        " warm_up_s=0.0)\n"
        "run = LoadRun(plan, pathlib.Path(sys.argv[2]))\n"
        "run_load(run, lambda row: print(row, flush=True))\n"
    )
    folder = tmp_path / "load"
    with subprocess.Popen(
        [sys.executable, "-c", program, f"http://{address}/slow", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.wait(30)

    told = json.loads((folder / "load.json").read_text())
    assert told["requests"]["answered"] > 0
    assert "the run was cut short" not in told["verdict"]["reasons"]  # it ended in good order
    assert measure_folder(folder).requests["answered"] > 0


def _locust(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run plain Locust, as a user does, from the checkout."""
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "locust",
            "-f",
            "loadtests/locustfile.py",
            "--headless",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_plain_locust_runs_a_scenario(address: str, tmp_path: Path) -> None:
    """``locust -f`` works by path, shows TTFT as an entry of its own, and keeps samples."""
    host = f"http://{address}/good"
    done = _locust(
        "--scenario",
        "chat-steady",
        "--host",
        host,
        "-t",
        "1s",
        "-u",
        "2",
        "--think",
        "0.05",
        "--samples",
        str(tmp_path),
    )

    assert done.returncode == 0, done.stderr
    assert "TTFT     chat-stream" in done.stderr + done.stdout
    got = measure_folder(tmp_path)
    assert (got.requests["failed"], got.plan["users"], got.plan["duration_s"]) == (0, 2, 1.0)
    assert LoadPlan.of(json.loads((tmp_path / "plan.json").read_text())) == LoadPlan.of(got.plan)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--host", "http://127.0.0.1:1/v1"), "No scenario is named"),
        (("--scenario", "chat-open", "--host", "nonsense"), "no base URL"),
        (("--scenario", "chat-open", "--host", "http://192.0.2.1/v1"), "not on loopback"),
        (
            ("--scenario", "chat-open", "--host", "http://127.0.0.1:1/v1", "--slo", "ttft=5"),
            "Unknown SLO",
        ),
    ],
    ids=["scenario", "host", "foreign", "slo"],
)
def test_plain_locust_refuses_wrong_options(arguments: tuple[str, ...], says: str) -> None:
    """A wrong option ends with status 2 and a message, without a traceback."""
    done = _locust(*arguments)

    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_page_of_locust(address: str, tmp_path: Path) -> None:
    """Locust's page is served here, counts each request once, and Ctrl-C ends in a report."""
    told: dict[str, Any] = {}

    def look(page: str) -> None:
        def fetch(path: str) -> bytes:
            with urllib.request.urlopen(page + path, timeout=10) as answer:  # loopback
                return bytes(answer.read())

        told["page"] = fetch("")
        total = 0
        while total < 12:
            rows = {row["method"]: row for row in json.loads(fetch("stats/requests"))["stats"]}
            total = rows[""]["num_requests"] if "" in rows else 0
        told["rows"] = rows
        _thread.interrupt_main()

    run = _run(address, tmp_path, users=3, duration_s=60.0, warm_up_s=0.0)
    got = run_load(
        replace(
            run,
            calibrate=True,
            page=lambda page: threading.Thread(target=look, args=(page,)).start(),
        )
    )

    assert b"Locust" in told["page"]
    counts = {method: row["num_requests"] for method, row in told["rows"].items()}
    assert counts[""] == counts["TTFT"] == counts["answer"]
    assert got.requests["answered"] >= counts["answer"]
    assert got.calibration is not None
    assert {"before", "after"} <= got.calibration.keys()  # also of a load that is stopped by hand
    assert (run.out_dir / "load.json").exists()
