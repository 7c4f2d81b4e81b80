"""One load over several processes: exact shares, whole samples, and workers that die."""

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import count, islice
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import numpy as np
import pytest
from gateproof.loadtests.share import ALONE, Share
from gateproof.loadtests.spread import _kept_as
from gateproof.loadtests.timetable import offsets

import gateproof
from gateproof.budget import Budget
from gateproof.errors import UsageError
from gateproof.loadfile import plan_of
from gateproof.loadrun import LoadRun, run_load
from gateproof.measure import measure_folder
from gateproof.sample import read_samples
from tests.load_responder import responder

ROOT = Path(gateproof.__file__).parent.parent


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Serve for all tests of this file."""
    with responder() as where:
        yield where


def test_shares_are_the_whole() -> None:
    """Arrivals, places, numbers, caps and budgets of three workers add up to those of one."""
    shares = [Share(index, 3) for index in range(3)]
    parts = [list(islice(share.of(count()), 4)) for share in shares]
    budgets = [share.budget(Budget(10, 7, Decimal(6))) for share in shares]

    assert sorted(n for part in parts for n in part) == list(range(12))
    assert sorted(n for share in shares for n in share.places(7)) == list(range(7))
    assert [share.number(5) for share in shares] == [15, 16, 17]
    assert [share.cap(8) for share in shares] == [3, 3, 2]
    assert [b.requests for b in budgets] == [4, 3, 3]
    assert [b.tokens for b in budgets] == [3, 2, 2]
    assert sum((b.usd or Decimal(0) for b in budgets), Decimal(0)) == 6
    assert (ALONE.number(5), ALONE.cap(8), ALONE.budget(Budget(10))) == (5, 8, Budget(10))


def test_what_cannot_be_shared_is_refused() -> None:
    """A cap of one cannot be that of two workers."""
    with pytest.raises(UsageError, match="The cap is 1, which cannot be shared out to 2 workers"):
        Share(0, 2).cap(1)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"cap": 3}, "The cap is 3, which cannot be shared out to 4 processes"),
        ({"budget": {"tokens": 3}}, "The budget of tokens is 3, which cannot be shared out"),
    ],
)
def test_shares_are_refused_before_anything_is_sent(
    tmp_path: Path, more: dict[str, Any], says: str
) -> None:
    """A run that its processes cannot share ends before it writes or sends anything."""
    plan = plan_of("chat-open", target="http://127.0.0.1:9", model="m", **more)
    with pytest.raises(UsageError, match=says):
        run_load(LoadRun(plan, tmp_path / "load", processes=4))

    assert not (tmp_path / "load").exists()


@pytest.mark.parametrize(
    "name", ["../x", "samples.1.bin/../../x", "/etc/passwd", "transcripts/../x.json", "plan.json"]
)
def test_a_worker_writes_only_what_is_a_workers(name: str) -> None:
    """The master writes no file but those of a generator, whatever a worker calls them."""
    with pytest.raises(UsageError):
        _kept_as(name, 0)


def test_a_workers_files_carry_its_name() -> None:
    """Two workers of the same process id, on two hosts, do not meet."""
    assert _kept_as("samples.17.bin", 1) == "samples.w1.bin"
    assert _kept_as("transcripts/17.json", 1) == "transcripts/w1.json"


def test_two_processes_make_one_timetable(address: str, tmp_path: Path) -> None:
    """The arrivals of two workers are together those of the plan, each with a number of its own."""
    plan = plan_of(
        "chat-open", target=f"http://{address}/slow", model="m", rate_per_s=60.0, seed=5,
        duration_s=1.0, warm_up_s=0.0, drain_s=3.0,
    )  # fmt: skip
    lines: list[Any] = []
    got = run_load(LoadRun(plan, tmp_path / "load", processes=2), lines.append)
    records = read_samples(tmp_path / "load").records
    wanted = [at for at in islice(offsets("poisson", 60.0, 5), 500) if at < 10**9]
    starts_ns = []
    for place in range(2):
        own = records[records["number"] % 2 == place]
        due = np.sort(own["due_ns"])
        theirs = wanted[place::2][: len(due)]
        starts_ns.append(int(due[0]) - theirs[0])
        assert (due - due[0]).tolist() == [at - theirs[0] for at in theirs]
        assert sorted(own["number"].tolist()) == list(range(place, 2 * len(own), 2))

    assert len(wanted) * 0.8 < len(records) <= len(wanted)
    assert starts_ns[0] == starts_ns[1]  # one moment was agreed upon, and one clock shows it
    assert got.generator["workers"] == 2
    assert got.requests["failed"] == 0
    assert {row["worker"] for row in lines} == {"w0", "w1"}
    kept = sorted(path.name for path in (tmp_path / "load" / "transcripts").iterdir())
    assert kept == ["w0.json", "w1.json"]
    about = json.loads((tmp_path / "load" / "workers.json").read_text())
    clocks = about.pop("clocks")
    assert about == {"expected": 2, "died": [], "wall_ns": about["wall_ns"]}
    assert [[row["ahead_ns"] for row in clocks[worker]] for worker in ("w0", "w1")] == [[0], [0]]


def _locust(folder: Path, *options: object, host: Sequence[str] = ()) -> "subprocess.Popen[bytes]":
    """Start Locust as a user would, on hosts that share nothing but the network."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtests" / "locustfile.py")]
    command = [*host, *command]
    keep = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST")}
    path = f"{folder}{os.pathsep}{ROOT}"  # a sitecustomize of the host's own comes first
    env = keep | {"PYTHONPATH": path, "TMPDIR": str(folder), "HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(  # our own interpreter and arguments
            [*command, *map(str, options)], cwd=folder, env=env, stdout=log, stderr=log
        )


