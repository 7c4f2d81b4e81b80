"""Chat completions, streamed and not: the few requests that most checks share.

Every prompt is cheap and says what to answer, so that any chat model can do it, and so that a
difference between two answers is the gateway's. Bounds and temperatures are sent only where they
are what is tested, because some models refuse them.
"""

from typing import Any

from gateproof.scenario import Scenario, Steps, Use, scenario
from gateproof.transcript import Ask

__all__ = [
    "AGAIN",
    "BOUND",
    "CUT",
    "CUT_NEW",
    "CUT_STREAM",
    "EVENTS",
    "HISTORY",
    "JSON_OBJECT",
    "JSON_SCHEMA",
    "LOGPROBS",
    "LOGPROBS_STREAM",
    "N_STREAM",
    "PARTS",
    "PLAIN",
    "RANGE_ENDS",
    "RANGE_OUTSIDE",
    "SCHEMA",
    "SEPARATED",
    "SEPARATORS",
    "STOP",
    "STOP_PROMPT",
    "STOP_STREAM",
    "STREAM",
    "STREAM_ALONE",
    "STREAM_USAGE",
    "SYSTEM",
    "TEXT",
    "UNKNOWN_PARAM",
    "N",
    "ask_chat",
]

PATH = "/chat/completions"

# Characters of two, three and four bytes, and enough of them for some twenty chunks.
TEXT = (
    "The café on the pier opened at 7:30. Seven gulls sat in a row, naïve and hungry. "
    "東京 is far from here, the keeper said, and poured another cup. "
    "Nobody answered, the sea was calm, and the day had only begun. 🙂 Then the bell rang twice."
)
SEPARATED = "one\u2028two\u2029three\u0085four"
STOP_PROMPT = "Repeat exactly: alpha bravo charlie ENDMARK delta echo"
BOUND = 8
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "population": {"type": "integer"},
        "coastal": {"type": "boolean"},
    },
    "required": ["city", "population", "coastal"],
    "additionalProperties": False,
}


def ask_chat(
    use: Use,
    prompt: Any,
    *,
    label: str = "",
    headers: Any = (),
    auth: str = "key",
    **more: Any,
) -> Ask:
    """Build a chat request: one user message (or the messages given), and further members."""
    messages = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    model = more.pop("model", None) or use.model("chat")
    value = {"model": model, "messages": messages, **more}
    return Ask.json(PATH, value, label=label, headers=headers, auth=auth)


def _one(
    name: str, says: str, prompt: Any, *needs: str, alone: bool = False, **more: Any
) -> Scenario:
    """Register a scenario of one chat request."""

    def steps(use: Use) -> Steps:
        yield ask_chat(use, prompt, **more)

    steps.__doc__ = says
    steps.__qualname__ = name
    return scenario(name, needs=needs, alone=alone)(steps)


_REPEAT = f"Repeat exactly: {TEXT}"
_COUNT = "Count from 1 to 100"
_USAGE = {"include_usage": True}

