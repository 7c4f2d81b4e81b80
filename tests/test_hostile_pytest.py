"""A user's own pytest set-up does not reach our runs, and our runs leave nothing of pytest's."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateproof.bundled import DEMO_KEY, DEMO_KEY_ENV, Bundled, bundled_server
from gateproof.suite import load_checks

HOSTILE = {
    "pytest.ini": "[pytest]\naddopts = --cov -n 2 -W error --nope\npython_files = x\n",
    "tox.ini": "[pytest]\naddopts = --nope\n",
    "pyproject.toml": '[tool.pytest.ini_options]\naddopts = "--nope"\nrequired_plugins = "nope"\n',
    "setup.cfg": "[tool:pytest]\naddopts = --nope\n",
    "conftest.py": "raise RuntimeError('the user\\'s conftest was run')\n",
    "test_theirs.py": "raise RuntimeError('the user\\'s test was collected')\n",
    "suites.py": "raise RuntimeError('the user\\'s module was imported')\n",
    "reports.py": "raise RuntimeError('the user\\'s module was imported')\n",
    "hypothesis.ini": "[hypothesis]\nprofile = nope\n",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Bundled]:
    """Run the reference server."""
    with bundled_server() as running:
        yield running


def test_conform_works_in_a_hostile_folder(server: Bundled, tmp_path: Path) -> None:
    """In a folder and an environment made for another pytest, a run is what it is elsewhere."""
    for name, text in HOSTILE.items():
        (tmp_path / name).write_text(text, "utf-8")
    options = ("--target", f"{server.url}/v1", "--key-env", DEMO_KEY_ENV, "--cases", "5")
    # Checks that generate their cases are the ones that would leave a database of examples.
    wanted = ["sse", *(check.id for check in load_checks().values() if check.generative)]
    done = subprocess.run(
        [sys.executable, "-m", "gateproof", "conform", *options]
        + [f"--check={check}" for check in wanted],
        cwd=tmp_path,
        env={
            **os.environ,
            DEMO_KEY_ENV: DEMO_KEY,
            "PYTEST_ADDOPTS": "--nope",
            "PYTEST_PLUGINS": "nope",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stdout + done.stderr
    assert " pass." in done.stdout
    assert {item.name for item in tmp_path.iterdir()} == {*HOSTILE, "gateproof-runs"}
