"""The tokenizer by which usage is counted and streams are cut.

A token is one of: up to twelve ASCII letters or up to three digits, with one space before them
taken along; up to eight spaces or tabs; CR LF; any other single ASCII character; one grapheme
cluster that holds anything beyond ASCII. So a token never splits a code point or a cluster, the
tokens of a text are the text again, and the first k tokens of a text are the tokens of its
beginning: a limit cuts between tokens and the count stays exact.
Clusters follow Unicode's extended grapheme clusters as far as the standard library's data goes
(marks, joiners, variation selectors, skin tones, flags, tags, Hangul).
"""

import re
import unicodedata

__all__ = ["LONGEST", "count", "tokenize"]

LONGEST = 13
"""The most characters that an ASCII token can have."""

_ASCII = re.compile(r" ?[A-Za-z]{1,12}| ?[0-9]{1,3}|\r\n|[ \t]{1,8}|.", re.DOTALL)
_RUNS = re.compile(r"[\x00-\x7f]+|[^\x00-\x7f]+")
_JOINER = "\u200d"


def _extends(char: str) -> bool:
    point = ord(char)
    return (
        point == 0x200D
        or 0xFE00 <= point <= 0xFE0F
        or 0x1F3FB <= point <= 0x1F3FF
        or 0xE0020 <= point <= 0xE007F
        or 0x1160 <= point <= 0x11FF
        or unicodedata.category(char) in {"Mn", "Me", "Mc"}
    )


def _is_flag(char: str) -> bool:
    return 0x1F1E6 <= ord(char) <= 0x1F1FF


def _clusters(text: str) -> list[str]:
    found: list[str] = []
    for char in text:
        last = found[-1] if found else ""
        if last and (
            _extends(char)
            or last.endswith(_JOINER)
            or (_is_flag(char) and len(last) == 1 and _is_flag(last))
        ):
            found[-1] = last + char
        else:
            found.append(char)
    return found


def tokenize(text: str) -> list[str]:
    """Cut a text into its tokens; joined, they are the text."""
    if text.isascii():
        return _ASCII.findall(text)
    found: list[str] = []
    for run in _RUNS.findall(text):
        if run.isascii():
            found += _ASCII.findall(run)
            continue
        rest = run
        if found and _extends(run[0]):
            # The mark belongs to the character before it, which leaves its token for it.
            token = found.pop()
            if len(token) > 1:
                found.append(token[:-1])
            rest = token[-1] + run
        found += _clusters(rest)
    return found


def count(text: str) -> int:
    """Count the tokens of a text."""
    return len(tokenize(text))
