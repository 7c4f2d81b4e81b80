"""The rate-limit lab against limited gateways in virtual time, written apart from it."""

import random
from itertools import product
from typing import Any

import pytest

from gateproof.limitlab.lab import Lab
from gateproof.limitlab.plan import Expected, LimitsPlan
from gateproof.limitlab.result import result_of, text_of
from tests.limiters import ALIGNED, RULES, Gateway, Limiter

KEYS = {"second_key": "b", "second_model": "m", "stranger_key": "c"}
OMAI = (Expected("requests", 60, 60.0), Expected("tokens", 40_000, 60.0))
SMALL = 14  # tokens of the gateway's smallest request


def find(*limiters: Limiter, plan: dict[str, Any] | None = None, **about: Any) -> dict[str, Any]:
    """Let the lab look at a gateway with these limits."""
    settings: dict[str, Any] = {"longest_window_s": 100.0, **KEYS, **(plan or {})}
    lab = Lab(LimitsPlan(**settings))
    Gateway(limiters, **about).drive(lab.run())
    return result_of(lab)


def limit(
    amount: int = 60, window_s: float = 60.0, rule: str = "sliding-log", **more: Any
) -> Limiter:
    """Make a limit of requests."""
    return Limiter("requests", amount, window_s, RULES[rule], **more)


@pytest.mark.parametrize(
    ("algorithm", "what", "scope"),
    list(product(RULES, ("requests", "tokens"), ("key", "model", "account"))),
)
def test_each_limiter_is_named(algorithm: str, what: str, scope: str) -> None:
    """Kind, amount, window and scope of each limiter are found, in at most three windows."""
    draw = random.Random(f"{algorithm} {what} {scope}")
    window_s = draw.uniform(20, 90)
    amount = draw.randint(6, 60) if what == "requests" else draw.randint(100, 900)
    got = find(
        Limiter(what, amount, window_s, RULES[algorithm], scope),
        plan={"look_for": ("requests",), "requests": 2000, "tokens": 200_000},
    )
    row = got["limits"][0]
    unit = 0 if what == "requests" else SMALL

    assert (row["what"], row["algorithms"], row["scopes"]) == ([what], [algorithm], [scope])
    assert row["amount_low"] - unit <= amount <= row["amount_high"] + unit
    assert row["window_s"] == pytest.approx(window_s, rel=0.04)
    assert row["windows_used"] <= 3
    assert row["ambiguous"] == ""


def test_windows_by_the_gateways_clock_are_told_from_those_by_a_call() -> None:
    """Fixed windows that lie by a clock are named so, since they end once after any time."""
    got = find(
        Limiter("requests", 40, 60.0, ALIGNED["fixed-window"], phase_s=33.0),
        plan={"look_for": ("requests",)},
    )
    row = got["limits"][0]

    assert (row["algorithms"], row["forms"], row["amount"]) == (["fixed-window"], ["aligned"], 40)


@pytest.mark.parametrize(
    ("what", "amount", "window_s", "phase_s"),
    [
        ("requests", 22, 61.4, 59.5), ("requests", 18, 79.2, 70.3), ("requests", 11, 60.0, 6.1),
        ("tokens", 770, 70.0, 12.0), ("tokens", 517, 55.4, 41.0),
    ],
)  # fmt: skip
def test_counters_by_the_gateways_clock_are_named(
    what: str, amount: int, window_s: float, phase_s: float
) -> None:
    """A sliding counter whose windows lie by a clock, the usual one, is named and measured."""
    limiter = Limiter(what, amount, window_s, ALIGNED["sliding-counter"], phase_s=phase_s)
    row = find(limiter, plan={"look_for": ("requests",)})["limits"][0]
    unit = 0 if what == "requests" else SMALL

    assert (row["what"], row["algorithms"], row["forms"]) == (
        [what], ["sliding-counter"], ["aligned"],
    )  # fmt: skip
    assert row["amount_low"] - unit <= amount <= row["amount_high"] + unit
    assert row["window_s"] == pytest.approx(window_s, rel=0.04)


@pytest.mark.parametrize("draw", range(6))
def test_a_window_that_is_told_holds_the_true_one(draw: int) -> None:
    """Fixed windows by a clock, of any length and beginning, are never taken for another kind."""
    dice = random.Random(draw)
    window_s, amount = dice.uniform(25, 80), dice.randint(8, 60)
    phase_s = dice.uniform(0, window_s)
    limiter = Limiter("requests", amount, window_s, ALIGNED["fixed-window"], phase_s=phase_s)
    row = find(limiter, plan={"look_for": ("requests",)})["limits"][0]

    assert (row["algorithms"], row["amount"]) == (["fixed-window"], amount)
    assert 0.96 * row["window_low_s"] <= window_s <= 1.04 * row["window_high_s"]


def test_refused_requests_that_count_are_noticed() -> None:
    """A log that holds refused requests too is told from one that does not."""
    row = find(limit(counts_refused=True), plan={"look_for": ("requests",)})["limits"][0]

    assert (row["algorithms"], row["forms"]) == (["sliding-log"], ["counts-refused"])


