"""What the report tells of a capacity search: whole ones, torn ones, hostile ones."""

from dataclasses import asdict
from typing import Any

import pytest
from gateproof.reports.capacity_view import view

from gateproof.capacity import Search, Stop, find_knee, replicas
from gateproof.falling import Step

SEARCH = Search()
STEPS = [
    Step(8, 60, 60, seconds=3, figures={"ttft_p50_ms": 50.0, "ttft_p95_ms": 60.0}),
    Step(16, 60, 60, limited="late sends p99 is 9 ms", seconds=3),
    Step(16, 60, 60, offered=15.0, seconds=3, figures={"ttft_p50_ms": 80.0, "failed": 2}),
    Step(32, 90, 9, offered=32.0, seconds=3, figures={"ttft_p50_ms": 900.0},
         growth=(0.3, 0.25, 0.4)),
]  # fmt: skip


def summary() -> dict[str, Any]:
    """Give what a search of four steps writes."""
    knee = find_knee(SEARCH, STEPS, Stop("found", "it was"))
    steps = [
        {
            **asdict(step),
            "share": step.good / step.n,
            "grows": step.grows,
            "served": step.served,
            "why": "upwards",
        }
        for step in STEPS
    ]
    return {
        "outcome": "found",
        "unit": "requests/s",
        "slos": {"ttft_ms": 500.0},
        "search": asdict(SEARCH),
        "knee": knee.as_json(),
        "replicas": asdict(replicas(SEARCH, knee, 100)),
        "notes": ["A note."],
        "steps": steps,
    }


def test_a_search_is_told_in_full() -> None:
    """Knee, interval, replicas, every step with what was seen, and two charts."""
    got = view({"scenario": "ramp", "folder": "load/ramp", "summary": summary()}, 0)

    assert (got.tone, got.outcome) == ("good", "Found.")
    assert "TTFT ≤ 500 ms" in got.wanted
    assert got.says.startswith("The SLOs hold up to about")
    assert dict(got.facts)["steps"] == "4"
    assert dict(got.facts)["load put on the target"] == "12 s"
    assert [row.tone for row in got.rows] == ["", "dim", "", "bad"]
    assert "no evidence, the generator was late: late sends" in got.rows[1].note
    assert got.rows[2].note == "upwards; 2 failed"
    assert (
        got.rows[3].note == "upwards; waiting grew all the while: at most 25.6 a second were served"
    )
    assert got.rows[2].cells[:7] == ("3", "16", "15", "3", "60", "60", "100.0%")
    assert [chart.title for chart in got.charts] == [
        "TTFT against offered load",
        "Goodput against offered load",
    ]
    assert "the SLO of 500 ms" in got.charts[0].says
    assert len(got.charts[1].rows) == 3  # the step that is no evidence is not drawn


@pytest.mark.parametrize(
    "torn",
    [
        {},
        {"outcome": "found", "steps": [{}], "knee": {"estimate": "x"}},
        {"steps": [{"level": 8, "share": 0.5}], "search": {"goodput": None}},
        {"steps": "none", "slos": [1], "notes": 3, "unit": None},
    ],
)
def test_what_a_search_lacks_is_left_out(torn: dict[str, Any]) -> None:
    """A search of another version, or one that was cut short, is told as far as it goes."""
    got = view({"summary": torn}, 0)

    assert got.charts == ()
    assert got.facts


def test_an_open_interval_is_drawn_to_the_edge() -> None:
    """Without an upper end the band goes on, and nothing is claimed."""
    torn = summary()
    knee = find_knee(SEARCH, STEPS[:1] * 5, Stop("never-broke", ""))
    got = view({"summary": {**torn, "outcome": "never-broke", "knee": knee.as_json()}}, 0)

    assert dict(got.facts)["95% interval"] == "8 to open requests/s"
    assert len(got.charts) == 2
