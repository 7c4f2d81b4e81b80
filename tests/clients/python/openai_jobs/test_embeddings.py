"""Embeddings, which the client asks for in base64 unless told otherwise."""

import asyncio
import json
import math

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

MODEL = "text-embedding-3-small"


def test_base64_is_the_default(client: OpenAI, seen) -> None:
    """The client asks for base64 by itself, and reads the same numbers out of it."""
    packed = client.embeddings.create(model=MODEL, input="harbour", extra_headers=seen.header)
    plain = client.embeddings.create(model=MODEL, input="harbour", encoding_format="float")

    assert json.loads(seen.only()["body"])["encoding_format"] == "base64"
    vector = packed.data[0].embedding
    assert len(vector) == 1536
    assert vector == pytest.approx(plain.data[0].embedding, abs=1e-7)
    assert math.hypot(*vector) == pytest.approx(1, abs=1e-3)
    assert packed.usage.total_tokens == packed.usage.prompt_tokens > 0


def test_inputs_keep_their_order(client: OpenAI) -> None:
    """Each input of a batch gets its own vector, at its own place."""
    texts = [f"text {number}" for number in range(12)]
    batch = client.embeddings.create(model=MODEL, input=texts)
    alone = client.embeddings.create(model=MODEL, input=texts[7])

    assert [item.index for item in batch.data] == list(range(12))
    assert batch.data[7].embedding == alone.data[0].embedding
    assert len({tuple(item.embedding) for item in batch.data}) == 12


def test_tokens_and_dimensions(client: OpenAI) -> None:
    """Inputs may be tokens, and vectors shorter."""
    answer = client.embeddings.create(model=MODEL, input=[[1, 2, 3], [4]], dimensions=64)

    assert [len(item.embedding) for item in answer.data] == [64, 64]


def test_omai_gives_1536_numbers(client: OpenAI, url: str) -> None:
    """OMAi's embeddings can be read by this client."""
    vendor = client.with_options(base_url=f"{url}/omai/v1")
    answer = vendor.embeddings.create(model="text-embedding-ada-002", input="harbour")

    assert len(answer.data[0].embedding) == 1536


def test_async_batch(url: str) -> None:
    """The asynchronous client reads base64 as well."""

    async def job() -> int:
        async with AsyncOpenAI(
            base_url=f"{url}/v1", api_key="sk-gateproof-demo", max_retries=0, timeout=15
        ) as client:
            return len((await client.embeddings.create(model=MODEL, input=["a", "b"])).data)

    assert asyncio.run(job()) == 2


def test_empty_input_is_refused(client: OpenAI) -> None:
    """An empty input is the caller's error."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=MODEL, input="")

    assert caught.value.param == "input"
