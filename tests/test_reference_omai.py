"""The reference server as OMAi: chat without a model, embeddings, login, four statuses, tiers."""

import base64
from typing import Any

import pytest
from gateproof.reference_server.app import App
from gateproof.reference_server.journal import Journal
from gateproof.reference_server.limits import Ruler

from tests.reference_calls import DEMO, Got, call, chat

CHAT = "/omai/v1/chat/completions"
EMBEDDINGS = "/omai/v1/embeddings"
LOGIN = "/omai/v1/auth/login"
BASIC, PRO, ENTERPRISE = (f"sk-gateproof-omai-{tier}" for tier in ("basic", "pro", "enterprise"))
HELLO = chat("omai-gpt-4", "Repeat exactly: Hi", temperature=0.7, max_tokens=1000)


@pytest.fixture
def app() -> App:
    """Give a gateway of its own to each test."""
    return App(Journal(0))


def test_an_answer_names_no_model(app: App) -> None:
    """The sample of the reference has no model, and neither has the answer, streamed or not."""
    body = call(app, "POST", CHAT, HELLO).body
    stream = call(app, "POST", CHAT, {**HELLO, "stream": True})

    assert "model" not in body
    assert body["choices"][0]["message"]["content"] == "Hi"
    assert body["usage"]["total_tokens"] == sum(
        body["usage"][name] for name in ("prompt_tokens", "completion_tokens")
    )
    assert b'"model"' not in stream.text
    assert b"[DONE]" in stream.text


def test_embeddings_are_served(app: App) -> None:
    """The documented model gives vectors of 1536 numbers, and its name."""
    body = {"model": "text-embedding-ada-002", "input": ["one", "two"]}
    got = call(app, "POST", EMBEDDINGS, body).body

    assert got["model"] == "text-embedding-ada-002"
    assert [(row["index"], len(row["embedding"])) for row in got["data"]] == [(0, 1536), (1, 1536)]
    assert got["usage"] == {"prompt_tokens": 2, "total_tokens": 2}


@pytest.mark.parametrize(
    ("method", "path", "body", "key", "status"),
    [
        ("POST", CHAT, {}, DEMO, 400),
        ("POST", CHAT, chat("none"), DEMO, 400),
        ("POST", CHAT, chat("text-embedding-ada-002"), DEMO, 400),
        ("POST", CHAT, {"model": "omai-gpt-4", "messages": []}, DEMO, 400),
        ("POST", EMBEDDINGS, {"model": "text-embedding-ada-002"}, DEMO, 400),
        ("GET", CHAT, None, DEMO, 400),
        ("GET", "/omai/v1/models", None, DEMO, 400),
        ("POST", CHAT, HELLO, None, 401),
        ("POST", CHAT, HELLO, "sk-wrong", 401),
        ("POST", CHAT, chat("omai-gpt-4+status=429"), DEMO, 429),
    ],
)
def test_there_are_four_statuses(
    app: App, method: str, path: str, body: Any, key: str | None, status: int
) -> None:
    """Whatever is wrong comes as 400, 401, 429 or 500, with a message."""
    got = call(app, method, path, body, key=key)

    assert got.status == status
    assert got.body["error"]["message"]


def login(app: App, credentials: str | None) -> Got:
    """Log in with such a name and password."""
    given = []
    if credentials is not None:
        text = base64.b64encode(credentials.encode()).decode()
        given = [("authorization", f"Basic {text}")]
    return call(app, "POST", LOGIN, key=None, headers=given)


def test_a_session_works_as_cookie_and_as_token(app: App) -> None:
    """A login answers with both, and each opens the API for the account of the user."""
    got = login(app, "demo:gateproof-demo-password")
    cookie, *attributes = got.headers["set-cookie"].split("; ")
    token = got.body["access_token"]
    by_cookie = call(app, "POST", CHAT, HELLO, key=None, headers=[("cookie", f"a=b; {cookie}")])
    # What a session of the requests library does: Basic goes along with the cookie.
    both = [("authorization", "Basic x"), ("cookie", cookie)]

    assert got.status == 200
    assert {"HttpOnly", "Secure"} <= set(attributes)
    assert by_cookie.status == 200
    assert call(app, "POST", CHAT, HELLO, key=token).status == 200
    assert call(app, "POST", CHAT, HELLO, key=None, headers=both).status == 200
    assert app.state.usage("omai-enterprise", app.state.today(), app.state.today())[0].requests == 3


