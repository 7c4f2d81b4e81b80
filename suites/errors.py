"""Checks of refusals: their status, their body, and that they are refusals at all."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateproof.check import Place, Untestable, check, expect
from gateproof.dialects import openai
from gateproof.transcript import Exchange, Transcript
from gateproof.wire import Read

from .reading import shown
from .refusal import answered, body_value, is_error, message_of, refusals, refused
from .scenarios.errors import (
    EMPTY_MESSAGES,
    LONE_SURROGATE,
    LONG_ID,
    LONG_REQUEST_ID,
    MALFORMED_AUTH,
    MALFORMED_JSON,
    MISSING_MESSAGES,
    MISSING_MODEL,
    NO_KEY,
    ORPHAN_TOOL_MESSAGE,
    UNKNOWN_MODEL,
    UNKNOWN_PATH,
    WRONG_KEY,
    WRONG_METHOD,
    WRONG_TYPES,
)

# What every gateway must refuse, by whatever layer of it: the key, the body, the routing.
MUST_REFUSE = (WRONG_KEY, MALFORMED_JSON, MISSING_MODEL, UNKNOWN_MODEL)
# What breaks the documented schema.
AGAINST_SCHEMA = (MISSING_MODEL, MISSING_MESSAGES, EMPTY_MESSAGES, WRONG_TYPES)
RETRIED = (408, 409, 429)  # by the official clients, besides every 5xx (measured)


@check("err.not-200", on=[NO_KEY, *MUST_REFUSE])
def test_error_is_never_sent_with_status_200(seen: Transcript) -> None:
    """An error is never sent with status 200."""
    for index, exchange in enumerate(seen.exchanges):
        got = openai.response(exchange)
        streamed = got.media_type == "text/event-stream"  # sse.prestream-error-status reports it
        expect(
            got.status >= 400 or streamed or answered(exchange),
            wanted="an error has a status of 400 or more",
            got=shown(got),
            at=Place(exchange=index),
        )


@check("err.envelope", on=MUST_REFUSE)
def test_error_is_an_object_with_message_and_type(seen: Transcript) -> None:
    """A refusal's body is JSON, and its member error an object with a message and a type."""
    for at, exchange in refusals(seen):
        value = body_value(exchange)
        error = value.get("error") if isinstance(value, dict) else None
        expect(
            isinstance(error, dict) and "message" in error and "type" in error,
            wanted='a body {"error": {"message": …, "type": …, …}}',
            got=shown(openai.response(exchange)),
            at=at,
        )


@check("err.keys", on=MUST_REFUSE)
def test_error_has_all_four_members(seen: Transcript) -> None:
    """The error object has all four members: message, type, param, code."""
    for at, exchange in refusals(seen):
        error = _error_object(exchange)
        missing = [name for name in ("message", "type", "param", "code") if name not in error]
        expect(
            not missing,
            wanted="message, type, param and code (the last two may be null)",
            got=f"no {', '.join(missing)} in {sorted(error)}",
            at=at,
        )


@check("err.types", on=MUST_REFUSE)
def test_members_of_the_error_are_strings(seen: Transcript) -> None:
    """In the error object message and type are strings; param and code are strings or null."""
    for at, exchange in refusals(seen):
        error = _error_object(exchange)
        for name in ("message", "type", "param", "code"):
            if name not in error:
                continue
            value = error[name]
            nullable = name in ("param", "code")
            expect(
                isinstance(value, str) or (nullable and value is None),
                wanted=f"error.{name} is a string" + (" or null" if nullable else ""),
                got=value,
                at=at,
            )


@check("err.message", on=[NO_KEY, *MUST_REFUSE])
def test_error_has_a_message_in_a_known_place(seen: Transcript) -> str:
    """A refusal is JSON and has a human-readable message in a known place."""
    told = set()
    for at, exchange in refusals(seen):
        value = body_value(exchange)
        if openai.response(exchange).status >= 500 and not message_of(value):
            raise Untestable("the refusal is a 5xx (see err.auth.401, err.status.400)")
        expect(
            message_of(value),
            wanted="JSON with a message: error.message, error as a text, or message beside error",
            got=shown(openai.response(exchange)),
            at=at,
        )
        error = value.get("error")
        told.add("error.message" if isinstance(error, dict) else "a text")
    return f"the message stands as {' and as '.join(sorted(told))}"


@check("err.no-bare-detail", on=MUST_REFUSE)
def test_error_is_no_bare_detail_and_no_page(seen: Transcript) -> None:
    """An error is neither a bare detail of a web framework nor an HTML page."""
    for at, exchange in refusals(seen):
        got = openai.response(exchange)
        value = body_value(exchange)
        bare = isinstance(value, dict) and "detail" in value and "error" not in value
        page = got.media_type == "text/html" or got.body.lstrip()[:5].lower() in (
            b"<html",
            b"<!doc",
        )
        expect(
            not bare and not page,
            wanted="an error body of the API",
            got=shown(got),
            at=at,
        )


