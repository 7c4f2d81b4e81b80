"""Other load generators, each in an environment of its own, for ``load_client.py --peers``.

What they are is in ``load_tools.py``; here they are installed, run and watched. CPU time is of all
processes between the first request and the last token, without start and evaluation, which these
tools spend seconds on. Memory is the most that all of them had together: pages of files are counted
once, but those that processes share since a fork for each of them, so that it can be a half too
much. Both are looked at each half second, in a way that takes no time from the tools.

Environments are made once, in ``.envs``, from the package registry that pip is set up for; what one
costs is said before. A tool that does not end by itself is ended: its records so far count.
One that leaves none is started once more.
"""

# ruff: noqa: INP001  # beside a script, not in a package

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic_ns
from typing import Final

from gateproof.loadtests.responder import Entry
from load_tools import PEERS, Asked, Peer

__all__ = ["Watched", "prepare", "run_peer"]

_LOOK_S: Final = 0.5
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE_MB: Final = os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(slots=True)
class Watched:
    """What a run left: entries by number, CPU seconds over time, memory, its last words."""

    entries: dict[int, Entry]
    used: list[tuple[int, float]]
    memory_mb: float
    said: str


@dataclass(slots=True)
class _Watch:
    """Adds up the processes of one session as long as they live, in a millisecond for each look."""

    session: int
    cpu_s: dict[int, float] = field(default_factory=dict)
    others: set[int] = field(default_factory=set)
    used: list[tuple[int, float]] = field(default_factory=list)
    memory_mb: float = 0.0

    def look(self) -> None:
        """Look at all processes of the session once."""
        own = shared = 0
        for name in os.listdir("/proc"):  # noqa: PTH208  # names alone, for speed
            if not name.isdecimal() or int(name) in self.others:
                continue
            with contextlib.suppress(OSError, ValueError, IndexError):
                stat, pages = (_read(f"/proc/{name}/{file}") for file in ("stat", "statm"))
                parts = stat.rpartition(b")")[2].split()
                if int(parts[3]) != self.session:
                    if int(name) != self.session:  # which makes the session after its start
                        self.others.add(int(name))
                    continue
                # 11, 12: user and system time; of pages: resident, and those of files.
                self.cpu_s[int(name)] = (int(parts[11]) + int(parts[12])) / _TICKS
                resident, of_files = (int(part) for part in pages.split()[1:3])
                own += resident - of_files
                shared = max(shared, of_files)
        self.used.append((monotonic_ns(), sum(self.cpu_s.values())))
        self.memory_mb = max(self.memory_mb, (own + shared) * _PAGE_MB)


def _read(path: str) -> bytes:
    """Read a small file at once."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, 4096)
    finally:
        os.close(file)


def _folder(name: str) -> Path:
    """Give the folder of a tool's environment."""
    return Path(__file__).resolve().parent.parent / ".envs" / f"bench-{name}"


def prepare(names: Sequence[str]) -> None:
    """Make the environments of tools, unless they are there; SystemExit when that cannot be."""
    wrong = [name for name in names if name not in PEERS]
    if wrong:
        raise SystemExit(f"No other tool is named {wrong[0]!r}: give one of {', '.join(PEERS)}.")
    for name in names:
        peer, folder = PEERS[name], _folder(name)
        ready = folder / f".ready-{peer.requirement}"
        if ready.exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        costs = f"{peer.size_gb:g} GB in {folder}, {peer.install_s} s or more"
        free_gb = shutil.disk_usage(folder).free / 1e9
        if free_gb < 2 * peer.size_gb + 1:  # what is downloaded lies beside it for a while
            raise SystemExit(f"{peer.requirement} takes {costs}; only {free_gb:.1f} GB are free.")
        print(f"  making an environment for {peer.requirement}: {costs} …", flush=True)  # noqa: T201  # it tells
        try:
            _install(folder, peer)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SystemExit(f"{peer.requirement} could not be installed: {error}") from None
        ready.touch()


def _install(folder: Path, peer: Peer) -> None:
    """Install a tool from the registry that pip is set up for."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)  # noqa: S603  # ours
    pip = [str(folder / "bin" / "pip"), "install", "-q"]
    wanted = [peer.requirement]
    if peer.newer_python:
        command = [*pip, "--ignore-requires-python", "--no-deps", peer.requirement]
        subprocess.run(command, check=True)  # noqa: S603  # a fixed name
        name = peer.requirement.partition("==")[0]
        ask = f"import importlib.metadata as m; print(*m.requires({name!r}), sep='\\n')"
        told = subprocess.run(  # noqa: S603  # its own list of what it needs
            [str(folder / "bin" / "python"), "-c", ask], check=True, capture_output=True, text=True
        )
        wanted = [line for line in told.stdout.splitlines() if "extra ==" not in line]
    subprocess.run([*pip, *wanted], check=True)  # noqa: S603  # a fixed name, and what it needs


def run_peer(name: str, asked: Asked) -> Watched:
    """Let a tool make a run, and give what it left; it is ended when it does not end by itself.

    GuideLLM was seen to stand still before its first request in two starts of five, and then to
    leave nothing: such a start is made again, once.
    """
    asked.folder.mkdir()
    left = _run(name, asked)
    if not left.entries:
        again = replace(asked, folder=asked.folder.with_name("again"))
        again.folder.mkdir()
        left = _run(name, again)
    return left


def _run(name: str, asked: Asked) -> Watched:
    """Start a tool once.

    Never before all else (``chrt -f``): services that wait busily for each other never end so.
    Where the benchmark is, they have the most of what is not that (``nice -n -20``).
    """
    peer, said = PEERS[name], asked.folder / "said.txt"
    command = peer.command(asked, _folder(name) / "bin")
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        command = ["chrt", "--other", "0", "nice", "-n", "-20", *command]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    env |= {"TIMES": str(asked.folder / "times.bin"), "HF_HOME": str(asked.folder / "hf")}
    env |= {"HF_HUB_OFFLINE": "1"} if peer.offline else {}
    with (
        said.open("wb") as file,
        subprocess.Popen(  # noqa: S603  # fixed commands
            command,
            cwd=asked.folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        watch = _Watch(process.pid)
        end = time.monotonic() + asked.seconds + peer.lead_s
        try:
            while process.poll() is None and time.monotonic() < end:
                watch.look()
                time.sleep(_LOOK_S)
        finally:  # Ctrl-C does not reach it; services that outlived it end as well
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    entries = {entry.number: entry for entry in peer.entries(asked)}
    words = said.read_text("utf-8", "replace").strip()[-300:]
    return Watched(entries, watch.used, watch.memory_mb, words)
