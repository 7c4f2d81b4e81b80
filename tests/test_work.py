"""Tables of work are read strictly, and put as a target takes them."""

from typing import Any

import pytest

from gateproof.errors import UsageError
from gateproof.lengths import Lengths
from gateproof.work import KINDS, Work, parse_work, spoken, titles


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
        ({"kind": "messages", "limit_as": "none"}, "messages has no choice of it"),
        ({"kind": "embeddings", "output": 5}, "output: embeddings have none"),
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
    tables = ({"name": "a", "limit_as": "none"}, {"kind": "chat"}, {"kind": "tools"})

    assert [table.get("kind", "chat-stream") for table in spoken(tables, claims)] == wanted
    assert parse_work(dict(spoken((), {"messages"})[0]), "here").kind == "messages-stream"
