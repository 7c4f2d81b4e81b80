"""What the load generator adds to what it measures, and how much it carries; beside other clients.

    python benchmarks/load_client.py                      all parts, medians of five runs: an hour
    python benchmarks/load_client.py --part accuracy      one part
    python benchmarks/load_client.py --peers aiperf,locust   beside other tools as well
    python benchmarks/load_client.py --peers guidellm,inference-perf   (6 GB, and 0.8 GB)
    python benchmarks/load_client.py --smoke              a quarter of a minute: it works

Ours is the whole generator, started as ``gateproof load`` starts it: Locust, the client, samples on
the disk. It loads the responder of ``loadtests/responder.py``, which logs when it really sent each
token, by turns with a bare asyncio client that parses the same events (``raw_client.py``) and with
one that parses nothing (``floor_client.py``: what so many reads cost in Python at all). Client
and responder share one clock, and requests are joined by the number in their prompts, so that

- TTFT error is the client's TTFT less the responder's (first token sent, less request read);
- stamp error is a token's time stamp less the time of its ``send``: what the TTFT error is without
  the time for which a request lay unread in a busy responder's socket;
- ITL error is the same for each gap between tokens, without its sign.

Users come evenly over 1.5 s, as long as an answer lasts, so that streams are spread over time; the
first wave of requests is left out. The part ``ladder`` asks for the most chunks a second that can
be carried (``steady_per_s``, in the second half of a run): there users come over 4.5 s, and the
responder is compiled, since in Python it writes less than ours reads.

Machine noise (p99 of how late a timer of an idle process is) stands beside each row and bounds what
can be measured. On a machine that does other work, run it as root under ``chrt -f 5``. Prints n,
medians and spread over the repeats, and each bar with the ratio to it; ``--write FILE`` keeps that
as Markdown.
"""

# ruff: noqa: INP001, T201  # a script, not a package; it prints

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic_ns
from typing import Any, Final

import load_peers
import numpy as np
from gateproof.loadtests import responder as responder_module
from gateproof.loadtests.calibrate import fetch_log, running_responder
from gateproof.loadtests.responder import Entry, read_log
from load_figures import BARE, FLOOR, Bench, Row, markdown
from load_tools import PEERS, Asked
from numpy.typing import NDArray

from gateproof.loadrun import LoadRun, run_load
from gateproof.plan import LoadPlan, Stage
from gateproof.sample import ErrorKind, read_samples

TOKENS: Final = 64
PACED: Final = f"ttft=200/itl=20/tokens={TOKENS}"
NO_DELAY: Final = "ttft=0/itl=0/spread=0/tokens=64"
LADDER_RAMP_S: Final = 4.5  # thousands of connections a second would be another measurement
SHORT: Final = "ttft=20/itl=2/tokens=16"
MS: Final = 1e6


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client saw of one run: entries as the responder's, and what it cost."""

    entries: dict[int, Entry]  # when sent, and the time stamps of tokens until the end of the load
    requests: int
    cpu_s: float
    rss_mb: float
    seconds: float


def compiled_responder(folder: Path) -> tuple[str, ...]:
    """Compile the responder as it is, and tell how it is run: it writes half as much again."""
    shutil.copy2(responder_module.__file__, folder / "quick_responder.py")
    command = [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "-3", "-q"]
    subprocess.run([*command, "quick_responder.py"], cwd=folder, check=True)  # noqa: S603  # ours
    (folder / "quick_responder.py").unlink()
    return (
        "-c",
        f"import sys; sys.path.append({str(folder)!r}); import quick_responder as r; r.main()",
    )


@contextlib.contextmanager
def responder(*arguments: str, apart: bool = True, program: Sequence[str] = ()) -> Iterator[str]:
    """Run the responder on the last processor, and (``apart``) what loads it on the others."""
    both = sorted(os.sched_getaffinity(0))
    if len(both) > 1:
        os.sched_setaffinity(0, both[-1:])  # a child inherits it
    try:
        with running_responder(*arguments, program=program) as url:
            os.sched_setaffinity(0, both[:-1] if apart and len(both) > 1 else both)
            yield url
    finally:
        os.sched_setaffinity(0, both)