@check("err.status.400", on=AGAINST_SCHEMA)
def test_schema_mistake_is_refused_as_the_clients_mistake(seen: Transcript) -> str:
    """A refused mistake against the schema has status 400 or 422, never a 5xx."""
    statuses = set()
    for index, exchange in enumerate(seen.exchanges):
        got = openai.response(exchange)
        if answered(exchange):
            continue
        if got.status < 400:
            raise Untestable(f"the refusal has status {got.status} (see err.not-200)")
        expect(
            got.status in (400, 422),
            wanted=f"status 400 or 422 ({exchange.ask.label or 'the request'})",
            got=shown(got),
            at=Place(exchange=index),
        )
        statuses.add(got.status)
    return f"status {' and '.join(map(str, sorted(statuses)))}" if statuses else "answered"


@check("err.malformed-json", on=[MALFORMED_JSON])
def test_cut_json_is_refused(seen: Transcript) -> str:
    """A body that is not JSON is refused with a 4xx, never with a 5xx."""
    got = openai.response(seen[0])
    _require_status(seen[0])
    expect(
        400 <= got.status < 500 and got.status not in RETRIED,
        wanted="status 400 (415 and 422 pass), none that clients retry",
        got=shown(got),
    )
    return f"status {got.status}"


@check("err.wrong-type-fields", on=[WRONG_TYPES])
def test_wrong_types_are_refused(seen: Transcript) -> str:
    """Messages of a wrong type, and numbers that are no numbers, are refused."""
    for index, exchange in enumerate(seen.exchanges):
        refused(
            exchange,
            wanted=f"a refusal with 400 or 422: {exchange.ask.label}",
            at=Place(exchange=index),
        )
    return f"all {len(seen)} refused"


@check("err.missing-model", on=[MISSING_MODEL, MISSING_MESSAGES])
def test_missing_member_is_refused(seen: Transcript) -> None:
    """A request without model or without messages is refused."""
    for index, exchange in enumerate(seen.exchanges):
        refused(
            exchange,
            wanted="a refusal with 400 or 422, with and without stream",
            at=Place(exchange=index),
        )


@check("err.empty-messages", on=[EMPTY_MESSAGES])
def test_empty_conversation_is_refused(seen: Transcript) -> None:
    """A request with an empty list of messages is refused."""
    refused(seen[0], wanted="a refusal with 400 or 422", at=Place())


@check("err.model-unknown", on=[UNKNOWN_MODEL])
def test_unknown_model_is_refused(seen: Transcript) -> str:
    """An unknown model is refused with a 4xx: no 5xx, and no answer by another model."""
    for index, exchange in enumerate(seen.exchanges):
        at = Place(exchange=index)
        got = openai.response(exchange)
        expect(not answered(exchange), wanted="a refusal with a 4xx", got=shown(got), at=at)
        if got.status < 400:
            raise Untestable(f"the refusal has status {got.status} (see err.not-200)")
        expect(got.status < 500, wanted="a refusal with a 4xx", got=shown(got), at=at)
    return f"status {openai.response(seen[0]).status}"


@check("err.model-404", on=[UNKNOWN_MODEL])
def test_unknown_model_is_not_found(seen: Transcript) -> str:
    """An unknown model gives 404 (or 400) with the code model_not_found."""
    got = refused(seen[0], wanted="a refusal with 404 or 400", at=Place())
    expect(got.status in (404, 400), wanted="status 404 (400 passes)", got=shown(got))
    value = body_value(seen[0])
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict):
        return f"status {got.status}, and no code to read (see err.envelope)"
    code = error.get("code")
    expect(code == "model_not_found", wanted="error.code is model_not_found", got=code)
    return f"status {got.status}"


@check("err.lone-surrogate", on=[LONE_SURROGATE])
def test_lone_surrogate_causes_no_5xx(seen: Transcript) -> str:
    """Half a surrogate pair is refused with a 4xx or replaced; it never causes a 5xx."""
    got = openai.response(seen[0])
    expect(got.status < 500, wanted="an answer, or a refusal with a 4xx", got=shown(got))
    return "refused" if got.status >= 400 else "answered"


@check("tool.orphan-tool-msg", on=[ORPHAN_TOOL_MESSAGE])
def test_orphan_tool_message_causes_no_5xx(seen: Transcript) -> str:
    """A tool's result without its call is refused with a 4xx, or answered, never met by a 5xx."""
    got = openai.response(seen[0])
    expect(got.status < 500, wanted="a refusal with a 4xx, or an answer", got=shown(got))
    return "refused" if got.status >= 400 else "answered"


