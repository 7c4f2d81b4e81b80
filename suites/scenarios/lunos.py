"""What only Lunos offers: filtered lists of models, X-App-ID, observability, the balance."""

from typing import Any

from gateproof.scenario import Steps, Use, scenario
from gateproof.transcript import Ask

from .chat import ask_chat

__all__ = [
    "APP_ID",
    "APP_IDS",
    "APP_ID_BODY",
    "APP_ID_MESSAGES",
    "APP_ID_ODD",
    "BALANCE",
    "BALANCE_AUTH",
    "BALANCE_PAID",
    "FILTERS",
    "FILTER_SPELLINGS",
    "OBSERVABILITY",
    "OBSERVABILITY_ODD",
    "OBSERVED_COMPLETION",
    "OBSERVED_EMBEDDING",
    "OBSERVED_MESSAGE",
    "PREFIXED",
    "ROUTES",
]

_SHORT = "Say hello in one word."


def _app(value: str) -> tuple[tuple[str, str], ...]:
    return (("X-App-ID", value),)


@scenario("lunos.app-id", needs=["chat", "app-id"])
def APP_ID(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask the same without X-App-ID, and with the values of the examples."""
    yield [
        ask_chat(use, _SHORT, label="none"),
        *(
            ask_chat(use, _SHORT, headers=_app(value), label=value)
            for value in ("billing-v2", "my-application-v1", "my-curl-app")
        ),
    ]


@scenario("lunos.app-ids", needs=["chat", "app-id"])
def APP_IDS(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask with different values of X-App-ID at once, and then with two in turn."""
    names = [f"gateproof-{number}" for number in range(1, 6)]
    yield [ask_chat(use, _SHORT, headers=_app(name), label=name) for name in names]
    for name in names[:2]:
        yield ask_chat(use, _SHORT, headers=_app(name), label=f"{name} again")


@scenario("lunos.app-id-body", needs=["chat", "app-id"])
def APP_ID_BODY(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask with a member appId, without the header and with it."""
    yield [
        ask_chat(use, _SHORT, appId="billing-v2", label="member alone"),
        ask_chat(use, _SHORT, appId="billing-v2", headers=_app("billing-v2"), label="both"),
    ]


@scenario("lunos.app-id-odd", needs=["chat", "app-id"])
def APP_ID_ODD(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask with an X-App-ID that is empty, long, and beyond ASCII."""
    yield [
        ask_chat(use, _SHORT, headers=_app(""), label="empty"),
        ask_chat(use, _SHORT, headers=_app("a" * 256), label="256 characters"),
        # What a client sends that writes UTF-8 into a header.
        ask_chat(use, _SHORT, headers=_app("caf\u00e9"), label="beyond ASCII"),
    ]


@scenario("lunos.observability", needs=["chat", "observability"])
def OBSERVABILITY(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask the same with observability true, false, and without it."""
    yield [
        ask_chat(use, _SHORT, label="without"),
        ask_chat(use, _SHORT, observability=True, label="true"),
        ask_chat(use, _SHORT, observability=False, label="false"),
    ]


@scenario("lunos.observability-odd", needs=["chat", "observability"])
def OBSERVABILITY_ODD(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask with a text for observability."""
    yield ask_chat(use, _SHORT, observability="yes")


def _both(path: str, value: dict[str, Any], **more: Any) -> list[Ask]:
    return [
        Ask.json(path, value, label="without", **more),
        Ask.json(path, {**value, "observability": True}, label="with", **more),
    ]


@scenario("lunos.observed-completion", needs=["observability", "completions"])
def OBSERVED_COMPLETION(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask for a text completion without observability and with it."""
    value = {"model": use.model("completions"), "prompt": "Once upon a time", "max_tokens": 8}
    yield _both("/completions", value)


@scenario("lunos.observed-embedding", needs=["observability", "embeddings"])
def OBSERVED_EMBEDDING(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask for an embedding without observability and with it."""
    yield _both("/embeddings", {"model": use.model("embeddings"), "input": "Hello."})


def _message(use: Use) -> dict[str, Any]:
    user = {"role": "user", "content": _SHORT}
    return {"model": use.model("messages"), "max_tokens": 16, "messages": [user]}


_VERSION = (("anthropic-version", "2023-06-01"),)


@scenario("lunos.observed-message", needs=["observability", "messages"])
def OBSERVED_MESSAGE(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask for a Messages answer without observability and with it."""
    yield _both("/messages", _message(use), headers=_VERSION)


@scenario("lunos.app-id-messages", needs=["app-id", "messages"])
def APP_ID_MESSAGES(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask for a Messages answer without X-App-ID and with it."""
    value = _message(use)
    yield [
        Ask.json("/messages", value, headers=_VERSION, label="without"),
        Ask.json("/messages", value, headers=(*_VERSION, *_app("billing-v2")), label="with"),
    ]


def _list(query: str) -> Ask:
    return Ask(method="GET", path="/models" + (f"?{query}" if query else ""), label=query or "all")


@scenario("lunos.filters", needs=["models", "models.filter"])
def FILTERS(use: Use) -> Steps:  # noqa: N802, ARG001  # a constant; the queries say all
    """Ask for the whole list of models, and for lists filtered by modality."""
    yield [
        _list(query)
        for query in (
            "",
            "output=image",
            "output=text",
            "input=text,image",
            "input=text,image&output=text",
            "output=smell",
        )
    ]


@scenario("lunos.filter-spellings", needs=["models", "models.filter"])
def FILTER_SPELLINGS(use: Use) -> Steps:  # noqa: N802, ARG001  # a constant; the queries say all
    """Ask for one filtered list in several spellings."""
    yield [
        _list(f"input={text}")
        for text in ("text,image", "text%2Cimage", "image,text", "text,image,text")
    ]


def _balance(use: Use, label: str = "") -> Ask:
    # It tells the account's e-mail address, which is kept nowhere.
    return Ask(method="GET", path="/balance", issues=f"{use.canary} address", label=label)


@scenario("lunos.balance", needs=["balance"])
def BALANCE(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask for the balance."""
    yield _balance(use)


@scenario("lunos.balance-auth", needs=["balance", "auth"])
def BALANCE_AUTH(use: Use) -> Steps:  # noqa: N802, ARG001  # a constant; the path says all
    """Ask for the balance without a key, and with a wrong one."""
    yield [
        Ask(method="GET", path="/balance", auth=auth, label=f"{auth} key")
        for auth in ("none", "wrong")
    ]


@scenario("lunos.balance-paid", needs=["balance", "chat"])
def BALANCE_PAID(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask for the balance, chat, and ask for it again."""
    yield _balance(use, "before")
    yield ask_chat(use, "Say hello in one word.", label="chat")
    yield _balance(use, "after")


@scenario("lunos.prefixed", needs=["chat", "model-prefix"])
def PREFIXED(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask for model ids with their providers before a slash, as the examples have them."""
    named = use.target.models.get("prefixed")
    for name in (named,) if named else ("openai/gpt-4o", "google/gemma-4-26b-a4b-it"):
        yield ask_chat(use, _SHORT, model=name, label=name)


@scenario("lunos.routes", needs=["models", "chat", "completions", "embeddings", "balance"])
def ROUTES(use: Use) -> Steps:  # noqa: N802  # a constant; the paths say all
    """Call each route of the table with its method and an empty body, which costs nothing."""
    posts = (
        "/chat/completions",
        "/completions",
        "/embeddings",
        "/images/generations",
        "/audio/transcriptions",
        "/messages",
    )
    yield [
        Ask(method="GET", path="/models", label="/models"),
        _balance(use, "/balance"),
        *(
            Ask.json(path, {}, headers=_VERSION[: path == "/messages"], label=path)
            for path in posts
        ),
    ]
