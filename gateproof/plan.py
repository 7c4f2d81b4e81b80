"""What a load run is asked to do, as data: the generator writes it first, the figures repeat it.

A plan is a scenario's file with the run's own options put over it (``gateproof.loadfile``), plus
the target and the model; it holds no secret. It needs the standard library only, because every
worker of a load run imports it.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from gateproof.errors import UsageError, unknown_name
from gateproof.shape import Shape, Stage
from gateproof.work import SLO_NAMES

__all__ = [
    "ARRIVALS",
    "FOLDER_VARIABLE",
    "MODEL_USES",
    "SLO_NAMES",
    "LoadPlan",
    "Stage",
    "check_plan",
    "describe",
    "parse_slos",
    "place_of",
]

ARRIVALS: Final[dict[str, str]] = {
    "closed": "closed model: users, of whom each waits for its answer",
    "constant": "open model: arrivals at even distances, which wait for nobody",
    "poisson": "open model: arrivals independent of each other, which wait for nobody",
    "gamma": "open model: arrivals in bursts (burstiness below 1), which wait for nobody",
    "trace": "open model: the arrivals of a recorded trace, which wait for nobody",
}


MODEL_USES: Final = frozenset({"chat", "tools", "embeddings", "messages"})
"""The uses that works name their models by; where a target names none, its chat model does them."""


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What a load run was asked to do; the generator writes it first thing.

    ``users`` or ``rate_per_s`` is the level of a load without ``stages``. ``work``, ``search``,
    ``limits`` and ``sampling`` are the tables of the scenario's file as they are written there,
    checked; ``base`` is the folder that file names in them are relative to. File names, ``base``
    too, are as the user gave them: ``place_of`` finds them.
    """

    scenario: str
    arrivals: str  # a key of ARRIVALS
    target: str  # origin and path, never a key
    model: str
    users: int | None = None
    rate_per_s: float | None = None
    duration_s: float | None = None
    warm_up_s: float = 0.0
    cool_down_s: float = 0.0
    drain_s: float = 10.0  # how long running answers may still take at the end
    seed: int = 0
    cap: int | None = None
    think_s: float = 0.0
    burstiness: float = 1.0  # shape of the gamma distribution of gaps; 1 is Poisson
    stages: tuple[Stage, ...] = ()
    trace: str | None = None
    trace_format: str | None = None
    speed: float = 1.0  # how much faster than recorded a trace is replayed
    max_tokens: int | None = None  # instead of the length of answers that each work names
    usage: bool = True  # ask for usage in streams
    honour_retry_after: bool = False  # a user that is refused with 429 waits as long as it is told
    fresh_connections: bool = False
    timeouts: Mapping[str, float] = field(default_factory=dict)
    slos: Mapping[str, float] = field(default_factory=dict)
    goodput: float | None = None  # the share of requests inside all SLOs that the run must reach
    prices: Mapping[str, float] = field(default_factory=dict)  # USD per million tokens, by
    # prompt and completion
    budget: Mapping[str, Any] = field(default_factory=dict)  # a table of gateproof.budget
    work: tuple[Mapping[str, Any], ...] = ()
    search: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    base: str = ""
    models: Mapping[str, str] = field(default_factory=dict)  # by use; the rest is done by model
    auth: str = "bearer"  # how the target takes its key: bearer or x-api-key
    headers: Mapping[str, str] = field(default_factory=dict)  # beside the usual ones
    secret_headers: Mapping[str, str] = field(default_factory=dict)  # to their variables' names
    proxy: str = ""
    proxy_auth_env: str = ""  # the variable that holds the proxy's user:password
    ca_file: str = ""  # of the authorities that certificates are checked by, instead of the usual

    def model_for(self, use: str) -> str:
        """Give the model for a use of ``gateproof.target``, or for a model's own name."""
        if use in self.models:
            return self.models[use]
        return self.model if use in MODEL_USES else use

    @property
    def slos_by_work(self) -> tuple[Mapping[str, float], ...]:
        """Give the SLOs that each work's requests are held to: its own, or else the plan's."""
        return tuple(table.get("slos", self.slos) for table in self.work or ({},))

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "LoadPlan":
        """Read a plan from its JSON form, leaving out what this version does not know."""
        known = {f.name for f in fields(cls)}
        given = {name: value for name, value in row.items() if name in known}
        given["stages"] = tuple(Stage(**stage) for stage in given.get("stages", ()))
        given["work"] = tuple(given.get("work", ()))
        return cls(**given)

    def as_json(self) -> dict[str, Any]:
        """Give the plan as plain JSON types; ``of`` reads it."""
        row = asdict(self)
        return {**row, "stages": list(row["stages"]), "work": list(row["work"])}

    def as_text(self) -> str:
        """Write the plan as the text of ``plan.json``."""
        return json.dumps(self.as_json(), indent=1) + "\n"

    @property
    def is_open(self) -> bool:
        """Tell whether requests arrive by a schedule, whatever became of those before them."""
        return self.arrivals != "closed"

    @property
    def shape(self) -> Shape:
        """Give the level (users, or arrivals per second) over time."""
        if self.stages:
            return Shape(self.stages)
        return Shape.steady(float((self.rate_per_s if self.is_open else self.users) or 0.0))

    @property
    def most_users(self) -> int:
        """Give how many users a closed load has at its height; one caller makes an open one."""
        return 1 if self.is_open else max(round(self.shape.most), 1)


