"""The rows of ``load_client.py``: kept by part and client, summed up, held to the bars, written."""

# ruff: noqa: INP001, T201  # beside a script, not in a package; it prints

import contextlib
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

__all__ = ["BARE", "BARS", "FLOOR", "Bench", "Row", "markdown"]

Row = dict[str, Any]

BARE: Final = "bare asyncio"
FLOOR: Final = "floor"
_OWN: Final = frozenset({"gateproof", BARE, FLOOR})


@dataclass(slots=True)
class Bench:
    """The run of the whole benchmark: its options, and all rows by part and client."""

    repeats: int
    seconds: float
    ramp_s: float = 1.5  # over which users come
    certificate: str = ""
    program: Sequence[str] = ()  # that runs another responder than the usual one
    load: str = field(default_factory=lambda: " ".join(f"{one:.1f}" for one in os.getloadavg()))
    rows: dict[tuple[str, str], list[Row]] = field(default_factory=dict)

    def add(self, part: str, client: str, row: Row) -> None:
        """Keep a row and print it."""
        self.rows.setdefault((part, client), []).append(row)
        print(f"  {part} · {client}: " + ", ".join(f"{k} {v}" for k, v in row.items()), flush=True)

    def median(self, part: str, client: str, name: str) -> float:
        """Give the median of one figure over the repeats."""
        got = [row[name] for row in self.rows.get((part, client), []) if row.get(name) is not None]
        return statistics.median(got) if got else float("nan")


# part, figure, limit, what is wanted; the figure is of gateproof, its median over the repeats
BARS: Final[tuple[tuple[str, str, float, str], ...]] = (
    ("accuracy-500", "ttft_ms_p99", 0.3, "at most"),
    ("accuracy-2000", "ttft_ms_p99", 1.5, "at most"),
    ("accuracy-500", "cpu_s_per_100k", 0.8, "at most"),
    ("accuracy-2000", "cpu_s_per_100k", 0.8, "at most"),
    ("accuracy-500", "rss_mb", 120.0, "at most"),
    ("tls-500", "ttft_ms_p99", 0.3, "at most"),
    ("tls-2000", "ttft_ms_p99", 1.5, "at most"),
    ("no-delay", "requests_per_s", 5000.0, "at least"),
    ("open-constant", "sent_ms_p99", 1.0, "at most"),
    ("open-poisson", "sent_ms_p99", 1.0, "at most"),
    ("start-up", "first_request_s", 0.5, "at most"),
    ("million", "bytes_a_request", 100.0, "at most"),
    ("million", "rss_grown_mb", 2.0, "at most"),  # after the first tenth; pages come and go
)


def bars(bench: Bench) -> list[tuple[str, str, str, str, str]]:
    """Give each bar that was measured: part, figure, wanted, got with its spread, ratio."""
    rows = []
    for part, name, limit, way in BARS:
        got = [row[name] for row in bench.rows.get((part, "gateproof"), []) if name in row]
        if got:
            middle = statistics.median(got)
            met = middle <= limit if way == "at most" else middle >= limit
            shown = f"{middle:g} (from {min(got):g} to {max(got):g}, n={len(got)})"
            wanted = f"{way} {limit:g}"
            rows.append(
                (part, name, wanted, shown, f"{middle / limit:.2f}" + " missed" * (not met))
            )
    rows += beside(bench)
    for part in sorted({part for part, _ in bench.rows}):
        own = bench.median(part, "gateproof", "cpu_s_per_100k")
        for other, named in ((BARE, "the bare client"), (FLOOR, "the client that parses nothing")):
            cost = bench.median(part, other, "cpu_s_per_100k")
            if own == own and cost == cost:  # noqa: PLR0124  # nan
                shown = f"{own:g} beside {cost:g} of {named}"
                rows.append((part, "cpu_s_per_100k", "-", shown, f"{own / max(cost, 1e-3):.2f}"))
    for part in sorted({part for part, _ in bench.rows}):
        both = [bench.median(part, client, "itl_ms_p99") for client in ("gateproof", BARE)]
        if all(value == value for value in both):  # noqa: PLR0124  # nan
            ratio = both[0] / max(both[1], 1e-3)
            missed = " missed" * (ratio > 2)
            shown = f"{both[0]:g} beside {both[1]:g}"
            rows.append((part, "itl_ms_p99", "at most 2 x bare", shown, f"{ratio:.2f}{missed}"))
    ladder = [
        (bench.median(part, client, "steady_per_s"), part)
        for part, client in bench.rows
        if part.startswith(("accuracy", "ladder"))
        and client == "gateproof"
        and bench.median(part, client, "stamp_ms_p99") < 50
    ]
    if any(part.startswith("ladder") for _, part in ladder):
        most, part = max(ladder)
        missed = " missed" * (most < 150_000)
        p99 = bench.median(part, "gateproof", "stamp_ms_p99")
        shown = f"{most:g} at {part} with stamp p99 {p99} ms"
        rows.append(
            ("ladder", "steady_per_s", "at least 150000", shown, f"{most / 150_000:.2f}{missed}")
        )
    return rows


