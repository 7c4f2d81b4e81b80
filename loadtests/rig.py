"""One process's part of a running load test: whoever asks, how, and what becomes of the answers.

Strategy: the plan says who asks: users of Locust's (closed model), or one of them as a crowd whose
requests arrive by a schedule (open model). Every request is made in one place (``_ask``): drawn,
afforded, sent, recorded, learned from. A load ends at exactly its time, or when its budget is
spent, or when nothing but failures that no waiting cures came.
"""

import contextlib
import dataclasses
import gc
import inspect
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from time import monotonic_ns
from typing import Any, Final

import gevent
from gevent.event import Event
from gevent.pool import Group
from locust.exception import StopUser

from gateproof.budget import Meter, budget_of
from gateproof.lengths import Lengths
from gateproof.plan import LoadPlan, place_of
from gateproof.sample import ERROR_SAYS, NEVER, NO_COST, ErrorKind, Flag, Sample
from gateproof.sampling import Sampling
from gateproof.work import Work, parse_work, titles

from .arrivals import Arrivals
from .asked import variables
from .calibrate import Calibrator
from .connect import proxy_for, secret_of
from .patience import Patience
from .recorder import Recorder
from .reply import Reply
from .share import ALONE, Share
from .stream import Client, Limits
from .timetable import arrivals
from .witness import Witness
from .work import Conversation, Request, Workload

__all__ = ["Rig", "works_of"]

_READY_NS: Final = 50 * 10**6  # before a start that was agreed upon: the recorder's takes some 5 ms
# So many failures of these kinds before anything else came: no load will change that, and a closed
# load would ask thousands of times a second.
_IN_VAIN: Final = 200
_HOPELESS: Final = frozenset(
    {ErrorKind.CONNECT, ErrorKind.CONNECT_TIMEOUT, ErrorKind.TLS, ErrorKind.CLIENT_ERROR}
)