@check("err.method-405", on=[WRONG_METHOD])
def test_wrong_method_is_not_allowed(seen: Transcript) -> str:
    """GET on the chat route gives 405 with Allow, or 404."""
    got = openai.response(seen[0])
    _require_status(seen[0])
    expect(got.status in (404, 405), wanted="status 405 or 404", got=shown(got))
    if got.status == 405:
        expect(
            "POST" in (got.header("allow") or "").upper(),
            wanted="Allow: names POST (RFC 9110 section 15.5.6)",
            got=got.header("allow") or "no Allow",
        )
    return f"status {got.status}"


@check("err.unknown-path", on=[UNKNOWN_PATH])
def test_unknown_route_is_not_found(seen: Transcript) -> None:
    """An unknown route gives 404 with a JSON error that has a message."""
    got = openai.response(seen[0])
    _require_status(seen[0])
    expect(got.status == 404, wanted="status 404", got=shown(got))
    expect(message_of(body_value(seen[0])), wanted="a JSON error with a message", got=shown(got))


@check("err.no-secret-leak", on=[NO_KEY, WRONG_KEY, MALFORMED_AUTH, *MUST_REFUSE[1:]])
def test_no_answer_shows_the_key(seen: Transcript) -> None:
    """No answer, its headers included, contains the key that the client sent."""
    for index, exchange in enumerate(seen.exchanges):
        at = Place(exchange=index)
        openai.response(exchange)
        shown_marks = [mark for mark in exchange.marks if mark.part == "received"]
        expect(
            not shown_marks,
            wanted="an answer without the key",
            got=f"the key, at {[(m.offset, m.encoding) for m in shown_marks]}",
            at=at,
        )
        sent_key = _wrong_key(exchange.sent)
        received = b"".join(read.data for read in exchange.received)
        expect(
            not sent_key or sent_key not in received,
            wanted="an answer without the (wrong) key that was sent",
            got=f"{sent_key.decode()} in the answer",
            at=at,
        )


@check("err.stream-eq-nonstream", on=[MISSING_MESSAGES, UNKNOWN_MODEL])
def test_same_mistake_same_refusal(seen: Transcript) -> str:
    """The same mistake gives the same status and code with and without stream."""
    told = []
    for exchange in seen.exchanges:
        got = openai.response(exchange)
        value = body_value(exchange)
        error = value.get("error") if isinstance(value, dict) else None
        told.append((got.status, error.get("code") if isinstance(error, dict) else None))
    plain, stream = told
    expect(
        plain == stream,
        wanted=f"status {plain[0]} and code {plain[1]!r}, as without stream",
        got=f"status {stream[0]} and code {stream[1]!r}",
        at=Place(exchange=1),
    )
    return f"status {plain[0]}, code {plain[1]!r}"


@check("sse.prestream-error-status", on=[MISSING_MESSAGES, UNKNOWN_MODEL])
def test_refusal_before_the_first_token_has_an_error_status(seen: Transcript) -> str:
    """What fails before the first token has an HTTP error status, also with stream."""
    (exchange,) = seen.labelled("stream")
    got = openai.response(exchange)
    at = Place(exchange=seen.exchanges.index(exchange))
    if answered(exchange):
        raise Untestable(f"the request was not refused ({shown(got)})")
    expect(
        got.media_type != "text/event-stream",
        wanted="an HTTP error status and a JSON error, no stream",
        got=shown(got),
        at=at,
    )
    if got.status < 400:
        raise Untestable(f"the refusal has status {got.status} (see err.not-200)")
    return f"status {got.status}"


@check("hdr.request-id-sane", on=[LONG_REQUEST_ID])
def test_long_request_id_is_not_echoed(seen: Transcript) -> None:
    """A request id of 4 KiB that the client sends is not echoed."""
    got = openai.response(seen[0])
    echoing = [name for name, value in got.headers if LONG_ID[:1024] in value]
    expect(
        not echoing,
        wanted="a request id of the gateway's own making, or a short one",
        got=f"{len(LONG_ID)} characters of the client's in {', '.join(echoing)}",
    )


def _require_status(exchange: Exchange) -> None:
    """Leave an error with status 200 to the check that reports it."""
    got = openai.response(exchange)
    if got.status < 400 and is_error(body_value(exchange)):
        raise Untestable(f"the refusal has status {got.status} (see err.not-200)")


def _error_object(exchange: Exchange) -> Mapping[str, Any]:
    value = body_value(exchange)
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict):
        raise Untestable("the error is not an object (see err.envelope)")
    return error


def _wrong_key(sent: Sequence[Read]) -> bytes:
    """Return the bearer token that a request carried, unless it is covered as the real one."""
    head = b"".join(read.data for read in sent).partition(b"\r\n\r\n")[0]
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        scheme, _, token = value.strip().partition(b" ")
        if name.lower() == b"authorization" and scheme.lower() == b"bearer":
            return b"" if token.strip(b"*") == b"" else token.strip()
    return b""
