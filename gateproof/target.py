"""What is tested: a base URL, the profile it claims, model names by use, and where its key is.

Targets stand in ``gateproof.toml``. Whatever is secret is named there as ``{ env = "NAME" }`` and
looked up when a run starts: no secret is ever in a file, an argument or this module's objects
beyond ``Secrets``.
"""

import datetime as dt
import ipaddress
import os
import tomllib
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateproof.errors import UsageError, unknown_name
from gateproof.redact import require_coverable

__all__ = [
    "CONFIG_NAME",
    "Target",
    "Upstream",
    "Waiver",
    "is_loopback",
    "load_targets",
    "origin_of",
    "read_secrets",
]

CONFIG_NAME = "gateproof.toml"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A reference server of ours that the target forwards to.

    ``models`` is how a model name reaches it through the target: ``{name}`` stands for the name
    that the upstream shall see, for example ``mock/{name}``. ``base`` is the model that behaviours
    are added to.
    """

    url: str
    models: str = "{name}"
    base: str = "gpt-4o-mini"

    def model(self, *behaviours: str) -> str:
        """Return the model name to ask the target for, so that the upstream behaves so."""
        return self.models.replace("{name}", "+".join((self.base, *behaviours)))


@dataclass(frozen=True, slots=True)
class Waiver:
    """A finding that the operator accepts, with his reason, and until when."""

    check: str
    reason: str
    until: dt.date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A gateway under test. ``key_env`` and ``secret_headers`` name variables, never values."""

    name: str
    url: str
    profile: str
    key_env: str | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    secret_headers: Mapping[str, str] = field(default_factory=dict)
    upstream: Upstream | None = None
    concurrency: int = 16
    idle_timeout_s: float = 30.0
    total_timeout_s: float = 120.0
    disclaims: Mapping[str, str] = field(default_factory=dict)
    waivers: tuple[Waiver, ...] = ()
    load_allowed: bool = False

    def model(self, use: str = "chat") -> str:
        """Return the model for a use; what is not named is done by the chat model."""
        return self.models.get(use) or self.models.get("chat") or "gpt-4o-mini"

    @property
    def origin(self) -> str:
        """Return scheme, host and port: what a secret may be sent to."""
        return origin_of(self.url)

    @property
    def variables(self) -> tuple[str, ...]:
        """Return the names of the environment variables that this target needs."""
        names = ([self.key_env] if self.key_env else []) + list(self.secret_headers.values())
        return tuple(dict.fromkeys(names))


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def is_loopback(url: str) -> bool:
    """Tell whether a URL's host is this machine."""
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_secrets(target: Target, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the values of a target's variables by name; a missing one is the caller's error."""
    env = os.environ if environ is None else environ
    secrets = {}
    for name in target.variables:
        value = env.get(name, "").strip()
        if not value:
            raise UsageError(
                f"Target {target.name!r} takes its key from ${name}, which is not set.",
                f"Set it for this run: export {name}=…  (the value is never written anywhere).",
            )
        if not value.isprintable() or not value.isascii():
            raise UsageError(
                f"The value of ${name} has characters that no HTTP header can carry.",
                "Look for a line break or an invisible character in it.",
            )
        require_coverable(name, value)
        secrets[name] = value
    return secrets


def check_url(url: str, what: str = "target URL") -> str:
    """Return a base URL without its trailing slash; raise ``UsageError`` when it is not one."""
    try:
        parts = urllib.parse.urlsplit(url)
        port_ok = parts.port is None or 0 < parts.port < 65536
    except ValueError:
        parts, port_ok = urllib.parse.urlsplit(""), False
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_ok:
        raise UsageError(
            f"Not a usable {what}: {url!r}.",
            "Give the base URL with scheme, host and path, such as http://127.0.0.1:4000/v1.",
        )
    if parts.username or parts.password:
        raise UsageError(
            f"The {what} carries a user name or a password.",
            'Name secrets as variables instead: key = { env = "NAME" }, or --key-env NAME.',
        )
    if parts.query or parts.fragment:
        raise UsageError(
            f"The {what} has a query or a fragment: {url!r}.", "Give the base URL alone."
        )
    return url.rstrip("/")


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
        raise UsageError(f"{path} is not TOML: {error}.") from None
    _known(data, {"targets"}, str(path))
    tables = data.get("targets", {})
    if not isinstance(tables, dict) or not tables:
        raise UsageError(f"{path} names no target.", "Add a table [targets.NAME] with a url.")
    return {name: _target(name, table, path) for name, table in tables.items()}


_KEYS = {
    "url", "profile", "key", "models", "headers", "upstream", "concurrency", "idle_timeout_s",
    "total_timeout_s", "disclaims", "waive", "load_allowed",
}  # fmt: skip


def _target(name: str, table: Any, path: Path) -> Target:
    place = f"{path}, [targets.{name}]"
    if not isinstance(table, dict):
        raise UsageError(f"{place} is not a table.")
    _known(table, _KEYS, place)
    if "url" not in table:
        raise UsageError(f"{place} has no url.", 'Add url = "http://127.0.0.1:4000/v1".')
    headers = {}
    secret_headers = {}
    for key, value in _table(table, "headers", place).items():
        if isinstance(value, dict):
            secret_headers[key] = _env(value, f"{place}, headers.{key}")
        else:
            headers[key] = _str(value, f"{place}, headers.{key}")
    upstream = None
    if "upstream" in table:
        given = _table(table, "upstream", place)
        _known(given, {"url", "models", "base"}, f"{place}, upstream")
        upstream = Upstream(
            check_url(_str(given.get("url", ""), f"{place}, upstream.url"), "upstream URL"),
            _str(given.get("models", "{name}"), f"{place}, upstream.models"),
            _str(given.get("base", "gpt-4o-mini"), f"{place}, upstream.base"),
        )
        if "{name}" not in upstream.models:
            raise UsageError(f"{place}, upstream.models has no {{name}} in it.")
    waivers = table.get("waive", [])
    if not isinstance(waivers, list):
        raise UsageError(
            f"{place}, waive is not an array of tables.", "Write [[targets.NAME.waive]]."
        )
    return Target(
        name=name,
        url=check_url(_str(table["url"], f"{place}, url")),
        profile=_str(table.get("profile", "openai"), f"{place}, profile"),
        key_env=_env(table["key"], f"{place}, key") if "key" in table else None,
        models={
            use: _str(model, f"{place}, models.{use}")
            for use, model in _table(table, "models", place).items()
        },
        headers=headers,
        secret_headers=secret_headers,
        upstream=upstream,
        concurrency=int(_number(table.get("concurrency", 16), f"{place}, concurrency", 1, 256)),
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
    )


def _waiver(item: Any, place: str) -> Waiver:
    if not isinstance(item, dict):
        raise UsageError(f"{place} is not a table.")
    _known(item, {"check", "reason", "until"}, place)
    until = item.get("until")
    if until is not None and (not isinstance(until, dt.date) or isinstance(until, dt.datetime)):
        raise UsageError(f"{place}, until is not a date.", "Write it bare: until = 2027-03-31.")
    for key in ("check", "reason"):
        if not item.get(key):
            raise UsageError(f"{place} has no {key}.", "A waiver names a check and says why.")
    return Waiver(_str(item["check"], place), _str(item["reason"], place), until)


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
    return str(value["env"])


def _str(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{place} must be a string, and is {value!r}.")
    return value


def _bool(value: Any, place: str) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{place} must be true or false, and is {value!r}.")
    return value


def _number(value: Any, place: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UsageError(f"{place} must be a number from {low} to {high}, and is {value!r}.")
    return value
