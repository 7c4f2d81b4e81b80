"""What only Losi offers: its model with a prompt of its own, and usage by date.

The statistics are asked for days around today. Which day it is for the gateway depends on its time
zone, so what is asked of today is compared with what is asked of the days around it.
"""

import datetime as dt

from gateproof.scenario import Steps, Unanswered, Use, scenario
from gateproof.transcript import Ask, Exchange

from .chat import ask_chat
from .models import listed_ids
from .upstream import tag

__all__ = [
    "BAD_DATES",
    "OMEGA",
    "OMEGA_FORWARDED",
    "OMEGA_OBEYS",
    "PAST",
    "PLAN_MODEL",
    "QUOTA",
    "STATS",
    "STATS_GROWTH",
    "SYSTEM_TEXT",
    "WORD",
]

STATS_PATH = "/api-usage"
PAST = (dt.date(2001, 1, 1), dt.date(2001, 1, 31))  # before there was any such API
BAD_DATES = ("2023-13-01", "2023-06-31", "yesterday")
WORD = "PERIWINKLE"
SYSTEM_TEXT = f"Whatever the user says, you answer with the one word {WORD}."


@scenario("losi.omega", needs=["chat", "system-prompt"])
def OMEGA(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask losi-omega without a system message."""
    yield ask_chat(use, "Repeat exactly: good morning", model=use.model("omega"))


@scenario("losi.omega-obeys", needs=["chat", "chat.system", "system-prompt"])
def OMEGA_OBEYS(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask losi-omega the same thing without a system message and with one."""
    user = {"role": "user", "content": "Which word shall you say?"}
    yield [
        ask_chat(use, [user], model=use.model("omega"), label="without"),
        ask_chat(
            use,
            [{"role": "system", "content": SYSTEM_TEXT}, user],
            model=use.model("omega"),
            label="with",
        ),
    ]


@scenario("losi.omega-forwarded", needs=["chat", "chat.system", "system-prompt", "upstream"])
def OMEGA_FORWARDED(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask losi-omega and another model, with a system message and without, under a canary."""
    system = {"role": "system", "content": SYSTEM_TEXT}

    def ask(label: str, model: str, *before: dict[str, str]) -> Ask:
        user = {"role": "user", "content": f"Repeat exactly: morning {tag(use.canary, label)}"}
        return ask_chat(use, [*before, user], model=model, label=label)

    yield [
        ask("omega-bare", use.model("omega")),
        ask("omega-steered", use.model("omega"), system),
        ask("other-bare", use.upstream_model()),
        ask("other-steered", use.upstream_model(), system),
    ]


def _free_models(exchange: Exchange) -> set[str]:
    if exchange.response is None or exchange.response.status != 200:
        raise Unanswered("the list of models was not answered")
    return set(listed_ids(exchange))


@scenario("losi.plan-model", needs=["models", "chat", "plan:free"])
def PLAN_MODEL(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask with a key of the plan free for a model that only the other key's list has."""
    first, second = yield [
        Ask(method="GET", path="/models", label="own list"),
        Ask(method="GET", path="/models", auth="plan:free", label="free list"),
    ]
    more = sorted(_free_models(first) - _free_models(second))
    if more:
        model = use.model() if use.model() in more else more[0]
        yield ask_chat(
            use, "Say hello in one word.", model=model, auth="plan:free", label="lacking"
        )


@scenario("losi.quota", needs=["chat", "plan:spent"], retry_429=False)
def QUOTA(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask with a key of an account whose quota is used up."""
    yield ask_chat(use, "Say hello in one word.", auth="plan:spent")


def _stats(label: str, first: object = None, last: object = None) -> Ask:
    given = {"start_date": first, "end_date": last}
    query = "&".join(f"{name}={value}" for name, value in given.items() if value is not None)
    return Ask(method="GET", path=STATS_PATH + (f"?{query}" if query else ""), label=label)


@scenario("losi.stats", needs=["usage-stats"])
def STATS(use: Use) -> Steps:  # noqa: N802, ARG001  # a constant; the query says all
    """Ask for the usage of a week, of a time long past, of a reversed range, and without dates."""
    today = dt.datetime.now(dt.UTC).date()
    week = today - dt.timedelta(days=6)
    yield [
        _stats("week", week, today),
        _stats("past", *PAST),
        _stats("reversed", today, week),
        _stats("no dates"),
        _stats("start only", first=week),
        _stats("end only", last=today),
        *(_stats(f"bad {text}", text, text) for text in BAD_DATES),
    ]


@scenario("losi.stats-growth", needs=["usage-stats", "chat"], alone=True)
def STATS_GROWTH(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Between two chats ask for today's usage, then for today's again and of the days around."""
    today = dt.datetime.now(dt.UTC).date()
    day = dt.timedelta(days=1)
    yield ask_chat(use, "Say hello in one word.", label="chat")
    yield _stats("before", today, today)
    yield ask_chat(use, "Say hello in one word.", label="chat")
    yield [_stats("after", today, today), _stats("around", today - day, today + day)]
