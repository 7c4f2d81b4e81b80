"""The capacity search against simulated servers whose knee is known."""

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from gateproof.capacity import Ask, Knee, Search, Stop, find_knee, next_step, parse_search, replicas
from gateproof.errors import UsageError
from gateproof.falling import Step, levels_of
from gateproof.growth import growth_of
from gateproof.loadfile import load_scenario

Answer = tuple[float, float, bool]
"""When a request was due, how long it waited, in seconds, and whether it was inside the SLOs."""

Server = Callable[[float, float, random.Random], list[Answer]]
"""From rate, seconds and chance to the answers, in order of due."""

SEARCH = Search()


def queue(slots: int, service_s: float, slo_s: float) -> Server:
    """Serve random arrivals with so many slots; good is who waits no longer than the SLO."""

    def serve(rate: float, seconds: float, chance: random.Random) -> list[Answer]:
        free, made = [0.0] * slots, []
        at_s = chance.expovariate(rate)
        while at_s < seconds:
            begins_s = max(heapq.heappop(free), at_s)
            heapq.heappush(free, begins_s + service_s)
            made.append((at_s, begins_s - at_s, begins_s - at_s <= slo_s))
            at_s += chance.expovariate(rate)
        return made

    return serve


def sloped(knee: float, width: float, noise: float = 0.0) -> Server:
    """Let goodput fall along a logistic curve through 95 % at the knee; each step has its luck."""

    def serve(rate: float, seconds: float, chance: random.Random) -> list[Answer]:
        far = (math.log(rate / knee) + chance.gauss(0, noise)) / width - math.log(19)
        share = 1 / (1 + math.exp(min(far, 50)))
        return [(at / rate, 0.1, chance.random() < share) for at in range(round(rate * seconds))]

    return serve


def step_of(server: Server, level: float, seconds: float, chance: random.Random) -> Step:
    """Make a step as a run would tell it, without its first tenth."""
    made = server(level, seconds, chance)
    offered = len(made) / seconds
    made = [one for one in made if one[0] >= 0.1 * seconds]
    good = [inside for _, _, inside in made]
    cuts = [round(part * len(good) / 5) for part in range(6)]
    slices = [(sum(good[a:b]), b - a) for a, b in pairwise(cuts)]
    growth = growth_of([due for due, _, _ in made], [wait for _, wait, _ in made])
    n = len(good)
    return Step(level, n, sum(good), tuple(slices), offered, seconds=seconds, growth=growth)


def searched(server: Server, seed: int, search: Search = SEARCH) -> tuple[list[Step], Stop]:
    """Follow a search to its end."""
    chance, steps = random.Random(seed), list[Step]()
    while isinstance(ask := next_step(search, steps), Ask):
        steps.append(step_of(server, ask.level, ask.seconds, chance))
    return steps, ask


def knee_of(server: Server, seed: int, search: Search = SEARCH) -> Knee:
    """Follow a search to its end and say what it found."""
    steps, stop = searched(server, seed, search)
    return find_knee(search, steps, stop)


def true_knee(server: Server, low: float, high: float) -> float:
    """Find by brute force where the goodput of a load of minutes is 95 %."""
    for _ in range(8):
        middle, chance = math.sqrt(low * high), random.Random(1)
        good = [one[2] for _ in range(4) for one in server(middle, 120, chance)]
        low, high = (middle, high) if sum(good) / len(good) >= 0.95 else (low, middle)
    return math.sqrt(low * high)


BUNDLED = parse_search(load_scenario("ramp-to-knee").settings["search"], "ramp-to-knee")


