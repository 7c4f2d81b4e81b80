"""One streamed chat answer: from the bytes of the response to the fields of its sample.

Strategy: the reader of the HTTP response hands body bytes to the reader of events, which hands each
event to ``Answer._event`` in the call that brought it, with the time of the read. Nothing is kept
but the sample, one time per event with output, the last usage object and the first bytes of what is
no stream.

Rules. An event has output when a choice's delta holds text, reasoning, a refusal or a tool call
that is not empty; a role alone is none. 200 is not yet success: an error inside the stream, a cut
body, data that is no JSON, a stream without tokens are failures, each of its own kind.
"""

import re
from decimal import Decimal
from typing import Any, Final

import orjson

from gateproof.sample import NEVER, ErrorKind, Flag, Sample

from .events import EventReader
from .framing import Broken, Response

__all__ = ["Answer"]

_KEPT_BYTES: Final = 4096  # of a body that is no stream, as evidence
_OUTPUT: Final = ("content", "tool_calls", "refusal", "function_call", "audio")
_REASONING: Final = ("reasoning_content", "reasoning")
_RETRY_SECONDS: Final = re.compile(rb"[0-9]{1,6}(?:\.[0-9]{1,6})?\Z")


class Answer:
    """Reads one answer; ``sample`` and ``stamps`` fill as it comes.

    ``finished`` is True once the answer is judged. ``says`` tells a failure in words, from the wire
    where it can.
    """

    __slots__ = (
        "_done_ns",
        "_finish",
        "_kept",
        "_reader",
        "_stream",
        "_usage",
        "_want_usage",
        "finished",
        "response",
        "sample",
        "says",
        "stamps",
    )

    def __init__(self, sample: Sample, *, want_usage: bool = True) -> None:
        self.sample = sample
        self.stamps: list[int] = []
        self.response = Response(self._head)
        self.finished = False
        self.says = ""
        self._reader = EventReader(self._event)
        self._want_usage = want_usage
        self._done_ns = 0
        self._finish = False
        self._stream = False
        self._kept = b""
        self._usage: Any = None

    @property
    def done_ns(self) -> int:
        """When [DONE] came; 0 before."""
        return self._done_ns

    def feed(self, data: bytes, at_ns: int) -> bool:
        """Take the bytes of one read; True when the answer is whole or cannot be read on."""
        response = self.response
        if self.finished:
            response.reusable = False  # more than the answer
            return False
        if not self.sample.first_byte_ns:
            self.sample.first_byte_ns = at_ns
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
        if not self.sample.error:
            self.sample.error, self.says = kind, says
        self._close(at_ns)

    def _head(self, status: int, headers: dict[bytes, bytes]) -> Any:
        """Choose where the body goes, by status and type."""
        sample = self.sample
        sample.status = status
        wait = headers.get(b"retry-after")
        if wait is not None and _RETRY_SECONDS.match(wait):
            sample.retry_after_ms = round(float(wait) * 1000)
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            coding = headers[b"content-encoding"][:40]
            raise Broken(ErrorKind.ENCODED, f"content-encoding {coding!r}")
        if status != 200:
            return self._keep
        self._stream = True
        if not headers.get(b"content-type", b"").lower().startswith(b"text/event-stream"):
            sample.flags |= Flag.WRONG_TYPE
            return self._keep_and_read
        return self._reader.feed

    def _keep(self, data: bytes, _at_ns: int) -> None:
        """Keep the beginning of a body that is no stream."""
        if len(self._kept) < _KEPT_BYTES:
            self._kept += data[: _KEPT_BYTES - len(self._kept)]

    def _keep_and_read(self, data: bytes, at_ns: int) -> None:
        """Keep the beginning, and read it as a stream all the same."""
        self._keep(data, at_ns)
        self._reader.feed(data, at_ns)

    def _event(self, name: bytes, data: bytes, at_ns: int) -> None:
        """Take one event."""
        sample = self.sample
        if self._done_ns:
            sample.flags |= Flag.AFTER_DONE
            return
        if data == b"[DONE]":
            self._done_ns = at_ns
            return
        try:
            chunk = orjson.loads(data)
            if not sample.first_event_ns:
                sample.first_event_ns = at_ns
            for choice in chunk.get("choices") or ():
                delta = choice.get("delta")
                if delta:
                    self._delta(delta, at_ns)
                if choice.get("finish_reason"):
                    self._finish = True
            usage = chunk.get("usage")
            if usage:
                self._usage = usage
        except (orjson.JSONDecodeError, AttributeError, TypeError):
            if not sample.error:
                sample.error = ErrorKind.MALFORMED_EVENT
                self.says = f"event data {data[:200]!r}"
            return
        if (chunk.get("error") or name == b"error") and not sample.error:
            sample.error = ErrorKind.IN_BAND_ERROR
            self.says = data[:300].decode(errors="replace")

    def _delta(self, delta: dict[str, Any], at_ns: int) -> None:
        """Stamp a delta that holds output; content first, because nearly all is content."""
        sample = self.sample
        if delta.get("content"):
            if not sample.first_token_ns:
                sample.first_token_ns = at_ns
        elif any(delta.get(key) for key in _REASONING):
            if not sample.first_reasoning_ns:
                sample.first_reasoning_ns = at_ns
        elif any(delta.get(key) for key in _OUTPUT):
            if not sample.first_token_ns:
                sample.first_token_ns = at_ns
        else:
            return
        self.stamps.append(at_ns)

    def _judge(self, at_ns: int) -> None:
        """Judge an answer whose body is whole."""
        sample, status = self.sample, self.sample.status
        if status != 200:
            sample.error = _status_kind(status)
            self.says = f"status {status}: {self._kept[:300].decode(errors='replace')}"
        elif not sample.error:
            if not sample.first_event_ns and not self._done_ns:
                self._no_stream()
            elif not self._finish and not self._done_ns:
                sample.error = ErrorKind.INCOMPLETE
                self.says = "the body ended with neither a finish_reason nor data: [DONE]"
            elif not self.stamps:
                sample.error, self.says = ErrorKind.EMPTY, "no event held output"
        if not sample.error:
            if not self._done_ns:
                sample.flags |= Flag.NO_DONE
            if not self._finish:
                sample.flags |= Flag.NO_FINISH
            if self._usage is None and self._want_usage:
                sample.flags |= Flag.NO_USAGE
        self._close(at_ns)

    def _no_stream(self) -> None:
        """Name a 200 whose body holds no event: an error as JSON, or something else."""
        body = self._kept or self._reader.pending[:_KEPT_BYTES]
        try:
            error = bool(orjson.loads(body).get("error"))
        except (orjson.JSONDecodeError, AttributeError):
            error = False
        self.sample.error = ErrorKind.IN_BAND_ERROR if error else ErrorKind.NOT_A_STREAM
        self.says = f"status 200, body {body[:300]!r}"

    def _close(self, at_ns: int) -> None:
        """Write the last fields of the sample."""
        sample = self.sample
        if self.stamps:
            sample.last_token_ns = self.stamps[-1]
        sample.end_ns = self._done_ns or at_ns
        if self._usage is not None:
            self._count(self._usage)
        self.finished = True

    def _count(self, usage: Any) -> None:
        """Read the token counts and the cost of the last usage object."""
        sample = self.sample
        if not isinstance(usage, dict):
            sample.flags |= Flag.BAD_USAGE
            return
        details = usage.get("completion_tokens_details")
        counts = [
            usage.get("prompt_tokens"),
            usage.get("completion_tokens"),
            details.get("reasoning_tokens") if isinstance(details, dict) else None,
        ]
        for place, count in enumerate(counts):
            if count is not None and not (type(count) is int and 0 <= count < NEVER):
                sample.flags |= Flag.BAD_USAGE
                counts[place] = None
        named = [NEVER if count is None else count for count in counts]
        sample.prompt_tokens, sample.completion_tokens, sample.reasoning_tokens = named
        cost = usage.get("cost_usd_total", usage.get("cost"))
        if isinstance(cost, (int, float)) and not isinstance(cost, bool):
            nano = Decimal(repr(cost)).scaleb(9)
            if abs(nano) < 2**62:  # inf and nan are no JSON
                sample.cost_nano_usd = int(nano.to_integral_value())


def _status_kind(status: int) -> ErrorKind:
    """Name the failure that a status is."""
    if status == 429:
        return ErrorKind.RATE_LIMITED
    return {4: ErrorKind.CLIENT_ERROR, 5: ErrorKind.SERVER_ERROR}.get(
        status // 100, ErrorKind.STATUS
    )
