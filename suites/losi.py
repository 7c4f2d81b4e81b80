"""Checks of what only Losi promises: the types of its errors, and its model losi-omega."""

from collections.abc import Iterator, Mapping
from typing import Any

from gateproof.check import Finding, Inconclusive, Place, Untestable, check, expect
from gateproof.dialects import openai
from gateproof.transcript import Exchange, Transcript

from .journal import forwarded, forwarded_body
from .reading import accepted, shown, text_of
from .refusal import body_value, refusals, type_of
from .scenarios.errors import (
    MALFORMED_JSON,
    MISSING_MESSAGES,
    MISSING_MODEL,
    UNKNOWN_MODEL,
    WRONG_KEY,
    WRONG_TYPES,
)
from .scenarios.losi import (
    OMEGA,
    OMEGA_FORWARDED,
    OMEGA_OBEYS,
    PLAN_MODEL,
    QUOTA,
    SYSTEM_TEXT,
    WORD,
)
from .scenarios.models import LIST, listed_ids
from .scenarios.upstream import STATUSES

# LOSI-39: the documented types, and LOSI-40: the statuses that fit each.
STATUSES_OF: Mapping[str, frozenset[int]] = {
    "authentication_error": frozenset({401}),
    "permission_error": frozenset({403}),
    "invalid_request_error": frozenset({400, 404, 405, 413, 415, 422}),
    "rate_limit_error": frozenset({429}),
    "insufficient_quota": frozenset({402, 403, 429}),
    "server_error": frozenset(range(500, 600)),
}
OF_UNKNOWN_MODEL = frozenset({400, 402, 403, 404, 429})
ERRORS = (WRONG_KEY, MALFORMED_JSON, MISSING_MODEL, UNKNOWN_MODEL)


def _types(seen: Transcript) -> Iterator[tuple[Place, Exchange, str]]:
    """Iterate over the refusals with the type of each; ``Untestable`` where one has none."""
    for at, exchange in refusals(seen):
        type_ = type_of(exchange)
        if type_ is None:
            raise Untestable("the error has no type (see err.envelope, err.types)")
        yield at, exchange, type_


@check("losi.error.auth-type", on=[WRONG_KEY])
def test_wrong_key_is_an_authentication_error(seen: Transcript) -> None:
    """The error for a wrong key has the type authentication_error."""
    for at, exchange, type_ in _types(seen):
        expect(
            type_ == "authentication_error",
            wanted="error.type is authentication_error",
            got=shown(openai.response(exchange)),
            at=at,
        )


@check("losi.error.invalid-type", on=[MALFORMED_JSON, MISSING_MODEL, MISSING_MESSAGES, WRONG_TYPES])
def test_malformed_request_is_invalid(seen: Transcript) -> None:
    """Malformed JSON and missing or wrong parameters are errors of type invalid_request_error."""
    for at, exchange, type_ in _types(seen):
        expect(
            type_ == "invalid_request_error",
            wanted="error.type is invalid_request_error",
            got=shown(openai.response(exchange)),
            at=at,
        )


@check("losi.error.model-type", on=[UNKNOWN_MODEL])
def test_unknown_model_is_invalid_or_out_of_quota(seen: Transcript) -> str:
    """The error for an unknown model is invalid_request_error or insufficient_quota."""
    told = set()
    for at, exchange, type_ in _types(seen):
        got = openai.response(exchange)
        expect(
            type_ in ("invalid_request_error", "insufficient_quota"),
            wanted="error.type is invalid_request_error or insufficient_quota",
            got=shown(got),
            at=at,
        )
        expect(
            got.status in OF_UNKNOWN_MODEL or got.status >= 500 or got.status < 400,
            wanted="status 400, 402, 403, 404 or 429",
            got=shown(got),
            at=at,
        )
        told.add(f"{type_} with status {got.status}")
    return " and ".join(sorted(told))


@check("losi.error.known-type", on=ERRORS)
def test_error_type_is_documented(seen: Transcript) -> None:
    """An error's type is one of the six that are documented."""
    for at, _, type_ in _types(seen):
        expect(type_ in STATUSES_OF, wanted=f"one of {', '.join(STATUSES_OF)}", got=type_, at=at)


