"""Anthropic's Messages, streamed and not: the few requests that most of its checks share.

Every request says anthropic-version 2023-06-01, which the most clients send and every gateway
knows; the later version is asked for where it is what is tested. The key travels as the profile
takes it.
"""

from typing import Any

from gateproof.check import Inconclusive, Untestable
from gateproof.dialects.anthropic import blocks, message
from gateproof.scenario import Scenario, Steps, Unanswered, Use, scenario
from gateproof.transcript import Ask, Exchange

from .chat import SEPARATED, STOP_PROMPT, TEXT
from .errors import NO_SUCH_MODEL
from .upstream import tag

__all__ = [
    "AGAIN",
    "AUTH",
    "BOUND",
    "COUNT",
    "CUT",
    "HISTORY",
    "INCOMPLETE",
    "MODELS",
    "NO_MAX_TOKENS",
    "PLAIN",
    "REFUSED_KEYS",
    "ROUND_TRIP",
    "SEPARATORS",
    "STOP",
    "STREAM",
    "SYSTEM",
    "THINKING",
    "THREAD",
    "TOOL",
    "TOOLS_STREAM",
    "UNKNOWN_MODEL",
    "UPSTREAM_ERROR",
    "VERSIONS",
    "WEATHER",
]

PATH = "/messages"
VERSION = "2023-06-01"
NEWER_VERSION = "2026-10-21"
BOUND = 8
WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "description": "Returns the weather in a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "The city's name."}},
        "required": ["city"],
    },
}
_SENT_BACK = ("text", "tool_use", "thinking", "redacted_thinking")
_SHORT = "Say hello in one word."
_REPEAT = f"Repeat exactly: {TEXT}"
_ASKED = "What is the weather in Paris?"
_CALLS = (
    "Make these two calls at once, in one answer:\n"
    'Call get_weather with {"city": "Paris"}\nCall get_weather with {"city": "Oslo"}'
)


def body(use: Use, prompt: Any = _SHORT, **changes: Any) -> dict[str, Any]:
    """Return a request that is right, with members changed or, by None, left out."""
    messages = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    value: dict[str, Any] = {
        "model": use.model("messages"),
        "max_tokens": 256,
        "messages": messages,
        **changes,
    }
    return {name: member for name, member in value.items() if member is not None}


def ask(
    value: object,
    *,
    path: str = PATH,
    version: str | None = VERSION,
    headers: tuple[tuple[str, str], ...] = (),
    **more: Any,
) -> Ask:
    """Build a request with the header of the version, or without it."""
    own = (("anthropic-version", version),) if version else ()
    return Ask.json(path, value, headers=(*own, *headers), **more)


def both_modes(value: dict[str, Any]) -> list[Ask]:
    """Return a request without and with stream, labelled ``plain`` and ``stream``."""
    return [ask(value, label="plain"), ask({**value, "stream": True}, label="stream")]


def _one(name: str, says: str, prompt: Any, *needs: str, **more: Any) -> Scenario:
    """Register a scenario of one request."""

    def steps(use: Use) -> Steps:
        yield ask(body(use, prompt, **more))

    steps.__doc__ = says
    steps.__qualname__ = name
    return scenario(name, needs=["messages", *needs])(steps)


PLAIN = _one("messages.plain", "One user message, not streamed.", _REPEAT)
AGAIN = _one("messages.plain-again", "The same request once more.", _REPEAT)
STREAM = _one(
    "messages.stream", "The same request, streamed.", _REPEAT, "messages.stream", stream=True
)
SEPARATORS = _one(
    "messages.stream-separators",
    "A streamed text with line separators that are no line ends of SSE.",
    f"Repeat exactly: {SEPARATED}", "messages.stream", stream=True,
)  # fmt: skip
TOOL = _one(
    "messages.tool", "A tool forced by its name.", _ASKED, "messages.tools",
    tools=[WEATHER], tool_choice={"type": "tool", "name": "get_weather"},
)  # fmt: skip
TOOLS_STREAM = _one(
    "messages.tools-stream", "Two uses of a tool in one streamed answer.", _CALLS,
    "messages.tools", "messages.stream",
    tools=[WEATHER], tool_choice={"type": "any"}, stream=True,
)  # fmt: skip


