"""Load scenarios: TOML files, read strictly, and the options that a run may put over them.

Strategy: a file is read key by key through one table of readers (``_KEYS``); an option of the
command line (``OPTIONS``) goes through the same reader as the key that it replaces, so that file,
``gateproof load`` and plain ``locust -f`` mean and refuse the same. What only holds between keys is
checked once, on the finished plan.

Rules. An unknown key is an error that names its place and the valid ones. Options stretch what is
there: ``--seconds`` keeps the proportions of stages, warm-up and cool-down, and ``--users`` or
``--rate`` sets the height of a load that has stages.
"""

import dataclasses
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateproof import values
from gateproof.address import check_variable
from gateproof.budget import Budget, budget_of, parse_budget
from gateproof.capacity import parse_search
from gateproof.errors import UsageError, unknown_name
from gateproof.limitlab.plan import parse_limits
from gateproof.plan import ARRIVALS, SLO_NAMES, LoadPlan, Stage, check_plan, parse_slos
from gateproof.sampling import parse_sampling
from gateproof.trace import TRACE_FORMATS, scan_trace, trace_format_of
from gateproof.work import parse_work, read_slos, spoken

if TYPE_CHECKING:  # workers, which are given whole plans, start without it
    from gateproof.profile import Profile

__all__ = [
    "OPTIONS",
    "LoadScenario",
    "Option",
    "load_scenario",
    "overrides_of",
    "plan_for",
    "plan_of",
    "profile_settings",
    "scenario_names",
]

_ROOM: Final = "gateproof.loadtests"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DAY_S: Final = 86_400.0
_DEFAULT_S: Final = 10.0
_FILES: Final = {"trace", "ca_file"}  # keys that name a file
_MOST_WORKS: Final = 255  # a sample has one byte for its work
_AFTER_TRACE_S: Final = 1.0  # what the last request of a trace is let begin in
_WARM_UP_SHARE: Final = 0.1  # of the duration, where nothing is said …
_WARM_UP_MOST_S: Final = 10.0  # … and at most so long


@dataclass(frozen=True, slots=True)
class LoadScenario:
    """One scenario as its file has it: ``settings`` are values of ``LoadPlan`` by their names."""

    name: str
    says: str
    place: str
    text: str
    settings: Mapping[str, Any]

    @property
    def arrivals(self) -> str:
        """Give the model of load that the file asks for, or implies."""
        return _arrivals(self.settings)


def scenario_names() -> list[str]:
    """Return the names of the bundled scenarios, sorted."""
    folder = files(_ROOM) / "scenarios"
    names = [item.name for item in folder.iterdir()]
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def load_scenario(name: str) -> LoadScenario:
    """Read a bundled scenario by its name, or a file of the user's own by its path."""
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"The scenario file {name} cannot be read: {error}.",
                "Give the path of a .toml file, or a name of `gateproof list loads`.",
            ) from None
        return read_scenario(path.stem, text, place=str(path), base=path.parent)
    if name not in scenario_names():
        raise unknown_name("load scenario", name, scenario_names())
    item = files(_ROOM) / "scenarios" / f"{name}.toml"
    return read_scenario(name, item.read_text("utf-8"), place=f"{name}.toml")


