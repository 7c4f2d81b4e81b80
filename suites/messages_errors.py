"""Checks of Anthropic's Messages that concern refusals: keys, versions, mistakes, and errors."""

from collections.abc import Mapping
from typing import Any

from gateproof.check import Finding, Place, Untestable, check, expect
from gateproof.dialects import anthropic, openai
from gateproof.transcript import Exchange, Transcript

from .journal import forwarded
from .reading import each, shown
from .refusal import body_value, is_error, message_of, refusals, turned_down, type_of
from .scenarios.messages import (
    AUTH,
    INCOMPLETE,
    NEWER_VERSION,
    NO_MAX_TOKENS,
    REFUSED_KEYS,
    THREAD,
    UNKNOWN_MODEL,
    UPSTREAM_ERROR,
    VERSION,
    VERSIONS,
)

REFUSED = (REFUSED_KEYS, UNKNOWN_MODEL, NO_MAX_TOKENS, INCOMPLETE)
# The statuses of each type of error (Anthropic, Errors, read 2026-11-21).
STATUSES: Mapping[str, tuple[int, ...]] = {
    "invalid_request_error": tuple(range(400, 500)),
    "authentication_error": (401,),
    "billing_error": (402,),
    "permission_error": (403,),
    "not_found_error": (404,),
    "request_too_large": (413,),
    "rate_limit_error": (429,),
    "api_error": (500,),
    "timeout_error": (504,),
    "overloaded_error": (529,),
}


def enveloped_type(exchange: Exchange) -> str | None:
    """Return the type of an error in this dialect's envelope; ``None`` for another body."""
    value = body_value(exchange)
    enveloped = isinstance(value, dict) and value.get("type") == "error"
    return type_of(exchange) if enveloped else None


@check("anth.error-envelope", on=REFUSED)
def test_error_has_the_dialects_envelope(seen: Transcript) -> None:
    """An error's body is an object of type error, whose member error has a type and a message."""
    for at, exchange in refusals(seen):
        value = body_value(exchange)
        error = value.get("error") if isinstance(value, dict) else None
        texts = isinstance(error, dict) and all(
            isinstance(error.get(name), str) for name in ("type", "message")
        )
        expect(
            texts and value.get("type") == "error",
            wanted='{"type": "error", "error": {"type": …, "message": …}}',
            got=shown(openai.response(exchange)),
            at=at,
        )


@check("anth.error-message", on=REFUSED)
def test_error_has_a_message(seen: Transcript) -> None:
    """An error is JSON and has a human-readable message in a known place."""
    for at, exchange in refusals(seen):
        expect(
            message_of(body_value(exchange)),
            wanted="JSON with a message: error.message, error as a text, or message",
            got=shown(openai.response(exchange)),
            at=at,
        )


@check("anth.error-status", on=REFUSED)
def test_type_fits_the_status(seen: Transcript) -> str:
    """An error's type fits its status."""
    told = set()
    for at, exchange in refusals(seen):
        kind = enveloped_type(exchange)
        if kind is None:
            raise Untestable("the error has no type (see anth.error-envelope)")
        status = openai.response(exchange).status
        told.add(f"{status} {kind}")
        if kind in STATUSES:
            expect(
                status in STATUSES[kind],
                wanted=f"{kind} with status {_span(STATUSES[kind])}",
                got=f"{kind} with status {status}",
                at=at,
            )
    return ", ".join(sorted(told))


def _span(statuses: tuple[int, ...]) -> str:
    return f"{statuses[0]}" if len(statuses) == 1 else "4xx"


def expect_refused(exchange: Exchange, status: int, kind: str, at: Place) -> None:
    """Expect a status, and a type where the error has the envelope that holds one."""
    got = openai.response(exchange)
    wanted = f"status {status} and {kind}"
    expect(got.status == status, wanted=wanted, got=f"{exchange.ask.label}: {shown(got)}", at=at)
    found = enveloped_type(exchange)
    expect(found in (None, kind), wanted=wanted, got=f"{exchange.ask.label}: {shown(got)}", at=at)


@check("anth.auth.401", on=[REFUSED_KEYS])
def test_wrong_key_is_refused(seen: Transcript) -> None:
    """A missing or wrong key gives 401 and authentication_error."""
    for at, exchange in each(seen):
        expect_refused(exchange, 401, "authentication_error", at)


@check("anth.auth-x-api-key", on=[AUTH])
def test_key_is_taken_in_x_api_key(seen: Transcript) -> str:
    """A right key in x-api-key is accepted."""
    return _expect_taken(seen, "x-api-key")


@check("anth.auth-bearer", on=[AUTH])
def test_key_is_taken_as_bearer(seen: Transcript) -> str:
    """A right key as Authorization: Bearer is accepted."""
    return _expect_taken(seen, "bearer")


