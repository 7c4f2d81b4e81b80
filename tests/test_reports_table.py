"""Load samples as a table: a row a request, names for numbers, nothing for what never was."""

import argparse
import csv
import json
from pathlib import Path

import pytest
from gateproof.reports import table

from gateproof.commands import report
from gateproof.errors import UsageError
from gateproof.sample import ErrorKind, Flag, Sample, SampleWriter

MS = 1_000_000
START = 10**12


def _load(folder: Path) -> None:
    """Write a run of two requests: one streamed, one refused."""
    writer = SampleWriter(folder, "1")
    sent = START + 500 * MS
    good = Sample(due_ns=sent - 2 * MS, sent_ns=sent, status=200, completion_tokens=3, work=1)
    good.first_token_ns, good.last_token_ns, good.end_ns = (
        sent + 90 * MS,
        sent + 130 * MS,
        sent + 131 * MS,
    )
    good.cost_nano_usd, good.flags = 250_000, int(Flag.REUSED | Flag.NO_DONE)
    writer.add(good, [sent + 90 * MS, sent + 110 * MS, sent + 130 * MS])
    bad = Sample(due_ns=sent, sent_ns=sent, status=429, number=1, error=int(ErrorKind.RATE_LIMITED))
    bad.retry_after_ms = 1500
    writer.add(bad)
    writer.close()
    work = [{"kind": "chat"}, {"kind": "chat-stream", "name": "talk, long"}]
    plan = {
        "scenario": "s",
        "arrivals": "closed",
        "target": "http://h/v1",
        "model": "m",
        "work": work,
    }
    start = {"kind": "start", "at_ns": START, "wall_ns": 1, "plan": plan}
    (folder / "generator.1.jsonl").write_text(json.dumps(start) + "\n")


def test_a_row_a_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are from sent, names stand for numbers, and parts make one table with one header."""
    _load(tmp_path)
    monkeypatch.setattr(table, "_ROWS", 1)
    rows = list(csv.DictReader(table.write_csv(tmp_path).read_text("utf-8").splitlines()))

    assert [row["number"] for row in rows] == ["0", "1"]
    good, bad = rows
    wanted = {
        "work": "talk, long", "due_s": "0.498", "wait_ms": "2.0", "ttft_ms": "90.0",
        "first_reasoning_ms": "", "end_ms": "131.0", "tpot_ms": "20.0", "tokens": "3",
        "completion_tokens": "3", "prompt_tokens": "", "cost_usd": "0.00025", "status": "200",
        "error": "", "flags": "reused no-done", "retry_after_ms": "",
    }  # fmt: skip
    assert {name: good[name] for name in wanted} == wanted
    assert (bad["error"], bad["status"], bad["ttft_ms"], bad["tpot_ms"]) == (
        "rate-limited", "429", "", ""
    )  # fmt: skip
    assert (bad["retry_after_ms"], bad["cost_usd"]) == ("1500", "")


def test_report_command_writes_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --csv each load folder has its table; a run without load is told so."""
    monkeypatch.setattr(report, "write_report", lambda folder: folder / "report.html")
    place = tmp_path / "load" / "chat"
    with pytest.raises(UsageError, match="holds no load samples"):
        report.run(argparse.Namespace(run=tmp_path, csv=True))
    place.mkdir(parents=True)
    _load(place)

    assert report.run(argparse.Namespace(run=tmp_path, csv=True)) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(tmp_path / "report.html"), str(place / "samples.csv")
    ]  # fmt: skip
