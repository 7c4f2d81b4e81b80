"""Asks, enters what came, and keeps to the plan's budget."""

import math
from collections.abc import Generator, Sequence
from typing import Final

from gateproof.limitlab.exchange import Ask, Entry, Reply
from gateproof.limitlab.models import Event
from gateproof.limitlab.plan import LimitsPlan, Scope
from gateproof.limitlab.stage import Outcome, Stage, Stopped

__all__ = ["Asker"]

_PATIENCE: Final = 0.02  # of the window that is looked for: what a decision's time may be unsure
_ODD: Final = 3  # answers in a row that are neither given nor refused end the lab


class Asker:
    """The requests of one run: what was asked, when, and on whose counter it is."""

    def __init__(self, plan: LimitsPlan, outcome: Outcome) -> None:
        self.plan = plan
        self.outcome = outcome
        self.record = outcome.record
        self.hint_s = plan.real_s(plan.window_s)
        self.longest_s = plan.real_s(plan.longest_window_s)
        self.record.patience_ns = round(_PATIENCE * self.hint_s * 1e9)
        self.scope: Scope = "key"
        self.part = "first"
        self.now_s = 0.0
        self.tokens_from = 0
        """The first entry that the stage of tokens looks at."""
        self._odd = 0

    def send(
        self,
        *,
        key: str = "first",
        model: str = "first",
        tokens: int = 0,
        at_s: float = 0.0,
        most: int = 1,
        width: int = 1,
    ) -> Generator[Ask, Sequence[Reply], list[Entry]]:
        """Ask, enter what came, and return it."""
        record, plan = self.record, self.plan
        cost = record.costs.get(tokens, tokens)
        left = plan.most_requests - record.sent
        if cost:
            left = min(left, (plan.most_tokens - record.tokens) // cost)
        if plan.usd is not None and record.usd and record.sent:
            each = record.usd / max(record.tokens, 1) * max(cost, 1)
            left = min(left, int((plan.usd - record.usd) / each))
        if left <= 0:
            raise Stopped(
                f"the budget is spent ({record.sent:,} requests, {record.tokens:,} tokens)",
                spent=True,
            )
        at_ns = round(at_s * 1e9) + record.begin_ns if at_s else 0
        ask = Ask(key, model, tokens, at_ns, max(1, min(most, left)), max(1, width))
        replies = yield ask
        entries = record.add(ask, replies, self.part)
        if replies:
            done_ns = max(reply.done_ns for reply in replies)
            self.now_s = max(self.now_s, (done_ns - record.begin_ns) / 1e9)
        self._check(entries)
        return entries

    def _check(self, entries: Sequence[Entry]) -> None:
        """End the lab when the target answers neither yes nor no."""
        for entry in entries:
            self._odd = self._odd + 1 if entry.kind in ("other", "lost") else 0
        if self._odd >= _ODD or (entries and not self._usable()):
            reply = entries[-1].reply
            what = f"status {reply.status}" if reply.status else "no answer"
            raise Stopped(f"the target gave {what} to {self._odd} requests in a row: {reply.body}")

    def _usable(self) -> bool:
        return any(entry.kind in ("passed", "refused") for entry in self.record.entries)

    def width(self, expected: int, within_s: float) -> int:
        """Return how many requests at a time bring so many within so long."""
        trip_s = max(
            ((e.reply.done_ns - e.reply.sent_ns) / 1e9 for e in self.record.entries[:4]),
            default=0.0,
        )
        return max(1, min(self.plan.width, math.ceil(expected * trip_s / max(within_s, 1e-6))))

    def group(self, entry: Entry) -> str | None:
        """Tell which counter a request is on, as far as is known."""
        if entry.ask.key == "stranger":
            return "" if self.outcome.stranger_refused else None
        key, model = _other(entry.ask.key), _other(entry.ask.model)
        match self.scope:
            case "account":
                return ""
            case "key":
                return key
            case "model":
                return model
            case _:
                return f"{key} {model}".strip()

    def events(self, stage: Stage) -> list[Event]:
        """Return the decisions that a stage looks at, in its own units."""
        if stage.name == "tokens":
            after = self.tokens_from
            chosen = {id(entry) for entry in self.record.entries[after:]}
            return self.record.events(
                lambda entry: self.group(entry) if id(entry) in chosen else None, in_tokens=True
            )
        return self.record.events(lambda entry: self.group(entry) if not entry.ask.tokens else None)

    def works(self, key: str, model: str) -> bool:
        """Tell whether a key and a model were answered at all."""
        return any(
            entry.kind == "passed" and entry.ask.key == key and entry.ask.model == model
            for entry in self.record.entries
        )


def _other(name: str) -> str:
    """Return nothing for the first key or model, whose counter is the one that is looked at."""
    return "" if name == "first" else name
