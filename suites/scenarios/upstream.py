"""Requests through the gateway to an upstream that we control and that misbehaves as asked.

How the upstream behaves is part of the model's name, so it reaches the upstream through any
gateway that forwards the name; no name has a comma, because some gateways take one for the end.
Each message carries a tag (the scenario's canary and the
exchange's label), which joins the upstream's journal to the exchange.
The upstream does what it is told to the letter (``Repeat exactly: …``), so what differs at the
client was done by the gateway. Where the upstream is odd but legal, the same is asked without the
oddity (``control``): what differs between the two was done by the gateway's reader.
"""

import itertools
import json
from collections.abc import Mapping
from typing import Any, Protocol

from gateproof.scenario import Steps, Use, scenario
from gateproof.target import origin_of
from gateproof.transcript import Ask, Exchange

__all__ = [
    "APART_NS",
    "BURST",
    "CANCEL",
    "CANCEL_EARLY",
    "CODEPOINTS",
    "COMMENTS",
    "CONTEXT_LENGTH",
    "CRLF",
    "CUT",
    "EXTRA_FIELDS",
    "FINISH",
    "FINISHES",
    "HEADERS",
    "HOP_HEADER",
    "ITL_MS",
    "MALFORMED",
    "MESSAGES",
    "MIDSTREAM_ERROR",
    "MULTILINE",
    "ODD_ERRORS",
    "PACE",
    "PACED",
    "PARAMETERS",
    "PAUSE_MS",
    "PLAIN",
    "PRESTREAM_ERROR",
    "RATE_LIMITED",
    "REPEAT",
    "RETRY_AFTER_S",
    "SILENCE",
    "SPLIT",
    "STALL",
    "STATUSES",
    "STATUS_CODES",
    "TEXT",
    "TOKENS",
    "TOOLS",
    "TOOL_ARGUMENTS",
    "TOOL_RESULT",
    "USAGE",
    "USAGE_COUNTS",
    "WEATHER",
    "Asking",
    "gathered",
    "is_its_own_upstream",
    "tag",
    "tagged",
]

CHAT = "/chat/completions"
# Two-, three- and four-byte code points, a joined emoji, and nothing that a markdown or HTML
# filter might take for its own.
TEXT = "Grüße aus Köln, 東京 and Ελλάδα: naïve café, 100 % 🙂 👩‍🚀, the end"
REPEAT = f"Repeat exactly: {TEXT}"
PAUSE_MS = 2000  # a pause that any gateway must bear: reasoning models pause ten times as long
ITL_MS = 40
PACE = f"itl={ITL_MS}"
TOKENS = 25
APART_NS = 5_000_000  # chunks that come closer together than this came in one burst
BURST = 4  # as many in each burst as nobody takes for a smooth stream: 160 ms of silence between
RETRY_AFTER_S = 7  # what the upstream says of a 429
USAGE = (1234, 567)
STATUS_CODES = (400, 401, 403, 404, 429, 500, 503)
FINISHES = ("length", "content_filter")
HOP_HEADER = "x-gateproof-hop"
TOOL_ARGUMENTS = {"city": "Köln", "days": 3, "units": "metric", "note": 'a "quoted" \\ word'}
WEATHER: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer", "minimum": 1},
                "units": {"type": "string", "enum": ["metric", "imperial"]},
                "note": {"type": "string"},
            },
            "required": ["city"],
        },
    },
}
CLOCK: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "Tell the time of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def tag(canary: str, label: str) -> str:
    """Return the word that one exchange's message begins with."""
    return f"{canary}-{label}"


class Asking(Protocol):
    """Asks for one thing in one dialect: ``prompt`` is repeated text unless it says otherwise.

    ``acts`` are what the client does, and more headers, as ``Ask.json`` takes them.
    """

    def __call__(
        self,
        use: Use,
        label: str,
        *behaviours: str,
        prompt: str = ...,
        acts: Mapping[str, Any] | None = ...,
        **changes: Any,
    ) -> Ask:
        """Build the request."""


def tagged(use: Use, label: str, prompt: str) -> str:
    """Return a prompt behind the tag of its exchange."""
    return f"({tag(use.canary, label)}) {prompt}"


