"""Checks of Lunos' list of models, with its filters, and of its balance."""

from collections.abc import Mapping
from typing import Any

from gateproof.check import Place, Untestable, check, expect
from gateproof.dialects import openai
from gateproof.transcript import Exchange, Transcript

from .reading import each, shown
from .refusal import body_value, message_of
from .scenarios.lunos import BALANCE, BALANCE_AUTH, BALANCE_PAID, FILTER_SPELLINGS, FILTERS
from .scenarios.models import LIST


def _entries(exchange: Exchange) -> list[Mapping[str, Any]]:
    """Return the entries of a list of models; ``Untestable`` when there is no list."""
    got = openai.response(exchange)
    if got.status != 200:
        raise Untestable(f"the list of models came with status {got.status} (see models.answers)")
    value = openai.json_value(exchange)
    found = value.get("data") if isinstance(value, dict) else value
    if not isinstance(found, list):
        raise Untestable("there is no list of models (see models.envelope)")
    return list(openai.objects(found))


def _ids(exchange: Exchange) -> set[str]:
    return {str(entry.get("id")) for entry in _entries(exchange)}


def _one(seen: Transcript, query: str) -> tuple[Place, Exchange]:
    (exchange,) = seen.labelled(query)
    return Place(exchange=seen.exchanges.index(exchange)), exchange


def _modalities(entry: Mapping[str, Any], side: str) -> set[str] | None:
    """Return a model's input or output modalities; ``None`` where it names none."""
    places: tuple[Any, ...] = (
        entry.get(f"{side}Modalities"),
        entry.get(f"{side}_modalities"),
        (entry.get("architecture") or {}).get(f"{side}_modalities")
        if isinstance(entry.get("architecture"), dict)
        else None,
    )
    found = next((place for place in places if isinstance(place, list)), None)
    return None if found is None else {str(item).lower() for item in found}


@check("models.envelope", on=[LIST])
def test_list_has_a_known_form(seen: Transcript) -> str:
    """The list of models is an array or has the array data, and each entry has an id."""
    got = openai.response(seen[0])
    if got.status != 200:
        raise Untestable(f"the list of models came with status {got.status} (see models.answers)")
    value = openai.json_value(seen[0])
    bare = isinstance(value, list)
    expect(
        bare or (isinstance(value, dict) and isinstance(value.get("data"), list)),
        wanted="an array, or an object with the array data",
        got=shown(got),
    )
    for index, entry in enumerate(value if bare else value["data"]):
        named = isinstance(entry, dict) and isinstance(entry.get("id"), str) and entry["id"]
        expect(named, wanted=f"entry {index} has an id", got=entry)
    if bare:
        return "a bare array, which the OpenAI SDK cannot read"
    return "a list object" if value.get("object") == "list" else "an object with data"


@check("models.metadata", on=[LIST])
def test_models_have_prices_and_modalities(seen: Transcript) -> str:
    """Each listed model has its provider, modalities, and prices for a million tokens."""
    entries = _entries(seen[0])
    for entry in entries:
        prices = entry.get("pricePerMillionTokens")
        lacking = [
            name
            for name, there in (
                ("provider", isinstance(entry.get("provider"), str)),
                ("inputModalities", _modalities(entry, "input") is not None),
                ("outputModalities", _modalities(entry, "output") is not None),
                (
                    "pricePerMillionTokens with input and output",
                    isinstance(prices, dict)
                    and all(openai.is_number(prices.get(name)) for name in ("input", "output")),
                ),
            )
            if not there
        ]
        expect(
            not lacking,
            wanted="provider, modalities and prices",
            got=f"{entry.get('id')} lacks {', '.join(lacking)}",
        )
    return f"{len(entries)} models"


@check("models.filter-output", on=[FILTERS])
def test_output_filter_leaves_fitting_models(seen: Transcript) -> str:
    """With output=image every listed model gives images."""
    at, exchange = _one(seen, "output=image")
    silent = 0
    entries = _entries(exchange)
    for entry in entries:
        has = _modalities(entry, "output")
        silent += has is None
        expect(
            has is None or "image" in has,
            wanted="models that give images only",
            got=f"{entry.get('id')} gives {', '.join(sorted(has or ()))}",
            at=at,
        )
    return f"{len(entries)} models" + (f", {silent} without modalities" if silent else "")


@check("models.filter-input", on=[FILTERS])
def test_input_filter_leaves_fitting_models(seen: Transcript) -> str:
    """With input=text,image every listed model takes one of the two at least."""
    at, exchange = _one(seen, "input=text,image")
    entries = _entries(exchange)
    both = 0
    for entry in entries:
        has = _modalities(entry, "input")
        expect(
            has is None or has & {"text", "image"},
            wanted="models that take text or images",
            got=f"{entry.get('id')} takes {', '.join(sorted(has or ()))}",
            at=at,
        )
        both += has is None or has >= {"text", "image"}
    return "read as and: each takes both" if entries and both == len(entries) else "read as or"


@check("models.filter-subset", on=[FILTERS])
def test_filtered_lists_are_parts_of_the_whole(seen: Transcript) -> None:
    """A filtered list is a part of the whole one."""
    whole = _ids(_one(seen, "all")[1])
    for query in ("output=image", "output=text", "input=text,image"):
        at, exchange = _one(seen, query)
        more = _ids(exchange) - whole
        expect(not more, wanted="models of the whole list", got=sorted(more)[:5], at=at)


