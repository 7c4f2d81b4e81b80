"""What is tested: a base URL, the profile it claims, model names by use, and where its key is.

Whatever is secret is named by its environment variable and looked up when a run starts: no secret
is ever in a file, in an argument or in a ``Target``. How targets stand in a file is in
``gateproof.config``.
"""

import datetime as dt
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateproof.address import check_url, check_variable, is_loopback, origin_of
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
