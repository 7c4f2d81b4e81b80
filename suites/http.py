"""Checks of HTTP itself: that what comes back is a message, whole, and what its headers say."""

import zlib

from gateproof.check import Place, Untestable, check, expect
from gateproof.dialects import openai
from gateproof.transcript import Exchange, Transcript

from .reading import shown
from .refusal import answered
from .scenarios import messages
from .scenarios.chat import PLAIN, STREAM
from .scenarios.errors import MISSING_MODEL, TEXT_PLAIN, UNKNOWN_MODEL
from .scenarios.models import LIST

EVERYWHERE = (
    PLAIN, STREAM, LIST, UNKNOWN_MODEL, messages.PLAIN, messages.STREAM, messages.UNKNOWN_MODEL
)  # fmt: skip
# How h11 words a body that ends too early; all else that it refuses is not HTTP.
_CUT = "peer closed connection without sending complete message body"


@check("http.valid-response", on=EVERYWHERE)
def test_answer_is_http(seen: Transcript) -> None:
    """What comes back is HTTP: a status line, well-formed fields, a known transfer coding."""
    for index, exchange in enumerate(seen.exchanges):
        at = Place(exchange=index)
        if not exchange.received:
            _unreached(exchange)
            expect(
                False,  # noqa: FBT003  # nothing came, and that is the finding
                wanted="an HTTP response",
                got=f"nothing ({exchange.ended}: {exchange.error or 'no reason'})",
                at=at,
            )
        got = exchange.response
        beginning = exchange.received[0].data[:80]
        expect(got, wanted="an HTTP/1.1 response head", got=beginning, at=at)
        assert got is not None
        expect(
            not got.error or got.error.startswith(_CUT),
            wanted="a message that HTTP/1.1 can read (RFC 9112)",
            got=got.error,
            at=at,
        )
        expect(
            not (got.header("transfer-encoding") and got.header("content-length")),
            wanted="Content-Length or Transfer-Encoding, not both (RFC 9112 section 6.2)",
            got=f"{got.header('content-length')} and {got.header('transfer-encoding')}",
            at=at,
        )


@check("http.framing-complete", on=EVERYWHERE)
def test_body_ends_as_announced(seen: Transcript) -> str:
    """A body is as long as announced, or ends with the last chunk, and nothing follows it."""
    told = set()
    for index, exchange in enumerate(seen.exchanges):
        at = Place(exchange=index)
        got = openai.response(exchange)
        if got.error and not got.error.startswith(_CUT):
            raise Untestable(f"the response is not HTTP: {got.error} (see http.valid-response)")
        expect(
            got.complete,
            wanted=f"a whole body ({_framing(exchange)})",
            got=f"{len(got.body)} bytes, then {exchange.ended}"
            f"{': ' + exchange.error if exchange.error else ''}",
            at=at,
        )
        expect(
            not got.surplus,
            wanted="nothing behind the end of the message",
            got=got.surplus[:80],
            at=at,
        )
        told.add(_framing(exchange).partition(" ")[0])
    return ", ".join(sorted(told))


@check("hdr.content-encoding", on=EVERYWHERE)
def test_content_encoding_is_true(seen: Transcript) -> str:
    """Content-Encoding names the coding that the body really has."""
    told = set()
    for index, exchange in enumerate(seen.exchanges):
        got = openai.response(exchange)
        coding = (got.header("content-encoding") or "identity").strip().lower()
        told.add(coding)
        if coding == "identity":
            continue
        wbits = {"gzip": 31, "x-gzip": 31, "deflate": 15}.get(coding)
        at = Place(exchange=index)
        expect(
            wbits, wanted="no coding, as the request asks (Accept-Encoding: identity)", got=coding
        )
        try:
            zlib.decompressobj(wbits or 0).decompress(got.body)
        except zlib.error as error:
            expect(
                False,  # noqa: FBT003  # the condition was the decoder's
                wanted=f"a body in {coding}, as Content-Encoding says",
                got=f"{got.body[:40]!r} ({error})",
                at=at,
            )
    return ", ".join(sorted(told))


@check("err.request-id", on=[PLAIN, STREAM, MISSING_MODEL])
def test_answer_has_a_request_id(seen: Transcript) -> str:
    """Answers, errors and streams carry a request id header."""
    told: set[str] = set()
    for index, exchange in enumerate(seen.exchanges):
        got = openai.response(exchange)
        found = [
            name
            for name, value in got.headers
            if name.lower().endswith(("request-id", "requestid", "call-id")) and value.strip()
        ]
        expect(
            found,
            wanted="a header x-request-id or request-id",
            got=f"{', '.join(sorted({name.lower() for name, _ in got.headers}))}",
            at=Place(exchange=index),
        )
        told.update(name.lower() for name in found)
    return ", ".join(sorted(told))


def _unreached(exchange: Exchange) -> None:
    if exchange.ended == "refused":
        raise Untestable(f"no connection: {exchange.error}")


def _framing(exchange: Exchange) -> str:
    got = openai.response(exchange)
    if got.header("transfer-encoding"):
        return "chunked"
    if got.header("content-length") is not None:
        return f"content-length {got.header('content-length')}"
    return "until the connection closes"


@check("http.request-content-type", on=[TEXT_PLAIN])
def test_other_content_types_are_refused(seen: Transcript) -> str:
    """A chat request sent as text/plain is refused with a 4xx; none causes a 5xx."""
    told = []
    for index, exchange in enumerate(seen.exchanges):
        got = openai.response(exchange)
        if got.status < 400 and not answered(exchange):
            raise Untestable(f"the refusal has status {got.status} (see err.not-200)")
        # Without a content type a server may guess (RFC 9110 section 8.3).
        passes = got.status < 500 and (got.status >= 400 or exchange.ask.label == "none")
        expect(
            passes,
            wanted="status 415 or another 4xx to text/plain, and no 5xx",
            got=f"content type {exchange.ask.label}: {shown(got)}",
            at=Place(exchange=index),
        )
        told.append(f"{exchange.ask.label}: {got.status}")
    return ", ".join(told)