@check("losi.error.type-status", on=ERRORS)
def test_status_fits_the_type(seen: Transcript) -> str:
    """An error of a documented type has a status that fits it."""
    told = set()
    for at, exchange, type_ in _types(seen):
        got = openai.response(exchange)
        if got.status < 400:
            raise Untestable(f"the refusal has status {got.status} (see err.not-200)")
        if type_ not in STATUSES_OF:
            raise Untestable(f"{type_} is no documented type (see losi.error.known-type)")
        fitting = STATUSES_OF[type_]
        if type_ == "insufficient_quota" and seen.scenario == UNKNOWN_MODEL.name:
            fitting |= OF_UNKNOWN_MODEL
        expect(
            got.status in fitting,
            wanted=f"a status that fits {type_}: {_ranges(fitting)}",
            got=shown(got),
            at=at,
        )
        told.add(f"{type_} with {got.status}")
    return ", ".join(sorted(told))


def _ranges(statuses: frozenset[int]) -> str:
    return "5xx" if 500 in statuses else ", ".join(map(str, sorted(statuses)))


@check("losi.error.server-type", on=[STATUSES])
def test_upstream_failure_is_a_server_error(seen: Transcript) -> str:
    """A failure of the upstream reaches the client as an error of type server_error."""
    found = [item for item in seen.exchanges if item.ask.label == "500"]
    if not found:
        raise Untestable("the upstream was not made to fail")
    at = Place(exchange=seen.exchanges.index(found[0]))
    got = openai.response(found[0])
    if got.status < 500:
        raise Untestable(f"answered with status {got.status} (see gateway.upstream-status-mapped)")
    value = body_value(found[0])
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("type"), str):
        raise Untestable("the error has no type (see gateway.upstream-error-envelope)")
    expect(
        error["type"] == "server_error", wanted="error.type is server_error", got=shown(got), at=at
    )
    return f"status {got.status}"


@check("losi.plan-model", on=[PLAN_MODEL])
def test_model_of_another_plan_is_refused(seen: Transcript) -> str:
    """A model that the key's plan has not is refused with a 4xx, not with a 5xx."""
    asked = seen.labelled("lacking")
    if not asked:
        return "both keys see the same models"
    got = openai.response(asked[0])
    at = Place(exchange=len(seen) - 1)
    expect(got.status < 500, wanted="a 4xx to a model that the plan has not", got=shown(got), at=at)
    told = "answered, though not listed" if got.status == 200 else f"refused with {got.status}"
    return f"{asked[0].ask.value['model']}: {told}"


@check("losi.quota", on=[QUOTA])
def test_used_up_quota_is_no_rate_limit(seen: Transcript) -> str:
    """A request of an account whose quota is used up is refused as insufficient_quota."""
    got = openai.response(seen[0])
    expect(
        got.status in STATUSES_OF["insufficient_quota"],
        wanted="402, 403 or 429 to an account whose quota is used up",
        got=shown(got),
    )
    for at, _, type_ in _types(seen):
        expect(
            type_ == "insufficient_quota",
            wanted="error.type is insufficient_quota",
            got=shown(got),
            at=at,
        )
    return f"status {got.status}"


@check("omega.listed", on=[LIST])
def test_omega_is_listed(seen: Transcript) -> None:
    """The list of models has losi-omega."""
    found = listed_ids(seen[0])
    if not found:
        raise Untestable("the list names no model (see models.answers)")
    expect("losi-omega" in found, wanted="losi-omega in the list", got=found)


@check("omega.answers", on=[OMEGA])
def test_omega_answers(seen: Transcript) -> None:
    """losi-omega answers a conversation without a system message."""
    got = openai.response(seen[0])
    if got.status == 404:
        raise Finding(wanted="an answer of losi-omega", got=shown(got))
    accepted(seen[0], wanted="an answer of losi-omega")
    text_of(seen[0])


