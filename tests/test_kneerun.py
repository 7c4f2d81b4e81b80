"""Capacity searches end to end: real steps against a server whose capacity is known."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from gateproof.reference_server.server import Options, serve_in_thread

from gateproof import kneerun
from gateproof.cli import main
from gateproof.commands.search import BUDGET_SPENT, search_into
from gateproof.errors import TargetError, UsageError
from gateproof.falling import Step
from gateproof.kneerun import check_search, run_search
from gateproof.loadfile import load_scenario, plan_of
from gateproof.loadrun import LoadRun
from gateproof.plan import LoadPlan
from gateproof.run import RunWriter, read_run
from tests.reference_probes import KEY

TTFT_S = 0.15
SLOTS = 6
CAPACITY = SLOTS / TTFT_S
SEARCH = "from=16,to=128,step_s=1.2,requests=1,repeats=2,resolution=0.3"


def _plan(url: str, **more: Any) -> LoadPlan:
    """Give a short search with even arrivals; an answer takes one slot for TTFT_S."""
    named: dict[str, Any] = {
        "arrivals": "constant",
        "max_tokens": 1,
        "slos": {"ttft_ms": 1000 * TTFT_S + 100},
        "search": {"from": 16, "to": 128, "step_s": 0.6, "requests": 1, "repeats": 1},
        "drain_s": 5.0,
    }
    return plan_of("ramp-to-knee", target=f"{url}/v1", model="gpt-4o-mini", **(named | more))


def test_the_capacity_of_a_server_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command finds slots / service time, and writes steps, row, page and answer.

    A queue passes the SLO within a step of 1.2 s only a tenth above the capacity; its growth is
    seen before. On a machine too busy for the generator the search has to say so, and to claim
    nothing above.
    """
    monkeypatch.setenv("TEST_KEY", KEY)
    with serve_in_thread(Options(ttft_ms=1000 * TTFT_S, slots=SLOTS)) as url:
        status = main(
            ["load", "ramp-to-knee", "--target", f"{url}/v1", "--key-env", "TEST_KEY",
             "--out", str(tmp_path / "run"), "--arrivals", "constant", "--max-tokens", "1",
             "--slo", f"ttft_ms={1000 * TTFT_S + 100:g}", "--search", SEARCH,
             "--for-rate", "100"]
        )  # fmt: skip
    out = capsys.readouterr().out
    run = read_run(tmp_path / "run")
    found = run.searches[0]["summary"]
    knee = found["knee"]
    page = (tmp_path / "run" / "report.html").read_text()

    assert found["outcome"] in {"found", "generator"}
    assert status == (0 if found["outcome"] == "found" else 1)
    assert (knee["low"] or 0) <= CAPACITY * 1.05
    if found["outcome"] == "found":
        assert CAPACITY * 0.6 <= knee["estimate"] <= CAPACITY * 1.4
        assert (knee["high"] or CAPACITY) >= CAPACITY
        assert "TTFT against offered load" in page
    broken = [step for step in found["steps"] if step["level"] >= 2 * CAPACITY]
    assert all(step["limited"] or step["share"] < 0.95 for step in broken)
    assert found["headline"] in out
    assert "replicas" in found["replicas"]["says"]
    assert 'id="capacity-0"' in page
    folder = tmp_path / "run" / "load" / "ramp-to-knee"
    kept = json.loads((folder / "search.json").read_text())
    assert kept["steps"] == found["steps"]
    for step in found["steps"]:
        assert (folder / step["folder"] / "load.json").is_file()
        assert sum(n for _, n in step["slices"]) == step["n"]
    for path in folder.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes()


