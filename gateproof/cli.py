"""The command line: what each verb takes. What it does is in ``gateproof.commands``, loaded late.

Exit status: 0 every MUST that the profile claims passed or is waived; 1 findings, a stale waiver or
a partial run; 2 usage; 3 the target was never reached; 4 our own error; 5 a budget was spent;
130 interrupted.
"""

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from gateproof import __version__
from gateproof.errors import GateproofError
from gateproof.loadfile import OPTIONS

__all__ = ["main", "parser"]

EXIT_STATUS = """\
exit status:
  0  every MUST that the profile claims passed or is waived
  1  findings, a stale waiver, or a partial run
  2  the command or a file is wrong
  3  the target was never reached
  4  an error of gateproof's own
  5  a budget was spent before the plan was done
130  interrupted (Ctrl-C); what was recorded until then is kept"""
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command."""
    top = argparse.ArgumentParser(
        prog="gateproof",
        description="Tells whether an LLM gateway keeps its promises, and how much it can carry.",
        epilog=EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"gateproof {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str, says: str, example: str) -> argparse.ArgumentParser:
        return verbs.add_parser(
            name,
            help=says,
            description=says[0].upper() + says[1:] + ".",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    audit = verb(
        "audit",
        "conformance and a short load run, then one report",
        "gateproof audit --target http://127.0.0.1:4000/v1 --profile openai --key-env MY_KEY",
    )
    _target_options(audit)
    _run_options(audit)
    _audit_load_options(audit)
    audit.add_argument(
        "--faults", default="", help="faults of the bundled server, when it is audited: A+B"
    )

    conform = verb(
        "conform",
        "run the conformance suites against a target",
        "gateproof conform --target http://127.0.0.1:4000/v1 --profile openai --key-env MY_KEY",
    )
    _target_options(conform)
    _run_options(conform)

    judge = verb(
        "judge", "judge a recorded run again, offline, with today's checks", "gateproof judge RUN"
    )
    judge.add_argument("run", type=Path, help="a run folder")
    judge.add_argument("--out", type=Path, help="folder for the new run (default: beside the old)")
    judge.add_argument("--check", action="append", default=[], help="a check id or its beginning")
    judge.add_argument("--json", action="store_true", help="print results as JSON lines")

    load = verb(
        "load",
        "run a load scenario against a target",
        "gateproof load chat-open --target http://127.0.0.1:8080/v1 --rate 20 --seconds 30",
    )
    _of_load(load)

    serve = verb(
        "serve",
        "start the reference server, as a gateway or as an upstream",
        "gateproof serve --port 8080 --profile openai --ttft-ms 200 --itl-ms 20",
    )
    serve.add_argument("rest", nargs=argparse.REMAINDER, help="see `gateproof serve -- --help`")

    prove = verb(
        "prove",
        "the kill matrix: each fault against each check, and the legal oddities",
        "gateproof prove --fault drop-done",
    )
    prove.add_argument("--profile", help="one profile (default: all that the kill list has)")
    prove.add_argument("--fault", action="append", default=[], help="only this fault or oddity")
    prove.add_argument("--check", action="append", default=[], help="a check id or its beginning")
    prove.add_argument("--json", action="store_true", help="print the matrix as JSON")
    prove.add_argument("--matrix", action="store_true", help="print the whole matrix")

    report = verb("report", "write the report of a recorded run anew", "gateproof report RUN")
    report.add_argument("run", type=Path, help="a run folder")
    report.add_argument("--csv", action="store_true", help="write load samples as samples.csv too")

    listing = verb("list", "list what there is", "gateproof list checks --profile osmapi")
    listing.add_argument(
        "what",
        choices=("checks", "requirements", "scenarios", "profiles", "groups", "faults", "loads"),
    )
    listing.add_argument("--profile", help="as seen by this profile")
    listing.add_argument("--json", action="store_true", help="print JSON")

    explain = verb(
        "explain",
        "one check, requirement, scenario, profile or fault in full",
        "gateproof explain sse.done-terminator",
    )
    explain.add_argument("id")
    explain.add_argument("--profile", default="openai", help="as seen by this profile")

    init = verb(
        "init",
        "write a commented gateproof.toml after probing a target",
        "gateproof init http://127.0.0.1:4000/v1 --profile openai --key-env MY_KEY",
    )
    init.add_argument("url")
    init.add_argument("--name", default="local", help="the target's name in the file")
    init.add_argument("--profile", default="openai")
    init.add_argument("--key-env", help="variable that holds the key")
    init.add_argument("--out", type=Path, default=Path("gateproof.toml"))
    return top


def _target_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--target", help="a name in gateproof.toml, or a base URL")
    verb.add_argument("--config", type=Path, help="the gateproof.toml to read")
    verb.add_argument("--profile", help="what the target claims to be (see `gateproof list`)")
    verb.add_argument("--key-env", help="name of the variable that holds the key")
    verb.add_argument("--model", help="model to ask for")
    verb.add_argument("--upstream", help="URL of a reference server that the target forwards to")
    verb.add_argument("--upstream-models", help="model name that reaches it, with {name} in it")
    verb.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        help="the only origins that secrets may go to, and that load may go to",
    )


def _of_load(load: argparse.ArgumentParser) -> None:
    load.add_argument("scenario", help="a name of `gateproof list loads`, or a .toml file")
    _target_options(load)
    load.add_argument("--out", type=Path, help="run folder, made when it is missing")
    _load_options(load)
    load.add_argument(
        "--web", action="store_true", help="show Locust's own page on this machine; Ctrl-C ends it"
    )
    load.add_argument("--json", action="store_true", help="print the summary as JSON")


def _load_options(verb: argparse.ArgumentParser) -> None:
    _calibration_option(verb)
    group = verb.add_argument_group("instead of what the scenario's file says")
    for option in OPTIONS:
        says = option.says.replace("%", "%%")
        group.add_argument(option.flag, dest=option.dest, metavar=option.metavar, help=says)
    verb.add_argument(
        "--processes", type=_positive, default=1, help="generator processes that share the load"
    )
    verb.add_argument(
        "--for-rate",
        type=_rate,
        metavar="R",
        help="of a search: how many replicas so many requests a second need",
    )
    verb.add_argument(
        "--verbose", action="store_true", help="tell the progress where no terminal is, too"
    )


def _audit_load_options(audit: argparse.ArgumentParser) -> None:
    audit.add_argument("--users", type=_positive, default=20, help="concurrent streams of the load")
    audit.add_argument("--seconds", type=_positive, default=5, help="length of the load run")
    audit.add_argument("--no-load", action="store_true", help="conformance only")
    _calibration_option(audit)


def _calibration_option(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--no-calibration",
        action="store_true",
        help="do not measure the generator's own error before the load and after it (2 s)",
    )


def _run_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--with",
        dest="groups",
        action="append",
        default=[],
        metavar="GROUP[,GROUP]",
        help="opt in to what costs more or changes the account (see `gateproof list groups`)",
    )
    verb.add_argument(
        "--plan-key",
        action="append",
        default=[],
        metavar="PLAN=VARIABLE",
        help="a further key, of another plan or tier, by the variable that holds it",
    )
    verb.add_argument(
        "--login", metavar="USER:VARIABLE", help="a user, and the variable with the password"
    )
    verb.add_argument(
        "--retry-5xx",
        type=_patience,
        default=0,
        metavar="N",
        help="ask again up to N times after a 500 or 503, waiting longer each time (default: 0)",
    )
    verb.add_argument(
        "--budget",
        metavar="requests=N,tokens=N,usd=X",
        help="the most that the run may spend; when it is spent nothing more is asked",
    )
    verb.add_argument("--check", action="append", default=[], help="a check id or its beginning")
    verb.add_argument("--out", type=Path, help="run folder (default: gateproof-runs/…)")
    verb.add_argument("--seed", type=int, default=0, help="seed of the generated requests")
    verb.add_argument(
        "--cases", type=_positive, default=30, help="generated requests per generative scenario"
    )
    verb.add_argument("--allow-partial", action="store_true", help="accept inconclusive MUSTs")
    verb.add_argument("--json", action="store_true", help="print summary.json instead of text")


def _positive(text: str) -> int:
    value = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= value <= 100_000:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 to 100000")
    return value


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def _patience(text: str) -> int:
    value = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= value <= 10:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to 10")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["serve"]:
        given = ["serve", "--", *given[1:]] if given[1:2] not in (["--help"], ["-h"]) else given
    try:
        args = parser().parse_args(given)
        module = importlib.import_module(f"gateproof.commands.{args.verb}")
        run: Callable[[argparse.Namespace], int] = module.run
        status = run(args)
        sys.stdout.flush()  # here, where a reader that has gone is no error
        return status  # noqa: TRY300  # what follows are the ways in which it may not come to this
    except GateproofError as error:
        sys.stderr.write(f"gateproof: {error}\n")
        return error.exit_status
    except KeyboardInterrupt:
        sys.stderr.write("\ngateproof: interrupted.\n")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone; what was asked for is done.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:  # noqa: BLE001  # whatever is left is our own bug, which has a status too
        traceback.print_exc()
        sys.stderr.write("gateproof: this is an error of gateproof's own; please report it.\n")
        return 4
