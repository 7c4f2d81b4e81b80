"""Runs a load scenario in a process of its own and gives its figures.

Strategy: importing Locust patches the whole process, so the generator is a subprocess that writes
samples; this module starts it in a clean environment, passes its progress on, bounds its time, and
measures what it left. What a stopped or killed run has written is measured all the same.

Rules. A target that is not on loopback is refused unless its origin is named as one that may be
loaded. The key is passed on by its variable's name; its value is in no argument and no file.
"""

import contextlib
import ipaddress
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from gateproof.errors import TargetError, UsageError, unknown_name
from gateproof.measure import LoadSummary, measure_folder

__all__ = ["SCENARIOS", "LoadRun", "check_load", "origin_of", "refuse_foreign", "run_load"]

SCENARIOS: Final[dict[str, str]] = {
    "chat-steady": "streamed chat, closed model: N users, each asks again after its answer",
    "chat-open": "streamed chat, open model: arrivals by a schedule, waiting for no answer",
}
_OPEN: Final = frozenset({"chat-open"})

# Start-up takes 0.3 s on a quiet machine; a busy CI machine was seen to need ten times that.
_START_S: Final = 15.0
_STOP_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class LoadRun:
    """One load run to be made; ``users`` for the closed model, ``rate_per_s`` for the open one."""

    scenario: str
    target_base_url: str
    model: str
    out_dir: Path
    users: int | None = None
    rate_per_s: float | None = None
    duration_s: float = 10.0
    warm_up_s: float | None = None  # None: a tenth of the duration, at most 10 s
    drain_s: float = 10.0  # how long running answers may still take at the end
    key_env: str | None = None
    seed: int = 1
    arrivals: str = "poisson"
    cap: int | None = None
    think_s: float = 0.0
    max_tokens: int | None = None
    prompt_words: int | None = None
    slos: Mapping[str, float] = field(default_factory=dict)
    usage: bool = True
    fresh_connections: bool = False
    timeout_first_byte_s: float | None = None
    timeout_idle_s: float | None = None
    allow_load_origin: str | None = None


