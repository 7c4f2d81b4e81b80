"""Read targets from a ``gateproof.toml``, strictly: every mistake is named with its place.

A secret is named there as ``{ env = "NAME" }``; a credential that is written out is refused.
"""

import datetime as dt
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateproof.budget import budget_of
from gateproof.errors import UsageError, unknown_name
from gateproof.target import Login, Target, Upstream, Waiver, check_url, check_variable

__all__ = ["CONFIG_NAME", "load_targets"]

CONFIG_NAME = "gateproof.toml"
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, section 5.6.2, token
# Headers that carry a credential whatever the gateway: their values are named, not written.
_CREDENTIALS = {
    "authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-goog-api-key",
}  # fmt: skip


def load_targets(path: Path) -> dict[str, Target]:
    """Read a ``gateproof.toml``; every mistake is named with its place and the valid keys."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise UsageError(
            f"There is no {path}.",
            "Write one with `gateproof init`, or name a target by its URL: --target http://…",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}.", "Correct it there.") from None
    _known(data, {"targets"}, str(path))
    tables = data.get("targets", {})
    if not isinstance(tables, dict) or not tables:
        raise UsageError(f"{path} names no target.", "Add a table [targets.NAME] with a url.")
    return {name: _target(name, table, path) for name, table in tables.items()}


_KEYS = {
    "url", "profile", "key", "models", "headers", "upstream", "concurrency", "idle_timeout_s",
    "total_timeout_s", "disclaims", "waive", "load_allowed", "keys", "login", "clock_scale",
    "budget",
}  # fmt: skip


def _target(name: str, table: Any, path: Path) -> Target:
    place = f"{path}, [targets.{name}]"
    if not isinstance(table, dict):
        raise UsageError(f"{place} is not a table.", f'Write [targets.{name}] and url = "…".')
    _known(table, _KEYS, place)
    if "url" not in table:
        raise UsageError(f"{place} has no url.", 'Add url = "http://127.0.0.1:4000/v1".')
    headers = {}
    secret_headers = {}
    for key, value in _table(table, "headers", place).items():
        if not _HEADER_NAME.fullmatch(key):
            raise UsageError(f"{place}, headers: {key!r} is no name that a header can have.")
        if isinstance(value, dict):
            secret_headers[key] = _env(value, f"{place}, headers.{key}")
        else:
            headers[key] = _header(key, value, f"{place}, headers.{key}")
    upstream = None
    if "upstream" in table:
        given = _table(table, "upstream", place)
        _known(given, {"url", "models", "base"}, f"{place}, upstream")
        upstream = Upstream(
            _url(given.get("url", ""), f"{place}, upstream.url"),
            _str(given.get("models", "{name}"), f"{place}, upstream.models"),
            _str(given.get("base", ""), f"{place}, upstream.base"),
        )
        if "{name}" not in upstream.models:
            raise UsageError(
                f"{place}, upstream.models has no {{name}} in it.",
                'Say where the upstream finds its own model name, such as "mock/{name}".',
            )
    waivers = table.get("waive", [])
    if not isinstance(waivers, list):
        raise UsageError(
            f"{place}, waive is not an array of tables.", "Write [[targets.NAME.waive]]."
        )
    return Target(
        name=name,
        url=_url(table["url"], f"{place}, url"),
        profile=_str(table.get("profile", "openai"), f"{place}, profile"),
        key_env=_env(table["key"], f"{place}, key") if "key" in table else None,
        models={
            use: _str(model, f"{place}, models.{use}")
            for use, model in _table(table, "models", place).items()
        },
        headers=headers,
        secret_headers=secret_headers,
        upstream=upstream,
        concurrency=_whole(table.get("concurrency", 16), f"{place}, concurrency", 1, 256),
        idle_timeout_s=_number(
            table.get("idle_timeout_s", 30), f"{place}, idle_timeout_s", 0.1, 3600
        ),
        total_timeout_s=_number(
            table.get("total_timeout_s", 120), f"{place}, total_timeout_s", 0.1, 86400
        ),
        disclaims={
            claim: _str(reason, f"{place}, disclaims.{claim}")
            for claim, reason in _table(table, "disclaims", place).items()
        },
        waivers=tuple(_waiver(item, f"{place}, waive[{n}]") for n, item in enumerate(waivers)),
        load_allowed=_bool(table.get("load_allowed", False), f"{place}, load_allowed"),
        keys={
            plan: _env(value, f"{place}, keys.{plan}")
            for plan, value in _table(table, "keys", place).items()
        },
        login=_login(table, place) if "login" in table else None,
        clock_scale=_number(table.get("clock_scale", 1), f"{place}, clock_scale", 1, 100_000),
        budget=budget_of(table["budget"], f"{place}, budget") if "budget" in table else None,
    )


def _login(table: Mapping[str, Any], place: str) -> Login:
    given = _table(table, "login", place)
    place = f"{place}, login"
    _known(given, {"user", "password"}, place)
    user = _str(given.get("user", ""), f"{place}, user")
    if not user or ":" in user:
        raise UsageError(
            f"{place}, user is {user!r}.", "HTTP Basic needs a user name, without a colon in it."
        )
    return Login(user, _env(given.get("password"), f"{place}, password"))


def _waiver(item: Any, place: str) -> Waiver:
    if not isinstance(item, dict):
        raise UsageError(f"{place} is not a table.", "Write [[targets.NAME.waive]].")
    _known(item, {"check", "reason", "until"}, place)
    until = item.get("until")
    if until is not None and (not isinstance(until, dt.date) or isinstance(until, dt.datetime)):
        raise UsageError(f"{place}, until is not a date.", "Write it bare: until = 2027-03-31.")
    for key in ("check", "reason"):
        if not item.get(key):
            raise UsageError(f"{place} has no {key}.", "A waiver names a check and says why.")
    check, reason = (_str(item[key], f"{place}, {key}") for key in ("check", "reason"))
    return Waiver(check, reason, until)


def _known(table: Mapping[str, Any], keys: set[str], place: str) -> None:
    for key in table:
        if key not in keys:
            error = unknown_name("key", key, keys)
            raise UsageError(f"{place}: {error.message}", error.hint)


def _table(table: Mapping[str, Any], key: str, place: str) -> dict[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise UsageError(f"{place}, {key} is not a table.", f"Write {key} = {{ … }}.")
    return value


def _env(value: Any, place: str) -> str:
    if not isinstance(value, dict) or set(value) != {"env"} or not isinstance(value["env"], str):
        raise UsageError(
            f'{place} must name a variable: {{ env = "NAME" }}.',
            "A secret never stands in a file.",
        )
    return check_variable(value["env"], f"{place}, env")


def _header(name: str, value: Any, place: str) -> str:
    if name.lower() in _CREDENTIALS:
        raise UsageError(
            f"{place} carries a credential, which never stands in a file.",
            f'Name a variable instead: {name} = {{ env = "NAME" }}.',
        )
    text = _str(value, place)
    if not text.isascii() or not text.isprintable() or text != text.strip():
        raise UsageError(
            f"{place} has characters that no HTTP header can carry: {text!r}.",
            "Use printable ASCII, without spaces around it.",
        )
    return text


def _url(value: Any, place: str) -> str:
    return check_url(_str(value, place), f"URL in {place}")


def _str(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{place} must be a string, and is {value!r}.")
    return value


def _bool(value: Any, place: str) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{place} must be true or false, and is {value!r}.")
    return value


def _whole(value: Any, place: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{place} must be a whole number from {low} to {high}, and is {value!r}.")
    return value


def _number(value: Any, place: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UsageError(f"{place} must be a number from {low} to {high}, and is {value!r}.")
    return value
