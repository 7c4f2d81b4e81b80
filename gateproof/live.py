"""What a load run shows of itself while it lasts: one small view, drawn again every second.

Strategy: the generator's lines of progress (one JSON object a second and worker) are counts since
its start, and the second's times to first token as a histogram; ``Board`` adds them up over workers
and seconds, ``view`` makes lines of text of it, and only ``Live`` writes to the terminal.

Rules. A terminal gets the view in its place; anything else gets a plain line now and then, and only
when it is asked for. Lines are never wider than the terminal, which may change its size at any
time. What a line of progress lacks is left out of the view, never an error.
"""

import shutil
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import IO, Any, Final

from gateproof.errors import UsageError
from gateproof.histogram import Histogram
from gateproof.plan import LoadPlan, describe
from gateproof.wording import safe, told

__all__ = ["Board", "Live", "sparkline", "view"]

_LEVELS: Final = "▁▂▃▄▅▆▇█"
_PLAIN_LEVELS: Final = "_.-=oO0@"
_SECONDS: Final = 60  # of the sparkline
_PLAIN_EVERY_S: Final = 5.0
_RATE_S: Final = 3.0  # rates are over so long: long enough to be read, short enough to be now
_MOST_KINDS: Final = 6
_MS: Final = 1e6


class Board:
    """All that the lines of progress have told so far."""

    def __init__(self, plan: LoadPlan) -> None:
        self.plan = plan
        self._clear()

    def _clear(self) -> None:
        self.workers: dict[object, Mapping[str, Any]] = {}
        self.ttft = Histogram()
        self.ttft_now = Histogram()
        self.medians: deque[float] = deque(maxlen=_SECONDS)
        self.lag_worst_ms = 0.0
        self._second = 0
        self._history: deque[tuple[float, float, float]] = deque(maxlen=_SECONDS)

    def take(self, row: Mapping[str, Any]) -> None:
        """Take in one line of progress; where time has gone back, another run has begun."""
        before = self.workers.get(row.get("worker"), {})
        if _number(row.get("progress_s")) < _number(before.get("progress_s")):
            self._clear()
        if int(_number(row.get("progress_s"))) > self._second:
            self._second = int(_number(row.get("progress_s")))
            self._history.append((self.seconds, self.total("answered"), self.total("tokens")))
            self.ttft_now = Histogram()
        self.workers[row.get("worker")] = row
        second = _histogram(row.get("ttft"))
        self.ttft.merge(second)
        if second.n:
            if self.ttft_now.n:
                self.medians.pop()  # of the same second: another worker's are added
            self.ttft_now.merge(second)
            self.medians.append((self.ttft_now.quantile(0.5) or 0) / _MS)
        self.lag_worst_ms = max(self.lag_worst_ms, _number(row.get("lag_max_ms")))

    @property
    def seconds(self) -> float:
        """Give how long the load has lasted."""
        return self.most("progress_s")

    def total(self, name: str) -> float:
        """Add a count up over the workers."""
        return sum(_number(row.get(name)) for row in self.workers.values())

    def most(self, name: str) -> float:
        """Give the largest of the workers' values."""
        return max((_number(row.get(name)) for row in self.workers.values()), default=0.0)

    def rates(self) -> tuple[float, float]:
        """Give answers and pieces of output per second, over the last few seconds."""
        at_s, answered, tokens = self.seconds, self.total("answered"), self.total("tokens")
        since = next((row for row in self._history if row[0] >= at_s - _RATE_S), (0.0, 0.0, 0.0))
        spent_s = at_s - since[0]
        if spent_s <= 0:
            return 0.0, 0.0
        return (answered - since[1]) / spent_s, (tokens - since[2]) / spent_s

    def errors(self) -> Counter[str]:
        """Count failures by kind."""
        found: Counter[str] = Counter()
        for row in self.workers.values():
            kinds = row.get("kinds")
            for kind, count in kinds.items() if isinstance(kinds, Mapping) else ():
                found[str(kind)] += int(_number(count))
        return found


