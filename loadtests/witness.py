"""Keeps some exchanges of a load run whole: every read of the answer with its time, as it came.

Strategy: a request that is chosen carries another maker of its answer's reader, which notes the
bytes and hands them on. Requests that are not chosen pay for one test of their number. During the
load nothing else is done; transcripts, with every secret covered, are made once it is over.

Rules. Memory is bounded for each exchange and for all, whatever the target sends; what passes the
bound is dropped, and counted. What the generator itself broke off is dropped, too: it would look as
if the target had. No byte reaches the disk before the secrets in it are covered.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from gateproof.sample import ErrorKind, Sample
from gateproof.sampling import Sampling, samples

__all__ = ["Witness"]

_MOST_BYTES: Final = 4 * 1024 * 1024  # of one exchange: an answer of some 15,000 events
_MOST_BYTES_IN_ALL: Final = 32 * 1024 * 1024  # memory of a worker at 500 streams is some 70 MB
_READ_BYTES: Final = 140  # what keeping one read costs beside its data

# Ends that say nothing of the target: what came until then is no answer that could be judged.
_OUR_OWN: Final = frozenset(
    {"UNFINISHED", "CONNECT", "CONNECT_TIMEOUT", "TLS", "LOCAL", "FIRST_BYTE_TIMEOUT"}
)
_ENDS: Final = {
    ErrorKind.IDLE_TIMEOUT: "idle-timeout",
    ErrorKind.TOTAL_TIMEOUT: "total-timeout",
    ErrorKind.TOO_LARGE: "too-large",
    ErrorKind.RESET: "reset",
    ErrorKind.CUT: "reset",
}


class _Seen:
    """Reads one answer for another reader, and keeps what came: all of it, so nothing by a lane."""

    lane = None
    __slots__ = ("_inner", "_witness", "ended", "ended_ns", "error", "reads", "size")

    def __init__(self, inner: Any, witness: "Witness") -> None:
        self._inner = inner
        self._witness = witness
        self.reads: list[tuple[int, bytes]] | None = []
        self.size = 0
        self.ended = ""
        self.ended_ns = 0
        self.error = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def feed(self, data: bytes, at_ns: int) -> bool:
        """Keep the bytes of one read, and hand them on."""
        self.ended_ns = at_ns
        if self.reads is not None:
            cost = len(data) + _READ_BYTES
            self.size += cost
            if self.size > _MOST_BYTES or not self._witness.takes(cost):
                self._witness.forget(self, "too large")
            else:
                self.reads.append((at_ns, data))
        finished: bool = self._inner.feed(data, at_ns)
        return finished

    def eof(self, at_ns: int) -> None:
        """Take the end of the connection."""
        self.ended, self.ended_ns = "closed", at_ns
        self._inner.eof(at_ns)

    def fail(self, kind: ErrorKind, says: str, at_ns: int) -> None:
        """Take the end of the exchange as a failure."""
        self.ended_ns, self.error = at_ns, says
        self.ended = "" if kind.name in _OUR_OWN else _ENDS.get(kind, "cancelled")
        if not self.ended:
            self._witness.forget(self, "no answer to judge")
        self._inner.fail(kind, says, at_ns)


class _Tapped:
    """A request whose answer is kept."""

    __slots__ = ("_request", "_witness", "seen")

    def __init__(self, request: Any, witness: "Witness") -> None:
        self._request = request
        self._witness = witness
        self.seen: _Seen | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)

    @property
    def answer(self) -> Callable[[Sample], Any]:
        """Make the reader of the answer; a request that is sent again begins anew."""
        return self._begin

    def _begin(self, sample: Sample) -> _Seen:
        if self.seen is not None:
            self._witness.forget(self.seen, "")
        self.seen = _Seen(self._request.answer(sample), self._witness)
        return self.seen


class Witness:
    """Chooses requests of one process, keeps their exchanges, and writes them down at the end."""

    def __init__(
        self, sampling: Sampling, seed: int, folder: Path, secrets: Mapping[str, str]
    ) -> None:
        self._sampling = sampling
        self._seed = seed
        self._folder = folder
        self._secrets = secrets
        self._left_bytes = _MOST_BYTES_IN_ALL
        self._tapped: list[_Tapped] = []
        self._dropped: Counter[str] = Counter()
        self._left = sampling.most

    def tap(self, number: int, request: Any) -> Any:
        """Give the request back as it is, or, where it is chosen, as one whose answer is kept."""
        if self._left <= 0 or not samples(self._sampling, self._seed, number):
            return request
        self._left -= 1
        tapped = _Tapped(request, self)
        self._tapped.append(tapped)
        return tapped

    def takes(self, size: int) -> bool:
        """Take room for so many bytes, if there is any."""
        if size > self._left_bytes:
            return False
        self._left_bytes -= size
        return True

    def forget(self, seen: _Seen, why: str) -> None:
        """Give up what was kept of an exchange; without a reason it is not counted."""
        if seen.reads is None:
            return
        self._left_bytes += sum(len(data) + _READ_BYTES for _, data in seen.reads)
        seen.reads = None
        if why:
            self._dropped[why] += 1

    def write(self, base_url: str) -> None:
        """Write what was kept into one transcript, which also says what was not, and why."""
        # Imported only now: parsers and patterns would slow the start of every worker.
        from .transcribe import transcribe, transcript_of  # noqa: PLC0415

        exchanges = []
        for tapped in self._tapped:
            seen = tapped.seen
            if seen is None or seen.reads is None:
                continue
            if not seen.finished or seen.sample.error == ErrorKind.UNFINISHED:
                self.forget(seen, "no answer to judge")
                continue
            exchanges.append(transcribe(tapped.data, seen, base_url, self._secrets))
            seen.reads = None
        self._tapped.clear()
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._folder / f"{os.getpid()}.part"
        part.write_text(transcript_of(exchanges, self._dropped), "utf-8")
        part.replace(part.with_suffix(".json"))