# Measured with 60 seeds each: 0.97 to 1.00 by either search, where the interval is a nominal 95 %;
# the lower end is above the knee in at most two of 60, and the estimate 5 % below it to 7 % above
# in the median. By goodput alone, without the growth of waiting, the lower end is above the knee in
# up to 22 of 60, and the estimate up to 14 %: a queue without end passes no SLO in three seconds.
@pytest.mark.parametrize("search", [SEARCH, BUNDLED], ids=["usual", "bundled"])
@pytest.mark.parametrize(
    "server",
    [
        pytest.param(queue(8, 0.2, 0.3), id="eight slots"),
        pytest.param(queue(8, 0.178, 0.45), id="a patient SLO"),
        pytest.param(queue(2, 0.05, 0.45), id="two slots"),
        pytest.param(sloped(40, 0.08), id="a slope"),
        pytest.param(sloped(40, 0.02, 0.1), id="luck of whole steps"),
    ],
)
def test_the_interval_holds_the_true_knee(server: Server, search: Search) -> None:
    """Over many seeds the interval holds the knee of a long load in nine searches of ten."""
    truth = true_knee(server, 20, 60)
    found = [knee_of(server, seed, search) for seed in range(20)]
    hits = [(knee.low or 0) <= truth <= (knee.high or math.inf) for knee in found]
    over = [(knee.low or 0) > truth for knee in found]
    safe = [(knee.low or 0) * search.headroom <= truth for knee in found]

    assert sum(hits) >= 18
    assert sum(over) <= 2
    assert sum(safe) == 20
    assert sorted(k.estimate or 0 for k in found)[10] == pytest.approx(truth, rel=0.12)
    assert sorted((k.high or 1e3) / (k.low or 1) for k in found)[10] < 2


def test_a_search_takes_at_most_a_minute() -> None:
    """The bundled search puts less than 45 s of load on: each step costs about a second more."""
    for seed in range(20):
        steps, stop = searched(queue(8, 0.178, 0.45), seed, BUNDLED)

        assert stop.outcome == "found"
        assert sum(step.seconds for step in steps) + len(steps) * 1.3 < 55


def test_a_step_whose_waiting_grows_breaks() -> None:
    """A level beyond the capacity breaks, and says what was served, although all SLOs hold."""
    even: list[Answer] = [(k / 44, k / 40 - k / 44, True) for k in range(130)]
    growth = growth_of([due for due, _, _ in even], [wait for _, wait, _ in even])
    step = Step(44, 130, 130, ((26, 26),) * 5, 44.0, growth=growth)

    assert growth == pytest.approx((0.1, 0.1, 0.1), abs=1e-6)
    assert (step.grows, step.kept, step.served) == (True, 0, pytest.approx(40, rel=1e-3))
    level = levels_of([Step(32, 100, 100, growth=(0, 0, 0)), step], 0.95)[1]
    assert level.holds < 0.025
    # Not when it is for the luck of arrivals: as much as the level was served.
    assert not replace(step, offered=48.5).grows
    assert growth_of([1.0] * 29, [1.0] * 29) is None


def test_growth_that_is_not_sure_lowers_the_lower_end() -> None:
    """The lower end goes down by what waiting may have grown in the steps that held."""
    held = [Step(40, 500, 500, offered=40.0, growth=(0.04, -0.02, 0.10))] * 9
    knee = find_knee(SEARCH, [*held, *[Step(44, 500, 100, offered=44.0)] * 4], Stop("found", ""))

    assert knee.low == pytest.approx(40 / 1.06)


def test_a_sharp_knee_is_found_in_few_steps() -> None:
    """A server that breaks exactly at 40 is found between the two levels next to it."""
    knee = knee_of(sloped(40, 0.001), 3)

    assert knee.outcome == "found"
    assert knee.low is not None
    assert knee.high is not None
    assert knee.low <= 40 <= knee.high <= knee.low * 1.6
    assert knee.estimate == pytest.approx(40, rel=0.1)
    assert len(knee.levels) <= 10
    assert "95% confidence between" in knee.says


def test_a_server_that_never_breaks_is_said_so() -> None:
    """Up to the highest level nothing breaks: the interval is open above, and nothing guessed."""
    steps, stop = searched(sloped(1e6, 0.01), 1)
    knee = find_knee(SEARCH, steps, stop)

    assert (knee.outcome, knee.estimate, knee.high) == ("never-broke", None, None)
    assert knee.low == pytest.approx(SEARCH.highest, rel=0.01)
    assert [step.level for step in steps[-2:]] == [SEARCH.highest] * 2
    assert "No knee was found up to 256 requests/s" in knee.says


