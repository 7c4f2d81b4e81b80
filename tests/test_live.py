"""The view of a running load: what it adds up, and that it stays inside its terminal."""

import io
import os
import shutil
from typing import Any

import pytest

from gateproof.histogram import Histogram
from gateproof.live import Board, Live, sparkline, view
from gateproof.loadfile import plan_of


class Terminal(io.StringIO):
    """A terminal that keeps what was written."""

    encoding = "utf-8"  # type: ignore[assignment]  # a constant here

    def isatty(self) -> bool:
        """Say that it is one."""
        return True


def _board(**overrides: Any) -> Board:
    overrides = {"users": 20, "duration_s": 10.0} | overrides
    return Board(plan_of("chat-steady", target="http://127.0.0.1:1/v1", model="m", **overrides))


def _row(second: int, worker: int = 1, *, ttfts_ms: tuple[int, ...] = (), **more: Any) -> Any:
    times = Histogram()
    for ms in ttfts_ms:
        times.add(ms * 10**6)
    return {
        "progress_s": float(second), "worker": worker, "active": 5, "answered": 10 * second,
        "failed": second, "tokens": 100 * second, "kinds": {"rate-limited": second},
        "ttft": times.as_json(), "lag_max_ms": 2.0, "cpu_share": 0.25, **more,
    }  # fmt: skip


def test_workers_and_seconds_add_up() -> None:
    """Counts are summed over workers, times over workers and seconds; rates are of the end."""
    board = _board()
    for second in range(1, 9):
        for worker in (1, 2):
            board.take(_row(second, worker, ttfts_ms=(100, 200), lag_max_ms=float(second)))

    assert (board.seconds, board.total("answered"), board.total("active")) == (8.0, 160, 10)
    assert (board.ttft.n, board.ttft_now.n, len(board.medians)) == (32, 4, 8)
    assert board.rates() == (20.0, 200.0)
    assert board.errors() == {"rate-limited": 16}
    assert board.lag_worst_ms == 8.0


def test_another_run_begins_anew() -> None:
    """When Locust's page begins another run, nothing of the one before is added to it."""
    board = _board()
    for second in (1, 2, 3, 1):
        board.take(_row(second, ttfts_ms=(100,)))

    assert (board.seconds, board.total("answered"), board.ttft.n) == (1.0, 10, 1)


def test_view_tells_it() -> None:
    """Each line says what it is of, in its unit."""
    board = _board(budget={"requests": 500})
    board.take(_row(1, ttfts_ms=(100, 200, 300), spent_requests=12))
    lines = view(board, 100)

    assert lines[0].startswith("chat-steady: 20 users  ████░░░░")
    assert lines[0].endswith("  1 of 10 s")
    assert lines[1] == "requests   10 answered, 1 failed, 5 active; 10.0/s"
    assert lines[2] == "output     100 pieces; 100/s"
    assert lines[3].startswith("TTFT now   p50 199.8, p95 300.0 ms")
    assert lines[4].endswith("(n = 3)")
    assert lines[5] == "generator  loop lag 2.0 ms, at worst 2.0 ms; CPU 25% of a core"
    assert lines[6:] == ["errors     rate-limited ×1", "budget     12 of 500 requests"]


@pytest.mark.parametrize("width", [1, 19, 40, 79, 120])
@pytest.mark.parametrize("plain", [False, True])
def test_view_stays_inside(width: int, plain: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """No line is wider than it may be, and a plain one is ASCII but for what it counts with."""
    board = _board(budget={"requests": 500, "tokens": 10**12, "usd": 3})
    for second in range(1, 80):
        board.take(_row(second, ttfts_ms=(second,), kinds={f"kind-{n}": n for n in range(30)}))

    assert all(len(line) <= width for line in view(board, width, plain=plain))


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"progress_s": "soon", "ttft": [], "kinds": 3, "answered": None},
        {"progress_s": 1, "ttft": {"buckets": [[1, -5]]}, "kinds": {"a": "b"}},
        {"progress_s": 1, "kinds": {"\x1b[2J\nowned": 2}, "ttft": {"n": 1}},
    ],
)
def test_odd_lines_are_no_error(row: dict[str, Any]) -> None:
    """What a line lacks, or says wrongly, is left out; nothing in it reaches the terminal raw."""
    board = _board()
    board.take(row)

    assert all(line.isprintable() for line in view(board, 80))


def test_bars_show_the_range() -> None:
    """The least value is the lowest bar and the greatest the highest; equal ones are all low."""
    assert sparkline([1, 8, 4.5], 10) == "▁█▅"
    assert sparkline([3, 3], 10) == "▁▁"
    assert sparkline(range(100), 3) == "▁▅█"
    assert sparkline([], 10) == sparkline([1], 0) == ""


def test_it_is_drawn_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each view takes the place of the last, also when the terminal became narrower meanwhile."""
    size = [100]
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((size[0], 24)))
    stream = Terminal()
    live = Live(_board().plan, stream)
    live.take(_row(1))
    lines = stream.getvalue().removeprefix("\x1b[J").splitlines()
    stream.truncate(0)
    stream.seek(0)
    size[0] = 30
    live.take(_row(2))

    rows = sum(max(-(-len(line) // 30), 1) for line in lines)
    assert rows > len(lines)
    assert stream.getvalue().startswith(f"\x1b[{rows}A\r\x1b[J")
    stream.truncate(0)
    stream.seek(0)
    live.close()
    live.close()
    assert stream.getvalue().endswith("A\r\x1b[J")
    assert stream.getvalue().count("\x1b[J") == 1


def test_no_terminal_gets_plain_lines_only_when_asked() -> None:
    """Without a terminal nothing is written, or now and then a line without any control."""
    silent, verbose = io.StringIO(), io.StringIO()
    for stream, wanted in ((silent, False), (verbose, True)):
        live = Live(_board().plan, stream, verbose=wanted)
        live.take(_row(1))
        live.take(_row(2))
        live.close()

    assert silent.getvalue() == ""
    assert verbose.getvalue().count("\n") == 1
    assert verbose.getvalue().startswith("chat-steady: 20 users | 1 s | requests 10 answered")
    assert verbose.getvalue().strip().isprintable()


def test_a_closed_terminal_ends_only_the_view() -> None:
    """When whoever looked on has gone, the run goes on."""
    stream = Terminal()
    live = Live(_board().plan, stream)
    stream.close()

    live.take(_row(1))
    live.take(_row(2))
    live.close()


def test_a_look_for_limits_is_told_as_one() -> None:
    """It has one user, which is not what it is about."""
    plan = plan_of("rate-limit", target="http://127.0.0.1:1/v1", model="m")

    assert view(Board(plan), 100)[0].startswith("rate-limit: looks for rate limits  ")
