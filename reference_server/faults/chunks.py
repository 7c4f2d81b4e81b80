"""Faults of chat chunks: what stands in the events of a stream, and in what order."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from ..call import Call
from ..chat import Choice, Completion
from ..jsontext import Json, dumps, loads
from ..script import Step
from .edits import choices_of, deltas_of, edit, edit_each, message_end, said
from .table import fault

__all__: list[str] = []


def _changed_later(steps: Iterator[Step], name: str, changes: Iterator[Json]) -> Iterator[Step]:
    """Give a member another value in each chunk after the first."""
    for place, step in enumerate(steps):
        if place and step.data.startswith(b"{") and step.label != "error":
            yield edit(step, lambda value: value.update({name: next(changes)}))
        else:
            yield step


@fault("change-id", "chunks", "Gives each chunk an id of its own.", "converted streams")
def _change_id(steps: Iterator[Step]) -> Iterator[Step]:
    return _changed_later(steps, "id", (f"chatcmpl-other{n}" for n in itertools.count()))


@fault("change-created", "chunks", "Gives each chunk a created time of its own.")
def _change_created(steps: Iterator[Step]) -> Iterator[Step]:
    return _changed_later(steps, "created", itertools.count(1_700_000_000))


@fault("change-model", "chunks", "Names another model after the first chunk.")
def _change_model(steps: Iterator[Step]) -> Iterator[Step]:
    return _changed_later(steps, "model", itertools.repeat("another-model"))


@fault("wrong-object", "json", "Gives answers the wrong object.", "chunks without their type")
def _wrong_object(value: Json) -> Json:
    if not isinstance(value, dict) or "choices" not in value:
        return value
    other = {"chat.completion.chunk": "chat.completion", "chat.completion": "text_completion"}
    return {**value, "object": other.get(value.get("object", ""), "unknown")}


@fault("chunk-object-wrong", "chunks", "Gives chunks the object of a whole answer.",
       "chunks without their type")  # fmt: skip
def _chunk_object(steps: Iterator[Step]) -> Iterator[Step]:
    def change(value: Json) -> None:
        if "object" in value:
            value["object"] = "chat.completion"

    return edit_each(steps, change)


@fault("delta-null", "chunks", "Sends null for the delta of the last chunk of a choice.")
def _delta_null(steps: Iterator[Step]) -> Iterator[Step]:
    def change(value: Json) -> None:
        for choice in choices_of(value):
            choice["delta"] = None

    return edit_each(steps, change, "finish")


@fault("delta-missing", "chunks", "Leaves the delta out of the last chunk of a choice.")
def _delta_missing(steps: Iterator[Step]) -> Iterator[Step]:
    def change(value: Json) -> None:
        for choice in choices_of(value):
            choice.pop("delta", None)

    return edit_each(steps, change, "finish")


@fault(
    "index-as-counter", "chunks", "Counts tokens in the index of the choice.", "TGI-like servers"
)
def _index_counts(steps: Iterator[Step]) -> Iterator[Step]:
    counter = itertools.count()

    def change(value: Json) -> None:
        for choice in choices_of(value):
            choice["index"] = next(counter)

    return edit_each(steps, change)


@fault("index-missing", "chunks", "Leaves out the index of each choice.", "minimal servers")
def _index_missing(steps: Iterator[Step]) -> Iterator[Step]:
    def change(value: Json) -> None:
        for choice in choices_of(value):
            choice.pop("index", None)

    return edit_each(steps, change)


@fault("finish-missing", "chunks", "Never gives a finish_reason.", "streams that just end")
def _finish_missing(steps: Iterator[Step]) -> Iterator[Step]:
    def change(value: Json) -> None:
        for choice in choices_of(value):
            choice["finish_reason"] = None

    return edit_each(steps, change, "finish")


@fault("finish-twice", "chunks", "Sends the last chunk of each choice twice.")
def _finish_twice(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        yield step
        if step.label == "finish":
            yield step


@fault("finish-bad-enum", "completion", "Gives a finish_reason that is not in the list.",
       "reasons of an upstream passed on")  # fmt: skip
def _finish_bad_enum(completion: Completion) -> Completion:
    return _finished(completion, lambda _: "eos_token")


def _finished(completion: Completion, reason: "Json") -> Completion:
    choices = tuple(replace(c, finish=reason(c)) for c in completion.choices)
    return replace(completion, choices=choices)


@fault("finish-stop-on-length", "completion", "Says stop where the limit of tokens cut the answer.",
       "truncation that nobody sees")  # fmt: skip
def _finish_stop_on_length(completion: Completion) -> Completion:
    def reason(choice: Choice) -> str:
        return "stop" if choice.finish == "length" else choice.finish

    return _finished(completion, reason)


@fault("finish-length-on-stop", "completion", "Says length where the answer came to its end.")
def _finish_length_on_stop(completion: Completion) -> Completion:
    def reason(choice: Choice) -> str:
        return "length" if choice.finish == "stop" else choice.finish

    return _finished(completion, reason)


@fault("finish-key-missing", "chunks", "Leaves out finish_reason where it would be null.")
def _finish_key_missing(steps: Iterator[Step]) -> Iterator[Step]:
    def change(value: Json) -> None:
        for choice in choices_of(value):
            if choice.get("finish_reason") is None:
                choice.pop("finish_reason", None)

    return edit_each(steps, change)


@fault("finish-empty-string", "chunks", "Sends an empty finish_reason where it would be null.")
def _finish_empty(steps: Iterator[Step]) -> Iterator[Step]:
    def change(value: Json) -> None:
        for choice in choices_of(value):
            choice["finish_reason"] = choice.get("finish_reason") or ""

    return edit_each(steps, change)


def _with_delta(delta: Json, value: Json) -> None:
    value["choices"][0]["delta"] = delta


@fault("finish-with-content", "chunks", "Puts the last token into the chunk with finish_reason.",
       "last tokens that clients drop")  # fmt: skip
def _finish_with_content(steps: Iterator[Step]) -> Iterator[Step]:
    held: Step | None = None
    for step in steps:
        if step.label == "finish" and held is not None:
            delta = loads(held.data)["choices"][0]["delta"]
            yield edit(step, partial(_with_delta, delta))
            held = None
            continue
        if held is not None:
            yield held
        held = step if step.label == "content" and b'"delta":{"content"' in step.data else None
        if held is None:
            yield step


@fault("content-after-finish", "chunks", "Sends one more token after the finish_reason.")
def _content_after_finish(steps: Iterator[Step]) -> Iterator[Step]:
    last: Step | None = None
    for step in steps:
        yield step
        if step.label == "content":
            last = step
        if step.label == "finish" and last is not None:
            yield last
            last = None


@fault("role-missing", "chunks", "Never gives the role.", "converted streams")
def _role_missing(steps: Iterator[Step]) -> Iterator[Step]:
    def change(value: Json) -> None:
        for delta in deltas_of(value):
            delta.pop("role", None)

    return edit_each(steps, change, "role")


@fault("role-every-chunk", "chunks", "Repeats the role in every delta.", "converted streams")
def _role_repeated(steps: Iterator[Step]) -> Iterator[Step]:
    def change(value: Json) -> None:
        for delta in deltas_of(value):
            delta["role"] = "assistant"

    return edit_each(steps, change, "content", "tool", "arguments")


@fault("role-empty-later", "chunks", "Sends an empty role in every later delta.")
def _role_empty(steps: Iterator[Step]) -> Iterator[Step]:
    def change(value: Json) -> None:
        for delta in deltas_of(value):
            delta["role"] = ""

    return edit_each(steps, change, "content", "tool", "arguments")


@fault("first-token-lost", "chunks", "Loses the first token of a stream.", "converted streams")
def _first_lost(steps: Iterator[Step]) -> Iterator[Step]:
    lost = False
    for step in steps:
        if step.label == "content" and not lost:
            lost = True
            continue
        yield step


@fault("token-twice", "chunks", "Sends the second token of a stream twice.")
def _token_twice(steps: Iterator[Step]) -> Iterator[Step]:
    seen = 0
    for step in steps:
        seen += step.label == "content"
        yield step
        if step.label == "content" and seen == 2:
            yield step


@fault("tokens-swapped", "chunks", "Sends the second and the third token in the wrong order.")
def _tokens_swapped(steps: Iterator[Step]) -> Iterator[Step]:
    seen = 0
    held: Step | None = None
    for step in steps:
        seen += step.label == "content"
        if step.label == "content" and seen == 2:
            held = step
            continue
        yield step
        if held is not None:
            yield held._replace(at_ns=step.at_ns)
            held = None


@fault("deltas-trimmed", "chunks", "Strips the spaces around each token of a stream.",
       "helpers that trim")  # fmt: skip
def _trimmed(steps: Iterator[Step]) -> Iterator[Step]:
    def change(value: Json) -> None:
        place = said(value)
        if place is not None and isinstance(place[0][place[1]], str):
            place[0][place[1]] = place[0][place[1]].strip(" ")

    return edit_each(steps, change, "content")


@fault("accumulated-deltas", "chunks", "Sends the whole text so far in each delta.")
def _accumulated(steps: Iterator[Step]) -> Iterator[Step]:
    texts: dict[int, str] = {}

    def change(value: Json) -> None:
        place = said(value)
        if place is not None:
            holder, member = place
            index = (choices_of(value) or [value])[0].get("index", 0)
            texts[index] = texts.get(index, "") + holder[member]
            holder[member] = texts[index]

    return edit_each(steps, change, "content")


@fault("error-as-text", "chunks", "Sends an upstream's error in mid-stream as a piece of text.",
       "gateways that swallow errors")  # fmt: skip
def _error_as_text(steps: Iterator[Step]) -> Iterator[Step]:
    return _after_failure(steps, {"content": "[error: the upstream failed]"}, failures=("error",))


@fault("midstream-error-swallowed", "chunks",
       "Ends a stream in good order when the upstream sent an error in its middle.",
       "gateways that swallow errors")  # fmt: skip
def _swallowed(steps: Iterator[Step]) -> Iterator[Step]:
    return _after_failure(steps, None, failures=("error",))


@fault("cut-looks-complete", "chunks",
       "Ends a stream in good order when the upstream's connection was cut.",
       "truncation that nobody sees")  # fmt: skip
def _complete_after_cut(steps: Iterator[Step]) -> Iterator[Step]:
    return _after_failure(steps, None, failures=("cut", "reset"))


@fault(
    "clean-end-after-error",
    "chunks",
    "Sends data: [DONE] after the error that ended a stream, and a finish_reason before it.",
)
def _clean_end(steps: Iterator[Step]) -> Iterator[Step]:
    first: Step | None = None
    for step in steps:
        first = first or step
        if step.label != "error":
            yield step
        elif first.label == "message_start":
            *before, last = message_end(None, "", step.at_ns)
            yield from (*before, step, last)
        else:
            yield _finish(first, step.at_ns)
            yield step
            yield Step(step.at_ns, b"[DONE]", "done")


def _finish(first: Step, at_ns: int) -> Step:
    def change(value: Json) -> None:
        for choice in choices_of(value):
            choice["delta"] = {}
            choice["finish_reason"] = "stop"

    return edit(first, change)._replace(at_ns=at_ns, label="finish")


def _after_failure(
    steps: Iterator[Step], delta: Json, *, failures: tuple[str, ...]
) -> Iterator[Step]:
    """Put an ordinary end where the upstream failed, with a delta before it if one is given."""
    first: Step | None = None
    open_block: int | None = None
    for step in steps:
        if step.label not in failures:
            first = first or step
            if step.data.startswith(b'{"type":"content_block'):
                ended = step.label == "block_stop"
                open_block = None if ended else loads(step.data)["index"]
            yield step
            continue
        if first is not None and first.label == "message_start":
            yield from message_end(open_block, (delta or {}).get("content", ""), step.at_ns)
            return
        if first is None:
            first = Step(0, dumps({"choices": [{"index": 0}]}))
        if delta is not None:
            yield edit(first, lambda value: choices_of(value)[0].update(delta=delta))._replace(
                at_ns=step.at_ns, label="content"
            )
        yield _finish(first, step.at_ns)
        yield Step(step.at_ns, b"[DONE]", "done")
        return


@fault("logprobs-missing", "json", "Leaves logprobs null when they were asked for.")
def _logprobs_missing(value: Json, _: Call) -> Json:
    for choice in choices_of(value):
        if "logprobs" in choice:
            choice["logprobs"] = None
    return value


@fault("logprobs-bytes-missing", "json", "Leaves the bytes out of each token's logprob.")
def _logprobs_bytes(value: Json) -> Json:
    for choice in choices_of(value):
        for token in (choice.get("logprobs") or {}).get("content") or ():
            token.pop("bytes", None)
    return value


@fault(
    "finish-lost-with-logprobs", "completion", "Loses finish_reason when logprobs are asked for."
)
def _finish_lost(completion: Completion) -> Completion:
    if completion.logprobs is None:
        return completion
    return _finished(completion, lambda _: None)
