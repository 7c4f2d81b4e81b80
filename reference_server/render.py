"""How a completion is written: as one JSON object, or as the events of a stream.

The stream is written from templates: a chunk is its choice's beginning, the token and its end as
bytes, since a load run is mostly this.
"""

from collections.abc import Generator, Iterator, Sequence
from functools import partial
from typing import Any

import orjson

from .chat import Choice, Completion, Schedule
from .jsontext import Json, dumps
from .script import Events, Step, event_chunk
from .tokens import tokenize

__all__ = ["body_of", "chunks_of"]


def _logprob(token: str, place: int, alternatives: int) -> dict[str, Any]:
    """Give a token a probability that follows from itself and its place."""
    first = -((place * 37 + len(token) * 11) % 90 + 1) / 128
    top = [
        {
            "token": other,
            "logprob": first - rank * 1.5,
            "bytes": list(other.encode()),
        }
        for rank, other in enumerate(
            [token, *(f"{token}{chr(97 + rank)}" for rank in range(alternatives - 1))]
        )
    ][:alternatives]
    return {
        "token": token,
        "logprob": first,
        "bytes": list(token.encode()),
        "top_logprobs": top,
    }


def _logprobs_of(completion: Completion, tokens: Sequence[str], start: int = 0) -> Json:
    if completion.logprobs is None:
        return None
    return {
        "content": [
            _logprob(token, start + place, completion.logprobs)
            for place, token in enumerate(tokens)
        ],
        "refusal": None,
    }


def _model(completion: Completion) -> dict[str, str]:
    return {"model": completion.model} if completion.names_model else {}


def body_of(completion: Completion, *, show_reasoning: bool = False) -> dict[str, Any]:
    """Write a completion as one JSON object."""
    choices = []
    for choice in completion.choices:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if choice.calls else choice.text,
            "refusal": None,
        }
        if show_reasoning and choice.reasoning:
            message["reasoning"] = "".join(choice.reasoning)
        if choice.calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in choice.calls
            ]
        message.update(completion.message_extra or {})
        choices.append(
            {
                "index": choice.index,
                "message": message,
                "logprobs": _logprobs_of(completion, choice.tokens),
                "finish_reason": choice.finish,
            }
        )
    body: dict[str, Any] = {
        "id": completion.id,
        "object": "chat.completion",
        "created": completion.created,
        **_model(completion),
        "choices": choices,
    }
    if completion.usage is not None:
        body["usage"] = completion.usage
    body.update(completion.extra or {})
    body["system_fingerprint"] = completion.fingerprint
    return body


class _Template:
    """The bytes around the delta of one choice's chunks."""

    def __init__(self, completion: Completion, index: int, *, usage_asked: bool) -> None:
        opening = dumps(
            {
                "id": completion.id,
                "object": "chat.completion.chunk",
                "created": completion.created,
                **_model(completion),
                "system_fingerprint": completion.fingerprint,
            }
        )
        self.top = opening[:-1] + b',"choices":['
        self.before = self.top + b'{"index":%d,"delta":' % index
        self.tail = b'],"usage":null}' if usage_asked else b"]}"
        self.after = b',"logprobs":null,"finish_reason":null}' + self.tail

    def chunk(self, delta: bytes) -> bytes:
        return b"%b%b%b" % (self.before, delta, self.after)

    def with_logprobs(self, delta: bytes, logprobs: object) -> bytes:
        after = b',"logprobs":%b,"finish_reason":null}' % orjson.dumps(logprobs)
        return self.before + delta + after + self.tail

    def last(self, finish: str) -> bytes:
        after = b',"logprobs":null,"finish_reason":%b}' % orjson.dumps(finish)
        return self.before + b"{}" + after + self.tail


def _deltas(
    completion: Completion, choice: Choice, template: _Template, *, show_reasoning: bool
) -> Iterator[tuple[bytes, str]]:
    """Yield the chunks of one choice between its role and its finish, one for each token."""
    if show_reasoning:
        for token in choice.reasoning:
            yield template.chunk(b'{"reasoning":%b}' % orjson.dumps(token)), "reasoning"
    for place, call in enumerate(choice.calls):
        yield (
            template.chunk(
                b'{"tool_calls":[{"index":%d,"id":%b,"type":"function",'
                b'"function":{"name":%b,"arguments":""}}]}'
                % (place, orjson.dumps(call.id), orjson.dumps(call.name))
            ),
            "tool",
        )
        for token in tokenize(call.arguments):
            yield (
                template.chunk(
                    b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}'
                    % (place, orjson.dumps(token))
                ),
                "arguments",
            )
    if completion.logprobs is None:
        before, after, write = template.before, template.after, orjson.dumps
        for token in choice.tokens:
            yield b'%b{"content":%b}%b' % (before, write(token), after), "content"
        return
    for place, token in enumerate(choice.tokens):
        delta = b'{"content":%b}' % orjson.dumps(token)
        yield (
            template.with_logprobs(delta, _logprobs_of(completion, [token], place)),
            "content",
        )


