"""What a load run asks for, as data: kinds of work, how long they are, how they are mixed.

Strategy: a scenario's ``[[work]]`` table becomes one ``Work``. How requests are written from it is
the business of the load room, how long they are that of ``gateproof.lengths``.

Rules. Standard library only: every worker of a load run imports it. What a kind of work does not
have is an error, never left out in silence.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gateproof.errors import UsageError
from gateproof.lengths import LONGEST, Lengths, parse_lengths
from gateproof.values import known, named, number, numbers, whole

__all__ = ["KINDS", "SLO_NAMES", "Work", "parse_work", "read_slos", "spoken", "titles"]

SLO_NAMES: Final = ("ttft_ms", "content_ms", "tpot_ms", "e2e_ms")
read_slos: Final = numbers(SLO_NAMES, "SLO", number(math.inf, above=True))
"""Read a table of SLOs, as ``[slos]`` and a work's own are."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """What one kind of work is: in words, its route, and the use its model is named by."""

    says: str
    path: str
    use: str
    streams: bool = False
    turns: bool = False  # a conversation can be had


_CHAT: Final = "/chat/completions"
KINDS: Final[Mapping[str, _Kind]] = {
    "chat-stream": _Kind("streamed chat", _CHAT, "chat", streams=True, turns=True),
    "chat": _Kind("chat in one piece", _CHAT, "chat", turns=True),
    "tools-stream": _Kind("a forced tool call, streamed", _CHAT, "tools", streams=True),
    "tools": _Kind("a forced tool call in one piece", _CHAT, "tools"),
    "embeddings": _Kind("embeddings", "/embeddings", "embeddings"),
    "messages-stream": _Kind(
        "streamed Anthropic Messages", "/messages", "messages", streams=True, turns=True
    ),
    "messages": _Kind("Anthropic Messages in one piece", "/messages", "messages", turns=True),
    "completions-stream": _Kind(
        "streamed text completion", "/completions", "completions", streams=True
    ),
}
"""The kinds of work there are, by name."""

LIMIT_FIELDS: Final = ("max_tokens", "max_completion_tokens", "none")
"""How a request tells the target the length of its answer."""

_LIMITED: Final = ("chat-stream", "chat", "completions-stream")

_MOST_TURNS: Final = 100


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of work of a scenario.

    ``model`` is a use (``chat``, ``tools``, … as targets name their models by) or a model's own
    name; empty for the usual use of the kind. ``prompt`` counts what the request itself asks, apart
    from its shared prefix and from the turns before it. ``output`` is what is asked for, and where
    the kind has one, the limit in the request.
    ``slos`` take the place of the scenario's; an empty table is none.
    """

    kind: str = "chat-stream"
    name: str = ""
    weight: float = 1.0
    model: str = ""
    prompt: Lengths = field(default_factory=lambda: Lengths.fixed(80))
    output: Lengths | None = None
    prefixes: int = 0
    prefix_tokens: int = 0
    turns: Lengths = field(default_factory=lambda: Lengths.fixed(1))
    batch: int = 1
    tokens_per_word: float | None = None
    limit_as: str = "max_tokens"
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    slos: Mapping[str, float] | None = field(default=None, hash=False)

    @property
    def title(self) -> str:
        """Name the work: its own name, or else its kind's."""
        return self.name or self.kind

    @property
    def use(self) -> str:
        """Return what its model is looked up by: its own word, or else the kind's usual use."""
        return self.model or KINDS[self.kind].use


