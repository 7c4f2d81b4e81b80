"""What the lab asks for, what it is told, and the record of both.

Rules. Times are nanoseconds of one monotonic clock, which may be a virtual one. When the gateway
decided lies between sending and answering. A refusal comes at once while an answer may take its
time, so no decision is taken to be later than the slowest refusal of the run was told, or a small
part of a window.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from gateproof.limitlab.models import Event
from gateproof.limitlab.told import NOTHING, Told

__all__ = ["Ask", "Entry", "Kind", "Record", "Reply", "kind_of"]

Kind = Literal["passed", "refused", "other", "lost"]

_REFUSALS: Final = frozenset({429, 503, 529})
# A limit that is told with another status is known by its words only.
_WORDS: Final = ("rate limit", "rate_limit", "ratelimit", "too many requests")


@dataclass(frozen=True, slots=True)
class Ask:
    """Requests to be made: whose, how large, from when, how many at most, how many at a time.

    All are alike. No more are begun once one was refused.
    """

    key: str = "first"
    model: str = "first"
    tokens: int = 0
    """About how many tokens one shall take; 0 for as few as can be."""
    at_ns: int = 0
    most: int = 1
    width: int = 1


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of one request."""

    sent_ns: int
    done_ns: int
    status: int
    tokens: int = 0
    """By the answer's own usage; 0 for none."""
    told: Told = NOTHING
    body: str = ""
    """The beginning of what is no answer."""
    json: bool = True
    """Whether what is no answer was JSON."""
    cost_usd: float = 0.0


def kind_of(reply: Reply) -> Kind:
    """Tell an answer from a refusal by a limit, and both from anything else."""
    if 200 <= reply.status < 300:
        return "passed"
    if reply.status in _REFUSALS:
        return "refused"
    if reply.status in (400, 403, 409) and any(word in reply.body.lower() for word in _WORDS):
        return "refused"
    return "other" if reply.status else "lost"


@dataclass(frozen=True, slots=True)
class Entry:
    """One request of the lab's: what was asked, what came, and of which part of the plan it is."""

    ask: Ask
    reply: Reply
    kind: Kind
    part: str
    batch: int


@dataclass(slots=True)
class Record:
    """All requests so far, ask by ask."""

    entries: list[Entry] = field(default_factory=list)
    costs: dict[int, int] = field(default_factory=dict)
    """The tokens that a request of a size took, last seen."""
    patience_ns: int = 0
    """So long an answer may take, and still say no more than when it was sent and came."""
    batches: int = 0
    sent: int = 0
    tokens: int = 0
    usd: float = 0.0

    def add(self, ask: Ask, replies: Sequence[Reply], part: str) -> list[Entry]:
        """Enter the replies to an ask: of what was on the way together, first what passed."""
        self.batches += 1
        added = []
        for reply in sorted(replies, key=lambda one: (kind_of(one) != "passed", one.done_ns)):
            entry = Entry(ask, reply, kind_of(reply), part, self.batches)
            added.append(entry)
            self.sent += 1
            self.tokens += reply.tokens
            self.usd += reply.cost_usd
            if entry.kind == "passed" and reply.tokens:
                self.costs[ask.tokens] = reply.tokens
        self.entries += added
        return added

    @property
    def begin_ns(self) -> int:
        """When the first request was sent."""
        return self.entries[0].reply.sent_ns if self.entries else 0

    @property
    def trip_ns(self) -> int:
        """The fastest round trip."""
        return min((entry.reply.done_ns - entry.reply.sent_ns for entry in self.entries), default=0)

    def _longest_ns(self) -> int:
        """Return the longest that a decision took to be told: no refusal waits for a model."""
        took = [
            entry.reply.done_ns - entry.reply.sent_ns
            for entry in self.entries
            if entry.kind == "refused"
        ]
        return max([*took, self.patience_ns], default=3 * self.trip_ns)

    def cost_of(self, entry: Entry) -> int:
        """Return the tokens of a request, those of its likes if it was refused."""
        return entry.reply.tokens or self.costs.get(entry.ask.tokens) or entry.ask.tokens or 1

    def events(
        self, group_of: Callable[[Entry], str | None], *, in_tokens: bool = False
    ) -> list[Event]:
        """Return the decisions in the order of time; ``group_of`` gives None for what is left out.

        Of requests that were on the way together, those that passed come first: which was decided
        before which is not known, and only so can a refusal have been right.
        """
        begin_ns, longest_ns = self.begin_ns, self._longest_ns()
        latest: dict[int, int] = {}
        rows: list[tuple[int, int, int, Event]] = []
        chosen = [
            (entry, group, _took_ns(entry, longest_ns))
            for entry in self.entries
            if entry.kind in ("passed", "refused") and (group := group_of(entry)) is not None
        ]
        for entry, _, took_ns in chosen:
            if entry.kind == "passed":
                at_ns = entry.reply.sent_ns + took_ns // 2
                latest[entry.batch] = max(latest.get(entry.batch, 0), at_ns)
        for entry, group, took_ns in chosen:
            passed = entry.kind == "passed"
            at_ns, slack_ns = entry.reply.sent_ns + took_ns // 2, took_ns // 2
            last_ns = latest.get(entry.batch, 0)
            if not passed and entry.reply.sent_ns < last_ns + longest_ns // 2:
                at_ns = max(at_ns, last_ns)
            cost = self.cost_of(entry) if in_tokens else 1
            event = Event(
                (at_ns - begin_ns) / 1e9, slack_ns / 1e9, cost, passed, group
            )  # fmt: skip
            rows.append((at_ns, 0 if passed else 1, len(rows), event))
        return [row[3] for row in sorted(rows, key=lambda row: row[:3])]


def _took_ns(entry: Entry, longest_ns: int) -> int:
    """Return how long after sending the decision on a request may have been made."""
    whole_ns = entry.reply.done_ns - entry.reply.sent_ns
    return whole_ns if entry.kind == "refused" else min(whole_ns, longest_ns)
