"""Messages: answers, their parameters and their counts, models, and counting before asking."""

import asyncio

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic
from pydantic import BaseModel

MODEL = "claude-sonnet-4-6"
CURRENT = int(anthropic.__version__.split(".")[0]) >= 1


def ask(text, **more):
    """Return a request with one question."""
    messages = [{"role": "user", "content": text}]
    return {"model": MODEL, "max_tokens": 2000, "messages": messages, **more}


class Part(BaseModel):
    """A part of a thing."""

    name: str
    weight: float


class Thing(BaseModel):
    """A thing with parts."""

    title: str
    parts: list[Part]
    spare: Part | None


def test_answer_is_typed(client: Anthropic) -> None:
    """An answer parses into the client's types with everything that they name."""
    answer = client.messages.create(**ask("Repeat exactly: Grüße 🙂"))

    assert (answer.type, answer.role, answer.model) == ("message", "assistant", MODEL)
    assert answer.id.startswith("msg_")
    assert [(block.type, block.text) for block in answer.content] == [("text", "Grüße 🙂")]
    assert (answer.stop_reason, answer.stop_sequence) == ("end_turn", None)
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0


def test_key_and_version_are_the_clients_own(client: Anthropic, seen) -> None:
    """The server serves both pairs that clients send: how the key travels, and the version."""
    client.messages.create(**ask("Hi"), extra_headers=seen.header)

    headers = seen.only()["headers"]
    wanted = ("authorization", "2026-10-21") if CURRENT else ("x-api-key", "2023-06-01")
    assert (wanted[0] in headers, headers["anthropic-version"]) == (True, wanted[1])
    assert {"authorization", "x-api-key"} & set(headers) == {wanted[0]}


def test_request_id_is_the_servers(client: Anthropic, seen) -> None:
    """An answer carries the id that the server gave the request, parsed or raw."""
    answer = client.messages.create(**ask("Hi"), extra_headers=seen.header)
    raw = client.messages.with_raw_response.create(**ask("Hi"), extra_headers=seen.header)

    ids = [entry["id"] for entry in seen.entries()]
    assert [answer._request_id, raw.headers["request-id"]] == ids
    assert raw.parse().content == answer.content


def test_conversation_is_remembered(client: Anthropic) -> None:
    """System texts and earlier turns, as strings and as blocks, reach the model."""
    for system in (
        "Remember colour = teal",
        [
            {
                "type": "text",
                "text": "Remember colour = teal",
                "cache_control": {"type": "ephemeral"},
            }
        ],
    ):
        answer = client.messages.create(
            model=MODEL, max_tokens=50, system=system, metadata={"user_id": "someone"},
            messages=[
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": [{"type": "text", "text": "Hello."}]},
                {"role": "user", "content": [{"type": "text", "text": "Recall colour"}]},
            ],
        )  # fmt: skip

        assert answer.content[0].text == "teal"


def test_image_blocks_are_accepted(client: Anthropic) -> None:
    """A message may have images beside its text."""
    image = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    content = [
        {"type": "image", "source": image},
        {"type": "image", "source": {"type": "url", "url": "https://www.example.com/x.png"}},
        {"type": "text", "text": "Repeat exactly: seen"},
    ]

    assert client.messages.create(**ask(content)).content[0].text == "seen"


def test_stops_are_obeyed(client: Anthropic) -> None:
    """Stop sequences and token limits end an answer and say so."""
    stopped = client.messages.create(**ask("Count from 1 to 9", stop_sequences=["5"]))
    cut = client.messages.create(**{**ask("Count from 1 to 900"), "max_tokens": 5})

    assert (stopped.content[0].text, stopped.stop_reason, stopped.stop_sequence) == (
        "1, 2, 3, 4, ", "stop_sequence", "5",
    )  # fmt: skip
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 5)


