"""Which requests of a load run are kept whole, as on the wire, so that they can be judged.

Rules. The choice follows from the seed and the request's number alone, so that the same run keeps
the same requests. Standard library only: every worker of a load run imports it.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateproof.errors import UsageError, unknown_name

__all__ = ["Sampling", "parse_sampling", "samples"]

_HIGHEST = {"every": 1_000_000, "most": 2_000, "first": 100}
"""The most that each may be: two thousand transcripts are some 60 MB and a minute of judging."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """One in ``every`` requests is kept, and always the ``first``, but not more than ``most``.

    They hold for each worker; ``most`` is 0 where nothing shall be kept. Two hundred answers show
    with 95 % confidence any flaw that 1.5 % of all have.
    """

    every: int = 50
    most: int = 200
    first: int = 5

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Sampling":
        """Read a sampling from its JSON form."""
        return cls(**{name: int(row[name]) for name in _HIGHEST if name in row})


def parse_sampling(table: object, place: str) -> Sampling:
    """Read the ``[sampling]`` table of a scenario; ``place`` names it in errors."""
    if not isinstance(table, Mapping):
        raise UsageError(f"{place} is not a table.", "Write [sampling] and below it every = 50.")
    for name, value in table.items():
        if name not in _HIGHEST:
            raise unknown_name(f"key of {place}", name, _HIGHEST)
        least = 1 if name == "every" else 0
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not least <= value <= _HIGHEST[name]:
            raise UsageError(
                f"{place}: {name} is {value!r}.",
                f"Give a whole number from {least} to {_HIGHEST[name]:,}.",
            )
    return Sampling.of(table)


def samples(sampling: Sampling, seed: int, number: int) -> bool:
    """Tell whether the request of this number is one to keep, the limit apart."""
    if number < sampling.first:
        return True
    return zlib.crc32(b"%d/%d" % (seed, number)) % sampling.every == 0
