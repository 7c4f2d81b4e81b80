"""The rooms are one package however it is installed: checkout, folder, editable, or wheel.

The artefacts are built once from the tracked files, without the network; each mode has an
environment of its own that borrows this one's dependencies. Where there is a C compiler, all that
is installed has the compiled hot path; a bare checkout has not.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateproof import __version__

ROOT = Path(__file__).resolve().parent.parent
SPEEDUPS = "gateproof/loadtests/speedups" + sysconfig.get_config_var("EXT_SUFFIX")
COMPILES = sys.platform == "linux" and bool(
    shutil.which(sysconfig.get_config_var("CC").partition(" ")[0])
    and (Path(sysconfig.get_path("include")) / "Python.h").exists()
)
ROOMS = ("specs", "suites", "loadtests", "reference_server", "reports")
PROBE = """
import importlib, json, sys
from importlib.resources import files
import gateproof
from gateproof.plugin import ROOMS
from gateproof.suite import load_checks
rooms = {room: importlib.import_module(f"gateproof.{room}") for room in ROOMS}
checks = load_checks()
print(json.dumps({
    "version": gateproof.__version__,
    "home": gateproof.__file__,
    "rooms": {room: [module.__name__, module.__file__] for room, module in rooms.items()},
    "same": all(getattr(gateproof, room) is module for room, module in rooms.items()),
    "checks": sorted(checks),
    "functions": sorted({c.function.__module__.rpartition(".")[0] for c in checks.values()}),
    "bare": sorted(set(ROOMS) & set(sys.modules)),
    "document": len((files("gateproof.specs") / "openai.yaml").read_text("utf-8")),
    "kills": len((files("gateproof.suites") / "kills.toml").read_text("utf-8")),
    "compiled": importlib.import_module("gateproof.loadtests.hot").COMPILED,
    "profiles": len(list((files("gateproof.specs") / "profiles").iterdir())),
}))
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command and return what it printed; its failure is shown whole."""
    # What the tests' own environment puts first must not stand in for what was installed.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tracked() -> list[str]:
    """Return the tracked files, by their paths from the root."""
    listed = run("git", "ls-files", "-z", cwd=ROOT).split("\0")
    return [name for name in listed if name and (ROOT / name).is_file()]


@dataclass(frozen=True, slots=True)
class Built:
    """A clean copy of the tracked files, and what was built from it."""

    copy: Path
    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build the source distribution, and the wheel out of it."""
    if not (ROOT / ".git").exists():
        pytest.skip("only a checkout knows which files are tracked")
    folder = tmp_path_factory.mktemp("built")
    copy = folder / "copy"
    for name in tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, cwd=copy)
    [sdist] = folder.glob("*.tar.gz")
    [wheel] = folder.glob("*.whl")
    for left in ("build", "gateproof.egg-info"):
        shutil.rmtree(copy / left, ignore_errors=True)
    return Built(copy, sdist, wheel)


def environment(folder: Path) -> Path:
    """Make an environment without gateproof that sees this one's dependencies; give its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    [packages] = folder.glob("lib/python*/site-packages")
    # The borrowed folder's own .pth files are not read, so an editable gateproof in it is not seen.
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    return folder / "bin" / "python"


def install(python: Path, *what: str | Path) -> None:
    """Install without dependencies and without the network."""
    pip = ["--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--no-compile"]
    pip += ["--disable-pip-version-check", "--force-reinstall"]
    run(
        sys.executable, "-m", "pip", "--python", python, "install", *pip, *what, cwd=python.parent
    )  # fmt: skip


def from_checkout(built: Built, python: Path) -> Path:
    """Install nothing: the checkout is the working folder."""
    assert python.exists()
    for left in (built.copy / "loadtests").glob("*.so"):  # of an editable installation
        left.unlink()
    return built.copy


def from_folder(built: Built, python: Path) -> Path:
    """Install the checkout's folder."""
    install(python, built.copy)
    shutil.rmtree(built.copy / "build", ignore_errors=True)
    return python.parent


