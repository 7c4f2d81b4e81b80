"""The requirement registry: each rule that a check may enforce, its level, and where it is written.

The rows are data, in ``specs/requirements/*.toml``; this module reads them strictly, so that a
misspelt key, an unknown level or a second row of one id is an error that names its file and row.
Rules of the registry:

- a row is judged by the check of its own id, or by the checks it lists, or it is excused;
- a numbered statement of a vendor keeps its number (``OSM-43``), everything else has a slug;
- a row without ``profile`` concerns every profile that claims its capability.
"""

import functools
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType

from gateproof.errors import GateproofError, unknown_name

__all__ = [
    "CAPABILITIES",
    "IMPLIED",
    "SURFACES",
    "UNDER_LOAD",
    "Kind",
    "Level",
    "Requirement",
    "find_requirement",
    "load_requirements",
    "require_shape",
]


class Level(StrEnum):
    """How much a broken rule weighs: a MUST is red, a SHOULD warns, an INFO is reported."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    INFO = "INFO"


class Kind(StrEnum):
    """Where a rule comes from."""

    DOCUMENTED = "documented"
    UPSTREAM = "upstream"
    STANDARD = "standard"
    MEASURED = "measured"
    FIELD = "field"
    INVARIANT = "invariant"


SURFACES = (
    "account",
    "audio",
    "chat",
    "completions",
    "cost",
    "embeddings",
    "errors",
    "fuzz",
    "gateway",
    "http",
    "images",
    "load",
    "messages",
    "models",
    "streaming",
    "tools",
    "usage",
)

CAPABILITIES: Mapping[str, str] = MappingProxyType(
    {
        "app-id": "the X-App-ID header",
        "auth": "requests need a key",
        "balance": "the account's balance and its alert settings",
        "chat": "chat completions",
        "chat.json-object": "response_format json_object",
        "chat.json-schema": "response_format json_schema",
        "chat.logprobs": "logprobs and top_logprobs",
        "chat.max-tokens": "a bound on the answer's tokens",
        "chat.multi-turn": "a history of several messages",
        "chat.n": "several choices for one request",
        "chat.stop": "stop strings",
        "chat.stream": "streamed chat completions",
        "chat.stream.usage": "stream_options.include_usage",
        "chat.system": "system messages",
        "completions": "text completions",
        "completions.stream": "streamed text completions",
        "cost": "the cost of an answer in its usage",
        "cost.stream": "the cost of a streamed answer",
        "embeddings": "embeddings as numbers",
        "embeddings.base64": "embeddings as base64",
        "errors": "errors in a documented form",
        "http": "HTTP itself (follows from having an API; never claimed in so many words)",
        "images": "image generation",
        "keys.manage": "creating, listing and deleting API keys",
        "load": "answers under load (given by a load run, never claimed)",
        "login": "a session by HTTP Basic credentials",
        "messages": "Anthropic's Messages route",
        "messages.count-tokens": "counting the tokens of a Messages request",
        "messages.models": "the list of models in Anthropic's form",
        "messages.stream": "streamed Messages answers",
        "messages.thinking": "thinking blocks in Messages",
        "messages.tools": "tool use in Messages",
        "model-prefix": "model ids with a provider before a slash",
        "models": "the list of models",
        "models.filter": "the list of models filtered by modality",
        "models.metadata": "prices and capabilities in the list of models",
        "models.retrieve": "one model by its id",
        "observability": "the observability parameter",
        "plugins": "the plugins parameter",
        "rate-limits": "documented limits of requests and tokens",
        "realtime": "the realtime WebSocket's handshake",
        "reasoning-effort": "the reasoning_effort parameter",
        "speech": "speech from text",
        "streams": "event streams of any kind (follows from every claim that ends in .stream)",
        "system-prompt": "a system prompt that the service adds",
        "tiers": "limits by the account's tier",
        "tools": "function calling",
        "tools.auto": "tool_choice auto",
        "tools.forced": "a named tool_choice",
        "tools.none": "tool_choice none",
        "tools.parallel": "several calls in one answer",
        "tools.required": "tool_choice required",
        "tools.roundtrip": "tool results in the history",
        "tools.stream": "streamed tool calls",
        "transcriptions": "text from speech",
        "upstream": "a controlled upstream behind the target (given by the target, never claimed)",
        "usage": "token counts",
        "usage-stats": "usage statistics by date",
        "web-search": "the web_search parameter",
    }
)

IMPLIED = frozenset({"http", "streams"})
UNDER_LOAD = "load"
"""The capability that only a load run gives."""
"""The capabilities that follow from others."""

_ID = re.compile(r"[A-Z]+-[0-9]+[a-z]?|[a-z0-9-]+(\.[a-z0-9-]+)+")
_TYPES: Mapping[str, type] = {
    "id": str,
    "level": str,
    "kind": str,
    "surface": str,
    "capability": str,
    "rule": str,
    "source": str,
    "read": date,
    "profile": str,
    "impact": str,
    "reading": str,
    "checks": list,
    "excused": str,
}
_REQUIRED = ("id", "level", "kind", "surface", "capability", "rule", "source", "read")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One rule that a target may be held to."""

    id: str
    level: Level
    kind: Kind
    surface: str
    capability: str
    rule: str
    source: str
    read: date
    profile: str = ""
    """The only profile that it concerns; empty for all that claim the capability."""
    impact: str = ""
    """What real clients do when it is broken."""
    reading: str = ""
    """The reading taken where the source is silent or contradicts itself."""
    checks: tuple[str, ...] = ()
    """The ids of the checks that judge it, when it is not judged under its own id."""
    excused: str = ""
    """Why nothing judges it."""

    @property
    def judged_by(self) -> tuple[str, ...]:
        """Name the checks that judge this rule: none when it is excused."""
        if self.excused:
            return ()
        return self.checks or (self.id,)


