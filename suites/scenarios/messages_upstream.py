"""Messages requests through the gateway to an upstream that we control and that misbehaves.

What ``upstream`` asks for in chat completions is asked for here in the other dialect. A gateway may
speak either dialect to its upstream: the bundled one understands both.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

from gateproof.scenario import Scenario, Steps, Use, scenario
from gateproof.transcript import Ask

from . import upstream
from .messages import ask, body
from .upstream import REPEAT, Asking, tagged

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


def _ask(
    use: Use,
    label: str,
    *behaviours: str,
    prompt: str = REPEAT,
    acts: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Ask:
    model = use.upstream_model(*behaviours, use="messages")
    value = body(use, tagged(use, label, prompt), model=model, **changes)
    return ask(value, label=label, **(acts or {}))


def _in_messages(chat: Scenario) -> Scenario:
    """Register what is asked for in chat completions as a scenario that asks for Messages."""
    asked_by = cast("Callable[[Use, Asking], Steps]", chat.steps)

    def steps(use: Use) -> Steps:
        return asked_by(use, _ask)

    steps.__doc__, steps.__qualname__ = chat.says, chat.steps.__qualname__
    needs = ["messages", *(need.replace("chat", "messages") for need in chat.needs)]
    name = f"messages.{chat.name.replace('.', '-')}"
    return scenario(name, needs=needs, alone=chat.alone, rounds=chat.rounds)(steps)


PLAIN, CUT, SILENCE, STALL, CODEPOINTS, PACED, CANCEL, HEADERS = map(
    _in_messages,
    (
        upstream.PLAIN,
        upstream.CUT,
        upstream.SILENCE,
        upstream.STALL,
        upstream.CODEPOINTS,
        upstream.PACED,
        upstream.CANCEL,
        upstream.HEADERS,
    ),
)


@scenario("messages.upstream-parameters", needs=["messages", "upstream"])
def PARAMETERS(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Send the parameters that both dialects have, each with a value of our own.

    Not together: a later model of the upstream takes temperature or top_p, and refuses both.
    """
    yield [
        _ask(use, "temperature", temperature=0.25, max_tokens=123),
        _ask(use, "top_p", top_p=0.75, stop_sequences=["<gateproof-end>", "<gateproof-stop>"]),
    ]
