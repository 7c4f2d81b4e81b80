"""``gateproof init URL``: probe a target and write a commented gateproof.toml for it.

It names the variable that holds the key and never its value, and it overwrites nothing.
"""

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from gateproof.client import Client
from gateproof.dialects.openai import loads, objects
from gateproof.errors import UsageError
from gateproof.probe import probe
from gateproof.profile import load_profile
from gateproof.settings import resolve_target
from gateproof.target import Target, read_secrets
from gateproof.transcript import Ask

__all__ = ["run"]

SHOWN_MODELS = 12

TEMPLATE = """\
# What gateproof tests: one table for each target. `gateproof conform --target {name}` reads it.

[targets.{name}]
url = {url}
profile = {profile}  # what it claims to be; see `gateproof list profiles`
{key}
# How many requests at once, and how long to wait: for the next byte, and for the whole answer.
# concurrency = 16
# idle_timeout_s = 30
# total_timeout_s = 120

# Load runs are refused for a target that is not on this machine, unless you may load it, and say
# what they may spend at most.
# load_allowed = true
# budget = {{ requests = 1000, tokens = 200000, usd = 5 }}

[targets.{name}.models]
{models}
# Models for other uses; what is not named is done by the chat model.
# tools = {chat}

# Headers that the gateway needs beside the key. What is secret is named by its variable.
# [targets.{name}.headers]
# x-team = "qa"
# x-token = {{ env = "MY_TOKEN" }}

# A reference server of ours that the target forwards to (`gateproof serve --port 9090`), and the
# model name that reaches it through the target: {{name}} is filled in. It shows what a gateway does
# with a broken upstream.
# [targets.{name}.upstream]
# url = "http://127.0.0.1:9090"
# models = "mock/{{name}}"

# What the profile claims and this target does not, each with the reason.
# [targets.{name}.disclaims]
# "chat.n" = "not built yet"

# A finding that you accept, with the reason, and until when.
# [[targets.{name}.waive]]
# check = "err.request-id"
# reason = "our proxy strips it"
# until = 2027-03-31
"""


def run(args: argparse.Namespace) -> int:
    """Probe the target, write the file, and say what comes next."""
    out: Path = args.out
    if out.exists():
        raise UsageError(
            f"{out} is there already, and is not overwritten.",
            "Add a table to it, or write to another place: --out FILE.",
        )
    if not re.fullmatch(r"[A-Za-z0-9_-]+", args.name):
        raise UsageError(
            f"{args.name!r} cannot be a target's name.",
            "Use letters, digits, - and _ only.",
        )
    load_profile(args.profile)
    if "://" not in args.url:
        raise UsageError(
            f"Not a usable target URL: {args.url!r}.",
            "Give the base URL with scheme, host and path, such as http://127.0.0.1:4000/v1.",
        )
    # Which model to ask for is what we are about to find out.
    named = resolve_target(args.url, profile=args.profile, key_env=args.key_env, model="-")
    secrets = read_secrets(named)
    probe(named, secrets)
    models = asyncio.run(_models(named, secrets))
    text = _text(args.name, named, models)
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}.", "Give --out.") from None
    sys.stdout.write(f"Wrote {out}. Next: {_next(args.name, out)}\n")
    return 0


async def _models(target: Target, secrets: Mapping[str, str]) -> list[str]:
    """Return the ids that the target lists; none when its list cannot be read."""
    auth = load_profile(target.profile).auth
    headers = (("anthropic-version", "2023-06-01"),) if auth == "x-api-key" else ()
    async with Client(target, secrets, auth=auth) as client:
        exchange = await client.exchange(Ask(method="GET", path="/models", headers=headers))
    if exchange.response is None or exchange.response.status != 200:
        return []
    try:
        value = loads(exchange.response.body)
    except (ValueError, RecursionError):
        return []
    rows = objects(value.get("data") if isinstance(value, dict) else value)
    names = [row.get("id") for row in rows]
    # A file that people read takes no name that could rewrite a line of it.
    return [name for name in names if isinstance(name, str) and name and name.isprintable()]


def _text(name: str, target: Target, models: list[str]) -> str:
    key = f'key = {{ env = "{target.key_env}" }}'
    if target.key_env is None:
        key = '# key = { env = "MY_KEY" }  # the variable that holds the key, never the key itself'
    chat = _quoted(models[0] if models else "gpt-4o-mini")
    if models:
        more = len(models) - SHOWN_MODELS
        told = ", ".join(map(_quoted, models[:SHOWN_MODELS])) + (
            f", … ({more} more)" if more > 0 else ""
        )
        lines = f"# It lists {told}.\nchat = {chat}"
    else:
        lines = f"# It lists none that can be read, so this one is a guess.\nchat = {chat}"
    return TEMPLATE.format(
        name=name,
        url=_quoted(target.url),
        profile=_quoted(target.profile),
        key=key,
        models=lines,
        chat=chat,
    )


def _quoted(text: str) -> str:
    """Write a printable string as TOML does, which is how JSON does."""
    return json.dumps(text, ensure_ascii=False)


def _next(name: str, out: Path) -> str:
    place = "" if out == Path("gateproof.toml") else f" --config {out}"
    return f"gateproof conform --target {name}{place}"
