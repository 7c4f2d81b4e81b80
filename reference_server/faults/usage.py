"""Faults of usage: counts that do not add up, or are not there."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from ..call import Call
from ..chat import Completion
from ..jsontext import Json, Verbatim, loads
from ..script import Step
from .edits import TOKENS, edit, edit_each
from .table import fault

__all__: list[str] = []

_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


def _with(completion: Completion, **changes: Json) -> Completion:
    if completion.usage is None:
        return completion
    return replace(completion, usage={**completion.usage, **changes})


def _count(completion: Completion, name: str) -> int:
    return int(float((completion.usage or {}).get(name) or 0))  # which may be text by now


@fault("usage-missing", "completion", "Gives no usage at all.")
def _missing(completion: Completion) -> Completion:
    return replace(completion, usage=None)


@fault("usage-missing-in-stream", "chunks", "Sends no usage in a stream although it was asked for.",
       "options lost on the way")  # fmt: skip
def _missing_in_stream(steps: Iterator[Step]) -> Iterator[Step]:
    return (step for step in steps if step.label != "usage")


@fault("usage-wrong-sum", "completion", "Gives a total that is not the sum of its parts.")
def _wrong_sum(completion: Completion) -> Completion:
    return _with(completion, total_tokens=_count(completion, "total_tokens") + 1)


@fault("usage-negative", "completion", "Gives a negative count of completion tokens.")
def _negative(completion: Completion) -> Completion:
    used = -_count(completion, "completion_tokens") - 1
    return _with(
        completion, completion_tokens=used, total_tokens=_count(completion, "prompt_tokens") + used
    )


@fault("usage-float", "completion", "Writes counts with a fraction, as in 8.0.")
def _float(completion: Completion) -> Completion:
    return _with(
        completion, **{name: Verbatim(f"{_count(completion, name)}.0") for name in _COUNTS}
    )


@fault("usage-string", "completion", "Writes counts as strings.")
def _string(completion: Completion) -> Completion:
    return _with(completion, **{name: str(_count(completion, name)) for name in _COUNTS})


@fault("usage-null", "completion", "Gives null for the counts of prompt and completion.")
def _null(completion: Completion) -> Completion:
    return _with(completion, prompt_tokens=None, completion_tokens=None)


@fault("usage-zero", "completion", "Counts nothing: all counts are 0.", "streams billed as free")
def _zero(completion: Completion) -> Completion:
    return _with(completion, **dict.fromkeys(_COUNTS, 0))


@fault("usage-reasoning-excess", "completion",
       "Counts more reasoning tokens than completion tokens.", "reasoning left out of the count",
       )  # fmt: skip
def _reasoning_excess(completion: Completion) -> Completion:
    details = dict((completion.usage or {}).get("completion_tokens_details") or {})
    details["reasoning_tokens"] = _count(completion, "completion_tokens") + 1
    return _with(completion, completion_tokens_details=details)


@fault("usage-cached-excess", "completion", "Counts more cached tokens than prompt tokens.")
def _cached_excess(completion: Completion) -> Completion:
    details = dict((completion.usage or {}).get("prompt_tokens_details") or {})
    details["cached_tokens"] = _count(completion, "prompt_tokens") + 1
    return _with(completion, prompt_tokens_details=details)


@fault("usage-over-limit", "completion", "Counts more completion tokens than the limit allows.")
def _over_limit(completion: Completion, call: Call) -> Completion:
    limits = [call.payload.get(name) for name in ("max_tokens", "max_completion_tokens")]
    given = [int(limit) for limit in limits if limit is not None]
    if not given:
        return completion
    used = max(given) + 1
    return _with(
        completion, completion_tokens=used, total_tokens=_count(completion, "prompt_tokens") + used
    )


@fault("usage-prompt-differs-in-stream", "completion",
       "Counts other prompt tokens in a stream than without.")  # fmt: skip
def _prompt_differs(completion: Completion, call: Call) -> Completion:
    if not call.streams:
        return completion
    return _with(
        completion,
        prompt_tokens=_count(completion, "prompt_tokens") + 7,
        total_tokens=_count(completion, "total_tokens") + 7,
    )


@fault("usage-unasked", "request", "Sends a usage chunk that was not asked for.",
       "clients that read choices[0]")  # fmt: skip
def _unasked(call: Call) -> Call:
    if not call.streams:
        return call
    return replace(call, payload={**call.payload, "stream_options": {"include_usage": True}})


@fault("usage-not-last", "chunks", "Sends the usage chunk before the last chunk of the choice.")
def _not_last(steps: Iterator[Step]) -> Iterator[Step]:
    held: list[Step] = []
    for step in steps:
        if step.label == "finish":
            held.append(step)
            continue
        if step.label != "usage":
            yield from held
            held = []
        yield step
    yield from held


@fault("usage-twice", "chunks", "Sends the usage chunk twice.", "tokens counted twice")
def _twice(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        yield step
        if step.label == "usage":
            yield step


@fault("usage-on-every-chunk", "chunks", "Puts usage into every chunk.", "tokens counted often")
def _on_every(steps: Iterator[Step]) -> Iterator[Step]:
    held = list(steps)
    usage = next((loads(step.data).get("usage") for step in held if step.label == "usage"), None)
    if usage is None:
        return iter(held)
    return edit_each(held, partial(_give, "usage", usage), *TOKENS, "role", "finish")


@fault("usage-on-finish-chunk", "chunks", "Puts usage into the last chunk of the choice.")
def _on_finish(steps: Iterator[Step]) -> Iterator[Step]:
    held: Step | None = None
    for step in steps:
        if step.label == "finish":
            if held is not None:
                yield held
            held = step
        elif step.label == "usage" and held is not None:
            usage = loads(step.data).get("usage")
            yield edit(held, partial(_give, "usage", usage))
            held = None
        else:
            if held is not None:
                yield held
                held = None
            yield step


def _give(name: str, other: Json, value: Json) -> None:
    value[name] = other


@fault("choices-null-on-usage", "chunks", "Sends null for the choices of the usage chunk.")
def _choices_null(steps: Iterator[Step]) -> Iterator[Step]:
    return edit_each(steps, lambda value: value.update(choices=None), "usage")


@fault("choices-missing-on-usage", "chunks", "Leaves the choices out of the usage chunk.",
       "clients that iterate over choices")  # fmt: skip
def _choices_missing(steps: Iterator[Step]) -> Iterator[Step]:
    def change(value: Json) -> None:
        value.pop("choices", None)

    return edit_each(steps, change, "usage")


@fault("usage-null-missing", "chunks", "Leaves usage: null out of the other chunks.")
def _null_missing(steps: Iterator[Step]) -> Iterator[Step]:
    def change(value: Json) -> None:
        if value.get("usage", 0) is None:
            del value["usage"]

    return edit_each(steps, change)
