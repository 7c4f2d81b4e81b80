"""Who took part in a load of several processes or hosts, and who died: ``workers.json``.

The master writes it (``loadtests.spread``): ``{"expected": count, "died": [{"worker", "how"}],
"wall_ns": when the load began, "clocks": {worker: readings}}``, where a reading is ``{"at_ns",
"ahead_ns", "within_ns"}`` (``gateproof.clocks``).

A run that lost a worker put less load on the target than was
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
    """Tell how well the clocks of other hosts are known, since their times are read by it."""
    known = {
        name: min(row["within_ns"] for row in rows) / 1e6
        for name, rows in sorted(((workers or {}).get("clocks") or {}).items())
        if rows
    }
    away = [
        f"{name} to within {within_ms:.3g} ms" for name, within_ms in known.items() if within_ms
    ]
    if not away:
        return ()
    says = (
        "The times of workers on other hosts are read on the clock of the host that leads, which "
        f"was compared with theirs over the network: {', '.join(away)}. Series and the order of "
        "arrivals rest on it; latencies do not, since each is of one clock."
    )
    return (says,)
