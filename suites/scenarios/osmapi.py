"""What only osmAPI offers: provider prefixes, reasoning effort, web search, plugins."""

from typing import Any

from gateproof.scenario import Steps, Use, scenario
from gateproof.transcript import Ask

from .chat import ask_chat
from .upstream import tag

__all__ = [
    "EFFORT",
    "EFFORT_UNKNOWN",
    "HEALED",
    "PLUGINS",
    "PLUGIN_UNKNOWN",
    "PREFIXED",
    "UNKNOWN_PROVIDER",
    "WEB_SEARCH",
]

_SHORT = "Say hello in one word."


def _prefixed(use: Use) -> str:
    """Return a model id with a provider: the target's own, or the chat model under ``openai``."""
    named = use.target.models.get("prefixed") or use.model("chat")
    return named if "/" in named else f"openai/{named}"


@scenario("osmapi.prefixed", needs=["chat", "model-prefix"])
def PREFIXED(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask for a model id with its provider before a slash."""
    yield ask_chat(use, _SHORT, model=_prefixed(use))


@scenario("osmapi.unknown-provider", needs=["chat", "model-prefix"])
def UNKNOWN_PROVIDER(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask for a known model under a provider that does not exist."""
    yield ask_chat(use, _SHORT, model=f"nosuchprovider/{_prefixed(use).partition('/')[2]}")


@scenario("osmapi.effort", needs=["chat", "reasoning-effort"])
def EFFORT(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask with each documented reasoning_effort."""
    yield [
        ask_chat(use, _SHORT, model=use.model("reasoning"), reasoning_effort=effort, label=effort)
        for effort in ("minimal", "low", "medium", "high")
    ]


@scenario("osmapi.effort-unknown", needs=["chat", "reasoning-effort"])
def EFFORT_UNKNOWN(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask with a reasoning_effort that nobody documents."""
    yield ask_chat(use, _SHORT, model=use.model("reasoning"), reasoning_effort="extreme")


@scenario("osmapi.web-search", needs=["chat", "web-search"])
def WEB_SEARCH(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask with web_search off, and on."""
    yield [
        ask_chat(use, _SHORT, web_search=False, label="false"),
        ask_chat(use, _SHORT, web_search=True, label="true"),
    ]


@scenario("osmapi.plugins", needs=["chat", "plugins", "chat.json-object"])
def PLUGINS(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask for JSON with the response-healing plugin, as a name and as an object."""
    prompt = "Answer with a JSON object that has the member city, the capital of France."
    form = {"type": "json_object"}
    yield [
        ask_chat(use, prompt, response_format=form, plugins=["response-healing"], label="names"),
        ask_chat(
            use, prompt, response_format=form, plugins=[{"id": "response-healing"}], label="objects"
        ),
    ]


@scenario("osmapi.healed", needs=["plugins", "chat.json-object", "upstream"])
def HEALED(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Have the upstream answer with broken JSON, without response-healing and with it."""
    form = {"type": "json_object"}
    model = use.upstream_model("sloppy-json")

    def ask(label: str, **more: Any) -> Ask:
        prompt = f"({tag(use.canary, label)}) Answer with a JSON object that has the member city."
        return ask_chat(use, prompt, model=model, response_format=form, label=label, **more)

    yield [ask("without"), ask("with", plugins=["response-healing"])]


@scenario("osmapi.plugin-unknown", needs=["chat", "plugins"])
def PLUGIN_UNKNOWN(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask with a plugin that does not exist, in both forms."""
    yield [
        ask_chat(use, _SHORT, plugins=["gateproof-nosuch"], label="names"),
        ask_chat(use, _SHORT, plugins=[{"id": "gateproof-nosuch"}], label="objects"),
    ]
