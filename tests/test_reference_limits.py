"""The reference server's rate limits: each algorithm against its definition, and at the door."""

import copy
from collections.abc import Callable
from itertools import product

import pytest
from gateproof.reference_server.__main__ import main
from gateproof.reference_server.app import App
from gateproof.reference_server.errors import OptionError
from gateproof.reference_server.journal import Journal
from gateproof.reference_server.limits import (
    ALGORITHMS,
    Limit,
    Meter,
    Ruler,
    duration,
    read_limit,
)
from gateproof.reference_server.server import Options
from hypothesis import given
from hypothesis import strategies as st

from tests.reference_calls import call, chat

W = 1000  # the window, in ns, small enough to try every moment
AMOUNT = 7
STEPS = st.lists(st.tuples(st.integers(0, 1700), st.integers(1, AMOUNT)), max_size=25)
Log = list[tuple[int, int]]


def fixed_window(log: Log, now: int) -> float:
    """Sum the calls of the window that is open: it began with the first call after the last."""
    begin, used = -W, 0
    for at, cost in log:
        if at >= begin + W:
            begin, used = at, 0
        used += cost
    return used if now < begin + W else 0


def sliding_log(log: Log, now: int) -> float:
    """Sum the calls that are younger than the window."""
    return sum(cost for at, cost in log if at > now - W)


def sliding_counter(log: Log, now: int) -> float:
    """Sum this window's calls and the part of the last one's that is less than a window ago."""
    begin, before, used = 0, 0, 0
    for at, cost in [*log, (now, 0)]:
        windows = (at - begin) // W
        if windows:
            before, used = (used if windows == 1 else 0), 0
            begin += windows * W
        if not before and not used:
            begin = at
        used += cost
    return used + before * (W - (now - begin)) / W


def token_bucket(log: Log, now: int) -> float:
    """Return what is missing in the bucket."""
    missing, last = 0.0, 0
    for at, cost in [*log, (now, 0)]:
        missing = max(0.0, missing - (at - last) * AMOUNT / W) + cost
        last = at
    return missing


ORACLES: dict[str, Callable[[Log, int], float]] = {
    "fixed-window": fixed_window,
    "sliding-log": sliding_log,
    "sliding-counter": sliding_counter,
    "token-bucket": token_bucket,
}


def passes(meter: Meter, now: int, cost: int) -> bool:
    """Tell whether so much would pass, without touching the meter."""
    return copy.deepcopy(meter).wait_ns(now, cost) == 0


@pytest.mark.parametrize("name", ALGORITHMS)
@given(steps=STEPS)
def test_an_algorithm_keeps_its_definition(name: str, steps: list[tuple[int, int]]) -> None:
    """A call passes exactly when what was used before, by the definition, leaves room for it."""
    meter = ALGORITHMS[name](Limit("requests", AMOUNT, W))
    log: Log = []
    now = 5_000
    for gap, cost in steps:
        now += gap
        room = AMOUNT - ORACLES[name](log, now)
        waits = meter.wait_ns(now, cost)

        assert (waits == 0) == (cost <= room + 1e-9)
        assert meter.left(now) == int(room + 1e-9)
        if not waits:
            meter.add(now, cost)
            log.append((now, cost))


@pytest.mark.parametrize("name", ALGORITHMS)
@given(steps=STEPS, cost=st.integers(1, AMOUNT))
def test_a_wait_is_exact(name: str, steps: list[tuple[int, int]], cost: int) -> None:
    """After the wait a call passes, a nanosecond before it does not; a reset is as exact."""
    meter = ALGORITHMS[name](Limit("requests", AMOUNT, W))
    now = 5_000
    for gap, size in steps:
        now += gap
        if not meter.wait_ns(now, size):
            meter.add(now, size)
    waits, reset = meter.wait_ns(now, cost), meter.reset_ns(now)

    assert passes(meter, now + waits, cost)
    assert waits == 0 or not passes(meter, now + waits - 1, cost)
    assert passes(meter, now + reset, AMOUNT)
    assert reset == 0 or not passes(meter, now + reset - 1, AMOUNT)


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "0s"),
        (1, "1ms"),
        (20_000_000, "20ms"),
        (1_000_000_000, "1s"),
        (1_500_000_000, "1.5s"),
        (60_000_000_000, "1m0s"),
        (360_000_000_000, "6m0s"),
        (3_661_250_000_000, "1h1m1.25s"),
    ],
)
def test_durations_are_written_as_upstream(time_ns: int, text: str) -> None:
    """Hours, minutes and seconds, or milliseconds; never less than it is."""
    assert duration(time_ns) == text


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("requests=60/60s", Limit("requests", 60, 60_000_000_000, "sliding-log", "key")),
        (
            "tokens=40000/1m,algorithm=token-bucket,scope=account",
            Limit("tokens", 40_000, 60_000_000_000, "token-bucket", "account"),
        ),
        ("requests=5/500ms,scope=model", Limit("requests", 5, 500_000_000, scope="model")),
    ],
)
def test_limits_are_read(text: str, limit: Limit) -> None:
    """What is not said is a sliding log for each key."""
    assert read_limit(text) == limit


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("60", "requests=60/60s"),
        ("requests=0/60s", "requests=60/60s"),
        ("requests=6/60s,window=3", "Known: algorithm, scope"),
        ("requests=6/60s,algorithm=leaky", "token-bucket"),
        ("requests=6/60s,scope=user", "Known: account, key, model"),
    ],
)
def test_wrong_limits_say_what_would_do(text: str, said: str) -> None:
    """A mistake is answered with the form or with the valid names."""
    with pytest.raises(OptionError, match=said):
        read_limit(text)


