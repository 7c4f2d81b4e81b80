"""What the documentation says is run: each command of the README, and each name that it gives."""

import os
import re
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from gateproof.bundled import DEMO_KEY, Bundled, bundled_server
from gateproof.check import Verdict
from gateproof.loadfile import read_scenario
from gateproof.measure import measure_folder
from gateproof.run import ORDER

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip() and not line.startswith("#")
]
# What ends by itself only when it is told to.
FOREGROUND = ("gateproof serve", "locust ")
HOSTS = [command for command in COMMANDS if "--master" in command]
LIMITS = [command for command in COMMANDS if command.endswith("--target omai")]
# The whole of these runs in `.ci/run`; here a part of it shows that the command is right.
SHORTENED = {
    "gateproof prove": " --fault drop-done --profile openai",
    "gateproof audit": " --check sse --seconds 1 --users 2",
    "gateproof load ramp-to-knee": " --search step_s=0.5,requests=5,to=16,repeats=1",
}
BUSY = ("the generator was a bottleneck", "a limit of the generator's own")


@pytest.fixture(scope="module")
def server() -> Iterator[Bundled]:
    """Run the reference server."""
    with bundled_server() as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, server: Bundled) -> Path:
    """Make a working folder with a run in it, as the README's reader has by then."""
    place = tmp_path_factory.mktemp("reader")
    for name in ("loadtests",):
        (place / name).symlink_to(ROOT / name)
    done = _run(
        f"gateproof conform --target {server.url}/v1 --key-env GATEWAY_KEY --check sse", place
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (place / "gateproof-runs").iterdir()
    run.rename(run.with_name("RUN"))
    return place


def _run(
    command: str, place: Path, timeout_s: float = 60, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "GATEWAY_KEY": DEMO_KEY, **(env or {})}
    return subprocess.run(
        _argv(command),
        check=False,
        cwd=place,
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


def _argv(command: str) -> list[str]:
    name, *rest = shlex.split(command)
    return [sys.executable, "-m", name, *rest]


def _here(command: str, server: Bundled) -> str:
    port = server.url.rpartition(":")[2]
    return command.replace("127.0.0.1:8080", f"127.0.0.1:{port}").replace("--port 9090", "--port 0")


@pytest.mark.parametrize(
    "command",
    [c for c in COMMANDS if c not in LIMITS and not c.startswith(("make", *FOREGROUND))],
)
def test_readme_command_works(command: str, folder: Path, server: Bundled) -> None:
    """Each command of the README that ends by itself ends with status 0."""
    if command.startswith("gateproof init"):
        (folder / "gateproof.toml").unlink(missing_ok=True)
    if "--target local" in command and not (folder / "gateproof.toml").exists():
        pytest.fail("the README uses a target that no command before it writes")
    more = next((m for start, m in SHORTENED.items() if command.startswith(start)), "")
    done = _run(_here(command, server) + more, folder)
    # A machine that runs other tests as well may be too busy for a load run to count; it says so.
    busy = command.startswith("gateproof load") and any(why in done.stdout for why in BUSY)

    assert done.returncode == (1 if busy else 0), done.stdout + done.stderr


SCENARIO_FILES = [
    block
    for block in re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    if "[targets." not in block and "[[targets." not in block
]


@pytest.mark.parametrize("text", SCENARIO_FILES, ids=lambda text: text.partition("\n")[0][:40])
def test_readme_scenario_is_one(text: str) -> None:
    """What the README shows as a scenario's file is read as one."""
    assert read_scenario("own", text, place="README.md").says


@pytest.mark.parametrize(
    ("fault", "status", "says"),
    [
        ("/with/no-request-id", 0, "WAIVED       err.request-id"),
        ("", 1, "The waiver of err.request-id excuses nothing: it passes."),
    ],
    ids=["something to waive", "nothing to waive"],
)
def test_readme_file_works(
    fault: str, status: int, says: str, server: Bundled, tmp_path: Path
) -> None:
    """The README's gateproof.toml gives a target with an upstream, and a waiver that is held."""
    blocks = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    text = "".join(block for block in blocks if "[targets." in block)
    text = text.replace("http://127.0.0.1:4000", server.url + fault)
    text = text.replace("http://127.0.0.1:9090", server.url).replace("mock/{name}", "{name}")
    (tmp_path / "gateproof.toml").write_text(text, "utf-8")
    checks = "--check err.request-id --check gateway.text-intact"
    done = _run(f"gateproof conform --target mine {checks}", tmp_path)

    assert done.returncode == status, done.stdout + done.stderr
    assert says in done.stdout
    assert "no controlled upstream" not in done.stdout
    assert "1 pass" in done.stdout or "2 pass" in done.stdout


@pytest.mark.parametrize("command", LIMITS)
def test_readme_looks_for_limits(command: str, tmp_path: Path) -> None:
    """The README's commands look for OMAi's limits, with its target and its scenario."""
    blocks = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    (target,) = [block for block in blocks if block.startswith("[targets.omai]")]
    (scenario,) = [block for block in blocks if "\n[limits]\n" in block]
    names = re.findall(r'env = "(OMAI_[A-Z0-9_]+)"', target)
    word = {"OMAI_BASIC": "", "OMAI_BASIC_2": "-2", "OMAI_OTHER": ""}
    other = {"OMAI_OTHER": "-other"}
    keys = {n: f"sk-gateproof-omai-basic{word[n]}--docs{other.get(n, '')}" for n in names}
    with bundled_server(["--profile", "omai", "--clock-scale", "60"]) as omai:
        (tmp_path / "gateproof.toml").write_text(_here(target, omai) + "clock_scale = 60\n")
        (tmp_path / "our-limits.toml").write_text(scenario)
        done = _run(command, tmp_path, env=keys)

    # A minute that lasts a second can be too short to tell limiters apart by: what was found is not
    # looked at here, but that both looks were made, with every key that was named.
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert re.search(r"^Spent \d+ requests", done.stdout, re.MULTILINE)
    assert "was answered with status" not in done.stdout


def test_readme_hosts_make_one_load(server: Bundled, tmp_path: Path) -> None:
    """The README's master and two of its workers make a load together, and all samples arrive."""
    lead, work = HOSTS
    port = 20_000 + secrets.randbelow(10_000)
    lead = lead.replace("https://gateway.example", server.url).replace("run1", str(tmp_path / "1"))
    lead += f" --master-bind-port {port} --seconds 2 --warm-up 0"
    work = work.replace("10.0.0.1", "127.0.0.1") + f" --master-port {port}"
    env = {**os.environ, "GATEWAY_KEY": DEMO_KEY}
    with (tmp_path / "log").open("wb") as log:
        processes = [
            subprocess.Popen(_argv(command), cwd=ROOT, env=env, stdout=log, stderr=log)
            for command in (lead, work, work)
        ]
        try:
            statuses = [process.wait(60) for process in processes]
        finally:
            for process in processes:
                process.kill()
    got = measure_folder(tmp_path / "1")

    assert statuses == [0, 0, 0], (tmp_path / "log").read_text()
    assert sorted(path.name for path in (tmp_path / "1").glob("samples.*")) == [
        "samples.w0.bin",
        "samples.w1.bin",
    ]
    assert (got.requests["failed"], got.requests["answered"] > 0) == (0, True)


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if c.startswith(FOREGROUND) and c not in HOSTS]
)
def test_readme_server_starts(command: str, folder: Path, server: Bundled) -> None:
    """Each command of the README that serves says where, and ends when it is told to."""
    if command.startswith("locust"):
        command += " --web-port 0" if "--web-port" not in command else ""
    with subprocess.Popen(
        _argv(_here(command, server)),
        cwd=folder,
        env={**os.environ, "GATEWAY_KEY": DEMO_KEY},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "http://" in line:
                break
        process.terminate()
        said += process.stdout.read()

    assert "http://" in said


def test_readme_make_targets_exist() -> None:
    """Each make command of the README is a target of the Makefile, and CI runs it."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    wanted = [c.removeprefix("make ") for c in COMMANDS if c.startswith("make ")]

    assert wanted
    assert set(wanted) <= set(targets)


def test_readme_tells_every_verdict() -> None:
    """The table of verdicts names each verdict that a run can give."""
    told = re.findall(r"^\| ([a-z-]+) \|", README, re.MULTILINE)

    assert set(ORDER) == set(Verdict.__args__)  # type: ignore[attr-defined]  # a Literal's members
    assert set(ORDER) <= set(told)


def test_ci_runs_documented_commands_only() -> None:
    """Each line of .ci/run is a command of the README or of CONTRIBUTING.md."""
    documents = README + (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    lines = [
        line.replace(".venv/bin/", "")
        for line in (ROOT / ".ci/run").read_text("utf-8").splitlines()
        if line and not line.startswith(("#", "set ", "cd "))
    ]

    assert lines[0] == "make test"
    assert [line for line in lines if line not in documents] == []


def test_nothing_is_left_of_the_reader(folder: Path) -> None:
    """A conformance run leaves nothing in the working folder but its runs."""
    # The state is a file that its command names.
    left = {item.name for item in folder.iterdir() if not item.name.startswith("losi.db")}

    assert left <= {"gateproof-runs", "gateproof.toml", "loadtests"}