def test_a_server_that_is_always_broken_is_said_so() -> None:
    """The lowest level fails, twice: no replicas can be told."""
    steps, stop = searched(sloped(0.1, 0.01), 1)
    knee = find_knee(SEARCH, steps, stop)

    assert (knee.outcome, knee.estimate, knee.low) == ("broken-at-lowest", None, None)
    assert [step.level for step in steps] == [4.0, 4.0]
    assert "fail already at the lowest level, 4 requests/s" in knee.says
    assert replicas(SEARCH, knee, 100).count is None


def test_an_unlucky_step_is_measured_again() -> None:
    """A break in the climb that may be chance is made again, and then forgotten."""
    lucky = [Step(4, 60, 60), Step(8, 60, 55)]
    again = next_step(SEARCH, lucky)
    onwards = next_step(SEARCH, [*lucky, Step(8, 60, 60)])

    assert again == Ask(8.0, 7.5, "once more: the break may be chance")
    assert onwards == Ask(16.0, 4.0, "upwards")


def test_a_rise_with_the_load_is_pooled() -> None:
    """A lucky level above an unlucky one is no knee between them."""
    levels = levels_of([Step(4, 60, 60), Step(8, 60, 55), Step(16, 60, 60)], 0.95)

    assert [round(level.fitted, 3) for level in levels] == [1.0, 0.958, 0.958]
    assert [level.share for level in levels] == [1.0, 55 / 60, 1.0]


def test_what_holds_above_supports_what_is_below() -> None:
    """A level is likelier to hold when a higher one does, and less when a lower one breaks."""
    one, many = Step(8, 10, 10), Step(16, 200, 200)
    alone, supported = levels_of([one], 0.95)[0], levels_of([one, many], 0.95)[0]
    broken = levels_of([Step(4, 200, 100), one], 0.95)[1]

    assert supported.holds > alone.holds > broken.holds
    assert broken.holds < 0.01


def test_slices_that_differ_are_fewer_witnesses() -> None:
    """Requests that fail together count for less than as many that fail apart."""
    together = Step(8, 100, 80, ((20, 20), (20, 20), (20, 20), (20, 20), (0, 20)))
    apart = Step(8, 100, 80, ((16, 20),) * 5)

    assert (together.witnesses, apart.witnesses) == (pytest.approx(4), 9)


def test_steps_that_contradict_each_other_are_fewer_witnesses() -> None:
    """A level that held once and broke once is in doubt, however many requests it had."""
    level = levels_of([Step(8, 500, 500), Step(8, 500, 0)], 0.95)[0]

    assert level.witnesses == pytest.approx(1)
    assert level.holds > 0.025


def test_a_late_generator_ends_the_search() -> None:
    """A step in which the generator was late is no evidence; the second one ends the search."""
    held = [Step(4, 60, 60), Step(8, 60, 60)]
    late = Step(16, 60, 10, limited="loop lag p99 is 40 ms")
    once, twice = next_step(SEARCH, [*held, late]), next_step(SEARCH, [*held, late, late])
    assert isinstance(twice, Stop)
    knee = find_knee(SEARCH, [*held, late, late], twice)

    assert once == Ask(16.0, 4.0, "once more: the generator was late")
    assert twice == Stop("generator", "loop lag p99 is 40 ms")
    assert [level.level for level in knee.levels] == [4, 8]
    assert knee.high is None
    assert "a limit of the generator's own" in knee.says
    # When the second try goes well, the search goes on.
    assert next_step(SEARCH, [*held, late, Step(16, 60, 60)]) == Ask(32.0, 4.0, "upwards")


def test_a_search_ends_after_its_most_steps() -> None:
    """A search that may make three steps tells what three steps say."""
    search = replace(SEARCH, most_steps=3)
    steps, stop = searched(sloped(40, 0.01), 1, search)
    knee = find_knee(search, steps, stop)

    assert (len(steps), knee.outcome) == (3, "unfinished")
    assert "The highest level that held so far is 16 requests/s" in knee.says


def test_enough_steps_around_a_knee_have_found_it() -> None:
    """When a level holds and another one breaks, the most steps end a search with a knee."""
    search = replace(SEARCH, most_steps=6)
    steps, stop = searched(sloped(40, 0.01), 1, search)

    assert stop == Stop("found", "the most steps that it may make, 6, are made")
    assert "with 95% confidence between" in find_knee(search, steps, stop).says


