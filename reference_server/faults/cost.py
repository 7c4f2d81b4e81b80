"""Faults of cost: money that does not add up, has another name, or is not there."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

from ..call import Call
from ..chat import Choice, Completion
from ..jsontext import Json, Verbatim
from ..script import Step
from ..tokens import tokenize
from .edits import edit_each
from .table import fault, oddity

__all__: list[str] = []


def _costs(completion: Completion) -> dict[str, Decimal]:
    """Return the costs that are still numbers: another deed may have written them as text."""
    return {
        name: value
        for name, value in (completion.usage or {}).items()
        if name.startswith("cost_") and isinstance(value, Decimal)
    }


def _without_cost(value: Json) -> None:
    usage = value.get("usage")
    if isinstance(usage, dict):
        for name in [name for name in usage if name.startswith("cost_")]:
            del usage[name]


@fault("cost-missing", "completion", "Gives usage without any cost.")
def _cost_missing(completion: Completion) -> Completion:
    usage = completion.usage
    if usage is None:
        return completion
    kept = {name: value for name, value in usage.items() if not name.startswith("cost_")}
    return replace(completion, usage=kept)


@fault("cost-missing-in-stream", "chunks", "Gives no cost in a stream.", "streams billed as free")
def _cost_missing_in_stream(steps: Iterator[Step]) -> Iterator[Step]:
    return edit_each(steps, _without_cost, "usage")


def _cost(completion: Completion, **changes: Json) -> Completion:
    if completion.usage is None or not _costs(completion):
        return completion
    return replace(completion, usage={**completion.usage, **changes})


def _without_parts(completion: Completion, *names: str) -> Completion:
    usage = {k: v for k, v in (completion.usage or {}).items() if k not in names}
    return replace(completion, usage=usage) if _costs(completion) else completion


@fault("cost-part-missing", "completion", "Leaves the cost of the input out.")
def _part_missing(completion: Completion) -> Completion:
    return _without_parts(completion, "cost_usd_input")


@fault("cost-optional-missing", "completion", "Leaves the costs that are mostly 0 out.")
def _optional_missing(completion: Completion) -> Completion:
    return _without_parts(completion, "cost_usd_cached_input", "cost_usd_request")


@fault("cost-part-above-total", "completion", "Gives a fee for the request above the total cost.")
def _part_above(completion: Completion) -> Completion:
    total = _costs(completion).get("cost_usd_total", Decimal(0))
    return _cost(completion, cost_usd_request=total + Decimal("0.01"))


_calls = itertools.count(1)


@fault("cost-input-random", "completion", "Gives the same input another cost each time.",
       "prices of the provider that happened to answer")  # fmt: skip
def _input_random(completion: Completion) -> Completion:
    costs = _costs(completion)
    more = next(_calls) * Decimal("0.000001")
    changes = {
        name: costs[name] + more for name in ("cost_usd_input", "cost_usd_total") if name in costs
    }
    return _cost(completion, **changes)


@oddity("cost-newer-names", "json", "Gives the cost as usage.cost and usage.cost_details.")
def _newer_names(value: Json) -> Json:
    usage = value.get("usage") if isinstance(value, dict) else None
    if isinstance(usage, dict) and "cost_usd_total" in usage:
        parts = [name for name in usage if name.startswith("cost_usd_")]
        details = {name.removeprefix("cost_usd_") + "_cost": usage.pop(name) for name in parts}
        usage["cost"] = details.pop("total_cost")
        usage["cost_details"] = details
    return value


@fault("healing-off", "completion", "Fences JSON that a plugin was asked to heal.")
def _healing_off(completion: Completion, call: Call) -> Completion:
    form = call.payload.get("response_format")
    if not call.payload.get("plugins") or not isinstance(form, dict) or form["type"] == "text":
        return completion

    def fenced(choice: Choice) -> Choice:
        return replace(choice, tokens=tokenize(f"```json\n{choice.text}\n```"))

    return replace(completion, choices=tuple(fenced(choice) for choice in completion.choices))


@fault("cost-sum-wrong", "completion", "Gives a total cost that is not the sum of its parts.")
def _cost_sum(completion: Completion) -> Completion:
    total = _costs(completion).get("cost_usd_total", Decimal(0))
    return _cost(completion, cost_usd_total=total * 2 + Decimal("0.01"))


@fault("cost-negative", "completion", "Gives a negative cost of the output, and the sum of that.")
def _cost_negative(completion: Completion) -> Completion:
    costs = _costs(completion)
    output = -costs.get("cost_usd_output", Decimal(0)) - Decimal("0.001")
    total = costs.get("cost_usd_input", Decimal(0)) + output
    return _cost(completion, cost_usd_output=output, cost_usd_total=total)


@fault("cost-string", "completion", "Writes costs as strings with an exponent.")
def _cost_string(completion: Completion) -> Completion:
    return _cost(completion, **{name: f"{value:E}" for name, value in _costs(completion).items()})


@fault("cost-nan", "completion", "Writes NaN for the total cost, which is not JSON.")
def _cost_nan(completion: Completion) -> Completion:
    return _cost(completion, cost_usd_total=Verbatim("NaN"))


@fault("cost-rounded-to-zero", "completion", "Rounds costs to cents, so that small ones vanish.")
def _cost_rounded(completion: Completion) -> Completion:
    return _cost(
        completion,
        **{name: value.quantize(Decimal("0.01")) for name, value in _costs(completion).items()},
    )


@oddity("cost-echo", "completion", "Repeats the total in cost_usd_request, as the sample does.")
def _cost_echo(completion: Completion) -> Completion:
    total = _costs(completion).get("cost_usd_total", Decimal(0))
    return _cost(completion, cost_usd_request=total)


@oddity("cost-exponent", "completion", "Writes costs with an exponent, as JSON allows.")
def _cost_exponent(completion: Completion) -> Completion:
    return _cost(
        completion, **{name: Verbatim(f"{value:E}") for name, value in _costs(completion).items()}
    )
