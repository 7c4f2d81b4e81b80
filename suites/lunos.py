"""Checks of what only Lunos promises: X-App-ID, observability, its errors, its routes."""

from collections.abc import Mapping
from typing import Any

from gateproof.check import Finding, Place, Untestable, check, expect
from gateproof.dialects import openai
from gateproof.transcript import Exchange, Transcript

from .completions import FINISHES, choices, completion
from .reading import clean_refusal, each, shown
from .refusal import body_value, message_of, refusals, turned_down
from .scenarios.chat import PLAIN
from .scenarios.completions import PLAIN as COMPLETION
from .scenarios.errors import NO_SUCH_MODEL, UNKNOWN_MODEL
from .scenarios.lunos import (
    APP_ID,
    APP_ID_BODY,
    APP_ID_MESSAGES,
    APP_ID_ODD,
    APP_IDS,
    OBSERVABILITY,
    OBSERVABILITY_ODD,
    OBSERVED_COMPLETION,
    OBSERVED_EMBEDDING,
    OBSERVED_MESSAGE,
    PREFIXED,
    ROUTES,
)


def _kind(exchange: Exchange) -> tuple[int, str, Any]:
    """Return what kind of answer one is: status, content type, and the names of its members."""
    got = openai.response(exchange)
    value = body_value(exchange)
    return got.status, got.media_type, sorted(value) if isinstance(value, dict) else None


def _alike(seen: Transcript, what: str) -> None:
    """Expect all exchanges to be answered as the first, which is without the thing in question."""
    first = openai.response(seen[0])
    if first.status != 200:
        raise Untestable(f"without {what} the request was answered with status {first.status}")
    wanted = _kind(seen[0])
    for at, exchange in each(seen):
        got = _kind(exchange)
        expect(
            got == wanted,
            wanted=f"as without {what}: status {wanted[0]}, {wanted[1]}, {wanted[2]}",
            got=f"{exchange.ask.label}: status {got[0]}, {got[1]}, {got[2]}",
            at=at,
        )


@check("app-id.neutral", on=[APP_ID])
def test_app_id_changes_nothing(seen: Transcript) -> None:
    """The same chat request with X-App-ID and without gets the same kind of answer."""
    _alike(seen, "X-App-ID")


@check("app-id.several", on=[APP_IDS])
def test_one_key_serves_several_apps(seen: Transcript) -> str:
    """Requests with one key and different X-App-ID values, sent at once, are all answered."""
    for at, exchange in each(seen):
        got = openai.response(exchange)
        if got.status == 429:
            raise Untestable("a rate limit was met")
        expect(got.status == 200, wanted="status 200 for each app", got=shown(got), at=at)
    return f"{len(seen)} requests"


@check("app-id.in-body", on=[APP_ID_BODY])
def test_app_id_in_the_body_does_no_harm(seen: Transcript) -> None:
    """A chat request with a member appId is answered."""
    for at, exchange in each(seen):
        got = openai.response(exchange)
        expect(got.status == 200, wanted="status 200", got=shown(got), at=at)


@check("app-id.odd", on=[APP_ID_ODD])
def test_odd_app_ids_cause_no_5xx(seen: Transcript) -> str:
    """An X-App-ID that is empty, 256 characters long or beyond ASCII causes no 5xx."""
    told = []
    for at, exchange in each(seen):
        got = openai.response(exchange)
        expect(
            got.status < 500,
            wanted=f"200 or a 4xx: {exchange.ask.label}",
            got=shown(got),
            at=at,
        )
        told.append(f"{exchange.ask.label}: {got.status}")
    return ", ".join(told)


@check("app-id.on-messages", on=[APP_ID_MESSAGES])
def test_messages_take_an_app_id(seen: Transcript) -> None:
    """A Messages request with X-App-ID is answered."""
    _alike(seen, "X-App-ID")


@check("observability.neutral", on=[OBSERVABILITY])
def test_observability_changes_nothing(seen: Transcript) -> None:
    """The same request with observability true, false and without it gets the same answer."""
    _alike(seen, "observability")


@check("observability.non-boolean", on=[OBSERVABILITY_ODD])
def test_observability_is_a_boolean(seen: Transcript) -> str:
    """A chat request whose observability is a text is refused with a 4xx."""
    got = turned_down(seen[0], wanted="a refusal with a 4xx")
    return f"status {got.status}"


@check("observability.other-routes", on=[OBSERVED_COMPLETION, OBSERVED_EMBEDDING, OBSERVED_MESSAGE])
def test_other_routes_take_observability(seen: Transcript) -> None:
    """Text completions, embeddings and Messages with observability are answered as without."""
    _alike(seen, "observability")


@check("lunos.chat-envelope", on=[PLAIN])
def test_choices_stand_at_the_top(seen: Transcript) -> None:
    """A chat answer has its choices at the top, not under data."""
    value = openai.answer(seen[0])
    data = value.get("data")
    under = isinstance(data, dict) and "choices" in data
    expect(not under, wanted="choices at the top", got=f"data.choices; at the top {sorted(value)}")
    if "choices" not in value:
        raise Untestable("the answer has no choices (see chat.response.schema)")