def test_two_limits_at_once_are_both_found() -> None:
    """Limits of requests and of tokens are each found beside the other, as documented."""
    got = find(
        limit(), Limiter("tokens", 40_000, 60.0, RULES["sliding-log"]),
        plan={"expect": OMAI}, retry_after=lambda wait_s: wait_s,
    )  # fmt: skip

    assert [row["verdict"] for row in got["documented"]] == ["same", "same"]
    assert [row["what"] for row in got["limits"]] == [["requests"], ["tokens"]]
    assert (got["exit"], got["findings"]) == (0, [])


@pytest.mark.parametrize(
    ("limiter", "says"),
    [
        (limit(120), "Found: 120 requests"),
        (limit(30), "Found: 30 requests"),
        (limit(60, 30.0), "a window of "),
        (limit(60, 600.0), "it holds for"),
    ],
    ids=["doubled", "halved", "window-short", "window-long"],
)
def test_what_differs_from_the_documented_limit_is_a_finding(limiter: Limiter, says: str) -> None:
    """Another amount or window than is documented ends the run with status 1."""
    got = find(limiter, plan={"expect": OMAI[:1], "look_for": ("requests",)})

    assert got["exit"] == 1
    assert says in got["documented"][0]["says"]


def test_no_limit_is_none_found_up_to() -> None:
    """Without a limit the answer is how far was looked, not that there is none."""
    got = find(plan={"requests": 200, "tokens": 50_000, "unlimited": True})

    assert got["limits"] == []
    assert "none found up to 1" in got["none"][0]["says"]
    assert (got["documented"][0]["verdict"], got["exit"]) == ("same", 0)


@pytest.mark.parametrize(
    ("wait", "verdict"),
    [(1.0, "true"), (0.5, "false"), (3.0, "false"), (None, "absent")],
    ids=["true", "short", "long", "none"],
)
def test_retry_after_is_held_to_what_follows(wait: float | None, verdict: str) -> None:
    """Who waits as told must pass, and who waits clearly less must not."""
    told = None if wait is None else lambda wait_s: wait_s * wait
    got = find(limit(20), plan={"look_for": ("requests",)}, retry_after=told)
    named = {row["name"]: row["verdict"] for row in got["judgments"]}

    assert named.get("Retry-After is true", "absent") == verdict


def test_another_status_is_a_finding() -> None:
    """Refusals with 503 are seen as a limit, and called wrong."""
    got = find(limit(12), plan={"look_for": ("requests",)}, status=503)

    assert got["limits"][0]["amount"] == 12
    assert any("503" in says for says in got["findings"])


def test_a_stranger_who_is_held_is_a_finding() -> None:
    """A limit that holds keys of other accounts as well is found."""
    got = find(limit(30, scope="everybody"), plan={"look_for": ("requests",)})

    assert any("strangers starve" in says for says in got["findings"])


def test_a_limit_of_one_is_not_guessed() -> None:
    """What nothing can tell apart is named as open, with the reason."""
    got = find(
        limit(1, 20.0), plan={"second_model": "", "second_key": "", "stranger_key": ""}
    )  # fmt: skip
    row = got["limits"][0]

    assert {"sliding-log", "token-bucket"} <= set(row["algorithms"])
    assert "ambiguous" in row["says"]


@pytest.mark.parametrize("amount", [1, 2, 3])
@pytest.mark.parametrize("algorithm", RULES)
@pytest.mark.parametrize("scope", ["key", "account"])
def test_a_small_limit_is_not_named_wrongly(amount: int, algorithm: str, scope: str) -> None:
    """Of a limit that a trial of another key may use up, the truth is among what is left open."""
    row = find(
        limit(amount, 67.2, algorithm, scope=scope), plan={"look_for": ("requests",)}
    )["limits"][0]  # fmt: skip

    assert not row["algorithms"] or algorithm in row["algorithms"]
    assert scope in row["scopes"]


def test_windows_in_parts_are_not_taken_for_a_fixed_one() -> None:
    """A window of ten parts gives back part by part, so one that gives all at once it is not."""

    def in_parts(calls: Any, now: Any, _limit: int, window: Any, phase: Any) -> Any:
        part = window / 10
        edge = ((now - phase) // part + 1) * part + phase - window
        return sum(cost for at, cost in calls if at >= edge)

    limiter = Limiter("tokens", 175, 35.7, in_parts, phase_s=8.0)
    row = find(limiter, plan={"look_for": ("requests",)})["limits"][0]

    assert "fixed-window" not in row["algorithms"]


def test_other_traffic_is_not_taken_for_a_limiter() -> None:
    """With others on the key nothing is named that does not agree with every answer."""
    got = find(limit(), plan={"look_for": ("requests",)}, traffic_per_s=0.5)
    row = got["limits"][0]

    assert row["ambiguous"] or row["algorithms"] == ["sliding-log"]


def test_the_budget_holds() -> None:
    """No more is sent than the plan may spend, and a run that it ended says so."""
    got = find(limit(), plan={"requests": 70})

    assert got["spent"]["requests"] == 70
    assert (got["exit"], "the budget is spent" in text_of(got)) == (5, True)
