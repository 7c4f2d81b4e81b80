"""Run scenarios against a target, concurrently, and collect their transcripts.

Each scenario owns its connections and its canary; nothing is shared between them. What was
recorded is handed over as soon as it is whole, so that a run that dies keeps it.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateproof.client import BudgetSpent, Client
from gateproof.profile import GROUPS, Profile
from gateproof.redact import cover_text
from gateproof.requirement import UNDER_LOAD
from gateproof.scenario import Scenario, Steps, Unanswered, Use, canary_of
from gateproof.target import Target
from gateproof.transcript import OWN_ERROR, Ask, Exchange, Transcript

__all__ = ["record", "unclaimed"]

ABSENT_S = 1.0  # how long an entry may take to appear in the journal
JOURNAL_PATIENCE_S = 3.0  # how long an upstream may take to notice that its client has gone


def unclaimed(profile: Profile, target: Target, needs: Sequence[frozenset[str]]) -> dict[str, str]:
    """Return each needed capability that is not claimed, with the reason."""
    reasons = {}
    for need in sorted(frozenset().union(*needs)):
        if need == "generated":
            continue  # the operator's word, which a plan is given
        if need == "upstream":
            if target.upstream is None:
                reasons[need] = "no controlled upstream"
        elif need == UNDER_LOAD:
            reasons[need] = "judged only while load is on (gateproof load, gateproof audit)"
        elif need in target.disclaims:
            reasons[need] = f"{need} taken out of the profile: {target.disclaims[need]}"
        elif need.startswith("plan:"):
            name = need.removeprefix("plan:")
            if name not in target.keys:
                reasons[need] = f"the target names no key {name} (keys.{name}, --plan-key)"
        elif need == "credentials":
            if target.login is None:
                reasons[need] = "the target names no login (login, --login)"
        elif need not in profile.claims:
            group = profile.group_of(need)
            reasons[need] = (
                f"opt in with --with {group}: it {GROUPS[group]}"
                if group
                else f"profile {profile.name} does not claim {need}"
            )
    return reasons


async def record(
    scenarios: Sequence[Scenario],
    client: Client,
    profile: Profile,
    run: str,
    on_done: Callable[[Transcript], None],
    *,
    seed: int = 0,
    cases: int = 0,
) -> None:
    """Record every scenario; ``on_done`` receives each transcript when it is whole.

    ``cases`` is how many requests a generative scenario may make.
    """
    uses = {
        item.name: Use(client.target, profile, canary_of(run, item.name), seed, cases)
        for item in scenarios
    }
    begun: dict[str, _Begun] = {}

    async def run_one(item: Scenario) -> None:
        first = begun.get(item.name) or _begin(item, uses[item.name])
        on_done(await _record_one(item, uses[item.name], client, first))

    async def compute() -> None:
        """Let the generative scenarios compute while answers are waited for, one by one."""
        for item in generative:
            begun[item.name] = await asyncio.to_thread(_begin, item, uses[item.name])

    generative = [item for item in scenarios if item.generative]
    alone = [item for item in scenarios if item.alone and not item.generative]
    others = [item for item in scenarios if not (item.generative or item.alone)]
    async with asyncio.TaskGroup() as group:
        for item in sorted(others, key=lambda item: -item.rounds):
            group.create_task(run_one(item))
        group.create_task(compute())
    for item in alone:
        await run_one(item)
    async with asyncio.TaskGroup() as group:
        for item in generative:
            group.create_task(run_one(item))


@dataclass(frozen=True, slots=True)
class _Begun:
    """A scenario that has come to its first requests, or to what kept it from them."""

    steps: Steps
    asked: Ask | Sequence[Ask] = ()
    ended: Exception | None = None


def _begin(item: Scenario, use: Use) -> _Begun:
    steps = item(use)
    try:
        return _Begun(steps, steps.send(None))
    except Exception as error:  # noqa: BLE001  # _record_one tells what it means
        return _Begun(steps, ended=error)


async def _record_one(item: Scenario, use: Use, client: Client, begun: _Begun) -> Transcript:
    exchanges: list[Exchange] = []
    problem = ""
    steps, asked = begun.steps, begun.asked
    try:
        if begun.ended is not None:
            raise begun.ended  # noqa: TRY301  # it is told like those of later steps
        while True:
            asks = [asked] if isinstance(asked, Ask) else list(asked)
            made = await _exchanges(client, asks, exchanges, retry_429=item.retry_429)
            asked = steps.send(made[0] if isinstance(asked, Ask) else made)
    except StopIteration:
        pass
    except (Unanswered, BudgetSpent) as reason:
        problem = str(reason)
    except Exception as error:  # noqa: BLE001  # one scenario's bug must not end the run
        problem = f"{OWN_ERROR}{type(error).__name__}: {error}"
    steps.close()
    journal = None
    if item.journal and client.target.upstream is not None and exchanges:
        journal = await _journal(client, use.canary)
    return Transcript(
        scenario=item.name,
        exchanges=tuple(exchanges),
        canary=use.canary,
        upstream=journal,
        problem=problem,
        use={
            "model": use.model(),
            "models": dict(client.target.models),
            "profile": use.profile.name,
            "options": dict(use.profile.options),
        },
    )


async def _exchanges(
    client: Client, asks: Sequence[Ask], kept: list[Exchange], *, retry_429: bool
) -> list[Exchange]:
    """Make exchanges at once and keep all that were made, also when one of them could not be."""
    found = await asyncio.gather(
        *(client.exchange(ask, retry_429=retry_429) for ask in asks), return_exceptions=True
    )
    made = [item for item in found if isinstance(item, Exchange)]
    kept += made
    for item in found:
        if isinstance(item, BaseException):
            raise item
    return made


async def _journal(client: Client, canary: str) -> tuple[Mapping[str, Any], ...] | None:
    """Return the upstream's entries for a canary, once none of them is open any more.

    ``None`` when the upstream does not tell.
    """
    upstream = client.target.upstream
    assert upstream is not None
    deadline = time.monotonic() + JOURNAL_PATIENCE_S
    entries: list[dict[str, Any]] | None = None
    pause_s = 0.05
    while True:
        with contextlib.suppress(Exception):  # it may be gone, or busy
            entries = (await client.fetch_json(f"{upstream.url}/_journal?canary={canary}"))[
                "entries"
            ]
        settled = entries and all(entry.get("outcome") != "open" for entry in entries)
        # Our exchange is over: what has not reached the upstream by then hardly ever will.
        absent = entries == [] and time.monotonic() > deadline - JOURNAL_PATIENCE_S + ABSENT_S
        if settled or absent or time.monotonic() > deadline:
            break
        await asyncio.sleep(pause_s)
        pause_s *= 2  # a journal is long, and many scenarios ask for it at once
    if entries is None:
        return None
    return tuple(json.loads(cover_text(json.dumps(entries, ensure_ascii=False), client.secrets)))
