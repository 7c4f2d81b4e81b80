"""Runs a load scenario in a process of its own and gives its figures.

Strategy: importing Locust patches the whole process, so the generator is a subprocess that writes
samples; this module starts it in a clean environment, passes its progress on, bounds its time, and
measures what it left. What a stopped or killed run has written is measured all the same.

Rules. A target that is not on loopback is refused unless its origin is named as one that may be
loaded, and a budget is set. The key is passed on by its variable's name; its value is in no
argument and no file.
"""

import contextlib
import json
import math
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final

from gateproof.budget import Budget, budget_of
from gateproof.errors import TargetError, UsageError
from gateproof.manners import refuse_foreign
from gateproof.measure import LoadSummary, measure_folder
from gateproof.plan import FOLDER_VARIABLE, LoadPlan, check_plan
from gateproof.target import origin_of

__all__ = [
    "LoadRun",
    "budget_spent",
    "check_load",
    "generate",
    "in_vain",
    "run_load",
    "tail",
]

# Start-up takes 0.3 s on a quiet machine; a busy CI machine was seen to need ten times that.
_START_S: Final = 15.0
_STOP_S: Final = 5.0
_CALIBRATION_S: Final = 10.0  # two of them, of a second each, and of what thousands of streams take

_WEEK_S: Final = 7 * 86_400.0  # a page is left by Ctrl-C; nobody looks at one for longer


@dataclass(frozen=True, slots=True)
class LoadRun:
    """One load run to be made: its plan, where its samples go, and what no plan may hold.

    ``allowed_origins`` are those beside loopback that the operator named as his to load. With
    ``calibrate`` the generator measures its own error before the load and after it: two seconds.
    ``processes`` of them share the load out among themselves.
    """

    plan: LoadPlan
    out_dir: Path
    key_env: str | None = None
    allowed_origins: tuple[str, ...] = ()
    calibrate: bool = False
    page: Callable[[str], None] | None = None  # shows Locust's own page, and gets its address
    processes: int = 1


def run_load(
    run: LoadRun, progress: Callable[[Mapping[str, Any]], None] | None = None
) -> LoadSummary:
    """Make a load run, write ``load.json`` beside its samples, and give its figures.

    ``progress`` gets a line each second: progress_s, active, answered, failed, ttft_p50_ms,
    lag_max_ms. Raises UsageError for what cannot be run, and TargetError when no connection could
    be made at all. After Ctrl-C the samples so far are measured and KeyboardInterrupt goes on.
    """
    try:
        generate(run, progress)
    except KeyboardInterrupt:  # never of a run with a page, which Ctrl-C just ends
        with contextlib.suppress(UsageError):
            _write(measure_folder(run.out_dir), run.out_dir)
        raise
    try:
        summary = measure_folder(run.out_dir)
    except UsageError:
        raise RuntimeError(f"The load generator wrote nothing: {tail(run.out_dir)}") from None
    _write(summary, run.out_dir)
    for folder in later_runs(run.out_dir):
        with contextlib.suppress(UsageError):  # it was begun, and nothing was sent
            _write(measure_folder(folder), folder)
    kinds = {row["kind"] for row in summary.errors}
    if (
        not summary.requests["answered"]
        and kinds
        and kinds <= {"connect", "connect-timeout", "tls"}
    ):
        raise TargetError(
            f"No connection to {origin_of(run.plan.target)}: {summary.errors[0]['says']}.",
            "Check the address, and that the target runs.",
        )
    return summary


