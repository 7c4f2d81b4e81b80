"""What a load run is asked to do, as data: the generator writes it first, the figures repeat it.

It needs the standard library only, because every worker of a load run imports it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from gateproof.errors import UsageError, unknown_name

__all__ = ["SLO_NAMES", "LoadPlan", "parse_slos"]

SLO_NAMES: Final = ("ttft_ms", "content_ms", "tpot_ms", "e2e_ms")


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What a load run was asked to do; the generator writes it first thing."""

    scenario: str
    arrivals: str  # closed, poisson, constant
    target: str  # origin and path, never a key
    model: str
    users: int | None = None
    rate_per_s: float | None = None
    duration_s: float | None = None
    warm_up_s: float = 0.0
    seed: int = 0
    cap: int | None = None
    think_s: float = 0.0
    max_tokens: int | None = None
    prompt_words: int | None = None
    slos: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "LoadPlan":
        """Read a plan from its JSON form, leaving out what this version does not know."""
        known = {f.name for f in fields(cls)}
        return cls(**{name: value for name, value in row.items() if name in known})


def parse_slos(text: str) -> dict[str, float]:
    """Read ``ttft_ms=500,e2e_ms=3000``; a wrong name or number is a UsageError."""
    slos = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, value = part.partition("=")
        if name not in SLO_NAMES:
            raise unknown_name("SLO", name, SLO_NAMES)
        try:
            slos[name] = float(value)
        except ValueError:
            slos[name] = -1.0
        if not 0 < slos[name] < float("inf"):
            raise UsageError(
                f"The SLO {name} needs a number of milliseconds; got {value!r}.",
                "Write it as in ttft_ms=500,e2e_ms=3000.",
            )
    return slos