def _expect_taken(seen: Transcript, label: str) -> str:
    for at, exchange in each(seen):
        if exchange.ask.label != label:
            continue
        got = openai.response(exchange)
        expect(got.status not in (401, 403), wanted="the key to be taken", got=shown(got), at=at)
        if got.status != 200:
            raise Untestable(f"the request was answered with status {got.status}")
        if not any(mark.part == "sent" for mark in exchange.marks):
            return "the target takes no key"
    return ""


def _labelled(seen: Transcript, label: str) -> tuple[Place, Exchange]:
    return next((at, item) for at, item in each(seen) if item.ask.label == label)


def _expect_version(seen: Transcript, label: str) -> None:
    at, exchange = _labelled(seen, label)
    got = openai.response(exchange)
    if got.status in (401, 403, 429):
        raise Untestable(f"the request was answered with status {got.status}")
    expect(got.status == 200, wanted=f"200 to anthropic-version {label}", got=shown(got), at=at)


@check("anth.version-2023-06-01", on=[VERSIONS])
def test_classic_version_is_served(seen: Transcript) -> None:
    """Requests with anthropic-version 2023-06-01 are answered."""
    _expect_version(seen, VERSION)


@check("anth.version-2026-10-21", on=[VERSIONS])
def test_newer_version_is_served(seen: Transcript) -> None:
    """Requests with anthropic-version 2026-10-21 are answered."""
    _expect_version(seen, NEWER_VERSION)


@check("anth.version-missing", on=[VERSIONS])
def test_version_is_required(seen: Transcript) -> None:
    """A request without anthropic-version is refused with 400."""
    at, exchange = _labelled(seen, "none")
    got = openai.response(exchange)
    if got.status in (401, 403, 429):
        raise Untestable(f"the request was answered with status {got.status}")
    expect(got.status == 400, wanted="400 without anthropic-version", got=shown(got), at=at)


@check("anth.model-unknown", on=[UNKNOWN_MODEL])
def test_unknown_model_is_refused(seen: Transcript) -> str:
    """An unknown model is refused with a 4xx."""
    told = set()
    for at, exchange in each(seen):
        got = turned_down(exchange, wanted="a 4xx to a model that nobody serves", at=at)
        told.add(str(got.status))
    return ", ".join(sorted(told))


@check("anth.max-tokens-required", on=[NO_MAX_TOKENS])
def test_max_tokens_is_required(seen: Transcript) -> None:
    """A request without max_tokens is refused with 400 and invalid_request_error."""
    expect_refused(seen[0], 400, "invalid_request_error", Place())


@check("anth.missing-fields", on=[INCOMPLETE])
def test_incomplete_request_is_refused(seen: Transcript) -> None:
    """A request without model, without messages, or with no JSON at all is refused with 400."""
    for at, exchange in each(seen):
        got = openai.response(exchange)
        label = exchange.ask.label
        expect(got.status == 400, wanted=f"400 to {label}", got=f"{label}: {shown(got)}", at=at)


@check("anth.thread", on=[THREAD])
def test_thread_is_not_ignored(seen: Transcript) -> str:
    """A message of a thread that there is not is refused, not answered as if it stood alone."""
    got = openai.response(seen[0])
    if got.status >= 500 or (got.status < 400 and is_error(body_value(seen[0]))):
        raise Untestable(f"the refusal has status {got.status} (see anth.error-status)")
    expect(
        got.status >= 400,
        wanted="a refusal: without its thread the message has lost the conversation",
        got=shown(got),
    )
    known = b"thread_unsupported_request" in got.body
    return f"refused with {got.status}" + (", so that clients go on without" if known else "")


@check("anth.error-event", on=[UPSTREAM_ERROR])
def test_error_in_midstream_is_an_event(seen: Transcript) -> str:
    """An error in the middle of a stream is an event named error with a type and a message."""
    if not any(send["label"] == "content" for send in forwarded(seen, "stream")["sends"]):
        raise Untestable("the upstream failed before it had sent any text")
    got = openai.response(seen[0])
    if got.status >= 400:
        return f"status {got.status}"
    read = anthropic.stream(seen[0])
    found = [event for event in read.events if _is_error(event.kind, event.value)]
    if not found:
        if not got.complete or seen[0].ended != "closed":
            return f"broken transfer ({seen[0].ended})"
        raise Finding(
            wanted="an event named error, as the upstream failed in mid-stream",
            got=f"no such event; the last is {read.events[-1].kind}",
            at=read.events[-1].place,
        )
    event = found[0]
    error = event.member("error")
    texts = [isinstance(error.get(name), str) for name in ("type", "message")]
    expect(
        event.name == "error" and event.value.get("type") == "error" and all(texts),
        wanted='event: error, with data {"type": "error", "error": {"type": …, "message": …}}',
        got=f"event: {event.name}, with {dict(event.value)}",
        at=event.place,
    )
    return "an error event"


def _is_error(kind: str, value: Mapping[str, Any]) -> bool:
    return kind == "error" or bool(value.get("error"))
