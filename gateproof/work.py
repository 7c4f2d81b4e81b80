"""What a load run asks for, as data: kinds of work, how long they are, how they are mixed.

Strategy: a scenario's ``[[work]]`` table becomes one ``Work``; nothing is drawn here but by
``quantile``, which turns a share between 0 and 1 into a length. Who draws gives a share that
follows from the seed and the request's number alone, so that the same request can be made again
whatever came before it.

Rules. Standard library only: every worker of a load run imports it. Lengths are tokens. A draw
below ``min`` or above ``max`` is never clipped to it, which would heap requests up at the ends: the
distribution is cut there and the rest of it fills the range.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from statistics import NormalDist
from typing import Any, Final

from gateproof.errors import UsageError, unknown_name

__all__ = [
    "KINDS",
    "LONGEST",
    "Lengths",
    "Work",
    "parse_lengths",
    "parse_work",
    "quantile",
    "shares",
    "spoken",
    "titles",
]


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

LONGEST: Final = 2_000_000  # tokens: the largest context on offer anywhere is of that order
_MOST_VALUES: Final = 20_000  # lines of a file of lengths: they are part of the plan
_MOST_TURNS: Final = 100
_LEAST_SHARE: Final = 1e-12  # of a distribution's tail: beyond it the inverse is not finite


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long something is, in tokens: one of the kinds of ``LENGTH_KINDS``.

    ``mean`` and ``deviation`` are those of the lengths themselves before the cut at ``low`` and
    ``high``, for lognormal too. ``values`` and ``weights`` are what a file held.
    """

    kind: str = "fixed"
    mean: float = 0.0
    deviation: float = 0.0
    low: int = 1
    high: int = LONGEST
    values: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()

    @classmethod
    def fixed(cls, length: int) -> "Lengths":
        """Give a length that is always the same."""
        return cls("fixed", float(length), 0.0, length, length)

    @property
    def says(self) -> str:
        """Describe the lengths in a few words."""
        if self.kind == "fixed":
            return f"{self.low}"
        if self.kind == "uniform":
            return f"uniform from {self.low} to {self.high}"
        if self.kind == "file":
            return f"{len(self.values)} lengths of a file"
        within = "" if (self.low, self.high) == (1, LONGEST) else f" in {self.low}..{self.high}"
        return f"{self.kind}, mean {self.mean:g}, deviation {self.deviation:g}{within}"


LENGTH_KINDS: Final[Mapping[str, tuple[frozenset[str], frozenset[str]]]] = {
    # kind: the keys it needs, and those it may have beside them
    "uniform": (frozenset({"min", "max"}), frozenset()),
    "normal": (frozenset({"mean", "deviation"}), frozenset({"min", "max"})),
    "lognormal": (frozenset({"mean", "deviation"}), frozenset({"min", "max"})),
    "file": (frozenset({"path"}), frozenset({"min", "max"})),
}


def quantile(lengths: Lengths) -> Callable[[float], int]:
    """Give the function from a share (0 to 1) to a length: what is longer than that share."""
    low, high = lengths.low, lengths.high
    if lengths.kind == "fixed":
        return lambda _share: low
    if lengths.kind == "uniform":
        return lambda share: min(low + int(share * (high - low + 1)), high)
    if lengths.kind == "file":
        values = lengths.values
        sums = shares(lengths.weights or [1.0] * len(values))
        return lambda share: values[min(bisect_left(sums, share), len(values) - 1)]
    if lengths.kind == "normal":
        return _cut(NormalDist(lengths.mean, lengths.deviation), low, high, float, round)
    variance = math.log1p((lengths.deviation / lengths.mean) ** 2)
    logs = NormalDist(math.log(lengths.mean) - variance / 2, math.sqrt(variance))
    return _cut(logs, low, high, math.log, lambda value: round(math.exp(value)))