@functools.cache
def load_requirements(folder: Traversable | None = None) -> Mapping[str, Requirement]:
    """Read the registry, in the order of its files; a malformed row raises GateproofError.

    Without a folder it is the packaged one. The files are read once in a process.
    """
    root = folder if folder is not None else files("gateproof.specs") / "requirements"
    found: dict[str, Requirement] = {}
    for file in sorted(root.iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".toml"):
            continue
        for requirement in _read_file(file):
            if requirement.id in found:
                raise GateproofError(
                    f"{file.name}: requirement {requirement.id} stands twice in the registry.",
                    "Give each row an id of its own.",
                )
            found[requirement.id] = requirement
    for requirement in found.values():
        _check_links(requirement, found)
    return MappingProxyType(found)


def find_requirement(name: str) -> Requirement:
    """Return the requirement of this id; a wrong id raises UsageError with the nearest ones."""
    found = load_requirements()
    if name not in found:
        raise unknown_name("requirement", name, found)
    return found[name]


def require_shape(
    row: Mapping[str, object],
    types: Mapping[str, type],
    required: Collection[str],
    where: str,
) -> None:
    """Raise GateproofError, naming the place, unless the keys are known, there, and well typed."""
    for key, value in row.items():
        if key not in types:
            raise GateproofError(
                f"{where}: unknown key {key!r}.", f"Known keys: {', '.join(types)}."
            )
        if type(value) is not types[key]:
            raise GateproofError(
                f"{where}: {key} is {value!r}, wanted {types[key].__name__}.",
                "Correct the value.",
            )
    missing = [key for key in required if row.get(key) in (None, "")]
    if missing:
        raise GateproofError(f"{where}: no {', '.join(missing)}.", "Add what is missing.")


def _read_file(file: Traversable) -> Iterator[Requirement]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise GateproofError(f"{file.name} is not TOML: {error}.", "Correct the file.") from error
    require_shape(content, {"defaults": dict, "requirement": list}, ["requirement"], file.name)
    defaults = content.get("defaults", {})
    shared = {key: value for key, value in _TYPES.items() if key not in ("id", "rule")}
    require_shape(defaults, shared, (), f"{file.name}, defaults")
    for number, row in enumerate(content["requirement"], 1):
        where = f"{file.name}, {row.get('id', f'row {number}')}"
        yield _read_row({**defaults, **row}, where)


def _read_row(row: Mapping[str, object], where: str) -> Requirement:
    require_shape(row, _TYPES, _REQUIRED, where)
    text = {key: value for key, value in row.items() if isinstance(value, str)}
    checks = row.get("checks", [])
    read = row["read"]
    assert isinstance(checks, list)
    assert isinstance(read, date)
    if not _ID.fullmatch(text["id"]):
        raise GateproofError(
            f"{where}: {text['id']!r} is no id.", "Wanted OSM-01, or a dotted slug in lower case."
        )
    for key, valid in (
        ("level", list(Level)),
        ("kind", list(Kind)),
        ("surface", SURFACES),
        ("capability", list(CAPABILITIES)),
    ):
        if text[key] not in valid:
            raise GateproofError(
                f"{where}: unknown {key} {text[key]!r}.", f"Known: {', '.join(valid)}."
            )
    if checks and "excused" in text:
        raise GateproofError(
            f"{where}: both checks and excused.", "A rule is judged or excused, not both."
        )
    return Requirement(
        id=text["id"],
        level=Level(text["level"]),
        kind=Kind(text["kind"]),
        surface=text["surface"],
        capability=text["capability"],
        rule=text["rule"],
        source=text["source"],
        read=read,
        profile=text.get("profile", ""),
        impact=text.get("impact", ""),
        reading=text.get("reading", ""),
        checks=tuple(str(check) for check in checks),
        excused=text.get("excused", ""),
    )


def _check_links(requirement: Requirement, found: Mapping[str, Requirement]) -> None:
    """Raise GateproofError unless each listed check is a row that is judged under its own id."""
    for check in requirement.checks:
        if check not in found:
            raise GateproofError(
                f"Requirement {requirement.id} names the check {check}, which is no requirement.",
                "Correct the name, or add the row.",
            )
        if found[check].judged_by != (check,):
            raise GateproofError(
                f"Requirement {requirement.id} names the check {check}, which nothing judges.",
                "Name checks that exist, or excuse the row.",
            )