@pytest.mark.parametrize(
    "credentials", [None, "demo:wrong", "nobody:gateproof-demo-password", "demo", ":", "dé:mo"]
)
def test_wrong_credentials_are_refused(app: App, credentials: str | None) -> None:
    """A wrong name, a wrong password, or none: 401 and how to log in, without a session."""
    got = login(app, credentials)

    assert got.status == 401
    assert got.headers["www-authenticate"].startswith("Basic")
    assert "set-cookie" not in got.headers


@pytest.mark.parametrize("header", ["Basic", "Basic ***", "Basic /w==", "Digest x", "Bearer x", ""])
def test_garbled_credentials_are_refused(app: App, header: str) -> None:
    """What is not HTTP Basic is no login, and no error of the server."""
    assert call(app, "POST", LOGIN, key=None, headers=[("authorization", header)]).status == 401


def test_basic_opens_nothing_but_the_login(app: App) -> None:
    """A chat with Basic and without a session is refused."""
    text = base64.b64encode(b"demo:gateproof-demo-password").decode()
    headers = [("authorization", f"Basic {text}")]

    assert call(app, "POST", CHAT, HELLO, key=None, headers=headers).status == 401


class Time:
    """A clock that stands until it is moved."""

    ns = 10**15

    def __call__(self) -> int:
        """Return the time."""
        return self.ns


def test_basic_has_sixty_requests_a_minute() -> None:
    """The sixty-first in a sliding minute is refused until the first is a minute old."""
    clock = Time()
    app = App(Journal(0), ruler=Ruler(clock_ns=clock))
    statuses = []
    for _ in range(61):
        statuses.append(call(app, "POST", CHAT, HELLO, key=BASIC).status)
        clock.ns += 500_000_000
    refused = call(app, "POST", CHAT, HELLO, key=BASIC)

    assert statuses == [200] * 60 + [429]
    assert refused.headers["retry-after-ms"] == "29500"
    clock.ns += 29_500_000_000
    assert call(app, "POST", CHAT, HELLO, key=BASIC).status == 200
    assert call(app, "POST", CHAT, HELLO, key=BASIC).status == 429
    assert call(app, "POST", CHAT, HELLO, key=f"{BASIC}-2").status == 200


def test_basic_has_forty_thousand_tokens_a_minute() -> None:
    """Prompt and completion are counted, those of embeddings too, and what fits still passes."""
    app = App(Journal(0), ruler=Ruler(clock_ns=Time()))
    large = chat("omai-gpt-4", "Count from 1 to 4000")
    used = [call(app, "POST", CHAT, large, key=BASIC) for _ in range(6)]
    spent = [got.body["usage"]["total_tokens"] for got in used if got.status == 200]
    left = int(used[-1].headers["x-ratelimit-remaining-tokens"])
    fits = {"model": "text-embedding-ada-002", "input": "!" * min(left, 8000)}
    fitting = call(app, "POST", EMBEDDINGS, fits, key=BASIC)

    assert len(spent) < 6
    assert left == 40_000 - sum(spent)
    assert used[-1].error[:2] == (429, "tokens")
    assert fitting.status == 200
    assert int(fitting.headers["x-ratelimit-remaining-tokens"]) == left - min(left, 8000)


@pytest.mark.parametrize(
    ("key", "requests", "tokens"),
    [
        (BASIC, "60", "40000"),
        (PRO, "3000", "2000000"),
        (ENTERPRISE, None, None),
        (DEMO, None, None),
    ],
)
def test_each_tier_tells_its_limits(
    app: App, key: str, requests: str | None, tokens: str | None
) -> None:
    """The headers say what the tier has; Enterprise has no limits to tell of."""
    headers = call(app, "POST", CHAT, HELLO, key=key).headers

    assert headers.get("x-ratelimit-limit-requests") == requests
    assert headers.get("x-ratelimit-limit-tokens") == tokens