def _cut(
    distribution: NormalDist,
    low: int,
    high: int,
    to: Callable[[float], float],
    back: Callable[[float], int],
) -> Callable[[float], int]:
    """Give the quantiles of the part of a distribution that lies in a range of whole numbers."""
    least = distribution.cdf(to(low - 0.5))
    most = distribution.cdf(to(high + 0.5))

    def draw(share: float) -> int:
        part = least + share * (most - least)
        value = back(distribution.inv_cdf(min(max(part, _LEAST_SHARE), 1 - _LEAST_SHARE)))
        return min(max(value, low), high)

    return draw


def shares(weights: Sequence[float]) -> list[float]:
    """Give the running sums of weights as shares of their whole."""
    sums = list(accumulate(weights))
    return [value / sums[-1] for value in sums]


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of work of a scenario.

    ``model`` is a use (``chat``, ``tools``, … as targets name their models by) or a model's own
    name; empty for the usual use of the kind. ``prompt`` counts what the request itself asks, apart
    from its shared prefix and from the turns before it. ``output`` is what is asked for, and where
    the kind has one, the limit in the request.
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
    asked = [(table, table.get("kind", "chat-stream")) for table in tables or ({},)]
    return tuple({**table, "kind": kinds.get(kind, kind)} for table, kind in asked)


_WORK_KEYS: Final = frozenset(
    {
        "kind", "name", "weight", "model", "prompt", "output", "prefixes", "turns", "batch",
        "tokens_per_word", "limit_as", "extra",
    }
)  # fmt: skip
# What a work writes itself: an extra member of that name would undo what the figures say of it.
_OURS: Final = frozenset({"model", "messages", "prompt", "input", "stream", "tools", "tool_choice"})


def parse_work(table: Any, place: str, folder: Path | None = None) -> Work:
    """Read one ``[[work]]`` table strictly; ``folder`` is where relative paths begin.

    ``place`` names the table in messages. Raises UsageError for anything unknown or senseless.
    """
    table = _table(table, _WORK_KEYS, place, 'Write [[work]] and kind = "chat-stream".')
    kind = _text(table.get("kind", "chat-stream"), f"{place}, kind")
    if kind not in KINDS:
        raise _placed(place, unknown_name("kind of work", kind, KINDS))
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
    batch = _whole(table.get("batch", 1), f"{place}, batch", 1, 2048)
    if batch > 1 and kind != "embeddings":
        raise UsageError(f"{place}, batch: only embeddings take several texts.", "Leave it out.")
    limit_as = _text(table.get("limit_as", "max_tokens"), f"{place}, limit_as")
    if limit_as not in LIMIT_FIELDS:
        raise _placed(place, unknown_name("limit_as", limit_as, LIMIT_FIELDS))
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
        name=_text(table.get("name", ""), f"{place}, name"),
        weight=_number(table.get("weight", 1), f"{place}, weight", 1e-6, 1e6),
        model=_text(table.get("model", ""), f"{place}, model"),
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
        else _number(per_word, f"{place}, tokens_per_word", 0.1, 20),
        limit_as=limit_as,
        extra=extra,
    )