def read_scenario(name: str, text: str, *, place: str, base: Path | None = None) -> LoadScenario:
    """Read the text of a scenario's file; ``place`` names it in what is wrong."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{place}: {name!r} cannot be a scenario's name.",
            "Name the file with letters, digits, '.', '_' and '-'.",
        )
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{place} is not TOML: {error}.", "Correct it there.") from None
    says = data.pop("says", "")
    if not isinstance(says, str) or not says.strip():
        raise UsageError(f"{place} has no says.", 'Begin it with a sentence: says = "…".')
    settings: dict[str, Any] = {}
    for key, value in data.items():
        if key in _TABLES:
            settings[key] = _TABLES[key](value, f"{place}, {key}", base)
        elif key in _KEYS:
            settings[key] = _KEYS[key](value, f"{place}, {key}")
        else:
            wrong = unknown_name("key", key, (*_KEYS, *_TABLES, "says"))
            raise UsageError(f"{place}: {wrong.message}", wrong.hint)
    if base is not None:
        settings["base"] = str(base)
    check_plan(_plan(name, settings, target="", model=""), place)
    return LoadScenario(name, says.strip(), place, text, settings)


def plan_of(
    scenario: LoadScenario | str,
    *,
    target: str,
    model: str,
    within: Budget | None = None,
    **overrides: Any,
) -> LoadPlan:
    """Resolve a scenario into the plan of one run; ``overrides`` are values of ``LoadPlan``.

    ``within`` is the target's own budget: a scenario's cannot widen it, but an override can.
    """
    if isinstance(scenario, str):
        scenario = load_scenario(scenario)
    settings = dict(scenario.settings)
    for key in _FILES & settings.keys():  # of the scenario's folder; an option's is the caller's
        settings[key] = str(Path(settings.get("base", ""), settings[key]))
    if "trace" in overrides:  # it brings its own arrivals, and its own length
        overrides.setdefault("arrivals", "trace")
        for key in ("users", "rate_per_s", "stages", "duration_s", "think_s"):
            settings.pop(key, None)
    if "duration_s" in overrides:
        _stretch(settings, overrides["duration_s"])
    for key, other in (("users", "rate_per_s"), ("rate_per_s", "users")):
        if key in overrides and settings.get("stages"):
            _heighten(settings, key, overrides.pop(key), scenario.place)
        elif key in overrides and other in settings and "arrivals" in overrides:
            settings.pop(other)  # another model of load was asked for, with its own level
    if "search" in overrides:  # key by key, over the file's own table
        overrides["search"] = {**settings.get("search", {}), **overrides["search"]}
    if within is not None:
        own = settings.get("budget")
        within = within.within(budget_of(own, scenario.place)) if own else within
        settings["budget"] = within.as_table()
    settings |= overrides
    if settings.get("trace"):
        _read_trace(settings)
    plan = _plan(scenario.name, settings, target=target, model=model)
    check_plan(plan, scenario.place)
    return plan


def _plan(name: str, settings: Mapping[str, Any], *, target: str, model: str) -> LoadPlan:
    """Make the plan, with what is left unsaid filled in."""
    given = dict(settings)
    given["arrivals"] = _arrivals(given)
    if given.get("stages"):
        given.setdefault("duration_s", sum(stage.for_s for stage in given["stages"]))
    elif given["arrivals"] != "trace":
        given.setdefault("duration_s", _DEFAULT_S)
    length_s = given.get("duration_s") or 0.0
    given.setdefault("warm_up_s", min(length_s * _WARM_UP_SHARE, _WARM_UP_MOST_S))
    return LoadPlan(scenario=name, target=target, model=model, **given)


def _arrivals(settings: Mapping[str, Any]) -> str:
    """Give the kind of arrivals; where none is named, users imply the closed model."""
    stages = settings.get("stages", ())
    closed = "users" in settings or any(stage.users is not None for stage in stages)
    implied = "trace" if settings.get("trace") else "closed" if closed else "poisson"
    return str(settings.get("arrivals") or implied)


def _stretch(settings: dict[str, Any], seconds: float) -> None:
    """Make a scenario longer or shorter: stages keep their shares, cut-offs at most theirs."""
    stages: tuple[Stage, ...] = settings.get("stages", ())
    before_s = sum(stage.for_s for stage in stages) or settings.get("duration_s", _DEFAULT_S)
    factor = seconds / before_s
    if stages:
        settings["stages"] = tuple(
            dataclasses.replace(stage, for_s=stage.for_s * factor) for stage in stages
        )
    for key in ("warm_up_s", "cool_down_s"):
        if key in settings:
            settings[key] *= min(factor, 1.0)


def _read_trace(settings: dict[str, Any]) -> None:
    """Find the trace's format, and how long it is where nothing shorter is wanted."""
    path, speed, wanted_s = Path(settings["trace"]), settings.get("speed", 1.0), None
    settings.setdefault("trace_format", trace_format_of(path))
    if "duration_s" in settings:
        wanted_s = settings["duration_s"] * speed
    facts = scan_trace(path, settings["trace_format"], wanted_s)
    if wanted_s is None:
        settings["duration_s"] = facts.last_s / speed + _AFTER_TRACE_S


def _heighten(settings: dict[str, Any], key: str, level: float, place: str) -> None:
    """Make a scenario with stages higher or lower: the highest becomes the level."""
    stages: tuple[Stage, ...] = settings["stages"]
    most = max((getattr(stage, key) or 0) for stage in stages)
    if not most:
        raise UsageError(
            f"{place} has stages of {'users' if key == 'rate_per_s' else 'rate_per_s'}.",
            f"Give --{'users' if key == 'rate_per_s' else 'rate'} to change their height.",
        )
    factor = level / most
    settings["stages"] = tuple(
        dataclasses.replace(stage, users=round(stage.users * factor))
        if stage.users is not None
        else dataclasses.replace(stage, rate_per_s=(stage.rate_per_s or 0.0) * factor)
        for stage in stages
    )