def noise_ms(seconds: float = 0.5) -> float:
    """Give the p99 lateness of a timer in a process that does nothing else."""
    late, due = [], monotonic_ns()
    end = due + round(seconds * 1e9)
    while due < end:
        due += 2_000_000
        time.sleep(max(due - monotonic_ns(), 0) / 1e9)
        late.append((monotonic_ns() - due) / MS)
    return float(np.percentile(late, 99))


def notes(folder: Path) -> list[Row]:
    """Read what the generator noted: its start, its seconds, its stop."""
    return [
        json.loads(line)
        for path in folder.glob("generator.*.jsonl")
        for line in path.read_text("utf-8").splitlines()
    ]


def ours(url: str, plan: Mapping[str, Any], folder: Path) -> Seen:
    """Load with gateproof."""
    given: dict[str, Any] = {"scenario": "benchmark", "arrivals": "closed", "drain_s": 3.0}
    plan = LoadPlan(**given | {"target": f"{url}/v1", "model": "responder"} | dict(plan))
    summary = run_load(LoadRun(plan, folder, calibrate=False))
    if summary.requests["failed"]:
        print(f"    {summary.requests['failed']} failed: {summary.errors[:2]}")
    rows = notes(folder)
    start_ns, end_ns = (
        next(row["at_ns"] for row in rows if row["kind"] == kind) for kind in ("start", "stop")
    )
    ticks = [row for row in rows if row["kind"] == "tick"]
    inside = [row for row in ticks if row["at_ns"] <= end_ns + 10**7]
    ticks = inside if len(inside) > 1 else ticks  # a run of less than a second
    samples = read_samples(folder)
    entries = {}
    for row in samples.records:
        if row["error"] in {ErrorKind.NONE, ErrorKind.UNFINISHED} and row["sent_ns"]:
            at, sent = int(row["stamps_at"]), int(row["sent_ns"])
            stamps = samples.stamps[at : at + int(row["deltas"])].astype(np.int64) * 1000 + sent
            entry = Entry(int(row["number"]), sent, stamps[stamps < end_ns])
            entries[entry.number] = entry
    # CPU is known at each second; requests and tokens are of the whole time.
    share = (ticks[-1]["cpu_ns"] - ticks[0]["cpu_ns"]) / (ticks[-1]["at_ns"] - ticks[0]["at_ns"])
    seconds = (end_ns - start_ns) / 1e9
    answered = summary.requests["answered"]
    return Seen(entries, answered, share * seconds, summary.generator["rss_mb"], seconds)


def raw(url: str, streams: int, bench: Bench, folder: Path, name: str = "raw_client.py") -> Seen:
    """Load with the bare client, or with another script that takes and writes the same."""
    script, out = str(Path(__file__).with_name(name)), folder / "raw.bin"
    seconds = bench.ramp_s + bench.seconds
    times = [str(bench.ramp_s), str(seconds)]
    done = subprocess.run(  # noqa: S603  # our own script
        [sys.executable, script, f"{url}/v1", str(streams), *times, str(out)],
        stdout=subprocess.PIPE,
        check=True,
    )
    about = json.loads(done.stdout)
    entries = {entry.number: entry for entry in read_log(out.read_bytes())}
    return Seen(entries, about["requests"], about["cpu_s"], about["rss_mb"], seconds)


def percentiles(values: NDArray[np.float64], name: str) -> Row:
    """Give median, p99 and maximum in ms under names that begin with ``name``."""
    if not len(values):
        return {f"{name}_{at}": None for at in ("p50", "p99")}
    p50, p99 = (round(float(np.percentile(values, at)) / MS, 4) for at in (50, 99))
    return {f"{name}_p50": p50, f"{name}_p99": p99}


