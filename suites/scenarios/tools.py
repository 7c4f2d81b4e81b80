"""Tool calls: forced, required, forbidden, left to the model, parallel, and answered."""

from collections.abc import Mapping
from typing import Any

from gateproof.check import Untestable
from gateproof.dialects.openai import choices, completion, objects
from gateproof.scenario import Scenario, Steps, Unanswered, Use, scenario
from gateproof.transcript import Ask, Exchange

from .chat import ask_chat

__all__ = [
    "AUTO",
    "AUTO_STREAM",
    "EMPTY",
    "FORCED",
    "FORCED_STREAM",
    "NONE",
    "NONE_STREAM",
    "PARALLEL",
    "PARALLEL_OFF",
    "PARALLEL_STREAM",
    "REQUIRED",
    "REQUIRED_STREAM",
    "ROUND_TRIP",
    "WEATHER",
]

WEATHER: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Returns the weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "The city's name."}},
            "required": ["city"],
        },
    },
}
CLOCK: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "Returns the time of day.",
        "parameters": {"type": "object", "properties": {}},
    },
}
_NAMED = {"type": "function", "function": {"name": "get_weather"}}
_ASKED = "What is the weather in Paris?"
_CALL = 'Call get_weather with {"city": "Paris"}'
_CALLS = (
    "Make these two calls at once, in one answer:\n"
    f'{_CALL}\nCall get_weather with {{"city": "Oslo"}}'
)


def _ask(use: Use, prompt: Any, *, label: str = "", **more: Any) -> Ask:
    return ask_chat(
        use, prompt, label=label, model=use.model("tools"), **{"tools": [WEATHER], **more}
    )


def _one(name: str, says: str, prompt: str, *needs: str, **more: Any) -> Scenario:
    """Register a scenario of one request with tools."""

    def steps(use: Use) -> Steps:
        yield _ask(use, prompt, **more)

    steps.__doc__ = says
    steps.__qualname__ = name
    return scenario(name, needs=["tools", *needs])(steps)


def _two(name: str, says: str, prompt: str, *needs: str, **more: Any) -> tuple[Scenario, Scenario]:
    """Register a scenario of one request, and the same streamed."""
    plain = _one(name, f"{says}.", prompt, *needs, **more)
    needs = (*needs, "tools.stream")
    return plain, _one(f"{name}-stream", f"{says}, streamed.", prompt, *needs, stream=True, **more)


FORCED, FORCED_STREAM = _two(
    "tools.forced", "A call of one of two functions, forced by its name", _ASKED, "tools.forced",
    tools=[CLOCK, WEATHER], tool_choice=_NAMED,
)  # fmt: skip
EMPTY = _one(
    "tools.empty", "A forced call of a function without parameters.", "What time is it?",
    "tools.forced", tools=[CLOCK],
    tool_choice={"type": "function", "function": {"name": "get_time"}},
)  # fmt: skip
REQUIRED, REQUIRED_STREAM = _two(
    "tools.required", "A call required, whichever", _ASKED, "tools.required",
    tool_choice="required",
)  # fmt: skip
NONE, NONE_STREAM = _two(
    "tools.none", "Calls forbidden, though the prompt asks for one", _CALL, "tools.none",
    tool_choice="none",
)  # fmt: skip
AUTO, AUTO_STREAM = _two(
    "tools.auto", "A call left to the model, which is asked for one", _CALL, "tools.auto",
    tool_choice="auto",
)  # fmt: skip
PARALLEL, PARALLEL_STREAM = _two(
    "tools.parallel", "Two calls in one answer", _CALLS, "tools.parallel", tool_choice="auto"
)
PARALLEL_OFF = _one(
    "tools.parallel-off", "Two calls asked for, and parallel calls switched off.", _CALLS,
    "tools.parallel", tool_choice="auto", parallel_tool_calls=False,
)  # fmt: skip


@scenario("tools.round-trip", needs=["tools.forced", "tools.roundtrip"], rounds=2)
def ROUND_TRIP(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Force a call, then answer it: in the history its content is once empty, once null."""
    first: Exchange = yield _ask(use, _ASKED, label="call", tool_choice=_NAMED)
    calls = _calls(first)
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": "18 degrees and sunny"}
        for call in calls
    ]
    yield [
        _ask(
            use,
            [
                {"role": "user", "content": _ASKED},
                {"role": "assistant", "content": content, "tool_calls": calls},
                *results,
            ],
            label=label,
        )
        for label, content in (("empty", ""), ("null", None))
    ]


def _calls(exchange: Exchange) -> list[dict[str, Any]]:
    """Return the calls of an answer as they go into the history."""
    try:
        said = choices(completion(exchange))[0].get("message")
    except Untestable as reason:
        raise Unanswered(f"the first turn gave no answer: {reason}") from None
    found = []
    for call in objects(said.get("tool_calls") if isinstance(said, dict) else None):
        function = call.get("function")
        if isinstance(function, dict) and isinstance(call.get("id"), str):
            arguments = function.get("arguments")
            found.append(
                {
                    "id": call["id"],
                    "type": "function",
                    "function": {
                        "name": function.get("name"),
                        "arguments": arguments if isinstance(arguments, str) else "{}",
                    },
                }
            )
    if not found:
        raise Unanswered("the first turn holds no tool call that could be answered")
    return found