@check("omega.not-shown", on=[OMEGA])
def test_the_prompt_is_not_shown(seen: Transcript) -> None:
    """An answer of losi-omega has one choice, whose message is the assistant's."""
    choices = openai.choices(openai.completion(seen[0]))
    expect(len(choices) == 1, wanted="one choice", got=f"{len(choices)} choices")
    message = openai.message(seen[0])
    expect(message.get("role") == "assistant", wanted="role assistant", got=message.get("role"))
    text = text_of(seen[0]).strip().strip('."').lower()
    if "good morning" not in text:
        raise Inconclusive(f"the model was told to repeat two words, and said: {text[:80]}")
    # More than a sentence around two words is not what was asked for; a system prompt is longer.
    expect(len(text) < 80, wanted="the two words that it was told to repeat", got=text[:200])


@check("omega.client-obeyed", on=[OMEGA_OBEYS])
def test_the_clients_system_message_is_kept(seen: Transcript) -> str:
    """The tokens of the client's own system message to losi-omega are counted."""
    without, with_ = (openai.completion(item) for item in seen.exchanges)
    before, after = (openai.usage(value).get("prompt_tokens") for value in (without, with_))
    obeyed = WORD.lower() in text_of(seen[1]).lower()
    if not (openai.is_int(before) and openai.is_int(after)):
        if not obeyed:
            raise Inconclusive(f"the model did not say {WORD}, and no tokens are counted")
        return "obeyed"
    expect(
        after > before,
        wanted="more prompt tokens with the system message than without",
        got=f"{after} with it, {before} without",
        at=Place(exchange=1),
    )
    said = "obeyed" if obeyed else f"the model did not say {WORD}"
    return f"{said}; prompt tokens {before} without and {after} with it"


def _reached(seen: Transcript, label: str) -> list[tuple[str, str]]:
    """Return the messages that the upstream's model got: the role and the text of each."""
    # The bundled server, as its own upstream, tells what its model got beside what it was sent.
    told = forwarded(seen, label).get("effective")
    messages = told if isinstance(told, list) else forwarded_body(seen, label).get("messages")
    return [
        (str(item.get("role")), _text(item.get("content"))) for item in openai.objects(messages)
    ]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in openai.objects(content))


def _system(seen: Transcript, label: str) -> str:
    return "\n".join(
        text for role, text in _reached(seen, label) if role in ("system", "developer")
    )


@check("omega.prompt-added", on=[OMEGA_FORWARDED])
def test_omega_gets_a_prompt(seen: Transcript) -> str:
    """What reaches the upstream for losi-omega has a system prompt that the client did not send."""
    text = _system(seen, "omega-bare")
    expect(text.strip(), wanted="a system prompt of the gateway's", got="no system prompt")
    return f"{len(text)} characters"


@check("omega.client-first", on=[OMEGA_FORWARDED])
def test_the_clients_text_comes_first(seen: Transcript) -> str:
    """For losi-omega the client's own system text comes first, whole, and the prompt after it."""
    added = _system(seen, "omega-bare").strip()
    if not added:
        raise Untestable("no prompt is added (see omega.prompt-added)")
    text = _system(seen, "omega-steered")
    at = Place(exchange=1)
    expect(SYSTEM_TEXT in text, wanted="the client's system text, whole", got=text[:200], at=at)
    expect(
        text.lstrip().startswith(SYSTEM_TEXT) and len(text.strip()) > len(SYSTEM_TEXT),
        wanted="the client's system text, and then the gateway's prompt",
        got=text[:200],
        at=at,
    )
    messages = [role for role, _ in _reached(seen, "omega-steered") if role != "user"]
    return f"in {len(messages)} system message{'s' if len(messages) > 1 else ''}"


@check("omega.only-omega", on=[OMEGA_FORWARDED])
def test_other_models_get_no_prompt(seen: Transcript) -> None:
    """What reaches the upstream for another model has the client's system prompt and no other."""
    for index, (label, own) in enumerate({"other-bare": "", "other-steered": SYSTEM_TEXT}.items()):
        text = _system(seen, label)
        expect(
            text.strip() == own,
            wanted=f"the client's system text alone: {own or 'none'}",
            got=text[:200] or "none",
            at=Place(exchange=index + 2),
        )
