"""A profile: what a target claims to be, which rules it is held to, and how strictly.

Profiles are data, in ``specs/profiles/*.toml``, read strictly. A profile lists its capabilities one
by one; what it does not claim is not applicable. A group is a set of capabilities that count only
when the operator asks for it: what costs more, changes the account, or is not promised by the
documents themselves. Its overrides, each with a reason, change the level of a rule, or say that the
vendor departs from the upstream by its own documents: then the check still runs, and its finding is
reported as a departure, never as red.
"""

import functools
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from importlib.resources.abc import Traversable

from gateproof.errors import GateproofError, unknown_name
from gateproof.requirement import (
    CAPABILITIES,
    IMPLIED,
    UNDER_LOAD,
    Level,
    Requirement,
    load_requirements,
    require_shape,
)

__all__ = ["GROUPS", "OPTIONS", "Override", "Profile", "load_profile", "profile_names"]

GROUPS: Mapping[str, str] = {
    "audio": "uploads a recording of a second, which is charged as audio",
    "completions": "asks for text completions, charged as chat is",
    "embeddings": "asks for embeddings of a few words",
    "images": "makes small images, which cost more than text",
    "keys": "creates API keys named gateproof-…, uses them, and deletes those and no others",
    "limits": "runs into rate limits on purpose and waits for minutes; others with the account's "
    "keys are refused meanwhile",
    "login": "begins sessions with the user name and the password of the target",
    "realtime": "opens WebSockets and leaves them again",
    "thinking": "lets a model think, which is charged as more tokens",
    "undocumented": "asks for what the upstream has and the vendor's own pages do not name",
}
"""What each group costs or changes, in words for the one who pays."""

OPTIONS: Mapping[str, str] = {
    "cost_sums": "the sums of cost parts that may make the total, each a list of part names",
    "undocumented": "values of the upstream that the vendor does not name: a member and its value",
    "usage_sums": "the sums of usage counters that may make total_tokens, each a list of names",
}

_TYPES: Mapping[str, type] = {
    "name": str,
    "title": str,
    "document": str,
    "base_path": str,
    "extends": str,
    "auth": str,
    "claims": list,
    "groups": dict,
    "models": dict,
    "options": dict,
    "override": list,
}
_REQUIRED = ("name", "title", "document", "base_path", "auth", "claims")
_OVERRIDE_TYPES: Mapping[str, type] = {
    "requirement": str,
    "level": str,
    "departs": bool,
    "reason": str,
}
_AUTHS = ("bearer", "x-api-key")


@dataclass(frozen=True, slots=True)
class Override:
    """A profile's own word on one rule, with its reason."""

    requirement: str
    reason: str
    level: Level | None = None
    departs: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """What a kind of target promises."""

    name: str
    title: str
    document: str
    """The file name of its OpenAPI document in ``specs/``."""
    base_path: str
    auth: str
    """How the key travels: ``bearer`` or ``x-api-key``."""
    claims: frozenset[str]
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict, hash=False)
    """Capabilities that count only when the operator asks for their group, by its name."""
    extends: str = ""
    """The upstream profile whose rules run too."""
    overrides: tuple[Override, ...] = ()
    models: Mapping[str, str] = field(default_factory=dict, hash=False)
    """The model that is asked for, by use, where the target names none."""
    options: Mapping[str, list[list[str]]] = field(default_factory=dict, hash=False)

    def claims_with(self, groups: Iterable[str]) -> frozenset[str]:
        """Return the claims and those of these groups; a wrong name raises UsageError."""
        claimed = self.claims
        for name in groups:
            if name not in self.groups:
                raise unknown_name(f"group of profile {self.name}", name, self.groups)
            claimed |= self.groups[name]
        return _with_implied(claimed)

    def with_groups(self, groups: Iterable[str]) -> "Profile":
        """Return the profile as it is held when some groups are asked for."""
        return replace(self, claims=self.claims_with(groups))

    def group_of(self, capability: str) -> str:
        """Name the group that a capability is in; empty when it is in none."""
        return next((name for name, has in self.groups.items() if capability in has), "")

    def override_of(self, requirement: Requirement) -> Override | None:
        """Return the profile's own word on a rule, if it has one."""
        return next((o for o in self.overrides if o.requirement == requirement.id), None)

    def level_of(self, requirement: Requirement) -> Level:
        """Tell the level at which this profile is held to a rule: INFO where it departs."""
        override = self.override_of(requirement)
        if override is None:
            return requirement.level
        return override.level if override.level is not None else Level.INFO

    def concerns(self, requirement: Requirement) -> bool:
        """Tell whether a rule is for this profile at all, whatever it claims."""
        return requirement.profile in ("", self.name)