def _master(tmp_path: Path, *options: object) -> tuple[Any, list[object]]:
    """Start a master that waits for two workers; give it, and what makes a process its worker."""
    port = 20_000 + secrets.randbelow(10_000)
    master = _locust(
        tmp_path / "master", "--master", "--headless", "--expect-workers", 2,
        "--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--loglevel", "WARNING",
        "--drain", 1, "--no-calibration", "--exit-code-on-error", 0, *options,
    )  # fmt: skip
    return master, ["--worker", "--master-host", "127.0.0.1", "--master-port", port]


def test_a_worker_that_dies_is_said(address: str, tmp_path: Path) -> None:
    """Of a master and two workers one is killed: its samples stay, and the run is invalid."""
    samples = tmp_path / "samples"
    master, near = _master(
        tmp_path, "--host", f"http://{address}/slow", "--samples", samples,
        "--scenario", "chat-steady", "-u", 6, "--seconds", 9,
    )  # fmt: skip
    workers = [_locust(tmp_path / f"worker{n}", *near) for n in range(2)]
    killer = threading.Thread(target=_kill_when, args=(workers[0], samples))
    killer.start()
    try:
        status = master.wait(60)
        killer.join(60)
        for worker in workers:
            worker.wait(20)
    finally:
        for process in (master, *workers):
            process.kill()
    said = json.loads((samples / "workers.json").read_text())
    got = measure_folder(samples)
    files = sorted(path.name for path in samples.glob("samples.*.bin"))
    records = read_samples(samples).records

    assert status == 0, (tmp_path / "master" / "log").read_text()
    assert said["expected"] == 2
    assert [row["how"] for row in said["died"]] == ["fell silent"]
    assert files == ["samples.w0.bin", "samples.w1.bin"]
    assert not got.valid
    assert "1 of 2 workers died" in "; ".join(got.verdict["reasons"])
    assert len(set(records["number"].tolist())) == len(records)
    dead = int(said["died"][0]["worker"].removeprefix("w"))
    by_worker = [int((records["number"] % 2 == place).sum()) for place in (0, 1)]
    assert 0 < by_worker[dead] < by_worker[1 - dead]
    assert not list(tmp_path.glob("worker1/gateproof-worker-*"))  # who lives tidies up


# A host that booted a day later than this one, and whose wall clock is an hour slow.
_AWAY_S = 86_400
_ELSEWHERE = ("unshare", "--user", "--map-root-user", "--time", "--monotonic", str(_AWAY_S))
_SLOW = """
import time
now, now_ns = time.time, time.time_ns
time.time, time.time_ns = lambda: now() - 3600, lambda: now_ns() - 3600 * 10**9
"""


