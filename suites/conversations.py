"""Generated conversations whose answers can be compared: the same request in three exchanges.

The first two have no stream and are equal, so that a target whose answers vary is known by them;
the third is the same request as a stream. Parameters are only those that the profile claims.
"""

from typing import Any

from gateproof.scenario import Use
from gateproof.transcript import Ask

from .generation import drawn
from .scenarios.errors import CHAT

__all__ = ["conversations"]

_WORDS = "ocean Grüße 東京 naïve 🙂 {} \\n \" ' <b> 100% é ñ ﬁ ½ \u2028 tab\tend"
FUNCTION = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Look a word up.",
        "parameters": {
            "type": "object",
            "properties": {"word": {"type": "string"}, "times": {"type": "integer"}},
            "required": ["word"],
            "additionalProperties": False,
        },
    },
}


def conversations(use: Use) -> list[Ask]:
    """Return generated chat requests, three asks each."""
    from hypothesis import strategies as st  # noqa: PLC0415  # costs a fifth of a second

    claims = use.profile.claims
    words = st.lists(st.sampled_from(_WORDS.split(" ")), min_size=1, max_size=12).map(" ".join)
    user = st.one_of(
        words.map("Repeat exactly: {}".format),
        st.integers(1, 40).map("Count from 1 to {}".format),
        words.map("Write one sentence with these words: {}".format),
    ).map(lambda text: {"role": "user", "content": text})
    histories: list[Any] = [st.tuples(user)]
    if "chat.system" in claims:
        system = words.map(lambda text: {"role": "system", "content": f"Answer briefly. {text}"})
        histories.append(st.tuples(system, user))
    if "chat.multi-turn" in claims:
        answer = words.map(lambda text: {"role": "assistant", "content": text})
        histories.append(st.tuples(user, answer, user))
    optional: dict[str, Any] = {}
    if "chat.max-tokens" in claims:
        optional["max_tokens"] = st.sampled_from([1, 2, 7, 40, 64])
    if "chat.stop" in claims:
        optional["stop"] = st.sampled_from(["7", "ocean", ["0", "end"]])
    if "tools.forced" in claims and "tools.stream" in claims:
        choice = {"type": "function", "function": {"name": "look_up"}}
        optional["tools"] = st.just([FUNCTION])
        optional["tool_choice"] = st.just(choice)
    bodies = st.fixed_dictionaries(
        {"model": st.just(use.model()), "messages": st.one_of(histories).map(list)},
        optional=optional,
    ).filter(lambda body: ("tools" in body) == ("tool_choice" in body))
    asks: list[Ask] = []
    seen: list[Any] = []
    for body in drawn(bodies, use.seed, use.cases):
        if body in seen or 3 * len(seen) >= use.cases:
            continue
        number = len(seen)
        seen.append(body)
        stream = {**body, "stream": True}
        if "chat.stream.usage" in claims:
            stream["stream_options"] = {"include_usage": True}
        asks += [
            Ask.json(CHAT, body, label=f"{number} plain"),
            Ask.json(CHAT, body, label=f"{number} again"),
            Ask.json(CHAT, stream, label=f"{number} stream"),
        ]
    return asks