def test_a_step_without_requests_ends_the_search() -> None:
    """Nothing can be learnt from a step in which no request was judged."""
    stop = next_step(SEARCH, [Step(4, 0, 0)])

    assert stop == Stop("steps", "a step had no request to judge: make the steps longer")
    assert find_knee(SEARCH, [Step(4, 0, 0)], Stop("steps", "x")).levels == ()


def test_users_are_whole() -> None:
    """A search by users tries whole numbers only, and ends between two neighbours."""
    search = replace(SEARCH, by="users", lowest=1, highest=64, resolution=0.01)
    steps, stop = searched(sloped(5.5, 0.001), 1, search)
    knee = find_knee(search, steps, stop)

    assert {step.level for step in steps} == {1, 2, 4, 8, 5, 6}
    assert (knee.outcome, knee.unit) == ("found", "users")


def test_replicas_round_up_and_say_what_they_assume() -> None:
    """R / (lower bound x headroom), rounded up; linear scaling is said."""
    knee = find_knee(SEARCH, [Step(40, 500, 500)] * 5, Stop("never-broke", ""))
    got = replicas(SEARCH, knee, 100)

    assert (knee.low, got.count) == (40, 4)
    assert replicas(SEARCH, knee, 32).count == 1
    assert "4 replicas: 100 / (40 x 0.8), rounded up" in got.says
    assert "scale linearly" in got.says


def test_replicas_by_users_go_by_what_was_answered() -> None:
    """With users searched, the rate of answers at the lower bound is what a replica carries."""
    search = replace(SEARCH, by="users")
    steps = [Step(8, 500, 500, figures={"answered_per_s": 20.0})] * 5
    knee = find_knee(search, steps, Stop("never-broke", ""))

    assert replicas(search, knee, 100).count == 7


def test_an_interval_end_moves_to_what_really_came() -> None:
    """A level that held while fewer requests came than were asked for is a bound at what came."""
    steps = [Step(40, 500, 500, offered=36.0)] * 6 + [Step(44, 500, 100, offered=46.0)] * 4
    knee = find_knee(SEARCH, steps, Stop("found", ""))

    assert (knee.low, knee.high) == (36.0, 46.0)


def test_steps_come_back_from_json() -> None:
    """A step is read from its JSON form, without what this version does not know."""
    row = {"level": 4.0, "n": 10, "good": 9, "slices": [[4, 5], [5, 5]], "later": 1}
    grown = {**row, "growth": [0.1, 0, 0.2]}

    assert Step.of(row) == Step(4.0, 10, 9, ((4, 5), (5, 5)))
    assert Step.of(grown).growth == (0.1, 0.0, 0.2)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"from": "4"}, "ramp.toml, [search], from must be a number from 0.01 to 1e+06"),
        ({"repeats": 2.5}, "repeats must be a whole number from 1 to 20, and is 2.5."),
        ({"goodput": 1.5}, "goodput must be a number from 0.01 to 1, and is 1.5."),
        ({"form": 4}, "ramp.toml, [search]: Unknown key: 'form'."),
        ({"by": "tokens"}, "ramp.toml, [search], by: Unknown way of search: 'tokens'."),
        ({"from": 8, "to": 8}, "from = 8 is not below to = 8."),
        ({"by": "users", "from": 1.5}, "from and to are numbers of users, so they must be whole."),
    ],
)
def test_a_wrong_table_is_refused(table: dict[str, object], says: str) -> None:
    """What is wrong in a [search] table is named with its place and what was wanted."""
    with pytest.raises(UsageError) as caught:
        parse_search(table, "ramp.toml, [search]")

    assert says in caught.value.message


def test_a_table_is_read() -> None:
    """Every key of a [search] table arrives in its field."""
    table = {"by": "users", "from": 2, "to": 50, "factor": 1.5, "resolution": 0.2, "repeats": 2,
             "step_s": 3, "requests": 30, "goodput": 0.9, "headroom": 0.5,
             "most_steps": 9}  # fmt: skip

    assert parse_search(table, "x") == Search("users", 2, 50, 1.5, 0.2, 2, 3, 30, 0.9, 0.5, 9)
    assert parse_search({}, "x") == Search()
