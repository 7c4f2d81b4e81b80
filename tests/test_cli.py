"""The command line: fast to start, one clear message for each mistake, the documented status.

Long, because its table has a row for each mistake that can be made.
"""

import _thread
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateproof import __version__
from gateproof.bundled import DEMO_KEY, DEMO_KEY_ENV, Bundled, bundled_server
from gateproof.cli import EXIT_STATUS, main, parser
from gateproof.live import Live
from gateproof.report import write_report
from gateproof.run import read_run
from tests.liars import lying, reply

HEAVY = (
    "asyncio", "gevent", "h11", "httpcore", "httpx", "hypothesis", "jinja2", "locust", "numpy",
    "pandas", "pytest", "schemathesis", "altair", "uvloop", "yaml", "ssl",
)  # fmt: skip
VERBS = ("audit", "conform", "judge", "load", "serve", "prove", "report", "list", "explain", "init")
HTML = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"


def gateproof(*args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "gateproof", *args],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(scope="module")
def server() -> Iterator[Bundled]:
    """Run the reference server."""
    with bundled_server() as running:
        yield running


def call(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """Run the command in this process; return its status and what it said."""
    status: object = None
    try:
        status = main(args)
    except SystemExit as ended:  # argparse ends so
        status = ended.code
    assert isinstance(status, int)
    told = capsys.readouterr()
    return status, told.out, told.err


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["conform", "--help"]])
def test_help_loads_nothing_heavy(args: list[str], tmp_path: Path) -> None:
    """What only prints a text imports none of the libraries that take long."""
    program = (
        "import sys; from gateproof.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: sys.stderr.write(' '.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *args],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = {name.partition(".")[0] for name in done.stderr.split()}

    assert loaded & set(HEAVY) == set()
    assert len(loaded) < 120


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The version is that of the package."""
    assert call(capsys, "--version") == (0, f"gateproof {__version__}\n", "")


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The help of a verb says what it does and shows an example of it."""
    status, out, _ = call(capsys, verb, "--help")

    assert status == 0
    assert f"gateproof {verb}" in out[out.index("example:") :]


def test_the_help_tells_each_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    """The statuses are told by the help, each with its meaning."""
    _, out, _ = call(capsys, "--help")

    assert EXIT_STATUS in out
    assert [line.split()[0] for line in EXIT_STATUS.splitlines()[1:]] == [
        "0", "1", "2", "3", "4", "5", "130"
    ]  # fmt: skip


def test_each_example_can_be_parsed() -> None:
    """The example of each verb is a command that the parser takes."""
    actions = parser()._subparsers
    assert actions is not None
    [verbs] = [action for action in actions._group_actions if action.choices]
    for verb in verbs.choices.values():  # type: ignore[union-attr]  # sub-parsers are a dict
        _, name, *rest = verb.epilog.splitlines()[1].split()
        # What follows `serve` is for the reference server's own parser.
        args = [name, "--", *rest] if name == "serve" else [name, *rest]
        assert parser().parse_args(args).verb == name


DEAD = "http://127.0.0.1:1/v1"

# name: (arguments, status, what the message says)
MISTAKES: dict[str, tuple[list[str], int, list[str]]] = {
    "no verb": ([], 2, ["required: VERB"]),
    "unknown verb": (["tset"], 2, ["invalid choice: 'tset'", "conform"]),
    "unknown option": (["conform", "--tarket", "x"], 2, ["unrecognized arguments: --tarket"]),
    "no target": (["conform"], 2, ["No target is named.", "--target"]),
    "no file": (["conform", "--target", "local"], 2, ["There is no gateproof.toml.", "init"]),
    "no such file": (
        ["conform", "--target", "local", "--config", "nope.toml"],
        2,
        ["There is no nope.toml."],
    ),
    "no such target": (
        ["conform", "--target", "lokal", "--config", "good.toml"],
        2,
        ["Unknown target: 'lokal'.", "Known: local."],
    ),
    "a malformed file": (
        ["conform", "--target", "local", "--config", "bad.toml"],
        2,
        ["bad.toml is not TOML", "Correct it there."],
    ),
    "a URL without scheme": (
        ["conform", "--target", "127.0.0.1:4000/v1"],
        2,
        ["Not a usable target URL: '127.0.0.1:4000/v1'.", "such as http://"],
    ),
    "a URL with a password": (
        ["conform", "--target", "http://me:hunter22@127.0.0.1/v1"],
        2,
        ["carries a user name or a password", "--key-env"],
    ),
    "a dead port": (["conform", "--target", DEAD], 3, ["cannot be reached", "Is the gateway"]),
    "an unknown host": (
        ["conform", "--target", "http://gateproof.invalid/v1"],
        3,
        ["cannot be reached at http://gateproof.invalid/v1"],
    ),
    "TLS to a plain port": (
        ["conform", "--target", "https:SERVER/v1"],
        3,
        ["cannot be reached", "is it http instead of https?"],
    ),
    "no key": (["conform", "--target", "http:SERVER/v1"], 3, ["without a key", "--key-env NAME"]),
    "a wrong key": (
        ["conform", "--target", "http:SERVER/v1", "--key-env", "WRONG_KEY"],
        3,
        ["refuses the key in $WRONG_KEY (status 401)"],
    ),
    "a key that is not set": (
        ["conform", "--target", DEAD, "--key-env", "NOT_SET"],
        2,
        ["$NOT_SET, which is not set", "export NOT_SET=…"],
    ),
    "the key as its name": (
        ["conform", "--target", DEAD, "--key-env", "sk-hunter22"],
        2,
        ["--key-env is not the name of an environment variable"],
    ),
    "not the API": (
        ["conform", "--target", "http:SERVER", "--key-env", DEMO_KEY_ENV],
        3,
        ["knows neither /models nor /chat/completions", "ends in /v1"],
    ),
    "an origin that is not allowed": (
        ["conform", "--target", DEAD, "--key-env", DEMO_KEY_ENV, "--allow-origin", "http://x"],
        2,
        [f"would send ${DEMO_KEY_ENV} to http://127.0.0.1:1", "Allowed: http://x."],
    ),
    "unknown profile": (
        ["conform", "--target", DEAD, "--profile", "opnai"],
        2,
        ["Unknown profile: 'opnai'.", "openai"],
    ),
    "unknown check": (
        ["conform", "--target", DEAD, "--check", "sse.done-terminatr"],
        2,
        ["Unknown check: 'sse.done-terminatr'.", "sse.done-terminator"],
    ),
    "unknown model": (
        ["conform", "--target", "http:SERVER/v1", "--key-env", DEMO_KEY_ENV, "--model", "x",
         "--upstream-models", "a"],
        2,
        ["--upstream-models says nothing without an upstream."],
    ),
    "no room for the run": (
        ["conform", "--target", "http:SERVER/v1", "--key-env", DEMO_KEY_ENV, "--out", "good.toml"],
        2,
        ["good.toml cannot be made", "--out DIR"],
    ),
    "a run in the way": (
        ["conform", "--target", "http:SERVER/v1", "--key-env", DEMO_KEY_ENV, "--out", "old"],
        2,
        ["old already holds a run."],
    ),
    "cases that are no number": (
        ["conform", "--target", DEAD, "--cases", "many"],
        2,
        ["--cases: many is not a whole number from 1 to 100000"],
    ),
    "no run to judge": (["judge", "nope"], 2, ["There is no run in 'nope'.", "run.jsonl"]),
    "no run to report": (["report", "nope"], 2, ["There is no run in 'nope'.", "run.jsonl"]),
    "not a run": (["report", "old"], 2, ["has no header"]),
    "unknown load": (
        ["load", "chat-stedy", "--target", "http:SERVER/v1"],
        2,
        ["Unknown load scenario: 'chat-stedy'.", "chat-steady"],
    ),
    "load on a foreign machine": (
        ["load", "chat-steady", "--target", "http://192.0.2.1/v1"],
        2,
        ["is not on loopback", "load_allowed", "budget = {", "--allow-origin http://192.0.2.1"],
    ),
    "a rate of nothing": (
        ["load", "chat-open", "--target", DEAD, "--rate", "0"],
        2,
        ["--rate must be a number above 0", "is 0"],
    ),
    "unknown fault to prove": (["prove", "--fault", "drop-don"], 2, ["drop-don", "drop-done"]),
    "unknown fault to audit": (["audit", "--faults", "drop-don"], 2, ["drop-don", "drop-done"]),
    "a fault without the bundled server": (
        ["audit", "--target", DEAD, "--faults", "drop-done"],
        2,
        ["--faults is for the bundled server."],
    ),
    "unknown kind": (["list", "chekcs"], 2, ["invalid choice: 'chekcs'", "checks"]),
    "unknown id": (["explain", "drop-don"], 2, ["Unknown id: 'drop-don'.", "drop-done"]),
    "explain for no profile": (["explain", "drop-done", "--profile", "x"], 2, ["Known: "]),
    "init over a file": (["init", DEAD, "--out", "good.toml"], 2, ["is not overwritten"]),
    "init without a URL": (["init", "local"], 2, ["Not a usable target URL: 'local'."]),
    "init with a name": (["init", DEAD, "--name", "a b"], 2, ["cannot be a target's name"]),
    "init on a dead port": (["init", DEAD], 3, ["cannot be reached"]),
}  # fmt: skip


@pytest.mark.parametrize(("args", "status", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gives_one_message(
    args: list[str],
    status: int,
    says: list[str],
    server: Bundled,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A mistake ends with its status and one message, and with no traceback and no secret."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WRONG_KEY", "sk-hunter22")
    (tmp_path / "good.toml").write_text(f'[targets.local]\nurl = "{DEAD}"\n', "utf-8")
    (tmp_path / "bad.toml").write_text("targets.local", "utf-8")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "run.jsonl").touch()
    port = server.url.rpartition(":")[2]
    got, out, err = call(capsys, *(arg.replace("SERVER", f"//127.0.0.1:{port}") for arg in args))

    assert (got, out) == (status, "")
    assert [text for text in says if text not in err] == []
    assert "Traceback" not in err
    assert "hunter22" not in err
    assert {item.name for item in tmp_path.iterdir()} <= {"good.toml", "bad.toml", "old"} | (
        {"gateproof-runs"} if args[:1] == ["load"] else set()
    )


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (HTML, ["answers with web pages (status 200, text/html)", "ends in /v1"]),
        (b"SSH-2.0-OpenSSH_9.6\r\n", ["does not answer in HTTP/1.1"]),
        (b"", ["does not answer in HTTP/1.1"]),
    ],
    ids=["a web page", "another protocol", "nothing"],
)
def test_what_is_no_api_is_not_judged(
    answer: bytes, says: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is no API ends with status 3 before a run begins."""
    with lying(reply(answer)) as liar:
        status, out, err = call(capsys, "conform", "--target", liar.url)

    assert (status, out) == (3, "")
    assert [text for text in says if text not in err] == []


def test_an_error_of_our_own_has_its_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What nobody foresaw ends with status 4, with the traceback and a word to the user."""
    from gateproof.commands import list as verb  # noqa: PLC0415  # the verb is patched

    monkeypatch.setattr(verb, "rows_of", lambda *_: 1 // 0)
    status, _, err = call(capsys, "list", "profiles")

    assert status == 4
    assert "ZeroDivisionError" in err
    assert err.endswith("this is an error of gateproof's own; please report it.\n")


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    """Whoever reads only the first line gets no traceback."""
    done = subprocess.run(
        f"{sys.executable} -m gateproof list requirements | head -1",
        shell=True, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert (done.stdout.count("\n"), done.stderr) == (1, "")


@pytest.mark.parametrize(
    "what", ["checks", "requirements", "scenarios", "profiles", "faults", "loads"]
)
@pytest.mark.parametrize("profile", [None, "osmapi"])
def test_lists_are_for_people_and_for_programs(
    what: str, profile: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each kind is listed a line each, and as JSON with an id and a sentence for each."""
    more = ["--profile", profile] if profile else []
    status, text, _ = call(capsys, "list", what, *more)
    _, as_json, _ = call(capsys, "list", what, *more, "--json")
    rows = json.loads(as_json)

    assert status == 0
    assert all(row["id"] and row["says"] for row in rows)
    shown = [row["id"] for row in rows if not row.get("excused") or what != "checks"]
    assert [line.split()[0] for line in text.splitlines()[: len(shown)]] == shown
    assert shown


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("sse.done-terminator", ["check sse.done-terminator", "MUST", "drop-done (openai)"]),
        ("OSM-43", ["requirement OSM-43", "judged by   cost.sum"]),
        ("chat.stream", ["scenario chat.stream", "sse.done-terminator"]),
        ("drop-done", ["fault drop-done", "/with/drop-done/v1"]),
        ("drop-field:usage", ["fault drop-field", "/with/drop-field:…/v1"]),
        ("osmapi", ["profile osmapi", "osmAPI", "cost.stream"]),
        ("chat-open", ["load chat-open", "gateproof load chat-open", "    rate_per_s = 10"]),
    ],
)
def test_an_id_is_explained(name: str, says: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever has an id is explained in full."""
    status, out, _ = call(capsys, "explain", name)

    assert status == 0
    assert [text for text in says if text not in out] == []
    assert max(map(len, out.splitlines())) <= 110


def test_an_explanation_is_of_one_profile(capsys: pytest.CaptureFixture[str]) -> None:
    """A check is explained at the level that it has in the profile, with the profile's reason."""
    _, out, _ = call(capsys, "explain", "tool.choice.required", "--profile", "osmapi")

    assert "in osmapi   SHOULD" in out
    assert "passes (OSM-27)." in out


def test_init_writes_a_file_that_works(
    server: Bundled,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The file that init writes names models and variables, holds no secret, and can be used."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MY_KEY", DEMO_KEY)
    status, out, _ = call(capsys, "init", f"{server.url}/v1", "--key-env", "MY_KEY")
    text = Path("gateproof.toml").read_text("utf-8")
    commented = re.sub(r'^# (?=\[|[a-z_"-][a-z_.-]*"? = )', "", text, flags=re.MULTILINE)

    assert (status, out) == (
        0, "Wrote gateproof.toml. Next: gateproof conform --target local\n"
    )  # fmt: skip
    assert DEMO_KEY not in text
    assert tomllib.loads(text) == {
        "targets": {
            "local": {
                "url": f"{server.url}/v1",
                "profile": "openai",
                "key": {"env": "MY_KEY"},
                "models": {"chat": "gpt-4o-mini"},
            }
        }
    }
    assert {"upstream", "waive", "disclaims", "headers", "concurrency", "load_allowed"} <= set(
        tomllib.loads(commented)["targets"]["local"]
    )
    assert call(capsys, "conform", "--target", "local", "--check", "models", "--out", "run")[0] == 0
    assert DEMO_KEY not in Path("run/run.jsonl").read_text("utf-8")


def test_init_writes_no_name_that_could_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A target's model names are quoted, and those that could rewrite a line are left out."""
    names = ['a"b\\c', "x\n[targets.evil]", "\u202eabc", "é😀", "\ud800", "\x7f"]
    body = json.dumps({"data": [{"id": name} for name in names] + [{"id": 1}, None, {}]}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    monkeypatch.chdir(tmp_path)
    with lying(reply(head % len(body) + body)) as liar:
        status, _, _ = call(capsys, "init", liar.url)
    text = Path("gateproof.toml").read_text("utf-8")

    assert status == 0
    assert tomllib.loads(text)["targets"].keys() == {"local"}
    assert tomllib.loads(text)["targets"]["local"]["models"] == {"chat": 'a"b\\c'}
    assert '# It lists "a\\"b\\\\c", "é😀".' in text


def test_serve_is_the_reference_server(tmp_path: Path) -> None:
    """Serve says where it listens, passes its options on, and ends on Ctrl-C."""
    with subprocess.Popen(
        [sys.executable, "-m", "gateproof", "serve", "--port", "0", "--profile", "osmapi"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)

    assert ready["url"].startswith("http://127.0.0.1:")
    assert ready["pid"] == process.pid
    assert DEMO_KEY in err
    assert process.returncode == 0
    wrong = gateproof("serve", "--profile", "nope", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "Unknown profile 'nope'" in wrong.stderr


def test_an_interrupted_run_can_be_read(tmp_path: Path) -> None:
    """Ctrl-C in the middle of recording leaves a run folder that can be read and reported."""
    silent = socket.create_server(("127.0.0.1", 0))
    ok = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
    with silent, subprocess.Popen(
        [sys.executable, "-m", "gateproof", "conform", "--target", url, "--out", "run"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        # The two requests of the probe are answered; whatever comes then is never answered.
        for _ in range(2):
            wire, _ = silent.accept()
            with wire:
                wire.recv(65536)
                wire.sendall(ok)
        wire, _ = silent.accept()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        wire.close()
    run = read_run(tmp_path / "run")

    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert "gateproof report run" in err
    assert run.footer is None
    assert run.checks
    assert run.notes == ("The run was interrupted; what was recorded before that is here.",)
    assert gateproof("report", "run", cwd=tmp_path).returncode == 0


def test_an_interrupted_load_run_is_kept(
    server: Bundled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in a load run leaves its figures until then, and says where they are."""
    monkeypatch.chdir(tmp_path)
    told: list[object] = []

    def interrupt(_live: object, row: object) -> None:
        told.append(row)
        if len(told) == 2:
            _thread.interrupt_main()

    monkeypatch.setattr(Live, "take", interrupt)
    status = main(
        ["load", "chat-steady", "--target", f"{server.url}/v1", "--key-env", DEMO_KEY_ENV,
         "--users", "2", "--seconds", "9", "--out", "run"]
    )  # fmt: skip
    run = read_run(tmp_path / "run")

    assert status == 130
    assert [row["scenario"] for row in run.loads] == ["chat-steady"]
    assert run.loads[0]["summary"]["requests"]["answered"] > 0
    assert run.notes == ("The load run was interrupted; its figures are of what came until then.",)
    assert not run.complete
    assert "cut short" in write_report(tmp_path / "run").read_text("utf-8")


def test_a_load_run_that_cannot_be_leaves_no_folder(
    server: Bundled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is refused, and what cannot be reached, is found before a folder is made."""
    monkeypatch.chdir(tmp_path)
    begun = ["load", "chat-steady", "--target"]
    refused = [
        main([*begun, "http://192.0.2.1/v1"]),
        main([*begun, DEAD]),
        main([*begun, f"{server.url}/v1"]),
        main(["load", "nope", "--target", f"{server.url}/v1", "--key-env", DEMO_KEY_ENV]),
    ]

    assert refused == [2, 3, 3, 2]
    assert list(tmp_path.iterdir()) == []


def test_a_load_run_without_an_answer_is_reported(
    server: Bundled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where not one request is answered the run ends with status 3, and its report says why."""
    monkeypatch.chdir(tmp_path)
    status = main(
        ["load", "chat-steady", "--target", f"{server.url}/v1", "--key-env", DEMO_KEY_ENV,
         "--users", "1", "--seconds", "1", "--out", "run", "--model", "gpt-4o-mini+status=500"]
    )  # fmt: skip
    run = read_run(tmp_path / "run")

    assert status == 3
    assert run.footer is not None
    assert run.footer["exit"] == 3
    assert "Not one request of chat-steady was answered" in run.notes[0]
    assert (tmp_path / "run" / "report.html").exists()


def test_a_load_run_of_broken_answers_is_a_finding(
    server: Bundled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every answer begins well and breaks, the target was reached: status 1, and a report."""
    monkeypatch.chdir(tmp_path)
    status = main(
        ["load", "chat-steady", "--target", f"{server.url}/v1", "--key-env", DEMO_KEY_ENV,
         "--users", "1", "--seconds", "1", "--out", "run",
         "--model", "gpt-4o-mini+midstream-error=5"]
    )  # fmt: skip
    run = read_run(tmp_path / "run")

    assert status == 1
    assert {row["kind"] for row in run.loads[0]["summary"]["errors"]} == {"in-band-error"}
    assert (tmp_path / "run" / "report.html").exists()
