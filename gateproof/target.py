"""What is tested: a base URL, the profile it claims, model names by use, and where its key is.

Whatever is secret is named by its environment variable and looked up when a run starts: no secret
is ever in a file, in an argument or in a ``Target``. How targets stand in a file is in
``gateproof.config``.
"""

import datetime as dt
import ipaddress
import os
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateproof.budget import Budget
from gateproof.errors import UsageError
from gateproof.redact import require_coverable

__all__ = [
    "Login",
    "Target",
    "Upstream",
    "Waiver",
    "check_url",
    "check_variable",
    "is_loopback",
    "origin_of",
    "read_secrets",
]

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Upstream:
    """A reference server of ours that the target forwards to.

    ``models`` is how a model name reaches it through the target: ``{name}`` stands for the name
    that the upstream shall see, for example ``mock/{name}``. ``base`` is the model that behaviours
    are added to; empty for the one that the profile or else OpenAI's clients would ask for.
    """

    url: str
    models: str = "{name}"
    base: str = ""

    def model(self, *behaviours: str, default: str = "gpt-4o-mini") -> str:
        """Return the model name to ask the target for, so that the upstream behaves so."""
        return self.models.replace("{name}", "+".join((self.base or default, *behaviours)))


@dataclass(frozen=True, slots=True)
class Waiver:
    """A finding that the operator accepts, with his reason, and until when."""

    check: str
    reason: str
    until: dt.date | None = None


@dataclass(frozen=True, slots=True)
class Login:
    """A user of the target; ``password`` names the variable that holds his password."""

    user: str
    password: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A gateway under test. ``key_env`` and ``secret_headers`` name variables, never values.

    ``keys`` are further keys by their plan or tier, each the name of a variable. ``clock_scale`` is
    how much faster than time the clock of its rate limits runs; only a test server's does.
    ``budget`` is the most that a run may spend on it.
    """

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
    keys: Mapping[str, str] = field(default_factory=dict)
    login: Login | None = None
    clock_scale: float = 1.0
    budget: Budget | None = None

    def model(self, use: str = "chat", defaults: Mapping[str, str] | None = None) -> str:
        """Return the model for a use; what is not named is done by the chat model.

        ``defaults`` are the profile's: of a use that only they name, theirs is taken.
        """
        known = defaults or {}
        named = self.models.get(use) or known.get(use)
        return named or self.models.get("chat") or known.get("chat") or "gpt-4o-mini"

    @property
    def origin(self) -> str:
        """Return scheme, host and port: what a secret may be sent to."""
        return origin_of(self.url)

    @property
    def variables(self) -> tuple[str, ...]:
        """Return the names of the environment variables that this target needs."""
        names = ([self.key_env] if self.key_env else []) + list(self.secret_headers.values())
        names += self.keys.values()
        names += [self.login.password] if self.login else []
        return tuple(dict.fromkeys(names))


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL, written in one way for each origin."""
    parts = urllib.parse.urlsplit(url)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, _PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def is_loopback(url: str) -> bool:
    """Tell whether a URL's host is this machine."""
    host = (urllib.parse.urlsplit(url).hostname or "").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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


def check_variable(name: str, what: str) -> str:
    """Return a variable's name; what is none may be the secret itself, so it is never shown."""
    if not _VARIABLE.fullmatch(name):
        raise UsageError(
            f"{what} is not the name of an environment variable (it is not shown here: it may be "
            "the secret itself).",
            "Put the secret into a variable and name that: MY_KEY, not its value.",
        )
    return name


def check_url(url: str, what: str = "target URL") -> str:
    """Return a base URL without its trailing slash; raise ``UsageError`` when it is not one."""
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in _PORTS and _is_host(parts) and url.isprintable() and " " not in url
        usable = usable and (parts.port is None or 0 < parts.port < 65536)
    except ValueError:
        parts, usable = urllib.parse.urlsplit(""), False
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            f"The {what} carries a user name or a password.",
            'Name secrets as variables instead: key = { env = "NAME" }, or --key-env NAME.',
        )
    if not usable:
        raise UsageError(
            f"Not a usable {what}: {url!r}.",
            "Give the base URL with scheme, host and path, such as http://127.0.0.1:4000/v1.",
        )
    if "?" in url or "#" in url:
        raise UsageError(
            f"The {what} has a query or a fragment.", "Give the base URL alone, up to the path."
        )
    return url.rstrip("/")


def _is_host(parts: urllib.parse.SplitResult) -> bool:
    host = parts.hostname or ""
    if "[" in parts.netloc:
        return bool(ipaddress.IPv6Address(host.partition("%")[0]))
    labels = host.rstrip(".").split(".")
    if not _HOST.fullmatch(host) or not all(0 < len(label) < 64 for label in labels):
        return False
    # What ends in a number is an address, and must be a whole one.
    return not labels[-1].isdigit() or bool(ipaddress.IPv4Address(host))
