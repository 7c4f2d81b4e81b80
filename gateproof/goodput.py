"""What a load run's answers were worth: the share inside all SLOs, and what they cost.

Rules. Goodput is judged from due, since that is what a user waits, by the SLOs of the request's own
work; a request whose work has none is not counted. A request that failed is outside; one that the
end of the run cut off is outside when it had taken longer than an SLO by then, sent or not, and
else is not counted. An SLO about tokens does not bind an answer that came in one piece. Money is
decimal: whole nano-dollars from the target's own cost fields, else from the operator's price table,
and which of them is said.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateproof.interval import share_interval
from gateproof.latency import NS_PER_MS, US_PER_MS, first_us, token_count, where
from gateproof.plan import LoadPlan
from gateproof.sample import NEVER, NO_COST, ErrorKind
from gateproof.work import titles

__all__ = ["cost", "goodput", "own_slos"]

_OF_TOKENS: Final = ("ttft_ms", "content_ms", "tpot_ms")
_OF_WAITING: Final = ("ttft_ms", "content_ms", "e2e_ms")
_MILLION: Final = 10**6


def goodput(rows: NDArray[np.void], plan: LoadPlan, seconds: float) -> Any:
    """Count the requests inside all SLOs of their work; None when no request has any."""
    by_work = plan.slos_by_work
    work = np.minimum(rows["work"], len(by_work) - 1)
    used = np.unique(work).tolist() if len(rows) else range(len(by_work))
    slos = list(dict.fromkeys(name for place in used for name in by_work[place]))
    if not slos:
        return None
    held = np.array([bool(own) for own in by_work])[work]
    values = _values(rows)
    answered, unfinished = rows["error"] == ErrorKind.NONE, rows["error"] == ErrorKind.UNFINISHED
    whole = answered & (first_us(rows) == NEVER)  # a stream without a token is an error
    plain = np.isin(rows["work"], np.unique(rows["work"][whole]))  # work without tokens to time
    good, late, missed = answered & held, np.zeros(len(rows), bool), {}
    for name in slos:
        limit = np.array([own.get(name, np.inf) for own in by_work])[work]
        inside = answered & ((values[name] <= limit) | (whole & (name in _OF_TOKENS)))
        good &= inside
        missed[name] = ~inside & np.isfinite(limit)
        # What had not come when the run ended had taken at least as long as until then.
        if name in _OF_WAITING:
            so_far = np.minimum(values[name], values["e2e_ms"])
            late |= unfinished & (so_far > limit) & ~(plain & (name in _OF_TOKENS))
    counted = held & (~unfinished | late)
    n, inside_all = int(counted.sum()), int(good.sum())
    alike = len({tuple(sorted(by_work[place].items())) for place in used}) == 1
    return {
        "slos": dict(by_work[used[0]] if alike else plan.slos),
        "by_work": {} if alike else own_slos(plan),
        "n": n,
        "good": inside_all,
        "share": round(inside_all / n, 6) if n else None,
        "ci": _rounded(share_interval(inside_all, n)),
        "per_s": round(inside_all / seconds, 4),
        "missed": {name: int((counted & out).sum()) for name, out in missed.items()},
    }


def _values(rows: NDArray[np.void]) -> dict[str, NDArray[Any]]:
    """Give what each SLO is about, of each request, in ms."""
    tokens = np.maximum(token_count(rows) - 1, 1)
    first = first_us(rows)
    wait_ms = np.maximum(rows["sent_ns"] - rows["due_ns"], 0) / NS_PER_MS
    last = np.where(rows["last_token_us"] == NEVER, first, rows["last_token_us"])
    return {
        "ttft_ms": wait_ms + first / US_PER_MS,
        "content_ms": wait_ms + rows["first_token_us"] / US_PER_MS,
        "tpot_ms": (last.astype(np.float64) - first) / US_PER_MS / tokens,
        "e2e_ms": wait_ms + rows["end_us"] / US_PER_MS,
    }


def own_slos(plan: LoadPlan) -> dict[str, dict[str, float]]:
    """Give the SLOs of each work by its title, where a work has its own; else nothing."""
    if not any("slos" in table for table in plan.work):
        return {}
    by_work = zip(titles(plan.work), plan.slos_by_work, strict=True)
    return {title: dict(slos) for title, slos in by_work}


def _rounded(bounds: tuple[float, float] | None) -> list[float] | None:
    return bounds and [round(bound, 6) for bound in bounds]


def cost(records: NDArray[np.void], prices: Mapping[str, float]) -> dict[str, Any]:
    """Sum up what all requests cost, warm-up included, and say where the prices are from."""
    named = records["cost_nano_usd"] != NO_COST
    nano = int(records["cost_nano_usd"][named].sum())
    usd = Decimal(nano).scaleb(-9)
    rest = where(records, ~named)
    used = where(rest, (rest["completion_tokens"] != NEVER) | (rest["prompt_tokens"] != NEVER))
    reckoned = len(used) if prices else 0
    if prices:
        for field, name in (("prompt_tokens", "prompt"), ("completion_tokens", "completion")):
            counts = used[field][used[field] != NEVER]
            price = Decimal(str(prices.get(name, 0)))
            usd += price * int(counts.sum(dtype=np.int64)) / _MILLION
    count = int(named.sum())
    sources = [("answers", count), ("prices", reckoned)]
    source = " and ".join(name for name, many in sources if many) or None
    says = {
        None: "no answer named a cost, and no prices were given",
        "answers": "as the answers themselves say",
        "prices": "reckoned from the usage of the answers and the prices of the scenario",
        "answers and prices": "as the answers say, and by the scenario's prices where they do not",
    }[source]
    answered = int((records["error"] == ErrorKind.NONE).sum())
    return {
        "usd": f"{usd:f}" if source else None,
        "per_1000_requests_usd": f"{usd * 1000 / answered:.6f}" if source and answered else None,
        "source": source,
        "priced": count + reckoned,
        "unpriced": answered
        - int((records["error"][named] == ErrorKind.NONE).sum())
        - (int((used["error"] == ErrorKind.NONE).sum()) if prices else 0),
        "says": says,
    }
