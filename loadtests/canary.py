"""References by which requests are told apart: each is in its prompt, and shall come back with it.

Strategy: ``gp-xxxxxxxx-nnnnnnnnnn`` holds the request's number and eight digits that follow from
the seed and that number. A model that copies a reference wrongly therefore makes no other request's
reference but with a chance of 1 in four thousand million: a foreign one in an answer is cross-talk.

Rules. An answer's text is looked through at its end, and each time some of it has gathered; what is
kept is bounded, whatever the target sends.
"""

import re
from collections.abc import Collection
from typing import Final

__all__ = ["MARK", "Watch", "canary"]

MARK: Final = "gp-00000000-0000000000"
_SHAPE: Final = re.compile(r"gp-([0-9a-f]{8})-([0-9]{10})")
_KEPT: Final = 32 * 1024  # characters of an answer that a later turn repeats: 8,000 tokens
_CARRY: Final = len(MARK) - 1


def canary(seed: int, number: int) -> str:
    """Give the reference of a request: the same for the same seed and number."""
    # The finaliser of MurmurHash3: each bit of its input changes half of those of its output.
    mixed = (number * 0x9E3779B1 + seed * 0x85EBCA6B + (number >> 32) + 1) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return f"gp-{mixed ^ (mixed >> 16):08x}-{number:010d}"


class Watch:
    """Gathers the text of one answer, and tells whose references are in it.

    ``said`` takes the parts of the text, ``thoughts`` those of the reasoning, which is no part of
    it; whoever fills them calls ``end`` from time to time, so that they stay small.
    ``text`` is its beginning, for the next turn of a conversation. ``seen_own`` and ``foreign``
    hold once ``end`` was called; ``foreign`` is the first reference of another request.
    """

    __slots__ = (
        "_own",
        "_rest",
        "_seed",
        "foreign",
        "said",
        "seen_own",
        "text",
        "thoughts",
    )

    def __init__(self, seed: int, own: Collection[str]) -> None:
        self._seed = seed
        self._own = own
        self.said: list[str] = []
        self.thoughts: list[str] = []
        self._rest = ("", "")
        self.text = ""
        self.seen_own = False
        self.foreign = ""

    def end(self) -> None:
        """Look through what has gathered."""
        said, thought = "".join(self.said), "".join(self.thoughts)
        self.said.clear()
        self.thoughts.clear()
        if len(self.text) < _KEPT:
            self.text += said[: _KEPT - len(self.text)]
        said, thought = self._rest[0] + said, self._rest[1] + thought
        self._rest = (said[-_CARRY:], thought[-_CARRY:])
        for text in (said, thought):
            if "gp-" in text:
                self._look(text)

    def _look(self, text: str) -> None:
        """Find the references in a text."""
        for found in _SHAPE.finditer(text):
            if found[0] in self._own:
                self.seen_own = True
            elif not self.foreign and found[0] == canary(self._seed, int(found[2])):
                self.foreign = found[0]
