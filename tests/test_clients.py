"""The clients' runner: its locks can be trusted, its results are counted, its mistakes are told."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).resolve().parent / "clients"
LOCKS = HERE / "locks"


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    """Return the runner as a module."""
    spec = importlib.util.spec_from_file_location("clients_run", HERE / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["clients_run"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_each_client_has_its_lock_and_jobs(runner: ModuleType) -> None:
    """There are as many locks as clients, and each client's jobs exist."""
    assert {lock.name for lock in LOCKS.iterdir()} == {one.name for one in runner.CLIENTS}
    assert all((HERE / one.language / one.jobs).exists() for one in runner.CLIENTS)


@pytest.mark.parametrize("lock", sorted(LOCKS.glob("*/requirements.lock")), ids=str)
def test_python_locks_hold_versions_and_hashes(lock: Path) -> None:
    """Every requirement is pinned with hashes, and no index has an address in the lock."""
    text = lock.read_text("ascii")

    blocks = re.split(r"\n(?=\S)", text.strip())
    assert all(re.match(r"[a-z0-9._-]+==\S+", block) for block in blocks)
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text


@pytest.mark.parametrize("lock", sorted(LOCKS.glob("*/package-lock.json")), ids=str)
def test_javascript_locks_hold_versions_and_hashes(lock: Path) -> None:
    """Every package is pinned with its hash, and comes from no address in the lock."""
    packages = {name: row for name, row in json.loads(lock.read_text())["packages"].items() if name}

    assert packages
    assert all(row["integrity"].startswith("sha512-") for row in packages.values())
    assert [name for name, row in packages.items() if "resolved" in row] == []


def test_results_are_counted(runner: ModuleType, tmp_path: Path) -> None:
    """Failures, errors and skipped jobs are told from those that passed, at any depth."""
    file = tmp_path / "results.xml"
    file.write_text(
        "<testsuites><testsuite><testcase/><testcase><failure/></testcase></testsuite>"
        "<testcase><error/></testcase><testcase><skipped/></testcase><testcase/></testsuites>"
    )

    assert runner._counts(file) == (2, 2, 1)
    assert runner._counts(tmp_path / "none.xml") == (0, 0, 0)


def test_unknown_client_is_answered_with_the_known(
    runner: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """A client that is not there ends the runner with status 2 and the valid names."""
    with pytest.raises(SystemExit) as caught:
        runner.main(["openai-cobol"])

    assert caught.value.code == 2
    assert "openai-python-httpx" in capsys.readouterr().err


def test_missing_node_is_an_error_only_where_it_is_required(
    runner: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without Node its clients are left out, or the run fails when it must not be."""
    monkeypatch.setattr(runner, "RESULTS", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert runner.main(["openai-javascript"]) == 0
    assert runner.main(["openai-javascript", "--require-node"]) == 4
