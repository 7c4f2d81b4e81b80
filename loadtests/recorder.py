"""What one generator process writes: samples, its own lag, and a line about itself each second.

Strategy: a request costs one packed record and two of Locust's events; everything else happens once
a second. The lag gauge is an alarm every 10 ms: how late it rings is how late a time stamp may be.

Rules. Samples reach the disk within a second, so a crash loses no more. Evidence of failures is
kept for the first few of each kind, without the key. Without a folder nothing is written, and
Locust's own statistics still work.
"""

import gc
import json
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic_ns
from typing import IO, TYPE_CHECKING, Any, Final

import gevent

from gateproof.histogram import Histogram
from gateproof.plan import LoadPlan
from gateproof.sample import ErrorKind, LagWriter, SampleWriter

from .hot import COMPILED
from .pace import Alarm
from .page import TTFT
from .reply import Reply

if TYPE_CHECKING:
    from gateproof.budget import Meter

__all__ = ["Recorder", "RequestFailed"]

_COLLECT: Final = (20_000, 20, 500)
"""When to look for cycles: answers leave none, and a look at all of them takes 30 ms at 1,000."""

_TICK_NS: Final = 10 * 10**6
_EVIDENCE: Final = 20  # failures of a kind whose words are kept


class RequestFailed(Exception):  # Locust shows it as what happened
    """A request that failed; few different texts, so that Locust can count them."""


