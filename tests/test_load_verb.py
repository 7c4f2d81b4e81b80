"""``gateproof load`` in CI: its exit status says what came of a run."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateproof.bundled import DEMO_KEY_ENV, Bundled, bundled_server
from gateproof.cli import main
from gateproof.commands.load import _status
from gateproof.run import read_run


@pytest.fixture(scope="module")
def server() -> Iterator[Bundled]:
    """Run the reference server."""
    with bundled_server() as running:
        yield running


def test_a_spent_budget_ends_with_its_status(
    server: Bundled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A budget in the target's table holds on loopback too; the run is readable and says why."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gateproof.toml").write_text(
        f'[targets.mine]\nurl = "{server.url}/v1"\nkey = {{ env = "{DEMO_KEY_ENV}" }}\n'
        "budget = { requests = 7, usd = 5 }\n"
    )
    (tmp_path / "own.toml").write_text(
        'says = "s"\nusers = 3\nduration_s = 30\nprices = { prompt = 1, completion = 2 }\n'
    )
    status = main(["load", "own.toml", "--target", "mine", "--out", "run"])
    run = read_run(tmp_path / "run")

    assert status == 5
    assert run.footer is not None
    assert run.footer["exit"] == 5
    assert "7 of 7 requests are sent" in run.footer["reason"]
    requests = run.loads[0]["summary"]["requests"]
    assert (requests["answered"] + requests["warm_up"], requests["failed"]) == (7, 0)
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize("pure", ["1", ""])
def test_a_run_tells_whether_it_read_with_compiled_code(
    pure: str, server: Bundled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that read in Python says that a process could carry more."""
    monkeypatch.setenv("GATEPROOF_PURE", pure)
    command = ["load", "chat-steady", "--target", f"{server.url}/v1", "--key-env", DEMO_KEY_ENV]
    options = ["--users", "2", "--seconds", "1", "--no-calibration", "--out", str(tmp_path / "run")]
    main([*command, *options])
    summary = read_run(tmp_path / "run").loads[0]["summary"]

    assert summary["requests"]["answered"] > 0
    built = find_spec("gateproof.loadtests.speedups") is not None
    assert summary["generator"]["compiled"] == (built and not pure)
    told = any("Answers were read in Python" in note for note in summary["notes"])
    assert told == (not summary["generator"]["compiled"])


def test_files_are_named_as_they_were_given(
    server: Bundled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trace is found from where the command is given; no file tells where that is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    rows = ["Timestamp,Request tokens,Response tokens", "0,50,3", "0.2,50,4"]
    (tmp_path / "mine" / "t.csv").write_text("\n".join(rows))
    (tmp_path / "mine" / "own.toml").write_text('says = "s"\ntrace = "t.csv"\nwarm_up_s = 0\n')
    url = f"{server.url}/v1"
    for number, extra in enumerate([["mine/own.toml"], ["chat-open", "--trace", "mine/t.csv"]]):
        command = ["load", *extra, "--target", url, "--key-env", DEMO_KEY_ENV]
        main([*command, "--no-calibration", "--out", f"run{number}"])
        load = read_run(tmp_path / f"run{number}").loads[0]
        requests = load["summary"]["requests"]

        assert requests["answered"] + requests["warm_up"] == 2
        assert load["summary"]["plan"]["trace"] == "mine/t.csv"
        plan = (tmp_path / f"run{number}" / load["folder"] / "plan.json").read_text()
        assert str(tmp_path) not in plan


def test_no_generator_outlives_who_started_it(server: Bundled, tmp_path: Path) -> None:
    """Killed without a word, the command leaves no load behind; what was recorded is whole."""
    command = [sys.executable, "-m", "gateproof", "load", "chat-steady", "--seconds", "60"]
    command += ["--target", f"{server.url}/v1", "--key-env", DEMO_KEY_ENV, "--no-calibration"]
    with subprocess.Popen(
        [*command, "--out", "run"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        (notes,) = _until(lambda: list(tmp_path.glob("run/load/*/generator.*.jsonl")))
        generator = Path("/proc", notes.name.split(".")[1])
        _until(lambda: '"tick"' in notes.read_text())
        process.kill()

    assert _until(lambda: not generator.exists() or "\nState:\tZ" in _state(generator))
    assert json.loads(notes.read_text().splitlines()[-1])["kind"] == "stop"


def _state(process: Path) -> str:
    """Read a process' state; one that has just ended has none."""
    try:
        return (process / "status").read_text()
    except OSError:
        return "\nState:\tZ"


def _until(find: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait until something is found."""
    end = time.monotonic() + seconds
    while not (found := find()) and time.monotonic() < end:
        time.sleep(0.02)
    assert found
    return found


@pytest.mark.parametrize(
    ("valid", "share", "wanted", "status", "says"),
    [
        (True, 0.985, 0.99, 1, "goodput missed: 98.50% of requests were inside all SLOs"),
        (True, 0.99, 0.99, 0, ""),
        (True, None, 0.99, 1, "goodput missed: no request was judged"),
        (True, 0.5, None, 0, ""),
        (False, 1.0, 0.99, 1, "the load run is not valid"),
    ],
    ids=["missed", "reached", "none", "not wanted", "invalid"],
)
def test_a_gate_decides(
    valid: bool,  # noqa: FBT001  # a case of a table
    share: float | None,
    wanted: float | None,
    status: int,
    says: str,
    tmp_path: Path,
) -> None:
    """``--goodput`` fails a run that missed it, after validity and before all is well."""
    summary: Any = SimpleNamespace(
        valid=valid,
        plan={"goodput": wanted},
        goodput=None if share is None else {"share": share},
    )
    got, why = _status(summary, tmp_path)

    assert (got, says in why) == (status, True)