def _processor() -> str:
    """Give the processor's name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def beside(bench: Bench) -> list[tuple[str, str, str, str, str]]:
    """Give how many times as large the errors and the cost of other tools are."""
    rows = []
    for part, client in bench.rows:
        if client in _OWN:
            continue
        for name in ("ttft_ms_p50", "ttft_ms_p99", "itl_ms_p99", "cpu_s_per_100k"):
            own, other = (bench.median(part, one, name) for one in ("gateproof", client))
            if own == own and other == other:  # noqa: PLR0124  # nan
                shown = f"{client} {other:g} beside {own:g}"
                rows.append((part, name, "-", shown, f"{other / max(own, 1e-3):.1f}"))
    return rows


COLUMNS: Final = (
    "n",
    "ttft_ms_p50",
    "ttft_ms_p99",
    "stamp_ms_p99",
    "itl_ms_p99",
    "chunks_per_s",
    "steady_per_s",
    "cpu_s_per_100k",
    "rss_mb",
    "requests_per_s",
    "noise_ms",
)


def markdown(bench: Bench) -> str:
    """Write all medians and the bars as tables, behind what made them."""
    about = (
        f"{_processor()}, {os.cpu_count()} processors, Linux {platform.release()}, Python "
        f"{platform.python_version()}; load averages {bench.load} at the start."
    )
    lines = [
        "# What the load generator adds, and what it carries",
        "",
        f"Made by `python benchmarks/load_client.py {' '.join(sys.argv[1:])}`.",
        about,
        "Each figure is the median of the runs, with the smallest and the largest for a p99.",
        "The benchmark's own text says what each is; machine noise (`noise_ms`) bounds them.",
        *_priority(bench),
        "",
        "| part | client | runs | " + " | ".join(COLUMNS) + " |",
        "| --- " * (len(COLUMNS) + 3) + "|",
    ]
    others = []
    for (part, client), rows in bench.rows.items():
        shown = {name: _shown(bench, part, client, name) for name in rows[0]}
        if "ttft_ms_p99" in shown:
            cells = " | ".join(shown.get(name, "") for name in COLUMNS)
            lines.append(f"| {part} | {client} | {len(rows)} | {cells} |")
        else:
            told = ", ".join(f"{name} {value}" for name, value in shown.items() if value)
            others.append(f"- {part}, {client}, {len(rows)} runs: {told}")
    lines += ["", *others, "", "| part | figure | wanted | got | ratio |", "| --- " * 5 + "|"]
    lines += [f"| {' | '.join(row)} |" for row in bars(bench)]
    return "\n".join(lines) + "\n"


def _priority(bench: Bench) -> list[str]:
    """Say who ran before all other work of the machine, and who did not."""
    if os.sched_getscheduler(0) == os.SCHED_OTHER:
        return []
    said = ["Generator, bare clients and responder ran before all other work of this machine."]
    if any(client not in _OWN for _, client in bench.rows):
        said.append(
            "Other tools cannot (their services wait busily for each other): they ran with the "
            "highest priority of what is not that (nice -20)."
        )
    return said


def _shown(bench: Bench, part: str, client: str, name: str) -> str:
    """Write a figure's median, and its spread where it is a p99."""
    got = [row[name] for row in bench.rows[part, client] if row.get(name) is not None]
    if not got:
        return ""
    middle = f"{statistics.median(got):.7g}"  # a million is written out
    spread = name.endswith("_p99") and len(got) > 1
    return f"{middle} ({min(got):g} to {max(got):g})" if spread else middle
