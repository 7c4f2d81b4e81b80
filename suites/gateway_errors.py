"""Checks of the gateway between, when its upstream fails: before the first token, or after it."""

import datetime as dt

from gateproof.check import Finding, Untestable, check, expect
from gateproof.dialects import openai
from gateproof.transcript import Transcript
from gateproof.wire import Response

from .journal import (
    ends_properly,
    finish_of,
    forwarded,
    has_error_event,
    own_upstream,
    places,
)
from .reading import shown, speaks_messages
from .refusal import body_value, message_of
from .scenarios import messages_upstream as mup
from .scenarios import upstream as up


def expect_failure_shown(seen: Transcript, label: str, *, told: bool) -> str:
    """Expect a failure of the upstream in mid-stream, which it told of or not, to be visible."""
    exchange, at = next((e, at) for name, e, at in places(seen) if name == label)
    if not any(send["label"] == "content" for send in forwarded(seen, label)["sends"]):
        raise Untestable(f"the upstream failed before it had sent any text ({label})")
    got = openai.response(exchange)
    if got.status >= 400:
        return f"status {got.status}"
    if not got.complete or exchange.ended not in ("closed", "cancelled"):
        return f"broken transfer ({exchange.ended})"
    if has_error_event(exchange):
        return "error event"
    finish, done = finish_of(exchange), ends_properly(exchange)
    framed = got.header("transfer-encoding") or got.header("content-length")
    if not told and (not framed or label == "ended") and not finish and not done:
        # Such a body ends with the connection, the client's or the upstream's: there is no other
        # way to show, or to see, that it is cut.
        return "the connection ends without a reason to finish and without an end"
    end = "message_stop" if speaks_messages(exchange) else "[DONE]"
    raise Finding(
        wanted="an error event or a broken transfer, as the upstream failed in mid-stream",
        got=f"a proper end: finished by {finish!r}, {end if done else f'no {end}'}",
        at=at,
    )


@check("gateway.midstream-error-visible", on=[up.MIDSTREAM_ERROR])
def test_error_in_midstream_is_visible(seen: Transcript) -> str:
    """When the upstream fails after the first token, the client sees it."""
    return expect_failure_shown(seen, "stream", told=True)


@check("gateway.cut-visible", on=[up.CUT, mup.CUT])
def test_cut_upstream_is_visible(seen: Transcript) -> str:
    """When the upstream's connection is cut in mid-stream, the client sees it."""
    return ", ".join(
        f"{label}: {expect_failure_shown(seen, label, told=False)}"
        for label in ("cut", "reset", "ended")
    )


@check("gateway.prestream-error-status", on=[up.PRESTREAM_ERROR])
def test_failure_before_the_first_token_has_a_status(seen: Transcript) -> str:
    """When the upstream fails before the first token of a stream, the status says so."""
    _, exchange, at = places(seen)[0]
    got = openai.response(exchange)
    expect(got.status >= 400, wanted="an HTTP error status", got=shown(got), at=at)
    expect(body_value(exchange) is not None, wanted="an error that is JSON", got=shown(got), at=at)
    return f"status {got.status}"


@check("gateway.upstream-status-mapped", on=[up.STATUSES])
def test_upstreams_status_keeps_its_class(seen: Transcript) -> str:
    """The upstream's 400, 404 and 429 reach the client as such, its 5xx as a 5xx."""
    told = []
    for label, exchange, at in places(seen):
        status = int(label)
        got = openai.response(exchange)
        told.append(f"{status}→{got.status}")
        allowed = {
            400: got.status in (400, 422),
            # The client's own key was right, so a gateway may call these its own failure.
            401: got.status in (401, 403) or got.status >= 500,
            403: got.status in (401, 403) or got.status >= 500,
        }.get(status, got.status >= 500 if status >= 500 else got.status == status)
        expect(
            allowed,
            wanted="a 5xx" if status >= 500 else f"status {status}",
            got=f"status {got.status} for the upstream's {status}",
            at=at,
        )
    return ", ".join(told)


