"""The reference server as Losi: plans, keys, usage, the omega prompt, and six types of error."""

from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from gateproof.reference_server.app import App
from gateproof.reference_server.journal import Journal
from gateproof.reference_server.limits import read_limit
from gateproof.reference_server.omega import OMEGA_PROMPT
from hypothesis import given
from hypothesis import strategies as st

from tests.reference_calls import DEMO, call, chat

BASE = "/losi/api/v1"
CHAT = f"{BASE}/chat/completions"
KEYS = f"{BASE}/api-keys"
USAGE = f"{BASE}/api-usage"
FREE, SPENT, READONLY = (f"sk-gateproof-losi-{end}" for end in ("free", "spent", "readonly"))


@pytest.fixture
def app() -> App:
    """Give a gateway of its own to each test."""
    return App(Journal(1_000_000))


def test_the_api_stands_under_api_v1(app: App) -> None:
    """Losi's prefix is not that of the others."""
    assert call(app, "GET", f"{BASE}/models").status == 200
    assert call(app, "GET", "/losi/v1/models").error[0] == 404


@pytest.mark.parametrize(
    ("key", "names"),
    [
        (DEMO, ["losi-mini", "losi-omega", "gpt-4o-mini", "claude-sonnet-4-6"]),
        (FREE, ["losi-mini", "gpt-4o-mini"]),
        (READONLY, ["losi-mini", "losi-omega", "gpt-4o-mini", "claude-sonnet-4-6"]),
    ],
)
def test_models_depend_on_the_plan(app: App, key: str, names: list[str]) -> None:
    """The list has what the account's plan has."""
    listed = [card["id"] for card in call(app, "GET", f"{BASE}/models", key=key).body["data"]]

    assert listed == names


@pytest.mark.parametrize(
    ("method", "path", "key", "body", "error"),
    [
        ("POST", CHAT, None, chat("losi-mini"), (401, "authentication_error", "invalid_api_key")),
        ("POST", CHAT, "x", chat("losi-mini"), (401, "authentication_error", "invalid_api_key")),
        ("GET", KEYS, "x", None, (401, "authentication_error", "invalid_api_key")),
        ("POST", CHAT, READONLY, chat("losi-mini"),
         (403, "permission_error", "insufficient_permissions")),
        ("GET", KEYS, READONLY, None, (403, "permission_error", "insufficient_permissions")),
        ("POST", CHAT, FREE, chat("losi-omega"), (403, "insufficient_quota", "model_not_in_plan")),
        ("GET", f"{BASE}/models/losi-omega", FREE, None,
         (403, "insufficient_quota", "model_not_in_plan")),
        ("POST", CHAT, SPENT, chat("losi-mini"), (429, "insufficient_quota", "insufficient_quota")),
        ("POST", CHAT, DEMO, chat("none"), (404, "invalid_request_error", "model_not_found")),
        ("POST", CHAT, DEMO, {}, (400, "invalid_request_error", "missing_required_parameter")),
        ("POST", CHAT, DEMO, chat("losi-mini+status=503"), (503, "server_error", None)),
        ("GET", CHAT, DEMO, None, (405, "invalid_request_error", "method_not_allowed")),
    ],
)  # fmt: skip
def test_each_type_of_error(
    app: App, method: str, path: str, key: str | None, body: Any, error: tuple[Any, ...]
) -> None:
    """A refusal has the type and the status that go together."""
    got = call(app, method, path, body, key=key)

    assert got.error[:2] == error[:2]
    assert error[2] is None or got.error[2] == error[2]


def test_a_rate_limit_has_its_type() -> None:
    """Over the limit: rate_limit_error with 429."""
    app = App(Journal(0), limits=(read_limit("requests=1/60s"),))
    call(app, "GET", f"{BASE}/models")

    assert call(app, "GET", f"{BASE}/models").error == (
        429,
        "rate_limit_error",
        "rate_limit_exceeded",
    )


def effective(app: App, body: Any) -> Any:
    """Send a chat; return the messages that the model got, from the journal."""
    assert call(app, "POST", CHAT, body).status == 200
    return app.journal.report()["entries"][-1]["effective"]