def generate(run: LoadRun, progress: Callable[[Mapping[str, Any]], None] | None = None) -> None:
    """Let the generator make a run's requests and write what it writes; figures are the caller's.

    Raises UsageError for what cannot be run.
    """
    check_load(run)
    run.out_dir.mkdir(parents=True, exist_ok=True)
    if any(run.out_dir.glob("samples.*.bin")):
        raise UsageError(f"{run.out_dir} holds a load run already.", "Give an empty folder.")
    (run.out_dir / "plan.json").write_text(run.plan.as_text(), "utf-8")
    with (
        as_file(files("gateproof.loadtests") / "locustfile.py") as locustfile,
        tempfile.TemporaryDirectory(prefix="gateproof-load-") as empty,
    ):
        command = [sys.executable, "-m", "locust", "-f", str(locustfile), *_arguments(run)]
        status = _generate(command, Path(empty), run, progress)
    if status == UsageError.exit_status:
        raise UsageError("The load generator refused its options.", tail(run.out_dir))


def later_runs(folder: Path) -> list[Path]:
    """Return the folders of runs that were begun on Locust's page after the first one."""
    found = [path for path in folder.glob("run-*") if path.name[4:].isdecimal()]
    return sorted(found, key=lambda path: int(path.name[4:]))


def check_load(run: LoadRun) -> None:
    """Refuse what may not be loaded, or cannot be, before anything is written or sent."""
    plan = run.plan
    check_plan(plan, plan.scenario)
    budget = budget_of(plan.budget, "The budget") if plan.budget else None
    refuse_foreign(plan.target, run.allowed_origins, budget)
    _check_processes(run, budget)
    if run.key_env and not os.environ.get(run.key_env):
        raise UsageError(
            f"The environment variable {run.key_env} is not set.",
            f"It is to hold the target's key: export {run.key_env}=…",
        )


def _check_processes(run: LoadRun, budget: Budget | None) -> None:
    """Refuse what several processes cannot share among themselves."""
    plan, count = run.plan, run.processes
    if count > 1 and plan.limits:
        raise UsageError(
            f"{plan.scenario} is made by one process, and {count} were asked for.",
            "Leave --processes out.",
        )
    parts = {"cap": plan.cap}
    if budget is not None:
        parts |= {"budget of requests": budget.requests, "budget of tokens": budget.tokens}
    for name, whole in parts.items():
        if whole is not None and whole < count:
            raise UsageError(
                f"The {name} is {whole}, which cannot be shared out to {count} processes.",
                "Give at least one to each, or use fewer processes.",
            )


def budget_spent(folder: Path) -> str:
    """Say how a run's budget ended its load before the plan was done; empty when it did not."""
    return _noted(folder, "budget")


def in_vain(folder: Path) -> str:
    """Say why a load was ended because nothing but hopeless failures came; empty when it was not.

    Such are failures to connect, and statuses of 4xx other than 429.
    """
    return _noted(folder, "in-vain")


def _noted(folder: Path, kind: str) -> str:
    """Give the words of the first note of a kind that the generator's processes wrote."""
    for path in sorted(folder.glob("generator.*.jsonl")):
        for line in path.read_bytes().split(b"\n"):
            if line.startswith(b'{"kind": "%b"' % kind.encode()):
                with contextlib.suppress(ValueError):
                    return str(json.loads(line)["says"])
    return ""


def _arguments(run: LoadRun) -> list[str]:
    """Write the run as options of Locust and of ours; what the plan holds is in its file."""
    out_dir = run.out_dir.resolve()
    options: dict[str, object] = {
        "--plan": out_dir / "plan.json",
        "--samples": out_dir,
        "--key-env": run.key_env,
        "--allow-origin": origin_of(run.plan.target) if run.allowed_origins else None,
        "--loglevel": "WARNING",
    }
    flags = [
        "--headless",
        "--only-summary",
        "--progress",
        "--exit-with-stdin",
        "--exit-code-on-error",
        "0",
    ]
    if run.processes > 1:
        # Below the ports that connections are given, so that few things can be there.
        port = 20_000 + secrets.randbelow(10_000)
        options |= {
            "--processes": run.processes,
            "--master-host": "127.0.0.1",
            "--master-port": port,
            "--master-bind-host": "127.0.0.1",
            "--master-bind-port": port,
        }
    if not run.calibrate:
        flags.append("--no-calibration")
    if run.page is not None:  # on a free port
        flags[:2] = ["--autostart", "--web-host=127.0.0.1", "--web-port=0"]
    return [*flags, *(f"{name}={value}" for name, value in options.items() if value is not None)]


