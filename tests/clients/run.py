"""Lets the official clients judge the reference server: their whole job, unmodified.

Each client, in the versions that matter, has a lock and an environment of its own under ``.envs``
(cached by the lock's hash), and two reference servers of its own: a plain one, and one that lets
one request through in two seconds. The jobs are tests, pytest for Python and Node's own runner for
JavaScript; what they need to know of the servers comes in ``GATEPROOF_*`` variables.

    python tests/clients/run.py                       all clients, two at a time
    python tests/clients/run.py openai-python         one of them
    python tests/clients/run.py openai-python -- -k stream    options after -- go to its runner

Results: a line for each client, the output of those that failed, and JUnit in ``.envs/results``.
Exit status: 0 all passed, 1 a job failed, 2 wrong options, 4 an environment or server failed.
"""

import argparse
import concurrent.futures
import contextlib
import hashlib
import json
import os
import selectors
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ENVIRONMENTS = ROOT / ".envs"
RESULTS = ENVIRONMENTS / "results"

INSTALL_S = 300.0
JOBS_S = 120.0
READY_S = 30.0
STOP_S = 10.0


class ClientsError(Exception):
    """Something other than a job failed: what, and what to do."""


@dataclass(frozen=True, slots=True)
class Client:
    """A client in one version; its lock is the folder of its name in ``locks``."""

    name: str
    language: str
    jobs: str
    """The folder or file of its jobs, below the folder of its language."""
    says: str


CLIENTS = (
    Client("openai-python", "python", "openai_jobs", "the current one, on httpx2"),
    Client("openai-python-httpx", "python", "openai_jobs", "the last one on httpx"),
    Client("anthropic-python", "python", "anthropic_jobs", "the current one, on httpx2"),
    Client("anthropic-python-httpx", "python", "anthropic_jobs", "the last one on httpx"),
    Client("openai-javascript", "javascript", "openai.test.mjs", "the current one"),
    Client("openai-javascript-6", "javascript", "openai.test.mjs", "the last one for Node 20"),
    Client("anthropic-javascript", "javascript", "anthropic.test.mjs", "the current one"),
    Client("anthropic-javascript-0", "javascript", "anthropic.test.mjs",
           "the last one with x-api-key and version 2023-06-01"),
)  # fmt: skip
"""The longest first, so that two at a time end together."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the jobs of a client came to."""

    client: Client
    passed: int
    failed: int
    skipped: int
    seconds: float
    output: str

    @property
    def line(self) -> str:
        """Say it in one line."""
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        counts = f"{self.passed} passed, {self.failed} failed{skipped}"
        return f"{self.client.name:<24} {counts}  ({self.seconds:.1f} s; {self.client.says})"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the clients' jobs; return the exit status."""
    options = _options(argv)
    chosen = [one for one in CLIENTS if not options.clients or one.name in options.clients]
    if shutil.which("node") is None or shutil.which("npm") is None:
        if options.require_node:
            _say("clients: Node and npm are not here, but --require-node asks for them")
            return 4
        left = [one.name for one in chosen if one.language == "javascript"]
        chosen = [one for one in chosen if one.language != "javascript"]
        _say(f"without Node (not found), and so without: {', '.join(left) or 'nothing'}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    outcomes: list[Outcome] = []
    errors: list[str] = []
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        futures = [pool.submit(judge, client, options.rest) for client in chosen]
        for future in concurrent.futures.as_completed(futures):
            try:
                outcomes.append(future.result())
            except ClientsError as error:
                errors.append(str(error))
                _say(f"clients: {error}")
            else:
                _say(outcomes[-1].line)
    for outcome in outcomes:
        if outcome.failed:
            _say(f"\n--- {outcome.client.name}\n{outcome.output.rstrip()}")
    passed, failed = sum(one.passed for one in outcomes), sum(one.failed for one in outcomes)
    seconds = time.monotonic() - started
    _say(f"{len(outcomes)} clients: {passed} passed, {failed} failed in {seconds:.0f} s")
    return 4 if errors else int(failed > 0)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    names = ", ".join(one.name for one in CLIENTS)
    parser = argparse.ArgumentParser(
        description="Let the official clients judge the reference server.",
        epilog=f"clients: {names}",
    )
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help="only these (all)")
    parser.add_argument(
        "--require-node", action="store_true", help="fail without Node, instead of leaving it out"
    )
    given = list(sys.argv[1:] if argv is None else argv)
    cut = given.index("--") if "--" in given else len(given)
    options = parser.parse_args(given[:cut])
    options.rest = given[cut + 1 :]
    unknown = sorted(set(options.clients) - {one.name for one in CLIENTS})
    if unknown:
        parser.error(f"unknown client {unknown[0]!r}; known: {names}")
    return options


