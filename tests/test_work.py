"""Tables of work are read strictly, and lengths are drawn from what they say."""

from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import pytest

from gateproof.errors import UsageError
from gateproof.work import KINDS, Lengths, Work, parse_lengths, parse_work, quantile, spoken, titles


def _draws(given: Any, count: int = 4000) -> list[int]:
    """Draw evenly spread lengths."""
    draw = quantile(parse_lengths(given, "here"))
    return [draw((place + 0.5) / count) for place in range(count)]


def test_a_table_becomes_a_work() -> None:
    """Each key of a table is in the work, and what is left out has its usual value."""
    table = {
        "kind": "chat",
        "name": "long",
        "weight": 2,
        "model": "reasoning",
        "prompt": {"kind": "uniform", "min": 10, "max": 20},
        "output": 64,
        "prefixes": {"count": 4, "tokens": 1000},
        "turns": 3,
        "limit_as": "max_completion_tokens",
        "tokens_per_word": 1.3,
        "extra": {"ignore_eos": True},
    }
    wanted = Work(
        kind="chat",
        name="long",
        weight=2.0,
        model="reasoning",
        prompt=Lengths("uniform", 15.0, 0.0, 10, 20),
        output=Lengths.fixed(64),
        prefixes=4,
        prefix_tokens=1000,
        turns=Lengths("fixed", 3.0, 0.0, 3, 3),
        limit_as="max_completion_tokens",
        tokens_per_word=1.3,
        extra={"ignore_eos": True},
    )

    assert parse_work(table, "here") == wanted
    assert parse_work({}, "here") == Work()
    assert (wanted.use, Work().use, Work(kind="embeddings").use) == (
        "reasoning",
        "chat",
        "embeddings",
    )


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ([], "is not a table"),
        ({"kinds": "chat"}, "Unknown key: 'kinds'"),
        ({"kind": "speech"}, "Unknown kind of work: 'speech'"),
        ({"prompt": 0}, "prompt must be a whole number from 1"),
        ({"prompt": "long"}, "prompt is neither a whole number nor a table"),
        ({"prompt": {"mean": 3}}, "Unknown kind of lengths"),
        ({"prompt": {"kind": "normal", "mean": 3}}, "normal lengths need deviation"),
        ({"prompt": {"kind": "uniform", "min": 1, "max": 2, "mean": 3}}, "Unknown key: 'mean'"),
        ({"prompt": {"kind": "uniform", "min": 5, "max": 2}}, "min is 5 and max is 2"),
        (
            {"prompt": {"kind": "normal", "mean": 500, "deviation": 2, "max": 9}},
            "next to nothing of mean 500",
        ),
        ({"prompt": {"kind": "file", "path": "here.txt"}}, "cannot be read"),
        ({"kind": "tools", "turns": 2}, "tools has one turn"),
        ({"batch": 2}, "only embeddings take several texts"),
        ({"kind": "embeddings", "prefixes": {"tokens": 9}}, "embeddings have none"),
        ({"prefixes": {"count": 4}}, "tokens must be a whole number"),
        ({"extra": {"stream": False}}, "'stream' is written by the work itself"),
        ({"limit_as": "tokens"}, "Unknown limit_as"),
        ({"weight": 0}, "weight must be a number"),
        ({"weight": True}, "weight must be a number"),
        ({"name": "two\nlines"}, "name must be a line of text"),
    ],
)
def test_a_wrong_table_is_refused_with_its_place(table: Any, says: str) -> None:
    """What cannot be meant is answered with the place and what was wrong."""
    with pytest.raises(UsageError, match="here") as caught:
        parse_work(table, "here")

    assert says in caught.value.message


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
    lengths = parse_lengths({"kind": "file", "path": "lengths.txt"}, "here", tmp_path)
    draw = quantile(lengths)

    assert (lengths.values, lengths.weights) == ((10, 20), (3.0, 1.0))
    assert [draw(share) for share in (0.0, 0.5, 0.74, 0.76, 1.0)] == [10, 10, 10, 20, 20]


@pytest.mark.parametrize("text", ["ten\n", "10 0\n", "10 1 1\n", "0\n", "\n# none\n", "1 inf\n"])
def test_a_wrong_file_of_lengths_is_refused(tmp_path: Path, text: str) -> None:
    """A line that is no length, or a file without one, is named."""
    (tmp_path / "lengths.txt").write_text(text, "utf-8")

    with pytest.raises(UsageError, match=r"lengths\.txt"):
        parse_lengths({"kind": "file", "path": "lengths.txt"}, "here", tmp_path)


def test_works_of_a_plan_have_different_titles() -> None:
    """Works are named by themselves or their kinds, and never alike."""
    assert titles(()) == ["chat-stream"]
    assert titles([{"kind": "chat"}, {"name": "a"}, {"kind": "chat"}]) == ["chat", "a", "chat (3)"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_described(kind: str) -> None:
    """A kind says what it is, and streams exactly when its name says so."""
    about = KINDS[kind]

    assert (bool(about.says), about.path[0]) == (True, "/")
    assert about.streams == kind.endswith("-stream")


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


@pytest.mark.parametrize(
    ("claims", "wanted"),
    [
        ({"chat", "messages"}, ["chat-stream", "chat", "tools"]),
        ({"chat"}, ["chat-stream", "chat", "tools"]),
        ({"messages"}, ["messages-stream", "messages", "tools"]),
    ],
)
def test_works_are_put_as_the_target_takes_them(claims: set[str], wanted: list[str]) -> None:
    """A target that has Messages and no chat is asked for Messages; other kinds stay."""
    tables = ({"name": "a"}, {"kind": "chat"}, {"kind": "tools"})

    assert [table.get("kind", "chat-stream") for table in spoken(tables, claims)] == wanted
    assert parse_work(dict(spoken((), {"messages"})[0]), "here").kind == "messages-stream"
