"""``gateproof load`` of a scenario with ``[limits]``: what it may spend, and what it found."""

import contextlib
import sys

from gateproof.limitlab.result import text_of
from gateproof.limitsrun import announce, read_found, run_limits
from gateproof.live import Live
from gateproof.loadrun import LoadRun
from gateproof.run import Run, RunWriter
from gateproof.summary import safe

__all__ = ["limits_into", "told_limits"]


def limits_into(writer: RunWriter, run: LoadRun, place: str, live: Live) -> tuple[int, str]:
    """Look for rate limits and add what was found to the run file; return the status, and why.

    After Ctrl-C what was found until then is added, and KeyboardInterrupt goes on.
    """
    sys.stderr.write(announce(run) + "\n")
    name = run.plan.scenario
    try:
        found = run_limits(run, live.take)
    except KeyboardInterrupt:
        with contextlib.suppress(OSError, ValueError):
            writer.limits(name, place, read_found(run.out_dir))
        writer.note("The look for limits was interrupted; it tells what was found until then.")
        raise
    finally:
        live.close()
    writer.limits(name, place, found)
    return int(found["exit"]), "; ".join(found["findings"]) or found["stopped"]


def told_limits(run: Run) -> str:
    """Return what was found, as lines for a terminal."""
    lines = text_of(run.limits[-1]["summary"]).splitlines()
    return "\n".join(map(safe, lines)) + "\n\n"
