"""Scenario files: what is read, what is refused, and what options change."""

import re
from pathlib import Path
from typing import Any

import pytest
from gateproof.loadtests.timetable import arrivals

from gateproof.errors import UsageError
from gateproof.loadfile import (
    OPTIONS,
    load_scenario,
    overrides_of,
    plan_of,
    read_scenario,
    scenario_names,
)
from gateproof.plan import LoadPlan, Stage, describe

OPEN = 'says = "s"\nrate_per_s = 5\n'
STAGES = 'says = "s"\n[[stages]]\nfor_s = 2\nusers = 4\n[[stages]]\nfor_s = 6\nusers = 10\n'


def _plan(text: str, **overrides: Any) -> LoadPlan:
    scenario = read_scenario("own", text, place="own.toml")
    return plan_of(scenario, target="http://127.0.0.1/v1", model="m", **overrides)


@pytest.mark.parametrize("name", scenario_names())
def test_bundled_scenarios_are_whole(name: str) -> None:
    """Each bundled file reads well: a comment first, a sentence, a plan that can be told."""
    scenario = load_scenario(name)
    plan = plan_of(scenario, target="http://127.0.0.1/v1", model="m")

    assert scenario.text.startswith("# ")
    assert max(map(len, scenario.text.splitlines())) <= 100
    assert describe(plan)
    assert LoadPlan.of(plan.as_json()) == plan


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rate_per_s = 5", "own.toml has no says"),
        ('says = "', "own.toml is not TOML"),
        (OPEN + "rat = 5", "own.toml: Unknown key: 'rat'"),
        (OPEN + "duration_s = true", "own.toml, duration_s must be a number above 0"),
        (OPEN + "seed = -1", "own.toml, seed must be a whole number from 0"),
        (OPEN + 'arrivals = "poison"', "own.toml, arrivals: Unknown kind of arrivals: 'poison'"),
        (OPEN + "users = 3", "needs users and takes no rate_per_s"),
        (OPEN + "think_s = 1", "think_s belongs to the closed model"),
        (OPEN + "duration_s = 2\nwarm_up_s = 1\ncool_down_s = 1", "leave nothing of 2 s"),
        (OPEN + "[slos]\nttft = 5", "own.toml, slos: Unknown SLO: 'ttft'"),
        (OPEN + "[slos]\nttft_ms = 0", "own.toml, slos.ttft_ms must be a number above 0"),
        (OPEN + "[[work]]\nslos = { ttft = 5 }", "own.toml, work 1, slos: Unknown SLO: 'ttft'"),
        (OPEN + "[[work]]\nslos = 5", "own.toml, work 1, slos is not a table."),
        (OPEN + "goodput = 0.9", "no SLO is named"),
        (OPEN + "goodput = 0.9\n[slos]\nttft_ms = 1\n[[work]]\nslos = {}", "no SLO is named"),
        (OPEN + "[budget]\nusd = -1", "own.toml, budget, usd is -1"),
        (OPEN + "[timeouts]\nread_s = 1", "own.toml, timeouts: Unknown timeout: 'read_s'"),
        ('says = "s"\nusers = 2\ncap = 1', "cap belongs to the open model"),
        ('says = "s"', "needs rate_per_s"),
        ('says = "s"\narrivals = "trace"', "arrivals are a trace, and none is named"),
        (OPEN + "speed = 2", "speed belongs to a trace, and none is named"),
        (OPEN + 'trace = "t.csv"\narrivals = "poisson"', "arrivals are not of it"),
        (OPEN + 'trace = "t.csv"\narrivals = "trace"', "a trace has its own times"),
        (STAGES + "ramp = 1", "own.toml, stages 2, ramp must be true or false"),
        (STAGES + "rate_per_s = 1", "stages 2 needs for_s, and either users or rate_per_s"),
        (STAGES + "[[stages]]\nfor_s = 1\nrate_per_s = 1", "so each stage needs users"),
        ("users = 3\n" + STAGES, "stages take the place of users"),
        ('says = "s"\n[[stages]]\nfor_s = 1\nusers = 0', "no stage is above 0"),
        ('says = "s"\nstages = 3', "stages is no list of tables"),
    ],
)
def test_a_wrong_file_is_refused(text: str, says: str) -> None:
    """Every mistake is named with its place, and what to do."""
    with pytest.raises(UsageError) as refused:
        _plan(text)

    assert says in str(refused.value)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    """A path runs a user's own file under its name, and what it names is found beside it."""
    (tmp_path / "mine.toml").write_text(OPEN)
    plan = plan_of(str(tmp_path / "mine.toml"), target="http://127.0.0.1/v1", model="m")

    assert (plan.scenario, plan.arrivals, plan.base) == ("mine", "poisson", str(tmp_path))
    assert (plan.duration_s, plan.warm_up_s) == (10.0, 1.0)
    with pytest.raises(UsageError, match="cannot be read"):
        load_scenario(str(tmp_path / "none.toml"))
    with pytest.raises(UsageError, match=r"Unknown load scenario: 'chat-stedy'"):
        load_scenario("chat-stedy")


