"""How wrong the generator's own times are on this machine, now: a short run against the responder.

Strategy: the process that makes the load, with the same client, the same reader of answers and the
same event loop, reads for a second as many streams as are planned (or were carried) from a
responder in a process beside it, which logs when it really sent each token. Both clocks are one
clock, so every difference is the error of this generator: of each token's time stamp, of TTFT and
of the gaps.

Rules. It runs before the load and after it, never beside it. What comes out says as well how many
streams there were, at what gap. A stream's last answer is cut off at the end: its tokens count.
"""

import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from pathlib import Path
from time import monotonic_ns, process_time_ns
from typing import Any, Final

import gevent
from gevent.pool import Group

from gateproof.sample import ErrorKind, Sample

from .answer import Answer
from .responder import Entry, read_log
from .stream import Client, Limits

__all__ = ["MOST_STREAMS", "Calibrator", "calibrate", "fetch_log", "running_responder"]

MOST_STREAMS: Final = 4000
"""More than the responder can serve on time with 50 tokens/s each."""

_SECONDS: Final = 0.6
_GAP_MS: Final = 20.0
_MOST_CHUNKS_PER_S: Final = 50_000
"""Where the target's pace is not known yet: what one generator process carries anywhere."""

_TTFT_MS: Final = 40
_TOKENS: Final = 16
_BODY: Final = b'{"messages":[{"content":"gp-00000000-%010d"}]}'
_LIMITS: Final = Limits(connect_s=5.0, first_byte_s=5.0, idle_s=5.0, total_s=10.0)


@dataclass(frozen=True, slots=True)
class _Ask:
    """One request to the responder."""

    data: bytes

    def answer(self, sample: Sample) -> Answer:
        """Read it as a streamed chat is read."""
        return Answer(sample)


class Calibrator:
    """Calibrates one generator process before its load and after it, into its folder."""

    def __init__(self, folder: Path | None, *, off: bool) -> None:
        self._path = None if folder is None else folder / f"calibration.{os.getpid()}.json"
        self._off = off
        self._rows: dict[str, Any] = {}
        if off:
            self._write(skipped="it was not to be measured")

    def before(self, streams: int) -> None:
        """Read as many streams as are planned; nobody knows yet how fast the target's are."""
        gap_ms = max(_GAP_MS, 1e3 * streams / _MOST_CHUNKS_PER_S)
        self._run("before", streams, gap_ms)

    def after(self, client: Client, seconds: float) -> None:
        """Read as many streams as there were at most, as fast as all of them came."""
        gap_ms = _GAP_MS
        if client.outputs:
            gap_ms = 1e3 * client.most_active * seconds / client.outputs
        self._run("after", client.most_active, min(max(gap_ms, 2.0), 100.0))

    def _run(self, time: str, streams: int, gap_ms: float) -> None:
        if self._path is not None and not self._off:
            self._write(**{time: calibrate(streams, round(gap_ms, 3))})

    def _write(self, **rows: Any) -> None:
        if self._path is not None:
            self._rows |= rows
            self._path.write_text(json.dumps(self._rows, indent=1) + "\n", "utf-8")


