"""The locustfile's other half: Locust's events, and which rig they start and stop.

``serve()`` is called once at import. While a test runs in this process, ``rig()`` gives its rig. A
master of workers has none: it leads them (``spread``). A wrong option ends the process with status
2 and a message, before any request.
"""

import math
import os
import signal
import sys
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import gevent
from locust import events
from locust.exception import StopUser

from gateproof.errors import GateproofError, UsageError
from gateproof.plan import LoadPlan

from .asked import add_options, asked_plan, check_variables
from .page import announce, count_once
from .part import Part, is_part
from .rig import Rig
from .share import Share
from .spread import Lead, is_lead, listen

__all__ = ["rig", "serve"]

_BUDGET_SPENT: Final = 5  # the exit status, as gateproof's own

_BY_HAND_S: Final = 2.0  # for answers that are under way when a load is stopped by hand

_running: list[Rig] = []
_watchers: list[Any] = []
_tests = count(1)  # Locust's page can start one test after another
_leading: list[Lead] = []
_parts: list[Part] = []


def rig() -> Rig:
    """Give the rig of the test that runs in this process; without one, a user has nothing to do."""
    if not _running:
        raise StopUser
    return _running[-1]


def serve() -> None:
    """Give Locust the options, and a rig from start to stop of each test."""
    hooks: tuple[tuple[Any, Callable[..., None]], ...] = (
        (events.init_command_line_parser, add_options),
        (events.init, _init),
        (events.test_start, _start),
        (events.test_stopping, _stopping),
        (events.test_stop, _stop),
    )
    for event, listener in hooks:
        event.add_listener(listener)


def _init(environment: Any, **_: object) -> None:
    """Read the options; a worker gets its plan later, from the master."""
    given = environment.parsed_options
    count_once(environment.stats)  # a worker's totals are added up by the master
    if is_part(environment):
        _parts[:] = [_part(environment)]
        return
    try:
        plan = asked_plan(environment)
    except GateproofError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_status)
    if is_lead(environment):
        listen(environment, lambda: _leading[-1] if _leading else None)
    if given.exit_with_stdin:
        _watchers.append(watcher := gevent.get_hub().loop.io(0, 1))  # to read
        watcher.start(_exit_with_stdin)
    environment.host = environment.host or plan.target  # its page shows it
    if environment.web_ui is not None and given.progress:
        announce(environment.web_ui)
    given.num_users = given.num_users or plan.most_users
    given.spawn_rate = given.spawn_rate or given.num_users
    if given.run_time:  # the plan ends the load: exactly, and with time to drain
        given.seconds, given.run_time = str(given.run_time), None


def _exit_with_stdin() -> None:
    """Stop in order when whoever started this process is gone."""
    if not os.read(0, 4096):
        for watcher in _watchers:
            watcher.stop()
        os.kill(os.getpid(), signal.SIGTERM)


def _start(environment: Any, **_: object) -> None:
    """Begin a test: make its load here, or let workers make it."""
    if is_part(environment):
        _parts[-1].start()
        return
    try:
        plan = asked_plan(environment, users=environment.runner.target_user_count)
        if is_lead(environment):
            _lead(environment, plan)
            return
        given = environment.parsed_options
        options = SimpleNamespace(**{**vars(given), "samples": _folder(given.samples)})
        _running[:] = [_kind_of_rig(plan)(plan, options, environment.events.request.fire)]
    except GateproofError as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        if is_lead(environment):
            environment.process_exit_code = error.exit_status
            gevent.spawn(environment.runner.quit)
            return
        os._exit(error.exit_status)  # Locust goes on after an exception in a listener
    runner = environment.runner
    environment.stop_timeout = math.ceil(plan.drain_s)

    def end() -> None:
        environment.stop_timeout = 0  # what ran has had its time
        if rig().spent:
            environment.process_exit_code = _BUDGET_SPENT
        runner.quit() if environment.web_ui is None else runner.stop()

    rig().start(end)


def _stopping(environment: Any, **_: object) -> None:
    """End the offered load."""
    for one in _running:
        one.stopping()
    if environment.web_ui is None and not is_part(environment) and not is_lead(environment):
        # By hand: who starts this process waits a few seconds, and then ends it from outside.
        environment.stop_timeout = min(environment.stop_timeout, _BY_HAND_S)
    for lead in _leading:
        lead.stopping(drain=environment.web_ui is not None)


def _stop(environment: Any, **_: object) -> None:
    """Write what is left of a test that ends."""
    while _running:
        one = _running.pop()
        if not is_part(environment):  # its master waits for it
            one.calibrate()
        one.close()
    if is_part(environment):
        _parts[-1].done(early=True, status=0)
        environment.stop_timeout = 0  # else Locust lets it pass before it begins another test
    for lead in _leading:
        lead.stop()


def _lead(environment: Any, plan: LoadPlan) -> None:
    """Let the workers that are connected make the load."""
    options = environment.parsed_options
    if _kind_of_rig(plan) is not Rig:
        raise UsageError(
            f"{plan.scenario} cannot be shared out to workers.", "Run it in one process."
        )
    environment.stop_timeout = math.ceil(plan.drain_s)
    _leading[:] = [Lead(environment, plan, _folder(options.samples))]
    _leading[-1].start(
        options.key_env, progress=options.progress, calibrate=not options.no_calibration
    )


def _part(environment: Any) -> Part:
    """Make this process ready to be one worker of a load that another one leads."""

    def build(plan: LoadPlan, share: Share, folder: Path | None, told: Mapping[str, Any]) -> None:
        check_variables(plan, told["key_env"])
        options = SimpleNamespace(
            key_env=told["key_env"],
            samples=folder,
            progress=told["progress"],
            no_calibration=not told["calibrate"],
        )
        fire = environment.events.request.fire
        _running[:] = [Rig(plan, options, fire, share, part.tell)]

    def go(at_ns: int) -> None:
        running = _running[-1]

        def end() -> None:
            while _running:
                _running.pop().close()
            part.done(early=False, status=_BUDGET_SPENT if running.spent else 0)

        running.begin(end, at_ns)

    part = Part(environment, build, lambda: rig().prepare(), go, lambda: rig().finish())
    return part


def _folder(samples: str) -> Path | None:
    """Give the folder of the next test of this process: the one named, then ones inside it."""
    number = next(_tests)
    if not samples:
        return None
    return Path(samples) if number == 1 else Path(samples) / f"run-{number}"


def _kind_of_rig(plan: LoadPlan) -> Any:
    """Give the class that runs a plan: a ``Rig``, or for a look at rate limits one alike."""
    if not plan.limits:
        return Rig
    from .limits import LimitsRig  # noqa: PLC0415  # no other run needs the lab

    return LimitsRig