class Rig:
    """One process's part of a running load test."""

    def __init__(
        self,
        plan: LoadPlan,
        options: Any,
        fire: Callable[..., None],
        share: Share = ALONE,
        tell: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self.plan = plan
        self._share = share
        self._led = tell is not None
        self._own = Group()
        secrets = {name: os.environ.get(name, "") for name in variables(plan, options.key_env)}
        proxy = proxy_for(plan.target, plan.proxy, secret_of(plan.proxy_auth_env))
        self._client = Client(
            plan.target,
            Limits(**plan.timeouts),
            fresh_connections=plan.fresh_connections,
            proxy=proxy,
            ca_file=place_of(plan.ca_file),
        )
        works = works_of(plan)
        self._workload = Workload(
            works,
            model_of=plan.model_for,
            head=self._client.head,
            seed=plan.seed,
            usage=plan.usage,
            key=secrets.get(options.key_env, ""),
            auth=plan.auth,
            headers={
                **plan.headers,
                **{header: secrets[name] for header, name in plan.secret_headers.items()},
            },
        )
        self._in_turns = any(work.turns.high > 1 for work in works)
        folder = Path(options.samples) if options.samples else None
        own = plan if plan.users is None else replace(plan, users=len(share.places(plan.users)))
        self.recorder = Recorder(
            own,
            folder,
            fire,
            titles=titles(plan.work),
            secrets=[*filter(None, secrets.values()), *(proxy.secrets if proxy else ())],
            progress=options.progress,
            tell=tell,
        )
        if folder is not None and not (folder / "plan.json").exists():
            (folder / "plan.json").write_text(plan.as_text(), "utf-8")
        self._meter = None
        if plan.budget:
            self._meter = Meter(share.budget(budget_of(plan.budget, "The budget")), plan.prices)
            self.recorder.meter = self._meter
        self._witness: Witness | None = None
        if folder is not None:
            covered = {name: value for name, value in secrets.items() if value}
            self._witness = Witness(
                Sampling.of(plan.sampling), plan.seed, folder / "transcripts", covered
            )
        self.spent = False
        """Whether the budget ended the load."""
        self._vain: int | None = 0  # hopeless failures so far; None once anything else came
        self._talks: dict[int, _Talk] = {}
        self._patience: dict[int, Patience] = {}
        self._arrivals: Arrivals | None = None
        self._shape = plan.shape
        self._cap = share.cap(plan.cap)
        self._places = self._start_ns = 0
        self._calibrator = Calibrator(folder, off=options.no_calibration)
        self._calibrated = False
        self._ending = Event()
        self._end: Callable[[], None] = lambda: None

    def start(self, end_test: Callable[[], None]) -> None:
        """Begin; after exactly the plan's time end the load, let it drain, and end the test."""
        self.prepare()
        self.begin(end_test)

    def prepare(self) -> None:
        """Do what takes its time, and is done before the load."""
        inspect.stack()  # Locust calls it when it stops: the first time, that takes 150 ms
        most = self._cap or math.ceil(self.plan.shape.most / self._share.count)
        self._calibrator.before(most)
        gc.collect()
        gc.freeze()  # so that the recorder's own, at the very start, takes no time

    def begin(self, end_test: Callable[[], None], at_ns: int = 0) -> None:
        """Let the load begin, now or at a time of the monotonic clock: then to the millisecond."""
        self._end = end_test
        gevent.sleep(max(at_ns - _READY_NS - monotonic_ns(), 0) / 1e9)
        self.recorder.start(at_ns)
        self._start_ns = at_ns or monotonic_ns()
        if not self.plan.is_open:  # arrivals wait for their times by themselves
            gevent.sleep(max(self._start_ns - monotonic_ns(), 0) / 1e9)
        if self._led:
            for place in (
                self._share.places(self.plan.most_users) if not self.plan.is_open else (0,)
            ):
                self._own.spawn(self._visit, place)
        if self.plan.duration_s is not None:
            ends_ns = self._start_ns + round(self.plan.duration_s * 1e9)
            gevent.spawn_later(max(ends_ns - monotonic_ns(), 0) / 1e9, self.finish)

    def finish(self) -> None:
        """End the offered load, wait for what runs, and end the test."""
        if self._ending.is_set():
            return
        self.stopping()
        ticks = round(self.plan.drain_s / 0.05)
        while ticks > 0 and self._client.active:
            gevent.sleep(0.05)
            ticks -= 1
        self.calibrate()
        self._end()

    def calibrate(self) -> None:
        """Measure the generator's own error after the load, once; a load stopped by hand as well.

        Of one that never began there is nothing to measure.
        """
        if self._start_ns and not self._calibrated:
            self._calibrated = True
            self._calibrator.after(self._client, (monotonic_ns() - self._start_ns) / 1e9)

    def take_place(self) -> int:
        """Give the next user its number, from 0."""
        self._places += 1
        return self._places - 1

    def turn(self, place: int) -> None:
        """Do what a user of Locust's does once; one of a master's workers has users of its own.

        How Locust shares its users out is its own affair, and changes when a worker dies.
        """
        if self._led:
            self._ending.wait()
            raise StopUser
        self._turn(place)

    def _visit(self, place: int) -> None:
        """Be one user until the load ends."""
        with contextlib.suppress(StopUser):
            while True:
                self._turn(place)
                gevent.sleep(self.plan.think_s)

    def _turn(self, place: int) -> None:
        """Do what a user does once: ask, when it is its time, or let the crowd arrive."""
        if self.plan.is_open:
            self.arrive()
            return
        if self.plan.stages:
            self._await(place)
        if self._ending.is_set():
            raise StopUser
        talk = self._talks.setdefault(place, _Talk(for_ever=True)) if self._in_turns else None
        patience = self._patience.setdefault(place, Patience())
        answer = self._ask(talk, flags=patience.flags())
        if answer is None:
            raise StopUser
        if self.plan.honour_retry_after:
            self._stand_back(patience.after(answer.sample))

    def _await(self, place: int) -> None:
        """Wait until there are so many users that this one is among them; ends the last ones."""
        now_s = (monotonic_ns() - self._start_ns) / 1e9
        # Half a user more or less: the number of users is the level, rounded.
        for from_s, to_s in self._shape.spans_above(place + 0.5):
            if now_s < to_s:
                if now_s < from_s:
                    self._ending.wait(from_s - now_s)
                return
        self._ending.wait()

    def _stand_back(self, for_s: float) -> None:
        """Wait as long as a refusal says; the time is noted, since it is load not offered."""
        if for_s:
            begun_ns = monotonic_ns()
            self._ending.wait(for_s)
            self.recorder.waited(monotonic_ns() - begun_ns)

    def _ask(
        self,
        talk: "_Talk | None" = None,
        due_ns: int = 0,
        flags: int = 0,
        lengths: tuple[int, int] | None = None,
    ) -> Reply | None:
        """Make one request, due now unless said otherwise; None when there is none to be made.

        That is when the budget refuses it, or when the conversation of an arrival is over.
        """
        number = self._share.number(self.recorder.started)
        if talk is None:
            request = self._workload.request(number, lengths)
        else:
            following = talk.next(self._workload, number, lengths)
            if following is None:
                return None
            request = following
        if self._meter is not None and not self._affords(self._meter):
            return None
        self.recorder.started += 1
        sample = Sample(due_ns=due_ns, number=number, flags=flags)
        heard: list[Reply] = []

        def record(answer: Reply) -> None:
            heard.append(answer)
            self.recorder.record(answer)

        sent = request if self._witness is None else self._witness.tap(number, request)
        self._client.send(sent, sample, record)
        self._workload.learn(request, sample)
        if self._vain is not None:
            self._judge_vain(heard[0])
        if self._meter is not None:
            _count(self._meter, heard[0])
        if talk is not None:
            talk.answer = heard[0]
        return heard[0]

    def _judge_vain(self, answer: Reply) -> None:
        """End a load of which nothing but hopeless failures came."""
        self._vain = None if answer.sample.error not in _HOPELESS else (self._vain or 0) + 1
        if self._vain == _IN_VAIN:
            last = ERROR_SAYS[ErrorKind(answer.sample.error)]  # what it said may hold the key
            says = f"its first {_IN_VAIN} requests all failed, the last of them so: {last}"
            self.recorder.note(kind="in-vain", at_ns=monotonic_ns(), says=says)
            gevent.spawn(self.finish)

    def _affords(self, meter: Meter) -> bool:
        """Count one more request, or end the load when it could pass the budget."""
        why = meter.refuses()
        if not why:
            meter.send()
        elif not self._ending.is_set():
            self.recorder.note(kind="budget", at_ns=monotonic_ns(), says=why)
            self.spent = True
            gevent.spawn(self.finish)
            self._ending.wait()
        return not why

    def arrive(self) -> None:
        """Let requests arrive by the plan until the test stops; every further caller waits."""
        if self._arrivals is None:
            times = self._share.of(arrivals(self.plan))
            self._arrivals = Arrivals(times, self._arrived, self._abandon, cap=self._cap)
            self._arrivals.run(self._start_ns if self._led else 0)
        else:
            self._arrivals.wait()
        raise StopUser

    def _arrived(
        self,
        due_ns: int,
        delayed: bool,  # noqa: FBT001  # a greenlet's argument
        lengths: tuple[int, int] | None,
    ) -> None:
        """Make the request of one arrival, and the further turns of its conversation."""
        if self._ending.is_set():
            self._abandon(due_ns)
            return
        talk = _Talk(for_ever=False) if self._in_turns else None
        self._ask(talk, due_ns, int(Flag.DELAYED) if delayed else 0, lengths)
        while talk is not None and not self._ending.is_set() and self._ask(talk) is not None:
            pass

    def _abandon(self, due_ns: int) -> None:
        """Record a request that was due, and still waited under the cap at the end."""
        sample = Sample(due_ns=due_ns, sent_ns=due_ns, flags=int(Flag.DELAYED))
        sample.number = self._share.number(self.recorder.started)
        self.recorder.started += 1
        answer = self._workload.request(sample.number).answer(sample)
        answer.fail(ErrorKind.UNFINISHED, "never sent", monotonic_ns())
        self.recorder.record(answer)

    def stopping(self) -> None:
        """End the offered load."""
        self._ending.set()
        self.recorder.stopping()
        if self._arrivals is not None:
            self._arrivals.stop()

    def close(self) -> None:
        """Write what is left."""
        self._own.kill()
        self.recorder.note(
            kind="words",
            at_ns=monotonic_ns(),
            learned=self._workload.learned(),
            by_kernel=self._client.watch.reads.by_kernel,
        )
        self.recorder.close()
        self._client.close()
        if self._witness is not None:
            self._witness.write(self.plan.target)


class _Talk:
    """Where a conversation stands: its turns so far, and the last answer."""

    __slots__ = ("_conversation", "_for_ever", "answer")

    def __init__(self, *, for_ever: bool) -> None:
        self._conversation: Conversation | None = None
        self._for_ever = for_ever
        self.answer: Reply | None = None

    def next(
        self, workload: Workload, number: int, lengths: tuple[int, int] | None
    ) -> Request | None:
        """Give the next turn; when it was the last one, the first of a new one, or None."""
        request = None
        if self._conversation is not None:
            request = self._conversation.next(number, self.answer)
        if request is None and (self._for_ever or self._conversation is None):
            self._conversation = workload.conversation(number, lengths)
            request = self._conversation.next(number)
        return request


def works_of(plan: LoadPlan) -> tuple[Work, ...]:
    """Read the works of a plan; one of plain streamed chat where it names none."""
    folder = Path(place_of(plan.base)) if plan.base else None
    works = [
        parse_work(table, f"{plan.scenario}, work {number}", folder)
        for number, table in enumerate(plan.work, 1)
    ]
    works = works or [Work()]
    if plan.max_tokens is not None:
        output = Lengths.fixed(plan.max_tokens)
        works = [dataclasses.replace(work, output=output) for work in works]
    elif plan.trace is not None:  # the lengths are the trace's, and each request has room for them
        output = Lengths.fixed(1)
        works = [dataclasses.replace(work, output=work.output or output) for work in works]
    return tuple(works)


def _count(meter: Meter, answer: Reply) -> None:
    """Count what an answer cost, by its usage, or else by its output."""
    sample = answer.sample
    prompt, completion = (
        0 if count == NEVER else count for count in (sample.prompt_tokens, sample.completion_tokens)
    )
    cost = sample.cost_nano_usd
    usd = None if cost == NO_COST else Decimal(cost).scaleb(-9)
    meter.spent(prompt, completion or len(answer.stamps), usd)