def titles(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name the works of a plan's tables, each differently, in their order."""
    names: list[str] = []
    for table in tables or ({},):
        name = str(table.get("name") or table.get("kind") or "chat-stream")
        names.append(name if name not in names else f"{name} ({len(names) + 1})")
    return names


def spoken(
    tables: Sequence[Mapping[str, Any]], claims: Collection[str]
) -> tuple[Mapping[str, Any], ...]:
    """Put the works of a plan as a target takes them: one with Messages alone has no chat."""
    if "chat" in claims or "messages" not in claims:
        return tuple(tables)
    kinds = {"chat-stream": "messages-stream", "chat": "messages"}
    put = []
    for table in tables or ({},):
        kind = table.get("kind", "chat-stream")
        rest = {name: value for name, value in table.items() if name != "limit_as"}
        put.append({**rest, "kind": kinds[kind]} if kind in kinds else table)
    return tuple(put)


_WORK_KEYS: Final = frozenset(
    {
        "kind", "name", "weight", "model", "prompt", "output", "prefixes", "turns", "batch",
        "tokens_per_word", "limit_as", "extra", "slos",
    }
)  # fmt: skip
# What a work writes itself: an extra member of that name would undo what the figures say of it.
_OURS: Final = frozenset({"model", "messages", "prompt", "input", "stream", "tools", "tool_choice"})


def parse_work(table: Any, place: str, folder: Path | None = None) -> Work:
    """Read one ``[[work]]`` table strictly; ``folder`` is where relative paths begin.

    ``place`` names the table in messages. Raises UsageError for anything unknown or senseless.
    """
    if not isinstance(table, Mapping):
        raise UsageError(f"{place} is not a table.", 'Write [[work]] and kind = "chat-stream".')
    known(table, _WORK_KEYS, place)
    kind = named(KINDS, "kind of work")(table.get("kind", "chat-stream"), place)
    about = KINDS[kind]
    prefixes = _prefixes(table.get("prefixes"), f"{place}, prefixes")
    if prefixes != (0, 0) and kind == "embeddings":
        raise UsageError(f"{place}, prefixes: embeddings have none.", "Leave it out.")
    turns = Lengths.fixed(1)
    if "turns" in table:
        turns = parse_lengths(table["turns"], f"{place}, turns", folder, most=_MOST_TURNS)
        if not about.turns and turns.high > 1:
            kinds = ", ".join(name for name, one in KINDS.items() if one.turns)
            raise UsageError(f"{place}, turns: {kind} has one turn.", f"Kinds with turns: {kinds}.")
    batch = whole(1, 2048)(table.get("batch", 1), f"{place}, batch")
    if batch > 1 and kind != "embeddings":
        raise UsageError(f"{place}, batch: only embeddings take several texts.", "Leave it out.")
    if "output" in table and kind == "embeddings":
        raise UsageError(f"{place}, output: embeddings have none.", "Leave it out.")
    if "limit_as" in table and kind not in _LIMITED:
        raise UsageError(
            f"{place}, limit_as: {kind} has no choice of it.",
            f"Kinds with a choice: {', '.join(_LIMITED)}.",
        )
    limit_as = named(LIMIT_FIELDS, "limit_as")(table.get("limit_as", "max_tokens"), place)
    extra = table.get("extra", {})
    if not isinstance(extra, dict):
        raise UsageError(f"{place}, extra is not a table.", "Write extra = { ignore_eos = true }.")
    if ours := sorted(_OURS & set(extra)):
        raise UsageError(
            f"{place}, extra: {ours[0]!r} is written by the work itself.",
            "Leave it out; extra is for members such as ignore_eos or temperature.",
        )
    per_word = table.get("tokens_per_word")
    return Work(
        kind=kind,
        name=_line(table.get("name", ""), f"{place}, name"),
        weight=number(1e6, above=True)(table.get("weight", 1), f"{place}, weight"),
        model=_line(table.get("model", ""), f"{place}, model"),
        prompt=parse_lengths(table.get("prompt", 80), f"{place}, prompt", folder),
        output=parse_lengths(table["output"], f"{place}, output", folder)
        if "output" in table
        else None,
        prefixes=prefixes[0],
        prefix_tokens=prefixes[1],
        turns=turns,
        batch=batch,
        tokens_per_word=None
        if per_word is None
        else number(20, low=0.1)(per_word, f"{place}, tokens_per_word"),
        limit_as=limit_as,
        extra=extra,
        slos=read_slos(table["slos"], f"{place}, slos") if "slos" in table else None,
    )


def _prefixes(given: Any, place: str) -> tuple[int, int]:
    """Read ``prefixes = { count = 4, tokens = 1000 }``."""
    if given is None:
        return 0, 0
    if not isinstance(given, Mapping):
        raise UsageError(f"{place} is not a table.", "Write { count = 4, tokens = 1000 }.")
    known(given, ("count", "tokens"), place)
    count = whole(1, 1000)(given.get("count", 1), f"{place}, count")
    return count, whole(1, LONGEST // count)(given.get("tokens"), f"{place}, tokens")


def _line(value: Any, place: str) -> str:
    """Give a text of one line, which may be empty."""
    if not isinstance(value, str) or not value.isprintable() or len(value) > 500:
        raise UsageError(f"{place} must be a line of text, and is {value!r}.")
    return value
