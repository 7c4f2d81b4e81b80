"""Lets the rate-limit lab find 24 limiters of the reference server, over real sockets.

    python tests/limits_matrix.py [--jobs 3] [--seed 1] [--only token-bucket] [--tries 1]

Four algorithms, of requests and of tokens, for each key, model and account, with random limits and
windows on a clock that runs 20 times as fast. Each is to be named in kind, scope and what is
counted; the limit within one request (tokens within one request's worth), the window within 4 %, in
at most three windows. Prints a line for each; ends with status 1 when one was missed. Takes two to
three minutes, which is why no test of the usual run calls it: a few of them are in
``tests/test_limits_wire.py``.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ALGORITHMS = ("fixed-window", "sliding-log", "sliding-counter", "token-bucket")
SCALE = 20
SMALL = 14  # about the tokens of the smallest request
KEYS = {
    "FIRST_KEY": "sk-gateproof-openai-default",
    "SECOND_KEY": "sk-gateproof-openai-default-2",
    "OTHER_KEY": "sk-gateproof-demo--stranger",
}
SCENARIO = f"""\
says = "one limiter"
users = 1
[limits]
key = "FIRST_KEY"
second_key = "SECOND_KEY"
stranger_key = "OTHER_KEY"
second_model = "gpt-4o"
look_for = ["requests"]
requests = 1500
longest_window_s = 100
clock_scale = {SCALE}
"""


@dataclass(frozen=True)
class Case:
    """One limiter, and what was found of it."""

    algorithm: str
    what: str
    scope: str
    amount: int
    window_s: int

    @property
    def limit(self) -> str:
        """Return it as an option of the reference server."""
        return (
            f"{self.what}={self.amount}/{self.window_s}s,algorithm={self.algorithm},"
            f"scope={self.scope}"
        )


def cases(seed: int) -> list[Case]:
    """Draw a limit and a window for each kind."""
    draw = random.Random(seed)
    return [
        Case(
            algorithm, what, scope,
            draw.randint(8, 60) if what == "requests" else draw.randint(150, 900),
            draw.randint(45, 80),
        )
        for algorithm, what, scope in product(
            ALGORITHMS, ("requests", "tokens"), ("key", "model", "account")
        )
    ]  # fmt: skip


def look(case: Case) -> dict[str, Any]:
    """Start a server with the limiter, let the lab look at it, and return what it found."""
    environment = {**os.environ, **KEYS, "PYTHONPATH": str(ROOT)}
    serve = [
        sys.executable, "-m", "gateproof.reference_server", "--limit", case.limit,
        "--clock-scale", str(SCALE), "--exit-with-stdin",
    ]  # fmt: skip
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            serve, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as server,
    ):
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            url = json.loads(server.stdout.readline())["url"]
            scenario = Path(folder) / "one.toml"
            scenario.write_text(SCENARIO, "utf-8")
            locustfile = ROOT / "loadtests" / "locustfile.py"
            subprocess.run(
                [
                    sys.executable, "-m", "locust", "-f", str(locustfile), "--headless",
                    "--only-summary", "--loglevel", "ERROR", "--scenario", str(scenario),
                    "--host", f"{url}/v1", "--samples", folder,
                ],
                cwd=folder, env=environment, check=False, capture_output=True, timeout=120,
            )  # fmt: skip
            found: dict[str, Any] = json.loads((Path(folder) / "limits.json").read_text("utf-8"))
            return found
        finally:
            server.stdin.close()


def wrong(case: Case, found: dict[str, Any]) -> list[str]:
    """Say what of a limiter was missed."""
    if not found["limits"]:
        return ["nothing found"]
    row, missed = found["limits"][0], []
    for name, got, wanted in (
        ("what", row["what"], [case.what]),
        ("algorithm", row["algorithms"], [case.algorithm]),
        ("scope", row["scopes"], [case.scope]),
    ):
        if got != wanted:
            missed.append(f"{name} {' or '.join(got) or 'unknown'}")
    unit = 1 if case.what == "requests" else SMALL
    if not row["amount_low"] - unit <= case.amount <= row["amount_high"] + unit:
        missed.append(f"amount {row['amount_low']} to {row['amount_high']}")
    if row["window_s"] is None or abs(row["window_s"] - case.window_s) > 0.04 * case.window_s:
        missed.append(f"window {row['window_s']} s")
    if row["windows_used"] is None or row["windows_used"] > 3:
        missed.append(f"{row['windows_used']} windows")
    return missed


def main() -> int:
    """Look at every limiter; return 1 when one was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=3, help="limiters at a time (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of limits and windows (%(default)s)")
    parser.add_argument("--only", default="", help="a part of algorithm, what or scope")
    parser.add_argument("--tries", type=int, default=1, help="looks at each, at most (%(default)s)")
    args = parser.parse_args()
    begun = time.monotonic()
    chosen = left = [case for case in cases(args.seed) if args.only in case.limit]
    with ThreadPoolExecutor(args.jobs) as pool:
        for _ in range(args.tries):
            left = [
                case
                for case, found in zip(left, pool.map(look, left), strict=True)
                if not tell(case, found)
            ]
    seconds = time.monotonic() - begun
    sys.stdout.write(
        f"{len(chosen) - len(left)} of {len(chosen)} found in {seconds:.0f} s, "
        f"with at most {args.tries} looks at each\n"
    )
    return 1 if left else 0


def tell(case: Case, found: dict[str, Any]) -> bool:
    """Print what was found of a limiter; tell whether it was all of it."""
    problems = wrong(case, found)
    verdict = "MISSED " + "; ".join(problems) if problems else "found"
    row = (found["limits"] or [{}])[0]
    sys.stdout.write(
        f"{case.limit}: {verdict} ({row.get('says', '-')}; "
        f"{row.get('windows_used')} windows, {found['spent']['requests']} requests)\n"
    )
    sys.stdout.flush()
    return not problems


if __name__ == "__main__":
    sys.exit(main())
