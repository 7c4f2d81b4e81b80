"""One request of a load run: its bytes, and who reads its answer."""

from collections.abc import Callable, Sequence

from gateproof.sample import Sample

from .reply import Reply

__all__ = ["Request"]


class Request:
    """One HTTP request, and how its answer is read."""

    __slots__ = (
        "_make",
        "data",
        "number",
        "own",
        "reference",
        "turn",
        "want_usage",
        "words",
        "work",
    )

    def __init__(
        self,
        data: bytes,
        work: int,
        number: int,
        reference: str,
        own: Sequence[str],
        turn: bytes,
        words: int,
        make: Callable[["Request", Sample], Reply],
        *,
        want_usage: bool,
    ) -> None:
        self.data = data
        """Head and body as they go over the wire."""
        self.work = work
        """The index of the work, for ``Sample.work``."""
        self.number = number
        self.reference = reference
        """The canary that its answer shall show, and no other's."""
        self.own = own
        """The references that its answer may show: its own, and those of the turns before."""
        self.turn = turn
        """The message it adds to its conversation, as JSON."""
        self.words = words
        """Words in its prompt, where tokens per word can be learned from it; else 0."""
        self.want_usage = want_usage
        self._make = make

    def answer(self, sample: Sample) -> Reply:
        """Give the reader of the answer; it fills the sample."""
        sample.work = self.work
        return self._make(self, sample)
