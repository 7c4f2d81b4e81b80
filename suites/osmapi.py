"""Checks of what only osmAPI promises: provider prefixes, reasoning effort, web search, plugins."""

import json

from gateproof.check import Finding, Inconclusive, Place, Untestable, check, expect
from gateproof.dialects import openai
from gateproof.transcript import Transcript

from .journal import places
from .reading import accepted, clean_refusal, each, shown, text_of
from .refusal import turned_down
from .scenarios.osmapi import (
    EFFORT,
    EFFORT_UNKNOWN,
    HEALED,
    PLUGIN_UNKNOWN,
    PLUGINS,
    PREFIXED,
    UNKNOWN_PROVIDER,
    WEB_SEARCH,
)


@check("model-prefix.accepted", on=[PREFIXED])
def test_provider_prefix_is_accepted(seen: Transcript) -> str:
    """A model id with its provider is answered, or refused as not available."""
    got = openai.response(seen[0])
    if got.status in (402, 403, 404) and clean_refusal(got):
        return f"not available to this key: {got.status}"
    if got.status == 400 and clean_refusal(got) and _says_unavailable(got.body):
        return "not available to this key: 400"
    accepted(seen[0], wanted="an answer, or a 4xx that the model is not available")
    return "answered"


def _says_unavailable(body: bytes) -> bool:
    text = body.decode("utf-8", errors="replace").lower()
    return any(word in text for word in ("available", "access", "enabled", "configured"))


@check("model-prefix.answer-model", on=[PREFIXED])
def test_answer_names_the_model(seen: Transcript) -> str:
    """The answer's model, without a provider, begins with the requested base name."""
    asked = str(seen[0].ask.value["model"])
    got = openai.response(seen[0])
    if got.status != 200 and clean_refusal(got):
        raise Inconclusive(f"the model was refused: {shown(got)}")
    model = openai.completion(seen[0]).get("model")
    base = asked.partition("/")[2]
    expect(
        isinstance(model, str) and _base(model).startswith(_base(base)),
        wanted=f"a model that begins with {base}, with or without a provider",
        got=model,
    )
    return f"{asked} is answered by {model}"


def _base(model: str) -> str:
    # What stands behind a plus sign asks a reference server for a behaviour.
    return model.rpartition("/")[2].partition("+")[0]


@check("model-prefix.unknown-provider", on=[UNKNOWN_PROVIDER])
def test_unknown_provider_is_refused(seen: Transcript) -> None:
    """An unknown provider before a known model is refused with a 4xx."""
    turned_down(seen[0], wanted="a 4xx to an unknown provider")


@check("reasoning.effort-accepted", on=[EFFORT])
def test_each_effort_is_accepted(seen: Transcript) -> str:
    """Each of minimal, low, medium and high is accepted, or all are refused cleanly."""
    statuses = {item.ask.label: openai.response(item) for item in seen.exchanges}
    refused = [label for label, got in statuses.items() if got.status in (400, 422)]
    if len(refused) == len(statuses) and all(clean_refusal(got) for got in statuses.values()):
        raise Inconclusive("all are refused: name a reasoning model of the target")
    for at, exchange in each(seen):
        accepted(exchange, wanted=f"200 to reasoning_effort {exchange.ask.label}", at=at)
    return ", ".join(statuses)


@check("reasoning.effort-unknown", on=[EFFORT_UNKNOWN])
def test_unknown_effort_is_refused(seen: Transcript) -> None:
    """An unknown reasoning_effort is refused with a 4xx."""
    turned_down(seen[0], wanted="a 4xx to reasoning_effort extreme")


@check("web-search.false-accepted", on=[WEB_SEARCH])
def test_web_search_can_be_off(seen: Transcript) -> None:
    """web_search false is accepted."""
    accepted(seen[0], wanted="200 to web_search: false")


@check("web-search.true-clean", on=[WEB_SEARCH])
def test_web_search_is_answered_or_refused(seen: Transcript) -> str:
    """web_search true gives an answer or a clean 4xx."""
    got = openai.response(seen[1])
    expect(
        got.status == 200 or clean_refusal(got),
        wanted="200 or a clean 4xx to web_search: true",
        got=shown(got),
    )
    if got.status != 200:
        return f"refused with {got.status}"
    return f"answered, with {_citations(seen)}"


def _citations(seen: Transcript) -> str:
    try:
        found = list(openai.objects(openai.message(seen[1]).get("annotations")))
    except Untestable:
        return "nothing to read"
    if not found:
        return "no citations"
    return "nested citations" if "url_citation" in found[0] else "flat citations"


@check("plugins.form", on=[PLUGINS])
def test_plugins_are_accepted(seen: Transcript) -> str:
    """Plugins is accepted as a list of names or as a list of objects with an id."""
    forms = {item.ask.label: openai.response(item) for item in seen.exchanges}
    taken = [label for label, got in forms.items() if got.status == 200]
    if not taken:
        raise Finding(
            wanted="200 to one of the two forms of plugins",
            got="; ".join(f"{label}: {shown(got)}" for label, got in forms.items()),
        )
    return f"taken as {' and as '.join(taken)}"


@check("plugins.healing-json", on=[PLUGINS])
def test_healed_content_is_json(seen: Transcript) -> None:
    """With response-healing and response_format json_object the content parses as JSON."""
    taken = [(at, item) for at, item in each(seen) if openai.response(item).status == 200]
    if not taken:
        raise Untestable("no form of plugins is accepted (see plugins.form)")
    for at, exchange in taken:
        text = text_of(exchange)
        expect(_is_json(text), wanted="content that parses as JSON", got=text[:200], at=at)


@check("plugins.heals", on=[HEALED])
def test_broken_json_is_healed(seen: Transcript) -> None:
    """With response-healing, JSON that the model left broken reaches the client repaired."""
    broken, healed = (item for _, item, _ in places(seen))
    if _is_json(text_of(broken)):
        raise Untestable("the answer is JSON without the plugin too")
    got = openai.response(healed)
    if got.status != 200:
        raise Untestable(f"the plugin is refused (see plugins.form): {shown(got)}")
    text = text_of(healed)
    expect(
        _is_json(text),
        wanted="content that parses as JSON",
        got=text[:200],
        at=Place(exchange=1),
    )


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


@check("plugins.unknown-clean", on=[PLUGIN_UNKNOWN])
def test_unknown_plugin_does_not_crash(seen: Transcript) -> str:
    """An unknown plugin is ignored or refused with a 4xx."""
    told = []
    for at, exchange in each(seen):
        got = openai.response(exchange)
        expect(got.status < 500, wanted="200 or a 4xx to an unknown plugin", got=shown(got), at=at)
        told.append(f"{exchange.ask.label}: {got.status}")
    return ", ".join(told)
