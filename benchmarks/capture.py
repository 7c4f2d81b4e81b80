"""A load run held to a packet capture of it: when requests left, when tokens came, and TTFT.

    sudo python benchmarks/capture.py                      200 requests a second for 5 s
    sudo python benchmarks/capture.py --rate 400 --seconds 10

For sceptics. tcpdump writes down every packet between the generator and the reference server, on
loopback; then each request is found in it again by the reference in its prompt, and each token by
the event that holds it: its time is that of the packet that brought the event's last byte. What the
load run said of the same requests stands beside it, as errors in milliseconds:

- sent: when the run says that a request was sent, less when its first packet was seen;
- due: how long after its time a request was seen (arrivals are Poisson);
- ttft: the run's TTFT, less that of the capture, from the request's packet to the first token's;
- stamp: each token's time stamp, less its packet's time.

The capture's clock is the wall clock, and the run's the monotonic one: the offset between them is
read before and after, and how far it moved is told. Needs root, Linux and tcpdump.
"""

# ruff: noqa: INP001, T201  # a script, not a package; it prints

import argparse
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import numpy as np

from gateproof.bundled import DEMO_KEY_ENV, bundled_server
from gateproof.loadrun import LoadRun, run_load
from gateproof.plan import LoadPlan
from gateproof.sample import ErrorKind, read_samples

_NUMBER: Final = re.compile(rb"gp-[0-9a-f]{8}-([0-9]{10})")
_EVENT: Final = re.compile(rb'data: (\{.*"content": ?"[^"].*\})\r?\n\r?\n')
_NANO: Final = 0xA1B23C4D  # the file's first word: times are in nanoseconds


@dataclass(slots=True)
class Spoken:
    """One request and its answer, as the capture has them: bytes, and where each packet ended."""

    number: int
    sent_ns: int
    data: bytearray = field(default_factory=bytearray)
    ends: list[int] = field(default_factory=list)
    times_ns: list[int] = field(default_factory=list)

    def tokens_ns(self) -> list[int]:
        """Give when the last byte of each event with content came."""
        ends = np.asarray(self.ends)
        places = [found.end() for found in _EVENT.finditer(bytes(self.data))]
        return [self.times_ns[int(np.searchsorted(ends, place))] for place in places]


def packets(path: Path) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Read TCP packets with data: time (ns), source, destination, sequence number, data."""
    data = path.read_bytes()
    if struct.unpack_from("<I", data)[0] != _NANO:
        raise SystemExit(f"{path} is no capture with times in nanoseconds.")
    place = 24
    while place + 16 <= len(data):
        seconds, nanos, size, _ = struct.unpack_from("<IIII", data, place)
        packet = data[place + 16 + 14 : place + 16 + size]  # behind the Ethernet header
        place += 16 + size
        if len(packet) < 40 or packet[0] >> 4 != 4:
            continue
        tcp = (packet[0] & 15) * 4
        source, target, sequence = struct.unpack_from(">HHI", packet, tcp)
        length = struct.unpack_from(">H", packet, 2)[0] or len(packet)
        body = packet[tcp + (packet[tcp + 12] >> 4) * 4 : length]
        if body:
            yield seconds * 10**9 + nanos, source, target, sequence, body


def spoken(path: Path, port: int) -> dict[int, Spoken]:
    """Find every request and its answer in a capture."""
    found: dict[int, Spoken] = {}
    now: dict[int, Spoken] = {}
    seen: set[tuple[int, int, int]] = set()
    for at_ns, source, target, sequence, body in packets(path):
        if (source, target, sequence) in seen:  # sent again, or captured twice
            continue
        seen.add((source, target, sequence))
        if target == port:
            number = _NUMBER.search(body)
            if number is not None:
                now[source] = found[int(number[1])] = Spoken(int(number[1]), at_ns)
        elif source == port and target in now:
            one = now[target]
            one.data += body
            one.ends.append(len(one.data))
            one.times_ns.append(at_ns)
    return found


def offset_ns() -> int:
    """Give the wall clock's time less the monotonic clock's, read together."""
    looks = []
    for _ in range(50):
        before = time.monotonic_ns()
        wall = time.time_ns()
        after = time.monotonic_ns()
        looks.append((after - before, wall - (before + after) // 2))
    return min(looks)[1]


def told(name: str, errors_ns: list[int]) -> None:
    """Print a line of figures."""
    values = np.asarray(errors_ns) / 1e6
    p1, p50, p99 = np.percentile(values, (1, 50, 99))
    most = values[np.argmax(np.abs(values))]
    print(f"  {name:6} n {len(values):7}  p1 {p1:8.4f}  p50 {p50:8.4f}  p99 {p99:8.4f}  "
          f"largest {most:8.4f} ms")  # fmt: skip


def measure(folder: Path, rate: float, seconds: float) -> None:
    """Make the run and the capture, and hold one to the other."""
    capture = folder / "loopback.pcap"
    with bundled_server(["--ttft-ms", "50", "--itl-ms", "5"]) as server:
        port = urlsplit(server.url).port
        assert port is not None
        command = ["tcpdump", "-i", "lo", "-n", "-B", "131072", "--time-stamp-precision=nano"]
        dump = subprocess.Popen(  # noqa: S603  # a fixed command
            [*command, "-Z", "root", "-w", str(capture), "tcp", "port", str(port)],
            stderr=subprocess.PIPE,
        )
        assert dump.stderr is not None
        dump.stderr.readline()  # it listens
        before = offset_ns()
        plan = LoadPlan(
            "capture",
            "poisson",
            f"{server.url}/v1",
            "gpt-4o-mini",
            rate_per_s=rate,
            duration_s=seconds,
        )
        run_load(LoadRun(plan, folder / "run", key_env=DEMO_KEY_ENV, calibrate=False))
        after = offset_ns()
        time.sleep(2)  # tcpdump gets the last packets with a delay of its own
        dump.send_signal(signal.SIGINT)
        lost = dump.stderr.read().decode()
        dump.wait()
    wall = (before + after) // 2
    found = spoken(capture, port)
    samples = read_samples(folder / "run")
    sent, due, ttft, stamp, unlike = [], [], [], [], 0
    rows = [row for row in samples.records if row["error"] == ErrorKind.NONE]
    for row in rows:
        seen = found.get(int(row["number"]))
        if seen is None:
            continue
        at, tokens = int(row["stamps_at"]), seen.tokens_ns()
        own = samples.stamps[at : at + int(row["deltas"])].astype(np.int64) * 1000
        own += int(row["sent_ns"]) + wall
        sent.append(int(row["sent_ns"]) + wall - seen.sent_ns)
        due.append(seen.sent_ns - wall - int(row["due_ns"]))
        if len(own) != len(tokens):
            unlike += 1
            continue
        ttft.append(int(own[0]) - int(row["sent_ns"]) - wall - (tokens[0] - seen.sent_ns))
        stamp += (own - tokens).tolist()
    print(f"{len(rows)} good answers, {len(sent)} of them in the capture; "
          f"{unlike} with another number of tokens than there.")  # fmt: skip
    print(f"Clocks moved {(after - before) / 1e6:.4f} ms against each other. "
          f"tcpdump: {', '.join(lost.split(chr(10))[:3])}.")  # fmt: skip
    for name, errors in (("sent", sent), ("due", due), ("ttft", ttft), ("stamp", stamp)):
        told(name, errors)


def main() -> None:
    """Measure, in a folder that goes away."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    if shutil.which("tcpdump") is None:
        sys.exit("tcpdump is not installed: it makes the capture.")
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.rate, options.seconds)


if __name__ == "__main__":
    main()
