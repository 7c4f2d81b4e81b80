"""The plugin makes checks pytest items: recorded once, judged one by one, one identity a room."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateproof.bundled import DEMO_KEY, DEMO_KEY_ENV, Bundled, bundled_server
from gateproof.run import read_run

ROOT = Path(__file__).resolve().parent.parent
SUITES = ROOT / "suites"
QUIET = ("-p", "no:locust", "-p", "no:schemathesis", "-p", "no:cacheprovider")


@pytest.fixture(scope="module")
def server() -> Iterator[Bundled]:
    """Run the reference server."""
    with bundled_server() as running:
        yield running


def run(program: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, with the demo key at hand."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(
        [sys.executable, *program],
        cwd=cwd,
        env={**env, DEMO_KEY_ENV: DEMO_KEY, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def run_pytest(cwd: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
    """Run pytest as anyone does, with our plugin on the command line."""
    named = ("-p", "gateproof.plugin", "-c", os.devnull, "--rootdir", str(cwd))
    return run(["-m", "pytest", *QUIET, *named, *map(str, options)], cwd)


def test_plain_pytest_runs_the_suites(server: Bundled, tmp_path: Path) -> None:
    """Plain pytest with our plugin judges the checks of a file and leaves a run folder."""
    target = ("--target", f"{server.url}/v1", "--key-env", DEMO_KEY_ENV)
    done = run_pytest(tmp_path, *target, "--check", "sse", "--run-folder", "run", SUITES)
    told = read_run(tmp_path / "run")

    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert told.footer is not None
    # Not applicable is what other profiles alone promise.
    assert {row["verdict"] for row in told.results} - {"not-applicable"} == {"pass"}
    # Each scenario was recorded once, however many checks read it.
    names = [(row["scenario"], row["index"]) for row in told.exchanges]
    assert len(names) == len(set(names)) < len(told.results)
    assert [item.name for item in tmp_path.iterdir()] == ["run"]


def test_a_finding_is_shown_without_our_stack(server: Bundled, tmp_path: Path) -> None:
    """A broken rule fails its item; pytest shows the rule, what was wanted and what came."""
    target = ("--target", f"{server.url}/with/drop-done/v1", "--key-env", DEMO_KEY_ENV)
    done = run_pytest(tmp_path, *target, "--check", "sse.done-terminator", SUITES / "streaming.py")

    assert done.returncode == 1
    assert "sse.done-terminator [chat.stream]: fail (MUST)" in done.stdout
    assert "  wanted " in done.stdout
    assert "  got " in done.stdout
    assert "plugin.py" not in done.stdout
    assert DEMO_KEY not in done.stdout + done.stderr


def test_a_waived_finding_is_skipped_with_its_reason(server: Bundled, tmp_path: Path) -> None:
    """What the operator accepts is a skip with his reason; the run is not failed by it."""
    rows = [
        f'[[targets.t.waive]]\ncheck = "{check}"\nreason = "ticket 12"\n'
        for check in ("sse.done-terminator", "err.request-id")
    ]
    (tmp_path / "t.toml").write_text(
        f'[targets.t]\nurl = "{server.url}/with/drop-done/v1"\n'
        f'key = {{ env = "{DEMO_KEY_ENV}" }}\n' + "".join(rows),
        "utf-8",
    )
    target = ("--target", "t", "--target-file", "t.toml", "--run-folder", "run")
    done = run_pytest(tmp_path, *target, "--check", "sse.done-terminator", "-rs", SUITES)
    told = read_run(tmp_path / "run")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "waived: ticket 12" in done.stdout
    assert {row["waiver"] for row in told.results} == {"ticket 12"}
    assert told.notes == ()


@pytest.mark.parametrize(
    ("waiver", "note"),
    [
        (
            'check = "sse.done-terminator"\nreason = "x"',
            "The waiver of sse.done-terminator excuses nothing: it passes. Remove it.",
        ),
        (
            'check = "sse.done-terminator"\nreason = "x"\nuntil = 2026-01-01',
            "The waiver of sse.done-terminator ended on 2026-01-01.",
        ),
    ],
    ids=["it passes", "it ended"],
)
def test_a_stale_waiver_fails_the_run(
    waiver: str, note: str, server: Bundled, tmp_path: Path
) -> None:
    """A waiver that excuses nothing any more, or that has ended, is told and fails the run."""
    (tmp_path / "t.toml").write_text(
        f'[targets.t]\nurl = "{server.url}/v1"\nkey = {{ env = "{DEMO_KEY_ENV}" }}\n'
        f"[[targets.t.waive]]\n{waiver}\n",
        "utf-8",
    )
    target = ("--target", "t", "--target-file", "t.toml", "--run-folder", "run")
    done = run_pytest(tmp_path, *target, "--check", "sse.done-terminator", SUITES)

    assert done.returncode == 1
    assert read_run(tmp_path / "run").notes == (note,)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--target", "http://127.0.0.1:1/v1", "--check", "x"], "Unknown check: 'x'."),
        (["--target", "http://127.0.0.1:1/v1", "--run-folder", "file"], "file cannot be made"),
        ([], "a check needs a target: add --target URL --profile NAME"),
    ],
    ids=["check", "folder", "no target"],
)
def test_a_mistake_is_a_usage_error(options: list[str], says: str, tmp_path: Path) -> None:
    """A mistake is pytest's usage error, with our message and no traceback."""
    (tmp_path / "file").touch()
    done = run_pytest(tmp_path, *options, SUITES / "models.py")

    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "INTERNALERROR" not in done.stdout + done.stderr
    assert done.returncode in (2, pytest.ExitCode.USAGE_ERROR)


