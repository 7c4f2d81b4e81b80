"""Who may be loaded, and what a run may spend."""

from decimal import Decimal

import pytest

from gateproof.budget import Budget, Meter, budget_of, parse_budget
from gateproof.errors import UsageError
from gateproof.manners import refuse_foreign

SOME = Budget(requests=10)


@pytest.mark.parametrize(
    ("url", "allowed", "budget", "says"),
    [
        ("http://127.0.0.1:80/v1", (), None, ""),
        ("http://127.9.9.9/v1", (), None, ""),
        ("http://localhost:80/v1", (), None, ""),
        ("https://[::1]:8443/v1", (), None, ""),
        ("https://gw.example/v1", ("https://gw.example:443",), SOME, ""),
        ("https://gw.example/v1", ("https://gw.example",), None, "no budget is set for the load"),
        ("https://gw.example/v1", (), SOME, "load_allowed = true"),
        ("https://gw.example/v1", ("http://gw.example",), SOME, "named: http://gw.example"),
        ("https://gw.example:8443/v1", ("https://gw.example",), SOME, "not on loopback"),
        ("http://127.0.0.1.example/v1", (), SOME, "not on loopback"),
        ("http://localhost.example/v1", (), SOME, "not on loopback"),
        ("ftp://127.0.0.1/v1", (), SOME, "Not a usable target URL"),
        ("http://127.0.0.1:port/v1", (), SOME, "Not a usable target URL"),
    ],
)
def test_foreign_targets_are_refused(
    url: str, allowed: tuple[str, ...], budget: Budget | None, says: str
) -> None:
    """Load goes to loopback, or to an origin that was named, within a budget."""
    if not says:
        refuse_foreign(url, allowed, budget)
        return
    with pytest.raises(UsageError) as refused:
        refuse_foreign(url, allowed, budget)

    assert says in str(refused.value)


def test_a_budget_is_read_and_written() -> None:
    """Text and table give the same budget, and money is kept as it was written."""
    budget = parse_budget("requests=1000, tokens=200000,usd=0.10")

    assert budget == Budget(1000, 200_000, Decimal("0.10"))
    assert budget_of(budget.as_table(), "there") == budget
    assert budget_of({"usd": 0.1}, "there") == Budget(usd=Decimal("0.1"))
    assert str(budget) == "1,000 requests, 200,000 tokens, 0.10 USD"


def test_of_two_budgets_the_smaller_limits_hold() -> None:
    """A scenario's own budget cannot widen that of the target."""
    assert parse_budget("requests=10,usd=5").within(parse_budget("requests=20,tokens=9")) == Budget(
        10, 9, Decimal(5)
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names nothing"),
        ("request=5", "Unknown part of a budget: 'request'"),
        ("requests=0", "requests is '0'"),
        ("requests=1.5", "Wanted a whole number above 0"),
        ("tokens", "tokens is ''"),
        ("usd=nan", "Wanted a number above 0"),
        ("usd=1e999999999", "usd is '1e999999999'"),
    ],
)
def test_a_wrong_budget_is_refused(text: str, says: str) -> None:
    """What cannot be meant is said with what was wanted."""
    with pytest.raises(UsageError) as refused:
        parse_budget(text)

    assert says in str(refused.value)


def test_a_meter_counts_requests_when_they_are_sent() -> None:
    """A budget of requests is never passed."""
    meter = Meter(Budget(requests=2))
    meter.send()
    before = meter.refuses()
    meter.send()

    assert (before, meter.refuses()) == ("", "2 of 2 requests are sent")


def test_a_meter_reserves_what_is_under_way() -> None:
    """Tokens of answers that have not ended are counted at the price of the dearest so far."""
    meter = Meter(Budget(tokens=100))
    for _ in range(2):
        meter.send()
    meter.spent(10, 20)
    before = meter.refuses()
    meter.send()

    assert before == ""  # 30 used, one under way, one more: 90 at most
    assert meter.refuses() == "30 of 100 tokens are used, and 2 answers are under way"


def test_a_meter_knows_prices() -> None:
    """Money is what the answer names, or what the price table makes of its tokens."""
    meter = Meter(Budget(usd=Decimal(1)), {"prompt": 2.5, "completion": 10})
    meter.send()
    meter.spent(1000, 100)
    by_price = meter.usd
    meter.send()
    meter.spent(1000, 100, Decimal("0.5"))

    assert (by_price, meter.usd) == (Decimal("0.0035"), Decimal("0.5035"))
    assert "0.5035 of 1 USD are spent" in meter.refuses()


def test_money_that_nobody_names_is_not_spent_blindly() -> None:
    """A budget of money ends where neither the answers nor a price table say what they cost."""
    meter = Meter(Budget(usd=Decimal(5)))
    meter.send()
    meter.spent(0, 0)
    before = meter.refuses()
    meter.send()
    meter.spent(10, 10)

    assert before == ""
    assert "answers name no cost, and no [prices] say one" in meter.refuses()
