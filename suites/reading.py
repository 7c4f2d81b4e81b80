"""How the suites read answers, beyond what the dialect's reader gives.

A request that is right can be refused, and that is a finding once, of the check that asks for just
this; for every other check it leaves nothing to read. Each helper says which it is.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from gateproof.check import Finding, Inconclusive, Place, Untestable
from gateproof.dialects import anthropic, openai
from gateproof.dialects.openai import Choice, Stream
from gateproof.transcript import Exchange, Transcript
from gateproof.wire import Response

__all__ = [
    "FINISHES",
    "Oddness",
    "accepted",
    "clean_refusal",
    "declined",
    "each",
    "named_model",
    "oddness",
    "only",
    "pieces",
    "shown",
    "speaks_messages",
    "streamed",
    "text_of",
    "texts",
    "tool_calls",
    "tool_deltas",
    "uncut",
    "unreadable",
]

FINISHES = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})

# Statuses that say something of this request; the others (key, limits, overload, a wrong path) are
# of no request in particular, and reported by the checks of errors and of answering.
_OF_THE_REQUEST = frozenset({400, 405, 406, 413, 415, 422, 500, 501})

Oddness: TypeAlias = Literal["done", "empty", "comment", "several", "garbage"]


def shown(response: Response) -> str:
    """Return a response in short: its status, its content type, the beginning of its body."""
    text = response.body[:160].decode("utf-8", errors="replace")
    return f"status {response.status} ({response.media_type or 'no content type'}): {text}"


def accepted(exchange: Exchange, *, wanted: str, at: Place | None = None) -> Response:
    """Return the 200 of a request that must be accepted; a finding when it is refused.

    ``Untestable`` when the status says nothing of this request, or nothing came.
    """
    got = openai.response(exchange)
    if got.status == 200:
        return got
    if got.status in _OF_THE_REQUEST:
        raise Finding(wanted=wanted, got=shown(got), at=at or Place())
    raise Untestable(f"the request was answered with status {got.status}")


def declined(exchange: Exchange, what: str) -> None:
    """Raise ``Inconclusive`` when the model refuses a parameter with a clean 400 or 422."""
    got = openai.response(exchange)
    if got.status in (400, 422):
        raise Inconclusive(f"{what} was refused: {shown(got)}")


def clean_refusal(response: Response) -> bool:
    """Tell whether a response refuses a request as a client's mistake, and says so in JSON."""
    return 400 <= response.status < 500 and response.body.lstrip()[:1] == b"{"


def named_model(exchange: Exchange, got: object, schema: str) -> str:
    """Return the model that an answer names: the requested one, or a dated or prefixed form of it.

    A finding where it is another one; ``Untestable`` where it is no text, as ``schema`` reports.
    """
    asked = str(exchange.ask.value["model"])
    if not isinstance(got, str):
        raise Untestable(f"model is no string (see {schema})")
    base = got.rpartition("/")[2].lower()
    if not base or not base.startswith(asked.rpartition("/")[2].lower()):
        raise Finding(wanted=f"{asked}, or a snapshot of it", got=repr(got))
    return f"{asked} is answered by {got}"


def each(seen: Transcript) -> Iterator[tuple[Place, Exchange]]:
    """Iterate over the exchanges with their places."""
    for index, exchange in enumerate(seen.exchanges):
        yield Place(exchange=index), exchange


def uncut(exchange: Exchange) -> None:
    """Raise ``Untestable`` when a body is not whole, so that what is missing in it tells nothing.

    A stream that said [DONE] is whole, whatever its framing says.
    """
    got = openai.response(exchange)
    if got.surplus or (
        not got.complete and not any(e.data == openai.DONE for e in exchange.events)
    ):
        raise Untestable("the body is not as long as its framing says (see http.framing-complete)")


