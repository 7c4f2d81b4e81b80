"""Start the bundled reference server as a process of its own, and end it again."""

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateproof.errors import GateproofError

__all__ = ["DEMO_KEY", "DEMO_KEY_ENV", "Bundled", "bundled_server", "fault_table"]

DEMO_KEY = "sk-gateproof-demo"  # the reference server's own demo key, which opens nothing else
DEMO_KEY_ENV = "GATEPROOF_DEMO_KEY"
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Bundled:
    """A running reference server."""

    url: str
    pid: int


def fault_table() -> list[dict[str, str]]:
    """Return the reference server's table of faults, oddities and behaviours."""
    done = subprocess.run(  # our own module, and no word of a user's in it
        [sys.executable, "-m", "gateproof.reference_server", "--list-faults", "--json"],
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise GateproofError(f"The reference server does not list its faults: {done.stderr}")
    table: list[dict[str, str]] = json.loads(done.stdout)
    return table


@contextlib.contextmanager
def bundled_server(options: Sequence[str] = ()) -> Iterator[Bundled]:
    """Run the reference server on a free loopback port until the block ends.

    It also ends when this process dies, because its standard input closes. The demo key stands in
    the environment meanwhile, so that a target can name it like any other.
    """
    noise = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed below, when the process is over
    process = subprocess.Popen(  # noqa: S603  # our own module, and options of our own making
        [
            sys.executable,
            "-m",
            "gateproof.reference_server",
            "--port",
            "0",
            "--exit-with-stdin",
            *options,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=noise,
        text=True,
    )
    try:
        assert process.stdout is not None
        readable, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
        line = process.stdout.readline() if readable else ""
        try:
            ready = json.loads(line)
        except ValueError:
            process.kill()
            process.wait()
            noise.seek(0)
            told = noise.read().strip()
            raise GateproofError(
                f"The reference server did not start: {told or line or 'it said nothing'}"
            ) from None
        os.environ.setdefault(DEMO_KEY_ENV, DEMO_KEY)
        yield Bundled(ready["url"], ready["pid"])
    finally:
        process.terminate()
        try:
            process.communicate(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        noise.close()
