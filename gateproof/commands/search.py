"""The capacity search inside ``gateproof load``: its progress line, its row, its exit status."""

from collections.abc import Callable, Mapping
from typing import Any

from gateproof.kneerun import Found, run_search
from gateproof.loadrun import LoadRun
from gateproof.run import RunWriter

__all__ = ["BUDGET_SPENT", "search_into"]

BUDGET_SPENT = 5  # the exit status of a run that its budget ended
_GOOD = ("found", "never-broke")


def search_into(
    writer: RunWriter,
    run: LoadRun,
    place: str,
    tell: Callable[[str], None],
    rate_per_s: float | None,
) -> tuple[Found, int, str]:
    """Search inside a run folder and add what is found; give it, the exit status and why.

    After Ctrl-C what was found until then is added, and KeyboardInterrupt goes on.
    """
    scenario = run.plan.scenario

    def told(line: str, row: Mapping[str, Any]) -> None:
        tell(
            f"{line}: {row['progress_s']:.0f} s, {row['active']} active, "
            f"{row['answered']} answered, {row['failed']} failed"
        )

    written: list[Mapping[str, Any]] = []
    try:
        found = run_search(run, told, rate_per_s, written.append)
    except KeyboardInterrupt:
        tell("")
        if written:
            writer.search(scenario, place, written[-1])
        writer.note("The search was interrupted; it tells what its steps until then say.")
        raise
    tell("")
    writer.search(scenario, place, found.summary)
    if found.stop.outcome == "budget":
        return found, BUDGET_SPENT, found.stop.why
    if found.stop.outcome in _GOOD:
        return found, 0, ""
    return found, 1, f"the search ended without a knee: {found.stop.why}"
