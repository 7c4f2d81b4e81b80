"""Find the checks and scenarios of the suites room, and select among them.

The core does not import the room by name; it imports whatever modules the room's folder holds, so
that a new file of checks needs no entry anywhere.
"""

import importlib
import importlib.util
import pkgutil
from collections.abc import Sequence
from pathlib import Path

from gateproof.check import CHECKS, Check
from gateproof.errors import unknown_name
from gateproof.scenario import Scenario

__all__ = ["load_checks", "room_path", "scenarios_of", "select"]


def room_path(room: str) -> Path:
    """Return the folder of a room, in a checkout or installed."""
    spec = importlib.util.find_spec(f"gateproof.{room}")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(f"the room {room} is missing from this installation")
    return Path(next(iter(spec.submodule_search_locations)))


def load_checks() -> dict[str, Check]:
    """Import every module of the suites room and return the checks by id, in order of id."""
    for module in pkgutil.iter_modules([str(room_path("suites"))]):
        importlib.import_module(f"gateproof.suites.{module.name}")
    return dict(sorted(CHECKS.items()))


def select(checks: dict[str, Check], wanted: Sequence[str]) -> dict[str, Check]:
    """Return the checks that are named by id or by the beginning of one; all when none is named."""
    if not wanted:
        return checks
    chosen = {}
    for name in wanted:
        matching = {
            id_: item
            for id_, item in checks.items()
            if id_ == name or id_.startswith(name.rstrip(".") + ".")
        }
        if not matching:
            raise unknown_name("check", name, checks)
        chosen.update(matching)
    return dict(sorted(chosen.items()))


def scenarios_of(checks: Sequence[Check]) -> list[Scenario]:
    """Return the scenarios that some checks need, each once."""
    found = {item.name: item for check in checks for case in check.cases for item in case}
    return [found[name] for name in sorted(found)]