def _ask(
    use: Use,
    label: str,
    *behaviours: str,
    prompt: str = REPEAT,
    acts: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Ask:
    messages = [{"role": "user", "content": tagged(use, label, prompt)}]
    value = {"model": use.upstream_model(*behaviours), "messages": messages, **changes}
    return Ask.json(CHAT, value, label=label, **(acts or {}))


def _with_control(use: Use, *behaviours: str, ask: Asking = _ask, **changes: Any) -> list[Ask]:
    return [
        ask(use, "control", stream=True, **changes),
        ask(use, "stream", *behaviours, stream=True, **changes),
    ]


def is_its_own_upstream(use: Use) -> bool:
    """Tell whether target and upstream are one server, so that nothing is forwarded."""
    upstream = use.target.upstream
    return upstream is not None and origin_of(upstream.url) == use.target.origin


_STREAMED = ("upstream", "chat.stream")

# What takes ``ask`` is asked for in the other dialect too (``messages_upstream``).


@scenario("upstream.plain", needs=_STREAMED)
def PLAIN(use: Use, ask: Asking = _ask) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have a text repeated, without and with stream."""
    yield [ask(use, "plain"), ask(use, "stream", stream=True)]


@scenario("upstream.usage", needs=["upstream", "chat.stream.usage"])
def USAGE_COUNTS(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream report token counts of our choice."""
    counts = f"usage={USAGE[0]}:{USAGE[1]}"
    yield [
        _ask(use, "plain", counts),
        _ask(use, "stream", counts, stream=True, stream_options={"include_usage": True}),
    ]


@scenario("upstream.finish", needs=_STREAMED)
def FINISH(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream end with other finish reasons than stop."""
    yield [
        ask
        for reason in FINISHES
        for ask in (
            _ask(use, f"plain-{reason}", f"finish={reason}"),
            _ask(use, f"stream-{reason}", f"finish={reason}", stream=True),
        )
    ]


@scenario("upstream.messages", needs=["upstream", "chat.system", "chat.multi-turn"])
def MESSAGES(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Send a conversation of several turns."""
    word = tag(use.canary, "plain")
    messages = [
        {"role": "system", "content": "You answer briefly."},
        {"role": "user", "content": "Remember colour = indigo ✓"},
        {"role": "assistant", "content": "Noted: indigo."},
        {"role": "user", "content": "Remember number = 47"},
        {"role": "assistant", "content": "Noted: 47."},
        {"role": "user", "content": f"({word}) Recall colour"},
    ]
    yield Ask.json(CHAT, {"model": use.upstream_model(), "messages": messages}, label="plain")


@scenario("upstream.tool-result", needs=["upstream", "tools.roundtrip"])
def TOOL_RESULT(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Send a conversation in which a tool was called and gave its result."""
    call = {
        "id": "call_gateproof1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": json.dumps({"city": "Köln"})},
    }
    messages = [
        {"role": "user", "content": f"({tag(use.canary, 'plain')}) How is the weather in Köln?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "11 °C, light rain"},
    ]
    value = {"model": use.upstream_model(), "messages": messages, "tools": [WEATHER]}
    yield Ask.json(CHAT, value, label="plain")


@scenario("upstream.parameters", needs=["upstream", "chat"])
def PARAMETERS(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Send the parameters that the profile documents, each with a value of our own."""
    claims = use.profile.claims
    sampling: dict[str, Any] = {
        "temperature": 0.25,
        "top_p": 0.75,
        "frequency_penalty": 0.5,
        "presence_penalty": -0.5,
        "max_tokens": 123,
    }
    rest: dict[str, Any] = {}
    if "chat.stop" in claims:
        sampling["stop"] = ["<gateproof-end>", "<gateproof-stop>"]
    if "chat.n" in claims:
        rest["n"] = 2
    if "chat.logprobs" in claims:
        rest |= {"logprobs": True, "top_logprobs": 2}
    asks = [_ask(use, "sampling", **sampling)]
    if rest:
        asks.append(_ask(use, "rest", **rest))
    if "chat.json-object" in claims:
        asks.append(_ask(use, "json", response_format={"type": "json_object"}))
    yield asks


@scenario("upstream.tools", needs=["upstream", "tools.auto", "tools.stream"])
def TOOLS(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream call a tool, without and with stream."""
    yield [_tool_ask(use, "plain"), _tool_ask(use, "stream", stream=True)]


def _tool_ask(use: Use, label: str, **changes: Any) -> Ask:
    prompt = f"Call get_weather with {json.dumps(TOOL_ARGUMENTS, ensure_ascii=False)}"
    return _ask(use, label, prompt=prompt, tools=[WEATHER, CLOCK], tool_choice="auto", **changes)


@scenario("upstream.midstream-error", needs=_STREAMED)
def MIDSTREAM_ERROR(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream report an error in mid-stream."""
    yield _ask(use, "stream", "midstream-error", PACE, stream=True)


@scenario("upstream.cut", needs=_STREAMED)
def CUT(use: Use, ask: Asking = _ask) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream's connection closed, reset, or ended without a trace, in mid-stream.

    The upstream paces its tokens, so that some of them have reached the client before it fails.
    In the third answer only the events that are missing at its end tell that it was cut.
    """
    yield [
        ask(use, "cut", "cut", PACE, stream=True),
        ask(use, "reset", "reset", PACE, stream=True),
        ask(use, "ended", "cut", "close-delimited", PACE, stream=True),
    ]


@scenario("upstream.prestream-error", needs=_STREAMED)
def PRESTREAM_ERROR(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream fail before the first token of a stream."""
    yield _ask(use, "stream", "status=500", stream=True)


@scenario("upstream.statuses", needs=["upstream", "chat"], retry_429=False, rounds=7)
def STATUSES(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream refuse with one status after the other."""
    for status in STATUS_CODES:  # one at a time: a gateway may rest an upstream that fails often
        yield _ask(use, str(status), f"status={status}")


@scenario("upstream.rate-limited", needs=["upstream", "chat"], retry_429=False)
def RATE_LIMITED(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream refuse with 429 and a Retry-After of seven seconds."""
    yield _ask(use, "plain", "status=429")


@scenario("upstream.context-length", needs=["upstream", "chat"])
def CONTEXT_LENGTH(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream refuse a conversation as too long for its context."""
    yield _ask(use, "plain", "refuse")


@scenario("upstream.odd-errors", needs=["upstream", "chat"], retry_429=False)
def ODD_ERRORS(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream fail with an HTML page, and with an error that is only a text."""
    if not is_its_own_upstream(use):
        yield _ask(use, "page", "status=502", "error-html")
        yield _ask(use, "text", "status=400", "error-string")


@scenario("upstream.malformed", needs=["upstream", "chat"])
def MALFORMED(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream begin an answer with status 200, and break off within its JSON."""
    yield _ask(use, "cut", "cut")


@scenario("upstream.silence", needs=_STREAMED, rounds=3)
def SILENCE(use: Use, ask: Asking = _ask) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream send nothing for two seconds before its first event."""
    yield _with_control(use, f"silence={PAUSE_MS}", ask=ask)


@scenario("upstream.stall", needs=_STREAMED, rounds=3)
def STALL(use: Use, ask: Asking = _ask) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream stop for two seconds in mid-stream."""
    yield _with_control(use, f"stall={PAUSE_MS}", ask=ask)


@scenario("upstream.codepoints", needs=_STREAMED)
def CODEPOINTS(use: Use, ask: Asking = _ask) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream divide code points between two writes."""
    yield _with_control(use, "split-codepoint", ask=ask)


@scenario("upstream.crlf", needs=_STREAMED)
def CRLF(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream end its lines with CRLF."""
    yield _with_control(use, "crlf")


@scenario("upstream.comments", needs=_STREAMED)
def COMMENTS(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream send comments between its events."""
    yield _with_control(use, "comments")


@scenario("upstream.extra-fields", needs=_STREAMED)
def EXTRA_FIELDS(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream add members that nobody knows."""
    yield [
        _ask(use, "control-plain"),
        *_with_control(use, "extra-fields"),
        _ask(use, "plain", "extra-fields"),
    ]


@scenario("upstream.multiline-data", needs=_STREAMED)
def MULTILINE(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream spread the JSON of an event over several data lines."""
    yield _with_control(use, "multi-line-data")


@scenario("upstream.split-writes", needs=_STREAMED)
def SPLIT(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream write one byte at a time, and several events in one write."""
    yield [
        # Each byte is a read of its own for whoever records it: a few tokens are enough.
        *_with_control(use, "one-byte-writes", max_tokens=8),
        _ask(use, "coalesced", "coalesced", stream=True, max_tokens=8),
    ]


def gathered(made: Exchange) -> bool:
    """Tell whether a paced answer came at once or in bursts, so that it is asked for again."""
    times = [read.at_ns for read in made.received]
    apart = sum(later - earlier >= APART_NS for earlier, later in itertools.pairwise(times))
    long = bool(times) and times[-1] - times[0] >= (TOKENS - 2) * ITL_MS * 1_000_000
    return not long or apart <= TOKENS // 2


@scenario("upstream.paced", needs=_STREAMED, alone=True)
def PACED(use: Use, ask: Asking = _ask) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream send a token every 40 ms; ask again, twice at most, if it came gathered.

    A gateway that gathers does so each time; a machine that was busy for a second does not.
    """
    prompt = "Write a paragraph about the sea."
    for label in ("first", "second", "third"):
        made = yield ask(use, label, PACE, f"tokens={TOKENS}", prompt=prompt, stream=True)
        if not gathered(made):
            return


@scenario("upstream.cancel", needs=_STREAMED)
def CANCEL(use: Use, ask: Asking = _ask) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Go away after six events of a stream that would last for half a minute."""
    prompt = "Write a long text about the sea."
    acts = {"cancel_after_events": 6}
    slow = ("itl=50", "tokens=600")
    yield ask(use, "stream", *slow, prompt=prompt, acts=acts, stream=True, max_tokens=1000)


@scenario("upstream.cancel-early", needs=_STREAMED)
def CANCEL_EARLY(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Go away a second after asking an upstream that thinks for half a minute."""
    yield _ask(use, "stream", "ttft=30000", stream=True, acts={"cancel_after_s": 1.0})


@scenario("upstream.headers", needs=["upstream", "chat"])
def HEADERS(use: Use, ask: Asking = _ask) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Send a header that is for the gateway alone, because Connection names it."""
    if not is_its_own_upstream(use):
        headers = (("connection", f"keep-alive, {HOP_HEADER}"), (HOP_HEADER, use.canary))
        yield ask(use, "plain", acts={"headers": headers})
