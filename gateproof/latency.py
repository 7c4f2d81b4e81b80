"""Latencies from samples: pure functions from records and token stamps to values in milliseconds.

Rules. What did not happen has no value. Values stand in the order of the records, which is that of
due; gaps stand stream by stream. Gaps are worked out block by block into 32-bit floats (exact to a
ten-millionth, where stamps are whole microseconds), so that millions of streams fit.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateproof.sample import NEVER, ErrorKind, Flag

__all__ = [
    "METRIC_SAYS",
    "NS_PER_MS",
    "US_PER_MS",
    "Gaps",
    "abandoned",
    "blocks",
    "first_us",
    "gaps",
    "metrics",
    "stalls",
    "stamps_of",
    "token_count",
    "where",
]

METRIC_SAYS: Final[dict[str, str]] = {
    "ttft_ms": "time to first token: from sent to the first event with output of any kind",
    "ttft_from_due_ms": "the same from when the request was due: what a user waits",
    "content_ms": "from sent to the first event with content or a tool call, after any reasoning",
    "first_byte_ms": "from sent to the first byte of the answer",
    "first_event_ms": "from sent to the first event, which may hold only a role",
    "after_first_byte_ms": "the part of TTFT after the first byte: the answer had begun, but held "
    "no token",
    "reasoning_ms": "from the first reasoning token to the first content; where both came",
    "gap_ms": "time between two events with output, as they came",
    "itl_ms": "inter-token latency: each gap, shared over its tokens when usage counts more tokens "
    "than events",
    "tpot_ms": "time per output token: (last - first) / (tokens - 1), one value a request",
    "e2e_ms": "from sent to [DONE], or to the end of the body",
    "e2e_from_due_ms": "the same from when the request was due",
    "wait_ms": "from due to sent: the generator's own wait, a cap's, and connecting",
    "connect_ms": "making a connection, name look-up and TLS included; fresh connections only",
    "stream_tokens_per_s": "output tokens per second of one stream, from its first to its last",
}

NS_PER_MS: Final = 1e6
US_PER_MS: Final = 1e3
STALL_MS: Final = 1000.0
STALL_TIMES: Final = 10.0
_BLOCK: Final = 1_000_000  # stamps that are worked on at a time


@dataclass(frozen=True, slots=True)
class Gaps:
    """All gaps between output events: ``ms`` stream by stream, ``sizes`` gaps of each stream.

    ``per_gap`` is how many tokens each gap of a stream stands for, by its usage: at least 1.
    """

    ms: NDArray[np.float32]
    sizes: NDArray[np.int64]
    per_gap: NDArray[np.float32]

    @property
    def shared(self) -> bool:
        """Tell whether some gap stands for more than one token."""
        return bool((self.per_gap > 1).any())

    def share(self) -> NDArray[np.float32]:
        """Share each gap over its tokens, in place: afterwards these are inter-token latencies."""
        at = place = 0
        while place < len(self.sizes):
            some = self.sizes[place : place + 20_000]
            count = int(some.sum())
            self.ms[at : at + count] /= np.repeat(self.per_gap[place : place + 20_000], some)
            at, place = at + count, place + 20_000
        return self.ms


def _ms(us: NDArray[Any]) -> NDArray[np.float64]:
    """Give the times that happened, in milliseconds."""
    return np.asarray(us[us != NEVER], np.float64) / US_PER_MS


def first_us(rows: NDArray[np.void]) -> NDArray[np.uint32]:
    """Give the first output of any kind; NEVER sorts last, so the minimum is right."""
    return np.asarray(np.minimum(rows["first_token_us"], rows["first_reasoning_us"]), np.uint32)


def abandoned(rows: NDArray[np.void]) -> NDArray[np.bool_]:
    """Tell which arrivals still waited under a cap when the load ended, and were never sent.

    ``sent_ns`` of these is when they were due, and ``end_us`` how long they had waited.
    """
    waited = (rows["error"] == ErrorKind.UNFINISHED) & (rows["flags"] & int(Flag.DELAYED) != 0)
    return np.asarray(waited & (rows["sent_ns"] == rows["due_ns"]), bool)


def token_count(rows: NDArray[np.void]) -> NDArray[np.int64]:
    """Count each answer's tokens: by usage less reasoning that was not shown, else by events."""
    deltas = rows["deltas"].astype(np.int64)
    usage = rows["completion_tokens"].astype(np.int64)
    reasoning = rows["reasoning_tokens"].astype(np.int64)
    hidden = np.where(
        (rows["first_reasoning_us"] == NEVER) & (rows["reasoning_tokens"] != NEVER), reasoning, 0
    )
    shown = usage - hidden
    return np.where((rows["completion_tokens"] != NEVER) & (shown > 0), shown, deltas)


