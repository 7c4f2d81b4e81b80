"""Streams of chat completions, raw and through the client's accumulator."""

import asyncio

import pytest
from openai import APIError, AsyncOpenAI, OpenAI

MODEL = "gpt-4o-mini"


def ask(text):
    """Return the messages of one question."""
    return [{"role": "user", "content": text}]


def text_of(chunks, index=0):
    """Join the text of one choice."""
    return "".join(
        choice.delta.content or ""
        for chunk in chunks
        for choice in chunk.choices
        if choice.index == index
    )


def test_stream_says_what_the_body_says(client: OpenAI) -> None:
    """A stream's text and end are those of the answer that is not streamed."""
    whole = client.chat.completions.create(model=MODEL, messages=ask("Tell me a story"))
    chunks = list(
        client.chat.completions.create(model=MODEL, messages=ask("Tell me a story"), stream=True)
    )

    assert text_of(chunks) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["stop"]
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1


def test_usage_comes_last_when_asked_for(client: OpenAI) -> None:
    """The last chunk has the usage and no choices; the others have none."""
    whole = client.chat.completions.create(model=MODEL, messages=ask("Hi"))
    *chunks, last = client.chat.completions.create(
        model=MODEL, messages=ask("Hi"), stream=True, stream_options={"include_usage": True}
    )

    assert last.choices == []
    assert last.usage == whole.usage
    assert {chunk.usage for chunk in chunks} == {None}


def test_choices_are_told_apart(client: OpenAI) -> None:
    """The deltas of several choices join to the choices that are not streamed."""
    whole = client.chat.completions.create(model=MODEL, messages=ask("Three ideas"), n=3)
    chunks = list(
        client.chat.completions.create(model=MODEL, messages=ask("Three ideas"), n=3, stream=True)
    )

    wanted = [choice.message.content for choice in whole.choices]
    assert [text_of(chunks, index) for index in range(3)] == wanted


def test_accumulator_tells_and_ends(client: OpenAI) -> None:
    """The client's accumulator tells each delta and ends with the whole answer."""
    whole = client.chat.completions.create(model=MODEL, messages=ask("Tell me a story"))
    with client.chat.completions.stream(
        model=MODEL, messages=ask("Tell me a story"), stream_options={"include_usage": True}
    ) as stream:
        events = list(stream)
        final = stream.get_final_completion()

    told = "".join(event.delta for event in events if event.type == "content.delta")
    assert told == final.choices[0].message.content == whole.choices[0].message.content
    assert [event.content for event in events if event.type == "content.done"] == [told]
    assert final.usage == whole.usage
    assert final.choices[0].finish_reason == "stop"


def test_accumulator_gathers_logprobs(client: OpenAI) -> None:
    """Logprobs of a stream join to those of the answer that is not streamed."""
    wanted = {"model": MODEL, "messages": ask("Repeat exactly: one two three"), "logprobs": True}
    whole = client.chat.completions.create(**wanted)
    with client.chat.completions.stream(**wanted) as stream:
        final = stream.get_final_completion()

    assert final.choices[0].logprobs.content == whole.choices[0].logprobs.content


def test_leaving_is_noticed(client: OpenAI, seen) -> None:
    """A client that closes a stream early is not served any longer."""
    stream = client.chat.completions.create(
        model=f"{MODEL}+tokens=500+itl=20", messages=ask("Go on"), stream=True,
        extra_headers=seen.header,
    )  # fmt: skip
    with stream:
        next(iter(stream))

    assert seen.outcome("cancelled") == "cancelled"


def test_async_streams_interleave(url: str) -> None:
    """Concurrent streams of the asynchronous client keep apart."""

    async def one(client: AsyncOpenAI, number: int) -> str:
        stream = await client.chat.completions.create(
            model=f"{MODEL}+itl=2", messages=ask(f"Repeat exactly: stream {number} ends"),
            stream=True,
        )  # fmt: skip
        return text_of([chunk async for chunk in stream])

    async def job() -> list[str]:
        async with AsyncOpenAI(
            base_url=f"{url}/v1", api_key="sk-gateproof-demo", max_retries=0, timeout=15
        ) as client:
            return await asyncio.gather(*(one(client, number) for number in range(30)))

    assert asyncio.run(job()) == [f"stream {number} ends" for number in range(30)]


def test_error_in_midstream_is_raised(client: OpenAI) -> None:
    """An error that comes after some tokens is raised with what it says."""
    chunks = []
    with pytest.raises(APIError) as caught:
        chunks += client.chat.completions.create(
            model=f"{MODEL}+midstream-error=3", messages=ask("Hi"), stream=True
        )

    assert caught.value.message
    assert caught.value.type


def test_cut_is_raised(client: OpenAI) -> None:
    """A connection that ends in the middle of a stream is not taken for its end."""
    got = []
    stream = client.chat.completions.create(model=f"{MODEL}+cut=3", messages=ask("Hi"), stream=True)
    with pytest.raises(Exception, match=r"(?i)peer closed|incomplete|connection"):
        got.extend(stream)

    assert text_of(got)
