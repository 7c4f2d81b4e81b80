"""Before a run, ask whether there is an API at the target, and whether it takes the key.

Two requests that cost nothing: the list of models, and an empty chat request. They decide between
a target that can be judged, however broken, and one that was never reached.
"""

import asyncio
import dataclasses
from collections.abc import Mapping

from gateproof.client import Client
from gateproof.dialects.openai import loads
from gateproof.errors import TargetError, UsageError
from gateproof.target import Target
from gateproof.transcript import Ask, Exchange

__all__ = ["probe"]

PROBE_TIMEOUT_S = 15.0
NOBODY = "gp-nobody"  # a canary that no request carries: the answer is short


def probe(target: Target, secrets: Mapping[str, str]) -> None:
    """Raise ``TargetError`` when the target cannot be judged at all."""
    quick = dataclasses.replace(
        target,
        idle_timeout_s=min(target.idle_timeout_s, PROBE_TIMEOUT_S),
        total_timeout_s=min(target.total_timeout_s, PROBE_TIMEOUT_S),
    )
    models, chat, journal = asyncio.run(_ask(quick, secrets))
    for exchange in (models, chat):
        if exchange.ended == "refused":
            raise TargetError(
                f"Target {target.name!r} cannot be reached at {target.url}: {exchange.error}.",
                _refusal_hint(target, exchange.error),
            )
    if models.response is None and chat.response is None:
        if not models.received and models.ended.endswith("timeout"):
            raise TargetError(
                f"What listens at {target.url} takes connections and says nothing ({chat.error}).",
                "Look at host, port and scheme, and whether the gateway hangs.",
            )
        raise TargetError(
            f"What listens at {target.url} does not answer in HTTP/1.1 "
            f"({chat.ended}{': ' + chat.error if chat.error else ''}).",
            "Look at host, port and scheme of the base URL.",
        )
    answers = [e.response for e in (models, chat) if e.response is not None]
    if all(300 <= a.status < 400 for a in answers):
        to = next((a.header("location") for a in answers if a.header("location")), "nowhere")
        raise TargetError(
            f"{target.url} redirects (status {answers[0].status}) to {to!r}.",
            "It is not followed, since the key would go with it. Give the base URL it leads to.",
        )
    if all(a.media_type == "text/html" for a in answers):
        raise TargetError(
            f"{target.url} answers with web pages (status {answers[-1].status}, text/html), "
            "not with an API.",
            "Give the base URL of the API; for most gateways it ends in /v1.",
        )
    if len(answers) == 2 and all(a.status in (401, 403) for a in answers):
        named = f"the key in ${target.key_env}" if target.key_env else "requests without a key"
        raise TargetError(
            f"{target.url} refuses {named} (status {answers[-1].status}).",
            "Set the variable to a key of this gateway."
            if target.key_env
            else "Name the variable that holds the key: --key-env NAME.",
        )
    if journal:
        assert target.upstream is not None
        raise TargetError(
            f"The controlled upstream {target.upstream.url} has no journal to read: {journal}.",
            "It is to be a reference server of ours: gateproof serve --port 9090. Give its address "
            "without a path, or leave the upstream out.",
        )
    _require_model(target, models)
    if all(a.status in (404, 405) for a in answers):
        raise TargetError(
            f"{target.url} knows neither /models nor /chat/completions "
            f"(status {answers[0].status} and {answers[-1].status}).",
            "Give the base URL of the API; for most gateways it ends in /v1.",
        )


def _require_model(target: Target, models: Exchange) -> None:
    """Refuse a model of our own choosing that the target does not list."""
    if target.models or models.response is None or models.response.status != 200:
        return
    try:
        listed = [str(row["id"]) for row in loads(models.response.body)["data"]]
    except (ValueError, KeyError, TypeError):
        return
    # What is not printable could rewrite the terminal that it is shown on.
    listed = [name for name in listed if name.isprintable()]
    if listed and target.model() not in listed:
        raise UsageError(
            f"No model was named, and {target.url} does not list {target.model()!r}.",
            f"Name one with --model; it lists: {', '.join(listed[:12])}"
            f"{', …' if len(listed) > 12 else ''}.",
        )


async def _ask(target: Target, secrets: Mapping[str, str]) -> tuple[Exchange, Exchange, str]:
    """Ask the target twice, and its upstream whether it keeps a journal; say why not."""
    async with Client(target, secrets, patience=0) as client:
        models, chat, journal = await asyncio.gather(
            client.exchange(Ask(method="GET", path="/models")),
            client.exchange(Ask.json("/chat/completions", {})),
            _journal(target, client),
        )
    return models, chat, journal


async def _journal(target: Target, client: Client) -> str:
    if target.upstream is None:
        return ""
    try:
        answer = await client.fetch_json(f"{target.upstream.url}/_journal?canary={NOBODY}")
    except Exception as error:  # noqa: BLE001  # whatever it is, there is no journal
        return str(error).partition("\n")[0] or type(error).__name__
    kept = isinstance(answer, dict) and isinstance(answer.get("entries"), list)
    return "" if kept else "its answer holds no entries"


def _refusal_hint(target: Target, error: str) -> str:
    text = error.lower()
    if "certificate" in text:
        return "Its TLS certificate is not trusted; point SSL_CERT_FILE at the issuer's."
    if "ssl" in text or "tls" in text:
        return "TLS fails: is it http instead of https?"
    if "name" in text or "address" in text:
        return "Its host name is not known here."
    return f"Is the gateway running and listening there ({target.origin})?"