def stamps_of(rows: NDArray[np.void]) -> NDArray[np.int64]:
    """Give the places of all stamps of these rows, row by row."""
    deltas = rows["deltas"].astype(np.int64)
    ends = np.cumsum(deltas)
    at = np.repeat(rows["stamps_at"].astype(np.int64) - (ends - deltas), deltas)
    return at + np.arange(len(at))


def blocks(rows: NDArray[np.void]) -> Iterator[NDArray[np.void]]:
    """Give the rows in parts of about a million stamps."""
    ends = np.cumsum(rows["deltas"].astype(np.int64))
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(_BLOCK, total, _BLOCK)).tolist()
    for low, high in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        if high > low:
            yield rows[low:high]


def gaps(rows: NDArray[np.void], stamps: NDArray[np.uint32]) -> Gaps:
    """Give all gaps between output events of these rows."""
    rows = where(rows, rows["deltas"] > 1)
    sizes = rows["deltas"].astype(np.int64) - 1
    made = np.empty(int(sizes.sum()), np.float32)
    at = 0
    for part in blocks(rows):
        deltas = part["deltas"].astype(np.int64)
        between = np.diff(stamps[stamps_of(part)].astype(np.int64))
        inside = np.ones(len(between), bool)
        inside[np.cumsum(deltas)[:-1] - 1] = False
        count = int(deltas.sum()) - len(deltas)
        made[at : at + count] = between[inside] / US_PER_MS
        at += count
    per_gap = np.maximum((token_count(rows) - 1) / np.maximum(sizes, 1), 1.0)
    return Gaps(made, sizes, per_gap.astype(np.float32))


def stalls(found: Gaps) -> dict[str, Any]:
    """Count the gaps beyond 1 s and ten times the median gap of their stream; name the longest."""
    count = streams = 0
    longest = 0.0
    if len(found.sizes):
        starts = np.concatenate([[0], np.cumsum(found.sizes)[:-1]])
        widest = np.maximum.reduceat(found.ms, starts)
        for place in np.flatnonzero(widest > STALL_MS):
            own = found.ms[starts[place] : starts[place] + found.sizes[place]]
            over = own[own > max(STALL_MS, STALL_TIMES * float(np.median(own)))]
            count += len(over)
            streams += bool(len(over))
            longest = max(longest, float(over.max(initial=0.0)))
    return {
        "count": count,
        "streams": streams,
        "of_streams": len(found.sizes),
        "longest_ms": round(longest, 3) if count else None,
    }


def where(rows: NDArray[np.void], kept: NDArray[np.bool_]) -> NDArray[np.void]:
    """Give the rows that are to be kept; the very same ones, and no copy, when that is all."""
    return rows if kept.all() else rows[kept]


def metrics(rows: NDArray[np.void]) -> Mapping[str, NDArray[Any]]:
    """Give each metric's values that is one value a request; in ms where not said otherwise."""
    seen = where(rows, (rows["error"] == ErrorKind.NONE) | (rows["error"] == ErrorKind.UNFINISHED))
    done = where(rows, rows["error"] == ErrorKind.NONE)
    wait = np.maximum(seen["sent_ns"] - seen["due_ns"], 0) / NS_PER_MS
    wait_done = np.maximum(done["sent_ns"] - done["due_ns"], 0) / NS_PER_MS
    first = first_us(seen)
    has_first = first != NEVER
    byte = seen["first_byte_us"]
    begun = first[has_first & (byte != NEVER)].astype(np.int64)
    began = byte[has_first & (byte != NEVER)].astype(np.int64)
    both = (seen["first_reasoning_us"] != NEVER) & (seen["first_token_us"] != NEVER)
    thought = seen["first_token_us"][both].astype(np.int64) - seen["first_reasoning_us"][both]
    paced = where(done, (done["deltas"] > 1) & (token_count(done) > 1))
    span_ms = (paced["last_token_us"].astype(np.float64) - first_us(paced)) / US_PER_MS
    tpot = span_ms / (token_count(paced) - 1)
    return {
        "ttft_ms": _ms(first),
        "ttft_from_due_ms": _ms(first) + wait[has_first],
        "content_ms": _ms(seen["first_token_us"]),
        "first_byte_ms": _ms(byte),
        "first_event_ms": _ms(seen["first_event_us"]),
        "after_first_byte_ms": np.maximum(begun - began, 0) / US_PER_MS,
        "reasoning_ms": thought[thought > 0] / US_PER_MS,
        "tpot_ms": tpot,
        "e2e_ms": _ms(done["end_us"]),
        "e2e_from_due_ms": _ms(done["end_us"]) + wait_done[done["end_us"] != NEVER],
        "wait_ms": wait[~abandoned(seen)],
        "connect_ms": seen["connect_us"][seen["connect_us"] > 0] / US_PER_MS,
        "stream_tokens_per_s": 1000.0 / tpot[tpot > 0],
    }
