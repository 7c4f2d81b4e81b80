"""Checks of the model list and of one entry of it."""

from urllib.parse import unquote

from gateproof.check import Inconclusive, Place, Untestable, check, expect
from gateproof.dialects import openai
from gateproof.transcript import Transcript

from .reading import shown
from .scenarios.models import (
    ACCEPTED,
    LIST,
    LIST_AGAIN,
    RETRIEVE,
    RETRIEVE_SLASH,
    TRAILING_SLASH,
    listed_ids,
)


@check("models.answers", on=[LIST])
def test_list_is_answered(seen: Transcript) -> None:
    """GET /models is answered with 200 and JSON."""
    got = openai.response(seen[0])
    expect(
        got.status == 200 and got.media_type == "application/json",
        wanted="status 200 and application/json",
        got=shown(got),
    )
    try:
        openai.loads(got.body)
    except (ValueError, RecursionError) as error:
        expect(False, wanted="a body that is JSON", got=f"{error}: {shown(got)}")  # noqa: FBT003  # the condition was the parser's


@check("models.list", on=[LIST])
def test_list_has_the_upstreams_shape(seen: Transcript) -> str:
    """The list has object list and data, whose entries have id, object, created and owned_by."""
    got = openai.response(seen[0])
    if got.status != 200:
        raise Untestable(f"the list was answered with status {got.status} (see models.answers)")
    value = openai.json_value(seen[0])
    expect(isinstance(value, dict), wanted='{"object": "list", "data": […]}', got=shown(got))
    expect(value.get("object") == "list", wanted="object is list", got=value.get("object"))
    data = value.get("data")
    expect(isinstance(data, list), wanted="data is an array", got=data)
    entries = list(openai.objects(data))
    expect(len(entries) == len(data or []), wanted="every entry is an object", got=data)
    for index, entry in enumerate(entries):
        where = f"data[{index}] ({entry.get('id')!r})"
        for name in ("id", "owned_by"):
            expect(
                isinstance(entry.get(name), str),
                wanted=f"{where}: {name} is a string",
                got=entry.get(name),
            )
        expect(
            entry.get("object") == "model",
            wanted=f"{where}: object is model",
            got=entry.get("object"),
        )
        expect(
            openai.is_int(entry.get("created")),
            wanted=f"{where}: created is an integer",
            got=entry.get("created"),
        )
    return f"{len(entries)} models"


@check("models.unique-ids", on=[LIST])
def test_ids_are_unique(seen: Transcript) -> None:
    """No two entries have the same id, and none is empty."""
    found = listed_ids(seen[0])
    value = openai.json_value(seen[0])
    entries = list(openai.objects(value.get("data") if isinstance(value, dict) else value))
    expect(
        len(found) == len(entries),
        wanted="every entry has an id that is a non-empty string",
        got=[entry.get("id") for entry in entries if entry.get("id") not in found],
    )
    twice = sorted({name for name in found if found.count(name) > 1})
    expect(not twice, wanted="every id once", got=f"{', '.join(twice)} more than once")


@check("models.variety", on=[LIST])
def test_there_are_several_models(seen: Transcript) -> str:
    """More than one model is listed."""
    found = set(listed_ids(seen[0]))
    expect(len(found) > 1, wanted="more than one model", got=sorted(found))
    return f"{len(found)} models"


@check("models.stable", on=[LIST_AGAIN])
def test_list_is_the_same_again(seen: Transcript) -> None:
    """The same key sees the same set of models twice in a row."""
    first, second = (set(listed_ids(item)) for item in seen.exchanges)
    expect(
        first == second,
        wanted="the same models as a moment before",
        got=f"gone: {sorted(first - second)[:5]}; new: {sorted(second - first)[:5]}",
        at=Place(exchange=1),
    )


@check("models.accepted", on=[ACCEPTED])
def test_listed_models_are_accepted(seen: Transcript) -> str:
    """A few of the listed chat models are each accepted by the chat route."""
    told = []
    for index, exchange in enumerate(seen.exchanges[1:], 1):
        got = openai.response(exchange)
        unknown = got.status == 404 or (
            got.status == 400 and b"model_not_found" in got.body.lower()
        )
        expect(
            not unknown,
            wanted=f"an answer of {exchange.ask.label}, which is listed",
            got=shown(got),
            at=Place(exchange=index),
        )
        if got.status >= 500:
            raise Untestable(f"a request was answered with status {got.status}")
        told.append(f"{exchange.ask.label}: {got.status}")
    if not told:
        raise Inconclusive("no listed model looks like one for chat")
    return ", ".join(told)


@check("models.trailing-slash", on=[TRAILING_SLASH])
def test_trailing_slash_does_not_loop(seen: Transcript) -> str:
    """GET /models/ is answered, refused with 404 or redirected once; it does not loop."""
    last = len(seen) - 1
    got = openai.response(seen[last])
    if last == 0 and 300 <= got.status < 400:
        expect(
            got.header("location"), wanted="a redirect says where to", got=f"status {got.status}"
        )
        return f"redirected elsewhere ({got.status}), not followed"
    expect(
        got.status in (200, 404),
        wanted="status 200 or 404, after one redirect at most",
        got=f"status {got.status} for {seen[last].ask.path}",
        at=Place(exchange=last),
    )
    return f"status {got.status}" + (" after a redirect" if last else "")


@check("models.retrieve", on=[RETRIEVE])
def test_listed_model_is_retrieved(seen: Transcript) -> None:
    """GET /models/{model} answers for a listed id, with the same id."""
    _expect_model(seen)


@check("models.retrieve-slash", on=[RETRIEVE_SLASH])
def test_listed_model_with_a_slash_is_retrieved(seen: Transcript) -> str:
    """A listed id with a slash is retrieved with the slash written as %2F."""
    if len(seen) == 1:
        return "no listed id has a slash"
    return _expect_model(seen)


def _expect_model(seen: Transcript) -> str:
    asked = unquote(seen[1].ask.label)
    got = openai.response(seen[1])
    at = Place(exchange=1)
    expect(got.status == 200, wanted=f"status 200 for the listed {asked}", got=shown(got), at=at)
    value = openai.json_value(seen[1])
    name = value.get("id") if isinstance(value, dict) else value
    expect(name == asked, wanted=f"the model's id is {asked}", got=name, at=at)
    return f"{asked} found"
