"""What is said of the benchmarks holds, and what other tools leave is read rightly."""

import json
import re
import subprocess
import sys
from array import array
from collections import namedtuple
from pathlib import Path
from struct import Struct
from typing import Any

import pytest
from gateproof.loadtests.responder import Entry

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "benchmarks"
DOCUMENTS = "".join((ROOT / name).read_text("utf-8") for name in ("README.md", "CONTRIBUTING.md"))
COMMANDS = re.findall(
    r"python benchmarks/(\w+\.py)((?: --?[^\s`]+(?: [^\s`-][^\s`]*)?)*)", DOCUMENTS
)
SCRIPTS = sorted(
    path.name for path in BENCHMARKS.glob("*.py") if "ArgumentParser(" in path.read_text("utf-8")
)


@pytest.fixture(scope="module")
def load_peers() -> Any:
    """Import the module that scripts of that folder import."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import load_peers  # noqa: PLC0415  # beside scripts, in no package
    finally:
        sys.path.remove(str(BENCHMARKS))
    return load_peers


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_documented_command_of_a_benchmark_has_options_that_it_knows(script: str) -> None:
    """Each benchmark is documented, and each option and part that a command names exists."""
    commands = [options.split() for name, options in COMMANDS if name == script]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), "--help"],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "COLUMNS": "300"},
    )
    named = {word for words in commands for word in words if word.startswith("--")}
    parts = {
        words[at + 1] for words in commands for at, word in enumerate(words) if word == "--part"
    }

    assert commands
    assert {name for name in named if f" {name}" not in done.stdout} == set()
    assert {part for part in parts if not re.search(rf"[{{,]{part}[,}}]", done.stdout)} == set()


def test_other_tools_are_documented(load_peers: Any) -> None:
    """The documentation names each other tool that can be put beside ours, and no other."""
    (named,) = re.findall(r"--peers (\S+)", DOCUMENTS)

    assert set(named.split(",")) == set(load_peers.PEERS)


@pytest.mark.parametrize(
    ("name", "free_gb", "says"),
    [
        ("guidelm", 1000, "No other tool is named 'guidelm': give one of aiperf, "),
        ("guidellm", 5, "guidellm==0.8.1 takes 6 GB in "),
    ],
)
def test_a_tool_that_cannot_be_had_is_refused_by_name(
    load_peers: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    free_gb: int,
    says: str,
) -> None:
    """A wrong name, and a tool for which there is no room, end the benchmark before it begins."""
    monkeypatch.setattr(load_peers, "_folder", lambda name: tmp_path / name)
    usage = namedtuple("usage", "free")(free_gb * 10**9)  # noqa: PYI024  # as shutil's
    monkeypatch.setattr(load_peers.shutil, "disk_usage", lambda _path: usage)

    with pytest.raises(SystemExit, match=re.escape(says)):
        load_peers.prepare([name])


# What each tool leaves of request 7, which it began at 1 s, with tokens 0.2 s and 0.25 s later.
_ASKED = '{"messages": [{"role": "user", "content": "[gp-00000000-0000000007] Write"}]}'
_GUIDELLM_TIMES = {"request_start": 101.0, "first_token_iteration": 101.2}
_LEFT = {
    "locust": {
        "times.bin": Struct("<qqI").pack(7, 10**9, 2)
        + array("q", [1_200_000_000, 1_250_000_000]).tobytes()
    },
    "aiperf": {
        "out/profile_export.jsonl": json.dumps(
            {
                "metadata": {"x_request_id": "00000000-0000-0070-8000-000000000000"},
                "metrics": {
                    "time_to_first_token": {"value": 200.0},
                    "inter_chunk_latency": {"value": [50.0]},
                },
            }
        ).encode()
        + b'\n{"metadata": {"x_req'
    },
    "guidellm": {
        "ahead_ns": b"100000000000",
        "out.json": json.dumps(
            {
                "benchmarks": [
                    {
                        "requests": {
                            "successful": [
                                {"request_args": _ASKED, "info": {"timings": _GUIDELLM_TIMES}}
                            ]
                        }
                    }
                ]
            }
        ).encode(),
    },
    "inference-perf": {
        "out/per_request_lifecycle_metrics.json": json.dumps(
            [
                {"request": _ASKED, "info": None, "start_time": 0.5},
                {
                    "request": _ASKED,
                    "info": {"response_metrics": {"chunk_times": [1.2, 1.25]}},
                    "start_time": 1.0,
                },
            ]
        ).encode()
    },
}
_WHOLE = Entry(7, 10**9, array("q", [1_200_000_000, 1_250_000_000]))


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("locust", _WHOLE),
        ("aiperf", Entry(7, 0, array("q", [200_000_000, 250_000_000]))),
        ("guidellm", Entry(7, 10**9, array("q", [1_200_000_000]))),
        ("inference-perf", _WHOLE),
    ],
)
def test_a_tools_records_are_read(
    load_peers: Any, tmp_path: Path, name: str, wanted: Entry
) -> None:
    """Each tool's record gives the request's number and its times, on the responder's clock."""
    asked = load_peers.Asked("http://127.0.0.1:1/x", 1, 0.1, 1.0, tmp_path)
    nothing = list(load_peers.PEERS[name].entries(asked))
    for path, data in _LEFT[name].items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    got = list(load_peers.PEERS[name].entries(asked))

    assert nothing == []
    assert got == [wanted]
