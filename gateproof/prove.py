"""The proof: each fault of the reference server against each check.

One reference server is started; every scenario is recorded against its healthy base URL and against
``/with/<fault>/`` for every row of the kill list, and all is judged in this process. In the rows of
``gateway`` the server plays the gateway and its controlled upstream at once, and the checks that
need an upstream are proven; in the others it has none, and the remaining checks are.

Rules: under a fault the checks with a finding are exactly those that the list names, and those that
became untestable or inconclusive are exactly the ones it names apart; a healthy server and a legal
oddity give no finding at all; a check that no fault kills is not a check; two checks that no fault
tells apart are one check. Generative checks stand outside of this matrix: for them the list names
faults that they must find.
"""

import asyncio
import contextlib
import gc
import multiprocessing
import os
import re
import urllib.parse
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import Any

from gateproof.bundled import DEMO_KEY, bundled_server, fault_table
from gateproof.bundled import DEMO_KEY_ENV as KEY_ENV
from gateproof.check import Check, Result, needs_of
from gateproof.conform import Plan, judge_all, make_plan, record_plan
from gateproof.errors import unknown_name
from gateproof.kills import (
    GATEWAY,
    GENERATIVE,
    HEALTHY,
    LIMITS,
    OPTIONAL,
    Expectation,
    base_of,
    load_elsewhere,
    load_unheld,
)
from gateproof.profile import Profile, load_profile
from gateproof.requirement import load_requirements
from gateproof.suite import load_checks
from gateproof.target import Login, Target, Upstream
from gateproof.transcript import Transcript

__all__ = [
    "Gaps",
    "Outcome",
    "Server",
    "gaps",
    "plan_rows",
    "prove",
    "serving",
    "to_json",
]

FINDINGS = ("fail", "warn", "info", "departs")
AT_ONCE = 12  # rows recorded at the same time: enough to hide the silences in them
LIMITS_AT_ONCE = 3  # bursts must be bursts
GATEWAY_AT_ONCE = 8  # fewer where a journal must hold them all, and be searched for each
MOST_AGAIN = 6  # rows that are recorded again when they differ
MOST_JOBS = 4  # one server answers all of them
JOURNAL_BYTES = "16000000"  # the gateway's rows that are recorded at once, and some to spare
CONCURRENCY = 8  # exchanges of a row at the same time
IDLE_TIMEOUT_S = 3.5  # more than the checks' patience with a server on this machine
CASES = 25  # generated requests for each generative scenario
CLOCK_SCALE = 12  # a minute of the server's limits lasts five seconds, enough for a burst
# What else the server's demo accounts have, by profile: keys of other plans, and a user.
PLANS: Mapping[str, Mapping[str, str]] = {
    "losi": {"free": "free", "limited": "limited", "restricted": "readonly", "spent": "spent"},
    "lunos": {"limited": "limited"},
    "omai": {"basic": "basic", "enterprise": "enterprise", "limited": "basic", "pro": "pro"},
}
LOGINS: Mapping[str, tuple[str, str]] = {"omai": ("demo", "gateproof-demo-password")}
PASSWORD_ENV = "GATEPROOF_DEMO_PASSWORD"  # noqa: S105  # the name of a variable


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a fault did: the state of each check that applies, and the results behind it.

    A state is ``killed``, ``error``, ``untestable``, ``inconclusive`` or ``pass``.
    """

    row: Expectation
    states: Mapping[str, str]
    results: tuple[Result, ...]

    def having(self, state: str) -> frozenset[str]:
        """Return the checks in a state."""
        return frozenset(check for check, own in self.states.items() if own == state)

    @property
    def killed(self) -> frozenset[str]:
        """Return the checks that the fault killed, and not the profile's own departures."""
        return self.having("killed") - self.row.departs

    @property
    def complaints(self) -> tuple[str, ...]:
        """Return what differs from the row, one sentence a check; nothing when it is proven."""
        told = [f"error in {check}" for check in sorted(self.having("error"))]
        killed = self.killed
        if self.row.group == GENERATIVE:
            return (*told, *(f"not found by {check}" for check in sorted(self.row.finds - killed)))
        told += [f"missed by {check}" for check in sorted(self._known(self.row.kills) - killed)]
        told += [f"cried wolf: {check}" for check in sorted(killed - self.row.kills)]
        if not self.row.fault:
            kept = self._known(self.row.departs) - self.having("killed")
            told += [f"kept, though said to depart: {check}" for check in sorted(kept)]
        for state, wanted in (
            ("untestable", self._expand(self.row.untestable)),
            ("inconclusive", self.row.inconclusive),
        ):
            got = self.having(state)
            told += [f"not {state}: {check}" for check in sorted(self._known(wanted) - got)]
            told += [f"{state}: {check}" for check in sorted(got - wanted)]
        return tuple(told)

    def _expand(self, patterns: Sequence[str]) -> frozenset[str]:
        """Return the checks that some patterns mean, each in turn adding or taking away."""
        found: set[str] = set()
        others = self.states.keys() - self.row.kills - self.row.inconclusive
        for pattern in patterns:
            name = pattern.removeprefix("!")
            beginning = name.removesuffix("*")
            meant = {
                c for c in others if c == name or (name != beginning and c.startswith(beginning))
            }
            found = found - meant if pattern.startswith("!") else found | meant
            if not meant and name == beginning and name in self.states:
                found.add(name)  # named, yet killed or inconclusive: the row contradicts itself
        return frozenset(found)

    def _known(self, checks: frozenset[str]) -> frozenset[str]:
        """Return those checks that take part in this proof."""
        return checks & self.states.keys()

    def why(self, check: str) -> str:
        """Return what a check's worst case had to say."""
        for result in self.results:
            if result.check == check and result.verdict not in ("pass", "not-applicable"):
                told = result.reason or f"wanted {result.wanted}; got {result.got}"
                return f"[{result.case}] {told}"
        return ""


