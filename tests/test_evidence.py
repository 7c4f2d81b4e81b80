"""A load run tells whose answers came, who waited, and how long its prompts were."""

import numpy as np
import pytest

from gateproof.evidence import (
    compiled_note,
    reference_note,
    references,
    stamp_note,
    waits_note,
    word_notes,
)
from gateproof.sample import ErrorKind, Flag, sample_dtype


@pytest.mark.parametrize(
    ("by_kernel", "says"),
    [
        ((), ()),
        ((True, True), ("Time stamps are the kernel's",)),
        ((True, False), ("of when the generator read",)),
    ],
    ids=["cut-short", "of-the-kernel", "of-one-only"],
)
def test_whose_the_time_stamps_are_is_told(
    by_kernel: tuple[bool, ...], says: tuple[str, ...]
) -> None:
    """They are the kernel's where every worker's are, and those of the reads where one's are."""
    got = stamp_note(by_kernel)

    assert len(got) == len(says)
    assert all(part in note for part, note in zip(says, got, strict=True))


def test_reading_in_python_is_told() -> None:
    """That a process could carry more is said where it is so."""
    assert compiled_note(compiled=True) == []
    assert "C compiler" in compiled_note(compiled=False)[0]


def test_references_and_waits_are_counted() -> None:
    """Good answers that show their reference count; a wait counts whatever came behind it."""
    rows = np.zeros(4, sample_dtype())
    rows["flags"] = [Flag.OWN_CANARY, Flag.OWN_CANARY | Flag.WAITED, Flag.WAITED, 0]
    rows["error"] = [0, 0, 0, 0]
    rows["error"][1] = ErrorKind.CUT

    assert references(rows) == {"shown": 1, "waited": 2}


@pytest.mark.parametrize(
    ("shown", "mixed", "says"),
    [
        (0, 0, ()),
        (7, 0, ("7 of 9 answers showed it, and none held another",)),
        (7, 2, ("7 of 9 answers showed it, and 2 held another",)),
        (0, 1, ("0 of 9 answers showed it, and 1 held another",)),
    ],
    ids=["no-evidence", "none-mixed", "some-mixed", "only-mixed"],
)
def test_the_evidence_against_cross_talk_is_told(
    shown: int, mixed: int, says: tuple[str, ...]
) -> None:
    """A reader learns how many answers could have shown cross-talk, and how many did."""
    errors = [{"kind": "cross-talk", "count": mixed}] if mixed else []
    got = reference_note({"shown": shown, "answered": 9}, errors)

    assert len(got) == len(says)
    assert all(part in note for part, note in zip(says, got, strict=True))


def test_waits_are_told() -> None:
    """Requests that came behind a wait are named, since the load was less by it."""
    assert waits_note({"waited": 0}) == []
    assert waits_note({"waited": 3})[0].startswith("3 requests were sent after the wait")


def test_tokens_per_word_are_told_over_all_workers() -> None:
    """What usage taught is one note: a figure a work, or the range over workers."""
    one = [{"work": "a", "tokens_per_word": 1.1, "answers": 32}]
    other = [
        {"work": "a", "tokens_per_word": 1.3, "answers": 32},
        {"work": "b", "tokens_per_word": 1.0, "answers": 0},
    ]

    assert word_notes([]) == []
    assert "usage: a 1.10;" in word_notes([one])[0]
    assert "usage: a 1.10 to 1.30;" in word_notes([one, other])[0]
