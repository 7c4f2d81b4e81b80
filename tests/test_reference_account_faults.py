"""Faults of accounts, limits, embeddings and prompts: each changes its own part of a story only.

A story is a run of calls against one gateway. Under a fault, what differs from the healthy story is
exactly what stands in the table.
"""

import base64
import re
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from gateproof.reference_server.app import App
from gateproof.reference_server.faults import FAULTS
from gateproof.reference_server.journal import Journal
from gateproof.reference_server.limits import Ruler, read_limit
from gateproof.reference_server.omega import OMEGA_PROMPT

from tests.reference_calls import Got, call, chat

FREE, SPENT, READONLY = (f"sk-gateproof-losi-{end}" for end in ("free", "spent", "readonly"))
HERE = (".accounts", ".limits", ".embeddings", ".omega")
Told = Iterator[tuple[str, Any]]


def short(got: Got) -> Any:
    """Return the status, and of an error its type and code."""
    try:
        body = got.body
    except ValueError:
        return got.status, got.text[:20]
    error = body.get("error") if isinstance(body, dict) else None
    return (got.status, error["type"], error["code"]) if error else got.status


def losi(app: App, path: str) -> Told:
    """Tell of models, keys, usage and errors, each under the name of what it shows."""
    base = f"{path}/losi/api/v1"

    def ask(method: str, route: str, body: Any = None, **more: Any) -> Got:
        return call(app, method, f"{base}/{route}", body, **more)

    listed = [ask("GET", "models"), ask("GET", "models")]
    yield "models same", listed[0].body == listed[1].body
    yield "models", [card["id"] for card in listed[0].body["data"] if "model-" not in card["id"]]
    yield "models free", len(ask("GET", "models", key=FREE).body["data"])
    yield "auth", short(ask("POST", "chat/completions", chat("losi-mini"), key="x"))
    yield "auth keys", short(ask("GET", "api-keys", key=None))
    yield "auth usage", short(ask("GET", "api-usage", key="x"))
    yield "plan", short(ask("POST", "chat/completions", chat("losi-omega"), key=FREE))
    yield "quota", short(ask("POST", "chat/completions", chat("losi-mini"), key=SPENT))
    yield "permission", short(ask("POST", "chat/completions", chat("losi-mini"), key=READONLY))
    yield "unknown", short(ask("POST", "chat/completions", chat("none")))
    yield from _keys(ask)
    yield from _usage(app, ask)
    yield "no name", short(ask("POST", "api-keys", {"permissions": []}))
    yield "no id", short(ask("DELETE", "api-keys"))
    yield "unknown id", short(ask("DELETE", "api-keys?id=key_0"))


def _keys(ask: Any) -> Told:
    made = ask("POST", "api-keys", {"name": "n", "permissions": ["chat"]})
    yield "key made", short(made)
    key = made.body if made.status == 201 else {}
    secret = key.get("key", "")
    keys = ask("GET", "api-keys")
    ids = [one["id"] for one in keys.body["data"]]
    yield "key told", bool(secret)
    yield "key id", str(key.get("id"))[:4] == "key_"
    yield "key listed", key.get("id") in ids
    yield "key in list", bool(secret) and secret in keys.text.decode()
    yield "key chats", short(ask("POST", "chat/completions", chat("losi-mini"), key=secret))
    yield "key lists", short(ask("GET", "models", key=secret))
    yield "key deleted", short(ask("DELETE", f"api-keys?id={key.get('id')}"))
    after = [one["id"] for one in ask("GET", "api-keys").body["data"]]
    yield "key gone", key.get("id") not in after
    yield "key dead", short(ask("POST", "chat/completions", chat("losi-mini"), key=secret))


def _usage(app: App, ask: Any) -> Told:
    today = app.state.today().isoformat()
    got = ask("GET", f"api-usage?start_date={today}&end_date={today}")
    body = got.body if got.status == 200 and isinstance(got.body, dict) else {}
    yield "usage", type(got.body).__name__ if got.status == 200 else got.status
    yield "usage rows", bool(body.get("data"))
    yield "usage days", {row["date"] for row in body.get("data", ())} <= {today}
    yield "usage sane", body.get("total_prompt_tokens", 0) >= 0
    ask("POST", "chat/completions", chat("losi-mini"))
    more = ask("GET", f"api-usage?start_date={today}&end_date={today}")
    after = more.body if isinstance(more.body, dict) else {}
    yield "usage grows", after.get("total_tokens", 0) > body.get("total_tokens", 0)
    yield "usage falls", after.get("total_tokens", 0) < body.get("total_tokens", 0)
    old = ask("GET", "api-usage?start_date=2001-01-01&end_date=2001-01-02").body
    yield "usage old", isinstance(old, dict) and bool(old.get("data"))
    yield "usage dateless", short(ask("GET", "api-usage"))
    yield "usage bad", short(ask("GET", f"api-usage?start_date=2023-06-31&end_date={today}"))
    yield "usage back", short(ask("GET", "api-usage?start_date=2023-06-02&end_date=2023-06-01"))


