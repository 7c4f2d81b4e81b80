"""The pytest plugin: checks become items, what they need is recorded once, each item judges.

Used as ``pytest -p gateproof.plugin --target URL --profile NAME …`` and by ``gateproof conform``.
It is no entry point, so that it never loads itself into other people's test runs.

Before the first item runs, every scenario that a collected check needs is recorded, concurrently;
an item then only reads transcripts. Files of a room are imported under the room's one name
(``gateproof.suites.x``), whatever folder pytest was given.
"""

import asyncio
import datetime as dt
import importlib
import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gateproof.check import Check, Result
from gateproof.conform import (
    Plan,
    held_back,
    judge_case,
    make_plan,
    patience_notes,
    record_plan,
    require_known,
    split_groups,
    stale_waivers,
    waive,
)
from gateproof.errors import GateproofError
from gateproof.profile import load_profile
from gateproof.run import RunWriter, claim_folder, exit_status, new_folder
from gateproof.scenario import Scenario
from gateproof.settings import target_of_options
from gateproof.suite import load_checks, room_path, select
from gateproof.target import read_secrets
from gateproof.transcript import Transcript

BUDGET_SPENT = 5  # the exit status of a run that its budget ended
ROOMS = ("specs", "suites", "loadtests", "reference_server", "reports")
STATE: pytest.StashKey["State"] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that say what is tested."""
    group = parser.getgroup("gateproof")
    add = group.addoption
    add("--target", help="name of a target in gateproof.toml, or a base URL")
    add("--target-file", type=Path, help="the gateproof.toml to read")
    add("--profile", help="profile the target claims, when --target is a URL")
    add("--key-env", help="variable that holds the key, when --target is a URL")
    add("--model", help="model to ask for, when --target is a URL")
    add("--upstream", help="URL of a controlled upstream behind the target")
    add("--upstream-models", help="model name that reaches the upstream; {name} is filled in")
    add("--allow-origin", action="append", default=[], help="origins that secrets may go to")
    add("--plan-key", action="append", default=[], help="PLAN=VARIABLE: a key of another plan")
    add("--login", help="USER:VARIABLE: a user, and the variable with the password")
    add("--budget", help="the most that the run may spend: requests=N,tokens=N,usd=X")
    add("--with", dest="groups", action="append", default=[], help="groups to opt in to, A,B")
    add("--retry-5xx", type=int, default=0, help="how often to ask again after a 500 or 503")
    add("--check", action="append", default=[], help="a check id or the beginning of one")
    add("--run-folder", type=Path, help="folder for the run, made when it is missing")
    add("--run-verb", default="conform", help="what the run is called in its header")
    add("--run-seed", type=int, default=0, help="seed of the generated cases")
    add("--cases", type=int, default=30, help="generated requests for each generative check")
    add("--allow-partial", action="store_true", help="inconclusive MUSTs do not fail the run")


class State:
    """What one run knows: its plan, its folder, what was recorded and what was judged."""

    def __init__(self, config: pytest.Config) -> None:
        option = config.option
        self.config = config
        self.target = target_of_options(option, option.target_file)
        self.groups = split_groups(option.groups)
        self.profile = load_profile(self.target.profile).with_groups(self.groups)
        known = load_checks()
        require_known(self.target, self.profile, known)
        self.secrets = read_secrets(self.target)
        self.checks = select(known, option.check)
        self.run = uuid.uuid4().hex[:12]
        self.plan: Plan | None = None
        self.writer: RunWriter | None = None
        self.transcripts: dict[str, Transcript] = {}
        self.results: list[Result] = []
        self.waived: list[str] = []
        self.exit_status: int | None = None
        self.spent = ""

    def begin(self, checks: dict[str, Check]) -> None:
        """Open the run folder, write what is planned, and record it."""
        option = self.config.option
        self.plan = make_plan(self.target, self.profile, checks, ungenerated=held_back(self.target))
        if option.run_folder:
            folder = claim_folder(option.run_folder)
        else:
            folder = new_folder(Path("gateproof-runs"), self.target.name)
        self.writer = RunWriter(folder)
        self.writer.header(
            option.run_verb,
            self.run,
            self.target,
            self.profile,
            option.run_seed,
            sys.argv[1:],
            groups=self.groups,
        )
        for check in checks.values():
            requirement = self.plan.requirement(check)
            self.writer.check(check, requirement, self.profile.level_of(requirement))
        total = len(self.plan.scenarios)
        self.tell(f"recording 0/{total} scenarios from {self.target.url}")

        def done(transcript: Transcript) -> None:
            self.transcripts[transcript.scenario] = transcript
            assert self.writer is not None
            self.writer.transcript(transcript)
            self.tell(f"recording {len(self.transcripts)}/{total} scenarios")

        self.spent = asyncio.run(
            record_plan(
                self.plan,
                self.secrets,
                self.run,
                done,
                seed=option.run_seed,
                cases=option.cases,
                retry_5xx=option.retry_5xx,
            )
        )
        for note in patience_notes(self.transcripts.values()):
            self.writer.note(note)
        self.tell("")

    def tell(self, text: str) -> None:
        """Show progress on one line of a terminal."""
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()

    def judge(self, check: Check, case: Sequence[Scenario]) -> tuple[Result, str]:
        """Judge one case, write the result, and return it with the reason of its waiver."""
        assert self.plan is not None
        assert self.writer is not None
        result = judge_case(self.plan, check, case, self.transcripts)
        waiver = ""
        if result.verdict in ("fail", "warn", "untestable"):
            waiver = waive(result, self.target, dt.datetime.now(dt.UTC).date())
        self.results.append(result)
        self.waived.append(waiver)
        self.writer.result(result, waiver)
        return result, waiver

    def end(self, *, interrupted: bool) -> None:
        """Close the run and decide its exit status."""
        if self.writer is None:
            return
        today = dt.datetime.now(dt.UTC).date()
        stale = stale_waivers(self.target, self.results, today)
        for told in stale:
            self.writer.note(told)
        status = exit_status(
            [
                ("waived" if waiver else result.verdict, result.level)
                for result, waiver in zip(self.results, self.waived, strict=True)
            ],
            allow_partial=self.config.option.allow_partial,
            stale_waivers=len(stale),
        )
        if self.spent:
            self.writer.note(f"The budget ended the run before its plan was done: {self.spent}.")
            status = BUDGET_SPENT
        if interrupted:
            self.writer.note("The run was interrupted; what was recorded before that is here.")
            status = status or 1
        self.exit_status = status
        if not interrupted:
            self.writer.footer(status)
        self.writer.close()


class RoomModule(pytest.Module):
    """A module of a room, imported under the room's one name."""

    def _getobj(self) -> ModuleType:
        return importlib.import_module(_room_name(self.path))


