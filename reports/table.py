"""The samples of a load run as a table: one row a request, for spreadsheets and notebooks.

``frames`` gives pandas frames of a bounded number of rows; ``write_csv`` puts them into
``samples.csv`` beside the samples. Where pyarrow is installed,
``pandas.concat(frames(folder)).to_parquet("samples.parquet")`` writes Parquet.

Rules. Times are milliseconds from sent, ``due_s`` seconds from the start of the run; what did not
happen is empty. The exact values stay in the samples; a table is an export.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gateproof.latency import first_us, token_count
from gateproof.measure import read_generator
from gateproof.sample import NEVER, NO_COST, ErrorKind, Flag, read_samples
from gateproof.work import titles

__all__ = ["frames", "write_csv"]

_ROWS: Final = 50_000  # of a frame
_TIMES: Final = (
    "first_byte", "first_event", "first_reasoning", "first_token", "last_token", "end",
)  # fmt: skip
_COUNTS: Final = ("prompt_tokens", "completion_tokens", "reasoning_tokens", "retry_after_ms")


def write_csv(folder: Path) -> Path:
    """Write ``samples.csv`` into a load folder, a part at a time; return its path."""
    path = folder / "samples.csv"
    partial = path.with_name(path.name + ".part")
    with partial.open("w", encoding="utf-8", newline="") as file:
        for number, frame in enumerate(frames(folder)):
            frame.to_csv(
                file,
                index=False,
                header=number == 0,
                quoting=csv.QUOTE_MINIMAL,
                lineterminator="\n",
            )
    partial.replace(path)
    return path


def frames(folder: Path) -> Iterator[pd.DataFrame]:
    """Give the samples of a load folder in order of due, some at a time; at least one frame."""
    generator, samples = read_generator(folder), read_samples(folder)
    works = titles(generator.plan.work)
    records = samples.records
    for at in range(0, max(len(records), 1), _ROWS):
        yield _frame(records[at : at + _ROWS], generator.start_ns, works)


def _frame(rows: NDArray[np.void], start_ns: int, works: list[str]) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "number": rows["number"],
        "work": [works[place] if place < len(works) else str(place) for place in rows["work"]],
        "due_s": np.round((rows["due_ns"] - start_ns) / 1e9, 6),
        "wait_ms": np.round((rows["sent_ns"] - rows["due_ns"]) / 1e6, 3),
        "connect_ms": rows["connect_us"] / 1e3,
        "ttft_ms": _ms(first_us(rows)),
    }
    columns |= {f"{name}_ms": _ms(rows[f"{name}_us"]) for name in _TIMES}
    tokens = token_count(rows)
    span_ms = (rows["last_token_us"].astype(np.float64) - first_us(rows)) / 1e3
    paced = (rows["deltas"] > 1) & (tokens > 1)
    columns["tpot_ms"] = np.where(paced, np.round(span_ms / np.maximum(tokens - 1, 1), 4), np.nan)
    columns |= {"tokens": tokens, "deltas": rows["deltas"]}
    columns |= {name: _count(rows[name]) for name in _COUNTS}
    cost = rows["cost_nano_usd"]
    columns |= {
        "cost_usd": np.where(cost == NO_COST, np.nan, cost / 1e9),
        "status": rows["status"],
        "error": [_name(ErrorKind(kind).name) if kind else "" for kind in rows["error"]],
        "flags": [_flags(int(flags)) for flags in rows["flags"]],
        "connection": rows["stream"],
    }
    return pd.DataFrame(columns)


def _ms(us: NDArray[Any]) -> NDArray[np.float64]:
    return np.where(us == NEVER, np.nan, us / 1e3)


def _count(counts: NDArray[Any]) -> Any:
    return pd.arrays.IntegerArray(counts.astype(np.int64), counts == NEVER)


def _flags(flags: int) -> str:
    return " ".join(_name(flag.name) for flag in Flag if flags & flag)


def _name(name: str | None) -> str:
    return str(name).lower().replace("_", "-")
