"""A load run from its first request to the report: what it keeps, and what is judged on it."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gateproof.loadtests.witness import Witness

from gateproof.bundled import DEMO_KEY, DEMO_KEY_ENV, Bundled, bundled_server
from gateproof.cli import main
from gateproof.errors import UsageError
from gateproof.live import Live
from gateproof.run import read_run, read_transcripts
from gateproof.sample import ErrorKind, Sample
from gateproof.sampling import Sampling, parse_sampling, samples

SECRET = "sk-that-no-file-may-hold"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Bundled]:
    """Serve for all tests of this file."""
    with bundled_server() as running:
        yield running


def _load(server: Bundled, folder: Path, fault: str, users: int, *more: str) -> int:
    """Make a short load run against a fault; return its exit status."""
    return main(
        [
            "load", "chat-steady", "--target", f"{server.url}/with/{fault}/openai/v1",
            "--profile", "openai", "--key-env", DEMO_KEY_ENV,
            "--model", "gpt-4o-mini+ttft=30+itl=4+tokens=30",
            "--users", str(users), "--seconds", "1", "--warm-up", "0", "--out", str(folder),
            "--no-calibration", *more,
        ]
    )  # fmt: skip


def test_what_only_load_shows_is_named(
    server: Bundled, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A promise that is kept alone and broken under load fails the run, and is named as such."""
    folder = tmp_path / "run"
    status = _load(server, folder, "crowd-loses-done", 20)

    run = read_run(folder)
    found = [row for row in run.results if row["verdict"] == "fail"]
    assert [(row["check"], row["case"]) for row in found] == [
        ("sse.done-terminator", "load/chat-steady")
    ]
    assert found[0]["reason"].startswith("only under load: it is kept without; ")
    assert status == 1
    transcript = read_transcripts(folder)["load/chat-steady"]
    about = run.loads[0]["summary"]["conformance"]
    assert about["kept"] == len(transcript) >= 5
    assert about["judged"] == {"chat-stream with usage": len(transcript)}
    assert {mark.name for exchange in transcript.exchanges for mark in exchange.marks} == {
        DEMO_KEY_ENV
    }
    for path in filter(Path.is_file, folder.rglob("*")):
        assert DEMO_KEY.encode() not in path.read_bytes()
    page = (folder / "report.html").read_text("utf-8")
    assert "Conformance under load" in page
    assert "only under load" in page
    says = f"48 checks judged on {len(transcript)} sampled answers: 1 fail, "
    assert says in capsys.readouterr().out

    again = tmp_path / "judged"
    assert main(["judge", str(folder), "--out", str(again)]) == 1
    judged = {row["check"]: (row["verdict"], row["reason"]) for row in read_run(again).results}
    assert judged == {row["check"]: (row["verdict"], row["reason"]) for row in run.results}


def test_asking_again_keeps_to_the_budget(server: Bundled, tmp_path: Path) -> None:
    """What broke under load is asked for without load only while the budget has room."""
    folder = tmp_path / "run"
    status = _load(server, folder, "crowd-loses-done", 20, "--budget", "requests=60")

    run = read_run(folder)
    found = [row for row in run.results if row["verdict"] == "fail"]
    assert [row["check"] for row in found] == ["sse.done-terminator"]
    assert "without" not in found[0]["reason"]
    assert any("(sse.done-terminator) was not asked for without load" in note for note in run.notes)
    assert status == 5