def compare(seen: Seen, true: Mapping[int, Entry], first: int) -> Row:
    """Give the errors of a client's times, from request ``first`` on."""
    ttft, late, gaps = [], [], []
    all_ns = np.sort(
        np.concatenate([np.asarray(one.sends) for one in seen.entries.values()] or [[]])
    )
    chunks = len(all_ns)
    for number, entry in seen.entries.items():
        sent = true.get(number)
        if number < first or sent is None or not len(entry.sends):
            continue
        many = min(len(entry.sends), len(sent.sends))
        error = np.asarray(entry.sends[:many], np.int64) - np.asarray(sent.sends[:many], np.int64)
        late.append(error)
        gaps.append(np.abs(np.diff(error)))
        ttft.append((entry.sends[0] - entry.read_ns) - (sent.sends[0] - sent.read_ns))
    row: Row = {"n": len(ttft)}
    row |= percentiles(np.asarray(ttft, np.float64), "ttft_ms")
    first_stamps = np.asarray([one[0] for one in late], np.float64)
    row |= percentiles(first_stamps, "first_ms")
    row |= percentiles(np.concatenate(late) if late else first_stamps, "stamp_ms")
    row |= percentiles(np.concatenate(gaps) if gaps else first_stamps, "itl_ms")
    return row | {
        "chunks_per_s": round(chunks / seen.seconds),
        "steady_per_s": round(_second_half(all_ns)),
        "cpu_s_per_100k": round(seen.cpu_s / max(chunks, 1) * 1e5, 3),
        "rss_mb": round(seen.rss_mb, 1),
        "requests_per_s": round(seen.requests / seen.seconds, 1),
    }


def _second_half(all_ns: NDArray[Any]) -> float:
    """Give how many a second came in the second half of the time in which all of them came."""
    if len(all_ns) < 2:
        return 0.0
    half_ns = (all_ns[-1] - all_ns[0]) / 2
    return float((all_ns > all_ns[-1] - half_ns).sum() / half_ns * 1e9)


def pair(bench: Bench, part: str, script: str, streams: int, *, first: int | None = None) -> None:
    """Measure both clients by turns, each against a responder that has just started."""
    tls = ("--tls", bench.certificate) if part.startswith("tls") else ()
    wave = streams if first is None else first
    stages = (Stage(bench.ramp_s, streams, ramp=True), Stage(bench.seconds, streams))
    closed = {"stages": stages, "duration_s": bench.ramp_s + bench.seconds, "drain_s": 0.0}
    clients: dict[str, Callable[[str, Path], Seen]] = {
        "gateproof": lambda url, folder: ours(url, closed, folder),
        BARE: lambda url, folder: raw(url, streams, bench, folder),
    }
    if script == PACED and not tls:
        clients[FLOOR] = lambda url, folder: raw(url, streams, bench, folder, "floor_client.py")
    for _ in range(bench.repeats):
        for name, client in clients.items():
            with (
                tempfile.TemporaryDirectory() as folder,
                responder(*tls, program=bench.program) as url,
            ):
                seen = client(f"{url}/{script}", Path(folder))
                true = {entry.number: entry for entry in read_log(fetch_log(url))}
            row = compare(seen, true, wave)
            bench.add(part, name, row | {"noise_ms": round(noise_ms(), 3)})