def parse_lengths(
    given: Any, place: str, folder: Path | None = None, *, most: int = LONGEST
) -> Lengths:
    """Read lengths: a whole number, or a table such as ``{ kind = "normal", mean = 200, … }``."""
    if isinstance(given, int) and not isinstance(given, bool):
        return Lengths.fixed(_whole(given, place, 1, most))
    if not isinstance(given, dict):
        raise UsageError(
            f"{place} is neither a whole number nor a table: {given!r}.",
            'Write a number of tokens, or { kind = "lognormal", mean = 400, deviation = 200 }.',
        )
    kind = given.get("kind")
    if not isinstance(kind, str) or kind not in LENGTH_KINDS:
        raise _placed(place, unknown_name("kind of lengths", str(kind), LENGTH_KINDS))
    needed, allowed = LENGTH_KINDS[kind]
    table = _table(given, needed | allowed | {"kind"}, place, "")
    if missing := sorted(needed - set(table)):
        raise UsageError(
            f"{place}: {kind} lengths need {missing[0]}.", f"They need {', '.join(sorted(needed))}."
        )
    low = _whole(table.get("min", 1), f"{place}, min", 1, most)
    high = _whole(table.get("max", most), f"{place}, max", 1, most)
    if low > high:
        raise UsageError(f"{place}: min is {low} and max is {high}.", "Turn them round.")
    if kind == "uniform":
        return Lengths("uniform", (low + high) / 2, 0.0, low, high)
    if kind == "file":
        values, weights = _read_values(_path(table["path"], folder, place), low, high)
        return Lengths("file", 0.0, 0.0, low, high, values, weights)
    mean = _number(table["mean"], f"{place}, mean", 1e-3, most)
    deviation = _number(table["deviation"], f"{place}, deviation", 1e-3, most)
    if kind == "normal" and not low - 4 * deviation <= mean <= high + 4 * deviation:
        raise UsageError(
            f"{place}: next to nothing of mean {mean:g}, deviation {deviation:g} is between "
            f"{low} and {high}.",
            "Give a range that holds lengths near the mean.",
        )
    return Lengths(kind, mean, deviation, low, high)


def _read_values(path: Path, low: int, high: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Read a file of lengths: a whole number a line, perhaps with its weight behind it."""
    values: list[int] = []
    weights: list[float] = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                words = line.partition("#")[0].replace(",", " ").split()
                if not words:
                    continue
                if len(values) == _MOST_VALUES:
                    raise UsageError(
                        f"{path} holds more than {_MOST_VALUES} lengths.",
                        "Give each length once, with its weight behind it.",
                    )
                try:
                    value, weight = int(words[0]), float(words[1]) if len(words) > 1 else 1.0
                except ValueError:
                    value, weight = 0, 0.0
                if len(words) > 2 or not (low <= value <= high and 0 < weight < math.inf):
                    raise UsageError(
                        f"{path}, line {number}: {line.strip()[:60]!r} is no length from {low} to "
                        f"{high} with or without a weight above 0.",
                        "Write one length a line: 120, or 120 and its weight: 120 3.5.",
                    )
                values.append(value)
                weights.append(weight)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read: {error}.", "It holds one length a line."
        ) from None
    if not values:
        raise UsageError(f"{path} holds no length.", "Write one length a line.")
    return tuple(values), tuple(weights)


def _path(given: Any, folder: Path | None, place: str) -> Path:
    """Give a path of a scenario file, which begins at that file's folder."""
    path = Path(_text(given, f"{place}, path")).expanduser()
    return path if folder is None else folder / path


def _prefixes(given: Any, place: str) -> tuple[int, int]:
    """Read ``prefixes = { count = 4, tokens = 1000 }``."""
    if given is None:
        return 0, 0
    table = _table(given, frozenset({"count", "tokens"}), place, "")
    count = _whole(table.get("count", 1), f"{place}, count", 1, 1000)
    return count, _whole(table.get("tokens"), f"{place}, tokens", 1, LONGEST // count)


def _table(given: Any, keys: frozenset[str], place: str, hint: str) -> dict[str, Any]:
    """Return a table that holds none but known keys."""
    if not isinstance(given, dict):
        raise UsageError(
            f"{place} is not a table.", hint or f"Its keys: {', '.join(sorted(keys))}."
        )
    for key in given:
        if key not in keys:
            raise _placed(place, unknown_name("key", key, keys))
    return given


def _placed(place: str, error: UsageError) -> UsageError:
    """Put the place before an error."""
    return UsageError(f"{place}: {error.message}", error.hint)


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > 500:
        raise UsageError(f"{place} must be a line of text, and is {value!r}.")
    return value


def _whole(value: Any, place: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{place} must be a whole number from {low} to {high}, and is {value!r}.")
    return value


def _number(value: Any, place: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UsageError(f"{place} must be a number from {low:g} to {high:g}, and is {value!r}.")
    return float(value)
