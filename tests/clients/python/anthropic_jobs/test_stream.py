"""Streams of messages, raw and through the client's accumulator."""

import asyncio

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic

MODEL = "claude-sonnet-4-6"


def ask(text, **more):
    """Return a request with one question."""
    messages = [{"role": "user", "content": text}]
    return {"model": MODEL, "max_tokens": 2000, "messages": messages, **more}


def test_accumulator_ends_with_the_whole_answer(client: Anthropic) -> None:
    """A stream ends with the answer that is not streamed: text, end and counts."""
    whole = client.messages.create(**ask("Tell me a story"))
    with client.messages.stream(**ask("Tell me a story")) as stream:
        told = "".join(stream.text_stream)
        final = stream.get_final_message()

    assert told == final.content[0].text == whole.content[0].text
    assert final.stop_reason == whole.stop_reason
    assert final.usage.input_tokens == whole.usage.input_tokens
    assert final.usage.output_tokens == whole.usage.output_tokens


def test_events_come_in_order(client: Anthropic) -> None:
    """Raw events are a message with one block, from its start to its stop."""
    with client.messages.create(**ask("Repeat exactly: a b c"), stream=True) as stream:
        events = list(stream)

    kinds = [event.type for event in events]
    assert [kind for kind in kinds if kind != "content_block_delta"] == [
        "message_start", "content_block_start", "content_block_stop", "message_delta",
        "message_stop",
    ]  # fmt: skip
    deltas = [event.delta.text for event in events if event.type == "content_block_delta"]
    assert "".join(deltas) == "a b c"


@pytest.mark.filterwarnings("ignore:Using Claude with")  # the client's own advice on a model
def test_thoughts_are_streamed(client: Anthropic) -> None:
    """Streamed thoughts join to those that are not streamed, with their seal."""
    request = ask("Repeat exactly: x", thinking={"type": "enabled", "budget_tokens": 1024})
    whole = client.messages.create(**request)
    with client.messages.stream(**request) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_message()

    assert {"thinking", "signature", "text"} <= kinds
    assert final.content[0].thinking == whole.content[0].thinking
    assert final.content[0].signature == whole.content[0].signature
    assert final.content[1].text == "x"


def test_request_id_of_a_stream(client: Anthropic, seen) -> None:
    """A stream carries the id that the server gave the request."""
    with client.messages.stream(**ask("Hi"), extra_headers=seen.header) as stream:
        stream.until_done()
        got = stream.request_id

    assert got == seen.only()["id"]


def test_leaving_is_noticed(client: Anthropic, seen) -> None:
    """A client that closes a stream early is not served any longer."""
    request = ask("Go on", model=f"{MODEL}+tokens=500+itl=20")
    with client.messages.stream(**request, extra_headers=seen.header) as stream:
        next(iter(stream.text_stream))

    assert seen.outcome("cancelled") == "cancelled"


def test_async_streams_interleave(url: str) -> None:
    """Concurrent streams of the asynchronous client keep apart."""

    async def one(client: AsyncAnthropic, number: int) -> str:
        request = ask(f"Repeat exactly: stream {number} ends", model=f"{MODEL}+itl=2")
        async with client.messages.stream(**request) as stream:
            return await stream.get_final_text()

    async def job() -> list[str]:
        async with AsyncAnthropic(
            base_url=f"{url}/anthropic", api_key="sk-gateproof-demo", max_retries=0, timeout=15
        ) as client:
            return await asyncio.gather(*(one(client, number) for number in range(30)))

    assert asyncio.run(job()) == [f"stream {number} ends" for number in range(30)]


def test_error_in_midstream_is_raised(client: Anthropic) -> None:
    """An error event after some tokens is raised with what it says."""
    request = ask("Hi", model=f"{MODEL}+midstream-error=3")
    with (
        pytest.raises(anthropic.APIStatusError) as caught,
        client.messages.stream(**request) as stream,
    ):
        stream.until_done()

    assert caught.value.body["error"]["message"]
    assert caught.value.body["type"] == "error"


def test_cut_is_raised(client: Anthropic) -> None:
    """A connection that ends in the middle of a stream is not taken for its end."""
    request = ask("Hi", model=f"{MODEL}+cut=3")
    with (
        pytest.raises(Exception, match=r"(?i)peer closed|incomplete|connection"),
        client.messages.stream(**request) as stream,
    ):
        stream.until_done()