def test_without_a_check_there_is_no_run(tmp_path: Path) -> None:
    """Where no check was collected nothing is recorded, and pytest says that nothing ran."""
    (tmp_path / "test_mine.py").touch()
    done = run_pytest(tmp_path, "--target", "http://127.0.0.1:1/v1", "test_mine.py")

    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert [item.name for item in tmp_path.iterdir()] == ["test_mine.py"]


SPY = """
import json, sys
import pytest
class Spy:
    def pytest_collection_finish(self, session):
        from gateproof.check import CHECKS
        items = session.items
        print("SPY" + json.dumps({
            "same": all(item.check is CHECKS[item.check.id] for item in items),
            "modules": sorted({item.getparent(pytest.Module).obj.__name__ for item in items}),
            "functions": sorted({item.check.function.__module__ for item in items}),
            "bare": sorted({"suites", "specs", "reports"} & set(sys.modules)),
            "count": len(items),
        }))
sys.exit(pytest.main(sys.argv[1:], plugins=[Spy()]))
"""


@pytest.mark.parametrize("mode", ["importlib", "prepend"])
def test_a_room_is_collected_under_its_one_name(mode: str, tmp_path: Path) -> None:
    """Whatever pytest's import mode, a check is the object that ``gateproof.suites.x`` holds."""
    options = ["-p", "gateproof.plugin", "--target", "http://127.0.0.1:1/v1", "--collect-only"]
    more = ["-q", "--import-mode", mode, "-c", os.devnull]
    done = run(["-c", SPY, *QUIET, *options, *more, str(SUITES)], tmp_path)
    [line] = [line for line in done.stdout.splitlines() if line.startswith("SPY")]
    told = json.loads(line[3:])

    assert done.returncode == 0, done.stdout + done.stderr
    assert (told["same"], told["bare"]) == (True, [])
    assert told["modules"] == told["functions"]
    assert all(name.startswith("gateproof.suites.") for name in told["modules"])
    assert told["count"] > 100


def test_a_room_under_its_bare_name_is_refused(tmp_path: Path) -> None:
    """Our room under its bare name is refused; somebody else's module of that name is not."""
    program = (
        "import sys, pytest; sys.path.insert(0, sys.argv[1]); import suites;"
        "sys.exit(pytest.main(sys.argv[2:]))"
    )
    options = [*QUIET, "-p", "gateproof.plugin", "-c", os.devnull, "--rootdir", str(tmp_path)]
    (tmp_path / "suites.py").touch()
    (tmp_path / "test_mine.py").write_text("def test_it(): pass\n", "utf-8")
    ours = run(["-c", program, str(ROOT), *options, "test_mine.py"], tmp_path)
    theirs = run(["-c", program, str(tmp_path), *options, "test_mine.py"], tmp_path)

    assert ours.returncode == pytest.ExitCode.USAGE_ERROR
    assert "suites was imported under its bare name; import gateproof.suites" in ours.stderr
    assert theirs.returncode == 0, theirs.stdout + theirs.stderr