@check("models.filter-both", on=[FILTERS])
def test_both_filters_hold_together(seen: Transcript) -> None:
    """With input and output the list is a part of the one with output alone."""
    at, exchange = _one(seen, "input=text,image&output=text")
    more = _ids(exchange) - _ids(_one(seen, "output=text")[1])
    expect(not more, wanted="models that output=text lists", got=sorted(more)[:5], at=at)


@check("models.filter-unknown", on=[FILTERS])
def test_unknown_modality_leaves_nothing(seen: Transcript) -> str:
    """An unknown modality gives an empty list or a 4xx."""
    at, exchange = _one(seen, "output=smell")
    got = openai.response(exchange)
    if 400 <= got.status < 500:
        return f"refused with {got.status}"
    expect(got.status == 200, wanted="an empty list or a 4xx", got=shown(got), at=at)
    found = _ids(exchange)
    expect(not found, wanted="an empty list, or a 4xx", got=f"{len(found)} models", at=at)
    return "an empty list"


@check("models.filter-spelling", on=[FILTER_SPELLINGS])
def test_spelling_of_a_filter_does_not_matter(seen: Transcript) -> None:
    """A comma as %2C, a value twice and another order give the same list."""
    wanted = _ids(seen[0])
    for at, exchange in each(seen):
        found = _ids(exchange)
        expect(
            found == wanted,
            wanted=f"the {len(wanted)} models of {seen[0].ask.label}",
            got=f"{exchange.ask.label}: {len(found)} models, others: {sorted(found ^ wanted)[:5]}",
            at=at,
        )


def _balance(exchange: Exchange) -> Mapping[str, Any]:
    """Return the object that holds the balance; ``Untestable`` when there is none."""
    value = openai.answer(exchange)
    data = value.get("data")
    for place in (value, data if isinstance(data, dict) else {}):
        if openai.is_number(place.get("balance")):
            return place
    raise Untestable("there is no number named balance (see balance.answers)")


@check("balance.answers", on=[BALANCE])
def test_balance_is_a_number(seen: Transcript) -> str:
    """GET /balance gives 200 and JSON with a number balance, at the top or under data."""
    got = openai.response(seen[0])
    expect(got.status == 200, wanted="status 200", got=shown(got))
    value = body_value(seen[0])
    data = value.get("data") if isinstance(value, dict) else None
    top = isinstance(value, dict) and openai.is_number(value.get("balance"))
    under = isinstance(data, dict) and openai.is_number(data.get("balance"))
    expect(top or under, wanted="a number named balance", got=got.media_type)
    return "at the top" if top else "under data"


@check("balance.alert-settings", on=[BALANCE])
def test_balance_has_alert_settings(seen: Transcript) -> None:
    """The balance comes with alertBalance, enableAlert, isAlertEnabled and isBalanceLow."""
    value = _balance(seen[0])
    wanted = ("alertBalance", "enableAlert", "isAlertEnabled", "isBalanceLow")
    lacking = [name for name in wanted if name not in value]
    expect(not lacking, wanted=", ".join(wanted), got=f"no {', '.join(lacking)}")


@check("balance.consistent", on=[BALANCE])
def test_balance_agrees_with_its_alerts(seen: Transcript) -> str:
    """The settings agree: isAlertEnabled with enableAlert, isBalanceLow with the two amounts."""
    value = _balance(seen[0])
    told = []
    if "isAlertEnabled" in value and "enableAlert" in value:
        enabled, setting = value["isAlertEnabled"], value["enableAlert"]
        expect(
            enabled is (setting in (1, True)),
            wanted=f"isAlertEnabled as enableAlert {setting!r} has it",
            got=enabled,
        )
        told.append("alerts")
    if "isBalanceLow" in value and openai.is_number(value.get("alertBalance")):
        low = value["balance"] < value["alertBalance"]
        expect(
            value["isBalanceLow"] is low,
            wanted=f"isBalanceLow is {str(low).lower()}",
            got=value["isBalanceLow"],
        )
        told.append("low")
    return " and ".join(told) or "nothing to compare"


@check("balance.auth", on=[BALANCE_AUTH])
def test_balance_needs_a_key(seen: Transcript) -> str:
    """GET /balance without a right key gives 401 and JSON with a message."""
    told = set()
    for at, exchange in each(seen):
        got = openai.response(exchange)
        value = body_value(exchange)
        expect(
            got.status == 401 and message_of(value),
            wanted="401 and JSON with a message",
            got=shown(got),
            at=at,
        )
        told.add("success false" if "success" in value else "error")
    return f"the envelope with {' and with '.join(sorted(told))}"


@check("balance.not-rising", on=[BALANCE_PAID])
def test_balance_does_not_rise(seen: Transcript) -> str:
    """The balance after a paid request is not higher than before it."""
    before, chat, after = seen.exchanges
    if openai.response(chat).status != 200:
        raise Untestable("the request between was not answered (see chat.answers)")
    first, second = _balance(before)["balance"], _balance(after)["balance"]
    expect(second <= first, wanted=f"at most {first}", got=second, at=Place(exchange=2))
    return f"{first - second} less" if second < first else "the same"
