"""Checks of cost: money in the usage of an answer, read as decimals from the JSON text.

Two families of names are read: ``cost_usd_total`` and its like, as documented, and the newer
``cost`` with ``cost_details``, which passes with a note.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gateproof.check import Finding, Place, Untestable, check, expect
from gateproof.dialects import openai
from gateproof.transcript import Transcript

from .reading import streamed
from .scenarios.chat import AGAIN, PLAIN, STREAM, STREAM_USAGE
from .usage import usage_of

PREFIX = "cost_usd_"
PARTS = ("input", "output", "cached_input", "request", "web_search")
SUMS = [["input", "output"]]
LEAST_TOLERANCE = Decimal("1e-9")  # a billionth of a dollar: below any price of a token
TOLERANCE = Decimal("1e-6")  # of the total: what sums of doubles may lose


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost as it stands in a usage object: the total and the parts that are there."""

    total: Any
    parts: Mapping[str, Any]
    newer: bool

    @property
    def note(self) -> str:
        """Return which names were seen, where they are not the documented ones."""
        return "usage.cost and cost_details, not cost_usd_*" if self.newer else ""


def cost_in(usage: Mapping[str, Any]) -> Cost | None:
    """Read the cost in a usage object; ``None`` when there is none."""
    if PREFIX + "total" in usage:
        parts = {name: usage[PREFIX + name] for name in PARTS if PREFIX + name in usage}
        return Cost(usage[PREFIX + "total"], parts, newer=False)
    if "cost" in usage:
        details = usage.get("cost_details")
        given = details if isinstance(details, dict) else {}
        return Cost(usage["cost"], _newer_parts(given), newer=True)
    return None


def _newer_parts(details: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of cost_details under the documented names, however they are written."""
    words = {"".join(name.lower().split("_")): value for name, value in details.items()}
    found = {}
    for part in PARTS:
        word = part.replace("_", "")
        for name in (word, word + "cost", "cost" + word, "costusd" + word, word + "costusd"):
            if name in words:
                found[part] = words[name]
    return found


def _cost(seen: Transcript) -> Cost:
    found = cost_in(usage_of(seen))
    if found is None:
        raise Untestable("usage has no cost (see cost.present)")
    return found


def _amount(cost: Cost, name: str) -> Decimal:
    """Return an amount; a part that is left out or null counts nothing."""
    value = cost.total if name == "total" else cost.parts.get(name)
    if value is None and name != "total":
        return Decimal(0)
    if not openai.is_number(value):
        raise Untestable(f"the cost's {name} is {value!r} (see cost.nonneg-finite)")
    return Decimal(value)


@check("cost.present", on=[PLAIN])
def test_cost_is_there(seen: Transcript) -> str:
    """A non-streamed completion states its total cost in USD in usage."""
    usage = usage_of(seen)
    found = cost_in(usage)
    expect(found, wanted="usage.cost_usd_total", got=f"usage with {', '.join(usage)}")
    assert found is not None
    return found.note


@check("cost.fields", on=[PLAIN])
def test_cost_has_its_parts(seen: Transcript) -> None:
    """The cost has cost_usd_input and cost_usd_output beside the total."""
    cost = _cost(seen)
    for name in ("input", "output"):
        expect(name in cost.parts, wanted=f"the part {name}", got=f"only {', '.join(cost.parts)}")


@check("cost.fields-all", on=[PLAIN])
def test_cost_has_all_parts(seen: Transcript) -> None:
    """The cost also has cost_usd_cached_input and cost_usd_request."""
    cost = _cost(seen)
    for name in ("cached_input", "request"):
        expect(name in cost.parts, wanted=f"the part {name}", got=f"only {', '.join(cost.parts)}")


@check("cost.nonneg-finite", on=[PLAIN])
def test_costs_are_amounts(seen: Transcript) -> None:
    """Every cost is a JSON number and not negative."""
    cost = _cost(seen)
    for name, value in (("total", cost.total), *cost.parts.items()):
        if value is None and name not in ("total", "input", "output"):
            continue
        right = openai.is_number(value) and value >= 0
        expect(right, wanted=f"{name}: a number from 0 up", got=value)


@check("cost.sum", on=[PLAIN])
def test_total_is_the_sum_of_parts(seen: Transcript) -> str:
    """The total cost is the sum of its parts."""
    cost = _cost(seen)
    if not {"input", "output"} <= cost.parts.keys():
        raise Untestable("the cost has no input and output (see cost.fields)")
    total = _amount(cost, "total")
    tolerance = max(LEAST_TOLERANCE, TOLERANCE * abs(total))
    readings = seen.use.get("options", {}).get("cost_sums", SUMS)
    sums = {
        " + ".join(names): sum((_amount(cost, name) for name in names), Decimal(0))
        for names in readings
    }
    fitting = [reading for reading, value in sums.items() if abs(total - value) <= tolerance]
    if not fitting:
        raise Finding(
            wanted=" or ".join(f"{reading} = {value:f}" for reading, value in sums.items()),
            got=f"total = {total:f}",
        )
    echo = "; request repeats the total" if total and _amount(cost, "request") == total else ""
    return f"total = {fitting[0]}{echo}"


@check("cost.part-within-total", on=[PLAIN])
def test_no_part_is_above_the_total(seen: Transcript) -> None:
    """No part of the cost is above the total."""
    cost = _cost(seen)
    total = _amount(cost, "total")
    # The pages call cached input a saving as well as a cost, so that it may exceed the total.
    for name in ("input", "output", "request", "web_search"):
        value = _amount(cost, name)
        expect(
            value <= total * (1 + TOLERANCE) + LEAST_TOLERANCE,
            wanted=f"{name} of at most the total, {total:f}",
            got=f"{value:f}",
        )


@check("cost.equal-input", across=[PLAIN, AGAIN])
def test_equal_requests_cost_the_same(first: Transcript, second: Transcript) -> str:
    """Equal requests have equal input costs."""
    amounts = [_amount(_cost(item), "input") for item in (first, second)]
    if amounts[0] == amounts[1]:
        return ""
    for item in (first, second):
        details = usage_of(item).get("prompt_tokens_details")
        if isinstance(details, dict) and details.get("cached_tokens"):
            return "they differ, and the prompt was cached"
    raise Finding(
        wanted=f"input {amounts[0]:f} again",
        got=f"input {amounts[1]:f}",
        at=Place(scenario=second.scenario),
    )


@check("cost.present-stream", across=[STREAM, STREAM_USAGE])
def test_stream_states_its_cost(stream: Transcript, with_usage: Transcript) -> str:
    """A streamed completion states its cost in the usage of its last chunk."""
    for seen, told in ((stream, "without include_usage"), (with_usage, "with include_usage only")):
        usage = streamed(seen[0]).chunks[-1].value.get("usage")
        found = cost_in(usage) if isinstance(usage, dict) else None
        if found is not None and found.total is not None:
            return told
    raise Finding(
        wanted="a cost in the usage of the last chunk before [DONE]",
        got="none, with and without include_usage",
    )
