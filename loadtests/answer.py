"""Streamed answers: chat, text completions, and Anthropic's Messages.

Strategy: the reader of events hands each event to the answer's ``_event`` in the call that brought
it, with the time of the read; each event is parsed there and then.

Rules. An event has output when it holds text, reasoning, a refusal, or a tool call's name or
arguments that are not empty; a role alone is none. The first that is not reasoning is the first
token, the first that is reasoning is kept apart. A stream of Messages ends with message_stop where
the others end with ``data: [DONE]``.
"""

from typing import Any, Final

import orjson

from gateproof.sample import ErrorKind, Flag, Sample

from .events import EventReader
from .hot import Lane
from .reply import WATCHED_BYTES, Reply

__all__ = ["Answer", "CompletionsAnswer", "MessagesAnswer"]

_PENDING_BYTES: Final = 4096  # of a body without an event, as evidence
_MOST_ARGUMENTS: Final = 256 * 1024  # characters of a forced call that are kept to be read
_OTHER_OUTPUT: Final = ("refusal", "function_call", "audio")
_REASONING: Final = ("reasoning_content", "reasoning")
_MESSAGE_ENDS: Final = frozenset({"ping", "content_block_stop"})  # they say nothing of their own


class Answer(Reply):
    """Reads a streamed chat answer.

    Nearly every read is a chunk, or a few, each of which holds one event of one ``data: `` line:
    those its ``lane`` takes, before ``feed`` gets what is left.
    """

    __slots__ = ("_arguments", "_reader", "_said", "_size", "lane")

    def __init__(self, sample: Sample, **about: Any) -> None:
        super().__init__(sample, **about)
        self._reader = EventReader(self._event)
        self._said = None if self._watch is None else self._watch.said
        self._arguments: list[str] = []
        self._size = 0
        self.lane: Lane = Lane(self._event, self.stamps, self._said)
        """Takes reads before ``feed`` where the answer flows."""

    def feed(self, data: bytes, at_ns: int) -> bool:
        """Take what the lane did not; True when the answer is whole or cannot be read on."""
        if not self.response.status and (end := data.find(b"\r\n\r\n") + 4) >= 4:
            if super().feed(data[:end], at_ns):
                return True
            self._flow()
            data = data[end + self.lane.take(data[end:], at_ns) :]
            if not data:
                return False
        if passed := self.lane.shut():
            self._fed += passed
            self._reader.begin()
            self.response.passed(passed)
        whole = super().feed(data, at_ns)
        self._flow()
        return whole

    def _flow(self) -> None:
        """Let the lane take what comes next, where that may begin with a whole chunk and event."""
        if not self.finished and self.response.between and self._reader.between:
            room = self.response.room
            if self._watch is not None:
                room = min(room, WATCHED_BYTES - self._fed)
            self.lane.open(room)

    def _sink(self, *, right_type: bool) -> Any:
        return self._reader.feed if right_type else self._keep_and_read

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
            self.lane.content = False
            return
        try:
            chunk = orjson.loads(data)
            if not sample.first_event_ns:
                sample.first_event_ns = at_ns
            for choice in chunk.get("choices") or ():
                delta = choice.get("delta")
                if delta:
                    text = delta.get("content")
                    if text:  # nearly all output is content
                        if not sample.first_token_ns:
                            sample.first_token_ns = at_ns
                            self.lane.content = True
                        if self._said is not None and text.__class__ is str:
                            self._said.append(text)
                        self.stamps.append(at_ns)
                    elif self._other(delta, at_ns):
                        self.stamps.append(at_ns)
                else:
                    self._bare(choice, at_ns)
                if choice.get("finish_reason"):
                    self._finish = True
            usage = chunk.get("usage")
            if usage:
                self._usage = usage
        except (orjson.JSONDecodeError, AttributeError, TypeError):
            self._spoil(ErrorKind.MALFORMED_EVENT, f"event data {data[:200]!r}")
            return
        if chunk.get("error") or name == b"error":
            self._spoil(ErrorKind.IN_BAND_ERROR, data[:300].decode(errors="replace"))

    def _bare(self, choice: dict[str, Any], at_ns: int) -> None:
        """Take a choice without a delta: of a chat, one that only ends."""

    def _other(self, delta: dict[str, Any], at_ns: int) -> bool:
        """Tell whether a delta without content holds output of another kind."""
        sample = self.sample
        for key in _REASONING:
            if text := delta.get(key):
                if not sample.first_reasoning_ns:
                    sample.first_reasoning_ns = at_ns
                if self._watch is not None and text.__class__ is str:
                    self._watch.thoughts.append(text)
                return True
        said = False
        for call in delta.get("tool_calls") or ():
            function = call.get("function") or {}
            arguments = function.get("arguments")
            if arguments or function.get("name"):
                said = True
                if arguments.__class__ is str:
                    self._argue(arguments)
        said = said or any(delta.get(key) for key in _OTHER_OUTPUT)
        if said and not sample.first_token_ns:
            sample.first_token_ns = at_ns
        return said

    def _argue(self, part: str) -> None:
        """Take the next part of a call's arguments."""
        if self._said is not None:
            self._said.append(part)
        if self._wants_call and self._size <= _MOST_ARGUMENTS:
            self._arguments.append(part)
            self._size += len(part)

    def _close(self, at_ns: int) -> None:
        super()._close(at_ns)
        self.lane.end()
        self._reader.close()

    def _whole(self) -> None:
        if not self.sample.first_event_ns and not self._done_ns:
            self._no_stream()
        elif not self._finish and not self._done_ns:
            says = "the body ended with neither a finish_reason nor the stream's last event"
            self._spoil(ErrorKind.INCOMPLETE, says)
        elif not self.stamps:
            self._spoil(ErrorKind.EMPTY, "no event held output")
        elif self._wants_call and not is_call(arguments := "".join(self._arguments)):
            self._spoil(ErrorKind.NO_CALL, f"the arguments are {arguments[:200]!r}")
        else:
            if not self._done_ns:
                self.sample.flags |= Flag.NO_DONE
            self._found()

    def _no_stream(self) -> None:
        """Name a 200 whose body holds no event: an error as JSON, or something else."""
        body = self._kept or self._reader.pending[:_PENDING_BYTES]
        try:
            error = bool(orjson.loads(body).get("error"))
        except (orjson.JSONDecodeError, AttributeError):
            error = False
        kind = ErrorKind.IN_BAND_ERROR if error else ErrorKind.NOT_A_STREAM
        self._spoil(kind, f"status 200, body {body[:300]!r}")