FOLDER_VARIABLE: Final = "GATEPROOF_FOLDER"
"""Tells a generator that works elsewhere in which folder its command was given."""


def place_of(name: str) -> str:
    """Give the place of a file that a plan names; nothing for no name."""
    return name and str(Path(os.environ.get(FOLDER_VARIABLE, ""), name))


def check_plan(plan: LoadPlan, place: str) -> None:
    """Refuse what cannot be meant: keys that contradict each other, or lack each other."""

    def refuse(message: str, hint: str) -> None:
        raise UsageError(f"{place}: {message}", hint)

    says = ARRIVALS[plan.arrivals]
    wanted, other = ("rate_per_s", "users") if plan.is_open else ("users", "rate_per_s")
    if plan.arrivals == "trace" or plan.trace is not None or plan.speed != 1:
        _check_trace(plan, refuse)
    elif plan.stages:
        if getattr(plan, wanted) is not None or getattr(plan, other) is not None:
            refuse("stages take the place of users and rate_per_s.", "Name them in the stages.")
        if any(getattr(stage, wanted) is None for stage in plan.stages):
            refuse(f"arrivals are {plan.arrivals}, so each stage needs {wanted}.", says)
        if not plan.shape.most:
            refuse("no stage is above 0.", "Give one of them a level.")
    elif getattr(plan, wanted) is None or getattr(plan, other) is not None:
        refuse(
            f"arrivals are {plan.arrivals}, which needs {wanted} and takes no {other}; "
            f"got {wanted}={getattr(plan, wanted)}, {other}={getattr(plan, other)}.",
            says,
        )
    if plan.is_open and plan.think_s:
        refuse("think_s belongs to the closed model.", says)
    if not plan.is_open and plan.cap is not None:
        refuse("cap belongs to the open model.", "In the closed one, users are the cap.")
    if plan.duration_s is not None and plan.warm_up_s + plan.cool_down_s >= plan.duration_s:
        refuse(
            f"warm-up ({plan.warm_up_s:g} s) and cool-down ({plan.cool_down_s:g} s) leave nothing "
            f"of {plan.duration_s:g} s.",
            "Make the run longer, or them shorter.",
        )
    if plan.goodput is not None and not any(plan.slos_by_work):
        refuse("a goodput is wanted, and no SLO is named.", "Add [slos], or --slo ttft_ms=500.")


def _check_trace(plan: LoadPlan, refuse: Callable[[str, str], None]) -> None:
    """Refuse a trace without its arrivals, or the other way round."""
    if plan.trace is None:
        missing = "arrivals are a trace" if plan.arrivals == "trace" else "speed belongs to a trace"
        refuse(f"{missing}, and none is named.", 'Add trace = "FILE".')
    if plan.arrivals != "trace":
        refuse("a trace is named, and arrivals are not of it.", 'Write arrivals = "trace".')
    if plan.stages or plan.users is not None or plan.rate_per_s is not None:
        refuse(
            "a trace has its own times, and takes neither users, rate_per_s nor stages.",
            "Its pace is changed with speed = 2.",
        )


def describe(plan: LoadPlan) -> str:
    """Tell a plan's load in a sentence: how requests come, how many, for how long."""
    if plan.stages:
        unit = "arrivals/s" if plan.is_open else "users"
        levels = " → ".join(
            f"{stage.level:g}{' (ramp)' if stage.ramp else ''}" for stage in plan.stages
        )
        level = f"{levels} {unit} in stages"
    elif plan.arrivals == "trace":
        level = f"of {Path(plan.trace or '').name}"
        level += f", {plan.speed:g} times as fast" if plan.speed != 1 else ""
    else:
        level = f"{plan.rate_per_s:g} a second" if plan.is_open else f"{plan.users} users"
    for_s = f", for {plan.duration_s:g} s" if plan.duration_s is not None else ", to its end"
    return f"{ARRIVALS[plan.arrivals]}; {level}{for_s}"


def parse_slos(text: str) -> dict[str, float]:
    """Read ``ttft_ms=500,e2e_ms=3000``; a wrong name or number is a UsageError."""
    slos = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, value = part.partition("=")
        if name not in SLO_NAMES:
            raise unknown_name("SLO", name, SLO_NAMES)
        try:
            slos[name] = float(value)
        except ValueError:
            slos[name] = -1.0
        if not 0 < slos[name] < float("inf"):
            raise UsageError(
                f"The SLO {name} needs a number of milliseconds; got {value!r}.",
                "Write it as in ttft_ms=500,e2e_ms=3000.",
            )
    return slos