# The readers of keys: each takes a value and the place that it stands at.


_LENGTH = values.number(7 * _DAY_S, above=True)
_SPAN = values.number(7 * _DAY_S)
_RATE = values.number(1e6, above=True)
_USERS = values.whole(1, 1_000_000)
_STAGE: Final[dict[str, Callable[[Any, str], Any]]] = {
    "for_s": _LENGTH,
    "users": values.whole(0, 1_000_000),
    "rate_per_s": values.number(1e6),
    "ramp": values.boolean,
}


def _stages(value: Any, place: str) -> tuple[Stage, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(s, dict) for s in value):
        raise UsageError(f"{place} is no list of tables.", "Write [[stages]] above each of them.")
    found = []
    for number, table in enumerate(value, 1):
        where = f"{place} {number}"
        values.known(table, _STAGE, where)
        if "for_s" not in table or ("users" in table) == ("rate_per_s" in table):
            raise UsageError(
                f"{where} needs for_s, and either users or rate_per_s.",
                "Write for_s = 5 and users = 20.",
            )
        found.append(
            Stage(**{key: _STAGE[key](one, f"{where}, {key}") for key, one in table.items()})
        )
    return tuple(found)


def _proxy(value: Any, place: str) -> str:
    if "@" in values.text(value, place):
        raise UsageError(
            f"{place} carries a user name or a password (it is not shown here).",
            "Put user:password into a variable and name that: proxy_auth_env, or --proxy-auth-env.",
        )
    return str(value)


