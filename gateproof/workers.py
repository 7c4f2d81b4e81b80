"""Who took part in a load of several processes or hosts, and who died: ``workers.json``.

The master writes it (``loadtests.spread``): ``{"expected": count, "died": [{"worker", "how"}],
"clocks_off_s": {worker: seconds}}``. A run that lost a worker put less load on the target than was
planned, so it is never valid; what the worker had sent is in the figures.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["read_workers", "worker_limits", "worker_notes"]


def read_workers(folder: Path) -> Mapping[str, Any] | None:
    """Read who took part; None for a load of one process, and for what cannot be read."""
    try:
        row = json.loads((folder / "workers.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return row if isinstance(row, dict) else None


def worker_limits(workers: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Judge the workers as a row of the verdict; none for a load of one process."""
    if workers is None:
        return []
    died, expected = list(workers.get("died") or []), workers.get("expected")
    named = ", ".join(f"{row.get('worker')} {row.get('how')}" for row in died)
    return [
        {
            "name": "workers that died",
            "unit": f"of {expected}",
            "limit": 0,
            "got": len(died),
            "ok": not died,
            "why": "a worker that is gone puts no load on the target",
            "so": f"{len(died)} of {expected} workers died ({named}); what they had sent is kept, "
            "and from then on the load was smaller than planned",
            "change": "see why, and run it again",
        }
    ]


def worker_notes(workers: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Tell of clocks that do not agree, since hosts begin by them and are put together by them."""
    off = (workers or {}).get("clocks_off_s") or {}
    if not off:
        return ()
    named = ", ".join(f"{name} by {seconds:g} s" for name, seconds in sorted(off.items()))
    says = (
        f"The clocks of hosts differ from the master's: {named}. Arrivals and series of these "
        "workers are shifted by as much; latencies are not, since each is of one clock."
    )
    return (says,)
