"""Chat completions: answers, their parameters and their counts."""

import asyncio
import json
import math

import pytest
from openai import AsyncOpenAI, OpenAI

MODEL = "gpt-4o-mini"


def ask(text):
    """Return the messages of one question."""
    return [{"role": "user", "content": text}]


def test_answer_is_typed(client: OpenAI) -> None:
    """An answer parses into the client's types with everything that they name."""
    answer = client.chat.completions.create(model=MODEL, messages=ask("Repeat exactly: Grüße 🙂"))

    choice = answer.choices[0]
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == MODEL
    assert (choice.index, choice.finish_reason, choice.message.role) == (0, "stop", "assistant")
    assert choice.message.content == "Grüße 🙂"
    assert choice.message.refusal is None
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.completion_tokens_details.reasoning_tokens == 0


def test_conversation_is_remembered(client: OpenAI) -> None:
    """System, user and assistant messages of earlier turns reach the model."""
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "system", "content": "Remember colour = teal"},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hello, what can I do?"},
            {"role": "user", "content": [{"type": "text", "text": "Recall colour"}]},
        ],
    )

    assert answer.choices[0].message.content == "teal"


def test_image_parts_are_accepted(client: OpenAI) -> None:
    """A message may have images beside its text."""
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Repeat exactly: seen"},
                    {
                        "type": "image_url",
                        "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"},
                    },
                ],
            }
        ],
    )

    assert answer.choices[0].message.content == "seen"


def test_parameters_are_obeyed(client: OpenAI) -> None:
    """Choices, stop strings and token limits do what they say."""
    several = client.chat.completions.create(model=MODEL, messages=ask("Tell me more"), n=3)
    stopped = client.chat.completions.create(
        model=MODEL, messages=ask("Count from 1 to 9"), stop=["5"], temperature=0, top_p=1, seed=7
    )
    cut = client.chat.completions.create(
        model=MODEL, messages=ask("Count from 1 to 900"), max_completion_tokens=5
    )

    assert [choice.index for choice in several.choices] == [0, 1, 2]
    assert stopped.choices[0].message.content == "1, 2, 3, 4, "
    assert stopped.choices[0].finish_reason == "stop"
    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 5)


def test_logprobs_are_parsed(client: OpenAI) -> None:
    """Each token comes with its logprob, its bytes and its alternatives."""
    answer = client.chat.completions.create(
        model=MODEL, messages=ask("Repeat exactly: one two"), logprobs=True, top_logprobs=2
    )

    tokens = answer.choices[0].logprobs.content
    assert "".join(token.token for token in tokens) == "one two"
    assert b"".join(bytes(token.bytes) for token in tokens) == b"one two"
    assert all(token.logprob <= 0 and math.isfinite(token.logprob) for token in tokens)
    assert [len(token.top_logprobs) for token in tokens] == [2] * len(tokens)


def test_json_mode_gives_json(client: OpenAI) -> None:
    """JSON mode gives a JSON object."""
    answer = client.chat.completions.create(
        model=MODEL,
        messages=ask("Answer in JSON."),
        response_format={"type": "json_object"},
    )

    assert isinstance(json.loads(answer.choices[0].message.content), dict)


def test_reasoning_is_counted(client: OpenAI) -> None:
    """A reasoning model counts its thoughts as completion tokens, more with more effort."""
    low, high = (
        client.chat.completions.create(
            model="gpt-5-mini", messages=ask("Repeat exactly: x"), reasoning_effort=effort
        ).usage
        for effort in ("low", "high")
    )

    wanted = low.completion_tokens_details.reasoning_tokens
    assert 0 < wanted < high.completion_tokens_details.reasoning_tokens
    assert low.completion_tokens > wanted


def test_request_id_is_the_servers(client: OpenAI, seen) -> None:
    """An answer carries the id that the server gave the request, parsed or raw."""
    answer = client.chat.completions.create(
        model=MODEL, messages=ask("Hi"), extra_headers=seen.header
    )
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=ask("Hi"), extra_headers=seen.header
    )

    assert [answer._request_id, raw.request_id] == [entry["id"] for entry in seen.entries()]
    assert raw.headers["content-type"].startswith("application/json")
    assert raw.parse().choices[0].message == answer.choices[0].message


def test_same_request_same_answer(client: OpenAI) -> None:
    """The model is deterministic: only id and time differ between equal requests."""
    one, two = (client.chat.completions.create(model=MODEL, messages=ask("Hi")) for _ in "ab")

    assert one.choices == two.choices
    assert one.usage == two.usage
    assert one.id != two.id


def test_many_at_once(url: str) -> None:
    """The asynchronous client gets each of many concurrent answers right."""

    async def job() -> list[str]:
        async with AsyncOpenAI(
            base_url=f"{url}/v1", api_key="sk-gateproof-demo", max_retries=0, timeout=15
        ) as client:
            answers = await asyncio.gather(
                *(
                    client.chat.completions.create(
                        model=MODEL, messages=ask(f"Repeat exactly: answer {number}")
                    )
                    for number in range(50)
                )
            )
        return [answer.choices[0].message.content for answer in answers]

    assert asyncio.run(job()) == [f"answer {number}" for number in range(50)]


@pytest.mark.parametrize(
    ("base", "model"),
    [
        ("osmapi/v1", "openai/gpt-4o-mini"),
        ("losi/api/v1", "losi-omega"),
        ("lunos/v1", "openai/gpt-4o-mini"),
        ("omai/v1", "omai-gpt-4"),
    ],
    ids=["osmapi", "losi", "lunos", "omai"],
)
def test_vendors_answer(client: OpenAI, url: str, base: str, model: str) -> None:
    """Every vendor that calls itself compatible can be used by this client, streamed or not."""
    vendor = client.with_options(base_url=f"{url}/{base}")
    whole = vendor.chat.completions.create(model=model, messages=ask("Repeat exactly: a b c"))
    with vendor.chat.completions.create(
        model=model, messages=ask("Repeat exactly: a b c"), stream=True
    ) as stream:
        parts = [choice.delta.content or "" for chunk in stream for choice in chunk.choices]

    assert whole.choices[0].message.content == "a b c"
    assert "".join(parts) == "a b c"
