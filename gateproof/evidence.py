"""What a load run shows of its own requests: whose answers came, and how long prompts really were.

Rules. Both are read from what the generator wrote. Evidence is counted, not assumed: an answer that
does not show its own request's reference says nothing about cross-talk, for or against.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateproof.sample import ErrorKind, Flag

__all__ = [
    "compiled_note",
    "reference_note",
    "references",
    "stamp_note",
    "waits_note",
    "word_notes",
]


def references(rows: NDArray[np.void]) -> dict[str, int]:
    """Count the answers that show their own request's reference, and the waits before requests."""
    own, waited = (rows["flags"] & int(flag) != 0 for flag in (Flag.OWN_CANARY, Flag.WAITED))
    return {
        "shown": int((own & (rows["error"] == ErrorKind.NONE)).sum()),
        "waited": int(waited.sum()),
    }


def reference_note(requests: Mapping[str, int], errors: Iterable[Mapping[str, Any]]) -> list[str]:
    """Say how strong the evidence against cross-talk is; nothing where no answer shows any."""
    mixed = sum(row["count"] for row in errors if row["kind"] == "cross-talk")
    if not requests["shown"] and not mixed:
        return []
    foreign = f"{mixed} held another request's" if mixed else "none held another request's"
    note = (
        f"Each prompt asks for its own reference: {requests['shown']} of {requests['answered']} "
        f"answers showed it, and {foreign}."
    )
    return [note]


def waits_note(requests: Mapping[str, int]) -> list[str]:
    """Say how many requests came behind a wait that a refusal had asked for."""
    if not requests["waited"]:
        return []
    note = (
        f"{requests['waited']} requests were sent after the wait that a Retry-After had "
        "asked for: the load offered was less by that time."
    )
    return [note]


def stamp_note(by_kernel: Collection[bool]) -> list[str]:
    """Say whose the time stamps are, by what each worker noted; nothing of a run cut short."""
    if not by_kernel:
        return []
    if all(by_kernel):
        note = (
            "Time stamps are the kernel's, of when the bytes came in: a packet capture shows the "
            "same, and they hold where the generator read late."
        )
    else:
        note = (
            "The kernel did not say when bytes came in: time stamps are of when the generator "
            "read them, and late by as much as its loop was."
        )
    return [note]


def compiled_note(*, compiled: bool) -> list[str]:
    """Say when answers were read without the compiled hot path: a process then carries less."""
    if compiled:
        return []
    note = (
        "Answers were read in Python: install gateproof where there is a C compiler, and a process "
        "carries more streams."
    )
    return [note]


def word_notes(learned: Iterable[Iterable[Mapping[str, Any]]]) -> list[str]:
    """Say what the target's usage taught about the length of prompts; one list for each worker."""
    ratios: dict[str, list[float]] = {}
    for rows in learned:
        for row in rows:
            if row["answers"]:
                ratios.setdefault(row["work"], []).append(row["tokens_per_word"])
    if not ratios:
        return []
    said = ", ".join(
        f"{work} {min(own):.2f}" + (f" to {max(own):.2f}" if max(own) - min(own) >= 0.01 else "")
        for work, own in ratios.items()
    )
    note = (
        f"Tokens per word of the prompts, by the target's own usage: {said}; the first prompts "
        "of a work were sized by an assumption."
    )
    return [note]