@contextmanager
def running_responder(*arguments: str, program: Sequence[str] = ()) -> Iterator[str]:
    """Run the responder, or another program that does its job, and give its address."""
    program = program or (str(Path(__file__).with_name("responder.py")),)
    # -I and -S: no site, no variables; it starts in half the time, and nothing can get into it.
    command = [sys.executable, "-I", "-S", *program, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603  # ours
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield str(json.loads(process.stdout.readline())["url"])
        finally:
            process.stdin.close()


def calibrate(streams: int, gap_ms: float = 20.0, seconds: float = _SECONDS) -> dict[str, Any]:
    """Measure the generator's own error while it reads that many streams.

    Gives ``streams, gap_ms, seconds, chunks_per_s, cpu_share, requests, failed`` and, each with
    ``n, p50, p99, max`` in ms, ``stamp_error_ms`` (a token's time stamp, less when it was sent),
    ``ttft_error_ms`` (TTFT as measured here, less as the responder knows it) and ``itl_error_ms``
    (the same of each gap between tokens, without its sign).
    """
    streams = min(max(streams, 1), MOST_STREAMS)
    try:
        with running_responder() as url:
            run = _Run(url, gap_ms)
            seen = run.go(streams, seconds)
            entries = {entry.number: entry for entry in read_log(fetch_log(url))}
    except (OSError, ValueError) as error:
        return {"streams": streams, "gap_ms": gap_ms, "failure": f"it could not be run: {error}"}
    return seen | _errors(run.answers, entries)


def fetch_log(url: str) -> bytes:
    """Take the responder's log; over TLS, SSL_CERT_FILE names its certificate."""
    scheme, _, authority = url.partition("://")
    host, _, port = authority.partition(":")
    with ExitStack() as held:
        sock = held.enter_context(socket.create_connection((host, int(port)), timeout=60))
        if scheme == "https":
            tls = ssl.create_default_context()
            sock = held.enter_context(tls.wrap_socket(sock, server_hostname=host))
        sock.sendall(b"GET /log HTTP/1.1\r\n\r\n")
        data = bytearray()
        while part := sock.recv(1 << 20):
            data += part
    return bytes(data.partition(b"\r\n\r\n")[2])


class _Run:
    """One calibration run: streams that ask again and again until the time is over."""

    def __init__(self, url: str, gap_ms: float) -> None:
        self.answers: list[tuple[Sample, Sequence[int]]] = []
        self._client = Client(url, _LIMITS)
        length = len(_BODY % 0)
        paced = f"/ttft={_TTFT_MS}/itl={gap_ms:g}/tokens={_TOKENS}/v1/chat/completions"
        self._gap_ms = gap_ms
        self._head = self._client.head(paced, "", length)
        self._warm = self._client.head("/ttft=0/itl=0/tokens=1/spread=0/v1", "", length)
        self._number = 0
        self._end_ns = 0
        self._failed = 0

    def go(self, streams: int, seconds: float) -> dict[str, Any]:
        """Connect all streams first, then read for that long."""
        warm = Group()
        for _ in range(streams):
            warm.spawn(self._client.send, _Ask(self._warm + _BODY % 0), Sample(), lambda _: None)
        warm.join()
        start_ns, cpu_ns = monotonic_ns(), process_time_ns()
        self._end_ns = start_ns + round(seconds * 1e9)
        group = Group()
        for place in range(streams):
            # Not all at once: what begins together stays together, which no target's streams do.
            group.start(gevent.Greenlet(self._stream, self._gap_ms / 1e3 * place / streams))
        group.join(seconds)
        group.kill()
        wall_ns = monotonic_ns() - start_ns
        cpu_ns = process_time_ns() - cpu_ns
        self._client.close()
        chunks = sum(len(stamps) for _, stamps in self.answers)
        return {
            "streams": streams,
            "gap_ms": self._gap_ms,
            "seconds": round(wall_ns / 1e9, 3),
            "chunks_per_s": round(chunks / (wall_ns / 1e9)),
            "cpu_share": round(cpu_ns / wall_ns, 4),
            "requests": len(self.answers),
            "failed": self._failed,
        }

    def _stream(self, wait_s: float) -> None:
        """Ask again and again."""
        gevent.sleep(wait_s)
        while monotonic_ns() < self._end_ns:
            self._number += 1
            ask = _Ask(self._head + _BODY % self._number)
            self._client.send(ask, Sample(number=self._number), self._record)

    def _record(self, answer: Answer) -> None:
        """Keep an answer's times."""
        if answer.sample.error in {ErrorKind.NONE, ErrorKind.UNFINISHED}:
            self.answers.append((answer.sample, answer.stamps))
        else:
            self._failed += 1


def _errors(
    answers: Sequence[tuple[Sample, Sequence[int]]], entries: dict[int, Entry]
) -> dict[str, Any]:
    """Compare the times of both sides, request by request."""
    stamps_ns: list[int] = []
    ttfts_ns: list[int] = []
    gaps_ns: list[int] = []
    for sample, stamps in answers:
        entry = entries.get(sample.number)
        if entry is None or not stamps:
            continue
        sends = entry.sends
        late = [at - sent for at, sent in zip(stamps, sends, strict=False)]
        stamps_ns += late
        gaps_ns += [abs(after - before) for before, after in pairwise(late)]
        ttfts_ns.append((stamps[0] - sample.sent_ns) - (sends[0] - entry.read_ns))
    return {
        "stamp_error_ms": spread_ms(stamps_ns),
        "ttft_error_ms": spread_ms(ttfts_ns),
        "itl_error_ms": spread_ms(gaps_ns),
    }


def spread_ms(values_ns: list[int]) -> dict[str, Any]:
    """Give n, median, p99 (the maximum while there are fewer than 100) and maximum."""
    if not values_ns:
        return {"n": 0, "p50": None, "p99": None, "max": None}
    values_ns.sort()
    count = len(values_ns)

    def at(share: float) -> float:
        return round(values_ns[min(ceil(share * count), count) - 1] / 1e6, 4)

    return {"n": count, "p50": at(0.5), "p99": at(0.99), "max": at(1.0)}


if __name__ == "__main__":  # what this machine's generator is worth, by hand
    arguments = [float(value) for value in sys.argv[1:4]] or [100.0]
    got = calibrate(int(arguments[0]), *arguments[1:])
    sys.stdout.write(json.dumps(got, indent=1) + "\n")