class Recorder:
    """Records the answers of one process, from ``start`` to ``close``."""

    def __init__(
        self,
        plan: LoadPlan,
        folder: Path | None,
        fire: Callable[..., None],
        *,
        titles: Sequence[str],
        secrets: Sequence[str] = (),
        progress: bool = False,
        tell: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self._say = tell or _print
        self._plan = plan
        self._fire = fire
        self._titles = tuple(titles)
        self._secrets = tuple(secrets)
        self._progress = progress
        self._samples: SampleWriter | None = None
        self._lag: LagWriter | None = None
        self._notes: IO[str] | None = None
        self._evidence: IO[str] | None = None
        worker = str(os.getpid())
        if folder is not None:
            self._samples = SampleWriter(folder, worker)
            self._lag = LagWriter(folder, worker)
            self._notes = (folder / f"generator.{worker}.jsonl").open("a", encoding="utf-8")
            self._evidence = (folder / f"failures.{worker}.jsonl").open("a", encoding="utf-8")
        self._start_ns = self._tick_ns = self._stop_ns = 0
        self._alarm: Alarm | None = None
        self._seconds: Any = None
        self._kinds: Counter[int] = Counter()
        self._ttft = Histogram()  # of the last second
        self._answered = self._failed = self._late_max_ns = self._waits = self._waited_ns = 0
        self._tokens = self._cpu_ns = self._cpu_at_ns = 0
        self.started = 0
        """How many requests have begun."""
        self.meter: Meter | None = None
        """What is spent of the budget, where there is one."""

    def start(self, at_ns: int = 0) -> None:
        """Begin: note the plan and the clocks, and start the gauge; the load starts at a time."""
        gc.collect()
        gc.freeze()  # what is here now stays; a full collection would stop the loop for long
        gc.set_threshold(*_COLLECT)
        self._start_ns = at_ns or monotonic_ns()
        self.note(
            kind="start",
            at_ns=self._start_ns,
            wall_ns=time.time_ns(),
            plan=self._plan.as_json(),
            python=sys.version.split()[0],
            gevent=gevent.__version__,
            compiled=COMPILED,
        )
        self._tick()
        self._tick_ns = self._start_ns + _TICK_NS
        self._alarm = Alarm(self._ring)
        self._alarm.set(self._tick_ns)
        self._seconds = gevent.spawn(self._each_second)

    def record(self, answer: Reply) -> None:
        """Record a finished answer, and tell Locust."""
        sample = answer.sample
        if self._samples is not None:
            self._samples.add(sample, answer.stamps)
        kind, due_ns = sample.error, sample.due_ns
        if kind == ErrorKind.UNFINISHED:
            return
        first_ns = answer.stamps[0] if answer.stamps else 0
        self._tokens += len(answer.stamps)
        failed = None
        if kind:
            self._failed += 1
            failed = self._failure(answer)
        else:
            self._answered += 1
            if first_ns:  # an answer in one piece has no first token
                self._ttft.add(first_ns - due_ns)
        name = self._titles[sample.work]
        about = {"context": {}, "response_length": 0}
        if first_ns and failed is None:
            ttft_ms = (first_ns - due_ns) / 1e6
            self._fire(request_type=TTFT, name=name, response_time=ttft_ms, exception=None, **about)
        self._fire(
            request_type="answer",
            name=name,
            response_time=(sample.end_ns - due_ns) / 1e6,
            exception=failed,
            **about,
        )

    def waited(self, for_ns: int) -> None:
        """Count a user that stood back after a 429, as long as it was told."""
        self._waits += 1
        self._waited_ns += for_ns

    def stopping(self) -> None:
        """Note the end of the offered load; what runs may still finish."""
        self._stop_ns = self._stop_ns or monotonic_ns()

    def close(self) -> None:
        """Write what is left; the stop line says that the run was whole."""
        self.stopping()
        if self._alarm is not None:
            self._alarm.close()
        if self._seconds is not None:
            self._seconds.kill(block=False)
        self._tick()
        if self._waits:
            self.note(
                kind="waits",
                at_ns=monotonic_ns(),
                count=self._waits,
                seconds=round(self._waited_ns / 1e9, 3),
            )
        self.note(kind="stop", at_ns=self._stop_ns)
        for file in (self._samples, self._lag, self._notes, self._evidence):
            if file is not None:
                file.close()
        self._samples = self._lag = self._notes = self._evidence = None

    def _failure(self, answer: Reply) -> RequestFailed:
        """Name a failure for Locust, and keep the words of the first few of each kind."""
        sample = answer.sample
        kind = ErrorKind(sample.error).name.lower().replace("_", "-")
        self._kinds[sample.error] += 1
        if self._evidence is not None and self._kinds[sample.error] <= _EVIDENCE:
            says = answer.says
            for secret in self._secrets:
                says = says.replace(secret, "[secret]")
            row = {"kind": kind, "status": sample.status, "number": sample.number}
            row |= {"at_ns": sample.end_ns, "says": says}
            self._evidence.write(json.dumps(row) + "\n")
            self._evidence.flush()
        return RequestFailed(f"{kind} ({sample.status})" if sample.status else kind)

    def _ring(self) -> None:
        """Note how late this tick is, and those that it made late with it."""
        now_ns = monotonic_ns()
        while self._tick_ns <= now_ns:
            late_ns = now_ns - self._tick_ns
            if self._lag is not None:
                self._lag.add(self._tick_ns, late_ns)
            self._late_max_ns = max(self._late_max_ns, late_ns)
            self._tick_ns += _TICK_NS
        if self._alarm is not None:
            self._alarm.set(self._tick_ns)

    def _each_second(self) -> None:
        """Write a line each second, on the second."""
        number = 0
        while True:
            number += 1
            gevent.sleep(max((self._start_ns + number * 10**9 - monotonic_ns()) / 1e9, 0))
            self._tick()

    def _tick(self) -> None:
        """Write a line about this process, and put everything on the disk."""
        now_ns = monotonic_ns()
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu_ns = round((used.ru_utime + used.ru_stime) * 1e9)
        self.note(kind="tick", at_ns=now_ns, cpu_ns=cpu_ns, rss_kb=_rss_kb(used.ru_maxrss))
        for file in (self._samples, self._lag):
            if file is not None:
                file.flush()
        if self._progress and now_ns > self._start_ns + 10**8:
            self._tell(now_ns, cpu_ns)
        self._cpu_ns, self._cpu_at_ns = cpu_ns, now_ns
        self._ttft = Histogram()
        self._late_max_ns = 0

    def _tell(self, now_ns: int, cpu_ns: int) -> None:
        """Print the line of progress: counts since the start, and the last second's TTFTs."""
        median_ns = self._ttft.quantile(0.5)
        line: dict[str, object] = {
            "progress_s": round((now_ns - self._start_ns) / 1e9, 1),
            "worker": os.getpid(),
            "active": self.started - self._answered - self._failed,
            "answered": self._answered,
            "failed": self._failed,
            "tokens": self._tokens,
            "kinds": {
                ErrorKind(kind).name.lower().replace("_", "-"): count
                for kind, count in self._kinds.items()
            },
            "ttft_p50_ms": None if median_ns is None else round(median_ns / 1e6, 2),
            "ttft": self._ttft.as_json(),
            "lag_max_ms": round(self._late_max_ns / 1e6, 2),
            "cpu_share": round((cpu_ns - self._cpu_ns) / max(now_ns - self._cpu_at_ns, 1), 2),
        }
        if self.meter is not None:
            line |= {"spent_requests": self.meter.requests, "spent_tokens": self.meter.tokens}
            line["spent_usd"] = float(self.meter.usd)
        self._say(line)

    def note(self, **row: object) -> None:
        """Append a line to the notes."""
        if self._notes is not None:
            self._notes.write(json.dumps(row) + "\n")
            self._notes.flush()


def _print(line: Mapping[str, Any]) -> None:
    """Write a line of progress for whoever started this process."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _rss_kb(most: int) -> int:
    """Give the memory in use; ``most``, the kernel's maximum, begins with the parent's."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except OSError:
        return most
    return pages * resource.getpagesize() // 1024