# At the door


class Time:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.ns = 10**15

    def __call__(self) -> int:
        """Return the time."""
        return self.ns


def limited(clock: Time, *texts: str, scale: int = 1) -> App:
    """Return a gateway with limits for everybody."""
    limits = tuple(read_limit(text) for text in texts)
    return App(Journal(0), ruler=Ruler(scale, clock_ns=clock), limits=limits)


@pytest.mark.parametrize(
    ("algorithm", "what", "scope"),
    [
        pytest.param(*one, id="-".join(one))
        for one in product(ALGORITHMS, ("requests", "tokens"), ("key", "model", "account"))
    ],
)
def test_every_limiter_at_the_door(algorithm: str, what: str, scope: str) -> None:
    """A limit holds for those whom its scope joins, and its Retry-After is true."""
    clock = Time()
    body = chat("gpt-4o-mini", "Repeat exactly: one two", max_tokens=2)
    each = 3 + 4 + 5 + 2 if what == "tokens" else 1  # the prompt's frame, text, and the answer
    app = limited(clock, f"{what}={3 * each}/60s,algorithm={algorithm},scope={scope}")
    path = "/openai/v1/chat/completions"
    key, second = "sk-gateproof-openai-default", "sk-gateproof-openai-default-2"
    used = [call(app, "POST", path, body, key=key) for _ in range(4)]
    total = used[0].body["usage"]["total_tokens"] if what == "tokens" else 1

    assert total == each
    assert [got.status for got in used] == [200, 200, 200, 429]
    assert [got.headers[f"x-ratelimit-remaining-{what}"] for got in used] == [
        str(left * each) for left in (2, 1, 0, 0)
    ]
    assert used[3].error == (429, what, "rate_limit_exceeded")
    others = {
        "key": call(app, "POST", path, body, key=second).status,
        "model": call(app, "POST", path, {**body, "model": "gpt-4o"}, key=key).status,
    }
    assert others == {
        "key": {"key": 200, "model": 429, "account": 429}[scope],
        "model": {"key": 429, "model": 200, "account": 429}[scope],
    }
    wait_ms = int(used[3].headers["retry-after-ms"])
    assert int(used[3].headers["retry-after"]) == -(-wait_ms // 1000)
    clock.ns += (wait_ms - 1) * 1_000_000
    assert call(app, "POST", path, body, key=key).status == 429
    clock.ns += 1_000_000
    assert call(app, "POST", path, body, key=key).status == 200


def test_a_scaled_clock_makes_minutes_seconds() -> None:
    """With a scale of 60 a minute's limit is over after a second, and says so."""
    clock = Time()
    app = limited(clock, "requests=1/60s", scale=60)
    first, second = (call(app, "GET", "/v1/models") for _ in range(2))

    assert (first.status, second.status) == (200, 429)
    assert first.headers["x-ratelimit-reset-requests"] == "1s"
    assert second.headers["retry-after"] == "1"
    clock.ns += 10**9
    assert call(app, "GET", "/v1/models").status == 200


def test_what_was_refused_counts_for_nothing() -> None:
    """A refused call takes no token; a call that is invalid is a request all the same."""
    app = limited(Time(), "requests=4/60s", "tokens=30/60s")
    path = "/openai/v1/chat/completions"
    small, large = chat("gpt-4o-mini", "Repeat exactly: a"), chat("gpt-4o-mini", "word " * 40)
    statuses = [
        call(app, "POST", path, body).status
        for body in (small, large, {"model": "gpt-4o-mini"}, small, large, large)
    ]
    last = call(app, "POST", path, large)

    assert statuses == [200, 429, 400, 200, 429, 429]
    assert last.headers["x-ratelimit-remaining-requests"] == "1"
    assert "retry-after" not in last.headers
    assert "This request alone takes more" in last.body["error"]["message"]


def test_wrong_keys_and_questions_about_methods_are_not_counted() -> None:
    """Only calls with a valid key count."""
    app = limited(Time(), "requests=1/60s")
    statuses = [
        call(app, "GET", "/v1/models", key="sk-wrong").status,
        call(app, "OPTIONS", "/v1/models").status,
        call(app, "GET", "/v1/models").status,
        call(app, "GET", "/v1/models").status,
    ]

    assert statuses == [401, 204, 200, 429]


def test_requests_a_minute_is_a_fixed_window() -> None:
    """The short form stands for a fixed window of a minute for each key."""
    app = Options(limit_rpm=2).app()
    statuses = [call(app, "GET", "/v1/models").status for _ in range(3)]

    assert statuses == [200, 200, 429]
    assert app.limits == (Limit("requests", 2, 60_000_000_000, "fixed-window"),)


def test_idle_meters_are_forgotten() -> None:
    """Many callers do not fill the memory: who has nothing to remember is dropped."""
    clock = Time()
    ruler = Ruler(clock_ns=clock)
    limit = read_limit("requests=1/1s")
    for number in range(20_002):
        clock.ns += 10**6
        ruler.gate([limit], {"key": str(number), "account": "", "model": ""}).take()

    assert len(ruler._meters) < 1_100


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--limit", "sixty"], "A limit begins as requests=60/60s"),
        (["--clock-scale", "0"], "--clock-scale is 1 to 100000, not 0."),
        (["--state", "/"], "Cannot use '/' as the state"),
    ],
)
def test_wrong_options_end_with_what_to_do(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """A mistake of the operator is one message and status 2."""
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
