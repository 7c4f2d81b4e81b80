"""Text completions, the older form: a prompt goes in, a text that goes on with it comes out.

Each prompt is answered as a chat of one user message, by the same rules of the model. Several
prompts give their choices one after the other. ``echo`` puts the prompt before its text.
Source: OpenAI's OpenAPI document 2.3.0, createCompletion.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import orjson

from .access import check_quota, model_of, spend
from .call import Call
from .chat import Completion, Schedule, complete, fresh, length_of
from .errors import ApiError
from .faults import apply
from .faults.table import Kind
from .jsontext import Json, dumps
from .rules import (
    Rule,
    boolean,
    map_of,
    nullable,
    number,
    object_,
    text,
    wrong_type,
    wrong_value,
)
from .script import JSON, Reply, Step
from .tokens import count, tokenize
from .validate import check_fields, stop_strings

__all__ = ["body_of", "completed", "completions", "reply_of"]

_DEFAULT_TOKENS = 16
_MOST_PROMPTS = 256
_OF_THE_GATEWAY: tuple[Kind, ...] = ("fault", "oddity")


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _prompt(value: Json, param: str) -> None:
    """Accept a text, texts, tokens, or lists of tokens."""
    if isinstance(value, str):
        return
    if not isinstance(value, list):
        raise wrong_type(param, "a string or an array", value)
    if not value:
        raise wrong_value(param, "a prompt")
    if all(map(_is_token, value)):
        return
    if len(value) > _MOST_PROMPTS:
        raise wrong_value(param, f"at most {_MOST_PROMPTS} prompts")
    kind = list if isinstance(value[0], list) else str
    for place, item in enumerate(value):
        tokens = isinstance(item, list) and item and all(map(_is_token, item))
        if not isinstance(item, kind) or not (kind is str or tokens):
            wanted = "an array of tokens" if kind is list else "a string"
            raise wrong_type(f"{param}[{place}]", wanted, item)


COMPLETION_FIELDS: dict[str, Rule] = {
    "model": text(),
    "prompt": _prompt,
    "best_of": nullable(number(0, 20, whole=True)),
    "echo": nullable(boolean),
    "frequency_penalty": nullable(number(-2, 2)),
    "logit_bias": nullable(map_of(number(-100, 100))),
    "logprobs": nullable(number(0, 5, whole=True)),
    "max_tokens": nullable(number(0, whole=True)),
    "n": nullable(number(1, 128, whole=True)),
    "presence_penalty": nullable(number(-2, 2)),
    "seed": nullable(number(whole=True)),
    "stop": nullable(stop_strings),
    "stream": nullable(boolean),
    "stream_options": nullable(object_({}, {"include_usage": boolean})),
    "suffix": nullable(text()),
    "temperature": nullable(number(0, 2)),
    "top_p": nullable(number(0, 1)),
    "user": text(),
    "observability": boolean,
}
"""Every documented field of a completion, and its rule."""


def _prompts(value: Json) -> list[tuple[str, int]]:
    """Return each prompt as a text with the number of its tokens."""
    if isinstance(value, str):
        return [(value, count(value))]
    prompts = [value] if _is_token(value[0]) else value
    return [
        (item, count(item)) if isinstance(item, str) else (repr(item), len(item))
        for item in prompts
    ]


def _check(payload: Mapping[str, Any]) -> None:
    check_fields(payload, COMPLETION_FIELDS, "model", "prompt")
    n, best_of = payload.get("n") or 1, payload.get("best_of")
    if best_of is not None and best_of < n:
        raise wrong_value("best_of", f"at least 'n', which is {n}")
    if payload.get("stream_options") is not None and not payload.get("stream"):
        raise ApiError(
            400,
            "'stream_options' can only be given when 'stream' is true.",
            param="stream_options",
        )


def completed(call: Call) -> Completion:
    """Answer a call's prompts, before the answer is written in any form."""
    if call.problem is not None:
        raise call.problem
    payload = call.payload
    _check(payload)
    model = model_of(call, payload["model"], "completions")
    check_quota(call)
    limit = payload.get("max_tokens")
    shared = {
        name: payload[name] for name in ("n", "seed", "stop", "suffix", "temperature", "top_p")
        if payload.get(name) is not None
    }  # fmt: skip
    shared["max_tokens"] = _DEFAULT_TOKENS if limit is None else limit
    parts: list[Completion] = []
    read = 0
    for prompt, size in _prompts(payload["prompt"]):
        if size > model.context:
            raise ApiError(
                400,
                f"This model's context is {model.context} tokens, but the prompt has {size}.",
                param="prompt",
                code="context_length_exceeded",
            )
        read += size
        message = {"role": "user", "content": prompt}
        chat = {**shared, "model": payload["model"], "messages": [message]}
        part = complete(chat, model=payload["model"], length=call.length)
        if payload.get("echo"):
            before = tokenize(prompt)
            part = replace(
                part,
                choices=tuple(replace(c, tokens=[*before, *c.tokens]) for c in part.choices),
            )
        parts.append(part)
    choices = [choice for part in parts for choice in part.choices]
    written = sum((part.usage or {})["completion_tokens"] for part in parts)
    usage = {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
    }
    completion = replace(
        parts[0],
        id=fresh("cmpl-"),
        choices=tuple(replace(choice, index=place) for place, choice in enumerate(choices)),
        usage=usage,
        logprobs=payload.get("logprobs"),
    )
    completion = apply("completion", call.deeds, completion, call, kinds=("behaviour",))
    counts = completion.usage or usage
    spend(call, model, counts["prompt_tokens"], counts["completion_tokens"])
    call.profile.observe(call, completion, model)
    done: Completion = apply("completion", call.deeds, completion, call, kinds=_OF_THE_GATEWAY)
    return done