def omega(app: App, path: str) -> Told:
    """Tell what the model got and said, with and without a prompt of the client's."""
    system = {"role": "system", "content": "Remember word = falcon"}
    user = {"role": "user", "content": "Recall word"}
    for model in ("losi-omega", "losi-mini"):
        for name, messages in (("own", [system, user]), ("bare", [user])):
            body = {"model": model, "messages": messages}
            got = call(app, "POST", f"{path}/losi/api/v1/chat/completions", body)
            place = f"{model[5:]} {name}"
            if got.status != 200:
                yield place, got.status
                continue
            entry = app.journal.report()["entries"][-1]
            texts = [one["content"] for one in entry["effective"] if one["role"] == "system"]
            joined = " / ".join(texts).replace(OMEGA_PROMPT, "P").replace("\n\n", " ")
            yield f"{place} prompt", joined.replace(system["content"], "S")
            choices = got.body["choices"]
            yield f"{place} answer", choices[0]["message"]["content"].replace(OMEGA_PROMPT, "P")
            yield f"{place} choices", len(choices)


def login(app: App, path: str) -> Told:
    """Tell how logins go, and what a session opens."""
    base = f"{path}/omai/v1"
    word = base64.b64encode(b"demo:gateproof-demo-password").decode()
    wrong = base64.b64encode(b"demo:wrong").decode()

    def begin(*headers: tuple[str, str]) -> Got:
        return call(app, "POST", f"{base}/auth/login", key=None, headers=headers)

    got = begin(("authorization", f"Basic {word}"))
    yield "right", short(got)
    cookie = got.headers.get("set-cookie", "")
    yield "cookie", sorted(re.findall("HttpOnly|Secure", cookie))
    token = got.body.get("access_token", "-") if got.status == 200 else "-"
    body = chat("omai-gpt-4")
    yield "token", short(call(app, "POST", f"{base}/chat/completions", body, key=token))
    session = [("cookie", cookie.partition(";")[0])]
    with_cookie = call(app, "POST", f"{base}/chat/completions", body, key=None, headers=session)
    yield "session", short(with_cookie)
    yield "wrong", short(begin(("authorization", f"Basic {wrong}")))
    yield "nobody", short(begin())


class Time:
    """A clock that stands until it is moved."""

    ns = 10**15

    def __call__(self) -> int:
        """Return the time."""
        return self.ns


def limits(_app: App, path: str) -> Told:
    """Tell how many pass, what is told of it, and whether the wait is true."""
    clock = Time()
    rules = tuple(map(read_limit, ("requests=4/60s", "tokens=2000/60s")))
    app = App(Journal(0), ruler=Ruler(clock_ns=clock), limits=rules)
    route = f"{path}/v1/chat/completions"
    small, large = chat("gpt-4o-mini", "Hi", max_tokens=1), chat("gpt-4o-mini", "a " * 990)
    first = call(app, "POST", route, small)
    told = {n.removeprefix("x-ratelimit-"): v for n, v in first.headers.items() if "ratelimit" in n}
    reset = told.get("reset-requests", "")
    yield "told", sorted(told)
    yield "limit", told.get("limit-requests")
    yield "remaining", told.get("remaining-requests")
    yield "reset", "unix" if reset.isdigit() else reset
    got = [first, *(call(app, "POST", route, small) for _ in range(9))]
    refused = next((one for one in got if one.status != 200), None)
    yield "passed", [one.status for one in got].count(200)
    other = call(app, "POST", route, small, key="sk-gateproof-openai-default-2")
    yield "other key", other.status
    yield "refusal", None if refused is None else short(refused)
    yield from _waits(app, route, clock, refused)
    clock.ns += 10**12
    tokens = [call(app, "POST", route, large).status for _ in range(3)]
    yield "tokens", tokens.count(200)


def _waits(app: App, route: str, clock: Time, refused: Got | None) -> Told:
    wait = "" if refused is None else refused.headers.get("retry-after", "")
    if not wait.isdigit():
        yield "wait", bool(wait)
        return
    body = chat("gpt-4o-mini", "Hi", max_tokens=1)
    yield "wait", int(wait) <= 60
    clock.ns += (int(wait) - 1) * 10**9
    yield "before", call(app, "POST", route, body).status == 200
    clock.ns += 10**9
    yield "after", call(app, "POST", route, body).status == 200


