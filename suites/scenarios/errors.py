"""Requests that a gateway must refuse: without a key, against the schema, for a model that is not.

Each mistake is a scenario of its own, so that a check names what it was made on. Every request is
wrong in one way only, and none of them costs a token where it is refused.
"""

from collections.abc import Mapping
from typing import Any

from gateproof.scenario import Steps, Use, scenario
from gateproof.transcript import Ask

__all__ = [
    "EMPTY_MESSAGES",
    "LONE_SURROGATE",
    "LONG_REQUEST_ID",
    "MALFORMED_AUTH",
    "MALFORMED_JSON",
    "MISSING_MESSAGES",
    "MISSING_MODEL",
    "MODELS_NO_KEY",
    "NO_KEY",
    "ORPHAN_TOOL_MESSAGE",
    "TEXT_PLAIN",
    "UNKNOWN_MODEL",
    "UNKNOWN_PATH",
    "WRONG_KEY",
    "WRONG_METHOD",
    "WRONG_TYPES",
]

CHAT = "/chat/completions"
# A name that no provider serves; the digits keep it from being taken for a family of models.
NO_SUCH_MODEL = "gateproof-no-such-model-7c1e"
LONG_ID = "gateproof-" + "0123456789abcdef" * 256  # 4 KiB: within what servers take as one header


def body(use: Use, **changes: Any) -> dict[str, Any]:
    """Return a small chat request that is right, with members changed or, by None, left out."""
    value: dict[str, Any] = {
        "model": use.model(),
        "messages": [{"role": "user", "content": "Repeat exactly: ok"}],
        "max_tokens": 16,
        **changes,
    }
    return {name: member for name, member in value.items() if member is not None}


def both_modes(value: Mapping[str, Any]) -> list[Ask]:
    """Return a request without and with stream, labelled ``plain`` and ``stream``."""
    return [
        Ask.json(CHAT, value, label="plain"),
        Ask.json(CHAT, {**value, "stream": True}, label="stream"),
    ]


@scenario("errors.no-key", needs=["chat", "auth"])
def NO_KEY(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask for a chat completion without an Authorization header."""
    yield Ask.json(CHAT, body(use), auth="none")


@scenario("errors.wrong-key", needs=["chat", "auth"])
def WRONG_KEY(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask for a chat completion with a key that nobody was given."""
    yield Ask.json(CHAT, body(use), auth="wrong")


@scenario("errors.malformed-auth", needs=["chat", "auth"])
def MALFORMED_AUTH(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask with Authorization headers that carry no bearer token."""
    yield [
        Ask.json(CHAT, body(use), auth="Bearer", label="no token"),
        Ask.json(CHAT, body(use), auth="Basic Z2F0ZXByb29mOg==", label="other scheme"),
        Ask.json(CHAT, body(use), auth="gateproof", label="no scheme"),
    ]


@scenario("errors.models-no-key", needs=["models", "auth"])
def MODELS_NO_KEY(use: Use) -> Steps:  # noqa: N802, ARG001  # a constant; the path says all
    """Ask for the list of models without a key."""
    yield Ask(method="GET", path="/models", auth="none")


@scenario("errors.malformed-json", needs=["chat", "errors"])
def MALFORMED_JSON(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Send a body that ends in the middle of its JSON."""
    whole = Ask.json(CHAT, body(use))
    yield Ask(path=CHAT, headers=whole.headers, body=whole.body[:-9])


@scenario("errors.text-plain", needs=["chat", "errors"])
def TEXT_PLAIN(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Send a right body as text/plain, and without a content type."""
    whole = Ask.json(CHAT, body(use))
    yield [
        Ask(path=CHAT, headers=(("content-type", "text/plain"),), body=whole.body, label="text"),
        Ask(path=CHAT, body=whole.body, label="none"),
    ]


@scenario("errors.missing-model", needs=["chat", "errors"])
def MISSING_MODEL(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Leave out the model, without and with stream."""
    yield both_modes(body(use, model=None))


@scenario("errors.missing-messages", needs=["chat", "errors"])
def MISSING_MESSAGES(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Leave out the messages, without and with stream."""
    yield both_modes(body(use, messages=None))


@scenario("errors.empty-messages", needs=["chat", "errors"])
def EMPTY_MESSAGES(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Send an empty list of messages."""
    yield Ask.json(CHAT, body(use, messages=[]))


@scenario("errors.wrong-types", needs=["chat", "errors"])
def WRONG_TYPES(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Send members of a wrong type, one at a time."""
    yield [
        Ask.json(CHAT, body(use, messages="Repeat exactly: ok"), label="messages a string"),
        Ask.json(CHAT, body(use, messages=["Repeat exactly: ok"]), label="a message a string"),
        Ask.json(
            CHAT, body(use, messages=[{"role": "user", "content": 7}]), label="content a number"
        ),
        Ask.json(CHAT, body(use, temperature="hot"), label="temperature a word"),
        Ask.json(CHAT, body(use, max_tokens={"limit": 16}), label="max_tokens an object"),
    ]


@scenario("errors.unknown-model", needs=["chat", "errors"])
def UNKNOWN_MODEL(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask for a model that nobody serves, without and with stream."""
    yield both_modes(body(use, model=NO_SUCH_MODEL))


@scenario("errors.orphan-tool-message", needs=["chat", "errors", "tools.roundtrip"])
def ORPHAN_TOOL_MESSAGE(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Send a tool's result to which no call belongs."""
    orphan = {"role": "tool", "tool_call_id": "call_gateproof_orphan", "content": "42"}
    messages = [{"role": "user", "content": "Repeat exactly: ok"}, orphan]
    yield Ask.json(CHAT, body(use, model=use.model("tools"), messages=messages))


@scenario("errors.lone-surrogate", needs=["chat", "errors"])
def LONE_SURROGATE(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    r"""Send a message with half a surrogate pair, written as the escape \ud83d."""
    whole = Ask.json(CHAT, body(use))
    yield Ask(path=CHAT, headers=whole.headers, body=whole.body.replace(b": ok", rb": \ud83d ok"))


@scenario("errors.unknown-path", needs=["errors"])
def UNKNOWN_PATH(use: Use) -> Steps:  # noqa: N802, ARG001  # a constant; the path says all
    """Post to a route that does not exist."""
    yield Ask.json("/gateproof/no-such-route", {})


@scenario("errors.wrong-method", needs=["chat", "errors"])
def WRONG_METHOD(use: Use) -> Steps:  # noqa: N802, ARG001  # a constant; the path says all
    """Get the chat route."""
    yield Ask(method="GET", path=CHAT)


@scenario("errors.long-request-id", needs=["errors"])
def LONG_REQUEST_ID(use: Use) -> Steps:  # noqa: N802, ARG001  # a constant; costs no tokens
    """Send an empty chat request under a request id of 4 KiB."""
    yield Ask.json(CHAT, {}, headers=(("x-request-id", LONG_ID),))