@scenario("messages.stop", needs=["messages"])
def STOP(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Stop at a sequence in the answer."""
    yield ask(body(use, STOP_PROMPT, stop_sequences=["ENDMARK"]))


@scenario("messages.cut", needs=["messages"])
def CUT(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask for more than max_tokens allows."""
    yield ask(body(use, "Count from 1 to 100", max_tokens=BOUND))


@scenario("messages.system", needs=["messages"])
def SYSTEM(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Give the system prompt as a string, and as blocks."""
    told = "You answer in one word."
    yield [
        ask(body(use, system=told), label="a string"),
        ask(body(use, system=[{"type": "text", "text": told}]), label="blocks"),
    ]


@scenario("messages.history", needs=["messages"])
def HISTORY(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Send a history of three messages, as strings and as blocks."""
    said = (
        ("user", "Remember code = 4711. Say OK."),
        ("assistant", "OK."),
        ("user", "Recall code. Answer with the number alone."),
    )
    strings = [{"role": role, "content": text} for role, text in said]
    lists = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in said]
    yield [ask(body(use, strings), label="strings"), ask(body(use, lists), label="blocks")]


@scenario("messages.round-trip", needs=["messages", "messages.tools"])
def ROUND_TRIP(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Force the use of a tool, then send its result."""
    tools = {"tools": [WEATHER]}
    choice = {"type": "tool", "name": "get_weather"}
    first: Exchange = yield ask(body(use, _ASKED, **tools, tool_choice=choice), label="use")
    content = _content(first)
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": "18 degrees and sunny"}
        for block in content
        if block.get("type") == "tool_use" and isinstance(block.get("id"), str)
    ]
    if not results:
        raise Unanswered("the first turn holds no tool use that could be answered")
    turns = [
        {"role": "user", "content": _ASKED},
        {"role": "assistant", "content": content},
        {"role": "user", "content": results},
    ]
    yield ask(body(use, turns, **tools), label="result")


@scenario("messages.thinking", needs=["messages", "messages.thinking"], requests=2)
def THINKING(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask a model to think, and send its thoughts back with the next turn."""
    more = {
        "model": use.target.models.get("reasoning") or use.model("messages"),
        "max_tokens": 2048,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    first: Exchange = yield ask(body(use, "Which is more: 17 * 23 or 19 * 21?", **more))
    content = _content(first)
    if not any(block.get("type") == "thinking" for block in content):
        raise Unanswered("the first turn holds no thinking block")
    turns = [
        {"role": "user", "content": "Which is more: 17 * 23 or 19 * 21?"},
        {"role": "assistant", "content": content},
        {"role": "user", "content": _SHORT},
    ]
    yield ask(body(use, turns, **more), label="next turn")


def _content(exchange: Exchange) -> list[dict[str, Any]]:
    """Return an answer's blocks as they go into the history, those of types that are known."""
    try:
        return [dict(b) for b in blocks(message(exchange)) if b.get("type") in _SENT_BACK]
    except (Inconclusive, Untestable) as reason:
        raise Unanswered(f"the first turn gave no answer: {reason}") from None


@scenario("messages.unknown-model", needs=["messages"])
def UNKNOWN_MODEL(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask for a model that nobody serves, without and with stream."""
    asked = both_modes(body(use, model=NO_SUCH_MODEL))
    yield asked if "messages.stream" in use.profile.claims else asked[:1]


@scenario("messages.no-max-tokens", needs=["messages"])
def NO_MAX_TOKENS(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Leave out max_tokens."""
    yield ask(body(use, max_tokens=None))


@scenario("messages.incomplete", needs=["messages"])
def INCOMPLETE(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Leave out the model, leave out the messages, and send half a body."""
    whole = ask(body(use))
    yield [
        ask(body(use, model=None), label="no model"),
        ask(body(use, messages=None), label="no messages"),
        Ask(path=PATH, headers=whole.headers, body=whole.body[:-9], label="half a body"),
    ]


@scenario("messages.versions", needs=["messages"])
def VERSIONS(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask under both versions of the API that clients send, and under none."""
    value = body(use, max_tokens=16)
    yield [
        ask(value, version=VERSION, label=VERSION),
        ask(value, version=NEWER_VERSION, label=NEWER_VERSION),
        ask(value, version=None, label="none"),
    ]


@scenario("messages.thread", needs=["messages"])
def THREAD(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Send the newest message of a thread alone, as clients do that keep threads at the server."""
    value = body(use, max_tokens=16, thread={"id": f"thread_{use.canary}"})
    yield ask(value, version=NEWER_VERSION)


@scenario("messages.auth", needs=["messages", "auth"])
def AUTH(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Send the right key in both headers that clients put it in."""
    value = body(use, max_tokens=16)
    yield [
        ask(value, auth="key:x-api-key", label="x-api-key"),
        ask(value, auth="key:bearer", label="bearer"),
    ]


@scenario("messages.refused-keys", needs=["messages", "auth"])
def REFUSED_KEYS(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask with a key that nobody was given, in both headers, and with none."""
    value = body(use, max_tokens=16)
    yield [
        ask(value, auth="wrong:x-api-key", label="a wrong x-api-key"),
        ask(value, auth="wrong:bearer", label="a wrong bearer"),
        ask(value, auth="none", label="no key"),
    ]


@scenario("messages.count", needs=["messages", "messages.count-tokens"])
def COUNT(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Count the tokens of the plain request."""
    yield ask(body(use, _REPEAT, max_tokens=None), path=f"{PATH}/count_tokens")


@scenario("messages.models", needs=["messages.models"])
def MODELS(use: Use) -> Steps:  # noqa: N802, ARG001  # a constant; the path says all
    """Ask for the list of models."""
    yield Ask(method="GET", path="/models", headers=(("anthropic-version", VERSION),))


@scenario("messages.upstream-error", needs=["messages", "messages.stream", "upstream"])
def UPSTREAM_ERROR(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Stream from an upstream that fails after some tokens."""
    model = use.upstream_model("midstream-error=5")
    prompt = f"({tag(use.canary, 'stream')}) {_REPEAT}"
    yield ask(body(use, prompt, model=model, stream=True), label="stream")