def _search(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{place} is not a table.", "Write [search].")
    parse_search(value, place)
    return value


def _budget(value: Any, place: str) -> dict[str, Any]:
    return budget_of(value, place).as_table()


_KEYS: Final[dict[str, Callable[[Any, str], Any]]] = {
    "arrivals": values.named(ARRIVALS, "kind of arrivals"),
    "users": _USERS,
    "rate_per_s": _RATE,
    "duration_s": _LENGTH,
    "warm_up_s": _SPAN,
    "cool_down_s": _SPAN,
    "drain_s": _SPAN,
    "think_s": _SPAN,
    "burstiness": values.number(1e6, low=1e-3),
    "stages": _stages,
    "trace": values.text,
    "trace_format": values.named(TRACE_FORMATS, "trace format"),
    "speed": values.number(1e6, above=True),
    "cap": _USERS,
    "seed": values.whole(0, 2**32 - 1),
    "max_tokens": values.whole(1, 10_000_000),
    "usage": values.boolean,
    "honour_retry_after": values.boolean,
    "fresh_connections": values.boolean,
    "proxy": _proxy,
    "proxy_auth_env": lambda value, place: check_variable(values.text(value, place), place),
    "ca_file": values.text,
    "timeouts": values.numbers(
        ("connect_s", "first_byte_s", "idle_s", "total_s"), "timeout", _LENGTH
    ),
    "slos": read_slos,
    "goodput": values.number(1.0, above=True),
    "prices": values.numbers(("prompt", "completion"), "price", values.number(1e9)),
    "budget": _budget,
    "sampling": lambda value, place: dataclasses.asdict(parse_sampling(value, place)),
    "search": _search,
}


def _works(value: Any, place: str, base: Path | None) -> tuple[dict[str, Any], ...]:
    """Check the ``[[work]]`` tables, and give them as they are written."""
    if not isinstance(value, list) or not value:
        raise UsageError(f"{place} is no list of tables.", "Write [[work]] above each of them.")
    if len(value) > _MOST_WORKS:
        raise UsageError(f"{place}: there are {len(value)}, more than {_MOST_WORKS}.")
    for number, table in enumerate(value, 1):
        parse_work(table, f"{place} {number}", base)
    return tuple(_as_json(table, f"{place} {number}") for number, table in enumerate(value, 1))


def _as_json(table: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Give a table in JSON's types, as a plan has it."""
    try:
        return dict(json.loads(json.dumps(table, allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{place} holds what JSON cannot: {error}.") from None


def _limits(value: Any, place: str, _base: Path | None) -> dict[str, Any]:
    """Check the table ``[limits]``, and give it as it is written."""
    parse_limits(value, place)
    return _as_json(value, place)


# The tables that are parsed elsewhere: checked there, and kept as they are written.
_TABLES: Final[dict[str, Callable[[Any, str, Path | None], Any]]] = {
    "work": _works,
    "limits": _limits,
}


# Options: each replaces one key of the file, and is read as text everywhere, because Locust's page
# hands back text.


@dataclass(frozen=True, slots=True)
class Option:
    """One option of the command line: the key that it replaces, and how its text is read."""

    flag: str
    key: str
    metavar: str
    says: str
    read: Callable[[str], Any]

    @property
    def dest(self) -> str:
        """Give the name under which an argument parser keeps it."""
        return self.flag.removeprefix("--").replace("-", "_")


def _as_number(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text


def _as_bool(text: str) -> Any:
    return {"true": True, "yes": True, "false": False, "no": False}.get(text.lower(), text)


def _as_text(text: str) -> str:
    return text


def _as_table(text: str) -> dict[str, Any]:
    parts = (part.partition("=") for part in text.split(",") if part.strip())
    return {name.strip(): _as_number(value.strip()) for name, _, value in parts}


OPTIONS: Final = (
    Option("--users", "users", "N", "closed model: how many users", _as_number),
    Option("--rate", "rate_per_s", "R", "open model: arrivals a second", _as_number),
    Option("--arrivals", "arrivals", "KIND", ", ".join(ARRIVALS), _as_text),
    Option("--seconds", "duration_s", "S", "how long; stages keep their shares of it", _as_number),
    Option("--warm-up", "warm_up_s", "S", "seconds at the start left out of figures", _as_number),
    Option("--cool-down", "cool_down_s", "S", "seconds at the end left out of figures", _as_number),
    Option("--drain", "drain_s", "S", "how long running answers may take at the end", _as_number),
    Option("--think", "think_s", "S", "seconds between an answer and the next request", _as_number),
    Option("--burstiness", "burstiness", "B", "of gamma arrivals; below 1 is burstier", _as_number),
    Option("--trace", "trace", "FILE", "replay the arrivals and lengths of a trace", _as_text),
    Option("--trace-format", "trace_format", "NAME", ", ".join(TRACE_FORMATS), _as_text),
    Option("--speed", "speed", "X", "how much faster than recorded a trace runs", _as_number),
    Option("--cap", "cap", "N", "open model: most requests at a time; others wait", _as_number),
    Option("--seed", "seed", "N", "of prompts and arrivals", _as_number),
    Option("--max-tokens", "max_tokens", "N", "length of answers that is asked for", _as_number),
    Option("--slo", "slos", "NAME=MS,…", f"what goodput means: {', '.join(SLO_NAMES)}", parse_slos),
    Option("--goodput", "goodput", "SHARE", "share of requests inside all SLOs wanted", _as_number),
    Option("--usage", "usage", "yes|no", "ask for usage in streams", _as_bool),
    Option(
        "--fresh-connections", "fresh_connections", "yes|no", "a connection a request", _as_bool
    ),
    Option("--proxy", "proxy", "URL", "an HTTP proxy to go through", _as_text),
    Option(
        "--proxy-auth-env", "proxy_auth_env", "NAME", "variable with its user:password", _as_text
    ),
    Option("--ca-file", "ca_file", "FILE", "authorities instead of the system's", _as_text),
    Option("--search", "search", "from=F,to=T,…", "keys of [search], over the file's", _as_table),
    Option(
        "--budget",
        "budget",
        "requests=N,tokens=N,usd=X",
        "stop sending when so much is spent",
        lambda text: parse_budget(text).as_table(),
    ),
)


def plan_for(profile: "Profile", plan: LoadPlan) -> LoadPlan:
    """Give the plan as it is run on targets of a profile."""
    return dataclasses.replace(plan, work=spoken(plan.work, profile.claims))


def profile_settings(profile: "Profile") -> dict[str, Any]:
    """Give what a profile says about every load on its targets: models by use, how keys travel."""
    return {"models": dict(profile.models), "auth": profile.auth}


def overrides_of(options: object, *, but: Iterable[str] = ()) -> dict[str, Any]:
    """Read the options that were given, from a parser's namespace; ``but`` names those left out."""
    found = {}
    for option in OPTIONS:
        text = getattr(options, option.dest, None)
        if option.flag in but or text is None or text == "":
            continue
        found[option.key] = _KEYS[option.key](option.read(str(text)), option.flag)
    return found
