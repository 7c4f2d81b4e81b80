"""How long a user of the closed model waits when it is refused: as long as it was told.

Rules. Nothing is hidden: the refusal is a failure of its own kind, the request behind the wait says
that it waited (``Flag.WAITED``), and the offered load falls by what was waited. Arrivals of the
open model never wait.
"""

from typing import Final

from gateproof.sample import NEVER, Flag, Sample

__all__ = ["LONGEST_WAIT_S", "Patience"]

LONGEST_WAIT_S: Final = 600.0  # a target may say what it likes; beyond it a user asks all the same
_REFUSALS: Final = frozenset({429, 503})  # RFC 9110 section 10.2.3 and RFC 6585 section 4


class Patience:
    """The patience of one user: ``after`` each answer, how long it waits before it asks again."""

    __slots__ = ("_waited",)

    def __init__(self) -> None:
        self._waited = False

    def after(self, sample: Sample) -> float:
        """Give the seconds to wait behind an answer; 0 where none were asked for."""
        told = sample.status in _REFUSALS and sample.retry_after_ms != NEVER
        self._waited = told
        return min(sample.retry_after_ms / 1000, LONGEST_WAIT_S) if told else 0.0

    def flags(self) -> int:
        """Give what the next sample has to say of the wait before it."""
        return int(Flag.WAITED) if self._waited else 0
