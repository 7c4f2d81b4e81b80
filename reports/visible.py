"""Text and bytes from a target made safe to look at: nothing hidden, nothing that moves text.

Everything a target sent is hostile until shown. Here each character that has no ink of its own, or
that changes how its neighbours are laid out (control characters, bidirectional marks, zero-width
characters, private use, long piles of combining marks), becomes an escape in a ``span``; the rest
is HTML-escaped. Rules: the result is markup that holds only ``span``, ``mark`` and text; no link is
ever made of a target's text; every text has a bound.
"""

import re
import unicodedata
from itertools import groupby

from markupsafe import Markup, escape

__all__ = ["can_be_copied", "clip", "lay_open", "plain", "show", "show_bytes", "show_command"]

MAX_PILE = 2  # combining marks on one character; ordinary languages stay within it
_JOINERS = "\u200c\u200d"  # they are part of how emoji and Persian words are written
_NAMED = {"\r": "\\r", "\t": "\\t", "\n": "\\n"}


def clip(text: str, limit: int) -> str:
    """Return a text, or its beginning and its length when it is longer than the limit."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"


def show(text: object, limit: int = 1500) -> Markup:
    """Return a text as markup with everything invisible laid open; line breaks stay."""
    return _markup(clip(str(text), limit), keep="\n")


def show_bytes(data: bytes, mark: tuple[int, int] | None = None) -> Markup:
    r"""Return bytes as markup, read as UTF-8, what is not UTF-8 as ``\xff``.

    Line ends are shown as escapes and still break the line. ``mark`` is the span of bytes that the
    reader shall look at.
    """
    if mark is None:
        return _markup(_decode(data), keep="")
    start, end = max(mark[0], 0), max(mark[1], mark[0] + 1)
    marked = Markup("<mark>{}</mark>").format(_markup(_decode(data[start:end]), keep=""))
    return _markup(_decode(data[:start]), keep="") + marked + _markup(_decode(data[end:]), keep="")


def can_be_copied(text: str) -> bool:
    """Tell whether a text may stand as it is where it will be copied into a shell.

    Unlike elsewhere, spaces of all kinds and joiners may stand: an escape in their place would be
    copied instead of them. What is invisible beside them may not.
    """
    return all(
        character in "\n" + _JOINERS
        or (
            unicodedata.category(character)[0] != "C"
            and unicodedata.category(character) not in ("Zl", "Zp")
        )
        for character in text
    )


def show_command(text: str) -> Markup:
    """Return a shell command as markup from which it can be copied."""
    return escape(text) if can_be_copied(text) else _markup(text, keep="\n")


def lay_open(text: str) -> str:
    """Return a text on one line with everything invisible escaped, for Markdown and terminals."""
    return "".join(
        _escape(character) if hidden else character for character, hidden in _sorted_out(text, "")
    )


def plain(text: str) -> str:
    """Return a text without the characters that XML 1.0 forbids; each becomes U+FFFD."""
    return "".join(c if _is_xml(ord(c)) else "\ufffd" for c in text)


def _is_xml(code: int) -> bool:
    return (
        code in (0x9, 0xA, 0xD)
        or 0x20 <= code <= 0xD7FF
        or 0xE000 <= code <= 0xFFFD
        or 0x10000 <= code <= 0x10FFFF
    )


def _decode(data: bytes) -> str:
    # Lone surrogates stand for the bytes that are not UTF-8; a real one cannot be decoded.
    return data.decode("utf-8", errors="surrogateescape")


def _markup(text: str, keep: str) -> Markup:
    parts = []
    for hidden, group in groupby(_sorted_out(text, keep), key=lambda pair: pair[1]):
        run = "".join(character for character, _ in group)
        if not hidden:
            parts.append(escape(run))
            continue
        # Line ends in a row stand on one line, and the line breaks behind them.
        for line in re.findall(r"[^\r\n]+|[\r\n]+", run):
            shown = escape("".join(_escape(character) for character in line))
            parts.append(Markup('<span class="esc">{}</span>').format(shown))
            if "\n" in line:
                parts.append(Markup("\n"))
    return Markup("").join(parts)


def _sorted_out(text: str, keep: str) -> list[tuple[str, bool]]:
    """Tell for each character whether it must be escaped."""
    found = []
    pile = 0
    for character in text:
        if character.isascii():
            pile = 0
            found.append((character, not (character.isprintable() or character in keep)))
            continue
        category = unicodedata.category(character)
        pile = pile + 1 if category in ("Mn", "Me") else 0
        hidden = category[0] in "CZ" or pile > MAX_PILE
        found.append((character, hidden))
    return found


def _escape(character: str) -> str:
    code = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{{{code:x}}}"
