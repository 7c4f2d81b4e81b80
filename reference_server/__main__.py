"""The command line: ``python -m gateproof.reference_server --port 0``.

Prints one JSON line when it listens, then serves until it is told to stop (SIGTERM, SIGINT, or the
end of its standard input with ``--exit-with-stdin``). Wrong options end it with status 2.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence

import uvloop

from .app import listing
from .connection import Settings
from .errors import OptionError
from .faults import parse
from .limits import ALGORITHMS, read_limit
from .profiles import PROFILES
from .server import Options, calm_collector, listen
from .workers import lead

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gateproof.reference_server",
        description="A gateway that keeps its promises, and breaks them one at a time on request.",
        epilog="example: python -m gateproof.reference_server --port 8080 --itl-ms 20",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port; 0 takes a free one (default)")
    parser.add_argument(
        "--profile", default="openai", help=f"profile at /v1: {', '.join(PROFILES)} (%(default)s)"
    )
    parser.add_argument("--ttft-ms", type=float, default=0, help="time to the first token")
    parser.add_argument("--itl-ms", type=float, default=0, help="time between tokens")
    parser.add_argument("--jitter-ms", type=float, default=0, help="seeded delay added to tokens")
    parser.add_argument(
        "--with", dest="behaviours", action="append", default=[], metavar="NAME[+NAME...]",
        help="faults, oddities or behaviours of every answer",
    )  # fmt: skip
    parser.add_argument(
        "--slots", type=int, default=0,
        help="how many answers of models each process plays at a time; the others wait in order, "
        "so that its capacity is slots / time of an answer; 0 sets no bound (default)",
    )  # fmt: skip
    parser.add_argument("--limit-rpm", type=int, default=0, help="requests a minute for each key")
    parser.add_argument(
        "--limit", dest="limits", action="append", default=[], metavar="LIMIT",
        help="as requests=60/60s,algorithm=sliding-log,scope=key or tokens=40000/1m; algorithms: "
        f"{', '.join(ALGORITHMS)}; scopes: key, model, account",
    )  # fmt: skip
    parser.add_argument(
        "--clock-scale", type=int, default=1,
        help="how much faster the clock of the limits runs; 60 makes a minute a second",
    )  # fmt: skip
    parser.add_argument(
        "--state", default=":memory:", metavar="FILE",
        help="keep accounts, keys, usage and balances in this file (in memory)",
    )  # fmt: skip
    parser.add_argument(
        "--max-body-bytes", type=int, default=8 * 1024 * 1024, help="larger bodies get a 413"
    )
    parser.add_argument(
        "--journal-bytes", type=int, default=32 * 1024 * 1024,
        help="memory for the journal; 0 keeps none (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--lunos-completions", choices=("lunos", "openai"), default="lunos",
        help="whose envelope Lunos' text completions have (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--lunos-models", choices=("array", "data", "list"), default="array",
        help="the form of Lunos' list of models (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--exit-with-stdin", action="store_true", help="stop when standard input ends"
    )
    parser.add_argument(
        "--workers", type=int, default=1,
        help="processes on the port, each with rate limits of its own (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--list-faults", action="store_true", help="print the faults, oddities and behaviours"
    )
    parser.add_argument("--json", action="store_true", help="with --list-faults: as JSON")
    return parser


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _print_listing(*, as_json: bool) -> None:
    rows = listing()
    if as_json:
        _say(json.dumps(rows, indent=1))
        return
    for kind in ("fault", "oddity", "behaviour"):
        chosen = [row for row in rows if row["kind"] == kind]
        _say(f"{kind} ({len(chosen)})")
        for row in chosen:
            parameter = f" [{row['parameter']}]" if row["parameter"] else ""
            _say(f"  {row['name']:<32} {row['says']}{parameter}")


def _options(arguments: argparse.Namespace) -> Options:
    if arguments.profile not in PROFILES:
        raise OptionError(f"Unknown profile {arguments.profile!r}. Known: {', '.join(PROFILES)}.")
    for name in ("ttft_ms", "itl_ms", "jitter_ms", "slots", "limit_rpm", "max_body_bytes",
                 "journal_bytes"):  # fmt: skip
        value = getattr(arguments, name)
        if not 0 <= value < 1e12:
            raise OptionError(f"--{name.replace('_', '-')} is 0 or more, not {value}.")
    if not 1 <= arguments.clock_scale <= 100_000:
        raise OptionError(f"--clock-scale is 1 to 100000, not {arguments.clock_scale}.")
    if not 1 <= arguments.workers <= 256:
        raise OptionError(f"--workers is 1 to 256, not {arguments.workers}.")
    if not 0 <= arguments.port <= 65_535:
        raise OptionError(f"--port is 0 to 65535, not {arguments.port}.")
    texts = tuple(text for group in arguments.behaviours for text in group.split("+"))
    if arguments.lunos_completions == "openai":
        texts = (*texts, "openai-completions")
    if arguments.lunos_models != "array":
        texts = (*texts, f"models-envelope:{arguments.lunos_models}")
    for text in texts:
        parse(text)
    return Options(
        profile=arguments.profile,
        behaviours=texts,
        ttft_ms=arguments.ttft_ms,
        itl_ms=arguments.itl_ms,
        jitter_ms=arguments.jitter_ms,
        slots=arguments.slots,
        limit_rpm=arguments.limit_rpm,
        limits=tuple(read_limit(text) for text in arguments.limits),
        clock_scale=arguments.clock_scale,
        state=arguments.state,
        journal_bytes=arguments.journal_bytes,
        settings=Settings(body_bytes=arguments.max_body_bytes),
    )


async def _serve(options: Options, host: str, port: int, *, with_stdin: bool, worker: bool) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    server = await listen(options, host, port, shared=worker)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if with_stdin or worker:

        def heard() -> None:
            try:
                said = os.read(sys.stdin.fileno(), 65_536)
            except OSError:
                said = b""
            if not said:
                loop.remove_reader(sys.stdin.fileno())
                stop.set()
            elif worker:
                server.app.peers = tuple(json.loads(said))

        loop.add_reader(sys.stdin.fileno(), heard)
    calm_collector()
    ready = {"ready": True, "url": server.url, "pid": os.getpid(), "profiles": list(PROFILES)}
    if worker:
        ready["private"] = server.private
    _say(json.dumps(ready))
    await stop.wait()
    await server.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server; return the exit status: 0 when told to stop, 2 for wrong options."""
    arguments = _parser().parse_args(argv)
    if arguments.list_faults:
        _print_listing(as_json=arguments.json)
        return 0
    try:
        options = _options(arguments)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            if arguments.workers > 1:
                return runner.run(
                    lead(
                        sys.argv[1:] if argv is None else argv,
                        arguments.workers,
                        arguments.host,
                        arguments.port,
                        in_memory=options.state == ":memory:",
                        with_stdin=arguments.exit_with_stdin,
                        say=_say,
                    )
                )
            runner.run(
                _serve(
                    options,
                    arguments.host,
                    arguments.port,
                    with_stdin=arguments.exit_with_stdin,
                    worker=arguments.worker,
                )
            )
    except OptionError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except OSError as error:
        where = f"{arguments.host}:{arguments.port}"
        sys.stderr.write(f"error: Cannot listen on {where}: {error.strerror or error}.\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