def profile_names() -> tuple[str, ...]:
    """Name the profiles that there are."""
    return tuple(
        sorted(
            file.name.removesuffix(".toml")
            for file in _folder().iterdir()
            if file.name.endswith(".toml")
        )
    )


@functools.cache
def load_profile(name: str) -> Profile:
    """Read a profile; a wrong name raises UsageError with the valid ones."""
    names = profile_names()
    if name not in names:
        raise unknown_name("profile", name, names)
    return _read_profile(_folder() / f"{name}.toml")


def _folder() -> Traversable:
    return files("gateproof.specs") / "profiles"


def _read_profile(file: Traversable) -> Profile:
    """Read one profile; anything unknown or missing raises GateproofError with the file's name."""
    where = file.name
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise GateproofError(f"{where} is not TOML: {error}.", "Correct the file.") from error
    require_shape(content, _TYPES, _REQUIRED, where)
    if f"{content['name']}.toml" != where:
        raise GateproofError(f"{where}: its name is {content['name']!r}.", "Name both alike.")
    _require_known(content["claims"], _claimable(), "capability", where)
    groups = _read_groups(content.get("groups", {}), frozenset(content["claims"]), where)
    _require_known([content["auth"]], _AUTHS, "auth", where)
    _require_known(content.get("options", {}), OPTIONS, "option", where)
    if "extends" in content:
        _require_known([content["extends"]], profile_names(), "profile", where)
    models = content.get("models", {})
    require_shape(models, dict.fromkeys(models, str), (), f"{where}, models")
    if "extends" in content:
        models = {**load_profile(content["extends"]).models, **models}
    overrides = tuple(_read_override(row, where) for row in content.get("override", []))
    if len({override.requirement for override in overrides}) != len(overrides):
        raise GateproofError(f"{where}: a requirement is overridden twice.", "Keep one of them.")
    return Profile(
        name=content["name"],
        title=content["title"],
        document=content["document"],
        base_path=content["base_path"],
        auth=content["auth"],
        claims=_with_implied(frozenset(content["claims"])),
        groups=groups,
        extends=content.get("extends", ""),
        overrides=overrides,
        models=models,
        options=content.get("options", {}),
    )


def _claimable() -> set[str]:
    """Name what a profile may claim in so many words."""
    return set(CAPABILITIES) - {"upstream", UNDER_LOAD, *IMPLIED}


def _with_implied(claims: frozenset[str]) -> frozenset[str]:
    """Add what follows from other claims: HTTP always, event streams from any kind of stream."""
    streams = any(claim.endswith(".stream") for claim in claims)
    return claims | {"http"} | ({"streams"} if streams else set())


def _read_groups(
    given: Mapping[str, object], claims: frozenset[str], where: str
) -> Mapping[str, frozenset[str]]:
    groups: dict[str, frozenset[str]] = {}
    _require_known(given, GROUPS, "group", where)
    for name, members in given.items():
        if not isinstance(members, list) or not members:
            raise GateproofError(
                f"{where}: group {name} is {members!r}.", "Give a list of capabilities."
            )
        _require_known(members, _claimable(), "capability", where)
        groups[name] = frozenset(members)
        twice = groups[name] & claims
        if twice:
            raise GateproofError(
                f"{where}: group {name} has {', '.join(sorted(twice))}, which is claimed anyway.",
                "Keep one of the two.",
            )
    return groups


def _read_override(row: Mapping[str, object], where: str) -> Override:
    where = f"{where}, override of {row.get('requirement', 'nothing')}"
    require_shape(row, _OVERRIDE_TYPES, ("requirement", "reason"), where)
    requirement = str(row["requirement"])
    _require_known([requirement], load_requirements(), "requirement", where)
    departs = row.get("departs") is True
    if departs == ("level" in row):
        raise GateproofError(f"{where}: wanted level, or departs = true.", "Give one of the two.")
    level = None
    if "level" in row:
        _require_known([row["level"]], list(Level), "level", where)
        level = Level(str(row["level"]))
    return Override(requirement, str(row["reason"]), level, departs)


def _require_known(given: Iterable[object], valid: Iterable[str], what: str, where: str) -> None:
    known = sorted(valid)
    for name in given:
        if name not in known:
            raise GateproofError(
                f"{where}: unknown {what} {name!r}.", f"Known: {', '.join(known)}."
            )