USER = {"role": "user", "content": "Hello"}
PARTS = [{"type": "text", "text": "Be brief."}]
OMEGA_PART = {"type": "text", "text": f"\n\n{OMEGA_PROMPT}"}


@pytest.mark.parametrize(
    ("model", "sent", "got"),
    [
        ("losi-omega", [USER], [{"role": "system", "content": OMEGA_PROMPT}, USER]),
        (
            "losi-omega",
            [{"role": "system", "content": "Be brief."}, USER],
            [{"role": "system", "content": f"Be brief.\n\n{OMEGA_PROMPT}"}, USER],
        ),
        (
            "losi-omega",
            [{"role": "developer", "content": PARTS}, USER],
            [{"role": "developer", "content": [*PARTS, OMEGA_PART]}, USER],
        ),
        ("losi-mini", [USER], [USER]),
    ],
)
def test_omega_has_a_prompt_of_its_own(app: App, model: str, sent: Any, got: Any) -> None:
    """The prompt is appended to the client's, or stands alone; other models have none."""
    assert effective(app, {"model": model, "messages": sent}) == got


def test_the_clients_prompt_is_obeyed_and_counted(app: App) -> None:
    """What the client's system message says holds for omega, and both prompts are counted."""
    system = {"role": "system", "content": "Remember word = falcon"}
    bodies = [
        {"model": model, "messages": [*first, {"role": "user", "content": "Recall word"}]}
        for model, first in (("losi-omega", [system]), ("losi-omega", []), ("losi-mini", [system]))
    ]
    got = [call(app, "POST", CHAT, body).body for body in bodies]
    tokens = [one["usage"]["prompt_tokens"] for one in got]

    assert got[0]["choices"][0]["message"]["content"] == "falcon"
    assert tokens[0] > tokens[1] > tokens[2]
    assert OMEGA_PROMPT[:20] not in str(got)


def test_the_life_of_a_key(app: App) -> None:
    """A key is made, told once, used, listed without its secret, deleted, and then refused."""
    made = call(app, "POST", KEYS, {"name": "nightly", "permissions": ["chat"]})
    key, secret = dict(made.body), made.body["key"]
    del key["key"]
    unused = call(app, "GET", KEYS).body["data"][-1]
    chatted = call(app, "POST", CHAT, chat("losi-mini"), key=secret).status
    listed = call(app, "GET", f"{BASE}/models", key=secret).error
    used = call(app, "GET", KEYS)
    deleted = call(app, "DELETE", f"{KEYS}?id={key['id']}")
    after = call(app, "GET", KEYS).body["data"]

    assert made.status == 201
    assert secret.startswith("losi-")
    assert (key["name"], key["permissions"]) == ("nightly", ["chat"])
    assert unused == key
    assert (chatted, listed[:2]) == (200, (403, "permission_error"))
    assert used.body["data"][-1]["last_used_at"] is not None
    assert secret.encode() not in used.text
    assert deleted.body == {"id": key["id"], "object": "api_key", "deleted": True}
    assert key["id"] not in [one["id"] for one in after]
    assert call(app, "POST", CHAT, chat("losi-mini"), key=secret).status == 401


@pytest.mark.parametrize(
    ("method", "path", "body", "error"),
    [
        ("POST", KEYS, {}, (400, "invalid_request_error", "missing_required_parameter")),
        ("POST", KEYS, {"name": 5}, (400, "invalid_request_error", "invalid_type")),
        ("POST", KEYS, {"name": " "}, (400, "invalid_request_error", "invalid_value")),
        ("POST", KEYS, {"name": "n", "permissions": "all"},
         (400, "invalid_request_error", "invalid_type")),
        ("DELETE", KEYS, None, (400, "invalid_request_error", "missing_required_parameter")),
        ("DELETE", f"{KEYS}?id=", None,
         (400, "invalid_request_error", "missing_required_parameter")),
        ("DELETE", f"{KEYS}?id=key_0", None, (404, "invalid_request_error", "key_not_found")),
    ],
)  # fmt: skip
def test_wrong_requests_for_keys(
    app: App, method: str, path: str, body: Any, error: tuple[Any, ...]
) -> None:
    """What is missing or of the wrong type is named, and nothing is made or deleted."""
    before = call(app, "GET", KEYS).body

    assert call(app, method, path, body).error == error
    assert len(call(app, "GET", KEYS).body["data"]) == len(before["data"])


