"""Answers in one piece of JSON: chat, Anthropic's Messages, embeddings.

Strategy: the body is gathered, within a limit, and read once at its end. Such an answer has no
first token: its times to the first byte and to its end and its counts are all there is to tell.

Rules. An error object in a body with status 200 is a failure, and so is a body without output.
"""

import re
from typing import Any, Final

import orjson

from gateproof.sample import ErrorKind, Sample

from .answer import is_call, message_counts
from .framing import Broken
from .reply import Reply

__all__ = ["PlainChat", "PlainEmbeddings", "PlainMessage"]

MAX_PLAIN_BYTES: Final = 16 * 1024 * 1024  # 512 embeddings of 3,072 numbers in Base64
# The beginning of a list of numbers, up to its first digit, which stands for all of them.
_VECTOR: Final = re.compile(rb'"embedding"\s{0,8}:\s{0,8}\[\s{0,8}(?:-\s{0,8})?[0-9]')
_TAIL_BYTES: Final = 64  # more than such a beginning has


class PlainChat(Reply):
    """Reads a chat answer."""

    __slots__ = ("_parts", "_size")

    CONTENT_TYPE = b"application/json"

    def __init__(self, sample: Sample, **about: Any) -> None:
        super().__init__(sample, **about)
        self._parts: list[bytes] = []
        self._size = 0

    def _sink(self, *, right_type: bool) -> Any:
        del right_type  # it is read as JSON all the same
        return self._gather

    def _gather(self, data: bytes, _at_ns: int) -> None:
        """Keep the next bytes of the body."""
        self._parts.append(data)
        self._size += len(data)
        if self._size > MAX_PLAIN_BYTES:
            self._parts.clear()
            raise Broken(ErrorKind.TOO_LARGE, f"more than {MAX_PLAIN_BYTES} bytes of JSON")

    def _whole(self) -> None:
        body = b"".join(self._parts)
        self._parts.clear()
        try:
            value = orjson.loads(body)
            if value.get("error") or value.get("type") == "error":
                self._spoil(ErrorKind.IN_BAND_ERROR, f"status 200, body {body[:300]!r}")
                return
            self._usage = value.get("usage") or None
            said = self._read(value)
        except (orjson.JSONDecodeError, AttributeError, TypeError, KeyError, IndexError):
            self._spoil(ErrorKind.MALFORMED_BODY, f"status 200, body {body[:300]!r}")
            return
        if not said:
            self._spoil(ErrorKind.EMPTY, f"no output in {body[:300]!r}")
        else:
            self._found()

    def _read(self, value: dict[str, Any]) -> bool:
        """Read the answer; True when it holds output."""
        said = called = False
        for choice in value["choices"]:
            message = choice["message"]
            self._finish = self._finish or bool(choice.get("finish_reason"))
            said = said or any(message.get(key) for key in ("content", "refusal", "tool_calls"))
            self._look(message.get("content"))
            for call in message.get("tool_calls") or ():
                arguments = (call.get("function") or {}).get("arguments")
                called = called or (isinstance(arguments, str) and is_call(arguments))
                self._look(arguments)
        if self._wants_call and said and not called:
            self._spoil(ErrorKind.NO_CALL, f"the message is {str(value['choices'])[:200]}")
        return said

    def _look(self, text: object) -> None:
        """Let text be watched."""
        if self._watch is not None and isinstance(text, str):
            self._watch.said.append(text)


class PlainMessage(PlainChat):
    """Reads an answer of Anthropic's Messages."""

    __slots__ = ()

    def _read(self, value: dict[str, Any]) -> bool:
        self._finish = bool(value.get("stop_reason"))
        said = False
        for block in value["content"]:
            said = said or bool(block.get("text") or block.get("input"))
            self._look(block.get("text"))
        return said

    def _count(self, usage: dict[str, Any]) -> None:
        self._counted(*message_counts(usage))


class PlainEmbeddings(PlainChat):
    """Reads embeddings: lists of numbers, or Base64 of them.

    The numbers of a list are passed over as they come: to parse a hundred thousand of them at the
    end of a body would hold up every stream beside it for milliseconds.
    """

    __slots__ = ("_inside", "_tail")

    def _sink(self, *, right_type: bool) -> Any:
        self._inside = False  # of a list of numbers
        self._tail = b""
        return super()._sink(right_type=right_type)

    def _gather(self, data: bytes, at_ns: int) -> None:
        if self._inside:
            end = data.find(b"]")
            if end < 0:
                return
            data = data[end:]
            self._inside = False
        data = self._tail + data
        while found := _VECTOR.search(data):
            super()._gather(data[: found.end()], at_ns)
            end = data.find(b"]", found.end())
            if end < 0:
                self._inside, self._tail = True, b""
                return
            data = data[end:]
        super()._gather(data[:-_TAIL_BYTES], at_ns)
        self._tail = data[-_TAIL_BYTES:]

    def _whole(self) -> None:
        self._parts.append(self._tail)
        super()._whole()

    def _read(self, value: dict[str, Any]) -> bool:
        self._finish = True  # there is no reason to end for
        data = value["data"]
        return bool(data) and all(bool(one["embedding"]) for one in data)
