"""How the suites read a controlled upstream: its journal, and the answer that it is known to give.

The upstream is ours and deterministic, so its answer is known. Its journal, joined to an exchange
by the tag in the message, tells what reached it, when it sent what, and when it was left. What
never reached the upstream is untestable: ``gateway.forwards`` reports that.
"""

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from gateproof.check import Place, Untestable, expect
from gateproof.dialects import anthropic, openai
from gateproof.transcript import Exchange, Transcript

from .reading import speaks_messages, unreadable
from .scenarios import upstream as up

__all__ = [
    "ends_properly",
    "entries",
    "expect_same_as_control",
    "finish_of",
    "forwarded",
    "forwarded_body",
    "has_error_event",
    "outcome",
    "own_upstream",
    "places",
    "streams",
    "text_of",
]


def entries(seen: Transcript, label: str) -> list[Mapping[str, Any]]:
    """Return the upstream's journal entries of one exchange, oldest first."""
    if seen.upstream is None:
        raise Untestable("the upstream's journal could not be read")
    word = up.tag(seen.canary, label)
    return [entry for entry in seen.upstream if entry["method"] == "POST" and word in entry["body"]]


def forwarded(seen: Transcript, label: str) -> Mapping[str, Any]:
    """Return the upstream's last entry of one exchange; ``Untestable`` when there is none."""
    found = entries(seen, label)
    if not found:
        raise Untestable(f"request {label} did not reach the upstream (see gateway.forwards)")
    return found[-1]


def forwarded_body(seen: Transcript, label: str) -> Mapping[str, Any]:
    """Return the JSON object that reached the upstream."""
    value = json.loads(forwarded(seen, label)["body"])
    if not isinstance(value, dict):
        raise Untestable(f"what reached the upstream is no JSON object: {value!r}")
    return value


def places(seen: Transcript) -> list[tuple[str, Exchange, Place]]:
    """Return each exchange with its label and its place; each must have reached the upstream."""
    found = []
    for index, exchange in enumerate(seen.exchanges):
        forwarded(seen, exchange.ask.label)
        found.append((exchange.ask.label, exchange, Place(exchange=index)))
    return found


def streams(exchange: Exchange) -> bool:
    """Tell whether the request asked for a stream."""
    return bool((exchange.ask.value or {}).get("stream"))


def text_of(exchange: Exchange) -> str:
    """Return the text of an answer, streamed or not, in either dialect."""
    if speaks_messages(exchange):
        if not streams(exchange):
            return anthropic.text_of(anthropic.message(exchange))
        return anthropic.assemble(anthropic.stream(exchange)).text
    if not streams(exchange):
        return str(openai.message(exchange).get("content"))
    return "".join(choice.content for choice in openai.assemble(openai.stream(exchange)).values())


def finish_of(exchange: Exchange) -> Any:
    """Return the finish or stop reason of an answer, streamed or not."""
    if speaks_messages(exchange):
        if not streams(exchange):
            return anthropic.message(exchange).get("stop_reason")
        return anthropic.assemble(anthropic.stream(exchange)).stop_reason
    if not streams(exchange):
        return openai.choices(openai.completion(exchange))[0].get("finish_reason")
    choices = openai.assemble(openai.stream(exchange))
    return next((choice.finish for choice in choices.values()), None)


Outcome: TypeAlias = tuple[int, str, Any, bool, bool]


def outcome(exchange: Exchange) -> Outcome:
    """Return what a client makes of an answer.

    That is: status, text, finish reason, whether it has an error event, and whether it has an event
    that cannot be read. ``Untestable`` when nothing can be read.
    """
    got = openai.response(exchange)
    if got.status != 200 or not streams(exchange):
        whole = got.status == 200
        return (
            got.status,
            text_of(exchange) if whole else "",
            finish_of(exchange) if whole else None,
            not whole,
            False,
        )
    return (
        got.status,
        text_of(exchange),
        finish_of(exchange),
        has_error_event(exchange),
        bool(unreadable(exchange)),
    )


def has_error_event(exchange: Exchange) -> bool:
    """Tell whether a stream says that it failed."""
    if speaks_messages(exchange):
        return bool(anthropic.stream(exchange).of("error"))
    return bool(openai.stream(exchange).errors)


def ends_properly(exchange: Exchange) -> bool:
    """Tell whether a stream says that it is over: by ``[DONE]``, or by message_stop."""
    if speaks_messages(exchange):
        return bool(anthropic.stream(exchange).of("message_stop"))
    return bool(openai.stream(exchange).done)


def expect_same_as_control(seen: Transcript) -> str:
    """Expect each odd exchange to have the outcome of the same request without the oddity."""
    found = {label: (exchange, at) for label, exchange, at in places(seen)}
    for label, (exchange, at) in found.items():
        if label.startswith("control"):
            continue
        control = found["control" if streams(exchange) else "control-plain"][0]
        wanted = outcome(control)
        if wanted[0] != 200:
            raise Untestable(f"the control was answered with status {wanted[0]}")
        try:
            got = outcome(exchange)
        except Untestable as reason:
            got = (openai.response(exchange).status, str(reason), None, False, True)
        expect(
            got == wanted,
            wanted=f"as without the oddity: {_told(wanted)}",
            got=f"{label}: {_told(got)}",
            at=at,
        )
    return "as without the oddity"


def _told(told: Outcome) -> str:
    status, text, finish, failed, unreadable = told
    return (
        f"status {status}, {text!r}, finish_reason {finish!r}"
        + ", an error event" * failed
        + ", an event that is no JSON object" * unreadable
    )


def own_upstream(seen: Transcript) -> str:
    """Say that nothing was forwarded, when the target is its own upstream; else nothing."""
    return "" if len(seen) else "the target is its own upstream: nothing is forwarded"
