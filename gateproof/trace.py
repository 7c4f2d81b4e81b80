"""Recorded traces of real services, in the formats that they are published in: times and lengths.

Strategy: one line is one request; a format is a function from a line to its time and its two
lengths. The file is read as a stream, so a trace of millions of requests costs no memory. Times
are given from the first request on.

Rules. Strict: a line that is not of the format is an error that names it, and so is a time before
that of the line above it. Columns are found by the names in the header. An answer of no tokens (a
request that failed when the trace was made) is asked for with one.

The formats: Azure's LLM inference traces of 2023 and 2024 (``TIMESTAMP,ContextTokens,
GeneratedTokens``, a date with a time of up to nine decimals); BurstGPT (``Timestamp`` in seconds,
``Request tokens``, ``Response tokens``, among other columns); Mooncake (JSON lines: ``timestamp``
in milliseconds, ``input_length``, ``output_length``, and ``hash_ids``, which are not used).
"""

import csv
import datetime as dt
import functools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import chain
from pathlib import Path
from typing import IO, Any, Final

from gateproof.errors import UsageError, unknown_name

__all__ = ["TRACE_FORMATS", "TraceFacts", "TraceRow", "read_trace", "scan_trace", "trace_format_of"]

_MOST_LINE: Final = 1024 * 1024  # characters; a Mooncake line of a million tokens has 20,000
_MOST_TOKENS: Final = 10_000_000
_MOST_S: Final = 10**10  # seconds: 300 years
_STAMP: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|[+-]\d\d:?\d\d)?"
)
_DAY_NS: Final = 86_400 * 10**9


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One request of a trace; ``at_ns`` is since the first one."""

    at_ns: int
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class TraceFacts:
    """What a trace, or its beginning, holds."""

    requests: int
    last_s: float  # when the last of them is due
    prompt_tokens: int
    output_tokens: int


class _Wrong(Exception):
    """A line is not of the format; the words say why."""


_Reader = Callable[[str], tuple[int, int, int]]


def _azure(header: str) -> _Reader:
    time, prompt, output = _columns(header, "TIMESTAMP", "ContextTokens", "GeneratedTokens")

    def read(line: str) -> tuple[int, int, int]:
        fields = _fields(line)
        found = _STAMP.fullmatch(_field(fields, time))
        if found is None:
            raise _Wrong(f"TIMESTAMP is {_field(fields, time)!r}, not as 2023-11-16 18:15:46.680")
        day, hour, minute, second, part = found.groups()
        try:
            days = dt.date.fromisoformat(day).toordinal()
        except ValueError:
            raise _Wrong(f"TIMESTAMP has no such day: {day}") from None
        seconds = (int(hour) * 60 + int(minute)) * 60 + int(second)
        at_ns = days * _DAY_NS + seconds * 10**9 + int((part or "0").ljust(9, "0"))
        return at_ns, _count(_field(fields, prompt)), _count(_field(fields, output))

    return read


def _burstgpt(header: str) -> _Reader:
    time, prompt, output = _columns(header, "Timestamp", "Request tokens", "Response tokens")

    def read(line: str) -> tuple[int, int, int]:
        fields = _fields(line)
        at_ns = _time(_field(fields, time), 10**9)
        return at_ns, _count(_field(fields, prompt)), _count(_field(fields, output))

    return read


def _mooncake(line: str) -> tuple[int, int, int]:
    try:
        row = json.loads(line, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        raise _Wrong("it is not JSON") from None
    if not isinstance(row, dict):
        raise _Wrong("it is no JSON object")
    for name in ("timestamp", "input_length", "output_length"):
        if not isinstance(row.get(name), str):
            raise _Wrong(f"{name} is missing, or no number")
    at_ns = _time(row["timestamp"], 10**6)
    return at_ns, _count(row["input_length"]), _count(row["output_length"])


_WITH_HEADER: Final[dict[str, Callable[[str], _Reader]]] = {"azure": _azure, "burstgpt": _burstgpt}
TRACE_FORMATS: Final = ("azure", "burstgpt", "mooncake")


def read_trace(path: Path, trace_format: str) -> Iterator[TraceRow]:
    """Read a trace request by request; raises UsageError where a line is wrong."""
    if trace_format not in TRACE_FORMATS:
        raise unknown_name("trace format", trace_format, TRACE_FORMATS)
    try:
        with path.open(encoding="utf-8-sig", newline=None) as file:
            yield from _rows(file, path, trace_format)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The trace {path} cannot be read: {error}.") from None


def trace_format_of(path: Path) -> str:
    """Tell a trace's format by its first line."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            line = file.readline(_MOST_LINE)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The trace {path} cannot be read: {error}.") from None
    marks = {"azure": "ContextTokens", "burstgpt": "Request tokens", "mooncake": '"input_length"'}
    for name, mark in marks.items():
        if mark in line:
            return name
    raise UsageError(
        f"The trace {path} is of no format that is known.",
        f"Its first line must be that of one of these: {', '.join(TRACE_FORMATS)}.",
    )


