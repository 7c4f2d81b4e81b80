"""Tool calls: forced, free, forbidden, parallel, answered and streamed."""

import json

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

MODEL = "gpt-4o-mini"


class Weather(BaseModel):
    """Tell the weather of a city."""

    city: str
    days: int


class Clock(BaseModel):
    """Tell the time of a zone."""

    zone: str


TOOLS = [openai.pydantic_function_tool(Weather), openai.pydantic_function_tool(Clock)]
BOTH = 'Call Weather with {"city": "Zürich", "days": 2} and Call Clock with {"zone": "UTC"}'


def ask(text):
    """Return the messages of one question."""
    return [{"role": "user", "content": text}]


def calls_of(answer):
    """Return the calls of an answer by name and arguments."""
    return [
        (call.function.name, json.loads(call.function.arguments))
        for call in answer.choices[0].message.tool_calls or ()
    ]


def test_forced_call_fits_its_schema(client: OpenAI) -> None:
    """A call that is forced by name has arguments of the function's schema."""
    answer = client.chat.completions.create(
        model=MODEL, messages=ask("Hello"), tools=TOOLS,
        tool_choice={"type": "function", "function": {"name": "Clock"}},
    )  # fmt: skip

    ((name, arguments),) = calls_of(answer)
    assert name == "Clock"
    assert Clock(**arguments)
    assert answer.choices[0].message.tool_calls[0].type == "function"
    assert answer.choices[0].message.content is None


@pytest.mark.parametrize(
    ("choice", "text", "names"),
    [
        ("required", "Hello", ["Weather"]),
        ("auto", BOTH, ["Weather", "Clock"]),
        ("auto", "Hello", []),
        ("none", BOTH, []),
    ],
    ids=["required", "auto", "auto-without-need", "none"],
)
def test_choice_is_obeyed(client: OpenAI, choice: str, text: str, names: list[str]) -> None:
    """The tool choice decides whether tools are called."""
    answer = client.chat.completions.create(
        model=MODEL, messages=ask(text), tools=TOOLS, tool_choice=choice
    )

    assert [name for name, _ in calls_of(answer)] == names
    assert answer.choices[0].finish_reason == ("tool_calls" if names else "stop")


def test_parallel_calls_can_be_forbidden(client: OpenAI) -> None:
    """Without parallel calls there is one."""
    answer = client.chat.completions.create(
        model=MODEL, messages=ask(BOTH), tools=TOOLS, parallel_tool_calls=False
    )

    assert calls_of(answer) == [("Weather", {"city": "Zürich", "days": 2})]


def test_round_trip(client: OpenAI) -> None:
    """Calls go back with their results as the client's own objects, and are answered."""
    asked = client.chat.completions.create(model=MODEL, messages=ask(BOTH), tools=TOOLS)
    message = asked.choices[0].message
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": f"result {number}"}
        for number, call in enumerate(message.tool_calls)
    ]
    answer = client.chat.completions.create(
        model=MODEL, messages=[*ask(BOTH), message, *results], tools=TOOLS
    )

    text = answer.choices[0].message.content
    assert "result 0" in text
    assert "result 1" in text


def test_accumulator_joins_streamed_calls(client: OpenAI) -> None:
    """Parallel calls of a stream are joined by the client's accumulator, and parsed."""
    whole = client.chat.completions.create(model=MODEL, messages=ask(BOTH), tools=TOOLS)
    with client.chat.completions.stream(model=MODEL, messages=ask(BOTH), tools=TOOLS) as stream:
        events = list(stream)
        final = stream.get_final_completion()

    calls = final.choices[0].message.tool_calls
    assert [call.function.parsed_arguments for call in calls] == [
        Weather(city="Zürich", days=2),
        Clock(zone="UTC"),
    ]
    assert calls_of(final) == calls_of(whole)
    done = [event.name for event in events if event.type == "tool_calls.function.arguments.done"]
    assert done == ["Weather", "Clock"]
    assert final.choices[0].finish_reason == "tool_calls"
    assert len({call.id for call in calls}) == 2


def test_parse_helper_reads_arguments(client: OpenAI) -> None:
    """The parse helper turns arguments into the model of the tool."""
    answer = client.chat.completions.parse(
        model=MODEL, messages=ask("Hello"), tools=TOOLS, tool_choice="required"
    )

    (call,) = answer.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Weather)
