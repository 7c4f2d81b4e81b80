"""Errors by their classes, and what the client does by itself about some of them."""

import anthropic
import pytest
from anthropic import Anthropic

MODEL = "claude-sonnet-4-6"


def ask(**more):
    """Return a request with one question."""
    messages = [{"role": "user", "content": "Repeat exactly: done"}]
    return {"model": MODEL, "max_tokens": 50, "messages": messages, **more}


STATUSES = [
    (400, "invalid_request_error", anthropic.BadRequestError),
    (401, "authentication_error", anthropic.AuthenticationError),
    (402, "billing_error", anthropic.APIStatusError),
    (403, "permission_error", anthropic.PermissionDeniedError),
    (404, "not_found_error", anthropic.NotFoundError),
    (413, "request_too_large", anthropic.APIStatusError),
    (429, "rate_limit_error", anthropic.RateLimitError),
    (500, "api_error", anthropic.InternalServerError),
    (504, "timeout_error", anthropic.APIStatusError),
    (529, "overloaded_error", anthropic.APIStatusError),
]


@pytest.mark.parametrize(("status", "type_", "wanted"), STATUSES, ids=[str(s[0]) for s in STATUSES])
@pytest.mark.parametrize("stream", [False, True], ids=["body", "stream"])
def test_status_makes_the_class(
    client: Anthropic, status: int, type_: str, wanted: type[Exception], stream: bool, seen
) -> None:
    """A status raises its class, with the envelope, type and request id of the error."""
    with pytest.raises(wanted) as caught:
        client.messages.create(
            **ask(model=f"{MODEL}+status={status}"), stream=stream, extra_headers=seen.header
        )

    error = caught.value
    assert error.status_code == status
    assert error.body["type"] == "error"
    assert error.body["error"]["type"] == type_
    assert error.body["error"]["message"]
    assert error.request_id == seen.only()["id"] == error.body["request_id"]


def test_wrong_key_is_refused(client: Anthropic) -> None:
    """A wrong key is an authentication error."""
    with pytest.raises(anthropic.AuthenticationError) as caught:
        client.with_options(api_key="sk-wrong").messages.create(**ask())

    assert caught.value.body["error"]["type"] == "authentication_error"


def test_unknown_model_is_not_found(client: Anthropic) -> None:
    """A model that does not exist is not found, asked or retrieved."""
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(**ask(model="no-such-model"))
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("no-such-model")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"messages": []}, "messages"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"tool_choice": {"type": "sometimes"}}, "tool_choice"),
    ],
    ids=["messages", "max-tokens", "stop-sequences", "tool-choice"],
)
def test_invalid_request_names_its_field(client: Anthropic, change, says: str) -> None:
    """A request that breaks a rule is refused with a message that names the field."""
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(**ask(**change))

    assert says in caught.value.body["error"]["message"]


def test_retry_waits_as_told_and_succeeds(limited_url: str, seen_at) -> None:
    """After a real 429 the client waits for Retry-After, and its next try succeeds."""
    seen = seen_at(limited_url)
    client = Anthropic(
        base_url=f"{limited_url}/anthropic", api_key="sk-gateproof-anthropic-standard", timeout=15,
        default_headers=seen.header,
    )  # fmt: skip
    with client:
        client.messages.create(**ask())
        with client.messages.stream(**ask()) as stream:
            told = stream.get_final_text()

    entries = seen.entries()
    assert told == "done"
    assert [entry["status"] for entry in entries] == [200, 429, 200]
    assert entries[2]["at_ns"] - entries[1]["at_ns"] >= 0.9e9  # at least 1 s was asked for


def test_limit_is_told_in_headers(limited_url: str) -> None:
    """An error of a limit carries when to come back, in the headers of this dialect."""
    client = Anthropic(
        base_url=f"{limited_url}/anthropic", api_key="sk-gateproof-demo", max_retries=0
    )
    with client, pytest.raises(anthropic.RateLimitError) as caught:
        [client.models.list() for _ in range(10)]

    headers = caught.value.response.headers
    assert headers["retry-after"] in {"1", "2"}
    assert headers["anthropic-ratelimit-requests-limit"] == "1"
    assert headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert headers["anthropic-ratelimit-requests-reset"].endswith("Z")


@pytest.mark.parametrize("status", [408, 409, 429, 500, 529])
def test_some_errors_are_retried(retrying: Anthropic, status: int, seen) -> None:
    """What may pass is tried three times, by default, before it is raised."""
    with pytest.raises(anthropic.APIStatusError):
        retrying.messages.create(
            **ask(model=f"{MODEL}+status={status}:0"), extra_headers=seen.header
        )

    assert [entry["status"] for entry in seen.entries()] == [status] * 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
def test_other_errors_are_not_retried(retrying: Anthropic, status: int, seen) -> None:
    """What would fail again is raised at once."""
    with pytest.raises(anthropic.APIStatusError):
        retrying.messages.create(**ask(model=f"{MODEL}+status={status}"), extra_headers=seen.header)

    assert len(seen.entries()) == 1


def test_no_answer_is_a_connection_error(client: Anthropic, url: str) -> None:
    """A server that hangs up without an answer is a connection error."""
    with pytest.raises(anthropic.APIConnectionError):
        client.with_options(base_url=f"{url}/with/no-answer/anthropic").messages.create(**ask())


def test_late_answer_is_a_timeout(client: Anthropic) -> None:
    """An answer that comes later than the client waits is a timeout."""
    with pytest.raises(anthropic.APITimeoutError):
        client.with_options(timeout=0.2).messages.create(**ask(model=f"{MODEL}+slow-headers=5000"))
