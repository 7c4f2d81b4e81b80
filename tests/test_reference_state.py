"""The reference server's state: what it keeps, counts and forgets, over restarts and crowds."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from gateproof.reference_server.app import App, seeded
from gateproof.reference_server.errors import OptionError
from gateproof.reference_server.journal import Journal
from gateproof.reference_server.profiles import PROFILES, seeds
from gateproof.reference_server.server import Options, serve_in_thread
from gateproof.reference_server.state import Account, Seed, State, UsageRow, picodollars
from hypothesis import given
from hypothesis import strategies as st

from tests.reference_calls import call, chat
from tests.reference_probes import body_of, exchange

DAY_S = 86_400
NOON = 20_000 * DAY_S + DAY_S // 2
FIRST = date(1970, 1, 1) + timedelta(days=20_000)
ACCOUNTS = ("a", "b")
SEEDS = [
    Seed(Account(one, "losi", "pro", 10**15, 10**12), ((f"sk-{one}", None),), (one, "word"))
    for one in ACCOUNTS
]


class Time:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.s = float(NOON)

    def __call__(self) -> float:
        """Return the time."""
        return self.s


def opened(path: Path | str = ":memory:", clock: Time | None = None) -> State:
    """Open a state with two accounts."""
    state = State(str(path), now=clock or Time())
    state.seed(SEEDS)
    return state


ANSWERS = st.tuples(
    st.just("answer"),
    st.sampled_from(ACCOUNTS),
    st.sampled_from(["m1", "m2"]),
    st.integers(0, 500),
    st.integers(0, 500),
    st.integers(0, 10**9),
)
EVENTS = st.one_of(
    ANSWERS,
    st.tuples(st.just("day")),
    st.tuples(st.just("restart")),
    st.tuples(st.just("flush")),
    st.tuples(st.just("key"), st.sampled_from(ACCOUNTS)),
    st.tuples(st.just("delete"), st.integers(0, 9)),
)


@given(events=st.lists(EVENTS, max_size=30))
def test_what_was_counted_stays_counted(
    events: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever happens in whatever order, with restarts between: nothing is lost or doubled."""
    path = tmp_path_factory.mktemp("state") / "state.db"
    clock = Time()
    state = opened(path, clock)
    usage: dict[tuple[str, int, str], list[int]] = {}
    keys: dict[str, tuple[str, str]] = {}
    gone: list[str] = []
    for name, *rest in events:
        if name == "answer":
            account, model, prompt, completion, cost = rest
            state.record(account, model, prompt, completion, cost)
            sums = usage.setdefault((account, int(clock.s) // DAY_S, model), [0, 0, 0, 0])
            for place, more in enumerate((1, prompt, completion, cost)):
                sums[place] += more
        elif name == "day":
            clock.s += DAY_S
        elif name == "flush":
            state.flush()
        elif name == "key":
            key, secret = state.create_key(rest[0], "n", None, prefix="losi-")
            keys[key.id] = (rest[0], secret)
        elif name == "delete" and rest[0] < len(keys):
            id_ = list(keys)[rest[0]]
            account, secret = keys.pop(id_)
            gone.append(secret)
            assert state.delete_key(account, id_)
        elif name == "restart":
            state.close()
            state = opened(path, clock)
    rows = {
        (account, row.day, row.model): row
        for account in ACCOUNTS
        for row in state.usage(account, date.min, date.max)
    }

    assert rows == {
        (account, date(1970, 1, 1) + timedelta(days=day), model): UsageRow(
            date(1970, 1, 1) + timedelta(days=day), model, *sums
        )
        for (account, day, model), sums in usage.items()
    }
    for account in ACCOUNTS:
        spent = sum(sums[3] for (of, _, _), sums in usage.items() if of == account)
        assert state.account(account).balance_pusd == 10**15 - spent
        ids = {key.id for key in state.keys(account) if not key.seeded}
        assert ids == {id_ for id_, (of, _) in keys.items() if of == account}
    for account, secret in keys.values():
        holder = state.holder("losi", secret)
        assert holder is not None
        assert holder.account == account
    assert [state.holder("losi", secret) for secret in gone] == [None] * len(gone)
    state.close()


def test_two_processes_share_a_file(tmp_path: Path) -> None:
    """What one counts and changes the other one sees, and both add to the same sums."""
    one, two = opened(tmp_path / "state.db"), opened(tmp_path / "state.db")
    key, secret = one.create_key("a", "n", ["models"], prefix="losi-")
    seen = two.holder("losi", secret)
    one.record("a", "m", 1, 2, 3)
    two.record("a", "m", 10, 20, 30)
    one.flush()
    (row,) = two.usage("a", FIRST, FIRST)

    assert seen is not None
    assert seen.permissions == frozenset({"models"})
    assert row == UsageRow(FIRST, "m", 2, 11, 22, 33)
    assert one.account("a").balance_pusd == 10**15 - 33
    assert one.delete_key("a", key.id)
    assert two.holder("losi", secret) is None
    one.close()
    two.close()


def test_no_secret_is_in_the_file(tmp_path: Path) -> None:
    """Keys, passwords and session tokens are kept as hashes."""
    path = tmp_path / "state.db"
    state = opened(path)
    _, secret = state.create_key("a", "n", None, prefix="losi-")
    session = state.login("losi", "a", "word")
    state.close()
    held = b"".join(file.read_bytes() for file in tmp_path.iterdir())

    assert session is not None
    for text in (secret, session[0], "word"):
        assert text.encode() not in held


def test_keys_of_others_stay() -> None:
    """An account cannot delete another one's key, nor a seeded one of its own."""
    state = opened()
    key, secret = state.create_key("a", "n", None, prefix="losi-")
    (mine,) = [one for one in state.keys("b") if one.seeded]

    assert not state.delete_key("b", key.id)
    assert not state.delete_key("b", mine.id)
    assert state.holder("losi", secret) is not None
    assert state.holder("osmapi", secret) is None


def test_a_session_ends() -> None:
    """A login gives a token that holds for its hour; a wrong name or password gives none."""
    clock = Time()
    state = opened(clock=clock)
    session = state.login("losi", "a", "word")
    assert session is not None
    token, lasts_s = session
    before = state.holder("losi", token)
    clock.s += lasts_s

    assert before is not None
    assert (before.account, before.plan) == ("a", "pro")
    assert state.holder("losi", token) is None
    assert state.login("losi", "a", "wrong") is None
    assert state.login("losi", "nobody", "word") is None
    assert state.login("omai", "a", "word") is None


def test_seeding_again_changes_nothing(tmp_path: Path) -> None:
    """A restart adds the demo accounts that are missing and leaves the others as they are."""
    path = tmp_path / "state.db"
    state = opened(path)
    state.record("a", "m", 1, 1, 500)
    before = state.account("a"), state.keys("a")
    state.close()
    state = opened(path)

    assert (state.account("a"), state.keys("a")) == before
    state.close()


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    """Another program's database, a text, or a folder is refused, and not written to."""
    foreign, text = tmp_path / "foreign.db", tmp_path / "notes.txt"
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE t (x)")
    db.close()
    text.write_text("dear diary, " * 100)
    before = foreign.read_bytes()
    for path in (foreign, text, tmp_path):
        with pytest.raises(OptionError):
            State(str(path))

    assert foreign.read_bytes() == before


def test_money_is_exact() -> None:
    """Prices become whole picodollars, and what would be rounded is refused."""
    assert picodollars(Decimal("0.15") / 1_000_000) == 150_000
    with pytest.raises(ValueError, match="not a whole number"):
        picodollars(Decimal("1e-13"))


def test_there_is_a_demo_account_for_each_vendor_and_plan() -> None:
    """Each has a key that names it, and the demo key belongs to the highest plan."""
    state = seeded()
    for profile in PROFILES.values():
        for plan in profile.plans:
            holder = state.holder(profile.name, f"sk-gateproof-{profile.name}-{plan}")
            second = state.holder(profile.name, f"sk-gateproof-{profile.name}-{plan}-2")
            assert holder is not None
            assert second is not None
            assert (holder.account, holder.plan) == (second.account, plan)
            assert holder.key != second.key
        demo = state.holder(profile.name, "sk-gateproof-demo")
        assert demo is not None
        assert demo.plan == list(profile.plans)[-1]
    keys = [secret for seed in seeds() for secret, _ in seed.keys if secret != "sk-gateproof-demo"]
    assert len(set(keys)) == len(keys)


def test_a_word_behind_a_demo_key_opens_an_account_of_its_own() -> None:
    """Who adds a word to a demo key has its plan and permissions, and an account alone."""
    state = seeded()
    first = state.holder("omai", "sk-gateproof-omai-basic")
    own = state.holder("omai", "sk-gateproof-omai-basic--row-1")
    wide = state.holder("losi", "sk-gateproof-demo--x")
    narrow = state.holder("losi", "sk-gateproof-losi-readonly--x")

    assert first is not None
    assert own == state.holder("omai", "sk-gateproof-omai-basic--row-1")
    assert own is not None
    assert (own.account, own.plan) == ("omai-basic--row-1", "basic")
    assert narrow is not None
    assert wide is not None
    assert (wide.account, wide.permissions) == (narrow.account, None)
    assert narrow.permissions == frozenset({"models"})
    for wrong in ("sk-gateproof-nobody--x", "sk-gateproof-demo--", "sk-gateproof-demo--A b"):
        assert state.holder("omai", wrong) is None


def test_the_server_tells_of_its_demo_accounts() -> None:
    """Whoever has the server can read how to get in, and what is left."""
    app = App(Journal(0))
    told = call(app, "GET", "/_accounts", key=None).body["accounts"]
    (one,) = [account for account in told if account["id"] == "omai-enterprise"]

    assert one == {
        "id": "omai-enterprise",
        "profile": "omai",
        "plan": "enterprise",
        "balance_usd": 1000,
        "keys": [
            {"key": key, "permissions": None}
            for key in (
                "sk-gateproof-demo",
                "sk-gateproof-omai-enterprise",
                "sk-gateproof-omai-enterprise-2",
            )
        ],
        "user": ["demo", "gateproof-demo-password"],
    }


def test_each_answer_costs_what_it_says() -> None:
    """The balance falls by the cost of each answer, to the last digit."""
    app = App(Journal(0))
    before = app.state.account("osmapi-default").balance_pusd
    costs = []
    for number in range(3):
        body = chat("gpt-4o", f"Say {number}.", stream=number == 2, web_search=number == 1)
        got = call(app, "POST", "/osmapi/v1/chat/completions", body)
        text = got.text.split(b'"cost_usd_total":')[1]
        costs.append(Decimal(text.split(b",")[0].decode()))
    got = call(app, "POST", "/v1/chat/completions", chat("gpt-4o-mini"))
    usage = got.body["usage"]
    account = app.state.account("openai-default")

    assert before - app.state.account("osmapi-default").balance_pusd == picodollars(sum(costs))
    spent = usage["prompt_tokens"] * 150_000 + usage["completion_tokens"] * 600_000
    assert picodollars(Decimal(1000)) - account.balance_pusd == spent


def test_many_clients_are_all_counted(tmp_path: Path) -> None:
    """Usage is the sum of what the answers said, however many ask at once."""
    said: list[int] = []
    with serve_in_thread(Options(state=str(tmp_path / "state.db"))) as base:

        def ask(number: int) -> None:
            for turn in range(5):
                body = chat("losi-mini", f"Client {number}, turn {turn}", stream=False)
                answer = exchange(base, "POST", "/losi/api/v1/chat/completions", body)
                said.append(body_of(answer)["usage"]["total_tokens"])

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        told = body_of(exchange(base, "GET", "/losi/api/v1/api-usage"))

    assert (told["total_requests"], told["total_tokens"]) == (40, sum(said))


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """Give the command that serves with a state in a file."""
    state = str(tmp_path / "state.db")
    return [sys.executable, "-m", "gateproof.reference_server", "--port", "0", "--state", state]


def started(command: list[str]) -> Iterator[str]:
    """Run a server; yield its address, then end it as an operator does."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
        os.kill(process.pid, signal.SIGTERM)


def test_a_restart_keeps_all(command: list[str]) -> None:
    """Keys, usage and balance are there again after the server was ended and started."""
    told: list[Any] = []
    secret = ""
    for turn in range(2):
        for base in started(command):
            if not turn:
                made = exchange(base, "POST", "/losi/api/v1/api-keys", {"name": "kept"})
                secret = body_of(made)["key"]
            body = chat("losi-mini", "Hello")
            exchange(base, "POST", "/losi/api/v1/chat/completions", body, key=secret)
            told.append(body_of(exchange(base, "GET", "/losi/api/v1/api-usage", key=secret)))

    assert [one["total_requests"] for one in told] == [1, 2]
    assert told[1]["total_tokens"] == 2 * told[0]["total_tokens"]
