"""What every scenario shares: its options, its client, its prompts, its recorder.

A locustfile calls ``serve(scenario)`` once at import; Locust's events do the rest. While a test
runs, ``rig()`` gives the process's ``Rig``.

Rules. The key's variable is named (``--key-env``), its value is read here and goes nowhere but into
the request. A wrong option ends the process with status 2 and a message, before any request.
"""

import inspect
import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from locust import events
from locust.exception import StopUser

from gateproof.errors import GateproofError, UsageError
from gateproof.plan import LoadPlan, parse_slos
from gateproof.sample import ErrorKind, Flag, Sample

from .answer import Answer
from .arrivals import Arrivals
from .prompts import Prompts
from .recorder import Recorder
from .stream import Client, Limits, Target
from .timetable import ARRIVALS, offsets

__all__ = ["Rig", "rig", "serve"]


class Rig:
    """One process's part of a running load test."""

    def __init__(self, plan: LoadPlan, options: Any, fire: Callable[..., None]) -> None:
        key = os.environ.get(options.key_env, "") if options.key_env else ""
        limits = Limits(
            options.timeout_connect_s,
            options.timeout_first_byte_s,
            options.timeout_idle_s,
            options.timeout_total_s,
        )
        self.plan = plan
        self._want_usage = not options.no_usage
        self._client = Client(plan.target, limits, fresh_connections=options.fresh_connections)
        self._prompts = Prompts(
            plan.model,
            seed=plan.seed,
            words=plan.prompt_words or 40,
            max_tokens=plan.max_tokens,
            usage=self._want_usage,
        )
        folder = Path(options.samples) if options.samples else None
        _begun.append(plan)
        if folder is not None and len(_begun) > 1:  # Locust's page can start one test after another
            folder = folder / f"run-{len(_begun)}"
        self.recorder = Recorder(plan, folder, fire, key=key, progress=options.progress)
        self._head = self._client.head("/chat/completions", key, self._prompts.length)
        self._arrivals: Arrivals | None = None
        self._over = False

    def start(self, quit_test: Callable[[], None], *, for_s: float, drain_s: float) -> None:
        """Begin; with ``for_s``, end the load after exactly that long, let it drain, and quit."""
        inspect.stack()  # Locust calls it when it stops: the first time, that takes 150 ms
        self.recorder.start()
        if for_s:
            gevent.spawn_later(for_s, self._finish, quit_test, drain_s)

    def _finish(self, quit_test: Callable[[], None], drain_s: float) -> None:
        """End the offered load, wait for what runs, and end the test."""
        self.stopping()
        ticks = round(drain_s / 0.05)
        while ticks > 0 and self._client.active:
            gevent.sleep(0.05)
            ticks -= 1
        quit_test()

    def chat(self, due_ns: int = 0, delayed: bool = False) -> None:  # noqa: FBT001, FBT002  # a greenlet's arguments
        """Make one streamed chat request and record it; due now unless said otherwise."""
        if self._over and due_ns:
            self._abandon(due_ns)
            return
        if self._over:
            raise StopUser
        number = self.recorder.started
        self.recorder.started = number + 1
        sample = Sample(due_ns=due_ns, number=number, flags=int(Flag.DELAYED) if delayed else 0)
        request = self._head + self._prompts.body(number)
        self._client.send(request, sample, self.recorder.record, want_usage=self._want_usage)

    def arrive(self) -> None:
        """Let requests arrive by the plan until the test stops; one caller is enough."""
        if self._arrivals is not None:
            return
        rate = self.plan.rate_per_s
        assert rate is not None
        times = offsets(self.plan.arrivals, rate, self.plan.seed)
        self._arrivals = Arrivals(times, self.chat, self._abandon, cap=self.plan.cap)
        self._arrivals.run()

    def _abandon(self, due_ns: int) -> None:
        """Record a request that was due, and still waited under the cap at the end."""
        sample = Sample(due_ns=due_ns, sent_ns=due_ns, flags=int(Flag.DELAYED))
        answer = Answer(sample)
        answer.fail(ErrorKind.UNFINISHED, "never sent", due_ns)
        self.recorder.record(answer)

    def stopping(self) -> None:
        """End the offered load."""
        self._over = True
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


