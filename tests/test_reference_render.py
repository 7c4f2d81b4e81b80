"""Streams are the same whichever way they are written."""

from dataclasses import replace
from typing import Any

import pytest
from gateproof.reference_server.chat import Completion, Timing, complete
from gateproof.reference_server.render import chunks_of
from gateproof.reference_server.script import Events, Reply, Step, frame_stream

from tests.reference_probes import CHATS

MS = 1_000_000


def framed(completion: Completion, timing: Timing, *, fast: bool, **options: Any) -> list[Step]:
    """Write a completion as the bytes of the wire."""
    events = chunks_of(completion, timing.schedule(completion.seed), **options)
    reply = Reply(200, events=events if fast else iter(events))
    return list(frame_stream(reply, reply.events or (), close=False, bare=True))


@pytest.mark.parametrize(
    "timing",
    [Timing(), Timing(200 * MS, 20 * MS), Timing(5 * MS, 20 * MS, 90 * MS)],
    ids=["at once", "paced", "with jitter"],
)
@pytest.mark.parametrize("name", ["plain", "limit", "stop", "n", "logprobs", "tools", "json"])
def test_the_fast_way_writes_the_same(name: str, timing: Timing) -> None:
    """The same bytes, times and labels, with and without usage, for any text."""
    completion = complete(CHATS[name], model="gpt-4o-mini")
    for asked, sent in ((False, False), (True, True), (False, True)):
        options = {"usage_asked": asked, "usage_sent": sent}
        slow = framed(completion, timing, fast=False, **options)

        assert framed(completion, timing, fast=True, **options) == slow
        assert [step.label for step in slow].count("usage") == sent


def test_the_fast_way_is_taken_by_plain_text_only() -> None:
    """Several choices, probabilities and calls are written in turns."""
    taken = {
        name: isinstance(
            chunks_of(
                complete(CHATS[name], model="gpt-4o-mini"), Timing().schedule(0),
                usage_asked=False, usage_sent=False,
            ),
            Events,
        )
        for name in ("plain", "n", "logprobs", "tools")
    }  # fmt: skip

    assert taken == {"plain": True, "n": False, "logprobs": False, "tools": False}


def test_an_empty_answer_is_a_stream_too() -> None:
    """Without any token there are still the role, the finish and the end."""
    completion = complete(CHATS["plain"], model="gpt-4o-mini")
    choice = replace(completion.choices[0], tokens=())
    empty = replace(completion, choices=(choice,), usage=None)
    steps = framed(empty, Timing(), fast=True, usage_asked=False, usage_sent=False)

    assert [step.label for step in steps] == ["head", "role", "finish", "done", "end"]
