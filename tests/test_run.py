"""A run folder can be read whatever happened to the run, and its exit status follows one table."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateproof.check import Place, Result
from gateproof.errors import UsageError
from gateproof.profile import load_profile
from gateproof.requirement import load_requirements
from gateproof.run import (
    ORDER,
    RUN_FILE,
    RunWriter,
    claim_folder,
    exit_status,
    new_folder,
    read_run,
    read_transcripts,
    worst,
)
from gateproof.suite import load_checks
from gateproof.target import Target
from gateproof.transcript import Ask, Exchange, Transcript
from gateproof.wire import Read

TARGET = Target(
    name="t",
    url="http://127.0.0.1/v1",
    profile="openai",
    key_env="MY_KEY",
    headers={"x-team": "qa"},
    secret_headers={"x-token": "MY_TOKEN"},
)
EXCHANGE = Exchange(
    ask=Ask.json("/chat/completions", {"é": 1}, label="first"),
    url="http://127.0.0.1/v1/chat/completions",
    started_ns=10,
    connected_ns=20,
    ended_ns=40,
    ended="closed",
    sent=(Read(25, b"POST"),),
    received=(Read(30, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\xff"),),
)
TRANSCRIPT = Transcript(scenario="chat.plain", exchanges=(EXCHANGE,), canary="gp")
RESULT = Result(
    check="sse.done-terminator",
    case="chat.stream",
    verdict="fail",
    level="MUST",
    wanted="a\u2028b",
    got="\x1b[31m\x1c\ud800",
    at=Place(frame=1),
    scenarios=("chat.stream",),
)


HEADER = '{"kind": "header", "run": "r", "target": {}, "profile": {}'


def write(folder: Path) -> None:
    """Write a run with a row of each kind."""
    check = load_checks()["sse.done-terminator"]
    writer = RunWriter(folder)
    writer.header("conform", "r1", TARGET, load_profile("openai"), 7, ["conform"])
    writer.check(check, load_requirements()[check.requirement], "MUST")
    writer.transcript(TRANSCRIPT)
    writer.result(RESULT)
    writer.load("chat-open", "load/chat-open", {"headline": "fine"})
    writer.search("ramp-to-knee", "load/ramp-to-knee", {"headline": "40 a second"})
    writer.limits("rate-limit", "load/rate-limit", {"headline": "60 a minute"})
    writer.note("A note.")
    writer.footer(1)
    writer.close()


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Each row comes back, control characters and lone surrogates and all."""
    write(tmp_path)
    run = read_run(tmp_path)

    assert (run.folder, run.damaged, run.notes) == (tmp_path, 0, ("A note.",))
    assert run.header["target"]["headers"] == ["x-team", "x-token"]
    assert run.header["target"]["key_env"] == "MY_KEY"
    assert "qa" not in json.dumps(run.header)
    assert list(run.checks) == ["sse.done-terminator"]
    assert run.checks["sse.done-terminator"]["requirement"]["id"] == "sse.done-terminator"
    assert {name: run.exchanges[0][name] for name in ("status", "bytes", "label", "ended")} == {
        "status": 200, "bytes": 39, "label": "first", "ended": "closed"
    }  # fmt: skip
    assert (run.results[0]["wanted"], run.results[0]["got"]) == (RESULT.wanted, RESULT.got)
    assert run.results[0]["at"] == {"exchange": 0, "offset": None, "frame": 1, "scenario": ""}
    assert run.loads[0]["summary"] == {"headline": "fine"}
    assert [row["summary"]["headline"] for row in (*run.searches, *run.limits)] == [
        "40 a second", "60 a minute"
    ]  # fmt: skip
    assert run.footer is not None
    assert (run.footer["exit"], run.footer["requests"]) == (1, 1)
    assert run.footer["counts"] == {"fail": 1}
    assert read_run(tmp_path / RUN_FILE) == run
    assert read_transcripts(tmp_path) == {"chat.plain": TRANSCRIPT}


def test_a_run_cut_at_any_byte_can_be_read(tmp_path: Path) -> None:
    """A run file cut at any byte behind its header gives every whole row before the cut."""
    write(tmp_path)
    file = tmp_path / RUN_FILE
    whole = file.read_bytes()
    every = set(whole.splitlines())
    header = whole.index(b"\n")
    for cut in range(header, len(whole)):
        file.write_bytes(whole[:cut])
        run = read_run(tmp_path)
        lines = whole[:cut].split(b"\n")
        # A line without its end is whole when only the line break is missing.
        count = len([line for line in lines if line and line in every])
        rows = 1 + sum(
            map(len, (run.checks, run.exchanges, run.results, run.loads, run.searches,
                      run.limits, run.notes))
        ) + (run.footer is not None)  # fmt: skip

        assert rows == count
        assert run.damaged == (0 if not lines[-1] or lines[-1] in every else 1)
        assert (run.footer is not None) == (count == len(every))
    for cut in range(header):
        file.write_bytes(whole[:cut])
        with pytest.raises(UsageError, match="has no header"):
            read_run(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_run_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever is changed in a run file, it is read or refused as the caller's error."""
    write_once = tmp_path / "made"
    if not write_once.exists():
        write_once.mkdir()
        write(write_once)
    rows = [json.loads(line) for line in (write_once / RUN_FILE).read_text("utf-8").splitlines()]
    row = data.draw(st.sampled_from(rows))
    key = data.draw(st.sampled_from(sorted(row)))
    if data.draw(st.booleans()):
        del row[key]
    else:
        row[key] = data.draw(st.sampled_from([None, 1, "x", [], {}, [1], {"x": 1}]))
    other = tmp_path / "other"
    other.mkdir(exist_ok=True)
    (other / RUN_FILE).write_text("".join(json.dumps(item) + "\n" for item in rows), "utf-8")
    try:
        read_run(other)
    except UsageError:
        return


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "There is no run in"),
        ("", "has no header"),
        ("\x00\xff\n[]\n1\nnull\n", "has no header"),
        ('{"kind": "header", "format": 1}\n', "has no header"),
        (HEADER + ', "format": 99}\n', "has format 99"),
        (HEADER + "}\n", "has format None"),
    ],
    ids=["missing", "empty", "not a run", "half a header", "of the future", "without a format"],
)
def test_what_is_no_run_is_refused(text: str | None, says: str, tmp_path: Path) -> None:
    """What is no run of this version is the caller's error."""
    if text is not None:
        (tmp_path / RUN_FILE).write_text(text, "latin-1")
    with pytest.raises(UsageError, match=says):
        read_run(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"scenario": 1}', "\xff"])