def from_editable(built: Built, python: Path) -> Path:
    """Install the checkout so that its files are used in place."""
    install(python, "-e", built.copy)
    return python.parent


def from_wheel(built: Built, python: Path) -> Path:
    """Install the wheel."""
    install(python, built.wheel)
    return python.parent


def expected(files: list[str]) -> set[str]:
    """Return where the tracked files of core and rooms stand in a wheel."""
    core = {name for name in files if name.startswith("gateproof/")}
    return core | {f"gateproof/{name}" for name in files if name.partition("/")[0] in ROOMS}


def test_the_wheel_holds_the_tracked_files(built: Built) -> None:
    """The wheel holds each tracked file of core and rooms, what was compiled, and no more."""
    with zipfile.ZipFile(built.wheel) as wheel:
        packed = {name for name in wheel.namelist() if not name.endswith("/")}
    names = {name for name in packed if ".dist-info/" not in name}

    assert names == expected(tracked()) | ({SPEEDUPS} if COMPILES else set())
    assert {Path(name).name for name in packed - names} >= {"METADATA", "LICENSE", "RECORD"}


def test_the_source_distribution_holds_what_the_wheel_needs(built: Built) -> None:
    """The source distribution holds each tracked file of core, rooms and tests, and the build."""
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    files = [name for name in tracked() if name.partition("/")[0] in ("gateproof", *ROOMS)]

    assert {*files, "setup.py", "pyproject.toml", "LICENSE", "README.md"} <= names


@pytest.mark.parametrize(
    ("install_mode", "in_place"),
    [(from_checkout, True), (from_folder, False), (from_editable, True), (from_wheel, False)],
    ids=["checkout", "folder", "editable", "wheel"],
)
def test_a_room_has_one_identity(
    install_mode: Callable[[Built, Path], Path],
    in_place: bool,  # noqa: FBT001  # a column of the table
    built: Built,
    tmp_path: Path,
) -> None:
    """In each mode rooms are ``gateproof.X``, their objects exist once, and their data is there."""
    python = environment(tmp_path / "env")
    cwd = install_mode(built, python)
    told: dict[str, Any] = json.loads(run(python, "-c", PROBE, cwd=cwd))
    home = built.copy if in_place else tmp_path / "env"
    base = built.copy if in_place else Path(told["home"]).parent

    assert told["version"] == __version__
    assert Path(told["home"]).is_relative_to(home)
    assert told["rooms"] == {
        room: [f"gateproof.{room}", str(base / room / "__init__.py")] for room in ROOMS
    }
    assert (told["same"], told["bare"]) == (True, [])
    assert told["functions"] == ["gateproof.suites"]
    assert told["compiled"] == (COMPILES and install_mode is not from_checkout)
    assert len(told["checks"]) > 100
    assert min(told["document"], told["kills"], told["profiles"]) > 0
    if install_mode is not from_checkout:
        assert run(python.with_name("gateproof"), "--version", cwd=tmp_path) == (
            f"gateproof {__version__}\n"
        )
    if install_mode is from_wheel:
        audit_in_an_empty_folder(python, tmp_path / "empty")


def audit_in_an_empty_folder(python: Path, folder: Path) -> None:
    """Audit the bundled server as a stranger does: an installed wheel, an empty folder."""
    folder.mkdir()
    options = ("--check", "sse", "--users", "2", "--seconds", "3")
    out = run(python.with_name("gateproof"), "audit", *options, cwd=folder)
    [made] = (folder / "gateproof-runs").iterdir()

    assert str(Path("gateproof-runs") / made.name / "report.html") in out
    assert {"run.jsonl", "report.html", "junit.xml", "summary.json", "summary.md"} <= {
        item.name for item in made.iterdir()
    }
    assert [item.name for item in folder.iterdir()] == ["gateproof-runs"]
