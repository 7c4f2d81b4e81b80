"""Checks that take load to be judged, and the kinds of requests that other checks are judged on.

Each kind names the scenarios whose checks hold for every answer to such a request, whatever its
prompt. What is left out looks at the prompt, at the tools or at the bounds of the scenario's own
request: each is named with the reason.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gateproof.check import Finding, Inconclusive, Place, Untestable, check
from gateproof.dialects import anthropic, openai
from gateproof.likeness import like
from gateproof.transcript import Ask, Exchange, Transcript

from .reading import each, speaks_messages
from .scenarios import chat, completions, embeddings, messages, tools
from .scenarios.load import ANSWERS

# The generator's references: each request has its own, and asks for it to be repeated.
REFERENCE = re.compile(r"gp-[0-9a-f]{8}-[0-9]{10}")
CROSS_TALK = "cross-talk"  # how the generator labels an answer with another request's reference


def _value(ask: Ask) -> Mapping[str, Any]:
    value = ask.value
    return value if isinstance(value, dict) else {}


def _is_chat(ask: Ask, *, stream: bool, tools: bool) -> bool:
    """Tell whether a request is for chat, with or without tools, and for one choice."""
    value = _value(ask)
    return (
        ask.path == chat.PATH
        and (value.get("stream") is True) is stream
        and bool(value.get("tools")) is tools
        and value.get("n", 1) == 1
        and "logprobs" not in value
        and "response_format" not in value
    )


def _wants_usage(ask: Ask) -> bool:
    options = _value(ask).get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _forced(ask: Ask) -> bool:
    return isinstance(_value(ask).get("tool_choice"), dict)


def _bounded(ask: Ask) -> bool:
    return not _value(ask).keys().isdisjoint({"max_tokens", "max_completion_tokens"})


def _speaks(path: str, *, stream: bool) -> Callable[[Ask], bool]:
    def fits(ask: Ask) -> bool:
        return ask.path == path and (_value(ask).get("stream") is True) is stream

    return fits


# Usage is asked for, so that it must come; and the same stream holds all other checks of streams.
like(
    "chat-stream with usage",
    lambda ask: _is_chat(ask, stream=True, tools=False) and _wants_usage(ask),
    reads=[chat.STREAM_USAGE, chat.STREAM, chat.EVENTS],
    without=["chat.usage.only-if-asked"],
)
like(
    "chat-stream",
    lambda ask: _is_chat(ask, stream=True, tools=False),
    reads=[chat.STREAM, chat.EVENTS],
)
like("chat", lambda ask: _is_chat(ask, stream=False, tools=False), reads=[chat.PLAIN])

# These look for the scenario's own function and its parameters; a call has no text to be counted.
_OWN_FUNCTION = ("tool.choice.named", "tool.args.schema", "usage.counted")
# Arguments that a bound on the answer cut off are no JSON, and rightly so.
_CUT = ("tool.args.concat-json",)
# What only a call left to the model shows.
_OF_AUTO = ("tool.finish.auto", "chat.usage.only-if-asked")


def _calls(*, stream: bool, bounded: bool) -> Callable[[Ask], bool]:
    def fits(ask: Ask) -> bool:
        return (
            _is_chat(ask, stream=stream, tools=True) and _forced(ask) and _bounded(ask) is bounded
        )

    return fits


for _name, _without in (("", ()), (", bounded", _CUT)):
    like(
        f"tools-stream{_name}",
        _calls(stream=True, bounded=bool(_without)),
        reads=[tools.FORCED_STREAM, tools.AUTO_STREAM, chat.STREAM],
        without=[*_OWN_FUNCTION, *_OF_AUTO, *_without],
    )
    like(
        f"tools{_name}",
        _calls(stream=False, bounded=bool(_without)),
        reads=[tools.FORCED, chat.PLAIN],
        without=[*_OWN_FUNCTION, *_without],
    )
like("messages-stream", _speaks(messages.PATH, stream=True), reads=[messages.STREAM])
like("messages", _speaks(messages.PATH, stream=False), reads=[messages.PLAIN])
like("embeddings", _speaks(embeddings.PATH, stream=False), reads=[embeddings.LIST])
like("completions-stream", _speaks(completions.PATH, stream=True), reads=[completions.STREAM])


def _texts(value: object) -> Iterator[str]:
    """Iterate over the texts of a delta, in whatever member they stand."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)


def _said(exchange: Exchange) -> str:
    """Return what an answer says, its pieces joined; a piece of a member joins only its like."""
    if not exchange.events:
        response = exchange.response
        return response.body.decode("utf-8", errors="replace") if response else ""
    parts: dict[str, list[str]] = {}
    try:
        if speaks_messages(exchange):
            events = anthropic.stream(exchange).of("content_block_delta")
            deltas = [event.member("delta") for event in events]
        else:
            chunks = openai.stream(exchange).chunks
            deltas = [c.get("delta", c) for chunk in chunks for c in chunk.choices]
    except Untestable:
        return ""
    for delta in deltas:
        for name, member in (delta if isinstance(delta, dict) else {}).items():
            parts.setdefault(name, []).extend(_texts(member))
    return "\n".join("".join(texts) for texts in parts.values())


@check("load.cross-talk", on=[ANSWERS])
def test_answers_stay_apart(seen: Transcript) -> str:
    """No answer holds what another request, sent at the same time, was answered."""
    flagged = seen.use.get("cross_talk")
    counted = isinstance(flagged, int) and flagged > 0
    in_all = f"; {flagged} answers of the whole run have another's" if counted else ""
    asked = [
        set(REFERENCE.findall(item.ask.body.decode("utf-8", "replace"))) for item in seen.exchanges
    ]
    owners = set().union(*asked)
    showed = 0
    for (at, exchange), own in zip(each(seen), asked, strict=True):
        found = set(REFERENCE.findall(_said(exchange)))
        showed += bool(found & own)
        # A model may copy its own reference wrongly: only one that was sent, or that the generator
        # knows by its check digits, is another's.
        foreign = found - own
        if foreign & owners or (foreign and exchange.ask.label == CROSS_TALK):
            raise Finding(
                wanted=f"the reference {min(own, default='of this request')} alone",
                got=f"{', '.join(sorted(foreign))}, which another request was sent with{in_all}",
                at=at,
            )
    if counted:
        raise Finding(
            wanted="each answer with its own reference alone",
            got=f"{flagged} answers with another's; none of them is among the sampled ones",
            at=Place(),
        )
    if not owners:
        raise Untestable("no request that was kept carries a reference")
    if all(item.ask.path == embeddings.PATH for item in seen.exchanges):
        raise Inconclusive("vectors repeat no reference: only answers with text show cross-talk")
    if not showed:
        raise Inconclusive("no answer repeats the reference that it was asked to repeat")
    return f"{showed} of {len(seen)} sampled answers repeat their own reference"
