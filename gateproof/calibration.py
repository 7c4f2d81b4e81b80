"""What the generator's calibration says: its own error on this machine, and whether it is too much.

Strategy: each generator process measures itself against the bundled responder before the load and
after it, and writes ``calibration.<worker>.json``; this module joins those files, the worst of all
workers at each time, and turns them into rows of the verdict and sentences for its reader.

Rules. The error that is judged is that of time stamps (a token's stamp, less when it was sent): it
is in TTFT and in every gap, and is the generator's alone. TTFT and ITL errors stand beside it: in
them is also how long the responder left a request unread. What was asked for and is not there, is
not good. The joined form, kept in ``load.json``::

    workers           how many processes were calibrated
    skipped           why there was none, or absent
    before, after     {"streams", "gap_ms", "chunks_per_s", "cpu_share", "requests", "failed",
                      "stamp_error_ms", "ttft_error_ms", "itl_error_ms":
                      {"n", "p50", "p99", "max"}}, or {"failure": sentence}; absent if it never was
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

__all__ = ["calibration_limits", "calibration_says", "read_calibration"]

TIMES: Final = ("before", "after")
# The same bound as for the loop's lag: 2 ms is this tool's promise for TTFT (p99), and 5 % of the
# median TTFT is an error that no conclusion should turn on.
_FLOOR_MS: Final = 2.0
_SHARE: Final = 0.05


def read_calibration(folder: Path) -> dict[str, Any] | None:
    """Join the calibrations of all workers of a run; None when there is no word of any."""
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("calibration*.json")):
        try:
            row = json.loads(path.read_text("utf-8"))
        except ValueError:  # torn
            row = {}
        rows.append(row if isinstance(row, dict) else {})
    if not rows:
        return None
    joined: dict[str, Any] = {"workers": len(rows)}
    skipped = [row["skipped"] for row in rows if row.get("skipped")]
    if skipped:
        return joined | {"skipped": skipped[0]}
    for time in TIMES:
        own = [row.get(time) for row in rows]
        if all(isinstance(one, dict) for one in own):
            joined[time] = max((one for one in own if one), key=_badness)
    return joined


def _badness(run: Mapping[str, Any]) -> float:
    """Order calibrations: what failed is worse than any error."""
    p99 = _p99(run)
    return float("inf") if p99 is None else p99


def _p99(run: Mapping[str, Any] | None, name: str = "stamp_error_ms") -> float | None:
    """Give an error's p99; None when it was not measured."""
    value = ((run or {}).get(name) or {}).get("p99")
    return None if value is None else float(value)


def calibration_limits(
    calibration: Mapping[str, Any] | None, ttft_p50_ms: float | None
) -> list[dict[str, Any]]:
    """Judge the calibrations as rows of the verdict; none where there was to be none."""
    if calibration is None or calibration.get("skipped"):
        return []
    limit = round(max(_FLOOR_MS, _SHARE * (ttft_p50_ms or 0.0)), 3)
    rows = []
    for time in TIMES:
        run = calibration.get(time)
        got = _p99(run)
        why = f"the larger of {_FLOOR_MS:g} ms and {_SHARE:.0%} of the median TTFT: "
        if run is None:
            why += f"the generator was to read the responder {time} the load, and did not"
        elif got is None:
            why += f"{run.get('failure', 'no token of the responder was read')} ({time} the load)"
        else:
            why += (
                f"by so much time stamps of {run['streams']} streams from the bundled responder, "
                f"at {run['gap_ms']:g} ms between tokens, were late {time} the load"
            )
        rows.append(
            {
                "name": f"calibrated error p99 {time} the load",
                "unit": "ms",
                "limit": limit,
                "got": got,
                "ok": got is not None and got <= limit,
                "why": why,
            }
        )
    return rows


def calibration_says(calibration: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Say what the generator's own error is, or that nobody measured it."""
    if calibration is None:
        return ()
    if calibration.get("skipped"):
        return (f"The generator's own error is unknown: {calibration['skipped']}.",)
    said = []
    for time in TIMES:
        run = calibration.get(time) or {}
        stamp, ttft, itl = (
            _p99(run, name) for name in ("stamp_error_ms", "ttft_error_ms", "itl_error_ms")
        )
        if stamp is not None:
            parts = [f"{stamp:.3g} ms of a time stamp"]
            parts += [f"{ttft:.3g} ms of TTFT"] if ttft is not None else []
            parts += [f"{itl:.3g} ms of a gap"] if itl is not None else []
            said.append(f"{time} the load {', '.join(parts)} ({run['streams']} streams)")
    if not said:
        return ()
    return (f"The generator's own error here (p99): {'; '.join(said)}.",)
