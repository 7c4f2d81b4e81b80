"""Small things that every text of ours says alike.

The standard library only, and nothing of ours: whatever tells a user something may use it.
"""

__all__ = ["safe", "told"]


def told(count: int, noun: str) -> str:
    """Return a count with its noun: 1 check, 2 checks."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def safe(text: str) -> str:
    """Escape what could move a terminal's cursor or hide text."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
