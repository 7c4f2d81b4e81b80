"""Errors by their classes, and what the client does by itself about some of them."""

import asyncio
import itertools

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

MODEL = "gpt-4o-mini"
MESSAGES = [{"role": "user", "content": "Repeat exactly: done"}]


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (402, openai.APIStatusError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (408, openai.APIStatusError),
        (409, openai.ConflictError),
        (413, openai.APIStatusError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (502, openai.InternalServerError),
        (503, openai.InternalServerError),
        (529, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["body", "stream"])
def test_status_makes_the_class(
    client: OpenAI, status: int, wanted: type[Exception], stream: bool, seen
) -> None:
    """A status raises its class, with the message, type, code and request id of the error."""
    with pytest.raises(wanted) as caught:
        client.chat.completions.create(
            model=f"{MODEL}+status={status}", messages=MESSAGES, stream=stream,
            extra_headers=seen.header,
        )  # fmt: skip

    error = caught.value
    assert error.status_code == status
    assert str(status) in error.message
    assert isinstance(error.type, str)
    assert error.body["message"]
    assert error.request_id == seen.only()["id"]


def test_wrong_key_is_refused(client: OpenAI) -> None:
    """A wrong key is an authentication error with its code."""
    with pytest.raises(openai.AuthenticationError) as caught:
        client.with_options(api_key="sk-wrong").models.list()

    assert caught.value.code == "invalid_api_key"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"temperature": 3}, "temperature"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "nobody", "content": "Hi"}]}, "messages[0].role"),
        ({"n": 0}, "n"),
    ],
    ids=["temperature", "messages", "role", "n"],
)
def test_invalid_request_names_its_field(client: OpenAI, change, param: str) -> None:
    """A request that breaks a rule is refused with the field that breaks it."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": MODEL, "messages": MESSAGES, **change})

    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


def test_too_long_context_has_its_code(client: OpenAI) -> None:
    """A conversation that is too long is told by its code."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=f"{MODEL}+refuse", messages=MESSAGES)

    assert caught.value.code == "context_length_exceeded"


def test_unknown_model_is_not_found(client: OpenAI) -> None:
    """A chat with a model that does not exist is not found."""
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="no-such-model", messages=MESSAGES)

    assert caught.value.code == "model_not_found"


def test_retry_waits_as_told_and_succeeds(limited_url: str, seen_at) -> None:
    """After a real 429 the client waits for Retry-After, and its next try succeeds."""
    seen = seen_at(limited_url)
    client = OpenAI(
        base_url=f"{limited_url}/v1", api_key="sk-gateproof-openai-default", timeout=15,
        default_headers=seen.header,
    )  # fmt: skip
    with client:
        for _ in "ab":
            client.chat.completions.create(model=MODEL, messages=MESSAGES)

    entries = seen.entries()
    assert [entry["status"] for entry in entries] == [200, 429, 200]
    counts = [dict(entry["headers"])["x-stainless-retry-count"] for entry in entries]
    assert counts == ["0", "0", "1"]
    assert entries[2]["at_ns"] - entries[1]["at_ns"] >= 0.9e9  # at least 1 s was asked for


def test_async_retry_streams_in_the_end(limited_url: str, seen_at) -> None:
    """The asynchronous client retries a stream that was refused."""
    seen = seen_at(limited_url)

    async def job() -> str:
        async with AsyncOpenAI(
            base_url=f"{limited_url}/v1", api_key="sk-gateproof-openai-default-2", timeout=15,
            default_headers=seen.header,
        ) as client:  # fmt: skip
            await client.chat.completions.create(model=MODEL, messages=MESSAGES)
            stream = await client.chat.completions.create(
                model=MODEL, messages=MESSAGES, stream=True
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(job()) == "done"
    assert [entry["status"] for entry in seen.entries()] == [200, 429, 200]


def test_limit_is_told_in_headers(limited_url: str) -> None:
    """An error of a limit carries when to come back, in a header that the client can read."""
    client = OpenAI(base_url=f"{limited_url}/v1", api_key="sk-gateproof-demo", max_retries=0)
    with client, pytest.raises(openai.RateLimitError) as caught:
        [client.models.list() for _ in range(10)]

    headers = caught.value.response.headers
    assert headers["retry-after"] in {"1", "2"}
    assert headers["x-ratelimit-limit-requests"] == "1"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert caught.value.code == "rate_limit_exceeded"


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_some_errors_are_retried(retrying: OpenAI, status: int, seen) -> None:
    """What may pass is tried three times, by default, before it is raised."""
    with pytest.raises(openai.APIStatusError):
        retrying.chat.completions.create(
            model=f"{MODEL}+status={status}:0", messages=MESSAGES, extra_headers=seen.header
        )

    assert [entry["status"] for entry in seen.entries()] == [status] * 3


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422])
def test_other_errors_are_not_retried(retrying: OpenAI, status: int, seen) -> None:
    """What would fail again is raised at once."""
    with pytest.raises(openai.APIStatusError):
        retrying.chat.completions.create(
            model=f"{MODEL}+status={status}", messages=MESSAGES, extra_headers=seen.header
        )

    assert len(seen.entries()) == 1


def test_retries_keep_the_pause_asked_for(retrying: OpenAI, seen) -> None:
    """Between two tries lies at least the pause that the server asked for."""
    with pytest.raises(openai.RateLimitError):
        retrying.with_options(max_retries=1).chat.completions.create(
            model=f"{MODEL}+status=429:1", messages=MESSAGES, extra_headers=seen.header
        )

    times = [entry["at_ns"] for entry in seen.entries()]
    assert [later - earlier >= 0.95e9 for earlier, later in itertools.pairwise(times)] == [True]


def test_no_answer_is_a_connection_error(client: OpenAI, url: str) -> None:
    """A server that hangs up without an answer is a connection error."""
    with pytest.raises(openai.APIConnectionError):
        client.with_options(base_url=f"{url}/with/no-answer/v1").models.list()


def test_late_answer_is_a_timeout(client: OpenAI) -> None:
    """An answer that comes later than the client waits is a timeout."""
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.2).chat.completions.create(
            model=f"{MODEL}+slow-headers=5000", messages=MESSAGES
        )
