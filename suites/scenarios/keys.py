"""The life of an API key: it is made, listed, used, deleted and refused.

Nothing is deleted that the scenario did not make: each id in a deletion stands in an answer to a
creation of the same scenario, and the keys are named after its canary, so that one that a broken
run leaves behind is found. They are made one after the other, when nothing else is asked: a list
of keys must not meet another scenario's key, whose secret might not be known yet.
"""

import urllib.parse
from collections.abc import Iterator
from typing import Any

from gateproof.check import Untestable
from gateproof.dialects import openai
from gateproof.scenario import Steps, Use, scenario
from gateproof.transcript import Ask, Exchange

from .chat import ask_chat

__all__ = [
    "KEY_INVALID",
    "KEY_LIFE",
    "KEY_RESTRICTED",
    "PATIENCE_S",
    "created_id",
    "has_secret",
    "made",
]

PATH = "/api-keys"
PERMISSIONS = ("chat", "models")
PATIENCE_S = (2, 4, 8, 16)  # 30 seconds in all: a deleted key may be known for so long


def made(exchange: Exchange) -> bool:
    """Tell whether a creation was answered as done."""
    return exchange.response is not None and exchange.response.status in (200, 201)


def created_id(exchange: Exchange) -> str:
    """Return the id of a key that was just made; empty when the answer tells none."""
    if not made(exchange):
        return ""
    try:
        value = openai.json_value(exchange)
    except Untestable:
        return ""
    for item in _objects(value):
        for name in ("id", "key_id", "keyId"):
            if isinstance(item.get(name), str) and item[name]:
                return str(item[name])
    return ""


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for member in value.values():
            yield from _objects(member)


def has_secret(exchange: Exchange) -> bool:
    """Tell whether an answer issued a secret."""
    name = exchange.ask.issues
    return any(mark.name == name and mark.part == "received" for mark in exchange.marks)


def _create(value: dict[str, Any], issues: str, label: str) -> Ask:
    return Ask.json(PATH, value, issues=issues, label=label)


def _list(label: str) -> Ask:
    return Ask(method="GET", path=PATH, label=label)


def _delete(id_: str, label: str) -> Ask:
    return Ask(method="DELETE", path=f"{PATH}?id={urllib.parse.quote(id_, safe='')}", label=label)


def _models(auth: str, label: str, **more: Any) -> Ask:
    return Ask(method="GET", path="/models", auth=auth, label=label, **more)


@scenario("keys.life", needs=["keys.manage", "models", "chat"], alone=True, requests=14)
def KEY_LIFE(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Make a key, list it, use it, delete it, and use and delete it once more."""
    name = f"gateproof-{use.canary}"
    first: Exchange = yield _create(
        {"name": name, "permissions": list(PERMISSIONS)}, use.canary, "create"
    )
    if not made(first):
        return
    id_, secret = created_id(first), has_secret(first)
    auth = f"issued:{use.canary}"
    yield _list("list")
    if secret:
        yield _models(auth, "use models")
        yield ask_chat(use, "Say hello in one word.", auth=auth, label="use chat")
    if not id_:
        return
    # A gateway that takes this for "all keys" shows it in the next list: the check says so.
    yield Ask(method="DELETE", path=PATH, label="delete without id")
    yield _list("list before deletion")
    yield _delete(id_, "delete")
    yield _list("list after deletion")
    if secret:
        for wait_s in (0, *PATIENCE_S):
            again: Exchange = yield _models(
                auth, "use deleted", after_s=wait_s / use.target.clock_scale
            )
            if again.response is None or again.response.status >= 400:
                break
    yield _delete(id_, "delete again")


@scenario("keys.invalid", needs=["keys.manage"], alone=True, requests=4)
def KEY_INVALID(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask for keys without a name and with a number for one, and delete what was made anyway."""
    wrong: dict[str, dict[str, Any]] = {
        "no name": {"permissions": list(PERMISSIONS)},
        "a number for a name": {"name": 7, "permissions": list(PERMISSIONS)},
    }
    for number, (label, value) in enumerate(wrong.items()):
        got: Exchange = yield _create(value, f"{use.canary}-{number}", label)
        id_ = created_id(got)
        if id_:
            yield _delete(id_, f"clean up after {label}")


@scenario("keys.restricted", needs=["keys.manage", "chat"], alone=True, requests=3)
def KEY_RESTRICTED(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Chat with a key that may not: the target's own, or else one made without permissions."""
    if "restricted" in use.target.keys:
        yield ask_chat(use, "Say hello in one word.", auth="plan:restricted", label="prepared")
        return
    value: dict[str, Any] = {"name": f"gateproof-{use.canary}", "permissions": []}
    got: Exchange = yield _create(value, use.canary, "create")
    if has_secret(got):
        yield ask_chat(use, "Say hello in one word.", auth=f"issued:{use.canary}", label="made")
    id_ = created_id(got)
    if id_:
        yield _delete(id_, "delete")