@dataclass(frozen=True, slots=True)
class Server:
    """A running reference server: where it listens, and what it can be asked to do."""

    url: str
    table: Sequence[Mapping[str, str]]


@contextlib.contextmanager
def serving(profile: str = "openai") -> Iterator[Server]:
    """Start a reference server of our own on a free port, and end it with the block."""
    options = ["--journal-bytes", JOURNAL_BYTES, "--clock-scale", str(CLOCK_SCALE)]
    with bundled_server(["--profile", profile, *options]) as server:
        yield Server(server.url, fault_table())


def plan_rows(
    server: Server,
    kills: Sequence[Expectation],
    *,
    profile: str | None = None,
    faults: Collection[str] = (),
) -> tuple[Expectation, ...]:
    """Return all that is to be recorded: health, the list's rows, and the server's oddities.

    An oddity stands in the table of each dialect, the first and anthropic's, unless a row names it.
    """
    groups = list(dict.fromkeys(row.group for row in kills if row.group != GENERATIVE))
    kinds = {row["name"]: row["kind"] for row in server.table}
    listed = {(row.group, base_of(row.fault)) for row in kills}
    oddities = [
        row["name"]
        for row in server.table
        # One that needs a parameter needs a row; a default stands in parentheses.
        if row["kind"] == "oddity" and (not row.get("parameter") or "(" in row["parameter"])
    ]
    rows = []
    for group in groups:
        listed_here = [row for row in kills if row.group == group]
        of, departs = listed_here[0].profile, listed_here[0].departs
        rows.append(Expectation(group, "", HEALTHY, of, departs=departs))
        rows += listed_here
        if group in (groups[0], "anthropic"):
            rows += [
                Expectation(group, name, "oddity", of, departs=departs)
                for name in oddities
                if (group, name) not in listed
            ]
    rows += [row for row in kills if row.group == GENERATIVE]
    rows = [replace(row, kind=kinds.get(base_of(row.fault), row.kind)) for row in rows]
    if profile is not None:
        if profile not in (*groups, GENERATIVE):
            raise unknown_name("table of the kill list", profile, (*groups, GENERATIVE))
        rows = [row for row in rows if row.group == profile]
    if faults:
        for fault in faults:
            if not any(fault in (row.fault, base_of(row.fault)) for row in rows):
                raise unknown_name("fault", fault, {row.fault for row in rows if row.fault})
        rows = [row for row in rows if row.fault in faults or base_of(row.fault) in faults]
    return tuple(rows)


