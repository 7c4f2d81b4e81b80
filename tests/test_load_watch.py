"""How the load client's connections are read, and whose time their bytes get."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("watch_client.py")
MINUTE_NS = 60 * 10**9
LINUX = sys.platform == "linux"


@pytest.fixture(scope="module", params=["", "1"], ids=["as-used", "python"])
def said(request: pytest.FixtureRequest) -> Any:
    """Read connections in a process of its own, with compiled code if there is any, and without."""
    env = {**os.environ, "GATEPROOF_PURE": request.param}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], env=env, capture_output=True, check=True, timeout=60
    )
    return json.loads(done.stdout)


@pytest.mark.skipif(not LINUX, reason="only Linux tells when bytes came")
def test_a_time_stamp_is_of_arrival_however_late_the_loop_is(said: Any) -> None:
    """The loop slept for 50 ms; the kernel's time is the one of the send all the same."""
    got = said["late"]

    assert got["by_kernel"]
    assert [text for text, _, _ in got["rows"]] == ["first", "second"]
    assert all(0 < age_ns < said["late_ns"] / 5 for _, age_ns, _ in got["rows"])


def test_without_the_kernels_word_the_time_is_the_reads(said: Any) -> None:
    """Then a time stamp is late by as much as the loop is, and says so by its source."""
    got = said["not by the kernel"]

    assert not got["by_kernel"]
    assert all(age_ns >= said["late_ns"] * 0.99 for _, age_ns, _ in got["rows"])


@pytest.mark.parametrize("case", ["clock set on", "clock set back"])
def test_a_wall_clock_that_was_set_is_not_believed(said: Any, case: str) -> None:
    """A time before the connection's last one, or after the read, gives way to the read's."""
    assert not said[case]["by_kernel"]
    assert all(said["late_ns"] * 0.99 <= age_ns < MINUTE_NS for _, age_ns, _ in said[case]["rows"])


@pytest.mark.parametrize("case", ["late", "not by the kernel", "without epoll"])
def test_each_read_is_handed_on_once_and_nothing_after_the_end(said: Any, case: str) -> None:
    """Two connections got one read each; the one that was removed got no more."""
    got = said[case]

    assert [count for _, _, count in got["rows"]] == [1, 1]
    assert got["after"] == 1


@pytest.mark.parametrize("case", ["many", "many without epoll"])
def test_more_connections_than_a_round_reads_are_all_read(said: Any, case: str) -> None:
    """Nobody is forgotten, neither with bytes nor at the end."""
    assert said[case]["read"] == said[case]["ended"] == 192
