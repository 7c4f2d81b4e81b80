"""What every scenario shares: the plan, the client, the prompts, the recorder.

The locustfile calls ``serve()`` once at import; Locust's events do the rest. While a test runs,
``rig()`` gives the process's ``Rig``.

Rules. The plan comes whole (``--plan``) or from a scenario and the options over it; both ways meet
in ``gateproof.loadfile``. The key's variable is named (``--key-env``), its value is read here and
goes nowhere but into the request. A wrong option, or a target that may not be loaded, ends the
process with status 2 and a message, before any request.
"""

import inspect
import json
import math
import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from time import monotonic_ns
from typing import Any

import gevent
from gevent.event import Event
from locust import events
from locust.exception import StopUser

from gateproof.budget import Meter, budget_of
from gateproof.errors import GateproofError, UsageError
from gateproof.loadfile import OPTIONS, load_scenario, overrides_of, plan_of, scenario_names
from gateproof.manners import refuse_foreign
from gateproof.plan import LoadPlan
from gateproof.sample import NEVER, NO_COST, ErrorKind, Flag, Sample

from .answer import Answer
from .arrivals import Arrivals
from .prompts import Prompts
from .recorder import Recorder
from .stream import Client, Limits, Target
from .timetable import arrivals

__all__ = ["Rig", "rig", "serve"]

# Options that Locust has under names of its own.
_OF_LOCUST = ("--users",)


class Rig:
    """One process's part of a running load test."""

    def __init__(self, plan: LoadPlan, options: Any, fire: Callable[..., None]) -> None:
        key = os.environ.get(options.key_env, "") if options.key_env else ""
        self.plan = plan
        self._client = Client(
            plan.target, Limits(**plan.timeouts), fresh_connections=plan.fresh_connections
        )
        self._prompts = Prompts(
            plan.model,
            seed=plan.seed,
            words=plan.prompt_words or 40,
            max_tokens=plan.max_tokens,
            usage=plan.usage,
        )
        folder = Path(options.samples) if options.samples else None
        _begun.append(plan)
        if folder is not None and len(_begun) > 1:  # Locust's page can start one test after another
            folder = folder / f"run-{len(_begun)}"
        self.recorder = Recorder(plan, folder, fire, key=key, progress=options.progress)
        if folder is not None and not (folder / "plan.json").exists():
            (folder / "plan.json").write_text(plan.as_text(), "utf-8")
        self._record: Callable[[Answer], None] = self.recorder.record
        self._meter: Meter | None = None
        if plan.budget:
            self._meter = Meter(budget_of(plan.budget, "The budget"), plan.prices)
            self._record = self._record_and_count
        self._head = self._client.head("/chat/completions", key, self._prompts.length)
        self._arrivals: Arrivals | None = None
        self._shape = plan.shape
        self._places = 0
        self._start_ns = 0
        self._ending = Event()
        self._end: Callable[[], None] = lambda: None

    def start(self, end_test: Callable[[], None]) -> None:
        """Begin; after exactly the plan's time end the load, let it drain, and end the test."""
        inspect.stack()  # Locust calls it when it stops: the first time, that takes 150 ms
        self._end = end_test
        self.recorder.start()
        self._start_ns = monotonic_ns()
        if self.plan.duration_s is not None:
            gevent.spawn_later(self.plan.duration_s, self._finish)

    def _finish(self) -> None:
        """End the offered load, wait for what runs, and end the test."""
        if self._ending.is_set():
            return
        self.stopping()
        ticks = round(self.plan.drain_s / 0.05)
        while ticks > 0 and self._client.active:
            gevent.sleep(0.05)
            ticks -= 1
        self._end()

    def take_place(self) -> int:
        """Give the next user its number, from 0."""
        self._places += 1
        return self._places - 1

    def turn(self, place: int) -> None:
        """Do what a user does once: ask, when it is its time, or let the crowd arrive."""
        if self.plan.is_open:
            self.arrive()
            return
        if self.plan.stages:
            self._await(place)
        self.chat()

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

    def chat(
        self,
        due_ns: int = 0,
        delayed: bool = False,  # noqa: FBT001, FBT002  # a greenlet's arguments
        lengths: tuple[int, int] | None = None,
    ) -> None:
        """Make one streamed chat request and record it; due now unless said otherwise."""
        del lengths  # every prompt has the same length
        if self._meter is not None and not self._ending.is_set():
            self._keep_budget(self._meter)
        if self._ending.is_set():
            if not due_ns:
                raise StopUser
            self._abandon(due_ns)
            return
        number = self.recorder.started
        self.recorder.started = number + 1
        sample = Sample(due_ns=due_ns, number=number, flags=int(Flag.DELAYED) if delayed else 0)
        request = self._head + self._prompts.body(number)
        self._client.send(request, sample, self._record, want_usage=self.plan.usage)

    def _keep_budget(self, meter: Meter) -> None:
        """Count one more request, or end the load when it could pass the budget."""
        why = meter.refuses()
        if why:
            self.recorder.note(kind="budget", at_ns=monotonic_ns(), spent=True, says=why)
            gevent.spawn(self._finish)
            gevent.sleep(0)
        else:
            meter.send()

    def _record_and_count(self, answer: Answer) -> None:
        """Record an answer, and count what it cost."""
        self.recorder.record(answer)
        if self._meter is None:
            return
        sample = answer.sample
        prompt, completion = (
            0 if count == NEVER else count
            for count in (sample.prompt_tokens, sample.completion_tokens)
        )
        cost = sample.cost_nano_usd
        usd = None if cost == NO_COST else Decimal(cost).scaleb(-9)
        self._meter.spent(prompt, completion or len(answer.stamps), usd)

    def arrive(self) -> None:
        """Let requests arrive by the plan until the test stops; every further caller waits."""
        if self._arrivals is None:
            times = arrivals(self.plan)
            self._arrivals = Arrivals(times, self.chat, self._abandon, cap=self.plan.cap)
            self._arrivals.run()
        else:
            self._arrivals.wait()
        raise StopUser

    def _abandon(self, due_ns: int) -> None:
        """Record a request that was due, and still waited under the cap at the end."""
        sample = Sample(due_ns=due_ns, sent_ns=due_ns, flags=int(Flag.DELAYED))
        answer = Answer(sample)
        answer.fail(ErrorKind.UNFINISHED, "never sent", due_ns)
        self.recorder.record(answer)

    def stopping(self) -> None:
        """End the offered load."""
        self._ending.set()
        self.recorder.stopping()
        if self._arrivals is not None:
            self._arrivals.stop()

    def close(self) -> None:
        """Write what is left."""
        self.recorder.close()
        self._client.close()


