"""Lengths are drawn from what a scenario says of them."""

from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import pytest

from gateproof import lengths
from gateproof.errors import UsageError
from gateproof.lengths import parse_lengths, quantile


def _draws(given: Any, count: int = 4000) -> list[int]:
    """Draw evenly spread lengths."""
    draw = quantile(parse_lengths(given, "here"))
    return [draw((place + 0.5) / count) for place in range(count)]


@pytest.mark.parametrize(
    ("given", "mean", "deviation"),
    [
        (40, 40, 0),
        ({"kind": "uniform", "min": 11, "max": 20}, 15.5, 2.87),
        ({"kind": "normal", "mean": 300, "deviation": 30}, 300, 30),
        ({"kind": "lognormal", "mean": 400, "deviation": 200}, 400, 200),
    ],
    ids=["fixed", "uniform", "normal", "lognormal"],
)
def test_draws_follow_the_distribution(given: Any, mean: float, deviation: float) -> None:
    """Mean and deviation of the lengths are those that were asked for."""
    drawn = _draws(given)

    assert fmean(drawn) == pytest.approx(mean, rel=0.01)
    assert pstdev(drawn) == pytest.approx(deviation, rel=0.03, abs=0.01)


def test_a_range_cuts_a_distribution_and_heaps_nothing_up() -> None:
    """Lengths keep to their range, and its ends are no more frequent than the rest."""
    drawn = _draws({"kind": "normal", "mean": 100, "deviation": 50, "min": 90, "max": 110})

    assert (min(drawn), max(drawn)) == (90, 110)
    assert max(drawn.count(length) for length in set(drawn)) < 2 * 4000 / 21


def test_lengths_come_from_a_file(tmp_path: Path) -> None:
    """A file gives lengths with their weights; its path begins at the scenario's folder."""
    (tmp_path / "lengths.txt").write_text("# tokens, weight\n10 3\n20\n", "utf-8")
    got = parse_lengths({"kind": "file", "path": "lengths.txt"}, "here", tmp_path)
    draw = quantile(got)

    assert (got.values, got.weights) == ((10, 20), (3.0, 1.0))
    assert [draw(share) for share in (0.0, 0.5, 0.74, 0.76, 1.0)] == [10, 10, 10, 20, 20]


@pytest.mark.parametrize("text", ["ten\n", "10 0\n", "10 1 1\n", "0\n", "\n# none\n", "1 inf\n"])
def test_a_wrong_file_of_lengths_is_refused(tmp_path: Path, text: str) -> None:
    """A line that is no length, or a file without one, is named."""
    (tmp_path / "lengths.txt").write_text(text, "utf-8")

    with pytest.raises(UsageError, match=r"lengths\.txt"):
        parse_lengths({"kind": "file", "path": "lengths.txt"}, "here", tmp_path)


def test_lengths_describe_themselves() -> None:
    """Lengths are told in a few words."""
    said = [
        parse_lengths(given, "here").says
        for given in (
            9,
            {"kind": "uniform", "min": 1, "max": 5},
            {"kind": "normal", "mean": 9, "deviation": 2, "max": 20},
        )
    ]

    assert said == ["9", "uniform from 1 to 5", "normal, mean 9, deviation 2 in 1..20"]


def test_a_file_of_lengths_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with more lengths than a plan may hold is refused."""
    monkeypatch.setattr(lengths, "_MOST_VALUES", 2)
    (tmp_path / "lengths.txt").write_text("1\n2\n3\n", "utf-8")

    with pytest.raises(UsageError, match="more than 2 lengths"):
        parse_lengths({"kind": "file", "path": "lengths.txt"}, "here", tmp_path)