def test_a_demo_key_stays(app: App) -> None:
    """The keys that were there from the beginning cannot be deleted."""
    demo = call(app, "GET", KEYS).body["data"][0]["id"]

    assert call(app, "DELETE", f"{KEYS}?id={demo}").error == (
        403,
        "permission_error",
        "key_protected",
    )
    assert call(app, "GET", KEYS).status == 200


def told(app: App, query: str = "", **more: Any) -> dict[str, Any]:
    """Return what the usage endpoint tells."""
    body: dict[str, Any] = call(app, "GET", f"{USAGE}{query}", **more).body
    return body


def test_usage_is_told_by_day_and_model(app: App) -> None:
    """Each row sums a day and a model; both ends of the range belong to it."""
    usages = [
        call(app, "POST", CHAT, chat(model)).body["usage"]
        for model in ("losi-mini", "losi-omega", "losi-mini")
    ]
    call(app, "POST", CHAT, chat("none"))
    today = app.state.today()
    got = told(app, f"?start_date={today}&end_date={today}")

    assert [(row["date"], row["model"], row["requests"]) for row in got["data"]] == [
        (today.isoformat(), "losi-mini", 2),
        (today.isoformat(), "losi-omega", 1),
    ]
    assert got["total_tokens"] == sum(usage["total_tokens"] for usage in usages)
    assert told(app)["data"] == got["data"]
    yesterday = today - timedelta(days=1)
    assert told(app, f"?end_date={yesterday}")["data"] == []
    assert told(app, f"?start_date={yesterday}")["data"] == got["data"]
    assert told(app, key=FREE)["data"] == []


def test_usage_without_dates_is_of_thirty_days(app: App) -> None:
    """The default ends today, and the first of all days begins no earlier than there are days."""
    got = told(app)
    first = told(app, "?end_date=0001-01-05")

    assert date.fromisoformat(got["end_date"]) - date.fromisoformat(got["start_date"]) == timedelta(
        days=29
    )
    assert first["start_date"] == "0001-01-01"


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("?start_date=2023-13-01", "start_date"),
        ("?start_date=yesterday", "start_date"),
        ("?end_date=2023-06-31", "end_date"),
        ("?end_date=20230601", "end_date"),
        ("?end_date=", "end_date"),
        ("?start_date=2023-06-02&end_date=2023-06-01", "start_date"),
    ],
)
def test_wrong_dates_are_refused(app: App, query: str, param: str) -> None:
    """What is no day, or a range that ends before it begins, is an error of the request."""
    got = call(app, "GET", f"{USAGE}{query}")

    assert got.error[:2] == (400, "invalid_request_error")
    assert got.body["error"]["param"] == param


TEXTS = st.text(max_size=12) | st.sampled_from(["2026-11-21", "9999-12-31", "key_", "*"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@given(
    method=st.sampled_from(["GET", "POST", "DELETE"]),
    route=st.sampled_from([KEYS, USAGE, "/omai/v1/auth/login"]),
    query=st.dictionaries(
        st.sampled_from(["id", "start_date", "end_date"]) | TEXTS, TEXTS, max_size=3
    ),
    body=st.none() | VALUES | st.fixed_dictionaries({"name": VALUES, "permissions": VALUES}),
    header=TEXTS,
)
def test_no_request_is_an_error_of_ours(
    method: str, route: str, query: dict[str, str], body: Any, header: str
) -> None:
    """Whatever is asked of accounts, the answer is no 5xx."""
    app = App(Journal(0))
    headers = [("authorization", f"Basic {header}")] if "login" in route else []
    key = None if headers else DEMO
    path = f"{route}?{urlencode(query, errors='replace')}"

    assert call(app, method, path, body, key=key, headers=headers).status < 500