def peers(bench: Bench, names: list[str], streams: int) -> None:
    """Measure other generators as ours and the bare client were; they may use all processors."""
    for _ in range(bench.repeats):
        for name in names:
            with tempfile.TemporaryDirectory() as folder, responder(apart=False) as url:
                begun = monotonic_ns()
                seconds = bench.ramp_s + bench.seconds
                asked = Asked(
                    f"{url}/{PACED}", streams, bench.ramp_s, seconds, Path(folder) / "run"
                )
                left = load_peers.run_peer(name, asked)
                took_s = (monotonic_ns() - begun) / 1e9
                log = list(read_log(fetch_log(url)))
            true = {entry.number: entry for entry in log}
            order = [entry.number for entry in sorted(log, key=lambda entry: entry.read_ns)]
            later = {n: left.entries[n] for n in order[streams:] if n in left.entries}
            if not later:
                print(
                    f"  {name} left no record of {streams} streams in {took_s:.0f} s: {left.said}"
                )
                continue
            # What was sent in the time of these: some tools keep no token's time.
            ends = (
                min(true[number].read_ns for number in later),
                max(true[number].sends[-1] for number in later),
            )
            sends = np.concatenate([np.asarray(entry.sends[:TOKENS]) for entry in log])
            chunks = int(((sends >= ends[0]) & (sends <= ends[1])).sum())
            lasted_s = (ends[1] - ends[0]) / 1e9
            cpu_s = float(np.diff(np.interp(ends, *np.transpose(left.used)))[0])
            row = compare(Seen(later, len(later), cpu_s, left.memory_mb, lasted_s), true, -1)
            row["chunks_per_s"] = round(chunks / lasted_s)
            row["cpu_s_per_100k"] = round(cpu_s / chunks * 1e5, 3)
            blind = PEERS[name].unlike
            row |= dict.fromkeys([key for key in row if blind and key.startswith(blind)])
            row |= {
                "steady_per_s": None,
                "took_s": round(took_s, 1),
                "noise_ms": round(noise_ms(), 3),
            }
            bench.add(f"accuracy-{streams}", name, row)


def open_arrivals(bench: Bench, rate: float) -> None:
    """Measure how far arrivals are from their time: when sent, and when the responder had them."""
    for arrivals in ("constant", "poisson")[: 1 if bench.seconds < 1 else 2]:
        for _ in range(bench.repeats):
            with tempfile.TemporaryDirectory() as name, responder() as url:
                folder = Path(name)
                plan = {"arrivals": arrivals, "rate_per_s": rate, "duration_s": bench.seconds}
                ours(f"{url}/{SHORT}", plan | {"warm_up_s": 0.2}, folder)
                true = {entry.number: entry for entry in read_log(fetch_log(url))}
                rows = read_samples(folder).records
            rows = rows[rows["number"] >= rate / 2]  # half a second: connections are made
            sent = (rows["sent_ns"] - rows["due_ns"]).astype(np.float64)
            seen = [true[int(n)].read_ns - int(due) for n, due in
                    zip(rows["number"], rows["due_ns"], strict=True) if int(n) in true]  # fmt: skip
            row: Row = {"n": len(rows)} | percentiles(sent, "sent_ms")
            row |= percentiles(np.asarray(seen, np.float64), "arrived_ms")
            bench.add(f"open-{arrivals}", "gateproof", row | {"noise_ms": round(noise_ms(), 3)})


def start_up(bench: Bench) -> None:
    """Measure how long the generator takes from its start to its first request."""
    for _ in range(bench.repeats):
        with tempfile.TemporaryDirectory() as folder, responder() as url:
            begun_ns = monotonic_ns()
            seen = ours(f"{url}/{SHORT}", {"users": 1, "duration_s": 0.3}, Path(folder))
            first = min(entry.read_ns for entry in read_log(fetch_log(url)))
        row = {"first_request_s": round((first - begun_ns) / 1e9, 3), "rss_mb": seen.rss_mb}
        bench.add("start-up", "gateproof", row)


