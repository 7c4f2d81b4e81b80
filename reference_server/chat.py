"""Chat completions: from a validated request to a completion, cut to the request's limits.

A completion is made whole before it is written, streamed or not, so that both modes say the same.
"""

import itertools
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from .model import Spoken, ToolUse, prompt_tokens, seed_of, speak
from .tokens import tokenize

__all__ = [
    "Choice",
    "Completion",
    "Schedule",
    "Timing",
    "ToolCall",
    "complete",
    "fresh",
    "length_of",
]


@dataclass(frozen=True, slots=True)
class Timing:
    """When an answer's tokens are due, in nanoseconds after the request was read."""

    ttft_ns: int = 0
    itl_ns: int = 0
    jitter_ns: int = 0

    def schedule(self, seed: int) -> "Schedule":
        """Return the times of one answer's tokens."""
        return Schedule(self, seed)


class Schedule:
    """The absolute times of an answer's tokens; jitter comes from a seed, and never adds up."""

    def __init__(self, timing: Timing, seed: int) -> None:
        self._timing = timing
        self._random = Random(seed) if timing.jitter_ns else None  # noqa: S311  # not for secrets

    @property
    def steady_ns(self) -> int | None:
        """The time between two tokens when it is always the same, or None."""
        return self._timing.itl_ns if self._random is None else None

    def at(self, place: int) -> int:
        """Return when the token at this place is due."""
        timing = self._timing
        at_ns = timing.ttft_ns + place * timing.itl_ns
        if self._random is not None:
            at_ns += int(self._random.uniform(0, timing.jitter_ns))
        return at_ns


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call as the client gets it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the answers of a completion, cut to its limits."""

    index: int
    tokens: Sequence[str]
    finish: str
    calls: tuple[ToolCall, ...] = ()
    reasoning: Sequence[str] = ()
    stopped_by: str = ""

    @property
    def text(self) -> str:
        """The answer's whole text."""
        return "".join(self.tokens)


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer to a chat request, before it is written in either mode."""

    id: str
    created: int
    model: str
    """Empty where an answer does not say it."""
    fingerprint: str
    choices: tuple[Choice, ...]
    usage: dict[str, Any] | None
    seed: int
    names_model: bool = True
    """Whether an answer says which model it is from."""
    logprobs: int | None = None
    """How many alternatives each token is given with; None gives no logprobs."""
    extra: Mapping[str, Any] | None = None
    """Members of the profile's own, at the top of the body."""
    message_extra: Mapping[str, Any] | None = None
    """Members of the profile's own in each message, and in a stream's first delta."""


_serial = itertools.count(int.from_bytes(os.urandom(4), "big"))


def fresh(prefix: str) -> str:
    """Return an identifier that this process gives once."""
    return f"{prefix}{next(_serial):012x}{os.urandom(6).hex()}"


def _limits(payload: Mapping[str, Any]) -> int | None:
    given = [payload.get(name) for name in ("max_tokens", "max_completion_tokens")]
    limits = [int(value) for value in given if value is not None]
    return min(limits) if limits else None


def _stops(payload: Mapping[str, Any]) -> list[str]:
    stop = payload.get("stop")
    return [one for one in ([stop] if isinstance(stop, str) else stop or ()) if one]


def _cut_text(
    tokens: Sequence[str], limit: int | None, stops: Sequence[str]
) -> tuple[Sequence[str], str, str]:
    """Cut tokens at the limit and before the first stop string; return the finish and the stop."""
    within = tokens if limit is None else tokens[:limit]
    if stops:
        text = "".join(within)
        found = [(place, stop) for stop in stops if (place := text.find(stop)) >= 0]
        if found:
            place, stop = min(found, key=lambda pair: pair[0])
            return tokenize(text[:place]), "stop", stop
    return within, "stop" if len(within) == len(tokens) else "length", ""


def _cut_uses(uses: Sequence[ToolUse], limit: int | None) -> tuple[list[ToolUse], int, str]:
    """Cut calls at the limit, in the midst of their arguments if need be; count their tokens."""
    kept: list[ToolUse] = []
    used = 0
    for use in uses:
        tokens = tokenize(use.arguments)
        used += len(tokenize(use.name))
        if limit is not None and used + len(tokens) > limit:
            # The name is never cut, so a limit below it still shows which call was meant.
            room = max(0, limit - used)
            kept.append(ToolUse(use.name, "".join(tokens[:room])))
            return kept, min(limit, used + room), "length"
        kept.append(use)
        used += len(tokens)
    return kept, used, "tool_calls"


def _choice(index: int, spoken: Spoken, payload: Mapping[str, Any]) -> tuple[Choice, int]:
    """Cut what was said to the request's limits; return it with the tokens that it took."""
    limit = _limits(payload)
    reasoning = spoken.reasoning if limit is None else spoken.reasoning[:limit]
    rest = None if limit is None else limit - len(reasoning)
    if spoken.uses and rest != 0:
        uses, used, finish = _cut_uses(spoken.uses, rest)
        calls = tuple(ToolCall(fresh("call_"), use.name, use.arguments) for use in uses)
        return Choice(index, (), finish, calls, reasoning), len(reasoning) + used
    if spoken.uses:
        return Choice(index, (), "length", (), reasoning), len(reasoning)
    tokens, finish, stop = _cut_text(spoken.tokens, rest, _stops(payload))
    choice = Choice(index, tokens, finish, (), reasoning, stop)
    return choice, len(reasoning) + len(tokens)


def complete(
    payload: Mapping[str, Any], *, model: str, length: int | None = None, reasons: bool = False
) -> Completion:
    """Answer a validated request."""
    choices: list[Choice] = []
    completion_tokens = 0
    for index in range(int(payload.get("n") or 1)):
        spoken = speak(payload, choice=index, length=length, reasons=reasons)
        choice, used = _choice(index, spoken, payload)
        choices.append(choice)
        completion_tokens += used
    prompt = prompt_tokens(payload)
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": sum(len(choice.reasoning) for choice in choices),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    seed = seed_of(payload)
    logprobs = int(payload.get("top_logprobs") or 0) if payload.get("logprobs") else None
    return Completion(
        id=fresh("chatcmpl-"),
        created=int(time.time()),
        model=model,
        fingerprint=f"fp_{zlib.crc32(model.encode()):010x}",
        choices=tuple(choices),
        usage=usage,
        seed=seed,
        logprobs=logprobs,
    )


def length_of(completion: Completion) -> int:
    """Count the steps of the longest choice: how long an answer takes that is not streamed."""
    return max(
        (
            len(choice.tokens)
            + len(choice.reasoning)
            + sum(1 + len(tokenize(call.arguments)) for call in choice.calls)
            for choice in completion.choices
        ),
        default=0,
    )