def test_hosts_need_not_agree_on_the_time(address: str, tmp_path: Path) -> None:
    """A worker whose clocks show other times makes its part of one timetable, at its times."""
    tried = [*_ELSEWHERE, "true"]
    if shutil.which("unshare") is None or subprocess.run(tried, check=False).returncode:
        pytest.skip("this machine gives no clock of its own to an ordinary user's process")
    samples = tmp_path / "samples"
    master, near = _master(
        tmp_path, "--host", f"http://{address}/slow", "--samples", samples,
        "--scenario", "chat-open", "--arrivals", "constant", "--rate", 50, "--seconds", 2,
        "--warm-up", 0.5, "--slo", "ttft_ms=60000",
    )  # fmt: skip
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "sitecustomize.py").write_text(_SLOW)
    workers = [
        _locust(tmp_path / "near", *near),
        _locust(tmp_path / "away", *near, host=_ELSEWHERE),
    ]
    try:
        status = master.wait(60)
        for worker in workers:
            worker.wait(20)
    finally:
        for process in (master, *workers):
            process.kill()
    got = measure_folder(samples)
    records = read_samples(samples).records
    gaps_ms = np.diff(records["due_ns"]) / 1e6
    ahead_s = [rows[0]["ahead_ns"] / 1e9 for rows in _clocks(samples).values()]

    assert status == 0, (tmp_path / "master" / "log").read_text()
    assert sorted(round(seconds, 1) for seconds in ahead_s) == [0, _AWAY_S]
    assert records["number"].tolist() == list(range(len(records)))  # each in its turn
    assert (len(records), round(float(np.median(gaps_ms)))) == (100, 20)
    assert (gaps_ms.min() > 10, gaps_ms.max() < 30) == (True, True)  # mostly within 0.2 ms
    assert got.series["bin_s"] == 1
    assert sum(got.series["due_per_s"]) == pytest.approx(100, abs=2)
    assert got.window["seconds"] == pytest.approx(1.5, abs=0.5)
    assert got.requests["warm_up"] == pytest.approx(25, abs=1)
    assert got.goodput is not None
    assert got.goodput["n"] == 100 - got.requests["warm_up"]
    assert abs(time.time() - datetime.fromisoformat(got.started_at).timestamp()) < 600


def test_the_page_begins_further_runs_of_two_processes(address: str, tmp_path: Path) -> None:
    """Locust's page begins a second load and stops it: its samples are whole, and nobody died."""
    port = 20_000 + secrets.randbelow(10_000)
    samples = tmp_path / "samples"
    at_port = ("127.0.0.1", "--master-port", port, "--master-bind-port", port)
    master = _locust(
        tmp_path / "master", "--processes", 2, "--autostart", "--web-host", "127.0.0.1",
        "--web-port", 0, "--master-bind-host", "127.0.0.1", "--master-host", *at_port, "--progress",
        "--scenario", "chat-steady", "--host", f"http://{address}/slow", "--samples", samples,
        "-u", 2, "--seconds", 3, "--drain", 1, "--no-calibration",
    )  # fmt: skip
    log = tmp_path / "master" / "log"
    try:
        page = _until(lambda: re.search(r'{"page": "([^"]+)"}', log.read_text()))[1]
        _until(lambda: _idle(page))
        _page(page, "swarm", user_count=3, spawn_rate=3)
        _until((samples / "run-2" / "samples.w1.bin").exists)
        _page(page, "stop", method="POST")
        _until(lambda: _idle(page))
    finally:
        master.send_signal(signal.SIGTERM)
        master.wait(20)
    first, second = measure_folder(samples), measure_folder(samples / "run-2")
    died = [json.loads((at / "workers.json").read_text())["died"] for at in
            (samples, samples / "run-2")]  # fmt: skip

    assert (first.plan["users"], second.plan["users"]) == (2, 3)
    assert (first.generator["workers"], second.generator["workers"]) == (2, 2)
    assert first.requests["failed"] == second.requests["failed"] == 0
    assert min(first.requests["answered"], second.requests["answered"]) > 0
    assert second.window["to_s"] < first.window["to_s"] == pytest.approx(3, abs=0.5)  # stopped
    assert second.requests["unfinished"] == 0  # what ran could end
    assert died == [[], []]


def _idle(address: str) -> bool:
    """Tell whether a test is over, and both workers could begin another."""
    shown = _page(address)
    states = [worker["state"] for worker in shown["workers"]]
    return (shown["state"], states) == ("stopped", ["ready", "ready"])


def _page(address: str, path: str = "stats/requests", method: str = "GET", **form: object) -> Any:
    """Ask Locust's page for what it shows, or to do something."""
    data = urlencode(form).encode() if form else None
    request = Request(address + path, data, method="POST" if form else method)
    with urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


def _until(what: Callable[[], Any]) -> Any:
    """Wait until something is so, and give it."""
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    pytest.fail("it never came")


def _clocks(samples: Path) -> dict[str, Any]:
    """Read how the clocks of the workers compared."""
    told: dict[str, Any] = json.loads((samples / "workers.json").read_text())["clocks"]
    return told


def _kill_when(process: "subprocess.Popen[bytes]", samples: Path) -> None:
    """Kill a process once samples of both workers have arrived."""
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        found = list(samples.glob("samples.*.bin"))
        if len(found) == 2 and all(path.stat().st_size > 64 for path in found):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