class CheckItem(pytest.Item):
    """One case of one check."""

    def __init__(self, *, check: Check, case: Sequence[Scenario], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.check = check
        self.case = case

    def runtest(self) -> None:
        """Judge, and tell pytest in its own terms."""
        result, waiver = self.config.stash[STATE].judge(self.check, self.case)
        if waiver:
            pytest.skip(f"waived: {waiver}")
        if result.verdict in ("fail", "untestable", "error"):
            raise Judged(result)
        if result.verdict in ("warn", "info", "departs", "inconclusive", "not-applicable"):
            pytest.skip(f"{result.verdict}: {result.reason or result.wanted}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> str:  # type: ignore[override]  # a str is what pytest prints
        """Show the requirement, what was wanted and what came, without our own stack."""
        if isinstance(excinfo.value, Judged):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Name the item by its check."""
        return self.path, None, self.name


class Judged(Exception):
    """A result that pytest shall show as a failure."""

    def __init__(self, result: Result) -> None:
        lines = [f"{result.check} [{result.case}]: {result.verdict} ({result.level})"]
        if result.wanted:
            lines += [f"  wanted  {result.wanted}", f"  got     {result.got}"]
        if result.reason:
            lines.append(f"  because {result.reason}")
        super().__init__("\n".join(lines))


def pytest_configure(config: pytest.Config) -> None:
    """Resolve the target before anything is collected; the caller's mistakes end here."""
    for room in ROOMS:
        file = getattr(sys.modules.get(room), "__file__", None)
        if file and _in_room(Path(file).resolve().parent):
            raise pytest.UsageError(
                f"{room} was imported under its bare name; import gateproof.{room} instead"
            )
    # Whatever the user's own patterns are, the files of checks are collected.
    config.addinivalue_line("python_files", f"{room_path('suites')}{os.sep}*.py")
    if not config.option.target:
        return
    try:
        config.stash[STATE] = State(config)
    except GateproofError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a room's folder without importing its ``__init__`` under the bare name."""
    return pytest.Dir.from_parent(parent, path=path) if _in_room(path) else None


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Module | None:
    """Import a room's module under its one name."""
    if _in_room(module_path.parent):
        return RoomModule.from_parent(parent, path=module_path)
    return None


def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class, name: str, obj: object
) -> list[CheckItem] | None:
    """Make one item for each case of a check."""
    check: Check | None = getattr(obj, "gateproof_check", None)
    if check is None or not name.startswith("test"):
        return None
    state = collector.config.stash.get(STATE, None)
    if state is None:
        raise pytest.UsageError("a check needs a target: add --target URL --profile NAME")
    if check.id not in state.checks:
        return []
    return [
        CheckItem.from_parent(
            collector,
            name=f"{check.id}[{'+'.join(item.name for item in case)}]",
            check=check,
            case=case,
        )
        for case in check.cases
    ]


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Iterator[None]:
    """Record everything first, judge item by item, and close the run whatever happens."""
    state = session.config.stash.get(STATE, None)
    items = [item for item in session.items if isinstance(item, CheckItem)]
    if state is None or not items or session.config.option.collectonly:
        return (yield)
    interrupted = True
    try:
        try:
            state.begin({item.check.id: item.check for item in items})
        except GateproofError as error:
            raise pytest.UsageError(str(error)) from None
        result = yield
        interrupted = False
    finally:
        state.end(interrupted=interrupted)
    return result


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Give pytest our exit status, which tells findings from errors of ours."""
    state = session.config.stash.get(STATE, None)
    if state is not None and state.exit_status is not None:
        session.exitstatus = state.exit_status


def _in_room(path: Path) -> bool:
    return any(path == room_path(room) or room_path(room) in path.parents for room in ROOMS)


def _room_name(path: Path) -> str:
    for room in ROOMS:
        folder = room_path(room)
        if folder in path.parents:
            parts = path.relative_to(folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            return ".".join(("gateproof", room, *parts))
    raise ValueError(f"{path} is in no room")
