"""Faults below JSON and events: HTTP framing, labels of the coding, and the connection."""

from collections.abc import Iterator
from dataclasses import replace

from ..script import Reply, Step
from .table import fault

__all__: list[str] = []

_WAIT_NS = 20_000_000  # lets what was sent leave before a reset throws it away


def _half_of_the_third(steps: Iterator[Step], act: str, label: str) -> Iterator[Step]:
    """Send the head and an event, half of the next write, and then do the act."""
    for place, step in enumerate(steps):
        if place == 2 or step.label == "body":
            yield step._replace(data=step.data[: len(step.data) // 2], alone=True)
            yield Step(step.at_ns + _WAIT_NS, b"", label, act=act)
            return
        yield step


@fault("half-chunk-then-reset", "wire", "Sends half a chunk, and then resets the connection.",
       "crashes in mid-answer")  # fmt: skip
def _half_chunk(steps: Iterator[Step]) -> Iterator[Step]:
    return _half_of_the_third(steps, "reset", "reset")


@fault("half-chunk-then-close", "wire", "Sends half a chunk, and then closes the connection.",
       "crashes in mid-answer")  # fmt: skip
def _half_chunk_close(steps: Iterator[Step]) -> Iterator[Step]:
    return _half_of_the_third(steps, "close", "cut")


@fault("no-final-chunk", "reply", "Closes the connection without the last chunk, which is empty.",
       "proxies that close too early")  # fmt: skip
def _no_final_chunk(reply: Reply) -> Reply:
    return replace(reply, framing="chunked", end=b"", ending="cut")


@fault("body-longer-than-length", "reply", "Sends more than the announced length.")
def _longer(reply: Reply) -> Reply:
    return replace(reply, framing="length", announced=-7, ending="close")


@fault("body-shorter-than-length", "reply", "Sends less than the announced length, and closes.")
def _shorter(reply: Reply) -> Reply:
    return replace(reply, framing="length", announced=7, ending="cut")


def _bad_size(data: bytes) -> bytes:
    return b"zz\r\n%b\r\n" % data


@fault("chunk-size-garbage", "reply", "Writes chunk sizes that are not numbers.")
def _garbage_size(reply: Reply) -> Reply:
    return replace(reply, framing="chunked", chunk=_bad_size)


def _small_size(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (max(1, len(data) - 3), data)


@fault("chunk-size-wrong", "reply", "Writes chunk sizes that are too small.")
def _wrong_size(reply: Reply) -> Reply:
    return replace(reply, framing="chunked", chunk=_small_size)


@fault("gzip-label-without-gzip", "reply", "Labels a plain answer as compressed.",
       "headers of an upstream passed on")  # fmt: skip
def _false_gzip(reply: Reply) -> Reply:
    return replace(reply, headers=(*reply.headers, ("Content-Encoding", "gzip")))


@fault("two-lengths", "reply", "Announces two different lengths.")
def _two_lengths(reply: Reply) -> Reply:
    return replace(reply, framing="length", headers=(*reply.headers, ("Content-Length", "5")))


@fault("length-and-chunks", "reply", "Announces a length and chunks at once.",
       "headers of an upstream passed on")  # fmt: skip
def _length_and_chunks(reply: Reply) -> Reply:
    return replace(reply, framing="chunked", headers=(*reply.headers, ("Content-Length", "5")))


@fault("bad-status-line", "wire", "Begins the answer with something that is not HTTP.")
def _bad_status(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        yield (
            step._replace(data=step.data.replace(b"HTTP/1.1", b"HTTQ/1.1", 1))
            if (step.label == "head")
            else step
        )


@fault("header-without-colon", "wire", "Sends a header line without a colon.")
def _no_colon(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        if step.label == "head":
            yield step._replace(data=step.data[:-2] + b"a line without its mark\r\n\r\n")
        else:
            yield step


@fault("no-answer", "wire", "Closes the connection without an answer.", "restarts")
def _no_answer(steps: Iterator[Step]) -> Iterator[Step]:
    at_ns = next(steps).at_ns
    yield Step(at_ns, b"", "cut", act="close")


@fault("reset-before-answer", "wire", "Resets the connection before the answer.", "restarts")
def _reset_before(steps: Iterator[Step]) -> Iterator[Step]:
    at_ns = next(steps).at_ns
    yield Step(at_ns, b"", "reset", act="reset")


@fault("no-cancel", "reply", "Goes on producing when the client has left.",
       "tokens billed that nobody reads")  # fmt: skip
def _no_cancel(reply: Reply) -> Reply:
    return replace(reply, detached=lambda: True)
