"""Rate limits, met on purpose: opt-in, since they cost requests, minutes and other callers' peace.

No number is assumed but those that a vendor documents, and those only for keys of the tiers that
the operator names (``keys.basic``, ``keys.enterprise``). A minute is a minute of the target's clock
of limits; a test server's runs faster (``clock_scale``).
"""

from dataclasses import replace

from gateproof.dialects import openai
from gateproof.scenario import Steps, Use, scenario
from gateproof.transcript import Ask, Exchange

from .chat import ask_chat

__all__ = [
    "BASIC_BURST",
    "BASIC_REQUESTS",
    "BASIC_TOKENS",
    "BELOW",
    "BURST",
    "ENTERPRISE_BURST",
    "LONG_PROMPT",
    "TIER_BASIC",
    "TIER_ENTERPRISE",
    "TIER_PRO",
    "met",
]

BASIC_REQUESTS = 60  # OMAi, API Reference, Rate Limits: Basic, requests a minute
BASIC_TOKENS = 40_000  # the same, tokens a minute
BELOW = 54  # nine tenths of them
BASIC_BURST = 120  # by then a 429 must have been met, whatever kind of window it is
ENTERPRISE_BURST = 120
BATCH = 10
BURST_BATCHES = 7  # more than the smallest documented limit
MINUTE_S = 60.0
MARGIN_S = 5.0  # what a minute is waited longer, for clocks that differ
MAX_WAIT_S = 90.0  # no longer Retry-After is waited for
# About 2,000 tokens, 25 of which are more than Basic's in a minute, and fewer than its requests.
LONG_PROMPT = "Say hello in one word. Pay no attention to what follows. " + "gull " * 2000
LONG_ASKS = 25


def met(exchange: Exchange) -> bool:
    """Tell whether an exchange met a limit."""
    return exchange.response is not None and exchange.response.status == 429


def _short(use: Use, auth: str, label: str, after_s: float | None = None) -> Ask:
    ask = ask_chat(use, "Say hello in one word.", auth=auth, label=label, max_tokens=5)
    return replace(ask, after_s=after_s)


@scenario(
    "limits.burst",
    needs=["chat", "rate-limits"],
    retry_429=False,
    alone=True,
    requests=BATCH * BURST_BATCHES + 1,
)
def BURST(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask until a limit is met, then once more after the time that Retry-After tells."""
    auth = "plan:limited" if "limited" in use.target.keys else "key"
    found: list[Exchange] = []
    for _ in range(BURST_BATCHES):
        got = yield [_short(use, auth, "burst") for _ in range(BATCH)]
        found = [item for item in got if met(item)]
        if found:
            break
    waits = [openai.response(item).header("retry-after") or "" for item in found]
    seconds = [int(text) for text in waits if text.isascii() and text.isdigit()]
    if seconds and max(seconds) <= MAX_WAIT_S:
        # The longest: it is of the limit as it was last.
        yield _short(use, auth, "again", max(seconds))


@scenario(
    "limits.tier-basic",
    needs=["chat", "tiers", "plan:basic"],
    retry_429=False,
    alone=True,
    requests=BELOW + BASIC_BURST + LONG_ASKS,
)
def TIER_BASIC(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """On Basic: nine tenths of its requests in a minute, then twice them, then its tokens."""
    minute_s = MINUTE_S / use.target.clock_scale
    pause_s = (MINUTE_S + MARGIN_S) / use.target.clock_scale
    yield [_short(use, "plan:basic", "below", number * minute_s / BELOW) for number in range(BELOW)]
    # Batch by batch, so that no more are made than are needed.
    for start in range(0, BASIC_BURST, BATCH):
        wait_s = pause_s if not start else None
        got = yield [_short(use, "plan:basic", "burst", wait_s) for _ in range(BATCH)]
        if any(met(item) for item in got):
            break
    for number in range(LONG_ASKS):
        ask = ask_chat(use, LONG_PROMPT, auth="plan:basic", label="tokens", max_tokens=5)
        one: Exchange = yield replace(ask, after_s=None if number else pause_s)
        if met(one):
            break


@scenario(
    "limits.tier-pro",
    needs=["chat", "tiers", "plan:pro"],
    retry_429=False,
    alone=True,
    requests=ENTERPRISE_BURST,
)
def TIER_PRO(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """On Pro: the same burst, which is a small part of what it has in a minute."""
    yield [_short(use, "plan:pro", "burst") for _ in range(ENTERPRISE_BURST)]


@scenario(
    "limits.tier-enterprise",
    needs=["chat", "tiers", "plan:enterprise"],
    retry_429=False,
    alone=True,
    requests=ENTERPRISE_BURST,
)
def TIER_ENTERPRISE(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """On Enterprise: a burst of twice the requests that Basic has in a minute."""
    yield [_short(use, "plan:enterprise", "burst") for _ in range(ENTERPRISE_BURST)]