_running: list[Rig] = []
_begun: list[LoadPlan] = []  # by this process


def rig() -> Rig:
    """Give the rig of the test that runs in this process."""
    return _running[-1]


def serve() -> None:
    """Give Locust the options, and a rig from start to stop of each test."""

    def options(parser: ArgumentParser, **_: object) -> None:
        _options(parser)

    def init(environment: Any, **_: object) -> None:
        given = environment.parsed_options
        try:
            plan = _plan(environment)
        except GateproofError as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(error.exit_status)
        given.num_users = given.num_users or plan.most_users
        given.spawn_rate = given.spawn_rate or given.num_users
        if given.run_time:  # the plan ends the load: exactly, and with time to drain
            given.seconds, given.run_time = str(given.run_time), None

    def start(environment: Any, **_: object) -> None:
        try:
            plan = _plan(environment, users=environment.runner.target_user_count)
            _running[:] = [Rig(plan, environment.parsed_options, environment.events.request.fire)]
        except GateproofError as error:
            sys.stderr.write(f"{error}\n")
            sys.stderr.flush()
            os._exit(error.exit_status)  # Locust goes on after an exception in a listener
        runner = environment.runner
        environment.stop_timeout = math.ceil(plan.drain_s)

        def end() -> None:
            environment.stop_timeout = 0  # what ran has had its time
            runner.quit() if environment.web_ui is None else runner.stop()

        rig().start(end)

    def stopping(**_: object) -> None:
        for one in _running:
            one.stopping()

    def stop(**_: object) -> None:
        while _running:
            _running.pop().close()

    hooks: tuple[tuple[Any, Callable[..., None]], ...] = (
        (events.init_command_line_parser, options),
        (events.init, init),
        (events.test_start, start),
        (events.test_stopping, stopping),
        (events.test_stop, stop),
    )
    for event, listener in hooks:
        event.add_listener(listener)


def _options(parser: ArgumentParser) -> None:
    """Add the options of a load run to Locust's own."""
    add = parser.add_argument_group("gateproof").add_argument
    add("--scenario", default="", metavar="NAME|FILE", help=", ".join(scenario_names()))
    add("--plan", default="", metavar="FILE", help="a whole plan (plan.json of a run) instead")
    add("--model", default="gpt-4o-mini", help="the model to ask for")
    add("--key-env", default="", metavar="NAME", help="the environment variable that holds the key")
    add("--samples", default="", metavar="DIR", help="write samples into this folder")
    add("--allow-origin", default="", metavar="URL", help="an origin beside loopback to be loaded")
    add("--progress", action="store_true", help="print a line of JSON each second")
    for option in OPTIONS:
        if option.flag not in _OF_LOCUST:
            add(option.flag, default="", metavar=option.metavar, help=option.says)


def _plan(environment: Any, users: int | None = None) -> LoadPlan:
    """Resolve what Locust was asked to do; ``users`` are those that its page wants."""
    options = environment.parsed_options
    if options.key_env and not os.environ.get(options.key_env):
        raise UsageError(
            f"The environment variable {options.key_env} is not set.",
            f"--key-env names the variable that holds the key: export {options.key_env}=…",
        )
    if options.plan:
        plan = LoadPlan.of(json.loads(Path(options.plan).read_text("utf-8")))
    else:
        if not options.scenario:
            raise UsageError(
                "No scenario is named.", f"Give --scenario: {', '.join(scenario_names())}."
            )
        host = environment.host or options.host
        if not host:
            raise UsageError("No target.", "Give it as --host http://127.0.0.1:8080/v1.")
        scenario, given = load_scenario(options.scenario), overrides_of(options, but=_OF_LOCUST)
        if options.run_time:
            given.setdefault("duration_s", float(options.run_time))
        if given.get("arrivals", scenario.arrivals) == "closed" and (users or options.num_users):
            given["users"] = users or options.num_users
        plan = plan_of(scenario, target=host, model=options.model, **given)
    Target.of(plan.target)
    budget = budget_of(plan.budget, "The budget") if plan.budget else None
    refuse_foreign(plan.target, filter(None, [options.allow_origin]), budget)
    return plan
