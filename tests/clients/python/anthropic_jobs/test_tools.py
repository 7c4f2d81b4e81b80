"""Tool use: forced, free, forbidden, parallel, answered, streamed, and run by the client."""

import anthropic
import pytest
from anthropic import Anthropic, beta_tool

MODEL = "claude-sonnet-4-6"
TOOLS = [
    {
        "name": "weather",
        "description": "Tell the weather of a city.",
        "input_schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
    {
        "name": "clock",
        "input_schema": {"type": "object", "properties": {"zone": {"type": "string"}}},
    },
]
BOTH = 'Call weather with {"city": "Zürich", "days": 2} and Call clock with {"zone": "UTC"}'


def ask(text, **more):
    """Return a request with one question and the tools."""
    messages = [{"role": "user", "content": text}]
    return {"model": MODEL, "max_tokens": 2000, "messages": messages, "tools": TOOLS, **more}


def uses_of(answer):
    """Return the tools that an answer uses, with their inputs."""
    return [(block.name, block.input) for block in answer.content if block.type == "tool_use"]


@pytest.mark.parametrize(
    ("choice", "text", "names"),
    [
        ({"type": "auto"}, BOTH, ["weather", "clock"]),
        ({"type": "auto"}, "Hello", []),
        ({"type": "auto", "disable_parallel_tool_use": True}, BOTH, ["weather"]),
        ({"type": "any"}, "Hello", ["weather"]),
        ({"type": "tool", "name": "clock"}, "Hello", ["clock"]),
        ({"type": "none"}, BOTH, []),
    ],
    ids=["auto", "auto-without-need", "not-parallel", "any", "tool", "none"],
)
def test_choice_is_obeyed(client: Anthropic, choice, text: str, names: list[str]) -> None:
    """The tool choice decides whether and which tools are used."""
    answer = client.messages.create(**ask(text, tool_choice=choice))

    assert [name for name, _ in uses_of(answer)] == names
    assert answer.stop_reason == ("tool_use" if names else "end_turn")


def test_forced_input_fits_its_schema(client: Anthropic) -> None:
    """The input of a forced use has the schema's members in their types."""
    answer = client.messages.create(**ask("Hi", tool_choice={"type": "tool", "name": "weather"}))

    ((_, given),) = uses_of(answer)
    assert {name: type(value) for name, value in given.items()} == {"city": str, "days": int}


def test_round_trip(client: Anthropic) -> None:
    """Uses go back as the client's own objects with their results, and are answered."""
    asked = client.messages.create(**ask(BOTH))
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": f"result {number}"}
        for number, block in enumerate(asked.content)
    ]
    answer = client.messages.create(
        model=MODEL, max_tokens=500, tools=TOOLS,
        messages=[
            {"role": "user", "content": BOTH},
            {"role": "assistant", "content": asked.content},
            {"role": "user", "content": results},
        ],
    )  # fmt: skip

    assert "result 0" in answer.content[0].text
    assert "result 1" in answer.content[0].text


def test_result_without_its_use_is_refused(client: Anthropic) -> None:
    """A result that answers no use is the caller's error."""
    result = {"type": "tool_result", "tool_use_id": "toolu_unknown", "content": "x"}
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(**ask([result]))


def test_accumulator_joins_streamed_inputs(client: Anthropic) -> None:
    """Parallel uses of a stream are joined by the client's accumulator."""
    whole = client.messages.create(**ask(BOTH))
    with client.messages.stream(**ask(BOTH)) as stream:
        parts = [event.partial_json for event in stream if event.type == "input_json"]
        final = stream.get_final_message()

    assert uses_of(final) == uses_of(whole)
    assert uses_of(final)[0] == ("weather", {"city": "Zürich", "days": 2})
    assert len(parts) > 2
    assert final.stop_reason == "tool_use"
    assert len({block.id for block in final.content}) == 2


def test_client_runs_tools_by_itself(client: Anthropic) -> None:
    """The client's tool runner calls the function and gets the last answer."""
    ran = []

    @beta_tool
    def weather(city: str, days: int) -> str:
        """Tell the weather of a city.

        Args:
            city: its name
            days: how many days from now

        """
        ran.append((city, days))
        return "sunny"

    runner = client.beta.messages.tool_runner(
        model=MODEL, max_tokens=500, tools=[weather],
        messages=[{"role": "user", "content": 'Call weather with {"city": "Ulm", "days": 1}'}],
    )  # fmt: skip
    answer = runner.until_done()

    assert ran == [("Ulm", 1)]
    assert "sunny" in answer.content[0].text
