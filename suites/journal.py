"""How the suites read a controlled upstream: its journal, and the answer that it is known to give.

The upstream is ours and deterministic, so its answer is known. Its journal, joined to an exchange
by the tag in the message, tells what reached it, when it sent what, and when it was left. What
never reached the upstream is untestable: ``gateway.forwards`` reports that.
"""

import json
from collections.abc import Mapping
from typing import Any

from gateproof.check import Place, Untestable, expect
from gateproof.dialects import openai
from gateproof.transcript import Exchange, Transcript

from .refusal import shown
from .scenarios import upstream as up

__all__ = [
    "entries",
    "expect_whole_answer",
    "finish_of",
    "forwarded",
    "forwarded_body",
    "own_upstream",
    "places",
    "streams",
    "text_of",
]


def entries(seen: Transcript, label: str) -> list[Mapping[str, Any]]:
    """Return the upstream's journal entries of one exchange, oldest first."""
    word = up.tag(seen.canary, label)
    return [
        entry
        for entry in seen.upstream or ()
        if entry["method"] == "POST" and word in entry["body"]
    ]


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
    """Return the text of an answer, streamed or not."""
    if not streams(exchange):
        return str(openai.message(exchange).get("content"))
    return "".join(choice.content for choice in openai.assemble(openai.stream(exchange)).values())


def finish_of(exchange: Exchange) -> Any:
    """Return the finish reason of an answer, streamed or not."""
    if not streams(exchange):
        return openai.choices(openai.completion(exchange))[0].get("finish_reason")
    choices = openai.assemble(openai.stream(exchange))
    return next((choice.finish for choice in choices.values()), None)


def expect_whole_answer(seen: Transcript) -> str:
    """Expect of each exchange the upstream's text, whole, and no error."""
    for label, exchange, at in places(seen):
        got = openai.response(exchange)
        expect(
            got.status == 200,
            wanted="the upstream's answer, which is legal",
            got=shown(got),
            at=at,
        )
        if streams(exchange):
            read = openai.stream(exchange)
            expect(
                not read.errors,
                wanted="a stream without an error event",
                got=read.errors[0].value if read.errors else "",
                at=at,
            )
            expect(
                not read.unreadable,
                wanted="events that are JSON objects or [DONE]",
                got=read.unreadable[0][1] if read.unreadable else "",
                at=at,
            )
        wanted = up.expected_text(seen.canary, label)
        text = text_of(exchange)
        expect(text == wanted, wanted=f"the upstream's text {wanted!r}", got=text, at=at)
        expect(
            finish_of(exchange) == "stop",
            wanted="finish_reason stop, as the upstream sent it",
            got=finish_of(exchange),
            at=at,
        )
    return f"{len(seen)} of {len(seen)} whole"


def own_upstream(seen: Transcript) -> str:
    """Say that nothing was forwarded, when the target is its own upstream; else nothing."""
    return "" if len(seen) else "the target is its own upstream: nothing is forwarded"