PLAIN = _one("chat.plain", "One user message, not streamed.", _REPEAT, "chat")
AGAIN = _one("chat.plain-again", "The same request once more.", _REPEAT, "chat")
STREAM = _one("chat.stream", "The same request, streamed.", _REPEAT, "chat.stream", stream=True)
STREAM_ALONE = _one(
    "chat.stream-alone", "The same request, streamed with nothing else in flight.", _REPEAT,
    "chat.stream", alone=True, stream=True,
)  # fmt: skip
STREAM_USAGE = _one(
    "chat.stream-usage", "The same request, streamed with usage.", _REPEAT, "chat.stream.usage",
    stream=True, stream_options=_USAGE,
)  # fmt: skip
EVENTS = _one(
    "chat.stream-accept", "A stream asked for with Accept: text/event-stream.",
    "Say hello in one word.", "chat.stream",
    stream=True, headers=(("accept", "text/event-stream"),),
)  # fmt: skip
SEPARATORS = _one(
    "chat.stream-separators", "A streamed text with line separators that are no line ends of SSE.",
    f"Repeat exactly: {SEPARATED}", "chat.stream", stream=True,
)  # fmt: skip
SYSTEM = _one(
    "chat.system", "A system message before the user's.",
    [
        {"role": "system", "content": "You answer in one word."},
        {"role": "user", "content": "Say hello."},
    ],
    "chat.system",
)  # fmt: skip
HISTORY = _one(
    "chat.history", "A history of user and assistant messages.",
    [
        {"role": "user", "content": "Remember code = 4711. Say OK."},
        {"role": "assistant", "content": "OK."},
        {"role": "user", "content": "Recall code. Answer with the number alone."},
    ],
    "chat.multi-turn",
)  # fmt: skip
PARTS = _one(
    "chat.parts", "The plain request with its text in two parts of content.",
    [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": _REPEAT[:60]},
                {"type": "text", "text": _REPEAT[60:]},
            ],
        }
    ],
    "chat.multi-turn",
)  # fmt: skip
CUT = _one(
    "chat.cut", "More asked for than max_tokens allows.", _COUNT, "chat.max-tokens",
    max_tokens=BOUND,
)  # fmt: skip
CUT_NEW = _one(
    "chat.cut-new-name", "More asked for than max_completion_tokens allows.", _COUNT,
    "chat.max-tokens", max_completion_tokens=BOUND,
)  # fmt: skip
CUT_STREAM = _one(
    "chat.cut-stream", "More asked for than max_tokens allows, streamed.", _COUNT,
    "chat.max-tokens", "chat.stream", max_tokens=BOUND, stream=True,
)  # fmt: skip
N = _one("chat.n", "Two choices.", "Say hello in one word.", "chat.n", n=2)
N_STREAM = _one(
    "chat.n-stream", "Two choices, streamed.", "Say hello in one word.", "chat.n", "chat.stream",
    n=2, stream=True,
)  # fmt: skip
STOP = _one("chat.stop", "A stop string in the answer.", STOP_PROMPT, "chat.stop", stop=["ENDMARK"])
STOP_STREAM = _one(
    "chat.stop-stream", "A stop string in a streamed answer.", STOP_PROMPT,
    "chat.stop", "chat.stream", stop="ENDMARK", stream=True,
)  # fmt: skip
JSON_OBJECT = _one(
    "chat.json-object", "An answer forced to be a JSON object.",
    "Answer with a JSON object that has the member city, the capital of France.",
    "chat.json-object", response_format={"type": "json_object"},
)  # fmt: skip
JSON_SCHEMA = _one(
    "chat.json-schema", "An answer forced into a JSON schema.",
    "Describe Lisbon: its name, roughly how many people live there, and whether it is coastal.",
    "chat.json-schema",
    response_format={
        "type": "json_schema",
        "json_schema": {"name": "city", "strict": True, "schema": SCHEMA},
    },
)  # fmt: skip
LOGPROBS = _one(
    "chat.logprobs", "Log probabilities with two alternatives.", "Say hello in one word.",
    "chat.logprobs", logprobs=True, top_logprobs=2,
)  # fmt: skip
LOGPROBS_STREAM = _one(
    "chat.logprobs-stream", "Log probabilities, streamed.", "Say hello in one word.",
    "chat.logprobs", "chat.stream", logprobs=True, stream=True,
)  # fmt: skip
UNKNOWN_PARAM = _one(
    "chat.unknown-param", "A top-level field that no API has.", "Say hello in one word.", "chat",
    gateproof_unknown_field="ignored or refused",
)  # fmt: skip


def _each(use: Use, asked: list[tuple[str, Any]]) -> list[Ask]:
    return [
        ask_chat(use, "Say hello in one word.", label=f"{name}={value}", **{name: value})
        for name, value in asked
    ]


@scenario("chat.range-ends", needs=["chat"])
def RANGE_ENDS(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask at both ends of each documented range."""
    yield _each(
        use,
        [
            ("temperature", 0),
            ("temperature", 2),
            ("presence_penalty", -2),
            ("presence_penalty", 2),
            ("frequency_penalty", -2),
            ("frequency_penalty", 2),
        ],
    )


@scenario("chat.range-outside", needs=["chat", "errors"])
def RANGE_OUTSIDE(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask a little outside of each documented range."""
    yield _each(
        use,
        [
            ("temperature", -0.1),
            ("temperature", 2.1),
            ("presence_penalty", -2.1),
            ("presence_penalty", 2.1),
            ("frequency_penalty", -2.1),
            ("frequency_penalty", 2.1),
            ("top_p", 1.1),
            ("max_tokens", -5),
            ("max_tokens", 1.5),
        ],
    )
