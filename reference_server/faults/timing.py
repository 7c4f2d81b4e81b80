"""An upstream's behaviours: when it answers, how much, and how it fails.

None of them breaks a promise of an API; a gateway in front of it has to pass on what it can and to
report what it cannot.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..call import Call
from ..chat import Choice, Completion, Timing
from ..errors import ApiError
from ..jsontext import Json, dumps
from ..script import Reply, Step
from ..tokens import tokenize
from .table import behaviour, values, whole

__all__: list[str] = []

_MS = 1_000_000
_TOKENS = frozenset({"content", "reasoning", "tool", "arguments"})
_milliseconds = whole(0, 3_600_000)


def _timed(call: Call, **changes: int) -> Call:
    timing = call.timing
    values = {
        "ttft_ns": timing.ttft_ns, "itl_ns": timing.itl_ns, "jitter_ns": timing.jitter_ns
    }  # fmt: skip
    return replace(call, timing=Timing(**{**values, **changes}))


@behaviour(
    "ttft", "behaviour", "request", "Sends the first token so late.",
    parameter="milliseconds after the request", read=_milliseconds,
)  # fmt: skip
def _ttft(call: Call, _: None, ms: int) -> Call:
    return _timed(call, ttft_ns=ms * _MS)


@behaviour(
    "itl", "behaviour", "request", "Sends each further token so long after the one before.",
    parameter="milliseconds between tokens", read=_milliseconds,
)  # fmt: skip
def _itl(call: Call, _: None, ms: int) -> Call:
    return _timed(call, itl_ns=ms * _MS)


@behaviour(
    "jitter", "behaviour", "request",
    "Adds a random delay to each token, the same for the same request.",
    parameter="milliseconds at most", read=_milliseconds,
)  # fmt: skip
def _jitter(call: Call, _: None, ms: int) -> Call:
    return _timed(call, jitter_ns=ms * _MS)


@behaviour(
    "tokens", "behaviour", "request", "Gives prose this length.",
    parameter="tokens", read=whole(1, 100_000),
)  # fmt: skip
def _tokens(call: Call, _: None, length: int) -> Call:
    return replace(call, length=length)


_STATUSES = {
    400: ("invalid_request_error", "bad_request"),
    401: ("invalid_request_error", "invalid_api_key"),
    402: ("insufficient_quota", "insufficient_quota"),
    403: ("permission_error", "permission_denied"),
    404: ("invalid_request_error", "model_not_found"),
    408: ("timeout", "timeout"),
    409: ("invalid_request_error", "conflict"),
    413: ("invalid_request_error", "request_too_large"),
    422: ("invalid_request_error", "unprocessable"),
    429: ("requests", "rate_limit_exceeded"),
}


_KEPT = frozenset({"x-request-id", "request-id", "date", "server"})


def _status(text: str) -> tuple[int, int]:
    status, wait = values(text)
    return whole(400, 599)(status), whole(0, 86_400)(wait or "7")


@behaviour(
    "status", "behaviour", "reply", "Fails before the first token, with this HTTP status.",
    parameter="status, and after a colon the seconds of Retry-After (7) of a 429 or 503",
    read=_status,
)  # fmt: skip
def _fail(reply: Reply, call: Call, argument: tuple[int, int]) -> Reply:
    status, wait_s = argument
    type_, code = _STATUSES.get(status, ("server_error", "internal_error"))
    error = ApiError(status, f"The upstream failed with status {status}.", type_=type_, code=code)
    status, body = call.profile.refuse(error, call, call.id)
    kept = tuple(pair for pair in reply.headers if pair[0].lower() in _KEPT)
    headers = (("Content-Type", "application/json"), *kept)
    if status in {429, 503}:
        headers = (*headers, ("Retry-After", str(wait_s)))
    return Reply(status, headers, body=body, error=True, cause=code, at_ns=reply.at_ns)


def _after(steps: Iterator[Step], tokens: int) -> Iterator[tuple[Step, bool]]:
    """Yield each step, and whether so many tokens have been before it."""
    seen = 0
    for step in steps:
        yield step, seen >= tokens
        seen += step.label in _TOKENS


def _failure(call: Call) -> tuple[int, Json]:
    error = ApiError(
        500, "The model failed while it answered.", type_="server_error", code="upstream_failure"
    )
    return call.profile.refuse(error, call, call.id)


@behaviour(
    "midstream-error", "behaviour", "reply",
    "Fails after some tokens: sends an error object as an event and ends the stream; "
    "without streaming it answers 500.",
    parameter="tokens before the error (3)", read=whole(0, 100_000), default="3",
    seen_in="an upstream overloaded in mid-answer",
)  # fmt: skip
def _midstream_error(reply: Reply, call: Call, tokens: int) -> Reply:
    if reply.error:
        return reply
    status, body = _failure(call)
    if reply.events is None:
        return replace(reply, status=status, body=body, text=None, error=True)
    last = Step(0, dumps(body), "error")
    return replace(reply, events=_until(reply.events, tokens, last))


def _until(steps: Iterator[Step], tokens: int, last: Step) -> Iterator[Step]:
    for step, over in _after(steps, tokens):
        if over:
            yield last._replace(at_ns=step.at_ns + last.at_ns)
            return
        yield step


def _broken_off(reply: Reply, tokens: int, act: str) -> Reply:
    """Break a stream off after some tokens, and a body in its middle, by an act."""
    if reply.events is not None:
        # A reset throws away what still waits to be sent, so it comes a little later.
        wait_ns = 20 * _MS if act == "reset" else 0
        label = "cut" if act == "close" else act
        return replace(
            reply, events=_until(reply.events, tokens, Step(wait_ns, b"", label, act=act))
        )
    text = reply.text if reply.text is not None else dumps(reply.body)
    half = len(text) // 2
    ending = "cut" if act == "close" else act
    return replace(reply, text=text[:half], announced=len(text) - half, ending=ending)


_BREAKS = {
    "cut": ("close", "Closes the connection after some tokens, without any end of the answer."),
    "reset": ("reset", "Resets the connection after some tokens."),
    "hang": ("stall", "Stops for ever after some tokens, with the connection open."),
}


def _add_break(name: str, act: str, says: str) -> None:
    @behaviour(
        name, "behaviour", "reply", says, parameter="tokens before it (3)",
        read=whole(0, 100_000), default="3", seen_in="an upstream that dies in mid-answer",
    )  # fmt: skip
    def _break(reply: Reply, _: Call, tokens: int) -> Reply:
        return _broken_off(reply, tokens, act)


for _name, (_act, _says) in _BREAKS.items():
    _add_break(_name, _act, _says)


@behaviour(
    "silence", "behaviour", "reply",
    "Sends the head of a stream at once, and then nothing for so long before the first event.",
    parameter="milliseconds", read=_milliseconds, seen_in="a model that thinks for long",
)  # fmt: skip
def _silence(reply: Reply, _: Call, ms: int) -> Reply:
    if reply.events is None:
        return replace(reply, at_ns=reply.at_ns + ms * _MS)
    return replace(reply, at_ns=0, events=_later(reply.events, ms))


def _later(steps: Iterator[Step], ms: int) -> Iterator[Step]:
    for step in steps:
        yield step._replace(at_ns=step.at_ns + ms * _MS)


def _stall_argument(text: str) -> tuple[int, int]:
    ms, tokens = values(text)
    return _milliseconds(ms), whole(0, 100_000)(tokens or "3")


@behaviour(
    "stall", "behaviour", "chunks", "Stops for so long in the middle of a stream.",
    parameter="milliseconds, and after a colon the tokens before it (3)", read=_stall_argument,
)  # fmt: skip
def _stall(steps: Iterator[Step], _: Call, argument: tuple[int, int]) -> Iterator[Step]:
    ms, tokens = argument
    for step, over in _after(steps, tokens):
        yield step._replace(at_ns=step.at_ns + ms * _MS) if over else step


@behaviour(
    "slow-headers", "behaviour", "wire", "Sends everything, the head too, so much later.",
    parameter="milliseconds", read=_milliseconds,
)  # fmt: skip
def _slow_headers(steps: Iterator[Step], _: Call, ms: int) -> Iterator[Step]:
    return _later(steps, ms)


@behaviour(
    "refuse", "behaviour", "request", "Refuses the request as one whose context is too long."
)
def _refuse(call: Call) -> Call:
    problem = ApiError(
        400, "The messages do not fit the context.", param="messages",
        code="context_length_exceeded",
    )  # fmt: skip
    return replace(call, problem=problem)


def _finish_reason(text: str) -> str:
    allowed = ("stop", "length", "content_filter", "tool_calls")
    if text not in allowed:
        raise ValueError(f"wanted one of {', '.join(allowed)}")
    return text


@behaviour(
    "finish", "behaviour", "completion", "Ends each choice with this finish_reason.",
    parameter="stop, length, content_filter or tool_calls", read=_finish_reason,
)  # fmt: skip
def _finish(completion: Completion, _: Call, reason: str) -> Completion:
    return replace(
        completion,
        choices=tuple(replace(choice, finish=reason) for choice in completion.choices),
    )


@behaviour("empty", "behaviour", "completion", "Answers with an empty text.")
def _empty(completion: Completion) -> Completion:
    def emptied(choice: Choice) -> Choice:
        return replace(choice, tokens=(), calls=(), reasoning=(), finish="stop")

    usage = dict(completion.usage or {})
    prompt = usage.get("prompt_tokens", 0)
    usage.update(completion_tokens=0, total_tokens=prompt)
    return replace(
        completion, usage=usage, choices=tuple(emptied(choice) for choice in completion.choices)
    )


@behaviour(
    "cached", "behaviour", "completion", "Reports so many prompt tokens as read from a cache.",
    parameter="tokens, at most those of the prompt", read=whole(0, 1_000_000),
)  # fmt: skip
def _cached(completion: Completion, _: Call, tokens: int) -> Completion:
    usage: dict[str, Any] = dict(completion.usage or {})
    cached = min(tokens, usage.get("prompt_tokens", 0))
    details = {**usage.get("prompt_tokens_details", {}), "cached_tokens": cached}
    return replace(completion, usage={**usage, "prompt_tokens_details": details})


def _two_counts(text: str) -> tuple[int, int]:
    prompt, completion = values(text)
    count = whole(0, 1_000_000_000)
    return count(prompt), count(completion)


@behaviour(
    "usage", "behaviour", "completion", "Reports exactly these token counts.",
    parameter="tokens of the prompt and of the completion, as 1234:567", read=_two_counts,
)  # fmt: skip
def _usage(completion: Completion, _: Call, counts: tuple[int, int]) -> Completion:
    usage = dict(completion.usage or {})
    prompt, used = counts
    usage.update(prompt_tokens=prompt, completion_tokens=used, total_tokens=prompt + used)
    details = dict(usage.get("completion_tokens_details") or {})
    if details:
        details["reasoning_tokens"] = min(details.get("reasoning_tokens", 0), used)
        usage["completion_tokens_details"] = details
    return replace(completion, usage=usage)


@behaviour(
    "sloppy-json", "behaviour", "completion",
    "Wraps JSON that was asked for in a Markdown fence, with a comma too many.",
    seen_in="models without constrained decoding",
)  # fmt: skip
def _sloppy_json(completion: Completion, call: Call) -> Completion:
    form = call.payload.get("response_format") or {}
    if form.get("type") not in {"json_object", "json_schema"}:
        return completion

    def sloppy(choice: Choice) -> Choice:
        text = choice.text
        inner = f"{text[:-1]},{text[-1]}" if text.endswith("}") and len(text) > 2 else text
        return replace(choice, tokens=tokenize(f"```json\n{inner}\n```"))

    return replace(completion, choices=tuple(sloppy(choice) for choice in completion.choices))