@check("completions.shape", on=[COMPLETION])
def test_text_completion_has_one_of_two_shapes(seen: Transcript) -> str:
    """A text completion has OpenAI's shape or the vendor's envelope, whole."""
    value = completion(seen[0])
    enveloped = "choices" not in value and isinstance(value.get("data"), dict)
    wanted = "completion" if enveloped else "text_completion"
    told = value.get("object")
    expect(told == wanted, wanted=f"object {wanted}", got=f"object {told!r} in {sorted(value)}")
    for name in ("id", "model", *(("provider",) if enveloped else ())):
        expect(isinstance(value.get(name), str), wanted=f"{name}: a text", got=value.get(name))
    expect(openai.is_int(value.get("created")), wanted="created: an integer", got=sorted(value))
    found = choices(value)
    expect(found, wanted="at least one choice", got=sorted(value))
    for index, choice in enumerate(found):
        whole = isinstance(choice.get("text"), str) and choice.get("index") == index
        expect(
            whole and choice.get("finish_reason") in FINISHES,
            wanted=f"choice {index} with text, its index and a finish_reason",
            got=choice,
        )
    return "the vendor's envelope" if enveloped else "OpenAI's shape"


@check("lunos.provider", on=[PLAIN, PREFIXED])
def test_provider_is_the_models(seen: Transcript) -> str:
    """An answer's provider, where there is one, is the part of its model before the slash."""
    told = set()
    for at, exchange in each(seen):
        if openai.response(exchange).status != 200:
            continue
        value = openai.answer(exchange)
        provider, model = value.get("provider"), str(value.get("model"))
        if provider is None:
            told.add("no provider is named")
            continue
        named = model if "/" in model else str((exchange.ask.value or {}).get("model"))
        if "/" not in named:
            told.add(f"provider {provider}, and no model with a slash")
            continue
        wanted = named.partition("/")[0]
        expect(provider == wanted, wanted=f"provider {wanted}, as in {named}", got=provider, at=at)
        told.add(f"provider {provider}")
    if not told:
        raise Untestable("no request was answered (see chat.answers, lunos.model-prefix)")
    return ", ".join(sorted(told))


@check("lunos.model-prefix", on=[PREFIXED])
def test_provider_prefix_is_accepted(seen: Transcript) -> str:
    """A model id of the form provider/model is accepted, or refused as not available."""
    told = []
    for at, exchange in each(seen):
        got = openai.response(exchange)
        text = got.body.decode("utf-8", errors="replace").lower()
        said = any(word in text for word in ("available", "access", "exist", "found"))
        expect(
            got.status == 200 or (clean_refusal(got) and (got.status in (402, 403, 404) or said)),
            wanted="an answer, or a 4xx that the model is not available",
            got=f"{exchange.ask.label}: {shown(got)}",
            at=at,
        )
        told.append(f"{exchange.ask.label}: {got.status}")
    return ", ".join(told)


def _errors(seen: Transcript) -> list[tuple[Place, Exchange, Mapping[str, Any]]]:
    found: list[tuple[Place, Exchange, Mapping[str, Any]]] = []
    for at, exchange in refusals(seen):
        value = body_value(exchange)
        error = value.get("error") if isinstance(value, dict) else None
        if not isinstance(error, dict):
            raise Untestable("the error is not an object (see err.envelope)")
        found.append((at, exchange, error))
    return found


@check("lunos.error.model-type", on=[UNKNOWN_MODEL])
def test_unknown_model_is_an_invalid_request(seen: Transcript) -> None:
    """The error for an unknown model has the type invalid_request_error."""
    for at, _, error in _errors(seen):
        type_ = error.get("type")
        expect(
            type_ == "invalid_request_error",
            wanted="error.type is invalid_request_error",
            got=type_,
            at=at,
        )


@check("lunos.error.model-details", on=[UNKNOWN_MODEL])
def test_unknown_model_is_named(seen: Transcript) -> str:
    """The error for an unknown model names it, has param model, and a code that is a string."""
    codes = set()
    for at, exchange, error in _errors(seen):
        expect(
            NO_SUCH_MODEL in message_of(body_value(exchange)),
            wanted=f"a message that names {NO_SUCH_MODEL}",
            got=error.get("message"),
            at=at,
        )
        param, code = error.get("param"), error.get("code")
        expect(param == "model", wanted="param is model", got=param, at=at)
        expect(isinstance(code, str) and code, wanted="code is a string", got=code, at=at)
        codes.add(str(code))
    return f"code {' and '.join(sorted(codes))}"


@check("lunos.error.model-status", on=[UNKNOWN_MODEL])
def test_unknown_model_has_a_fitting_status(seen: Transcript) -> str:
    """An unknown model gives 400, 404 or 422."""
    for at, exchange in refusals(seen):
        got = openai.response(exchange)
        if not 400 <= got.status < 500:
            raise Untestable(f"the refusal has status {got.status} (see err.model-unknown)")
        expect(got.status in (400, 404, 422), wanted="400, 404 or 422", got=shown(got), at=at)
    return f"status {openai.response(seen[0]).status}"


@check("lunos.routes", on=[ROUTES])
def test_documented_routes_exist(seen: Transcript) -> str:
    """Each documented route, called with its method and a key, gives neither 404, 405 nor 501."""
    for at, exchange in each(seen):
        got = openai.response(exchange)
        if got.status == 401:
            raise Untestable(f"{exchange.ask.label} refuses the key")
        missing = got.status in (404, 405, 501) and not _of_a_model(exchange)
        if missing:
            raise Finding(
                wanted=f"{exchange.ask.method} {exchange.ask.label} exists", got=shown(got), at=at
            )
    return f"{len(seen)} routes"


def _of_a_model(exchange: Exchange) -> bool:
    """Tell whether a 404 speaks of the model and not of the route."""
    value = body_value(exchange)
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict):
        return False
    return error.get("param") == "model" or "model" in str(error.get("code"))