def test_an_interrupted_search_keeps_its_steps(tmp_path: Path) -> None:
    """Ctrl-C in the second step leaves a search of the first, in its file and in the run's."""

    def tell(line: str) -> None:
        if line.startswith("step 2"):
            signal.raise_signal(signal.SIGINT)

    writer = RunWriter(tmp_path)
    with serve_in_thread(Options()) as url:
        plan = _plan(url, search={"from": 20, "to": 40, "step_s": 1.2, "requests": 1})
        run = LoadRun(plan, tmp_path / "load", calibrate=False)
        with pytest.raises(KeyboardInterrupt):
            search_into(writer, run, "load", tell, None)
    writer.close()
    kept = json.loads((tmp_path / "load" / "search.json").read_text())
    rows = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]

    assert len(kept["steps"]) == 1
    assert (kept["outcome"], kept["stopped"]) == ("unfinished", "it was interrupted")
    assert [row["kind"] for row in rows] == ["search", "note"]
    assert rows[0]["summary"]["steps"] == kept["steps"]


def test_a_spent_budget_is_the_exit_status(tmp_path: Path) -> None:
    """A search that its budget ended says so, and ends with status 5."""
    writer = RunWriter(tmp_path)
    with serve_in_thread(Options()) as url:
        run = LoadRun(_plan(url, budget={"requests": 5}), tmp_path / "load", calibrate=False)
        found, status, why = search_into(writer, run, "load", lambda _: None, 50)
    writer.close()

    assert (status, why) == (BUDGET_SPENT, found.stop.why)
    assert found.summary["replicas"]["count"] is None


def test_a_budget_ends_a_search(tmp_path: Path) -> None:
    """All steps together keep one budget: when it is spent after a step, that one still counts."""
    with serve_in_thread(Options()) as url:
        plan = _plan(url, budget={"requests": 10})  # the first step has ten
        found = run_search(LoadRun(plan, tmp_path / "search", calibrate=False))

    assert found.stop.outcome == "budget"
    assert len(found.summary["steps"]) == 1
    assert "did not come to its end: the budget is spent" in found.summary["headline"]


def test_no_target_is_an_error(tmp_path: Path) -> None:
    """Where nothing listens, the first step raises what a load run does."""
    run = LoadRun(_plan("http://127.0.0.1:9"), tmp_path / "search", calibrate=False)
    with pytest.raises(TargetError):
        run_search(run)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"slos": {}}, "searches for the load at which the SLOs hold, and names none."),
        ({"search": {"by": "users"}}, "searches by users, which needs the closed model"),
    ],
)
def test_a_search_that_cannot_be_meant_is_refused(more: dict[str, Any], says: str) -> None:
    """Without SLOs, or by what the arrivals are not, nothing is sent."""
    with pytest.raises(UsageError, match=re.escape(says)):
        check_search(_plan("http://127.0.0.1:9", **more))


def test_the_goodput_of_the_run_goes_before_the_files() -> None:
    """``--goodput`` sets the share that a level needs."""
    plan = _plan("http://127.0.0.1:9", goodput=0.5)

    assert check_search(plan).goodput == 0.5


def test_search_options_go_over_the_file_key_by_key() -> None:
    """What ``--search`` does not name stays as the scenario has it."""
    before = load_scenario("ramp-to-knee").settings["search"]
    plan = plan_of("ramp-to-knee", target="http://127.0.0.1:9", model="m", search={"to": 64})

    assert plan.search == {**before, "to": 64}


def test_growing_steps_and_late_generators_are_told() -> None:
    """A level that broke for its growth alone is named, and so are steps that count for nothing."""
    search = check_search(_plan("http://127.0.0.1:9"))
    steps = [
        Step(40, 50, 50, offered=40.0, seconds=1, growth=(0.2, 0.1, 0.3)),
        Step(80, 50, 50, limited="late", seconds=2),
    ]
    notes = kneerun._notes(search, steps)  # what it says is a rule of its own

    assert len(notes) == 3
    assert notes[0].startswith("Steps lasted 1 to 2 s; that of a longer load is said as far as")
    assert notes[1].startswith("At 40 requests/s the SLOs held to the end of a step, but waiting")
    assert notes[2].startswith("In 1 of 2 steps the generator was the bottleneck;")
