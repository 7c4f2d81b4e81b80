"""Messages requests through the gateway to an upstream that we control and that misbehaves.

What ``upstream`` asks for in chat completions is asked for here in the other dialect. A gateway may
speak either dialect to its upstream: the bundled one understands both.
"""

from typing import Any

from gateproof.scenario import Steps, Use, scenario
from gateproof.transcript import Ask

from .messages import ask, body
from .upstream import (
    HOP_HEADER,
    ITL_MS,
    PACE,
    PAUSE_MS,
    TEXT,
    TOKENS,
    gathered,
    is_its_own_upstream,
    tag,
)

__all__ = [
    "CANCEL",
    "CODEPOINTS",
    "CUT",
    "HEADERS",
    "PACED",
    "PARAMETERS",
    "PLAIN",
    "SILENCE",
    "STALL",
]

_STREAMED = ("messages", "messages.stream", "upstream")


def _ask(
    use: Use, label: str, *behaviours: str, prompt: str = "", acts: Any = None, **changes: Any
) -> Ask:
    said = prompt or f"Repeat exactly: {TEXT}"
    model = use.upstream_model(*behaviours, use="messages")
    value = body(use, f"({tag(use.canary, label)}) {said}", model=model, **changes)
    return ask(value, label=label, **(acts or {}))


def _with_control(use: Use, *behaviours: str) -> list[Ask]:
    return [
        _ask(use, "control", stream=True),
        _ask(use, "stream", *behaviours, stream=True),
    ]


@scenario("messages.upstream-plain", needs=_STREAMED)
def PLAIN(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have a text repeated, without and with stream."""
    yield [_ask(use, "plain"), _ask(use, "stream", stream=True)]


@scenario("messages.upstream-parameters", needs=["messages", "upstream"])
def PARAMETERS(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Send the parameters that both dialects have, each with a value of our own.

    Not together: a later model of the upstream takes temperature or top_p, and refuses both.
    """
    yield [
        _ask(use, "temperature", temperature=0.25, max_tokens=123),
        _ask(use, "top_p", top_p=0.75, stop_sequences=["<gateproof-end>", "<gateproof-stop>"]),
    ]


@scenario("messages.upstream-cut", needs=_STREAMED)
def CUT(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream's connection closed, reset, or ended without a trace, in mid-stream."""
    yield [
        _ask(use, "cut", "cut", PACE, stream=True),
        _ask(use, "reset", "reset", PACE, stream=True),
        _ask(use, "ended", "cut", "close-delimited", PACE, stream=True),
    ]


@scenario("messages.upstream-silence", needs=_STREAMED, rounds=3)
def SILENCE(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream send nothing for two seconds before its first event."""
    yield _with_control(use, f"silence={PAUSE_MS}")


@scenario("messages.upstream-stall", needs=_STREAMED, rounds=3)
def STALL(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream stop for two seconds in mid-stream."""
    yield _with_control(use, f"stall={PAUSE_MS}")


@scenario("messages.upstream-codepoints", needs=_STREAMED)
def CODEPOINTS(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream divide code points between two writes."""
    yield _with_control(use, "split-codepoint")


@scenario("messages.upstream-paced", needs=_STREAMED, alone=True)
def PACED(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream send a token every 40 ms; ask again, twice at most, if it came gathered."""
    paced = (f"itl={ITL_MS}", f"tokens={TOKENS}")
    for label in ("first", "second", "third"):
        prompt = "Write a paragraph about the sea."
        made = yield _ask(use, label, *paced, prompt=prompt, stream=True)
        if not gathered(made):
            return


@scenario("messages.upstream-cancel", needs=_STREAMED)
def CANCEL(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Go away after six events of a stream that would last for half a minute."""
    prompt = "Write a long text about the sea."
    acts = {"cancel_after_events": 6}
    slow = ("itl=50", "tokens=600")
    yield _ask(use, "stream", *slow, prompt=prompt, acts=acts, stream=True, max_tokens=1000)


@scenario("messages.upstream-headers", needs=["messages", "upstream"])
def HEADERS(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Send a header that is for the gateway alone, because Connection names it."""
    if not is_its_own_upstream(use):
        made = _ask(use, "plain")
        more = (("connection", f"keep-alive, {HOP_HEADER}"), (HOP_HEADER, use.canary))
        yield Ask(path=made.path, headers=(*made.headers, *more), body=made.body, label="plain")