def test_seconds_stretch_the_whole_timetable() -> None:
    """Stages keep their shares; warm-up and cool-down shrink with a run, and do not grow."""
    text = "warm_up_s = 1\ncool_down_s = 0.5\n" + STAGES
    short, long = (_plan(text, duration_s=seconds) for seconds in (4.0, 16.0))

    assert [stage.for_s for stage in short.stages] == [1.0, 3.0]
    assert (short.duration_s, short.warm_up_s, short.cool_down_s) == (4.0, 0.5, 0.25)
    assert [stage.for_s for stage in long.stages] == [4.0, 12.0]
    assert (long.duration_s, long.warm_up_s, long.cool_down_s) == (16.0, 1.0, 0.5)


def test_users_set_the_height_of_stages() -> None:
    """With stages, --users is their highest level, and the others keep their share of it."""
    assert [stage.users for stage in _plan(STAGES, users=5).stages] == [2, 5]
    assert _plan(STAGES).stages == (Stage(2.0, users=4), Stage(6.0, users=10))
    with pytest.raises(UsageError, match="has stages of users"):
        _plan(STAGES, rate_per_s=5.0)


def test_another_model_of_load_takes_its_own_level() -> None:
    """An option that changes the model of load replaces the level that the file has."""
    plan = _plan(OPEN, arrivals="closed", users=3)

    assert (plan.arrivals, plan.users, plan.rate_per_s) == ("closed", 3, None)
    with pytest.raises(UsageError, match="takes no rate_per_s"):
        _plan(OPEN, users=3)


def test_a_trace_brings_its_arrivals_and_its_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trace is found beside the scenario's file, told by its first line, and gives the length."""
    (tmp_path / "burst.csv").write_text(
        "Timestamp,Request tokens,Response tokens\n100,7,8\n102,7,8\n112,7,8\n"
    )
    (tmp_path / "mine.toml").write_text('says = "s"\ntrace = "burst.csv"\nspeed = 4\n')
    own = plan_of(str(tmp_path / "mine.toml"), target="http://127.0.0.1/v1", model="m")
    trace = str(tmp_path / "burst.csv")
    over = plan_of("chat-open", target="http://127.0.0.1/v1", model="m", trace=trace)

    assert (own.arrivals, own.trace, own.trace_format) == ("trace", trace, "burstgpt")
    assert (own.duration_s, over.duration_s) == (4.0, 13.0)  # and a second for the last
    assert (over.arrivals, over.rate_per_s, over.stages) == ("trace", None, ())
    assert list(arrivals(own)) == [(0, (7, 8)), (500_000_000, (7, 8)), (3_000_000_000, (7, 8))]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "mine.toml").rename(tmp_path / "other" / "mine.toml")
    here = plan_of(
        "other/mine.toml",
        target="http://127.0.0.1/v1",
        model="m",
        trace="burst.csv",
        duration_s=1.0,
    )  # an option's file is of the caller's folder; at this speed a second holds two requests
    assert (here.trace, here.duration_s) == ("burst.csv", 1.0)
    (tmp_path / "burst.csv").write_text("a,b\n")
    with pytest.raises(UsageError, match="of no format that is known"):
        plan_of("chat-open", target="http://127.0.0.1/v1", model="m", trace=trace)


def test_options_are_read_as_the_file_is() -> None:
    """Each option takes text, gives the value that its key has in a file, and names itself."""

    class Given:
        seconds = "2.5"
        users = 7
        slo = "ttft_ms=500"
        budget = "requests=5,usd=1"
        usage = "no"
        rate = None
        cap = ""

    assert overrides_of(Given(), but=["--users"]) == {
        "duration_s": 2.5,
        "slos": {"ttft_ms": 500.0},
        "usage": False,
        "budget": {"requests": 5, "usd": "1"},
    }
    Given.seconds = "soon"
    with pytest.raises(UsageError, match="--seconds must be a number above 0"):
        overrides_of(Given())
    assert len({option.dest for option in OPTIONS}) == len(OPTIONS)


def test_the_readme_has_a_scenario_that_can_be_read() -> None:
    """What the README shows is a scenario, and means what it says beside each key."""
    readme = Path(__file__).resolve().parent.parent / "README.md"
    (text,) = re.findall(r"```text\n(says = .*?)```", readme.read_text("utf-8"), re.DOTALL)
    plan = _plan(text)

    assert (plan.duration_s, plan.shape.most, len(plan.work)) == (40.0, 20.0, 2)
    assert plan.goodput is None
    assert plan.slos == {"ttft_ms": 500.0}


def test_the_readme_names_every_scenario() -> None:
    """Each bundled scenario is told of in the README."""
    readme = Path(__file__).resolve().parent.parent / "README.md"
    text = readme.read_text("utf-8")

    assert [name for name in scenario_names() if f"`{name}`" not in text] == []