def prove(
    server: Server,
    rows: Sequence[Expectation],
    checks: Mapping[str, Check],
    on_done: Callable[[Outcome], None] = lambda _: None,
) -> tuple[Outcome, ...]:
    """Record and judge every row, and return the outcomes in the rows' order.

    Many rows are shared out among as many processes as there are processors: asking and judging
    are work for one each. A few rows that differ from the list are recorded once more with nothing
    else in flight: some checks read times of arrival, and a busy machine delays what it should
    not. A row is then what it was the second time.
    """
    between = [row for row in rows if row.group.startswith(GATEWAY)]
    bursts = [row for row in rows if row.group.endswith(LIMITS)]
    others = [row for row in rows if row not in between and row not in bursts]
    # The gateway's rows first: they wait most, and are best not the last.
    batches = [
        some[at : at + size]
        for some, size in ((between, GATEWAY_AT_ONCE), (bursts, LIMITS_AT_ONCE), (others, AT_ONCE))
        for at in range(0, len(some), size)
    ]
    jobs = min(len(batches), os.cpu_count() or 1, MOST_JOBS)
    found: dict[str, Outcome] = {}

    def keep(outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            found[outcome.row.name] = outcome
            on_done(outcome)

    if jobs <= 1:
        for batch in batches:
            keep(_prove_batch(server, batch, tuple(checks)))
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, mp_context=context) as pool:
            tasks = [pool.submit(_prove_batch, server, batch, tuple(checks)) for batch in batches]
            for task in as_completed(tasks):
                keep(task.result())
    differing = [outcome.row for outcome in found.values() if outcome.complaints]
    if len(differing) <= MOST_AGAIN:
        for row in differing:
            keep(_prove_batch(server, [row], tuple(checks)))
    return tuple(found[row.name] for row in rows)


def _prove_batch(
    server: Server, rows: Sequence[Expectation], names: Sequence[str]
) -> tuple[Outcome, ...]:
    """Record a few rows at the same time, then judge them.

    Nothing is judged while something is recorded, so that no time of arrival is our own delay.
    """
    gc.set_threshold(100_000, 20, 100)  # transcripts hold no cycles: look for them less often
    known = load_checks()
    checks = {name: known[name] for name in names}
    plans = [_plan(server, row, checks) for row in rows]

    async def record() -> list[dict[str, Transcript]]:
        return await asyncio.gather(
            *(_record(row, plan) for row, plan in zip(rows, plans, strict=True))
        )

    recorded = asyncio.run(record())
    return tuple(
        _judge(row, plan, transcripts)
        for row, plan, transcripts in zip(rows, plans, recorded, strict=True)
    )


def _plan(server: Server, row: Expectation, checks: Mapping[str, Check]) -> Plan:
    profile = load_profile(row.profile)
    chosen = {id_: item for id_, item in checks.items() if _takes_part(row, item, profile)}
    if row.group.endswith((OPTIONAL, LIMITS)):
        profile = profile.with_groups(profile.groups)
    return make_plan(_target(server, row), profile, chosen)


def _takes_part(row: Expectation, check: Check, profile: Profile) -> bool:
    """Tell whether a check is proven by the rows of a table."""
    if row.group == GENERATIVE:
        return check.id in row.finds
    if check.generative:
        return False
    requirement = load_requirements()[check.requirement]
    needs = [needs_of(check, case, requirement) for case in check.cases]
    if any("upstream" in case for case in needs):
        return row.group.startswith(GATEWAY)
    limits = any(_OF_LIMITS & case for case in needs)
    if limits or row.group.endswith(LIMITS):
        return limits and row.group.endswith(LIMITS)
    if row.group.endswith(OPTIONAL):
        return not any(case <= profile.claims for case in needs)
    return not row.group.startswith(GATEWAY)


_OF_LIMITS = frozenset({"rate-limits", "tiers"})


async def _record(row: Expectation, plan: Plan) -> dict[str, Transcript]:
    transcripts: dict[str, Transcript] = {}

    def keep(transcript: Transcript) -> None:
        transcripts[transcript.scenario] = transcript

    await record_plan(plan, _secrets(row), f"prove/{row.name}", keep, cases=CASES, patience=0)
    return transcripts


def _secrets(row: Expectation) -> dict[str, str]:
    """Return the row's keys: of accounts of its own, whose limits no other row uses up."""
    own = re.sub(r"[^a-z0-9]+", "-", row.name.lower())[:48]
    plans = PLANS.get(row.profile, {})
    found = {
        _plan_env(plan): f"sk-gateproof-{row.profile}-{demo}--{own}-{plan}"
        for plan, demo in plans.items()
    }
    if row.profile in LOGINS:
        found[PASSWORD_ENV] = LOGINS[row.profile][1]
    return {KEY_ENV: f"{DEMO_KEY}--{own}", **found}


