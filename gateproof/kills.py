"""The kill list: which checks each fault of the reference server must kill, and no others.

It is data, in ``suites/kills.toml``, read strictly. A row is an ``Expectation``; what is not a row
is said in words: the checks that are shown elsewhere, and the faults that no requirement forbids.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from gateproof.errors import unknown_name
from gateproof.profile import profile_names

__all__ = [
    "GATEWAY",
    "GENERATIVE",
    "HEALTHY",
    "LIMITS",
    "OPTIONAL",
    "Expectation",
    "base_of",
    "load_elsewhere",
    "load_kills",
    "load_unheld",
]

ELSEWHERE = "elsewhere"
UNHELD = "unheld"
GATEWAY = "gateway"
OPTIONAL = "-optional"
LIMITS = "-limits"
HEALTHY = "healthy"  # the row of a table that says what its profile departs from
GENERATIVE = "generative"


@dataclass(frozen=True, slots=True)
class Expectation:
    """A row of the kill list: what a fault must do to the checks, and to no other.

    ``group`` is the table that the row stands in: a profile; a profile and ``-optional``, for the
    checks that its groups bring; a profile and ``-limits``, for those that run into limits;
    ``gateway`` (of the profile openai) or ``gateway-`` and another
    profile; or ``generative``.
    ``fault`` is empty for the healthy server. ``untestable`` may name whole families
    (``chat.chunk.*``) and exceptions (``!chat.chunk.object``); what is killed or inconclusive is
    not meant. ``finds`` are the checks of a generative row that must find its fault, whatever
    others do. ``departs`` are the upstream's rules that the profile does not keep by its own
    documents: they are found under every fault of the table, and on the healthy server.
    """

    group: str
    fault: str
    kind: str = "fault"
    profile: str = ""
    kills: frozenset[str] = frozenset()
    untestable: tuple[str, ...] = ()
    inconclusive: frozenset[str] = frozenset()
    finds: frozenset[str] = frozenset()
    departs: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Return what the row is called in tables and tests."""
        return f"{self.group} {self.fault or HEALTHY}"


def _tables(text: str | None) -> dict[str, dict[str, Any]]:
    if text is None:
        text = (files("gateproof.suites") / "kills.toml").read_text("utf-8")
    return tomllib.loads(text)


def load_elsewhere(text: str | None = None) -> Mapping[str, str]:
    """Return the checks that are shown elsewhere, each with the place and the reason."""
    return _tables(text).get(ELSEWHERE, {})


def load_unheld(text: str | None = None) -> Mapping[str, str]:
    """Return the faults that no requirement forbids, each with the reason."""
    return _tables(text).get(UNHELD, {})


def load_kills(text: str | None = None) -> tuple[Expectation, ...]:
    """Read the kill list; anything unknown or missing raises ``GateproofError``."""
    profiles = {GATEWAY: "openai", GENERATIVE: "openai"}
    for name in profile_names():
        profiles |= {name: name, name + OPTIONAL: name, name + LIMITS: name}
        profiles |= {f"{GATEWAY}-{name}": name}
    rows = []
    for group, faults in _tables(text).items():
        if group in (ELSEWHERE, UNHELD):
            continue
        if group not in profiles:
            raise unknown_name("table in kills.toml", group, profiles)
        states = ("kills", "untestable", "inconclusive")
        valid = ("profile", "finds") if group == GENERATIVE else states
        departs = frozenset(faults.get(HEALTHY, {}).get("departs", ()))
        for fault, row in faults.items():
            if fault == HEALTHY:
                continue
            for key in row:
                if key not in valid:
                    raise unknown_name(f"key of {group}.{fault} in kills.toml", key, valid)
            profile = row.get("profile") or profiles[group]
            rows.append(
                Expectation(
                    group,
                    fault,
                    profile=profile,
                    kills=frozenset(row.get("kills", ())),
                    untestable=tuple(row.get("untestable", ())),
                    inconclusive=frozenset(row.get("inconclusive", ())),
                    finds=frozenset(row.get("finds", ())),
                    departs=departs,
                )
            )
    return tuple(rows)


def base_of(fault: str) -> str:
    """Return a fault's name without its parameter; of several joined, the last one's."""
    last = fault.rpartition("+")[2]
    return last.partition(":")[0].partition("=")[0]