@pytest.mark.skipif(CURRENT, reason="the current client has no temperature")
def test_temperature_of_the_earlier_client(client: Anthropic) -> None:
    """The earlier version's sampling parameters are accepted."""
    answer = client.messages.create(**ask("Repeat exactly: x", temperature=0.5, top_k=3))

    assert answer.content[0].text == "x"


@pytest.mark.filterwarnings("ignore:Using Claude with")  # the client's own advice on a model
@pytest.mark.parametrize(
    "thinking", [{"type": "enabled", "budget_tokens": 1024}, {"type": "adaptive"}],
    ids=["enabled", "adaptive"],
)  # fmt: skip
def test_thoughts_come_first_and_go_back(client: Anthropic, thinking) -> None:
    """Thoughts come in a block of their own, sealed, and may be sent back."""
    first = client.messages.create(**ask("Repeat exactly: x", thinking=thinking))
    messages = [
        {"role": "user", "content": "Repeat exactly: x"},
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": "Repeat exactly: y"},
    ]
    second = client.messages.create(
        model=MODEL, max_tokens=2000, messages=messages, thinking=thinking
    )

    assert [block.type for block in first.content] == ["thinking", "text"]
    assert first.content[0].thinking
    assert first.content[0].signature
    assert second.content[-1].text == "y"


def test_answer_is_parsed(client: Anthropic) -> None:
    """An answer that keeps to a schema becomes an object of the model."""
    answer = client.messages.parse(**ask("Describe a thing"), output_format=Thing)

    assert isinstance(answer.parsed_output, Thing)


def test_stream_is_parsed(client: Anthropic) -> None:
    """A stream with a schema ends with the same object."""
    whole = client.messages.parse(**ask("Describe a thing"), output_format=Thing)
    with client.messages.stream(**ask("Describe a thing"), output_format=Thing) as stream:
        final = stream.get_final_message()

    assert final.parsed_output == whole.parsed_output


def test_counting_agrees_with_usage(client: Anthropic) -> None:
    """What is counted before is what an answer has as input."""
    request = ask("How long is this?", system="Be brief.")
    answer = client.messages.create(**request)
    del request["max_tokens"]

    assert client.messages.count_tokens(**request).input_tokens == answer.usage.input_tokens


def test_models_are_paged_through(client: Anthropic) -> None:
    """The list is followed page by page, and each model can be retrieved."""
    models = list(client.models.list(limit=1))

    assert len(models) == len(list(client.models.list())) >= 2
    assert len({model.id for model in models}) == len(models)
    assert [client.models.retrieve(model.id) for model in models] == models
    assert {model.type for model in models} == {"model"}


def test_many_at_once(url: str) -> None:
    """The asynchronous client gets each of many concurrent answers right."""

    async def job() -> list[str]:
        async with AsyncAnthropic(
            base_url=f"{url}/anthropic", api_key="sk-gateproof-demo", max_retries=0, timeout=15
        ) as client:
            answers = await asyncio.gather(
                *(client.messages.create(**ask(f"Repeat exactly: a {n}")) for n in range(40))
            )
        return [answer.content[0].text for answer in answers]

    assert asyncio.run(job()) == [f"a {number}" for number in range(40)]


@pytest.mark.parametrize(
    ("vendor", "model"),
    [("lunos", "anthropic/claude-sonnet-4-6"), ("osmapi", "anthropic/claude-sonnet-4-6")],
    ids=["lunos", "osmapi"],
)
def test_gateways_speak_messages(client: Anthropic, url: str, vendor: str, model: str) -> None:
    """A gateway's Messages route can be used by this client as it is, streamed or not."""
    gateway = client.with_options(base_url=f"{url}/{vendor}")
    request = ask("Repeat exactly: a b c", model=model)
    whole = gateway.messages.create(**request)
    with gateway.messages.stream(**request) as stream:
        final = stream.get_final_message()

    assert whole.content[0].text == final.content[0].text == "a b c"
    assert final.usage.output_tokens == whole.usage.output_tokens