def embeddings(app: App, path: str) -> Told:
    """Tell of vectors in both encodings, of their order, and of refusals."""

    def ask(given: Any, **more: Any) -> Got:
        body = {"model": "text-embedding-3-small", "input": given, **more}
        return call(app, "POST", f"{path}/v1/embeddings", body)

    got = ask(["one", "two"])
    if b"NaN" in got.text or got.status != 200:
        yield "list", got.status if b"NaN" not in got.text else "NaN"
    else:
        rows = got.body["data"]
        yield "list", [row["index"] for row in rows]
        yield "lengths", [len(row["embedding"]) for row in rows]
        yield "numbers", [row["embedding"][:2] for row in rows]
        yield "model", got.body["model"]
        yield "usage", got.body.get("usage")
    coded = ask("one", encoding_format="base64").body["data"][0]["embedding"]
    yield "base64", coded[:40] if isinstance(coded, str) else "numbers"
    short_ = ask("one", dimensions=8, encoding_format="base64").body["data"][0]["embedding"]
    yield "dimensions", len(base64.b64decode(short_)) if isinstance(short_, str) else len(short_)
    yield "tokens", short(ask([1, 2]))
    yield "empty", short(ask([]))
    body = {"model": "text-embedding-3-small"}
    yield "missing", short(call(app, "POST", f"{path}/v1/embeddings", body))


STORIES = {"losi": losi, "omega": omega, "login": login, "limits": limits, "embeddings": embeddings}
MINE = sorted(name for name, row in FAULTS.items() if row.act.__module__.endswith(HERE))
# What differs in each story; all others go as they do without the fault.
CHANGED = {
    "account-without-auth": "losi: auth keys, auth usage",
    "embeddings-base64-big-endian": "embeddings: base64",
    "embeddings-base64-float64": "embeddings: base64, dimensions",
    "embeddings-base64-ignored": "embeddings: base64, dimensions",
    "embeddings-dimensions-ignored": "embeddings: dimensions",
    "embeddings-empty-200": "embeddings: empty",
    "embeddings-entry-lost": "embeddings: list, lengths, numbers",
    "embeddings-float-differs": "embeddings: numbers",
    "embeddings-index-zero": "embeddings: list",
    "embeddings-length-differs": "embeddings: lengths",
    "embeddings-list-refused": "embeddings: list, lengths, numbers, model, usage, tokens, empty",
    "embeddings-missing-input-200": "embeddings: missing",
    "embeddings-model-other": "embeddings: model",
    "embeddings-nan": "embeddings: list, lengths, numbers, model, usage",
    "embeddings-order": "embeddings: list, numbers",
    "embeddings-strings": "embeddings: numbers",
    "embeddings-swapped": "embeddings: numbers",
    "embeddings-tokens-500": "embeddings: tokens",
    "embeddings-usage-differs": "embeddings: usage",
    "embeddings-usage-missing": "embeddings: usage",
    "embeddings-vector-empty": "embeddings: lengths, numbers, base64, dimensions",
    "keys-create-refused":
        "losi: key made, key told, key id, key listed, key chats, key lists, key deleted, "
        "usage rows",
    "keys-delete-ignored": "losi: key gone, key dead",
    "keys-delete-no-id-200": "losi: no id",
    "keys-delete-no-id-500": "losi: no id",
    "keys-delete-query-ignored": "losi: key deleted, key gone, key dead, unknown id",
    "keys-delete-still-valid": "losi: key dead",
    "keys-delete-unknown-200": "losi: unknown id",
    "keys-delete-unknown-500": "losi: unknown id",
    "keys-id-plain": "losi: key id",
    "keys-list-stale": "losi: key listed",
    "keys-missing-name-200": "losi: no name",
    "keys-missing-name-500": "losi: no name",
    "keys-secret-dead": "losi: key chats, key lists, usage rows",
    "keys-secret-in-list": "losi: key in list",
    "keys-secret-not-told": "losi: key told, key chats, key lists, usage rows",
    "limit-body-text": "limits: refusal",
    "limit-doubled": "limits: limit, remaining, passed, tokens",
    "limit-halved": "limits: limit, remaining, passed, tokens",
    "limit-requests-ignored":
        "limits: told, limit, remaining, reset, passed, refusal, wait, before, after",
    "limit-shared": "limits: other key",
    "limit-status-400": "limits: refusal",
    "limit-status-503": "limits: refusal",
    "limit-tokens-ignored": "limits: told, tokens",
    "limit-window-long": "limits: reset, wait",
    "login-500": "login: wrong, nobody",
    "login-accepts-any": "login: wrong",
    "login-cookie-open": "login: cookie",
    "login-needs-body": "login: right, cookie, token, session, wrong, nobody",
    "login-refused": "login: right, cookie, token, session",
    "login-session-dead": "login: token, session",
    "login-without-credentials": "login: nobody",
    "models-list-changes": "losi: models same, models free",
    "omega-everywhere": "omega: mini own prompt, mini bare prompt",
    "omega-extra-choice": "omega: omega own choices, omega bare choices",
    "omega-not-injected": "omega: omega own prompt, omega bare prompt",
    "omega-own-message": "omega: omega own prompt",
    "omega-prompt-first": "omega: omega own prompt",
    "omega-prompt-leaked": "omega: omega own answer, omega bare answer",
    "omega-replaces-system": "omega: omega own prompt, omega own answer",
    "omega-unknown":
        "losi: plan; omega: omega own prompt, omega own answer, omega own choices, omega "
        "bare prompt, omega bare answer, omega bare choices, omega own, omega bare",
    "omega-unlisted": "losi: models",
    "permission-401": "losi: permission, key lists",
    "permission-500": "losi: permission, key lists",
    "permission-ignored": "losi: permission, key lists",
    "plan-ignored": "losi: models free, plan, quota",
    "plan-model-500": "losi: plan",
    "quota-as-rate-limit": "losi: quota",
    "ratelimit-headers-missing": "limits: told, limit, remaining, reset",
    "ratelimit-limit-wrong": "limits: limit",
    "ratelimit-remaining-frozen": "limits: remaining",
    "ratelimit-reset-unix": "limits: reset",
    "ratelimit-reset-zero": "limits: reset",
    "retry-after-date": "limits: before, after",
    "retry-after-long": "limits: wait, before",
    "retry-after-short": "limits: after",
    "tier-ignored":
        "limits: told, limit, remaining, reset, passed, refusal, wait, before, after, tokens",
    "tier-lowest":
        "limits: told, limit, remaining, passed, refusal, wait, before, after, tokens",
    "usage-bad-date-200": "losi: usage bad",
    "usage-bad-date-500": "losi: usage bad",
    "usage-dates-exclusive": "losi: usage rows, usage grows",
    "usage-dates-ignored": "losi: usage old",
    "usage-day-shifted": "losi: usage days",
    "usage-no-dates-500": "losi: usage dateless",
    "usage-not-counted": "losi: usage rows, usage grows",
    "usage-range-500": "losi: usage back",
    "usage-stats-404": "losi: usage, usage rows, usage grows, usage dateless",
    "usage-stats-decrease": "losi: usage grows, usage falls",
    "usage-stats-negative": "losi: usage sane",
    "usage-stats-text": "losi: usage, usage rows, usage grows",
}  # fmt: skip


