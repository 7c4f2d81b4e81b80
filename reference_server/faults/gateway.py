"""Faults of a gateway: what it makes of an upstream that is odd, slow or failing, or is just fine.

Those that need a certain upstream act only where its behaviour was asked for, by the model's name
as a rule. So one server can be both, with the fault in the URL.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from ..call import Call
from ..chat import Choice, Completion, ToolCall
from ..errors import ApiError
from ..jsontext import dumps, loads
from ..script import Reply, Step
from .edits import TOKENS
from .table import TABLE, fault

__all__: list[str] = []

_PATIENCE_NS = 1_000_000_000


def _asked(call: Call | None, *names: str) -> bool:
    """Tell whether one of these behaviours was asked for."""
    return call is not None and any(deed.behaviour.name in names for deed in call.deeds)


def _behaviour(text: str) -> str:
    if text not in TABLE or TABLE[text].kind == "fault":
        raise ValueError("wanted the name of an oddity or a behaviour")
    return text


@fault("chokes-on-oddity", "request", "Answers 500 when the upstream has this oddity.",
       "readers made for one upstream", parameter="the oddity's or behaviour's name",
       read=_behaviour)  # fmt: skip
def _chokes(call: Call, _: None, name: str) -> Call:
    if not _asked(call, name):
        return call
    return replace(call, problem=ApiError(500, "Internal error.", type_="server_error"))


@fault("answered-from-cache", "reply", "Answers without asking the upstream: no journal has it.",
       "caches that nobody asked for")  # fmt: skip
def _from_cache(reply: Reply) -> Reply:
    return replace(reply, unseen=True)


# What it makes of a good answer


@fault("third-token-lost", "completion", "Loses the third token of an answer.", "converted streams")
def _third_lost(completion: Completion) -> Completion:
    def change(choice: Choice) -> Choice:
        return replace(choice, tokens=[*choice.tokens[:2], *choice.tokens[3:]])

    return replace(completion, choices=tuple(change(choice) for choice in completion.choices))


@fault("usage-recounted", "completion", "Counts the tokens of the prompt again, by another method.",
       "gateways with a tokenizer of their own")  # fmt: skip
def _recounted(completion: Completion) -> Completion:
    if completion.usage is None:
        return completion
    changes = {
        name: completion.usage[name] + 3
        for name in ("prompt_tokens", "total_tokens")
        if isinstance(completion.usage.get(name), int)
    }
    return replace(completion, usage={**completion.usage, **changes})


@fault("finish-always-stop", "completion", "Gives stop as the finish_reason of every answer.",
       "truncation that nobody sees")  # fmt: skip
def _always_stop(completion: Completion) -> Completion:
    choices = tuple(replace(choice, finish="stop") for choice in completion.choices)
    return replace(completion, choices=choices)


@fault("tool-args-altered", "completion", "Loses the last member of a tool call's arguments.",
       "arguments read and written again")  # fmt: skip
def _args_altered(completion: Completion) -> Completion:
    def change(call: ToolCall) -> ToolCall:
        try:
            value = loads(call.arguments.encode())
        except ValueError:
            return call  # cut by a limit
        if not isinstance(value, dict) or not value:
            return call
        value.popitem()
        return replace(call, arguments=dumps(value).decode())

    choices = tuple(
        replace(choice, calls=tuple(change(call) for call in choice.calls))
        for choice in completion.choices
    )
    return replace(completion, choices=choices)


# What it makes of a bad one


@fault("upstream-error-bare", "reply", "Sends errors of the upstream as a bare detail.",
       "web frameworks' own errors")  # fmt: skip
def _error_bare(reply: Reply, call: Call | None) -> Reply:
    if not reply.error or not _asked(call, "status"):
        return reply
    return replace(reply, body={"detail": "The upstream failed."})


@fault("retry-after-shortened", "reply", "Says Retry-After: 1 whatever the upstream said.")
def _retry_shortened(reply: Reply, call: Call | None) -> Reply:
    if reply.header("Retry-After") is None or not _asked(call, "status"):
        return reply
    return replace(reply, headers=reply.with_header("Retry-After", "1"))


@fault("cut-body-repaired", "reply", "Sends a whole {} where the upstream's body was cut.",
       "truncation that nobody sees")  # fmt: skip
def _cut_repaired(reply: Reply, call: Call | None) -> Reply:
    if reply.events is not None or not _asked(call, "cut", "reset"):
        return reply
    return replace(reply, text=b"{}", announced=0, ending="")


_IMPATIENT = {
    "error": {
        "message": "The upstream did not answer in time.",
        "type": "timeout",
        "param": None,
        "code": "timeout",
    }
}


@fault("pause-is-death", "chunks", "Ends a stream with an error when it pauses for over a second.",
       "time-outs between two reads")  # fmt: skip
def _pause_is_death(steps: Iterator[Step]) -> Iterator[Step]:
    before_ns = 0
    for step in steps:
        if step.at_ns - before_ns > _PATIENCE_NS:
            yield Step(before_ns + _PATIENCE_NS, dumps(_IMPATIENT), "error")
            return
        before_ns = step.at_ns
        yield step


@fault("upstream-comments-as-data", "events",
       "Sends the upstream's comments as the data of events.", "line by line readers")  # fmt: skip
def _comments_as_data(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        yield step._replace(data=b"data: " + step.data) if step.label == "comment" else step


@fault("no-cancel-early", "reply",
       "Goes on producing when the client leaves before the first token, but not later.",
       "tokens billed that nobody reads")  # fmt: skip
def _no_cancel_early(reply: Reply) -> Reply:
    if reply.events is None:
        return replace(reply, detached=_always)
    tokens_made: list[None] = []
    events = _noting(reply.events, tokens_made)
    return replace(reply, events=events, detached=partial(_at_most_one, tokens_made))


def _always() -> bool:
    return True


def _noting(steps: Iterator[Step], tokens_made: list[None]) -> Iterator[Step]:
    for step in steps:
        if step.label in TOKENS:
            tokens_made.append(None)
        yield step


def _at_most_one(tokens_made: list[None]) -> bool:
    # The first one is made when what is before it is sent, and waits for its time.
    return len(tokens_made) <= 1
