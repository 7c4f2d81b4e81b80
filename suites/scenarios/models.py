"""What is asked of the model list: the list itself, one entry of it, and its path with a slash."""

import re
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from gateproof.check import Untestable
from gateproof.dialects import openai
from gateproof.scenario import Steps, Unanswered, Use, scenario
from gateproof.transcript import Ask, Exchange

from .chat import ask_chat

__all__ = [
    "ACCEPTED",
    "LIST",
    "LIST_AGAIN",
    "RETRIEVE",
    "RETRIEVE_SLASH",
    "TRAILING_SLASH",
    "listed_ids",
]


# By their names: a list seldom says what a model is for.
_NO_CHAT = re.compile(
    r"embed|ada-002|whisper|transcri|tts|speech|audio|voice|image|dall|flux|diffusion|video|sora|veo"
    r"|moderat|rerank|realtime|instruct-0914|davinci|babbage|search|research"
)


def listed_ids(exchange: Exchange) -> list[str]:
    """Return the ids of a model list; ``Untestable`` when there is no list to read."""
    value: Any = openai.json_value(exchange)
    entries = value.get("data") if isinstance(value, dict) else value
    return [
        entry["id"]
        for entry in openai.objects(entries)
        if isinstance(entry.get("id"), str) and entry["id"]
    ]


def _read_ids(exchange: Exchange) -> list[str]:
    try:
        found = listed_ids(exchange)
    except Untestable as reason:
        raise Unanswered(f"the model list cannot be read: {reason}") from None
    if not found:
        raise Unanswered("the model list names no model")
    return found


def _retrieve(model: str) -> Ask:
    # The official Python client leaves the colon and writes the slash as %2F (measured).
    return Ask(method="GET", path=f"/models/{quote(model, safe=':')}", label=model)


@scenario("models.list", needs=["models"])
def LIST(use: Use) -> Steps:  # noqa: N802, ARG001  # a constant; the path says all
    """Ask for the list of models."""
    yield Ask(method="GET", path="/models")


@scenario("models.list-again", needs=["models"])
def LIST_AGAIN(use: Use) -> Steps:  # noqa: N802, ARG001  # a constant; the path says all
    """Ask for the list of models twice, one after the other."""
    yield Ask(method="GET", path="/models")
    yield Ask(method="GET", path="/models")


@scenario("models.accepted", needs=["models", "chat"])
def ACCEPTED(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask for the list of models, then chat with the first, the middle and the last of them."""
    found = _read_ids((yield Ask(method="GET", path="/models")))
    chat = [name for name in found if not _NO_CHAT.search(name.lower())]
    few = dict.fromkeys(chat[place] for place in (0, len(chat) // 2, -1)) if chat else {}
    yield [ask_chat(use, "Say hello in one word.", model=name, label=name) for name in few]


@scenario("models.retrieve", needs=["models.retrieve"])
def RETRIEVE(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask for the list of models, then for one of them: the chat model if it is listed."""
    found = _read_ids((yield Ask(method="GET", path="/models")))
    plain = [name for name in found if "/" not in name] or found
    yield _retrieve(use.model() if use.model() in plain else plain[0])


@scenario("models.retrieve-slash", needs=["models.retrieve"])
def RETRIEVE_SLASH(use: Use) -> Steps:  # noqa: N802, ARG001  # a constant; the list says all
    """Ask for the list of models, then for one whose id has a slash, if there is one."""
    found = _read_ids((yield Ask(method="GET", path="/models")))
    with_slash = [name for name in found if "/" in name]
    if with_slash:
        yield _retrieve(with_slash[0])


@scenario("models.trailing-slash", needs=["models"])
def TRAILING_SLASH(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask for the list of models with a slash at the end, and follow one redirect."""
    first: Exchange = yield Ask(method="GET", path="/models/")
    if first.response is None or not 300 <= first.response.status < 400:
        return
    goal = urljoin(first.url, first.response.header("location") or "")
    base = use.target.url
    # A key goes nowhere but to the target itself.
    if urlsplit(goal)[:2] == urlsplit(base)[:2] and goal.startswith(base + "/"):
        yield Ask(method="GET", path=goal[len(base) :])