def _logprobs(completion: Completion, tokens: list[str]) -> Json:
    """Give each token a probability that follows from itself and its place."""
    if completion.logprobs is None:
        return None
    values = [
        -((place * 37 + len(token) * 11) % 90 + 1) / 128 for place, token in enumerate(tokens)
    ]
    offsets = [sum(map(len, tokens[:place])) for place in range(len(tokens))]
    top = [
        {f"{token}{chr(96 + rank) if rank else ''}": value - rank * 1.5
         for rank in range(max(1, completion.logprobs))}
        for token, value in zip(tokens, values, strict=True)
    ]  # fmt: skip
    return {
        "tokens": tokens,
        "token_logprobs": values,
        "top_logprobs": top,
        "text_offset": offsets,
    }


def body_of(completion: Completion) -> dict[str, Any]:
    """Write a completion as one JSON object."""
    body: dict[str, Any] = {
        "id": completion.id,
        "object": "text_completion",
        "created": completion.created,
        "model": completion.model,
        "choices": [
            {
                "text": choice.text,
                "index": choice.index,
                "logprobs": _logprobs(completion, list(choice.tokens)),
                "finish_reason": choice.finish,
            }
            for choice in completion.choices
        ],
    }
    return body if completion.usage is None else {**body, "usage": completion.usage}


def _events(completion: Completion, schedule: Schedule, *, usage: bool) -> Iterator[Step]:
    """Write a completion as the JSON texts of a stream's events, one choice after the other."""
    opening = dumps(
        {
            "id": completion.id,
            "object": "text_completion",
            "created": completion.created,
            "model": completion.model,
        }
    )[:-1]
    tail = b'],"usage":null}' if usage else b"]}"
    at_ns = schedule.at(0)
    place = 0
    chunk = b'%b,"choices":[{"text":%b,"index":%d,"logprobs":null,"finish_reason":%b}%b'
    for choice in completion.choices:
        for token in choice.tokens:
            at_ns = max(at_ns, schedule.at(place))
            place += 1
            data = chunk % (opening, orjson.dumps(token), choice.index, b"null", tail)
            yield Step(at_ns, data, "content")
        reason = orjson.dumps(choice.finish)
        yield Step(at_ns, chunk % (opening, b'""', choice.index, reason, tail), "finish")
    if usage and completion.usage is not None:
        counts = dumps(completion.usage)
        yield Step(at_ns, b'%b,"choices":[],"usage":%b}' % (opening, counts), "usage")
    yield Step(at_ns, b"[DONE]", "done")


def reply_of(call: Call, completion: Completion, body: Mapping[str, Any]) -> Reply:
    """Answer with a completion: as a stream when one was asked for, else as this body."""
    schedule = call.timing.schedule(completion.seed)
    if call.streams:
        events = _events(completion, schedule, usage=call.asks_for("include_usage"))
        headers = (
            ("Content-Type", "text/event-stream; charset=utf-8"),
            ("Cache-Control", "no-cache"),
            ("X-Accel-Buffering", "no"),
        )
        return Reply(200, headers, events=events, at_ns=call.timing.ttft_ns)
    timed = call.timing.ttft_ns or call.timing.itl_ns
    at_ns = schedule.at(max(0, length_of(completion) - 1)) if timed else 0
    return Reply(200, (JSON,), body=body, at_ns=at_ns)


def completions(call: Call) -> Reply:
    """Answer ``POST /completions``."""
    completion = completed(call)
    return reply_of(call, completion, body_of(completion))