def judge(client: Client, rest: Sequence[str] = ()) -> Outcome:
    """Prepare a client's environment, start its servers, and run its jobs."""
    home = prepare(client)
    log = RESULTS / f"{client.name}.server.log"
    with log.open("wb") as errors, contextlib.ExitStack() as stack:
        plain = stack.enter_context(_server(errors.fileno()))
        limited = stack.enter_context(
            _server(errors.fileno(), "--limit", "requests=1/2s,algorithm=sliding-log,scope=key")
        )
        variables = {
            "GATEPROOF_URL": plain,
            "GATEPROOF_LIMITED_URL": limited,
            "GATEPROOF_ODDITIES": json.dumps(_oddities()),
        }
        return _run(client, home, variables, rest)


# Environments


def prepare(client: Client) -> Path:
    """Return the environment of a client, made from its lock unless it is there."""
    lock_folder = HERE / "locks" / client.name
    lock = lock_folder / (
        "requirements.lock" if client.language == "python" else "package-lock.json"
    )
    digest = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]
    home = ENVIRONMENTS / f"{client.name}-{digest}"
    if (home / ".ready").exists():
        return home
    for old in ENVIRONMENTS.glob(f"{client.name}-????????????"):
        shutil.rmtree(old)
    if client.language == "python":
        _make([sys.executable, "-m", "venv", "--without-pip", str(home)], cwd=ROOT)
        python = home / "bin" / "python"
        _make(
            [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet",
             "--disable-pip-version-check", "--only-binary", ":all:", "--no-deps",
             "--require-hashes", "--requirement", str(lock)],
            cwd=ROOT,
        )  # fmt: skip
    else:
        home.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(lock_folder / name, home / name)
        _make(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"],
            cwd=home,
        )
    (home / ".ready").touch()
    return home


def _make(command: Sequence[str], cwd: Path) -> None:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, timeout=INSTALL_S
    )
    if done.returncode:
        shown = (done.stdout + done.stderr)[-3000:]
        raise ClientsError(f"{' '.join(command[:4])} … ended with {done.returncode}:\n{shown}")


# Servers


def _server_command(*options: str) -> list[str]:
    return [sys.executable, "-m", "gateproof.reference_server", *options]


def _server_variables() -> dict[str, str]:
    # The checkout that this file is in, whichever one is installed.
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@contextlib.contextmanager
def _server(errors: int, *options: str) -> Iterator[str]:
    """Start a reference server; it ends with its standard input, however we end."""
    process = subprocess.Popen(
        _server_command("--port", "0", "--exit-with-stdin", *options),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=_server_variables(),
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            line = process.stdout.readline() if selector.select(READY_S) else b""
        if not line:
            raise ClientsError("the reference server did not start; see .envs/results/*.server.log")
        yield json.loads(line)["url"]
    finally:
        process.stdin.close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _oddities() -> list[str]:
    done = subprocess.run(
        _server_command("--list-faults", "--json"),
        capture_output=True, check=True, env=_server_variables(), timeout=READY_S,
    )  # fmt: skip
    return [row["name"] for row in json.loads(done.stdout) if row["kind"] == "oddity"]


# Jobs


def _run(client: Client, home: Path, variables: Mapping[str, str], rest: Sequence[str]) -> Outcome:
    # What the caller's own environment says to Python, pytest or a client must not reach the jobs.
    foreign = ("PYTHON", "PYTEST", "OPENAI", "ANTHROPIC", "NODE_OPTIONS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    results = RESULTS / f"{client.name}.xml"
    results.unlink(missing_ok=True)
    folder = HERE / client.language
    if client.language == "python":
        command = [
            str(home / "bin" / "python"), "-m", "pytest", "-c", str(folder / "pytest.ini"),
            "--rootdir", str(folder), "--junitxml", str(results), str(folder / client.jobs), *rest,
        ]  # fmt: skip
    else:
        # A module finds its packages in the folders above it, so the jobs have to be there.
        jobs = home / "jobs"
        shutil.rmtree(jobs, ignore_errors=True)
        shutil.copytree(folder, jobs)
        command = [
            "node", "--test", "--test-reporter", "spec", "--test-reporter-destination", "stdout",
            "--test-reporter", "junit", "--test-reporter-destination", str(results),
            *rest, str(jobs / client.jobs),
        ]  # fmt: skip
    started = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=home, env={**kept, **variables}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False, timeout=JOBS_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        shown = (error.stdout or b"").decode("utf-8", "replace")[-3000:]
        raise ClientsError(f"{client.name} took more than {JOBS_S:.0f} s:\n{shown}") from None
    passed, failed, skipped = _counts(results)
    if not passed + failed or (done.returncode and not failed):
        raise ClientsError(f"{client.name} ended with {done.returncode}:\n{done.stdout[-3000:]}")
    seconds = time.monotonic() - started
    return Outcome(client, passed, failed, skipped, seconds, done.stdout)


def _counts(results: Path) -> tuple[int, int, int]:
    """Count the cases that passed, failed and were skipped in a JUnit file."""
    if not results.exists():
        return 0, 0, 0
    cases = list(ET.parse(results).iter("testcase"))
    failed = sum(1 for case in cases if case.find("failure") is not None
                 or case.find("error") is not None)  # fmt: skip
    skipped = sum(1 for case in cases if case.find("skipped") is not None)
    return len(cases) - failed - skipped, failed, skipped


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