class CompletionsAnswer(Answer):
    """Reads a streamed text completion."""

    __slots__ = ()

    def _bare(self, choice: dict[str, Any], at_ns: int) -> None:
        text = choice.get("text")
        if text:
            if not self.sample.first_token_ns:
                self.sample.first_token_ns = at_ns
            if self._said is not None and text.__class__ is str:
                self._said.append(text)
            self.stamps.append(at_ns)


class MessagesAnswer(Answer):
    """Reads a stream of Anthropic's Messages; thinking is its reasoning."""

    __slots__ = ()

    def _event(self, name: bytes, data: bytes, at_ns: int) -> None:
        sample = self.sample
        if self._done_ns:
            sample.flags |= Flag.AFTER_DONE
            return
        try:
            event = orjson.loads(data)
            kind = event.get("type")
            if not sample.first_event_ns:
                sample.first_event_ns = at_ns
            if kind == "content_block_delta":
                self._delta(event["delta"], at_ns)
            elif kind not in _MESSAGE_ENDS:
                self._about(kind or name.decode(errors="replace"), event, data, at_ns)
        except (orjson.JSONDecodeError, AttributeError, TypeError, KeyError):
            self._spoil(ErrorKind.MALFORMED_EVENT, f"event data {data[:200]!r}")

    def _delta(self, delta: dict[str, Any], at_ns: int) -> None:
        """Stamp a block's delta that holds output."""
        sample, watch = self.sample, self._watch
        if text := delta.get("text") or delta.get("partial_json"):
            if not sample.first_token_ns:
                sample.first_token_ns = at_ns
            if watch is not None and text.__class__ is str:
                watch.said.append(text)
        elif thought := delta.get("thinking"):
            if not sample.first_reasoning_ns:
                sample.first_reasoning_ns = at_ns
            if watch is not None and thought.__class__ is str:
                watch.thoughts.append(thought)
        else:
            return
        self.stamps.append(at_ns)

    def _about(self, kind: str, event: dict[str, Any], data: bytes, at_ns: int) -> None:
        """Take an event that is about the message."""
        if kind == "message_stop":
            self._done_ns = at_ns
        elif kind == "message_start":
            self._use(event["message"].get("usage"))
        elif kind == "message_delta":
            if event["delta"].get("stop_reason"):
                self._finish = True
            self._use(event.get("usage"))
        elif kind == "error":
            self._spoil(ErrorKind.IN_BAND_ERROR, data[:300].decode(errors="replace"))

    def _use(self, usage: Any) -> None:
        """Join the counts of the end to those of the beginning."""
        if isinstance(usage, dict) and isinstance(self._usage, dict):
            self._usage |= {name: count for name, count in usage.items() if count is not None}
        elif usage:
            self._usage = usage

    def _count(self, usage: dict[str, Any]) -> None:
        self._counted(*message_counts(usage))


def is_call(arguments: str) -> bool:
    """Tell whether arguments are a JSON object; what is beyond the limit is taken for one."""
    if len(arguments) > _MOST_ARGUMENTS:
        return True
    try:
        return isinstance(orjson.loads(arguments), dict)
    except orjson.JSONDecodeError:
        return False


def message_counts(usage: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Give prompt, completion and reasoning tokens as Messages count them.

    What was written to or read from a cache is not in ``input_tokens`` there, and is of the prompt
    here. What is no whole number is given as it is, so that it is found.
    """
    parts = [
        usage.get(name)
        for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    ]
    given = [part for part in parts if part is not None]
    wrong = [part for part in given if type(part) is not int or part < 0]
    prompt = wrong[0] if wrong else sum(given) if given else None
    return prompt, usage.get("output_tokens"), None