def serve(scenario: str, *, open_model: bool) -> None:
    """Give Locust a scenario: its options, and a rig from start to stop of each test."""

    def options(parser: ArgumentParser, **_: object) -> None:
        _options(parser, open_model=open_model)

    def init(environment: Any, **_: object) -> None:
        try:
            _check(environment.parsed_options)
        except GateproofError as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(error.exit_status)

    def start(environment: Any, **_: object) -> None:
        try:
            plan = _plan(scenario, environment, open_model=open_model)
            _running[:] = [Rig(plan, environment.parsed_options, environment.events.request.fire)]
        except GateproofError as error:
            sys.stderr.write(f"{error}\n")
            sys.stderr.flush()
            os._exit(error.exit_status)  # Locust goes on after an exception in a listener
        options = environment.parsed_options
        quit_test, drain_s = environment.runner.quit, environment.stop_timeout or 0.0
        rig().start(quit_test, for_s=options.for_s, drain_s=drain_s)

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


def _options(parser: ArgumentParser, *, open_model: bool) -> None:
    """Add the options of a scenario to Locust's own."""
    add, usual = parser.add_argument_group("gateproof").add_argument, Limits()
    add("--model", default="gpt-4o-mini", help="the model to ask for")
    add("--key-env", default="", metavar="NAME", help="the environment variable that holds the key")
    add("--samples", default="", metavar="DIR", help="write samples into this folder")
    add("--for-s", type=float, default=0.0, help="end the load after exactly so many seconds")
    add("--seed", type=int, default=1, help="of prompts and arrivals")
    add("--max-tokens", type=int, default=None, help="max_tokens of each request")
    add("--prompt-words", type=int, default=40, help="words in each prompt")
    add("--warm-up-s", type=float, default=0.0, help="seconds left out of the figures")
    add("--slo", default="", metavar="NAME=MS,…", help="ttft_ms, content_ms, tpot_ms, e2e_ms")
    add("--timeout-connect-s", type=float, default=usual.connect_s, help="to be connected")
    add("--timeout-first-byte-s", type=float, default=usual.first_byte_s, help="of silence first")
    add("--timeout-idle-s", type=float, default=usual.idle_s, help="of silence later")
    add("--timeout-total-s", type=float, default=usual.total_s, help="for a whole answer")
    add("--fresh-connections", action="store_true", help="make a connection for every request")
    add("--no-usage", action="store_true", help="do not ask for usage in the stream")
    add("--progress", action="store_true", help="print a line of JSON each second")
    if open_model:
        add("--rate", type=float, default=1.0, help="arrivals per second")
        add("--arrivals", default="poisson", help="poisson or constant")
        add("--cap", type=int, default=None, help="most requests at a time; later ones wait")
    else:
        add("--think-s", type=float, default=0.0, help="seconds between answer and next request")


def _check(options: Any) -> None:
    """Refuse options that cannot be meant."""
    parse_slos(options.slo)
    if options.key_env and not os.environ.get(options.key_env):
        raise UsageError(
            f"The environment variable {options.key_env} is not set.",
            f"--key-env names the variable that holds the key: export {options.key_env}=…",
        )
    if options.host:
        Target.of(options.host)
    rate = getattr(options, "rate", 1.0)
    if not 0 < rate <= 1e6:
        raise UsageError(f"--rate is {rate:g}.", "Wanted more than 0 arrivals per second.")
    cap = getattr(options, "cap", None)
    if cap is not None and cap < 1:
        raise UsageError(f"--cap is {cap}.", "Wanted at least 1 request at a time.")
    if getattr(options, "arrivals", ARRIVALS[0]) not in ARRIVALS:
        next(offsets(options.arrivals, rate, 0))


def _plan(scenario: str, environment: Any, *, open_model: bool) -> LoadPlan:
    """Write down what Locust was asked to do."""
    options = environment.parsed_options
    host = environment.host or options.host
    if not host:
        raise UsageError("No target.", "Give it as --host http://127.0.0.1:8080/v1.")
    Target.of(host)
    users = None if open_model else (options.num_users or environment.runner.target_user_count or 1)
    return LoadPlan(
        scenario=scenario,
        arrivals=options.arrivals if open_model else "closed",
        target=host,
        model=options.model,
        users=users,
        rate_per_s=options.rate if open_model else None,
        duration_s=options.for_s or options.run_time or None,
        warm_up_s=options.warm_up_s,
        seed=options.seed,
        cap=options.cap if open_model else None,
        think_s=0.0 if open_model else options.think_s,
        max_tokens=options.max_tokens,
        prompt_words=options.prompt_words,
        slos=parse_slos(options.slo),
    )