def _number(value: object) -> float:
    """Return a number as it is, and 0 for anything else."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0


def _histogram(value: object) -> Histogram:
    """Read the histogram of a line of progress; what is none is empty."""
    if isinstance(value, Mapping):
        try:
            return Histogram.from_json(value)
        except UsageError:
            pass
    return Histogram()


def sparkline(values: Iterable[float], width: int, levels: str = _LEVELS) -> str:
    """Draw the last values as small bars, from the least to the most of them."""
    shown = list(values)[-width:] if width > 0 else []
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    step = (high - low) / (len(levels) - 1) or 1.0
    return "".join(levels[round((value - low) / step)] for value in shown)


def view(board: Board, width: int, *, plain: bool = False) -> list[str]:
    """Make the lines of the view, none wider than ``width``."""
    levels = _PLAIN_LEVELS if plain else _LEVELS
    answered, tokens = board.rates()
    lines = [_head(board, width, plain=plain)]
    counts = [f"{board.total('answered'):,.0f} answered", f"{board.total('active'):,.0f} active"]
    if failed := board.total("failed"):
        counts.insert(1, f"{failed:,.0f} failed")
    lines.append(f"{'requests':10} {', '.join(counts)}; {answered:,.1f}/s")
    if board.total("tokens"):
        lines.append(f"{'output':10} {board.total('tokens'):,.0f} pieces; {tokens:,.0f}/s")
    if board.ttft.n:
        now = f"{'TTFT now':10} {_ranks(board.ttft_now, (0.5, 0.95))}"
        bars = sparkline(board.medians, max(width - 42, 0), levels)
        lines.append(f"{now:40}  {bars}" if bars else now)
        whole = _ranks(board.ttft, (0.5, 0.95, 0.99))
        lines.append(f"{'TTFT':10} {whole} (n = {board.ttft.n:,})")
    generator = f"loop lag {board.most('lag_max_ms'):.1f} ms, at worst {board.lag_worst_ms:.1f} ms"
    if cpu := board.most("cpu_share"):
        generator += f"; CPU {cpu:.0%} of a core"
    if len(board.workers) > 1:
        generator += f"; {told(len(board.workers), 'worker')}"
    lines.append(f"{'generator':10} {generator}")
    if errors := board.errors():
        kinds = [f"{kind} ×{count:,}" for kind, count in errors.most_common(_MOST_KINDS)]
        more = len(errors) - len(kinds)
        lines.append(f"{'errors':10} {', '.join(kinds)}" + (f" and {more} kinds" if more else ""))
    if spent := _spent(board):
        lines.append(f"{'budget':10} {spent}")
    return [_fit(line, width, plain=plain) for line in lines]


def _head(board: Board, width: int, *, plain: bool) -> str:
    plan, seconds = board.plan, board.seconds
    level = describe(plan).rpartition("; ")[2].rpartition(", ")[0]
    title = f"{plan.scenario}: {'looks for rate limits' if plan.limits else level}"
    if not plan.duration_s:
        return f"{title}  {seconds:.0f} s"
    if seconds > plan.duration_s:
        left = "the last answers are waited for" if board.total("active") else "it is over"
        return f"{title}  {seconds:.0f} s: {left}"
    clock = f"{seconds:.0f} of {plan.duration_s:g} s"
    room = min(max(width - len(title) - len(clock) - 4, 0), 40)
    done = round(room * min(seconds / plan.duration_s, 1.0))
    full, empty = ("#", ".") if plain else ("█", "░")
    return f"{title}  {full * done}{empty * (room - done)}  {clock}"


def _ranks(times: Histogram, ranks: Iterable[float]) -> str:
    said = [(rank, times.quantile(rank)) for rank in ranks]
    return ", ".join(f"p{rank * 100:g} {ns / _MS:,.1f}" for rank, ns in said if ns is not None) + (
        " ms" if times.n else "-"
    )


def _spent(board: Board) -> str:
    """Tell how much of the budget is spent, of what it has."""
    budget, said = board.plan.budget, []
    for name, unit in (("requests", "requests"), ("tokens", "tokens"), ("usd", "USD")):
        limit = budget.get(name)
        if limit is not None:
            used = board.total(f"spent_{name}")
            shown = f"{used:.4f}" if name == "usd" else f"{used:,.0f}"
            most = limit if name == "usd" else f"{int(limit):,}"
            said.append(f"{shown} of {most} {unit}")
    return ", ".join(said)


def _fit(line: str, width: int, *, plain: bool) -> str:
    line = safe(line)
    if len(line) > width:
        line = line[: max(width - 1, 0)] + ("~" if plain else "…")
    return line[:width]


class Live:
    """Draws the view of one load run on a stream, from ``take`` to ``close``."""

    def __init__(
        self, plan: LoadPlan, stream: IO[str] | None = None, *, verbose: bool = False
    ) -> None:
        self._board = Board(plan)
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._plain = "utf" not in (getattr(self._stream, "encoding", None) or "").lower()
        self._verbose = verbose
        self._drawn: list[str] = []
        self._said_s = 0.0

    def take(self, row: Mapping[str, Any]) -> None:
        """Take in one line of progress, and show it."""
        self._board.take(row)
        if self._terminal:
            self._draw()
        elif self._verbose and time.monotonic() - self._said_s >= _PLAIN_EVERY_S:
            self._said_s = time.monotonic()
            self._write(" | ".join(_plainly(self._board)) + "\n")

    def close(self) -> None:
        """Take the view away, so that what comes next stands in its place."""
        if self._terminal and self._drawn:
            self._write(self._back(shutil.get_terminal_size().columns) + "\x1b[J")
            self._drawn = []

    def _draw(self) -> None:
        width = max(shutil.get_terminal_size().columns, 20)
        back = self._back(width)
        # The last column stays free: some terminals wrap as soon as it is written.
        self._drawn = view(self._board, width - 1, plain=self._plain)
        self._write(back + "\x1b[J" + "\n".join(self._drawn) + "\n")

    def _back(self, width: int) -> str:
        """Return what moves the cursor to where the view began.

        A terminal that has become narrower shows the old lines on several rows each.
        """
        rows = sum(max(-(-len(line) // width), 1) for line in self._drawn)
        return f"\x1b[{rows}A\r" if rows else ""

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # whoever looked on has gone; the run has not
            self._terminal = self._verbose = False


def _plainly(board: Board) -> list[str]:
    """Make the parts of one plain line."""
    head, *rest = view(board, 200, plain=True)
    return [head.partition("  ")[0], f"{board.seconds:.0f} s", *(" ".join(r.split()) for r in rest)]
