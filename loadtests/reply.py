"""What all answers share: from the bytes of a response to the fields of its sample.

Strategy: the reader of the HTTP response hands body bytes to the sink that the kind of answer
chose, in the call that brought them, with the time of the read. A kind of answer says where its
body goes (``_sink``), what a whole body was worth (``_whole``) and how its usage is counted
(``_count``). Nothing is kept but the sample, one time per piece of output, the last usage object, a
bounded beginning of the text, and the first bytes of what is no such answer.

Rules. 200 is not yet success: an error inside the body, a cut body, data that is no JSON, an answer
without output are failures, each of its own kind, and so is another request's reference in the
text. What an error's status or the last event of a stream said stands, whatever ends the body.
"""

import re
from decimal import Decimal
from email.utils import parsedate_to_datetime
from time import time
from typing import Any, Final

from gateproof.sample import NEVER, ErrorKind, Flag, Sample

from .canary import Watch
from .framing import Broken, Response
from .hot import Lane

__all__ = ["WATCHED_BYTES", "Reply"]

WATCHED_BYTES: Final = 64 * 1024  # that may come before the text in them is looked through
_KEPT_BYTES: Final = 4096  # of a body that is no such answer, as evidence
_RETRY_SECONDS: Final = re.compile(rb"[0-9]{1,6}(?:\.[0-9]{1,6})?\Z")
_LONGEST_WAIT_S: Final = 10**6


