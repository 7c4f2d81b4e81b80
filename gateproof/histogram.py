"""Histograms of times that add up exactly, over workers, steps and runs.

Strategy: one fixed set of log-linear buckets for everybody. A time below 256 ns has a bucket of its
own; above that each power of two is cut into 128 equal parts, so that a bucket's middle is within
1/256 (0.4 %) of every time in it. Counts, their sum and both ends are whole numbers: merging is
addition, in any order, with nothing lost.

Rules. The standard library only: workers of a load run import it. Times are integers in
nanoseconds; a negative one counts as 0. What comes from another process is checked before it is
believed.
"""

import struct
from collections.abc import Iterable, Mapping
from typing import Any, Final

from gateproof.errors import UsageError

__all__ = ["RELATIVE_ERROR", "Histogram", "bounds_ns", "bucket_of"]

_PART_BITS: Final = 7  # 128 parts of each power of two
_EXACT: Final = 2 << _PART_BITS
_MOST_BUCKETS: Final = (64 - _PART_BITS) << _PART_BITS  # up to 2**63 ns, three centuries
_MAGIC: Final = b"GPH1"
_HEAD: Final = struct.Struct("<4sIqq")  # magic, buckets, least, most
_ITEM: Final = struct.Struct("<IQ")  # bucket, count

RELATIVE_ERROR: Final = 1 / _EXACT
"""A quantile is at most this share away from the time of that rank."""


def bucket_of(ns: int) -> int:
    """Give the number of the bucket that a time belongs to."""
    shift = ns.bit_length() - _PART_BITS - 1
    if shift <= 0:
        return max(ns, 0)
    return (shift << _PART_BITS) + (ns >> shift)


