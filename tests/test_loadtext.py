"""A load run in words: figures with their intervals, and INVALID first when it is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateproof.loadtext import headline, interval, invalid_line, load_lines, load_sentence

SPREAD = {
    "n": 500,
    "p50": 50.0,
    "p95": 65.51,
    "p99": None,
    "ci": {"p50": [49.2, 50.9], "p95": None},
}
SUMMARY: dict[str, Any] = {
    "verdict": {"valid": False, "reasons": ["loop lag p99 is 9 ms"], "says": "INVALID: lag."},
    "notes": ["Something beside."],
    "metrics": {"ttft_ms": SPREAD, "itl_ms": {"n": 0}},
    "goodput": {"slos": {"ttft_ms": 500.0}, "n": 500, "share": 0.9, "ci": [0.87, 0.923]},
    "drift": {"says": "TTFT rises by 40.0%"},
    "errors": [{"kind": "cut", "count": 10}, {"kind": "\x1b[31mred", "count": 1}],
    "stalls": {"count": 3, "streams": 1, "longest_ms": 3020.0},
    "cost": {"usd": "0.25", "says": "as the answers themselves say"},
    "works": [{"name": "tools", "requests": {"due": 9, "answered": 8}, "metrics": {}}],
}


def test_figures_have_their_intervals() -> None:
    """Each line has a figure, its unit and its interval; what is not there is left out."""
    assert load_lines(SUMMARY) == [
        "  TTFT           p50 50 [49.2 – 50.9], p95 65.51 ms",
        "  goodput        90.0% [87.0% – 92.3%] of 500 requests inside ttft_ms <= 500",
        "  errors         10 cut, 1 \\x1b[31mred",
        "  stalls         3 in 1 stream, the longest 3.0 s",
        "  drift          TTFT rises by 40.0%",
        "  cost           0.25 USD, as the answers themselves say",
        "  work           tools: 8 of 9 answered",
        "  generator      INVALID: lag.",
        "  note           Something beside.",
    ]


def test_invalid_comes_first() -> None:
    """The first line names the run, and why it is not certified; a valid run has no such line."""
    loads = [{"scenario": "fine", "summary": {"verdict": {"valid": True}}},
             {"scenario": "chat", "summary": SUMMARY}]  # fmt: skip

    assert invalid_line(loads) == (
        "INVALID: the figures of load run chat are not certified: loop lag p99 is 9 ms."
    )
    assert invalid_line(loads[:1]) == ""


def test_a_load_is_told_in_a_sentence() -> None:
    """Valid or not comes first, then the key figures; a drift that was seen is one of them."""
    drift = {"says": "TTFT rises by 9%", "figures": {"ttft_ms": {"drifts": True}}}
    whole = {
        **SUMMARY,
        "verdict": {"valid": True},
        "requests": {"due": 9, "answered": 8},
        "metrics": {"ttft_ms": {"n": 0}, "e2e_ms": SPREAD},
        "rates": {"tokens_per_s": 0.0, "answered_per_s": 2.5},
        "drift": drift,
    }

    assert load_sentence([{"summary": whole}]) == (
        "Valid load: 8 of 9 requests answered, end to end p50 50 ms, p95 65.51 ms, 2.5 requests/s; "
        "TTFT rises by 9%"
    )
    assert load_sentence([{"summary": SUMMARY}] * 3).startswith("INVALID load: TTFT p50 50 ms, ")
    assert load_sentence([{"summary": None}, {}]) == "Load: no figures; 1 more load run"
    assert load_sentence([]) == ""


@pytest.mark.parametrize("bounds", [None, [1.0], "ab", [1, None], 3], ids=repr)
def test_no_interval_is_said_where_there_is_none(bounds: object) -> None:
    """Whatever is no interval is left out."""
    assert interval(bounds) == ""


VALUES = st.recursive(
    st.none() | st.integers(-5, 10**9) | st.floats() | st.text(max_size=4) | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*SUMMARY, *SPREAD, "count", "kind", "share"]), inner)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(list(SUMMARY)), VALUES))
def test_any_summary_is_told(summary: dict[str, Any]) -> None:
    """Whatever a summary holds, it is told in printable text."""
    said = [
        *load_lines(summary),
        headline(summary),
        load_sentence([{"summary": summary}]),
        invalid_line([{"summary": summary}]),
    ]

    assert all(line.isprintable() for line in said)
