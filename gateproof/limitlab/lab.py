"""The course of the lab: what is asked, in which order, until the limits are known.

Strategy. One request alone begins every window that begins with a call; a while later a rush of
the smallest requests goes on until one is refused, so the limit is known at once. What a sliding
log gives back first is then the single request, what a fixed window gives back is all. While the
first key is used up, the second model and the second key tell whose limit it is. Then ``fit`` says
which limiters agree with every answer, and ``steps`` which request tells them apart; this is
repeated until one is left, or no request could tell. At last a few large requests tell whether
requests or tokens were counted, and a rush of large ones looks for a limit of tokens beside.

Two limits, of requests and of tokens beside, take up to three windows each. A refusal does not tell
by which of them, so one is seen only while the other has room: what uses up the one hides when the
other lets go. To name one takes a rush, the end of its window, and using it up again at another
moment; the rush of the other begins when the first has room again, a window later. Where both have
room at the same moments (buckets) they are found in three windows together.

Rules. It is a generator: it yields an ``Ask`` and is sent the replies; it knows no socket and no
clock but those of the replies. It never asks for more than the plan may spend. What the evidence
does not tell apart is left as several, with the reason.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from typing import Final

from gateproof.limitlab.asker import Asker
from gateproof.limitlab.exchange import Ask, Entry, Reply
from gateproof.limitlab.explore import LEAD, Explorer
from gateproof.limitlab.fit import Fit, brackets, fit
from gateproof.limitlab.models import FURTHER
from gateproof.limitlab.plan import SCOPES, LimitsPlan, Scope
from gateproof.limitlab.stage import Asking, Outcome, Stage, Stopped
from gateproof.limitlab.steps import free_time

__all__ = ["Lab", "spend_at_most"]

_SIZES: Final = 3  # how often a large request is halved to find what is left of a limit of tokens
_PARTS: Final = 24  # a documented limit of tokens is met by so many large requests at least
_UNKNOWN: Final = 40  # large requests at most, where nothing says that tokens are limited
_TRY: Final = 0.1  # of the limit: how much of it another key or model is tried with
_RESERVE: Final = 4  # one in so many requests is kept from the first rush, for large ones

# Whose limit it is: by whether another model, and another key, were free of it.
_SCOPES: Final[Mapping[tuple[bool | None, bool | None], tuple[Scope, ...]]] = {
    (False, True): ("key",),
    (True, False): ("model",),
    (False, False): ("account",),
    (True, True): ("key and model",),
    (None, True): ("key", "key and model"),
    (None, False): ("account", "model"),
    (True, None): ("model", "key and model"),
    (False, None): ("key", "account"),
    (None, None): ("key", "model", "account", "key and model"),
}


def spend_at_most(plan: LimitsPlan) -> tuple[int, int, float | None]:
    """Return the requests, tokens and (with prices) USD that a run may spend at the most."""
    price = max(plan.prices.values(), default=0.0)
    usd = plan.most_tokens * price / 1e6 if plan.prices else None
    if plan.usd is not None and usd is not None:
        usd = min(usd, plan.usd)
    return plan.most_requests, plan.most_tokens, usd


class Lab:
    """One run; ``run`` is the generator, ``outcome`` fills while it goes on."""

    def __init__(self, plan: LimitsPlan) -> None:
        self.plan = plan
        self.outcome = Outcome()
        self._asker = Asker(plan, self.outcome)

    def run(self) -> Asking:
        """Ask until the limits are known, or the plan's budget is spent."""
        try:
            yield from self._requests()
            stage = self.outcome.stages[-1]
            if "tokens" in self.plan.look_for and self._look_for_tokens(stage):
                yield from self._tokens(stage)
        except Stopped as stopped:
            self.outcome.stopped, self.outcome.spent = stopped.reason, stopped.spent

    # The limit that small requests meet.

    def _requests(self) -> Asking:
        plan, stage = self.plan, Stage("requests")
        self.outcome.stages.append(stage)
        first = (yield from self._asker.send())[0]
        if first.kind == "refused":
            yield from self._recover_first(first)
        yield from self._try_others()
        expected = plan.expected("requests")
        amount = expected.amount if expected else plan.most_requests // 3
        self._asker.part = "rush"
        rushed = yield from self._asker.send(
            at_s=LEAD * self._asker.hint_s,
            most=plan.most_requests - plan.most_requests // _RESERVE,
            width=self._asker.width(amount, 0.08 * self._asker.hint_s),
        )
        self._note_rush(stage, [first, *rushed])
        if not stage.refused:
            return
        self._asker.part = "scope"
        yield from self._scopes(stage.passed)
        self._asker.part = "window"
        yield from Explorer(self._asker).explore(stage, 0)
        if stage.passed == 1:
            self._doubt_scopes(stage)
        self._asker.part = "what"
        yield from self._what(stage)
        if stage.whats == ("requests",):
            stage.fits = self._whole(stage)

    def _whole(self, stage: Stage) -> list[Fit]:
        """Return the limiters that agree now that the limit is known to be a whole number."""
        events, fits = self._asker.events(stage), stage.fits
        plain = fit(events, [one.variant for one in fits], whole=True, near=fits)
        return plain or fit(events, FURTHER, whole=True) or fits

    def _recover_first(self, first: Entry) -> Asking:
        """Wait once, when the very first request is refused: somebody has used the limit before."""
        wait_s = first.reply.told.retry_after_s or self._asker.hint_s
        if wait_s > self._asker.longest_s:
            raise Stopped(f"the first request was refused, and is to wait for {wait_s:g} s")
        self.outcome.notes.append(
            "The first request was refused: the key was in use before, or is used by others."
        )
        self._asker.part = "before"
        again = (yield from self._asker.send(at_s=wait_s * 1.05 + 0.01))[0]
        if again.kind != "passed":
            raise Stopped("the key was refused from the first request on, and after waiting too")
        yield from self._asker.send(at_s=self._asker.now_s + self._asker.hint_s)

    def _try_others(self) -> Asking:
        """See that the other keys and the other model work at all, before they are needed."""
        self._asker.part = "others"
        for name, key, model in (
            ("second_key", "second", "first"),
            ("second_model", "first", "second"),
            ("stranger_key", "stranger", "first"),
        ):
            if getattr(self.plan, name):
                got = (yield from self._asker.send(key=key, model=model))[0]
                if got.kind != "passed":
                    self.outcome.notes.append(
                        f"The {name.replace('_', ' ')} was answered with status "
                        f"{got.reply.status}; what it was to tell is not told."
                    )

    def _note_rush(self, stage: Stage, entries: Sequence[Entry]) -> None:
        """Write down what passed before the first refusal."""
        passed = [entry for entry in entries if entry.kind == "passed"]
        stage.refused = any(entry.kind == "refused" for entry in entries)
        stage.passed = len(passed)
        stage.passed_tokens = sum(entry.reply.tokens for entry in passed)
        begin_ns, rush_ns = entries[0].reply.sent_ns, entries[1].reply.sent_ns
        stage.rush_s = (max(entry.reply.done_ns for entry in entries) - rush_ns) / 1e9
        stage.begin_s = (begin_ns - self._asker.record.begin_ns) / 1e9
        stage.rush_at_s = (rush_ns - self._asker.record.begin_ns) / 1e9
        if not stage.refused and len(self._asker.record.entries) >= self.plan.most_requests:
            raise Stopped("no limit was met with all that may be spent", spent=False)

    def _scopes(self, passed: int) -> Asking:
        """While the first key is used up, see whom else that holds.

        The first key is tried again after each, as the control: of a limit that comes back fast,
        something passes whoever asks.
        """
        outcome, plan = self.outcome, self.plan
        others: dict[str, bool | None] = {}
        few = min(max(3, math.ceil(_TRY * passed)), max(1, passed - 1))
        sure, width = max(min(2, few), few // 2), max(3, self._width_for(few))
        if self._asker.works("first", "second"):
            got = yield from self._asker.send(model="second", most=few, width=width)
            control = yield from self._asker.send(most=few, width=width)
            others["model"] = _is_free(got, control, sure)
        if self._asker.works("second", "first"):
            got = yield from self._asker.send(key="second", most=few, width=width)
            control = yield from self._asker.send(most=few, width=width)
            others["key"] = _is_free(got, control, sure)
            if plan.fairness and others["key"] and got[-1].kind == "passed":
                more = yield from self._asker.send(
                    key="second", most=passed + 2, width=self._width_for(passed)
                )
                if more[-1].kind == "refused":
                    outcome.second_passed = _went(got) + _went(more) + 1  # with the trial
        if self._asker.works("stranger", "first"):
            got = yield from self._asker.send(key="stranger", most=2, width=2)
            if passed > 1 or _went(got):  # a limit of one is used up by the trial
                outcome.stranger_refused = not _went(got)
        outcome.scopes = _SCOPES[others.get("model"), others.get("key")]
        self._asker.scope = outcome.scopes[0]

    def _doubt_scopes(self, stage: Stage) -> None:
        """Name nothing where the trial of another may have used up a limit of its own."""
        scopes, was = self.outcome.scopes, self._asker.scope
        others: list[Scope] = []
        for scope in SCOPES:
            self._asker.scope = scope
            if scope not in scopes and fit(self._asker.events(stage)):
                others.append(scope)
        self._asker.scope = was
        if others:
            self.outcome.scopes, stage.fits = (*scopes, *others), []
            stage.notes.append(
                "So small a limit may have been used up by the trial of another key or model; "
                "look again without them to learn what it is."
            )

    def _width_for(self, count: int) -> int:
        return self._asker.width(count, 0.05 * self._asker.hint_s)

    # What is counted.

    def _what(self, stage: Stage) -> Asking:
        """Send large requests where small ones would pass: only a limit of tokens minds them."""
        for want in (3.0, 8.0):  # the second time with more to spare, if nothing passed
            if not stage.fits or not brackets(self._asker.events(stage)):
                return
            if (yield from self._what_once(stage, min(want, stage.passed))):
                return
        stage.notes.append(
            "No large request was made at a moment at which it would tell whether requests or "
            "tokens are counted."
        )

    def _what_once(self, stage: Stage, want: float) -> Generator[Ask, Sequence[Reply], bool]:
        """Ask once what is counted; tell whether that made sense."""
        small = max(self._asker.record.costs.get(0, 1), 1)
        one, events = stage.fits[0], self._asker.events(stage)
        now_s = self._asker.now_s
        until_s = now_s + 1.2 * max(one.window_s, 1e-3)
        at_s = free_time(one, events, now_s=now_s, until_s=until_s, want=want, kind=False)
        # A little later, when what comes back with it has come: a log gives back in rushes, too.
        at_s += 0.02 * one.window_s
        free = max(one.free(events, at_s + 0.02 * one.window_s))
        need = 1.3 * max(free, 1.0) * small + 2 * small
        size = round(min(self.plan.long_tokens, max(need, 4 * small)))
        got = yield from self._asker.send(tokens=size, at_s=at_s, most=math.ceil(need / size))
        took = sum(entry.reply.tokens for entry in got)
        if all(entry.kind == "passed" for entry in got):
            if took <= 1.05 * max(one.free(events, self._asker.now_s)) * small:
                return False  # it was late, and more was free by then
            stage.whats = ("requests",)
            return True
        if (yield from self._asker.send())[0].kind != "passed":
            return False
        stage.whats = ("tokens",)
        return True

    # A limit of tokens beside one of requests, or that small requests did not meet.

    def _look_for_tokens(self, stage: Stage) -> bool:
        """Tell whether a limit of tokens can still be found, now that the first is known."""
        return stage.whats == ("requests",) or not stage.refused

    def _tokens(self, before: Stage) -> Asking:
        plan, stage = self.plan, Stage("tokens", whats=("tokens",))
        self._asker.part = "tokens"
        self.outcome.stages.append(stage)
        at_s, most, window_s = self._asker.now_s, plan.most_requests, self._asker.hint_s
        if before.fits:
            one = before.fits[0]
            window_s = one.window_s
            spare = self._asker.record.events(self._asker.group)
            now_s = self._asker.now_s
            at_s = max(
                free_time(
                    each, spare, now_s=now_s, until_s=now_s + 2.1 * window_s,
                    want=each.limit - 0.5, kind=False,
                )
                for each in before.fits
            )  # fmt: skip
            at_s += 0.02 * window_s
            most = int(one.limit)
        size = self._large(most)
        if size is None:
            stage.notes.append(
                f"{most:,} requests of {plan.long_tokens:,} tokens do not reach the documented "
                "limit of tokens."
            )
            return
        if size == plan.long_tokens and plan.expected("tokens") is None:
            most = min(most, _UNKNOWN)
        most = min(most, max(2, (plan.most_tokens - self._asker.record.tokens) // size))
        self._asker.tokens_from = len(self._asker.record.entries)
        first = yield from self._asker.send(tokens=size, at_s=at_s)
        lead_s = (first[0].reply.sent_ns - self._asker.record.begin_ns) / 1e9 + LEAD * window_s
        width = self._asker.width(most, 0.08 * window_s)
        rushed = yield from self._asker.send(tokens=size, at_s=lead_s, most=most - 1, width=width)
        self._note_rush(stage, [*first, *rushed])
        if not stage.refused:
            return
        large = size
        size, stage.unit = yield from self._halve(size)
        if before.fits and stage.passed >= before.fits[0].limits.low - 1:
            stage.refused = False  # the limit of requests was in the way
            stage.notes.append(
                f"The limit of requests came first, at {stage.passed_tokens:,} tokens."
            )
            return
        yield from Explorer(self._asker, large, before.fits).explore(stage, size)

    def _large(self, most: int) -> int | None:
        """Return how large requests must be to meet the limit of tokens first."""
        expected = self.plan.expected("tokens")
        told = next(
            (
                limit.limit
                for entry in reversed(self._asker.record.entries)
                for limit in entry.reply.told.limits
                if limit.what == "tokens" and limit.limit
            ),
            None,
        )
        amount = expected.amount if expected else told
        if amount is None:
            return self.plan.long_tokens
        need = math.ceil(1.35 * amount / max(most, 1))
        if need > self.plan.long_tokens:
            return None
        # A part of the limit keeps requests few, and the limit known well enough.
        return min(self.plan.long_tokens, max(need, amount // _PARTS))

    def _halve(self, size: int) -> Generator[Ask, Sequence[Reply], tuple[int, float]]:
        """Fill what is left with ever smaller requests; return the smallest size and its cost."""
        for _ in range(_SIZES):
            if size // 2 <= 2 * self._asker.record.costs.get(0, 1):
                break
            size //= 2
            yield from self._asker.send(tokens=size)
        cost = self._asker.record.costs.get(size, size)
        got = yield from self._asker.send(tokens=size, most=3)
        if got[-1].kind != "refused":
            yield from self._asker.send(tokens=size, most=3)
        return size, float(cost)


def _went(entries: Sequence[Entry]) -> int:
    """Return how many passed."""
    return sum(entry.kind == "passed" for entry in entries)


def _is_free(got: Sequence[Entry], control: Sequence[Entry], sure: int) -> bool | None:
    """Tell whether another was free of a limit: all of its requests passed, of the control few.

    Where all pass whoever asks, the limit comes back too fast to tell.
    """
    if got[-1].kind != "passed":
        return False
    return True if _went(got) - _went(control) >= sure else None