def bounds_ns(bucket: int) -> tuple[int, int]:
    """Give the first time of a bucket, and the first one behind it."""
    if bucket < _EXACT:
        return bucket, bucket + 1
    shift = (bucket >> _PART_BITS) - 1
    parts = (bucket & (_EXACT // 2 - 1)) + _EXACT // 2
    return parts << shift, (parts + 1) << shift


class Histogram:
    """Counts of times by bucket, with their exact number, sum, least and most."""

    __slots__ = ("counts", "max_ns", "min_ns", "n", "sum_ns")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.n = 0
        self.sum_ns = 0
        self.min_ns = 0
        self.max_ns = 0

    def __eq__(self, other: object) -> bool:
        """Tell whether both hold the same counts."""
        if not isinstance(other, Histogram):
            return NotImplemented
        return self.as_json() == other.as_json()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def add(self, ns: int) -> None:
        """Count one time."""
        ns = max(ns, 0)
        shift = ns.bit_length() - _PART_BITS - 1  # bucket_of, without the call
        bucket = ns if shift <= 0 else (shift << _PART_BITS) + (ns >> shift)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        if not self.n or ns < self.min_ns:
            self.min_ns = ns
        self.max_ns = max(self.max_ns, ns)
        self.n += 1
        self.sum_ns += ns

    def add_counts(
        self, counts: Iterable[tuple[int, int]], *, sum_ns: int, min_ns: int, max_ns: int
    ) -> None:
        """Take in times that were counted by bucket elsewhere."""
        added = 0
        for bucket, count in counts:
            self.counts[bucket] = self.counts.get(bucket, 0) + count
            added += count
        if added:
            self.min_ns = min(self.min_ns, min_ns) if self.n else min_ns
            self.max_ns = max(self.max_ns, max_ns)
            self.n += added
            self.sum_ns += sum_ns

    def merge(self, other: "Histogram") -> None:
        """Add all that another histogram holds."""
        self.add_counts(
            other.counts.items(), sum_ns=other.sum_ns, min_ns=other.min_ns, max_ns=other.max_ns
        )

    def quantile(self, q: float) -> int | None:
        """Give the time below or at which a share ``q`` lies, within RELATIVE_ERROR; None if empty.

        It stands for the value of rank ``ceil(q * n)``; 0 and 1 give both ends exactly.
        """
        if not self.n:
            return None
        rank = min(max(-int(-q * self.n // 1), 1), self.n)
        if rank == self.n:
            return self.max_ns
        if rank == 1:
            return self.min_ns
        for bucket in sorted(self.counts):
            rank -= self.counts[bucket]
            if rank <= 0:
                low, high = bounds_ns(bucket)
                return min(max((low + high) // 2, self.min_ns), self.max_ns)
        raise AssertionError  # n is the sum of all counts

    def mean(self) -> float | None:
        """Give the exact mean in nanoseconds; None if empty."""
        return self.sum_ns / self.n if self.n else None

    def to_bytes(self) -> bytes:
        """Give it as bytes; the same counts give the same bytes."""
        parts = [_HEAD.pack(_MAGIC, len(self.counts), self.min_ns, self.max_ns)]
        parts += [_ITEM.pack(bucket, self.counts[bucket]) for bucket in sorted(self.counts)]
        total = self.sum_ns
        parts.append(total.to_bytes((total.bit_length() + 7) // 8, "little"))
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Histogram":
        """Read what ``to_bytes`` gave; anything else is a UsageError."""
        if len(data) < _HEAD.size or data[:4] != _MAGIC:
            raise _damaged("no histogram of this version")
        _, buckets, least, most = _HEAD.unpack_from(data)
        end = _HEAD.size + buckets * _ITEM.size
        if buckets > _MOST_BUCKETS or len(data) < end or len(data) > end + 32:
            raise _damaged(f"{len(data)} bytes with {buckets} buckets")
        items = list(_ITEM.iter_unpack(data[_HEAD.size : end]))
        made = cls._checked(items, int.from_bytes(data[end:], "little"), least, most)
        if made.to_bytes() != data:
            raise _damaged("it has bytes to spare")
        return made

    def as_json(self) -> dict[str, Any]:
        """Give it as plain JSON types: pairs of bucket and count, in order."""
        return {
            "unit": "ns",
            "n": self.n,
            "sum": self.sum_ns,
            "min": self.min_ns,
            "max": self.max_ns,
            "buckets": [[bucket, self.counts[bucket]] for bucket in sorted(self.counts)],
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Histogram":
        """Read what ``as_json`` gave; anything else is a UsageError."""
        try:
            items = [(int(bucket), int(count)) for bucket, count in row["buckets"]]
            total, least, most = int(row["sum"]), int(row["min"]), int(row["max"])
        except (KeyError, TypeError, ValueError):
            raise _damaged("a member is missing or no whole number") from None
        return cls._checked(items, total, least, most)

    @classmethod
    def _checked(
        cls, items: list[tuple[int, int]], total: int, least: int, most: int
    ) -> "Histogram":
        """Make a histogram of parts that fit together."""
        made = cls()
        places = [bucket for bucket, _ in items]
        if items:
            first, last = items[0][0], items[-1][0]
            fits = (
                places == sorted(set(places))
                and first >= 0
                and last < _MOST_BUCKETS
                and all(count > 0 for _, count in items)
                and bucket_of(least) == first
                and bucket_of(most) == last
                and 0 <= least <= most
            )
            low = sum(bounds_ns(bucket)[0] * count for bucket, count in items) if fits else 0
            high = sum((bounds_ns(bucket)[1] - 1) * count for bucket, count in items) if fits else 0
            if not fits or not low <= total <= high:
                raise _damaged("its counts, its ends and its sum do not fit together")
        elif total or least or most:
            raise _damaged("it is empty, and has a sum")
        made.add_counts(items, sum_ns=total, min_ns=least, max_ns=most)
        return made


def _damaged(how: str) -> UsageError:
    return UsageError(f"This is not a whole histogram: {how}.", "Wanted one of gateproof's own.")
