"""Checks of usage statistics by date, for gateways that tell their users what they used.

The body of the statistics is documented nowhere: any JSON passes, and what is judged of it are its
figures and its days, wherever they stand.
"""

import datetime as dt
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any

from gateproof.check import Finding, Place, Untestable, check, expect
from gateproof.dialects import openai
from gateproof.transcript import Exchange, Transcript

from .reading import shown
from .scenarios.losi import STATS, STATS_GROWTH

_DAY = re.compile(r"(\d{4}-\d\d-\d\d)(T|\Z| )")
_COUNTER = re.compile(r"token|request|count|usage|total|quantity")


def _one(seen: Transcript, label: str) -> tuple[Place, Exchange]:
    (exchange,) = seen.labelled(label)
    return Place(exchange=seen.exchanges.index(exchange)), exchange


def _value(exchange: Exchange) -> Any:
    got = openai.response(exchange)
    if got.status != 200:
        raise Untestable(f"the statistics came with status {got.status} (see stats.answers)")
    value = openai.json_value(exchange)
    if not isinstance(value, dict | list):
        raise Untestable("the statistics are no JSON object or array (see stats.answers)")
    return value


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Iterate over all that is no object and no array, with the name that it stands under."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield from _leaves(member, str(key).lower())
    elif isinstance(value, list):
        for member in value:
            yield from _leaves(member, name)
    else:
        yield name, value


def _rows(value: Any) -> Iterator[dict[str, Any]]:
    """Iterate over the objects that stand in arrays."""
    if isinstance(value, dict):
        for member in value.values():
            yield from _rows(member)
    elif isinstance(value, list):
        for member in value:
            if isinstance(member, dict):
                yield member
            yield from _rows(member)


def _days(value: Any) -> list[dt.date]:
    """Return the days that the rows tell of, those of their own beginnings and ends among them."""
    found = []
    for row in _rows(value):
        for _, leaf in _leaves({k: v for k, v in row.items() if not isinstance(v, list)}):
            match = _DAY.match(leaf) if isinstance(leaf, str) else None
            if match:
                found.append(dt.date.fromisoformat(match[1]))
    return found


def _total(value: Any) -> int:
    """Add up all counters: whichever of them stands for the whole, none of them may fall."""
    return sum(
        leaf for name, leaf in _leaves(value) if openai.is_int(leaf) and _COUNTER.search(name)
    )


def _no_data(value: Any) -> bool:
    return not list(_rows(value)) and not _total(value)


@check("stats.answers", on=[STATS])
def test_statistics_are_answered(seen: Transcript) -> str:
    """Usage statistics for a range of dates are answered with 200 and JSON."""
    at, exchange = _one(seen, "week")
    got = openai.response(exchange)
    expect(got.status == 200, wanted="status 200", got=shown(got), at=at)
    value = None
    try:
        value = openai.json_value(exchange)
    except Untestable as reason:
        raise Finding(wanted="JSON", got=str(reason), at=at) from None
    expect(isinstance(value, dict | list), wanted="a JSON object or array", got=shown(got), at=at)
    return f"an {'array' if isinstance(value, list) else 'object'}"


@check("stats.bad-date", on=[STATS])
def test_a_date_that_is_none_is_refused(seen: Transcript) -> str:
    """What is no date is refused with a 4xx, never met by a 5xx or by usage."""
    told = set()
    for index, exchange in enumerate(seen.exchanges):
        if not exchange.ask.label.startswith("bad "):
            continue
        got = openai.response(exchange)
        refused = 400 <= got.status < 500
        expect(
            refused or (got.status == 200 and _no_data(_value(exchange))),
            wanted=f"a refusal with a 4xx of {exchange.ask.label.removeprefix('bad ')}",
            got=shown(got),
            at=Place(exchange=index),
        )
        told.add(f"status {got.status}" if refused else "answered without data")
    return " and ".join(sorted(told))


@check("stats.bad-date-refused", on=[STATS])
def test_a_date_that_is_none_is_not_answered(seen: Transcript) -> None:
    """What is no date is not answered with 200, even without data."""
    for index, exchange in enumerate(seen.exchanges):
        if exchange.ask.label.startswith("bad "):
            got = openai.response(exchange)
            expect(
                got.status != 200 or not _no_data(_value(exchange)),
                wanted="a refusal with a 4xx",
                got=shown(got),
                at=Place(exchange=index),
            )


@check("stats.reversed", on=[STATS])
def test_a_reversed_range_has_no_data(seen: Transcript) -> str:
    """A range that ends before it starts is refused with a 4xx or has no data."""
    at, exchange = _one(seen, "reversed")
    got = openai.response(exchange)
    if 400 <= got.status < 500:
        return f"refused with {got.status}"
    expect(got.status == 200, wanted="a 4xx, or 200 without data", got=shown(got), at=at)
    value = _value(exchange)
    expect(_no_data(value), wanted="no data, or a refusal with a 4xx", got=shown(got), at=at)
    return "answered without data"


@check("stats.missing-dates", on=[STATS])
def test_missing_dates_cause_no_5xx(seen: Transcript) -> str:
    """Without one date or both the statistics are answered or refused with a 4xx."""
    told = []
    for label in ("no dates", "start only", "end only"):
        at, exchange = _one(seen, label)
        got = openai.response(exchange)
        expect(got.status < 500, wanted=f"200 or a 4xx: {label}", got=shown(got), at=at)
        told.append(f"{label}: {got.status}")
    return ", ".join(told)


@check("stats.within-range", on=[STATS, STATS_GROWTH])
def test_figures_lie_within_their_range(seen: Transcript) -> str:
    """In usage statistics no number is negative, and each date lies within the range."""
    days = 0
    for index, exchange in enumerate(seen.exchanges):
        if exchange.ask.label not in ("week", "past", "before", "after", "around"):
            continue
        value, at = _value(exchange), Place(exchange=index)
        for name, leaf in _leaves(value):
            expect(
                not openai.is_number(leaf) or leaf >= 0,
                wanted=f"{name} is not negative",
                got=leaf,
                at=at,
            )
        first, last = _range(exchange)
        for day in _days(value):
            days += 1
            expect(first <= day <= last, wanted=f"days from {first} to {last}", got=day, at=at)
    return f"{days} days told"


@check("stats.ends-included", on=[STATS_GROWTH])
def test_a_range_of_one_day_works(seen: Transcript) -> str:
    """The usage of a day is told for the range of that one day too."""
    at, exchange = _one(seen, "after")
    first, _ = _range(exchange)
    around = _days(_value(_one(seen, "around")[1]))
    if first not in around:
        return "no usage is told of today, in whatever range"
    alone = _days(_value(exchange))
    expect(
        first in alone,
        wanted=f"the usage of {first}, as in the range around it",
        got=f"days {', '.join(sorted({str(day) for day in alone})) or 'none'}",
        at=at,
    )
    return f"{first} is told"


@check("stats.not-falling", on=[STATS_GROWTH])
def test_totals_do_not_fall(seen: Transcript) -> str:
    """The totals of today are not lower after a further request than before it."""
    before = _total(_value(_one(seen, "before")[1]))
    at, exchange = _one(seen, "after")
    after = _total(_value(exchange))
    expect(after >= before, wanted=f"counters of at least {before} in all", got=after, at=at)
    return "more than before" if after > before else "as before: usage may come with a delay"


def _range(exchange: Exchange) -> tuple[dt.date, dt.date]:
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(exchange.ask.path).query)
    first, last = (dt.date.fromisoformat(query[name][0]) for name in ("start_date", "end_date"))
    return first, last
