"""The run folder: written line by line while a run lasts, read back by everything that follows.

``run.jsonl`` holds one JSON object a line, told apart by ``kind``:

- ``header``: format, run id, verb, start, target (no secrets), profile, seed, environment;
- ``check``: a check's id, what it says, its level here, and its requirement in full;
- ``exchange``: one exchange in brief, with the file of its transcript;
- ``result``: one judgment (the fields of ``gateproof.check.Result``, and ``waiver``);
- ``load``: one load run: scenario, folder, summary;
- ``search``, ``limits``: one search for capacity, one look for rate limits: scenario, folder,
  summary, which tells its ``headline`` in one line;
- ``note``: a sentence for the reader;
- ``footer``: end, counts by verdict, requests made, exit status.

A file without a footer, or whose last one says 130, is of a run that was cut short; what it has is
still good.
"""

import dataclasses
import datetime as dt
import json
import os
import platform
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateproof import __version__
from gateproof.check import Check, Result, Verdict
from gateproof.errors import UsageError
from gateproof.profile import Profile
from gateproof.requirement import Requirement
from gateproof.target import Target
from gateproof.transcript import Transcript, from_json, to_json

__all__ = [
    "INTERRUPTED",
    "Run",
    "RunWriter",
    "claim_folder",
    "exit_status",
    "new_folder",
    "read_run",
    "read_transcripts",
    "worst",
]

FORMAT = 1
RUN_FILE = "run.jsonl"
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
# What a row must have to be read; one that lacks it counts as damaged.
_NEEDED: Mapping[str, Mapping[str, type]] = {
    "header": {"run": str, "target": dict, "profile": dict},
    "check": {"id": str, "says": str, "level": str, "requirement": dict},
    "exchange": {"scenario": str, "index": int},
    "result": {
        "check": str, "case": str, "verdict": str, "level": str,
        "wanted": str, "got": str, "reason": str, "waiver": str,
    },
    "load": {"scenario": str, "folder": str, "summary": dict},
    "search": {"scenario": str, "folder": str, "summary": dict},
    "limits": {"scenario": str, "folder": str, "summary": dict},
    "note": {"text": str},
    "footer": {"exit": int, "requests": int, "seconds": float},
}  # fmt: skip
# From worst to best: a check's verdict is the worst of its cases.
ORDER: tuple[Verdict, ...] = (
    "error",
    "fail",
    "untestable",
    "inconclusive",
    "warn",
    "departs",
    "waived",
    "info",
    "pass",
    "not-applicable",
)


def worst(verdicts: Iterable[str]) -> str:
    """Return the worst of some verdicts; ``not-applicable`` when there are none."""
    found = set(verdicts)
    return next((verdict for verdict in ORDER if verdict in found), "not-applicable")


def new_folder(root: Path, name: str) -> Path:
    """Make a new run folder under a root, named after the moment and the target."""
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S")
    slug = re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-")[:40] or "run"
    for serial in range(1000):
        folder = root / (f"{stamp}-{slug}" + (f"-{serial}" if serial else ""))
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UsageError(
                f"No run folder can be made under {root}: {error.strerror}.",
                "Give another place: --out DIR.",
            ) from None
        return folder
    raise UsageError(f"{root} is full of run folders of this second.")


