"""Each bundled scenario runs as it is, under plain Locust, against the reference server."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gateproof
from gateproof.bundled import DEMO_KEY_ENV, Bundled, bundled_server
from gateproof.loadfile import scenario_names
from gateproof.measure import measure_folder
from gateproof.sample import ErrorKind, Flag, read_samples
from gateproof.work import titles

ROOT = Path(gateproof.__file__).parent.parent


@pytest.fixture(scope="module")
def server() -> Iterator[Bundled]:
    """Run the reference server."""
    with bundled_server() as running:
        yield running


def locust(server: Bundled, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run plain Locust, as a user does, from the checkout."""
    return subprocess.run(
        [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless",
         "--only-summary", "--host", f"{server.url}/v1", "--key-env", DEMO_KEY_ENV,
         "--samples", str(folder), *arguments],
        capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


# The look for rate limits is another kind of run, with tests of its own.
@pytest.mark.parametrize("name", [name for name in scenario_names() if name != "rate-limit"])
def test_a_scenario_runs(name: str, server: Bundled, tmp_path: Path) -> None:
    """A scenario's requests are answered, each of its works is asked for, and answers are its own.

    The whole timetable is squeezed into a second.
    """
    done = locust(server, tmp_path, "--scenario", name, "--seconds", "1", "--warm-up", "0")
    assert done.returncode == 0, done.stderr
    plan = json.loads((tmp_path / "plan.json").read_text())
    records = read_samples(tmp_path).records
    got = measure_folder(tmp_path)

    failed = records["error"][records["error"] > ErrorKind.UNFINISHED].tolist()
    assert ([ErrorKind(kind).name for kind in failed], got.requests["flawed"]) == ([], 0)
    assert len(records) >= 1
    assert set(records["work"].tolist()) <= set(range(len(titles(plan["work"]))))
    if len(records) > 100:  # closed loads of many users: every weight has its turn
        assert len(set(records["work"].tolist())) == len(plan["work"])
    shown = records["flags"] & int(Flag.OWN_CANARY) != 0
    chats = [n for n, work in enumerate(plan["work"]) if "embeddings" not in work["kind"]]
    answered = (records["error"] == ErrorKind.NONE) & [n in chats for n in records["work"]]
    assert shown[answered].all()
    assert (plan["duration_s"], plan["scenario"]) == (1.0, name)


def test_a_trace_sets_times_and_lengths(server: Bundled, tmp_path: Path) -> None:
    """A trace's requests are due when it says, and ask for what it says."""
    trace = tmp_path / "trace.jsonl"
    rows = [(100, 60, 7), (100, 90, 9), (1100, 40, 8), (2100, 50, 6)]
    trace.write_text(
        "".join(
            json.dumps({"timestamp": at, "input_length": prompt, "output_length": output}) + "\n"
            for at, prompt, output in rows
        )
    )
    name = os.path.relpath(trace, ROOT)
    done = locust(
        server, tmp_path / "run", "--scenario", "chat-open", "--trace", name, "--speed", "4"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "plan.json").read_text())["trace"] == name
    records = read_samples(tmp_path / "run").records
    records.sort(order="number")
    due_ms = (records["due_ns"] - records["due_ns"][0]) // 1_000_000

    assert due_ms.tolist() == [0, 0, 250, 500]
    assert records["completion_tokens"].tolist() == [row[2] for row in rows]


def test_conversations_go_on(server: Bundled, tmp_path: Path) -> None:
    """Further turns of an arrival's conversation come, and hold what was said before."""
    own = tmp_path / "turns.toml"
    own.write_text(
        'says = "s"\narrivals = "constant"\nrate_per_s = 5\nduration_s = 1\n'
        '[[work]]\nkind = "chat-stream"\nturns = 3\noutput = 8\n'
    )
    done = locust(server, tmp_path / "run", "--scenario", str(own))
    assert done.returncode == 0, done.stderr
    records = read_samples(tmp_path / "run").records
    records.sort(order="number")
    prompts = sorted(records["prompt_tokens"].tolist())

    assert len(records) == 15
    assert (records["error"] == ErrorKind.NONE).all()
    assert prompts[5] > prompts[4] + 8  # the second turns hold the first ones and their answers
    assert prompts[10] > prompts[9] + 8
