"""One short answer and one stream of some length, to read HTTP itself from."""

from gateproof.scenario import Steps, Use, scenario
from gateproof.transcript import Ask

from .errors import CHAT, body

__all__ = ["LONG_STREAM", "SHORT"]


@scenario("http.short", needs=["chat"])
def SHORT(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask for a short answer."""
    yield Ask.json(CHAT, body(use))


@scenario("http.long-stream", needs=["chat.stream"])
def LONG_STREAM(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask for a stream of some length."""
    messages = [{"role": "user", "content": "Count from 1 to 40"}]
    yield Ask.json(CHAT, body(use, messages=messages, max_tokens=160, stream=True))