def claim_folder(folder: Path) -> Path:
    """Make a folder for a new run where there is none yet, and return it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be made: {error.strerror}.", "Give another place: --out DIR."
        ) from None
    if (folder / RUN_FILE).exists():
        raise UsageError(f"{folder} already holds a run.", "Give another place: --out DIR.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{folder} cannot be written to.", "Give another place: --out DIR.")
    return folder


class RunWriter:
    """Appends to a run folder; each line is on disk when the call returns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = (folder / RUN_FILE).open("a", encoding="utf-8")
        self._counts: Counter[str] = Counter()
        self._requests = 0
        self._started = time.monotonic()

    @classmethod
    def resume(cls, folder: Path) -> "RunWriter":
        """Go on with a run whose file has ended; a new footer then takes the place of the old."""
        run = read_run(folder)
        writer = cls(folder)
        writer._counts.update(row["verdict"] for row in run.results)
        if run.footer is not None:
            writer._requests = run.footer["requests"]
            writer._started -= run.footer["seconds"]
        return writer

    def header(
        self,
        verb: str,
        run: str,
        target: Target,
        profile: Profile,
        seed: int,
        argv: Sequence[str],
        groups: Sequence[str] = (),
    ) -> None:
        """Write what the run is about. Variables are named, values never."""
        self._write(
            "header",
            format=FORMAT,
            run=run,
            gateproof=__version__,
            verb=verb,
            argv=list(argv),
            started=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            monotonic_ns=time.monotonic_ns(),
            target={
                "name": target.name,
                "url": target.url,
                "profile": target.profile,
                "models": dict(target.models),
                "model": target.model(),
                "key_env": target.key_env,
                "headers": sorted([*target.headers, *target.secret_headers]),
                "upstream": target.upstream.url if target.upstream else None,
                "concurrency": target.concurrency,
                "disclaims": dict(target.disclaims),
                "plans": sorted(target.keys),
                "login": target.login is not None,
            },
            profile={
                "name": profile.name,
                "title": profile.title,
                "claims": sorted(profile.claims),
                "groups": list(groups),
            },
            seed=seed,
            environment={"python": platform.python_version(), "system": platform.system(),
                         "machine": platform.machine(), "cpus": os.cpu_count()},
        )  # fmt: skip

    def check(self, check: Check, requirement: Requirement, level: str) -> None:
        """Write a check that this run judges, with its requirement in full."""
        self._write(
            "check",
            id=check.id,
            says=check.says,
            surface=requirement.surface,
            level=level,
            generative=check.generative,
            scenarios=sorted({item.name for case in check.cases for item in case}),
            requirement=dataclasses.asdict(requirement),
        )

    def transcript(self, transcript: Transcript) -> None:
        """Keep a transcript, and one line for each of its exchanges."""
        name = self.keep(transcript)
        for index, exchange in enumerate(transcript.exchanges):
            response = exchange.response
            self._requests += exchange.attempts
            self._write(
                "exchange",
                scenario=transcript.scenario,
                index=index,
                label=exchange.ask.label,
                method=exchange.ask.method,
                path=exchange.ask.path,
                status=response.status if response else None,
                ended=exchange.ended,
                bytes=sum(len(read.data) for read in exchange.received),
                started_ns=exchange.started_ns,
                ended_ns=exchange.ended_ns,
                transcript=name,
            )

    def keep(self, transcript: Transcript) -> str:
        """Keep a transcript and return its file's name; what load made is not told one by one."""
        name = f"transcripts/{transcript.scenario}.json"
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(to_json(transcript), ensure_ascii=False), "utf-8")
        partial.replace(path)
        return name

    def result(self, result: Result, waiver: str = "") -> None:
        """Write a judgment."""
        self._counts[result.verdict] += 1
        self._write("result", **dataclasses.asdict(result), waiver=waiver)

    def load(self, scenario: str, folder: str, summary: Mapping[str, Any]) -> None:
        """Write a load run's summary; its samples are in ``folder``, inside the run folder."""
        self._write("load", scenario=scenario, folder=folder, summary=summary)

    def search(self, scenario: str, folder: str, summary: Mapping[str, Any]) -> None:
        """Write what a search for capacity has found; its steps are in ``folder``."""
        self._write("search", scenario=scenario, folder=folder, summary=summary)

    def limits(self, scenario: str, folder: str, summary: Mapping[str, Any]) -> None:
        """Write what was found of rate limits; the evidence is in ``folder``."""
        self._write("limits", scenario=scenario, folder=folder, summary=summary)

    def note(self, text: str) -> None:
        """Write a sentence for the reader."""
        self._write("note", text=text)

    def footer(self, exit_status: int, reason: str = "") -> None:
        """End the run."""
        self._write(
            "footer",
            finished=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self._started, 3),
            counts=dict(sorted(self._counts.items())),
            requests=self._requests,
            exit=exit_status,
            reason=reason,
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, kind: str, **row: Any) -> None:
        text = json.dumps({"kind": kind, **row}, ensure_ascii=True, default=_plain)
        self._file.write(text + "\n")
        self._file.flush()


