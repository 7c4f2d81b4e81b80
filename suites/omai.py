"""Checks of what only OMAi promises: four error codes, answers without a model, a login."""

from urllib.parse import urlsplit

from gateproof.check import Place, Untestable, check, expect
from gateproof.dialects import openai
from gateproof.target import is_loopback
from gateproof.transcript import Transcript

from .reading import shown
from .refusal import answered
from .scenarios.chat import PLAIN
from .scenarios.errors import (
    EMPTY_MESSAGES,
    MALFORMED_JSON,
    MISSING_MESSAGES,
    MISSING_MODEL,
    UNKNOWN_MODEL,
    UNKNOWN_PATH,
    WRONG_KEY,
    WRONG_METHOD,
    WRONG_TYPES,
)
from .scenarios.omai import LOGIN, LOGIN_WRONG

BAD_REQUESTS = (MISSING_MODEL, MISSING_MESSAGES, EMPTY_MESSAGES, MALFORMED_JSON, WRONG_TYPES)
DOCUMENTED = (400, 401, 429, 500)


@check("omai.response.schema", on=[PLAIN])
def test_answer_has_what_the_sample_has(seen: Transcript) -> str:
    """An answer has a string id, an integer created, and a first choice of index 0."""
    value = openai.completion(seen[0])
    expect(isinstance(value.get("id"), str), wanted="id is a string", got=value.get("id"))
    expect(openai.is_int(value.get("created")), wanted="created is an integer", got=value)
    first = openai.choices(value)[0]
    expect(first.get("index") == 0, wanted="the first choice's index is 0", got=first.get("index"))
    message = first.get("message")
    expect(isinstance(message, dict), wanted="the choice has a message", got=message)
    if "model" not in value:
        return "without a model, as the sample"
    expect(isinstance(value["model"], str), wanted="model is a string", got=value["model"])
    return f"with the model {value['model']}"


@check("omai.error.bad-request-400", on=BAD_REQUESTS)
def test_bad_request_gives_400(seen: Transcript) -> None:
    """A bad request gives 400 and no other 4xx."""
    for index, exchange in enumerate(seen.exchanges):
        got = openai.response(exchange)
        if answered(exchange) or not 400 <= got.status < 500:
            raise Untestable("the request was not refused with a 4xx (see err.status.400)")
        expect(got.status == 400, wanted="status 400", got=shown(got), at=Place(exchange=index))


@check("omai.error.model-status", on=[UNKNOWN_MODEL])
def test_unknown_model_gives_400_or_404(seen: Transcript) -> str:
    """An unknown model gives 400 or 404."""
    for index, exchange in enumerate(seen.exchanges):
        got = openai.response(exchange)
        if answered(exchange) or not 400 <= got.status < 500:
            raise Untestable("the model was not refused with a 4xx (see err.model-unknown)")
        expect(
            got.status in (400, 404),
            wanted="status 400 or 404",
            got=shown(got),
            at=Place(exchange=index),
        )
    return f"status {openai.response(seen[0]).status}"


@check(
    "omai.error.documented-status",
    on=[*BAD_REQUESTS, WRONG_KEY, UNKNOWN_MODEL, UNKNOWN_PATH, WRONG_METHOD],
)
def test_error_status_is_documented(seen: Transcript) -> None:
    """An error's status is one of 400, 401, 429 and 500."""
    for index, exchange in enumerate(seen.exchanges):
        got = openai.response(exchange)
        if got.status >= 400:
            expect(
                got.status in DOCUMENTED,
                wanted="status 400, 401, 429 or 500",
                got=shown(got),
                at=Place(exchange=index),
            )


@check("login.answers", on=[LOGIN])
def test_login_is_answered(seen: Transcript) -> str:
    """A login with right Basic credentials and no body gives a 2xx."""
    got = openai.response(seen[0])
    expect(200 <= got.status < 300, wanted="a 2xx", got=shown(got))
    return f"status {got.status}"


@check("login.refused", on=[LOGIN_WRONG])
def test_wrong_credentials_are_refused(seen: Transcript) -> str:
    """A login with wrong Basic credentials or none gives 401 or 403."""
    told = []
    for index, exchange in enumerate(seen.exchanges):
        got = openai.response(exchange)
        expect(
            got.status in (401, 403),
            wanted=f"status 401 or 403 ({exchange.ask.label} credentials)",
            got=shown(got),
            at=Place(exchange=index),
        )
        told.append(f"{exchange.ask.label}: {got.status}")
    return ", ".join(told)


def _require_session(seen: Transcript) -> None:
    status = openai.response(seen[0]).status
    if not 200 <= status < 300:
        raise Untestable(f"the login was answered with status {status} (see login.answers)")


@check("login.session", on=[LOGIN])
def test_a_session_can_be_used(seen: Transcript) -> str:
    """After a login a session can be used: by a cookie, by a token, or by Basic each time."""
    _require_session(seen)
    statuses = {item.ask.label: openai.response(item).status for item in seen.exchanges[1:]}
    usable = [label for label, status in statuses.items() if status == 200]
    expect(
        usable,
        wanted="a way to use the session: a cookie, a token, or Basic each time",
        got=", ".join(f"{label}: {status}" for label, status in statuses.items()),
        at=Place(exchange=1),
    )
    return f"by {' and by '.join(usable)}"


@check("login.cookie-flags", on=[LOGIN])
def test_session_cookies_are_protected(seen: Transcript) -> str:
    """A session cookie has the attributes Secure and HttpOnly."""
    _require_session(seen)
    cookies = [v for n, v in openai.response(seen[0]).headers if n.lower() == "set-cookie"]
    if not cookies:
        return "no cookie is set"
    local = urlsplit(seen[0].url).scheme == "http" and is_loopback(seen[0].url)
    for cookie in cookies:
        name, *attributes = (part.strip() for part in cookie.split(";"))
        has = {attribute.partition("=")[0].lower() for attribute in attributes}
        # On loopback there is no TLS that the cookie could insist on.
        lacking = {"httponly", *(() if local else ("secure",))} - has
        expect(
            not lacking,
            wanted="Secure and HttpOnly",
            got=f"{name.partition('=')[0]} has {', '.join(sorted(has)) or 'no attributes'}",
        )
    return "Secure and HttpOnly" if not local else "HttpOnly, on loopback"