def _environment(home: Path) -> dict[str, str]:
    """Give the generator's environment: no options of Locust's from outside, an empty home."""
    keep = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LOCUST_", "PYTEST_")) and name != "PYTHONWARNINGS"
    }
    package_root = str(Path(__file__).resolve().parent.parent)
    paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
    place = {FOLDER_VARIABLE: str(Path.cwd())}
    return keep | place | {"HOME": str(home), "PYTHONPATH": os.pathsep.join(paths)}


def _generate(
    command: list[str],
    empty: Path,
    run: LoadRun,
    progress: Callable[[Mapping[str, Any]], None] | None,
) -> int:
    """Run the generator to its end, or end it; give its exit status."""
    # An empty working folder: Locust reads locust.conf and pyproject.toml where it stands.
    with (run.out_dir / "locust.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  # our own interpreter and arguments
            command,
            cwd=empty,
            env=_environment(empty),
            stdin=subprocess.PIPE,  # its end, however we end, ends the generator
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # Ctrl-C comes to us alone, and we end it in order
        )
        reader = threading.Thread(
            target=_pass_on, args=(process, log, progress, run.page), daemon=True
        )
        reader.start()
        try:
            status = process.wait(_WEEK_S if run.page else _longest_s(run.plan))
        except subprocess.TimeoutExpired:
            status = _end(process)
        except KeyboardInterrupt:
            if run.page is None:
                _end(process, _STOP_S + (_CALIBRATION_S / 2 if run.calibrate else 0.0))
                raise
            status = _end(process, run.plan.drain_s + _STOP_S)  # as a page is left
        finally:
            reader.join(_STOP_S)
            if process.stdin is not None:
                process.stdin.close()
    return status


def _longest_s(plan: LoadPlan) -> float:
    """Give how long a generator may take before it is ended from outside."""
    return _START_S + math.ceil(plan.duration_s or 0.0) + 2 * plan.drain_s + _CALIBRATION_S


def _end(process: "subprocess.Popen[bytes]", patience_s: float = _STOP_S) -> int:
    """Ask the generator to stop, then make it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(process.pid, number)  # it leads its session: workers of its own as well
            else:
                process.send_signal(number)
        try:
            return process.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
        except KeyboardInterrupt:  # a second one: now, and nothing is left running
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    return process.wait()


def _pass_on(
    process: "subprocess.Popen[bytes]",
    log: Any,  # an open binary file
    progress: Callable[[Mapping[str, Any]], None] | None,
    page: Callable[[str], None] | None,
) -> None:
    """Give the generator's lines of progress to the caller, and all others to the log."""
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            if line.startswith(b'{"progress_s"'):
                with contextlib.suppress(ValueError):
                    row = json.loads(line)
                    if progress is not None:
                        progress(row)
            elif line.startswith(b'{"page"') and page is not None:
                with contextlib.suppress(ValueError):
                    page(str(json.loads(line)["page"]))
            else:
                with contextlib.suppress(ValueError):  # closed: the generator outlived its end
                    log.write(line)


def tail(folder: Path) -> str:
    """Give the last lines of the generator's log."""
    log = folder / "locust.log"
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join(text.strip().splitlines()[-6:])


def _write(summary: LoadSummary, folder: Path) -> None:
    """Write ``load.json``, whole or not at all."""
    text = json.dumps({**summary.as_json(), "written_at_ns": time.time_ns()}, indent=1)
    part = folder / "load.json.part"
    part.write_text(text + "\n", encoding="utf-8")
    part.replace(folder / "load.json")