def streamed(exchange: Exchange) -> Stream:
    """Return a stream that is whole, readable in all its events, and has at least one chunk.

    ``Untestable`` otherwise: what cannot be read may hold whatever a check misses.
    """
    read = openai.stream(exchange)
    uncut(exchange)
    for index, data in read.unreadable:
        if oddness(data) in ("several", "garbage"):
            raise Untestable(
                f"frame {index} cannot be read (see sse.one-json-per-frame, chat.chunk.schema)"
            )
    if not read.chunks:
        raise Untestable("the stream holds no chunk")
    return read


def only(read: Stream) -> Choice:
    """Put a stream of one choice together, whatever index its chunks carry."""
    chunks = tuple(
        openai.Chunk(
            {**chunk.value, "choices": [{**part, "index": 0} for part in chunk.choices]},
            chunk.at_ns,
            chunk.frame,
            chunk.start,
        )
        for chunk in read.chunks
    )
    return openai.assemble(Stream(chunks, read.done, read.unreadable, read.errors)).get(
        0, Choice(0)
    )


def text_of(exchange: Exchange) -> str:
    """Return the text of a non-streamed answer; ``Untestable`` when its content is no string."""
    content = openai.message(exchange).get("content")
    if not isinstance(content, str):
        raise Untestable(f"the message's content is {content!r}")
    return content


def texts(exchange: Exchange) -> str:
    """Return the text of an answer, streamed or not."""
    return only(streamed(exchange)).content if exchange.events else text_of(exchange)


def speaks_messages(exchange: Exchange) -> bool:
    """Tell whether a request was made in Anthropic's dialect."""
    return exchange.ask.path.startswith("/messages")


def pieces(exchange: Exchange) -> list[tuple[Place, str]]:
    """Return the pieces of text of a stream in either dialect, with their places."""
    found: list[tuple[Place, object]]
    if speaks_messages(exchange):
        deltas = anthropic.stream(exchange).of("content_block_delta")
        found = [(event.place, event.member("delta").get("text")) for event in deltas]
    else:
        found = [
            (chunk.place, part["delta"].get("content"))
            for chunk in streamed(exchange).chunks
            for part in chunk.choices
            if isinstance(part.get("delta"), dict)
        ]
    return [(place, text) for place, text in found if isinstance(text, str)]


def unreadable(exchange: Exchange) -> tuple[tuple[int, str], ...]:
    """Return the frames of a stream in either dialect that are no JSON, with their data."""
    if speaks_messages(exchange):
        return anthropic.stream(exchange).unreadable
    return openai.stream(exchange).unreadable


@lru_cache(maxsize=8192)  # several checks look at the same events
def oddness(data: str) -> Oddness:
    """Tell what is wrong with the data of an event that is neither a JSON object nor [DONE].

    ``done`` is an end mark that is spelt otherwise; ``several`` are JSON documents one after the
    other.
    """
    if not data.strip():
        return "empty"
    if data.strip().strip("\"'").strip().strip("[]").casefold() == "done":
        return "done"
    if data.lstrip().startswith(":"):
        return "comment"
    return "several" if _documents(data) > 1 else "garbage"


def _documents(data: str) -> int:
    """Count the JSON objects that stand one after the other; 0 when anything else is there."""
    decoder = json.JSONDecoder()
    found = 0
    rest = data.strip()
    while rest:
        try:
            value, end = decoder.raw_decode(rest)
        except (ValueError, RecursionError):
            return 0
        if not isinstance(value, dict):
            return 0
        found += 1
        rest = rest[end:].strip()
    return found


def tool_calls(exchange: Exchange) -> Sequence[Mapping[str, Any]]:
    """Return the calls of a non-streamed answer's first choice."""
    return tuple(openai.objects(openai.message(exchange).get("tool_calls")))


def tool_deltas(read: Stream) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    """Iterate over the tool call deltas of a stream, with their places."""
    for chunk in read.chunks:
        for part in chunk.choices:
            delta = part.get("delta")
            if isinstance(delta, dict):
                for call in openai.objects(delta.get("tool_calls")):
                    yield chunk.place, call