def million(bench: Bench, requests: int) -> None:
    """Make so many short requests: how memory goes, and what one leaves beside its token stamps."""
    with tempfile.TemporaryDirectory() as name, responder("--no-log") as url:
        folder = Path(name)
        plan = LoadPlan(
            "benchmark",
            "closed",
            f"{url}/ttft=0/itl=0/spread=0/tokens=2/v1",
            "responder",
            users=50,
            duration_s=max(requests / 1000, 10.0),  # the budget ends it, at several times the pace
            budget={"requests": requests},
        )
        summary = run_load(LoadRun(plan, folder, calibrate=False))
        rows = notes(folder)
        size = sum(
            path.stat().st_size
            for path in folder.rglob("*")
            if path.is_file() and not path.name.startswith(("stamps.", "load.json"))
        )
    start_ns, end_ns = (
        next(row["at_ns"] for row in rows if row["kind"] == kind) for kind in ("start", "stop")
    )
    ticks = [row["rss_kb"] for row in rows if row["kind"] == "tick"]
    tenth = max(len(ticks) // 10, 1)
    made = summary.requests["answered"] + summary.requests["failed"]
    row: Row = {
        "requests": made,
        "failed": summary.requests["failed"],
        "seconds": round((end_ns - start_ns) / 1e9, 1),
        "requests_per_s": round(made / (end_ns - start_ns) * 1e9),
        "rss_mb_after_a_tenth": round(statistics.median(ticks[tenth : 2 * tenth]) / 1024, 1),
        "rss_mb_at_the_end": round(statistics.median(ticks[-tenth:]) / 1024, 1),
        "bytes_a_request": round(size / max(made, 1), 1),
    }
    row["rss_grown_mb"] = round(row["rss_mb_at_the_end"] - row["rss_mb_after_a_tenth"], 1)
    bench.add("million", "gateproof", row)


def certificate(folder: Path) -> str:
    """Make a certificate that every client here trusts; empty without openssl."""
    path = folder / "loopback.pem"
    command = "openssl req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
    more = ["-subj", "/CN=benchmark", "-addext", "subjectAltName=IP:127.0.0.1"]
    try:
        made = subprocess.run(  # noqa: S603  # a fixed command
            [*command.split(), *more, "-keyout", "-", "-out", "-"], capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    path.write_bytes(made.stdout)
    os.environ["SSL_CERT_FILE"] = str(path)
    return str(path)


def main() -> None:
    """Measure what is asked, and print it."""
    parts = ("accuracy", "ladder", "no-delay", "tls", "open", "start-up", "million")
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--part", action="append", choices=parts, help="only these; repeatable")
    parser.add_argument("--streams", default="50,200,500,1000,2000", help="of the part accuracy")
    parser.add_argument("--ladder", default="2500,3000,3500", help="streams of the part ladder")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each run")
    parser.add_argument("--requests", type=int, default=1_000_000, help="of the part million")
    parser.add_argument("--peers", default="", help=", ".join(PEERS) + ": beside accuracy")
    parser.add_argument("--write", type=Path, help="keep the result as Markdown")
    parser.add_argument("--smoke", action="store_true", help="only show that it works")
    options = parser.parse_args()
    chosen = options.part or [part for part in parts if part != "million"]
    names = [name for name in options.peers.split(",") if name]
    load_peers.prepare(names)
    bench = Bench(options.repeats, options.seconds)
    streams, ladder, rate = options.streams.split(","), options.ladder.split(","), 400.0
    if options.smoke:
        bench.repeats, bench.seconds, bench.ramp_s = 1, 0.8, 0.2
        streams, ladder, rate = ["5"], [], 40.0
        chosen = options.part or ["accuracy", "no-delay", "open", "start-up"]
    with tempfile.TemporaryDirectory() as folder:
        bench.certificate = certificate(Path(folder)) if "tls" in chosen else ""
        for count in streams if "accuracy" in chosen else ():
            once = replace(bench, repeats=1)  # of the same rows: all clients by turns
            for _ in range(bench.repeats):
                script = SHORT if options.smoke else PACED
                pair(once, f"accuracy-{count}", script, int(count))
                peers(once, names, int(count))
        if "ladder" in chosen:
            steep = replace(bench, ramp_s=LADDER_RAMP_S, program=compiled_responder(Path(folder)))
            for count in ladder:
                pair(steep, f"ladder-{count}", PACED, int(count))
        if "no-delay" in chosen:
            pair(bench, "no-delay", NO_DELAY, 50)
        if "tls" in chosen and bench.certificate:
            for count in ("500", "2000"):
                pair(bench, f"tls-{count}", PACED, int(count))
            pair(bench, "tls-no-delay", NO_DELAY, 50)
        if "open" in chosen:
            open_arrivals(bench, rate)
        if "start-up" in chosen:
            start_up(bench)
        if "million" in chosen:
            million(bench, options.requests)
    text = markdown(bench)
    print(text)
    if options.write:
        options.write.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