def _rows(file: IO[str], path: Path, trace_format: str) -> Iterator[TraceRow]:
    number, first_ns, before_ns = 0, None, 0
    read: _Reader | None = _mooncake if trace_format == "mooncake" else None
    while line := file.readline(_MOST_LINE):
        number += 1
        try:
            _fits(line)
            if read is None:
                read = _WITH_HEADER[trace_format](line)
                continue
            if not line.strip():
                continue
            at_ns, prompt, output = read(line)
            first_ns = at_ns if first_ns is None else first_ns
            before_ns = _after(at_ns - first_ns, before_ns)
        except _Wrong as wrong:
            raise UsageError(
                f"{path}, line {number}: {wrong}.",
                f"It was read as a trace in the format {trace_format}; "
                f"known are {', '.join(TRACE_FORMATS)}.",
            ) from None
        yield TraceRow(before_ns, max(prompt, 1), max(output, 1))


def _fits(line: str) -> None:
    if len(line) == _MOST_LINE:
        raise _Wrong(f"it has more than {_MOST_LINE} characters")


def _after(at_ns: int, before_ns: int) -> int:
    if at_ns < before_ns:
        raise _Wrong("its time is before that of the line above; sort the file by time")
    return at_ns


def scan_trace(path: Path, trace_format: str, until_s: float | None = None) -> TraceFacts:
    """Read a trace through, or to a time of it, and tell what is in it; an empty one is refused.

    A file that has not changed is read once in a process.
    """
    try:
        about = path.stat()
    except OSError:  # reading it says why
        return _scan(path, trace_format, until_s, (0, 0))
    return _scan(path, trace_format, until_s, (about.st_mtime_ns, about.st_size))


@functools.lru_cache(maxsize=4)
def _scan(
    path: Path,
    trace_format: str,
    until_s: float | None,
    _state: tuple[int, int],  # when it was written, and its size
) -> TraceFacts:
    requests = last_ns = prompt_tokens = output_tokens = 0
    for row in read_trace(path, trace_format):
        if until_s is not None and row.at_ns > until_s * 1e9:
            break
        requests, last_ns = requests + 1, row.at_ns
        prompt_tokens += row.prompt_tokens
        output_tokens += row.output_tokens
    if not requests:
        raise UsageError(f"The trace {path} holds no request.", "Give one that has some.")
    return TraceFacts(requests, last_ns / 1e9, prompt_tokens, output_tokens)


def _columns(header: str, *names: str) -> list[int]:
    """Find columns by their names."""
    found = [name.strip() for name in _fields(header)]
    for name in names:
        if name not in found:
            raise _Wrong(f"the header has no column {name!r}")
    return [found.index(name) for name in names]


def _fields(line: str) -> list[str]:
    """Take a line of CSV apart."""
    if '"' not in line:
        return line.rstrip("\r\n").split(",")
    try:
        return next(chain(csv.reader([line], strict=True), [[]]))
    except csv.Error as error:
        raise _Wrong(f"it is no line of CSV ({error})") from None


def _field(fields: list[str], place: int) -> str:
    if place >= len(fields):
        raise _Wrong(f"it has {len(fields)} columns, fewer than the header")
    return fields[place].strip()


def _count(text: Any) -> int:
    """Read a count of tokens; 12.0 is one as well, as pandas writes them."""
    whole = text.removesuffix(".0")
    if not (whole.isascii() and whole.isdigit() and len(whole) < 12):
        raise _Wrong(f"a count of tokens is {text[:40]!r}")
    if int(whole) > _MOST_TOKENS:
        raise _Wrong(f"a count of tokens is {whole}, more than {_MOST_TOKENS}")
    return int(whole)


def _time(text: str, unit_ns: int) -> int:
    """Read a time, exactly."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or not 0 <= value <= _MOST_S * (10**9 // unit_ns):
        raise _Wrong(f"its time is {text[:40]!r}")
    return int(value * unit_ns)