class Reply:
    """Reads one answer; ``sample`` and ``stamps`` fill as it comes.

    ``finished`` is True once the answer is judged. ``says`` tells a failure in words, from the wire
    where it can. ``text`` is the beginning of what the model said, where somebody watches.
    ``wants_call`` says that a tool call was forced.
    """

    __slots__ = (
        "_done_ns",
        "_fed",
        "_finish",
        "_kept",
        "_usage",
        "_want_usage",
        "_wants_call",
        "_watch",
        "finished",
        "response",
        "sample",
        "says",
        "stamps",
    )

    CONTENT_TYPE: bytes = b"text/event-stream"
    lane: Lane | None = None

    def __init__(
        self,
        sample: Sample,
        *,
        want_usage: bool = True,
        watch: Watch | None = None,
        wants_call: bool = False,
    ) -> None:
        self.sample = sample
        self.stamps: list[int] = []
        self.response = Response(self._head)
        self.finished = False
        self.says = ""
        self._want_usage = want_usage
        self._wants_call = wants_call
        self._watch = watch
        self._done_ns = self._fed = 0
        self._finish = False
        self._kept = b""
        self._usage: Any = None

    @property
    def done_ns(self) -> int:
        """When the last event of a stream came; 0 before."""
        return self._done_ns

    @property
    def text(self) -> str:
        """The beginning of what the model said; empty where nobody watches."""
        return "" if self._watch is None else self._watch.text

    def feed(self, data: bytes, at_ns: int) -> bool:
        """Take the bytes of one read; True when the answer is whole or cannot be read on."""
        response = self.response
        if self.finished:
            response.reusable = False  # more than the answer
            return False
        if not self.sample.first_byte_ns:
            self.sample.first_byte_ns = at_ns
        self._fed += len(data)
        if self._fed > WATCHED_BYTES and self._watch is not None:
            self._fed = 0
            self._watch.end()
        try:
            response.feed(data, at_ns)
        except Broken as broken:
            self.fail(broken.kind, broken.says, at_ns)
            return True
        if response.done:
            self._judge(at_ns)
        return self.finished

    def eof(self, at_ns: int) -> None:
        """Take the end of the connection, which may end the answer or cut it."""
        try:
            self.response.eof()
        except Broken as broken:
            self.fail(broken.kind, broken.says, at_ns)
        else:
            self._judge(at_ns)

    def fail(self, kind: ErrorKind, says: str, at_ns: int) -> None:
        """End the answer as a failure; what [DONE] or an error's status said still stands."""
        self.response.reusable = False
        if self._done_ns or self.sample.status not in {0, 200}:
            self.sample.flags |= Flag.UNENDED
            self._judge(at_ns)
            return
        self._spoil(kind, says)
        self._close(at_ns)

    def _spoil(self, kind: ErrorKind, says: str) -> None:
        """Name the first thing that makes the answer a failure."""
        if not self.sample.error:
            self.sample.error, self.says = kind, says

    def _head(self, status: int, headers: dict[bytes, bytes]) -> Any:
        """Choose where the body goes, by status and type."""
        sample = self.sample
        sample.status = status
        wait = headers.get(b"retry-after")
        if wait is not None:
            sample.retry_after_ms = _retry_after_ms(wait)
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            coding = headers[b"content-encoding"][:40]
            raise Broken(ErrorKind.ENCODED, f"content-encoding {coding!r}")
        if status != 200:
            return self._keep
        right = headers.get(b"content-type", b"").lower().startswith(self.CONTENT_TYPE)
        if not right:
            sample.flags |= Flag.WRONG_TYPE
        return self._sink(right_type=right)

    def _sink(self, *, right_type: bool) -> Any:
        """Give what takes the bytes of a body with status 200."""
        raise NotImplementedError

    def _keep(self, data: bytes, _at_ns: int) -> None:
        """Keep the beginning of a body that is no such answer."""
        if len(self._kept) < _KEPT_BYTES:
            self._kept += data[: _KEPT_BYTES - len(self._kept)]

    def _judge(self, at_ns: int) -> None:
        """Judge an answer whose body is whole."""
        sample, status = self.sample, self.sample.status
        if status != 200:
            sample.error = _status_kind(status)
            self.says = f"status {status}: {self._kept[:300].decode(errors='replace')}"
        elif not sample.error:
            self._whole()
        self._close(at_ns)

    def _whole(self) -> None:
        """Judge a whole body with status 200 in which nothing was wrong so far."""
        raise NotImplementedError

    def _found(self) -> None:
        """Note what a good answer lacks beside its output."""
        if not self._finish:
            self.sample.flags |= Flag.NO_FINISH
        if self._usage is None and self._want_usage:
            self.sample.flags |= Flag.NO_USAGE

    def _close(self, at_ns: int) -> None:
        """Write the last fields of the sample."""
        sample, watch = self.sample, self._watch
        if self.stamps:
            sample.last_token_ns = self.stamps[-1]
        sample.end_ns = self._done_ns or at_ns
        if watch is not None:
            watch.end()
            if watch.seen_own:
                sample.flags |= Flag.OWN_CANARY
            if watch.foreign:
                sample.flags |= Flag.CROSS_TALK
                self._spoil(ErrorKind.CROSS_TALK, f"the answer holds {watch.foreign}")
        if isinstance(self._usage, dict):
            self._count(self._usage)
            self._cost(self._usage)
        elif self._usage is not None:
            sample.flags |= Flag.BAD_USAGE
        self.finished = True
        self.response.close()

    def _count(self, usage: dict[str, Any]) -> None:
        """Read the token counts of the last usage object."""
        details = usage.get("completion_tokens_details")
        self._counted(
            usage.get("prompt_tokens"),
            usage.get("completion_tokens"),
            details.get("reasoning_tokens") if isinstance(details, dict) else None,
        )

    def _cost(self, usage: dict[str, Any]) -> None:
        """Read the cost of the last usage object, where it names one."""
        cost = usage.get("cost_usd_total", usage.get("cost_usd", usage.get("cost")))
        if isinstance(cost, (int, float)) and not isinstance(cost, bool):
            nano = Decimal(repr(cost)).scaleb(9)
            if abs(nano) < 2**62:  # inf and nan are no JSON
                self.sample.cost_nano_usd = int(nano.to_integral_value())

    def _counted(self, *counts: Any) -> None:
        """Keep the counts of prompt, completion and reasoning; what is no count is a finding."""
        named = []
        for count in counts:
            if count is None:
                named.append(NEVER)
            elif type(count) is int and 0 <= count < NEVER:
                named.append(count)
            else:
                self.sample.flags |= Flag.BAD_USAGE
                named.append(NEVER)
        sample = self.sample
        sample.prompt_tokens, sample.completion_tokens, sample.reasoning_tokens = named


def _retry_after_ms(value: bytes) -> int:
    """Read a Retry-After of either form (RFC 9110 section 10.2.3); what is none is NEVER."""
    if _RETRY_SECONDS.match(value):
        return round(float(value) * 1000)
    try:
        wait_s = parsedate_to_datetime(value[:64].decode("ascii")).timestamp() - time()
    except (ValueError, IndexError, OverflowError):
        return NEVER
    return NEVER if wait_s > _LONGEST_WAIT_S else max(round(wait_s * 1000), 0)


def _status_kind(status: int) -> ErrorKind:
    """Name the failure that a status is."""
    if status == 429:
        return ErrorKind.RATE_LIMITED
    return {4: ErrorKind.CLIENT_ERROR, 5: ErrorKind.SERVER_ERROR}.get(
        status // 100, ErrorKind.STATUS
    )
