"""One worker's share of a load: every N-th arrival, user and request number, and part of the rest.

Strategy: everything that a plan counts is numbered over all workers, and worker i of N has the
numbers i, i + N, i + 2 N … So the shares together are exactly the plan, whatever N is, and no
number, hence no canary and no conversation, is given twice.

Rules. A cap or a budget is divided into whole parts, and none is larger than the whole; one that
cannot give every worker a part is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice
from typing import Final, TypeVar

from gateproof.budget import Budget
from gateproof.errors import UsageError

__all__ = ["ALONE", "Share"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Share:
    """Worker ``index`` (from 0) of ``count``."""

    index: int = 0
    count: int = 1

    def number(self, own: int) -> int:
        """Give the number over all workers of this worker's own one, from 0."""
        return own * self.count + self.index

    def places(self, whole: int) -> range:
        """Give this worker's numbers among so many."""
        return range(self.index, whole, self.count)

    def of(self, items: Iterator[T]) -> Iterator[T]:
        """Give every N-th item, from this worker's first."""
        return items if self.count == 1 else islice(items, self.index, None, self.count)

    def cap(self, whole: int | None) -> int | None:
        """Give this worker's part of a cap on concurrency."""
        return None if whole is None else self._part("cap", whole)

    def budget(self, whole: Budget) -> Budget:
        """Give this worker's part of a budget."""
        if self.count == 1:
            return whole
        parts = {
            name: self._part(f"budget of {name}", amount)
            for name in ("requests", "tokens")
            if (amount := getattr(whole, name)) is not None
        }
        usd = None if whole.usd is None else whole.usd / Decimal(self.count)
        return replace(whole, **parts, usd=usd)

    def _part(self, what: str, whole: int) -> int:
        if whole < self.count:
            raise UsageError(
                f"The {what} is {whole}, which cannot be shared out to {self.count} workers.",
                "Give at least one to each, or use fewer workers.",
            )
        return len(self.places(whole))


ALONE: Final = Share()