def test_what_was_kept_until_ctrl_c_is_judged(
    server: Bundled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load that is interrupted has its answers judged, and nothing more is asked."""
    stopped: list[int] = []

    def stop(_self: Live, row: dict[str, Any]) -> None:
        if row["answered"] > 40 and not stopped:
            stopped.append(row["answered"])
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Live, "take", stop)
    folder = tmp_path / "run"
    status = _load(server, folder, "drop-done", 4, "--seconds", "30")
    run = read_run(folder)

    assert status == 130
    found = {row["check"]: row for row in run.results}
    assert found["sse.done-terminator"]["verdict"] == "fail"
    assert run.loads[0]["summary"]["conformance"]["kept"] >= 5
    assert any("was not asked for without load" in note for note in run.notes)


def test_the_first_requests_and_one_in_many_are_kept() -> None:
    """The choice follows from seed and number, takes the first few, and is close to its share."""
    sampling = Sampling(every=20, first=3)
    chosen = [number for number in range(20_000) if samples(sampling, 7, number)]

    assert chosen[:3] == [0, 1, 2]
    assert chosen == [number for number in range(20_000) if samples(sampling, 7, number)]
    assert chosen != [number for number in range(20_000) if samples(sampling, 8, number)]
    assert 800 < len(chosen) < 1200


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"evry": 5}, "Unknown key of x, sampling: 'evry'"),
        ({"every": 0}, "x, sampling: every is 0"),
        ({"most": True}, "x, sampling: most is True"),
        ({"most": 1.5}, "x, sampling: most is 1.5"),
        ({"first": 101}, "x, sampling: first is 101"),
        ([], "x, sampling is not a table"),
    ],
)
def test_wrong_sampling_is_refused(table: object, says: str) -> None:
    """A wrong key or number is an error that names its place."""
    with pytest.raises(UsageError, match=says):
        parse_sampling(table, "x, sampling")


def test_sampling_is_read() -> None:
    """What is left out is as usual; nothing may be kept at all."""
    assert parse_sampling({"most": 0}, "x") == Sampling(50, 0, 5)
    assert Sampling.of({"every": 7, "most": 9, "first": 1}) == Sampling(7, 9, 1)


class _Asked:
    """A request whose answer is read by nobody."""

    data = (
        b"POST /v1/chat/completions HTTP/1.1\r\nAuthorization: Bearer "
        + SECRET.encode()
        + (b"\r\nContent-Type: application/json\r\n\r\n{}")
    )

    def answer(self, sample: Sample) -> Any:
        return _Unread(sample)


class _Unread:
    """A reader that takes everything, and says that it is finished when it is told so."""

    says = ""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self.finished = False

    def feed(self, data: bytes, at_ns: int) -> bool:
        self.finished = data.endswith(b"END") and at_ns > 0
        return self.finished

    def eof(self, at_ns: int) -> None:
        self.finished = at_ns > 0

    def fail(self, kind: ErrorKind, says: str, at_ns: int) -> None:
        self.sample.error, self.says, self.finished = kind, says, at_ns > 0


def _kept(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("*.json")
    value: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return value


def test_secrets_are_covered_wherever_they_stand(tmp_path: Path) -> None:
    """A key that the target sends back, split over reads, is covered like the one that was sent."""
    witness = Witness(Sampling(), 1, tmp_path, {"KEY": SECRET})
    answer = witness.tap(0, _Asked()).answer(Sample(sent_ns=5))
    answer.feed(HEAD + b"data: " + SECRET[:9].encode(), 10)
    answer.feed(SECRET[9:].encode() + b"\n\nEND", 20)
    witness.write("http://127.0.0.1:1/v1")

    (exchange,) = _kept(tmp_path)["exchanges"]
    assert SECRET not in json.dumps(exchange)
    assert [mark[:2] for mark in exchange["marks"]] == [["KEY", "sent"], ["KEY", "received"]]
    assert (exchange["path"], exchange["url"]) == (
        "/chat/completions",
        "http://127.0.0.1:1/v1/chat/completions",
    )
    assert [at_ns for at_ns, _ in exchange["received"]] == [5, 15]


def test_an_answer_that_never_ends_is_dropped(tmp_path: Path) -> None:
    """A flood takes no more memory than its bound; it is counted, and others are still kept."""
    witness = Witness(Sampling(), 1, tmp_path, {})
    flood = witness.tap(0, _Asked()).answer(Sample(sent_ns=5))
    for at_ns in range(10, 90):
        flood.feed(b"x" * 65_536, at_ns)
    assert flood.reads is None
    flood.feed(b"END", 99)
    other = witness.tap(1, _Asked()).answer(Sample(sent_ns=5))
    other.feed(HEAD + b"END", 10)
    witness.write("http://127.0.0.1:1/v1")

    value = _kept(tmp_path)
    assert len(value["exchanges"]) == 1
    assert value["use"] == {"kept": 1, "dropped": {"too large": 1}}


@pytest.mark.parametrize(
    ("kind", "ended"),
    [
        (ErrorKind.CUT, "reset"),
        (ErrorKind.IDLE_TIMEOUT, "idle-timeout"),
        (ErrorKind.TOTAL_TIMEOUT, "total-timeout"),
        (ErrorKind.UNFINISHED, None),
        (ErrorKind.FIRST_BYTE_TIMEOUT, None),
        (ErrorKind.CONNECT, None),
    ],
)
def test_how_an_exchange_ended(tmp_path: Path, kind: ErrorKind, ended: str | None) -> None:
    """What the target ended is kept as such; what tells nothing of the target is dropped."""
    witness = Witness(Sampling(), 1, tmp_path, {})
    answer = witness.tap(0, _Asked()).answer(Sample(sent_ns=5))
    answer.feed(HEAD, 10)
    answer.fail(kind, "as said", 20)
    witness.write("http://127.0.0.1:1/v1")

    found = [item["ended"] for item in _kept(tmp_path)["exchanges"]]
    assert found == ([ended] if ended else [])


def test_a_request_that_is_sent_again_begins_anew(tmp_path: Path) -> None:
    """Of a request that a stale connection lost, only the second exchange is kept."""
    witness = Witness(Sampling(), 1, tmp_path, {})
    request = witness.tap(0, _Asked())
    request.answer(Sample(sent_ns=5)).fail(ErrorKind.RESET, "gone", 6)
    request.answer(Sample(sent_ns=7)).feed(HEAD + b"END", 10)
    witness.write("http://127.0.0.1:1/v1")

    assert [item["ended"] for item in _kept(tmp_path)["exchanges"]] == ["closed"]
