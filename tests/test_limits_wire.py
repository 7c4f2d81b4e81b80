"""The rate-limit lab against the reference server, over real sockets and with a clock that runs."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateproof.limitlab.documented import with_documented
from gateproof.limitlab.plan import LimitsPlan
from tests.limits_wire import Wire

ROOT = Path(__file__).resolve().parent.parent
SCALE = 20  # a minute of the limits lasts three seconds
FAULTS = {
    "limit-doubled": "Found: 12",
    "limit-window-long": "it holds for",
    "limit-shared": "strangers starve each other",
    "ratelimit-limit-wrong": "They tell a limit of 120",
    "ratelimit-remaining-frozen": "What is left stays at 60",
    "ratelimit-reset-zero": "resets at a refusal are neither",
    "ratelimit-reset-unix": "The reset is written as Unix time",
    "retry-after-long": "Less suffices",
    "retry-after-short": "refused again",
    "limit-status-503": "Refusals have status 503",
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Start a reference server that speaks OMAi, whose minutes last three seconds."""
    command = [
        sys.executable, "-m", "gateproof.reference_server", "--profile", "omai",
        "--clock-scale", str(SCALE), "--exit-with-stdin", "--journal-bytes", "0",
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
        process.stdin.close()


def look(url: str, tier: str, word: str, behaviour: str = "", **plan: Any) -> dict[str, Any]:
    """Let the lab look at a tier of OMAi, with keys of an account of their own."""
    base = f"/with/{behaviour}/v1" if behaviour else "/v1"
    keys = {
        "first": f"sk-gateproof-omai-{tier}--{word}",
        "second": f"sk-gateproof-omai-{tier}-2--{word}",
        "stranger": f"sk-gateproof-omai-{tier}--{word}-other",
    }
    models = {"first": "omai-gpt-4", "second": "omai-gpt-4"}
    settings = {"clock_scale": float(SCALE), "tier": tier, "longest_window_s": 90.0, **plan}
    return Wire(urlsplit(url).netloc, base, keys, models).run(
        with_documented(LimitsPlan(**settings), "omai")
    )


def test_the_basic_tier_is_as_documented(server: str) -> None:
    """Both limits of Basic are found, as documented, and its 429s tell the truth."""
    got = look(server, "basic", "basic", second_key="x", stranger_key="x")

    assert [row["verdict"] for row in got["documented"]] == ["same", "same"], got["headline"]
    assert [row["algorithms"] for row in got["limits"]] == [["sliding-log"]] * 2
    assert (got["findings"], got["exit"]) == ([], 0)


def test_the_enterprise_tier_is_unlimited(server: str) -> None:
    """No limit of Enterprise is found, up to what was spent."""
    got = look(server, "enterprise", "enterprise", requests=150, tokens=40_000)

    assert got["documented"][0]["verdict"] == "same"
    assert (got["limits"], got["exit"]) == ([], 0)


def test_each_fault_of_limits_is_seen(server: str) -> None:
    """Every way in which the server's limits or its words about them can be wrong is a finding."""

    def one(behaviour: str) -> str:
        keys = {"second_key": "", "stranger_key": "x"} if behaviour == "limit-shared" else {}
        got = look(
            server, "basic", behaviour, behaviour, look_for=("requests",), fairness=False, **keys
        )
        return " | ".join(got["findings"])

    with ThreadPoolExecutor(3) as pool:
        told = dict(zip(FAULTS, pool.map(one, FAULTS), strict=True))

    assert {name: text for name, text in told.items() if FAULTS[name] not in text} == {}


def test_missing_headers_are_told(server: str) -> None:
    """A gateway that says nothing of its limits is found out all the same, and told of."""
    got = look(
        server, "basic", "silent", "ratelimit-headers-missing",
        look_for=("requests",),
    )  # fmt: skip
    named = {row["name"]: row["verdict"] for row in got["judgments"]}

    assert got["documented"][0]["verdict"] == "same"
    assert named["rate-limit headers"] == "warn"


def test_the_command_finds_the_limits_and_shows_them(server: str, tmp_path: Path) -> None:
    """``gateproof load`` says what it may spend, finds the limits, and makes a page of them."""
    (tmp_path / "gateproof.toml").write_text(
        f'[targets.omai]\nurl = "{server}/v1"\nprofile = "omai"\nclock_scale = {SCALE}\n'
        'keys = { basic = { env = "ONE" }, again = { env = "TWO" } }\n'
    )
    (tmp_path / "mine.toml").write_text(
        'says = "Mine."\nusers = 1\n[limits]\nkey = "basic"\nsecond_key = "again"\n'
        'look_for = ["requests"]\n'
    )
    values = {
        "ONE": "sk-gateproof-omai-basic--command", "TWO": "sk-gateproof-omai-basic-2--command",
    }  # fmt: skip
    got = subprocess.run(
        [sys.executable, "-m", "gateproof", "load", "./mine.toml", "--target", "omai", "--out",
         "run"],
        cwd=tmp_path, env={**os.environ, **values, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    page = (tmp_path / "run" / "report.html").read_text("utf-8")

    assert got.returncode == 0, got.stdout + got.stderr
    assert "at most 560 requests" in got.stderr
    assert "SAME     As documented: 60 requests in 60 s." in got.stdout
    assert '<section id="limits-0">' in page
    assert not any(value in page + got.stdout + got.stderr for value in values.values())
