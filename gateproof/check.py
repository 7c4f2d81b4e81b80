"""Checks: pure judgments of transcripts, each bound to a requirement.

A check is an ordinary function that reads what was seen and raises. Its id is its requirement's id
unless it says otherwise; its level comes from the requirement, never from the check.

Rules: a check never sleeps, sends or prints; whose fault it is, is the type of what it raises:
``Finding`` (the gateway broke the requirement), ``Untestable`` (what it needs never came, which
another check reports), ``Inconclusive`` (the model, not the gateway, did not do what was asked);
any other exception is an error of ours.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from gateproof.profile import Profile
from gateproof.requirement import Level, Requirement
from gateproof.scenario import Scenario
from gateproof.transcript import OWN_ERROR, Transcript

__all__ = [
    "CHECKS",
    "Check",
    "Finding",
    "Inconclusive",
    "Place",
    "Result",
    "Untestable",
    "Verdict",
    "check",
    "expect",
    "judge",
]

Verdict: TypeAlias = Literal[
    "pass",
    "fail",  # a MUST is broken
    "warn",  # a SHOULD is broken
    "info",  # worth knowing, never wrong
    "departs",  # an upstream rule that this profile relaxes is not kept
    "not-applicable",  # the profile does not claim it
    "untestable",  # a prerequisite failed
    "inconclusive",  # the model did not do what was asked
    "error",  # our own bug
    "waived",  # broken, and accepted by the operator
]
CheckFunction: TypeAlias = Callable[..., str | None]
_BROKEN: Mapping[Level, Verdict] = {
    Level.MUST: "fail",
    Level.SHOULD: "warn",
    Level.INFO: "info",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a transcript: which exchange, and in its body which byte or which frame.

    ``scenario`` says which transcript, for a check that reads several; where it says nothing, the
    first of them is meant.
    """

    exchange: int = 0
    offset: int | None = None
    frame: int | None = None
    scenario: str = ""


class Finding(AssertionError):
    """The gateway broke the requirement: what was wanted, what came, and where."""

    def __init__(self, *, wanted: str, got: object, at: Place | None = None) -> None:
        self.wanted = wanted
        self.got = got if isinstance(got, str) else _show(got)
        self.at = at or Place()
        super().__init__(f"wanted {wanted}; got {self.got}")


class Untestable(Exception):
    """What the check reads never came. Red, and never a quiet skip."""


class Inconclusive(Exception):
    """The model did not do what was asked, so the gateway could not be judged."""


def expect(condition: object, *, wanted: str, got: object, at: Place | None = None) -> None:
    """Raise a ``Finding`` unless the condition holds."""
    if not condition:
        raise Finding(wanted=wanted, got=got, at=at)