def tell(name: str, path: str = "") -> dict[str, Any]:
    """Run a story on a gateway of its own."""
    return dict(STORIES[name](App(Journal(1_000_000)), path))


@pytest.fixture(scope="module")
def healthy() -> dict[str, dict[str, Any]]:
    """Give every story as it goes without any fault."""
    return {name: tell(name) for name in STORIES}


def changes(healthy: dict[str, dict[str, Any]], fault: str) -> str:
    """Return what is different under a fault, by story."""
    found = []
    for name in STORIES:
        told = tell(name, f"/with/{fault}")
        kept = healthy[name]
        places = [p for p in [*kept, *told] if told.get(p, "-") != kept.get(p, "-")]
        if places:
            found.append(f"{name}: {', '.join(dict.fromkeys(places))}")
    return "; ".join(found)


def test_each_fault_has_a_place_in_the_table() -> None:
    """The table names the rows of these rooms, and no other."""
    assert sorted(CHANGED) == MINE


@pytest.mark.parametrize("fault", MINE)
def test_a_fault_changes_its_own_part_only(healthy: dict[str, dict[str, Any]], fault: str) -> None:
    """Under a fault the stories differ exactly where the table says."""
    assert changes(healthy, fault) == CHANGED[fault]


def test_a_healthy_story_is_the_same_each_time(healthy: dict[str, dict[str, Any]]) -> None:
    """Nothing in a story depends on the run."""
    assert {name: tell(name) for name in STORIES} == healthy


def test_a_date_in_retry_after_is_never_early() -> None:
    """Written as a date, the time to wait is rounded up."""
    app = App(Journal(0), limits=(read_limit("requests=1/60s"),))
    for _ in range(2):
        got = call(app, "GET", "/with/retry-after-date/v1/models")
    due = parsedate_to_datetime(got.headers["retry-after"])
    now = parsedate_to_datetime(got.headers["date"])

    assert 60 <= (due - now).total_seconds() <= 62
