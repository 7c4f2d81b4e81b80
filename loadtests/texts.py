"""Texts of any length from a seed, and how many tokens the target counts in them.

Strategy: a ring of words is made once; a text of n words is a piece of it from a place that follows
from the request's number, so that a text costs one copy. Words are letters only: a piece stands in
JSON as it is.

How many tokens a word is, the target says itself: ``Ratio`` begins with an assumption, reads the
prompt tokens of the first answers, and then stays as it is. Texts drawn before differ in words, not
in the tokens that were wanted; a scenario that gives ``tokens_per_word`` fixes both.
"""

import random
from typing import Any, Final

__all__ = ["Ratio", "Ring", "share_of"]

_WORDS: Final = (  # noqa: SIM905  # read as words
    "amber anchor basket birch bridge candle canyon cedar copper coral cotton cradle desert dragon "
    "ember falcon feather fern forest garden glacier granite harbor hazel horizon island ivory "
    "jacket juniper kettle ladder lantern lemon linen maple marble meadow meteor mirror mountain "
    "needle ocean olive orchard otter paper pebble pepper pillow planet quartz rabbit raven ribbon "
    "river saddle salmon shadow silver spruce summer tailor temple thunder timber tunnel valley "
    "velvet violin walnut willow window winter yellow zephyr"
).split()
_RING_WORDS: Final = 16_384  # 110 KB

_MASK: Final = 0xFFFF_FFFF_FFFF_FFFF


def share_of(seed: int, number: int, what: int) -> float:
    """Draw a share from 0 to 1 that follows from seed, request and purpose alone."""
    # SplitMix64: made for exactly this, a counter in and a draw out.
    mixed = seed * 0x9E3779B97F4A7C15 + number * 0xD1342543DE82EF95 + what * 0xF1357AEA2E62A9C5
    mixed = (mixed + 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return (mixed ^ (mixed >> 31)) / 2**64


class Ring:
    """Words in a ring; ``piece(share, words)`` cuts a text out of it."""

    def __init__(self, seed: int) -> None:
        words = random.Random(seed).choices(_WORDS, k=_RING_WORDS)  # noqa: S311  # no secret
        self._text = " ".join(words).encode() + b" "
        self._starts = [0]
        for word in words:
            self._starts.append(self._starts[-1] + len(word) + 1)

    def piece(self, share: float, words: int) -> bytes:
        """Give a text of so many words that begins at that share of the ring."""
        first = min(int(share * _RING_WORDS), _RING_WORDS - 1)
        last = first + words
        if last <= _RING_WORDS:
            return self._text[self._starts[first] : self._starts[last] - 1]
        rounds, rest = divmod(last, _RING_WORDS)
        text = self._text[self._starts[first] :] + self._text * (rounds - 1)
        return (text + self._text[: self._starts[rest]])[:-1]


class Ratio:
    """Learns tokens = frame + per_word x words from the first answers that count their prompt.

    ``frame`` is what surrounds the words; ``known`` is True once nothing more is learned.
    """

    # After so many answers the ratio of words that are drawn from one list is known to 1 %.
    ENOUGH: Final = 32

    def __init__(self, frame_bytes: int, per_word: float | None) -> None:
        self.frame = self._assumed_frame = frame_bytes / 4  # the usual size of a token of English
        self.per_word = self._assumed = per_word or 1.0
        self._fixed = per_word is not None
        self.answers = 0
        self._sums = [0.0] * 4  # of words, tokens, words squared, words x tokens

    @property
    def known(self) -> bool:
        """Tell whether the ratio is settled."""
        return self.answers >= self.ENOUGH

    def words(self, tokens: int) -> int:
        """Give how many words make a text of so many tokens; at least one."""
        return max(round((tokens - self.frame) / self.per_word), 1)

    def learn(self, words: int, tokens: int) -> None:
        """Take in the count of one answer."""
        self.answers += 1
        for place, value in enumerate((words, tokens, words * words, words * tokens)):
            self._sums[place] += value
        n = self.answers
        mean_words, mean_tokens = self._sums[0] / n, self._sums[1] / n
        spread = self._sums[2] / n - mean_words**2
        # Lengths that differ by a tenth tell frame and ratio apart; alike ones tell their sum only,
        # and what is missing in it is shared by how unsure both were: by half, and by a quarter.
        if not self._fixed:
            if n >= 8 and spread > (mean_words / 10) ** 2:
                per_word = (self._sums[3] / n - mean_words * mean_tokens) / spread
            else:
                missing = mean_tokens - self._assumed_frame - self._assumed * mean_words
                unsure = (mean_words / 4) ** 2, (self._assumed_frame / 2) ** 2
                share = unsure[0] / sum(unsure)
                per_word = self._assumed + missing * share / mean_words
            self.per_word = min(max(per_word, 0.25), 8.0)
        self.frame = mean_tokens - self.per_word * mean_words

    def as_json(self) -> dict[str, Any]:
        """Give what was learned, for the report."""
        return {
            "tokens_per_word": round(self.per_word, 4),
            "frame_tokens": round(self.frame, 1),
            "answers": self.answers,
        }