@check("err.context-length", on=[up.CONTEXT_LENGTH])
def test_too_long_conversation_is_told_by_its_code(seen: Transcript) -> str:
    """A prompt longer than the model's context gives 400 with the code context_length_exceeded."""
    _, exchange, at = places(seen)[0]
    got = openai.response(exchange)
    if got.status < 400:
        raise Untestable(f"the refusal has status {got.status} (see err.not-200)")
    expect(got.status == 400, wanted="status 400, as the upstream gave", got=shown(got), at=at)
    value = body_value(exchange)
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict):
        return "400, and no code to read (see gateway.upstream-error-envelope)"
    expect(
        error.get("code") == "context_length_exceeded",
        wanted="error.code context_length_exceeded, as the upstream gave",
        got=shown(got),
        at=at,
    )
    return "400 with its code"


@check("gateway.upstream-error-envelope", on=[up.STATUSES, up.ODD_ERRORS])
def test_upstreams_error_has_the_profiles_envelope(seen: Transcript) -> str:
    """An error of the upstream reaches the client in the profile's envelope, whatever its form."""
    for label, exchange, at in places(seen):
        got = openai.response(exchange)
        if got.status < 400:
            raise Untestable(f"{label}: status {got.status} (see gateway.upstream-status-mapped)")
        expect(
            message_of(body_value(exchange)),
            wanted="a JSON error with a message",
            got=f"{label}: {shown(got)}",
            at=at,
        )
    return own_upstream(seen) or f"{len(seen)} errors"


@check("gateway.malformed-upstream-visible", on=[up.MALFORMED])
def test_unreadable_upstream_answer_is_an_error(seen: Transcript) -> str:
    """An upstream answer that cannot be read reaches the client as an error status."""
    for _, exchange, at in places(seen):
        got = openai.response(exchange)
        expect(
            got.status >= 500 or not got.complete,
            wanted="a 5xx (or a broken transfer), since the upstream's JSON is cut",
            got=shown(got),
            at=at,
        )
    return "a 5xx" if openai.response(seen[0]).status >= 500 else "a broken transfer"


@check("gateway.retry-after-forwarded", on=[up.RATE_LIMITED])
def test_retry_after_is_passed_on(seen: Transcript) -> str:
    """A 429 of the upstream reaches the client with Retry-After, of the same or a longer wait."""
    value = _retry_after(seen)
    if value.isdigit():
        expect(
            int(value) >= up.RETRY_AFTER_S,
            wanted=f"at least the upstream's {up.RETRY_AFTER_S} seconds",
            got=value,
        )
    return f"Retry-After: {value}"


@check("err.429.retry-after", on=[up.RATE_LIMITED])
def test_429_carries_retry_after(seen: Transcript) -> str:
    """A 429 carries Retry-After."""
    got = _limited(seen)
    value = got.header("retry-after")
    expect(
        value,
        wanted="a Retry-After header",
        got=sorted(name.lower() for name, _ in got.headers),
    )
    return f"Retry-After: {value}"


@check("err.429.retry-after-syntax", on=[up.RATE_LIMITED])
def test_retry_after_can_be_read(seen: Transcript) -> str:
    """Retry-After, where present, is a number of whole seconds or an HTTP date."""
    value = _limited(seen).header("retry-after")
    if value is None:
        return "none"
    expect(
        value.strip().isascii() and (value.strip().isdigit() or is_http_date(value.strip())),
        wanted="whole seconds or an HTTP date (RFC 9110 section 10.2.3)",
        got=value,
    )
    return f"Retry-After: {value}"


def is_http_date(value: str) -> bool:
    """Tell whether a text is a date in one of the three forms of RFC 9110 section 5.6.7."""
    forms = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")
    for form in forms:
        try:
            dt.datetime.strptime(value, form)  # noqa: DTZ007  # only its form is of interest
        except ValueError:
            continue
        return True
    return False


def _limited(seen: Transcript) -> Response:
    _, exchange, _ = places(seen)[0]
    got = openai.response(exchange)
    if got.status != 429:
        raise Untestable(f"status {got.status}, no 429 (see gateway.upstream-status-mapped)")
    return got


def _retry_after(seen: Transcript) -> str:
    value = _limited(seen).header("retry-after")
    if value is None:
        raise Untestable("the 429 has no Retry-After (see err.429.retry-after)")
    return value.strip()