@dataclass(frozen=True, slots=True)
class Check:
    """A judgment of one scenario at a time (``on``), or of several together (``across``)."""

    id: str
    requirement: str
    says: str
    on: tuple[Scenario, ...]
    across: tuple[Scenario, ...]
    needs: frozenset[str]
    function: CheckFunction
    generative: bool = False

    @property
    def cases(self) -> tuple[tuple[Scenario, ...], ...]:
        """Return the scenarios of each judgment that this check makes."""
        return (self.across,) if self.across else tuple((item,) for item in self.on)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One judgment. ``seen`` is what a passing check found worth telling (which reading held)."""

    check: str
    case: str
    verdict: Verdict
    level: str
    reason: str = ""
    wanted: str = ""
    got: str = ""
    at: Place | None = None
    scenarios: tuple[str, ...] = ()
    seen: str = ""


CHECKS: dict[str, Check] = {}


def check(
    id: str,  # noqa: A002  # it is the field's word
    *,
    on: Sequence[Scenario] = (),
    across: Sequence[Scenario] = (),
    requirement: str | None = None,
    needs: Sequence[str] = (),
    generative: bool = False,
) -> Callable[[CheckFunction], CheckFunction]:
    """Make a function a check. The first line of its docstring is the rule in plain words.

    With ``on`` it is called with one transcript, once for each scenario; with ``across`` it is
    called once, with one transcript for each scenario, in their order.
    """

    def register(function: CheckFunction) -> CheckFunction:
        if bool(on) == bool(across):
            raise ValueError(f"check {id!r} takes either on= or across=")
        says = (function.__doc__ or "").strip().partition("\n")[0]
        if not says:
            raise ValueError(f"check {id!r} has no docstring: its first line is the rule")
        made = Check(
            id,
            requirement or id,
            says,
            tuple(on),
            tuple(across),
            frozenset(needs),
            function,
            generative,
        )
        known = CHECKS.get(id)
        if known is not None and _place(known.function) != _place(function):
            raise ValueError(f"two checks are named {id!r}")
        CHECKS[id] = made
        function.gateproof_check = made  # type: ignore[attr-defined]  # pytest finds it there
        return function

    return register


def needs_of(check: Check, case: Sequence[Scenario], requirement: Requirement) -> frozenset[str]:
    """Return every capability that a judgment needs, with ``generated`` for generated requests."""
    generated = frozenset({"generated"} if check.generative else ())
    return check.needs.union({requirement.capability}, generated, *(item.needs for item in case))


def judge(  # noqa: PLR0911  # one return a verdict
    check: Check,
    case: Sequence[Scenario],
    transcripts: Mapping[str, Transcript],
    requirement: Requirement,
    profile: Profile,
    claims: Mapping[str, str],
) -> Result:
    """Judge one case of a check. ``claims`` maps each unclaimed capability to the reason why."""
    names = tuple(item.name for item in case)
    level = profile.level_of(requirement)
    override = profile.override_of(requirement)

    def result(verdict: Verdict, **more: Any) -> Result:
        return Result(
            check=check.id,
            case="+".join(names),
            verdict=verdict,
            level=level,
            scenarios=names,
            **more,
        )

    if not profile.concerns(requirement):
        return result("not-applicable", reason=f"a promise of {requirement.profile} alone")
    missing = sorted(need for need in needs_of(check, case, requirement) if need in claims)
    # What lacks messages lacks messages.stream as well: the family says it for its members.
    lacks = [need for need in missing if need.rpartition(".")[0] not in missing]
    if lacks:
        return result("not-applicable", reason="; ".join(claims[need] for need in lacks))
    seen = [transcripts.get(name) for name in names]
    for name, transcript in zip(names, seen, strict=True):
        if transcript is None:
            return result("untestable", reason=f"scenario {name} was not recorded")
        if transcript.problem.startswith(OWN_ERROR):
            return result("error", reason=f"scenario {name}: {transcript.problem}")
        if transcript.problem:
            return result("untestable", reason=f"scenario {name}: {transcript.problem}")
    try:
        told = check.function(*seen)
    except Finding as finding:
        broken = _BROKEN[level]
        if override is not None and override.departs:
            broken = "departs"
        return result(
            broken,
            wanted=finding.wanted,
            got=finding.got,
            at=finding.at,
            reason=override.reason if override else "",
        )
    except Untestable as reason:
        if override is not None and override.departs:
            # What it lacks is what the vendor does otherwise by its own documents.
            return result("not-applicable", reason=f"{reason}; {override.reason}")
        return result("untestable", reason=str(reason))
    except Inconclusive as reason:
        return result("inconclusive", reason=str(reason))
    except Exception as error:  # noqa: BLE001  # a check's own bug must not end the run
        return result("error", reason=f"{type(error).__name__}: {error}")
    return result("pass", seen=told or "")


def _place(function: CheckFunction) -> tuple[str, str]:
    return function.__module__, function.__qualname__


def _show(value: object, limit: int = 300) -> str:
    text = repr(value)
    return f"{text[:limit]}… ({len(text)} characters)" if len(text) > limit else text