def _plan_env(plan: str) -> str:
    return f"{KEY_ENV}_{plan.upper()}"


def _judge(row: Expectation, plan: Plan, transcripts: Mapping[str, Transcript]) -> Outcome:
    results = judge_all(plan, transcripts)
    states: dict[str, str] = {}
    for result in results:
        state = _state(result)
        if state is not None and _RANK[state] < _RANK.get(states.get(result.check, ""), 9):
            states[result.check] = state
    kept = [item for item in results if item.verdict not in ("pass", "not-applicable")]
    return Outcome(row, states, tuple(sorted(kept, key=lambda item: _RANK[_state(item) or "pass"])))


_RANK = {"error": 0, "killed": 1, "untestable": 2, "inconclusive": 3, "pass": 4}


def _state(result: Result) -> str | None:
    if result.verdict == "not-applicable":
        return None
    return "killed" if result.verdict in FINDINGS else result.verdict


def _target(server: Server, row: Expectation) -> Target:
    behaving = f"/with/{urllib.parse.quote(row.fault, safe=':+=,.-_*')}" if row.fault else ""
    return Target(
        name=row.name,
        url=f"{server.url}{behaving}/{row.profile}{load_profile(row.profile).base_path}",
        profile=row.profile,
        key_env=KEY_ENV,
        keys={plan: _plan_env(plan) for plan in PLANS.get(row.profile, ())},
        login=Login(LOGINS[row.profile][0], PASSWORD_ENV) if row.profile in LOGINS else None,
        clock_scale=CLOCK_SCALE,
        upstream=Upstream(server.url) if row.group.startswith(GATEWAY) else None,
        concurrency=CONCURRENCY,
        idle_timeout_s=IDLE_TIMEOUT_S,
        total_timeout_s=4 * IDLE_TIMEOUT_S,
    )


@dataclass(frozen=True, slots=True)
class Gaps:
    """What a whole proof leaves open.

    ``unproven`` are checks that no fault kills, ``alike`` groups of checks that no fault tells
    apart, ``unlisted`` faults of the server that the list neither has nor says why it has not.
    """

    unproven: tuple[str, ...]
    alike: tuple[tuple[str, ...], ...]
    unlisted: tuple[str, ...]


def gaps(server: Server, outcomes: Sequence[Outcome], checks: Mapping[str, Check]) -> Gaps:
    """Find what the rows of a whole proof leave open, but for what is shown elsewhere."""
    excepted = load_elsewhere()
    killers: dict[str, set[str]] = {
        id_: set() for id_, item in checks.items() if not item.generative and id_ not in excepted
    }
    found: set[str] = set()
    for outcome in outcomes:
        for check in outcome.killed:
            found.add(check)
            if check in killers:
                killers[check].add(outcome.row.name)
    groups: dict[frozenset[str], list[str]] = {}
    for check, names in killers.items():
        groups.setdefault(frozenset(names), []).append(check)
    listed = {base_of(outcome.row.fault) for outcome in outcomes} | load_unheld().keys()
    return Gaps(
        unproven=tuple(sorted(check for check in checks if check not in found | excepted.keys())),
        alike=tuple(tuple(sorted(same)) for names, same in groups.items() if names and same[1:]),
        unlisted=tuple(
            row["name"]
            for row in server.table
            if row["kind"] == "fault" and row["name"] not in listed
        ),
    )


def to_json(outcomes: Sequence[Outcome], open_: Gaps | None) -> dict[str, Any]:
    """Return a proof as JSON values."""
    return {
        "rows": [
            {
                "table": outcome.row.group,
                "fault": outcome.row.fault,
                "kind": outcome.row.kind,
                **{
                    name: sorted(outcome.having(state))
                    for name, state in (
                        ("kills", "killed"),
                        ("untestable", "untestable"),
                        ("inconclusive", "inconclusive"),
                    )
                },
                "complaints": list(outcome.complaints),
            }
            for outcome in outcomes
        ],
        "unproven": list(open_.unproven) if open_ else None,
        "alike": [list(same) for same in open_.alike] if open_ else None,
        "unlisted": list(open_.unlisted) if open_ else None,
    }