def _plain(value: object) -> object:
    if isinstance(value, frozenset | set | tuple):
        return sorted(value)
    return str(value)


@dataclass(frozen=True, slots=True)
class Run:
    """A run as its file tells it. ``footer`` is ``None`` when the run was cut short."""

    folder: Path
    header: Mapping[str, Any]
    checks: Mapping[str, Mapping[str, Any]]
    exchanges: tuple[Mapping[str, Any], ...]
    results: tuple[Mapping[str, Any], ...]
    loads: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]
    footer: Mapping[str, Any] | None
    damaged: int = field(default=0)
    searches: tuple[Mapping[str, Any], ...] = ()
    limits: tuple[Mapping[str, Any], ...] = ()

    @property
    def complete(self) -> bool:
        """Tell whether the run came to its end."""
        return self.footer is not None and self.footer["exit"] != INTERRUPTED


def read_run(folder: Path) -> Run:
    """Read a run folder; lines that are not whole are counted, not fatal."""
    path = folder / RUN_FILE if folder.is_dir() else folder
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        raise UsageError(
            f"There is no run in {str(folder)!r}.", f"Give a folder that holds a {RUN_FILE}."
        ) from None
    rows: dict[str, list[dict[str, Any]]] = {}
    damaged = 0
    for line in lines:
        row = _row(line)
        if row is None:
            damaged += 1
        else:
            rows.setdefault(row["kind"], []).append(row)
    if not rows.get("header"):
        raise UsageError(f"{path} has no header: it is not a run file of gateproof.")
    header = rows["header"][0]
    if header.get("format") != FORMAT:
        raise UsageError(
            f"{path} has format {header.get('format')!r}; this gateproof reads {FORMAT}."
        )
    return Run(
        folder=path.parent,
        header=header,
        checks={row["id"]: row for row in rows.get("check", [])},
        exchanges=tuple(rows.get("exchange", [])),
        results=tuple(rows.get("result", [])),
        loads=tuple(rows.get("load", [])),
        notes=tuple(row["text"] for row in rows.get("note", [])),
        footer=rows["footer"][-1] if rows.get("footer") else None,
        damaged=damaged,
        searches=tuple(rows.get("search", [])),
        limits=tuple(rows.get("limits", [])),
    )


def _row(line: str) -> dict[str, Any] | None:
    """Read a line; ``None`` when it is not a whole row of a kind that we know."""
    try:
        row = json.loads(line)
        needed = _NEEDED[row["kind"]]
        whole = all(isinstance(row[name], kind) for name, kind in needed.items())
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return row if whole else None


def read_transcripts(folder: Path) -> dict[str, Transcript]:
    """Read all transcripts of a run folder by scenario."""
    found = {}
    for path in sorted((folder / "transcripts").rglob("*.json")):
        try:
            transcript = from_json(json.loads(path.read_text("utf-8")))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} is not a transcript of gateproof: {error}.") from None
        found[transcript.scenario] = transcript
    return found


def exit_status(
    results: Iterable[tuple[str, str]], *, allow_partial: bool = False, stale_waivers: int = 0
) -> int:
    """Return the exit status for (verdict, level) pairs.

    4 when a check of ours broke; 1 on a broken or untestable rule, on a stale waiver, and on a MUST
    that stayed inconclusive unless ``allow_partial``; else 0.
    """
    pairs = set(results)
    verdicts = {verdict for verdict, _ in pairs}
    if "error" in verdicts:
        return 4
    if verdicts & {"fail", "untestable"} or stale_waivers:
        return 1
    if ("inconclusive", "MUST") in pairs and not allow_partial:
        return 1
    return 0