def test_what_is_no_transcript_is_refused(text: str, tmp_path: Path) -> None:
    """A file among the transcripts that is none is the caller's error."""
    (tmp_path / "transcripts").mkdir()
    (tmp_path / "transcripts" / "x.json").write_text(text, "latin-1")
    with pytest.raises(UsageError, match=r"x\.json is not a transcript of gateproof"):
        read_transcripts(tmp_path)


def test_a_transcript_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    """What a run that died left half-written is not taken for a transcript."""
    write(tmp_path)
    (tmp_path / "transcripts" / "chat.other.part").write_text("{", "utf-8")

    assert list(read_transcripts(tmp_path)) == ["chat.plain"]


def test_a_run_can_be_resumed(tmp_path: Path) -> None:
    """A second writer goes on with counts and requests, and its footer is the one that counts."""
    write(tmp_path)
    writer = RunWriter.resume(tmp_path)
    writer.result(RESULT)
    writer.footer(0)
    writer.close()
    footer = read_run(tmp_path).footer

    assert footer is not None
    assert (footer["exit"], footer["requests"], footer["counts"]) == (0, 1, {"fail": 2})


# verdicts with levels: status
STATUSES: dict[str, tuple[list[tuple[str, str]], dict[str, Any], int]] = {
    "nothing": ([], {}, 0),
    "all good": ([("pass", "MUST"), ("not-applicable", "MUST"), ("info", "INFO")], {}, 0),
    "a MUST fails": ([("pass", "MUST"), ("fail", "MUST")], {}, 1),
    "a SHOULD warns": ([("warn", "SHOULD")], {}, 0),
    "a departure": ([("departs", "INFO")], {}, 0),
    "waived": ([("waived", "MUST")], {}, 0),
    "untestable": ([("untestable", "MUST")], {}, 1),
    "untestable SHOULD": ([("untestable", "SHOULD")], {}, 1),
    "inconclusive": ([("inconclusive", "MUST")], {}, 1),
    "inconclusive, allowed": ([("inconclusive", "MUST")], {"allow_partial": True}, 0),
    "inconclusive SHOULD": ([("inconclusive", "SHOULD")], {}, 0),
    "a stale waiver": ([("pass", "MUST")], {"stale_waivers": 1}, 1),
    "our own error": ([("fail", "MUST"), ("error", "MUST")], {"allow_partial": True}, 4),
    "failing, though partial": (
        [("fail", "MUST"), ("inconclusive", "MUST")],
        {"allow_partial": True},
        1,
    ),
}


@pytest.mark.parametrize(("pairs", "options", "status"), STATUSES.values(), ids=STATUSES)
def test_the_exit_status_follows_the_verdicts(
    pairs: list[tuple[str, str]], options: dict[str, Any], status: int
) -> None:
    """The exit status is the worst that the verdicts, with their levels, amount to."""
    assert exit_status(pairs, **options) == status


def test_the_worst_verdict_counts() -> None:
    """A check's verdict is the worst of its cases; of none it is not applicable."""
    assert [worst([verdict, "pass"]) for verdict in ORDER[:-1]] == list(ORDER[:-1])
    assert worst([]) == "not-applicable"
    assert worst(reversed(ORDER)) == "error"


def test_new_folders_are_apart(tmp_path: Path) -> None:
    """Runs of the same second and target have folders of their own, named for their target."""
    made = {new_folder(tmp_path / "a", "x/../é y") for _ in range(3)}

    assert len(made) == 3
    assert {folder.parent for folder in made} == {tmp_path / "a"}
    assert all("x-..-y" in folder.name and folder.is_dir() for folder in made)


def test_a_folder_with_a_run_is_not_claimed(tmp_path: Path) -> None:
    """A new run goes into a folder of its own, made when it is missing."""
    assert claim_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file cannot be made: "):
        claim_folder(tmp_path / "file")
    with pytest.raises(UsageError, match="b cannot be made: "):
        claim_folder(tmp_path / "file" / "b")
    write(tmp_path)
    with pytest.raises(UsageError, match="already holds a run"):
        claim_folder(tmp_path)
