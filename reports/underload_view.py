"""What is told of the answers that were kept under load, and of the checks judged on them.

It is read defensively, as all of a load summary is. Whether a finding comes with load only stands
in the reason of its result; the wire under it is with the findings of the whole run.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateproof.summary import told

__all__ = ["UnderLoadRow", "UnderLoadView", "underload_view"]

_ORDER = ("error", "fail", "untestable", "warn", "departs", "info", "inconclusive", "waived")


@dataclass(frozen=True, slots=True)
class UnderLoadRow:
    """One check that did not simply pass."""

    check: str
    anchor: str
    verdict: str
    wanted: str
    got: str
    reason: str


@dataclass(frozen=True, slots=True)
class UnderLoadView:
    """The checks that were judged under load, as they are told."""

    sentence: str
    tone: str
    judged: tuple[tuple[str, int], ...]
    set_aside: tuple[tuple[str, int], ...]
    rows: tuple[UnderLoadRow, ...]
    passed: tuple[str, ...]
    cross_talk: str


def underload_view(
    load: Mapping[str, Any], results: Sequence[Mapping[str, Any]]
) -> UnderLoadView | None:
    """Read what a ``load`` row and the results of its case say; ``None`` when nothing was kept."""
    summary = load.get("summary")
    about = summary.get("conformance") if isinstance(summary, Mapping) else None
    if not isinstance(about, Mapping):
        return None
    case = f"load/{load.get('scenario')}"
    own = [row for row in results if row["case"] == case]
    shown = [(_verdict(row), row) for row in own]
    rows = [_row(verdict, row) for verdict, row in shown if verdict != "pass"]
    rows.sort(key=lambda row: (_ORDER.index(row.verdict), row.check))
    kept = about.get("kept")
    broken = sum(verdict == "fail" for verdict, _ in shown)
    answers = told(kept, "sampled answer") if isinstance(kept, int) else "sampled answers"
    talk = next((row for row in own if row["check"] == "load.cross-talk"), None)
    return UnderLoadView(
        sentence=f"{told(len(own), 'check')} judged on {answers} while load was on: "
        + (f"{told(broken, 'promise')} broken." if broken else "no promise broken."),
        tone="bad" if any(v in ("fail", "error", "untestable") for v, _ in shown) else "good",
        judged=_counts(about.get("judged")),
        set_aside=_counts(about.get("set_aside")),
        rows=tuple(rows),
        passed=tuple(str(row["check"]) for verdict, row in shown if verdict == "pass"),
        cross_talk=str(talk.get("seen") or "") if talk is not None else "",
    )


def _verdict(row: Mapping[str, Any]) -> str:
    verdict = "waived" if row.get("waiver") else str(row["verdict"])
    return verdict if verdict in (*_ORDER, "pass") else "error"


def _row(verdict: str, row: Mapping[str, Any]) -> UnderLoadRow:
    check = str(row["check"])
    anchor = f"{verdict}-" + re.sub(r"[^A-Za-z0-9._-]", "_", check)
    fields = (str(row.get(name) or "") for name in ("wanted", "got", "reason"))
    return UnderLoadRow(check, anchor, verdict, *fields)


def _counts(value: object) -> tuple[tuple[str, int], ...]:
    if not isinstance(value, Mapping):
        return ()
    return tuple((str(name), count) for name, count in value.items() if isinstance(count, int))
