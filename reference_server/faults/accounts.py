"""Faults of accounts: keys and their permissions, usage statistics, plans, and logins."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from ..access import Caller
from ..call import Call
from ..errors import ApiError
from ..jsontext import Json
from ..script import Reply
from ..state import Key, State, UsageRow
from .table import fault

if TYPE_CHECKING:
    from collections.abc import Callable

__all__: list[str] = []


class _Altered:
    """A state of which some functions are others."""

    def __init__(self, state: State, others: "dict[str, Callable[..., Any]]") -> None:
        self._state = state
        self._others = others

    def __getattr__(self, name: str) -> Any:
        return self._others.get(name) or getattr(self._state, name)


def _altered(state: State, **others: "Callable[..., Any]") -> State:
    return cast("State", _Altered(state, others))


def _bare(state: State) -> State:
    """Return the state behind those that alter it."""
    while isinstance(state, _Altered):
        state = state._state  # noqa: SLF001  # of the class above
    return state


def _is_account(call: Call) -> bool:
    return call.route[:1] in {("api-keys",), ("api-usage",)}


@fault("account-without-auth", "request", "Shows keys and usage to callers without a key.")
def _without_auth(call: Call) -> Call:
    return replace(call, key=call.profile.key) if _is_account(call) else call


# Keys

_SECRETS: WeakKeyDictionary[State, dict[str, str]] = WeakKeyDictionary()
_HIDDEN: WeakKeyDictionary[State, set[str]] = WeakKeyDictionary()


@fault("keys-secret-in-list", "state", "Shows whole secrets in the list of keys.")
def _secret_in_list(state: State) -> State:
    secrets = _SECRETS.setdefault(_bare(state), {})

    def create_key(*given: Any, **named: Any) -> tuple[Key, str]:
        key, secret = state.create_key(*given, **named)
        secrets[key.id] = secret
        return key, secret

    def keys(account: str) -> list[Key]:
        return [replace(key, hint=secrets.get(key.id, key.hint)) for key in state.keys(account)]

    return _altered(state, create_key=create_key, keys=keys)


@fault("keys-secret-not-told", "json", "Never tells the secret of a new key.")
def _secret_not_told(value: Json, call: Call) -> Json:
    if call.route == ("api-keys",) and call.method == "POST" and isinstance(value, dict):
        value.pop("key", None)
    return value


@fault("keys-secret-dead", "state", "Tells a secret that opens nothing.")
def _secret_dead(state: State) -> State:
    def create_key(*given: Any, **named: Any) -> tuple[Key, str]:
        key, secret = state.create_key(*given, **named)
        return key, secret[:-4] + "AAAA"

    return _altered(state, create_key=create_key)


@fault("keys-list-stale", "state", "Lists only the keys that were there at the beginning.",
       "lists from a cache")  # fmt: skip
def _list_stale(state: State) -> State:
    def keys(account: str) -> list[Key]:
        return [key for key in state.keys(account) if key.seeded]

    return _altered(state, keys=keys)


@fault("keys-delete-ignored", "state", "Says that a key is deleted, and keeps it.")
def _delete_ignored(state: State) -> State:
    def delete_key(account: str, id_: str) -> bool:
        return any(key.id == id_ and not key.seeded for key in state.keys(account))

    return _altered(state, delete_key=delete_key)


@fault("keys-delete-still-valid", "state", "Takes a deleted key out of the list, and still takes "
       "its secret.", "keys in a cache")  # fmt: skip
def _still_valid(state: State) -> State:
    hidden = _HIDDEN.setdefault(_bare(state), set())

    def keys(account: str) -> list[Key]:
        return [key for key in state.keys(account) if key.id not in hidden]

    def delete_key(account: str, id_: str) -> bool:
        known = any(key.id == id_ and not key.seeded for key in keys(account))
        if known:
            hidden.add(id_)
        return known

    return _altered(state, keys=keys, delete_key=delete_key)


def _deletes(call: Call) -> bool:
    return call.route == ("api-keys",) and call.method == "DELETE"


def _deleted(reply: Reply, call: Call) -> Reply:
    body = {"id": call.query.get("id"), "object": "api_key", "deleted": True}
    return replace(reply, status=200, body=body, error=False)


def _failed(reply: Reply) -> Reply:
    error = {"message": "Internal error.", "type": "server_error", "param": None, "code": None}
    return replace(reply, status=500, body={"error": error}, error=True)


def _code(reply: Reply) -> Json:
    error = reply.body.get("error") if isinstance(reply.body, dict) else None
    return error.get("code") if reply.error and isinstance(error, dict) else None


@fault("keys-delete-unknown-200", "reply", "Says that a key is deleted that there never was.")
def _unknown_200(reply: Reply, call: Call) -> Reply:
    return _deleted(reply, call) if _code(reply) == "key_not_found" else reply


@fault("keys-delete-unknown-500", "reply", "Fails on the deletion of an unknown key.")
def _unknown_500(reply: Reply) -> Reply:
    return _failed(reply) if _code(reply) == "key_not_found" else reply


@fault("keys-delete-no-id-200", "reply", "Says that a key is deleted when none was named.")
def _no_id_200(reply: Reply, call: Call) -> Reply:
    return _deleted(reply, call) if _deletes(call) and not call.query.get("id") else reply


@fault("keys-delete-no-id-500", "reply", "Fails on a deletion that names no key.")
def _no_id_500(reply: Reply, call: Call) -> Reply:
    return _failed(reply) if _deletes(call) and not call.query.get("id") else reply


@fault("keys-delete-query-ignored", "request", "Looks for the id of a key to delete elsewhere "
       "than in the query.")  # fmt: skip
def _query_ignored(call: Call) -> Call:
    return replace(call, query={}) if _deletes(call) else call


@fault("keys-id-plain", "state", "Gives keys ids that do not begin with key_.")
def _id_plain(state: State) -> State:
    def plain(key: Key) -> Key:
        return replace(key, id=key.id.removeprefix("key_"))

    def create_key(*given: Any, **named: Any) -> tuple[Key, str]:
        key, secret = state.create_key(*given, **named)
        return plain(key), secret

    def delete_key(account: str, id_: str) -> bool:
        return state.delete_key(account, f"key_{id_.removeprefix('key_')}")

    return _altered(
        state,
        create_key=create_key,
        delete_key=delete_key,
        keys=lambda account: [plain(key) for key in state.keys(account)],
    )


def _creates(call: Call) -> bool:
    return call.route == ("api-keys",) and call.method == "POST" and isinstance(call.payload, dict)


@fault("keys-missing-name-200", "request", "Makes a key that has no name.")
def _missing_name_200(call: Call) -> Call:
    if not _creates(call) or isinstance(call.payload.get("name"), str):
        return call
    return replace(call, payload={**call.payload, "name": "unnamed"}, changed=True)


@fault("keys-missing-name-500", "reply", "Fails on a key that has no name.")
def _missing_name_500(reply: Reply, call: Call) -> Reply:
    return _failed(reply) if _creates(call) and reply.status == 400 else reply


@fault("keys-create-refused", "reply", "Makes no key for anybody.")
def _create_refused(reply: Reply, call: Call) -> Reply:
    if not _creates(call) or reply.error:
        return reply
    error = {
        "message": "Keys are made on the website.", "type": "permission_error", "param": None,
        "code": "insufficient_permissions",
    }  # fmt: skip
    return replace(reply, status=403, body={"error": error}, error=True)


# Permissions and plans


@fault("permission-ignored", "caller", "Lets every key do everything.")
def _permission_ignored(caller: Caller) -> Caller:
    return replace(caller, permissions=None)


def _refused(reply: Reply, code: str, status: int, type_: str) -> Reply:
    if _code(reply) != code:
        return reply
    body = {"error": {**reply.body["error"], "type": type_}}  # type: ignore[index]  # it has a code
    return replace(reply, status=status, body=body)


@fault("permission-401", "reply", "Answers a key without the permission as a wrong key.")
def _permission_401(reply: Reply) -> Reply:
    return _refused(reply, "insufficient_permissions", 401, "authentication_error")


@fault("permission-500", "reply", "Fails on a key without the permission.")
def _permission_500(reply: Reply) -> Reply:
    return _failed(reply) if _code(reply) == "insufficient_permissions" else reply


@fault("plan-ignored", "caller", "Gives everybody the models and the quota of the highest plan.")
def _plan_ignored(caller: Caller) -> Caller:
    return replace(caller, plan=replace(caller.plan, models=None, quota_tokens=None))


@fault("plan-model-500", "reply", "Fails on a model that the plan does not have.")
def _plan_500(reply: Reply) -> Reply:
    return _failed(reply) if _code(reply) == "model_not_in_plan" else reply


@fault("quota-as-rate-limit", "reply", "Answers a quota that is used up as a rate limit.",
       "clients that try again for ever")  # fmt: skip
def _quota_type(reply: Reply) -> Reply:
    return _refused(reply, "insufficient_quota", 429, "rate_limit_error")


@fault("models-list-changes", "json", "Lists another set of models at each request.")
def _list_changes(value: Json, call: Call) -> Json:
    if call.route != ("models",) or not isinstance(value, dict) or not value.get("data"):
        return value
    extra = {**value["data"][0], "id": f"model-{call.id[-6:]}"}
    return {**value, "data": [*value["data"], extra]}


# Usage statistics


@fault("usage-not-counted", "state", "Counts no usage.")
def _not_counted(state: State) -> State:
    return _altered(state, record=lambda *_: None)


def _usage(state: State, change: "Callable[[list[UsageRow]], list[UsageRow]]") -> State:
    def usage(account: str, first: date, last: date) -> list[UsageRow]:
        return change(state.usage(account, first, last))

    return _altered(state, usage=usage)


@fault("usage-dates-exclusive", "state", "Leaves the last day of a range out.")
def _exclusive(state: State) -> State:
    def usage(account: str, first: date, last: date) -> list[UsageRow]:
        return state.usage(account, first, max(date.min + timedelta(1), last) - timedelta(1))

    return _altered(state, usage=usage)


@fault("usage-dates-ignored", "state", "Tells all usage, whatever the dates.")
def _dates_ignored(state: State) -> State:
    return _altered(
        state, usage=lambda account, _first, _last: state.usage(account, date.min, date.max)
    )


@fault("usage-day-shifted", "state", "Tells usage under the day after it.", "time zones")
def _day_shifted(state: State) -> State:
    return _usage(state, lambda rows: [replace(r, day=r.day + timedelta(1)) for r in rows])


@fault("usage-stats-negative", "state", "Tells of negative tokens.")
def _stats_negative(state: State) -> State:
    return _usage(
        state, lambda rows: [replace(row, prompt_tokens=-row.prompt_tokens - 1) for row in rows]
    )


@fault("usage-stats-decrease", "state", "Tells of fewer tokens after each request.")
def _stats_decrease(state: State) -> State:
    def fewer(rows: Iterable[UsageRow]) -> list[UsageRow]:
        return [
            replace(
                row,
                requests=max(0, 10**6 - row.requests),
                prompt_tokens=max(0, 10**9 - row.prompt_tokens),
                completion_tokens=max(0, 10**9 - row.completion_tokens),
            )
            for row in rows
        ]

    return _usage(state, fewer)


def _is_usage(call: Call) -> bool:
    return call.route == ("api-usage",)


@fault("usage-stats-text", "reply", "Tells usage as a JSON string.")
def _stats_text(reply: Reply, call: Call) -> Reply:
    return replace(reply, body="ok") if _is_usage(call) and not reply.error else reply


@fault("usage-stats-404", "reply", "Has no usage statistics.")
def _stats_404(reply: Reply, call: Call) -> Reply:
    if not _is_usage(call) or reply.error:
        return reply
    error = {
        "message": "Not found.", "type": "invalid_request_error", "param": None,
        "code": "unknown_url",
    }  # fmt: skip
    return replace(reply, status=404, body={"error": error}, error=True)


def _bad_date(reply: Reply, call: Call) -> bool:
    error = reply.body.get("error") if isinstance(reply.body, dict) else None
    return _is_usage(call) and reply.error and isinstance(error, dict) and (
        "expected a day" in str(error.get("message"))
    )  # fmt: skip


@fault(
    "usage-bad-date-500", "reply", "Fails on dates that are none.", "dates that go to a database"
)
def _bad_date_500(reply: Reply, call: Call) -> Reply:
    return _failed(reply) if _bad_date(reply, call) else reply


@fault("usage-bad-date-200", "reply", "Answers dates that are none with no usage.")
def _bad_date_200(reply: Reply, call: Call) -> Reply:
    if not _bad_date(reply, call):
        return reply
    return replace(reply, status=200, body={"object": "list", "data": []}, error=False)


@fault("usage-range-500", "reply", "Fails on a range that ends before it begins.")
def _range_500(reply: Reply, call: Call) -> Reply:
    backwards = _is_usage(call) and reply.error and not _bad_date(reply, call)
    return _failed(reply) if backwards and reply.status == 400 else reply


@fault("usage-no-dates-500", "reply", "Fails without dates.")
def _no_dates_500(reply: Reply, call: Call) -> Reply:
    missing = _is_usage(call) and not {"start_date", "end_date"} <= call.query.keys()
    return _failed(reply) if missing and not reply.error else reply


# Logins


def _is_login(call: Call) -> bool:
    return call.route == ("auth", "login")


@fault("login-accepts-any", "state", "Takes every name and password.")
def _accepts_any(state: State, call: Call) -> State:
    user = call.profile.user
    if user is None:
        return state
    return _altered(state, login=lambda profile, *_: state.login(profile, *user))


@fault("login-without-credentials", "reply", "Begins a session for who names nobody.")
def _without_credentials(reply: Reply, call: Call) -> Reply:
    if not _is_login(call) or call.header("authorization") is not None:
        return reply
    body = {"access_token": "anonymous", "token_type": "bearer", "expires_in": 3600}
    return replace(reply, status=200, body=body, error=False)


@fault("login-refused", "state", "Lets nobody log in.")
def _login_refused(state: State) -> State:
    return _altered(state, login=lambda *_: None)


@fault("login-500", "reply", "Fails on a login with wrong credentials, or none.")
def _login_500(reply: Reply, call: Call) -> Reply:
    return _failed(reply) if _is_login(call) and reply.error else reply


@fault("login-needs-body", "request", "Refuses a login without a body.")
def _needs_body(call: Call) -> Call:
    if not _is_login(call) or call.body:
        return call
    raise ApiError(400, "The request has no body: send a JSON object.", code="invalid_json")


@fault("login-session-dead", "state", "Begins sessions that open nothing.")
def _session_dead(state: State) -> State:
    def login(*given: str) -> tuple[str, int] | None:
        session = state.login(*given)
        return None if session is None else (session[0][:-4] + "AAAA", session[1])

    return _altered(state, login=login)


@fault("login-cookie-open", "reply", "Sets the session's cookie without Secure and HttpOnly.")
def _cookie_open(reply: Reply) -> Reply:
    cookie = reply.header("Set-Cookie")
    if cookie is None:
        return reply
    bare = cookie.replace("; HttpOnly", "").replace("; Secure", "")
    return replace(reply, headers=reply.with_header("Set-Cookie", bare))