def origin_of(base_url: str) -> str:
    """Give scheme, host and port of a URL, the port always written out."""
    parts = urlsplit(base_url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == -1:
        raise UsageError(
            f"{base_url!r} is no base URL.",
            "Wanted http:// or https://, a host and perhaps a port and a path.",
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port or (443 if parts.scheme == 'https' else 80)}"


def refuse_foreign(base_url: str, allowed_origin: str | None) -> None:
    """Raise a UsageError when the target is neither on loopback nor named as one to be loaded."""
    origin = origin_of(base_url)
    host = urlsplit(base_url).hostname or ""
    if host == "localhost":
        return
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return
    if allowed_origin is not None and origin_of(allowed_origin) == origin:
        return
    named = f"; the origin named is {allowed_origin}" if allowed_origin else ""
    raise UsageError(
        f"{origin} is not on loopback, and load may not be put on it unasked{named}.",
        "If you may load it, say so in its table of gateproof.toml: load_allowed = true.",
    )


def run_load(
    run: LoadRun, progress: Callable[[Mapping[str, Any]], None] | None = None
) -> LoadSummary:
    """Make a load run, write ``load.json`` beside its samples, and give its figures.

    ``progress`` gets a line each second: progress_s, active, answered, failed, ttft_p50_ms,
    lag_max_ms. Raises UsageError for what cannot be run, and TargetError when no connection could
    be made at all. After Ctrl-C the samples so far are measured and KeyboardInterrupt goes on.
    """
    check_load(run)
    run.out_dir.mkdir(parents=True, exist_ok=True)
    if any(run.out_dir.glob("samples.*.bin")):
        raise UsageError(f"{run.out_dir} holds a load run already.", "Give an empty folder.")
    module = run.scenario.replace("-", "_") + ".py"
    with (
        as_file(files("gateproof.loadtests") / module) as locustfile,
        tempfile.TemporaryDirectory(prefix="gateproof-load-") as empty,
    ):
        command = [sys.executable, "-m", "locust", "-f", str(locustfile), *_arguments(run)]
        try:
            status = _generate(command, Path(empty), run, progress)
        except KeyboardInterrupt:
            with contextlib.suppress(UsageError):
                _write(measure_folder(run.out_dir), run.out_dir)
            raise
    if status == UsageError.exit_status:
        raise UsageError("The load generator refused its options.", _tail(run.out_dir))
    try:
        summary = measure_folder(run.out_dir)
    except UsageError:
        raise RuntimeError(f"The load generator wrote nothing: {_tail(run.out_dir)}") from None
    _write(summary, run.out_dir)
    kinds = {row["kind"] for row in summary.errors}
    if (
        not summary.requests["answered"]
        and kinds
        and kinds <= {"connect", "connect-timeout", "tls"}
    ):
        raise TargetError(
            f"No connection to {origin_of(run.target_base_url)}: {summary.errors[0]['says']}.",
            "Check the address, and that the target runs.",
        )
    return summary


def check_load(run: LoadRun) -> None:
    """Refuse what cannot be meant, before anything is written or sent."""
    if run.scenario not in SCENARIOS:
        raise unknown_name("load scenario", run.scenario, SCENARIOS)
    refuse_foreign(run.target_base_url, run.allow_load_origin)
    wanted, other = ("rate_per_s", "users") if run.scenario in _OPEN else ("users", "rate_per_s")
    value = getattr(run, wanted)
    if value is None or value <= 0 or getattr(run, other) is not None:
        raise UsageError(
            f"{run.scenario} needs {wanted}, more than 0, and takes no {other}; "
            f"got {wanted}={value}, {other}={getattr(run, other)}.",
            SCENARIOS[run.scenario],
        )
    if run.key_env and not os.environ.get(run.key_env):
        raise UsageError(
            f"The environment variable {run.key_env} is not set.",
            f"It is to hold the target's key: export {run.key_env}=…",
        )
    if run.duration_s <= 0:
        raise UsageError(f"The duration is {run.duration_s:g} s.", "Wanted more than 0 seconds.")


def _arguments(run: LoadRun) -> list[str]:
    """Write the run as options of Locust and of the scenario."""
    warm_up_s = min(run.duration_s / 10, 10.0) if run.warm_up_s is None else run.warm_up_s
    open_model = run.scenario in _OPEN
    options: dict[str, object] = {
        "--host": run.target_base_url,
        "--users": 1 if open_model else run.users,
        "--spawn-rate": 1 if open_model else max(run.users or 1, 1),
        "--for-s": run.duration_s,
        "--stop-timeout": math.ceil(run.drain_s),
        "--loglevel": "WARNING",
        "--model": run.model,
        "--samples": run.out_dir.resolve(),
        "--seed": run.seed,
        "--warm-up-s": warm_up_s,
        "--key-env": run.key_env,
        "--max-tokens": run.max_tokens,
        "--prompt-words": run.prompt_words,
        "--slo": ",".join(f"{name}={limit:g}" for name, limit in run.slos.items()) or None,
        "--timeout-first-byte-s": run.timeout_first_byte_s,
        "--timeout-idle-s": run.timeout_idle_s,
    }
    if open_model:
        options |= {"--rate": run.rate_per_s, "--arrivals": run.arrivals, "--cap": run.cap}
    else:
        options["--think-s"] = run.think_s
    flags = ["--headless", "--only-summary", "--progress", "--exit-code-on-error", "0"]
    if not run.usage:
        flags.append("--no-usage")
    if run.fresh_connections:
        flags.append("--fresh-connections")
    named = [f"{name}={value}" for name, value in options.items() if value is not None]
    return [*flags, *named]


def _environment(home: Path) -> dict[str, str]:
    """Give the generator's environment: no options of Locust's from outside, an empty home."""
    keep = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LOCUST_", "PYTEST_")) and name != "PYTHONWARNINGS"
    }
    package_root = str(Path(__file__).resolve().parent.parent)
    paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return keep | {"HOME": str(home), "PYTHONPATH": os.pathsep.join(paths)}


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
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # Ctrl-C comes to us alone, and we end it in order
        )
        reader = threading.Thread(target=_pass_on, args=(process, log, progress), daemon=True)
        reader.start()
        try:
            status = process.wait(_START_S + math.ceil(run.duration_s) + run.drain_s)
        except subprocess.TimeoutExpired:
            status = _end(process)
        except KeyboardInterrupt:
            _end(process)
            raise
        finally:
            reader.join(_STOP_S)
    return status


def _end(process: "subprocess.Popen[bytes]") -> int:
    """Ask the generator to stop, then make it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(_STOP_S)
    return process.wait()


def _pass_on(
    process: "subprocess.Popen[bytes]",
    log: Any,  # an open binary file
    progress: Callable[[Mapping[str, Any]], None] | None,
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
            else:
                with contextlib.suppress(ValueError):  # closed: the generator outlived its end
                    log.write(line)


def _tail(folder: Path) -> str:
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