def _role(completion: Completion, choice: Choice) -> bytes:
    content = None if choice.calls else ""
    return dumps(
        {
            "role": "assistant",
            "content": content,
            "refusal": None,
            **(completion.message_extra or {}),
        }
    )


def _usage(completion: Completion, template: _Template) -> bytes:
    tail = dumps({"usage": completion.usage, **(completion.extra or {})})
    return template.top + b"]," + tail[1:]


def _in_turns(
    completion: Completion,
    schedule: Schedule,
    *,
    usage_asked: bool,
    usage_sent: bool,
    show_reasoning: bool,
) -> Iterator[Step]:
    """Write a completion as the JSON texts of a stream's events, the choices' tokens in turns."""
    at_ns = schedule.at(0)
    writers: list[Iterator[tuple[bytes, str]]] = []
    templates: list[_Template] = []
    for choice in completion.choices:
        template = _Template(completion, choice.index, usage_asked=usage_asked)
        templates.append(template)
        yield Step(at_ns, template.chunk(_role(completion, choice)), "role")
        writers.append(_deltas(completion, choice, template, show_reasoning=show_reasoning))
    place = 0
    open_places = list(range(len(writers)))
    while open_places:
        due_ns = schedule.at(place) if place else at_ns
        for number in tuple(open_places):
            pair = next(writers[number], None)
            if pair is None:
                open_places.remove(number)
                yield Step(
                    at_ns, templates[number].last(completion.choices[number].finish), "finish"
                )
            else:
                at_ns = max(at_ns, due_ns)
                yield Step(at_ns, pair[0], pair[1])
        place += 1
    if usage_sent and completion.usage is not None:
        yield Step(at_ns, _usage(completion, templates[0]), "usage")
    yield Step(at_ns, b"[DONE]", "done")


_step = partial(tuple.__new__, Step)


def _wired(
    completion: Completion, schedule: Schedule, *, usage_asked: bool, usage_sent: bool
) -> Generator[Step, None, int]:
    """Write the stream of one choice of text as chunks: a load run is mostly this loop.

    It is ``_in_turns``, ``sse`` and ``chunked`` in one. Returns the time of the last step.
    """
    (choice,) = completion.choices
    template = _Template(completion, choice.index, usage_asked=usage_asked)
    at_ns = schedule.at(0)
    yield Step(at_ns, event_chunk(template.chunk(_role(completion, choice))), "role")
    front = b'\r\ndata: %b{"content":' % template.before
    back = b"}%b\n\n\r\n" % template.after
    size = len(front) + len(back) - 4  # without the two line ends around the chunk
    write, make, steady = orjson.dumps, _step, schedule.steady_ns
    for place, token in enumerate(choice.tokens):
        if place:
            at_ns = max(at_ns, schedule.at(place)) if steady is None else at_ns + steady
        text = write(token)
        data = b"%x%b%b%b" % (size + len(text), front, text, back)
        yield make((at_ns, data, "content", False, ""))
    yield Step(at_ns, event_chunk(template.last(choice.finish)), "finish")
    if usage_sent and completion.usage is not None:
        yield Step(at_ns, event_chunk(_usage(completion, template)), "usage")
    yield Step(at_ns, event_chunk(b"[DONE]"), "done")
    return at_ns


def chunks_of(
    completion: Completion,
    schedule: Schedule,
    *,
    usage_asked: bool,
    usage_sent: bool,
    show_reasoning: bool = False,
) -> Iterator[Step]:
    """Return the events of a completion: an ``Events`` where the fast way is the same."""
    bare = _in_turns(
        completion, schedule, usage_asked=usage_asked, usage_sent=usage_sent,
        show_reasoning=show_reasoning,
    )  # fmt: skip
    first = completion.choices[0]
    if (
        len(completion.choices) > 1
        or completion.logprobs is not None
        or first.calls
        or (show_reasoning and first.reasoning)
    ):
        return bare
    wired = partial(
        _wired, completion, schedule, usage_asked=usage_asked, usage_sent=usage_sent
    )  # fmt: skip
    return Events(bare, wired)
