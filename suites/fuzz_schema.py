"""Checks of generated requests against the profile's OpenAPI document."""

from collections.abc import Iterator

from gateproof.check import Finding, Place, Untestable, check
from gateproof.dialects import openai
from gateproof.transcript import Exchange, Transcript

from .reading import shown
from .refusal import answered
from .scenarios.fuzz import CONVERSATIONS, NEGATIVE, POSITIVE

SHOWN_BYTES = 300  # of a request; the whole of it is in the transcript

Case = tuple[int, Exchange]


def cases(seen: Transcript) -> list[Case]:
    """Return the exchanges that got a response, smallest request first."""
    found = [(i, e) for i, e in enumerate(seen.exchanges) if e.response is not None]
    if not found:
        raise Untestable("no generated request got a response")
    return sorted(found, key=lambda item: (len(item[1].ask.body), item[0]))


def smallest(seen: Transcript, failing: Iterator[tuple[Case, str]], wanted: str) -> None:
    """Raise a finding that shows the smallest failing case and counts the others."""
    found = list(failing)
    if not found:
        return
    (index, exchange), told = found[0]
    others = f"; {len(found)} of {len(seen)} requests, this is the smallest" * (len(found) > 1)
    ask = exchange.ask
    sent = ask.body[:SHOWN_BYTES].decode(errors="replace")
    raise Finding(
        wanted=wanted,
        got=f"{told}; to {ask.method} {ask.path} {sent}{others}",
        at=Place(exchange=index),
    )


@check("fuzz.schema-conformance", on=[POSITIVE, NEGATIVE], generative=True)
def test_answers_fit_the_document(seen: Transcript) -> str:
    """Every answer to a generated request has a declared status and type, and fits its schema."""
    from .openapi_cases import problems  # noqa: PLC0415  # it brings in Schemathesis

    profile = seen.use["profile"]

    def failing() -> Iterator[tuple[Case, str]]:
        for case in cases(seen):
            if found := problems(profile, case[1]):
                yield case, "; ".join(found)

    smallest(seen, failing(), "an answer that the profile's document describes")
    return f"{len(seen)} requests"


@check("fuzz.no-5xx-on-valid", on=[POSITIVE, CONVERSATIONS], generative=True)
def test_valid_request_never_meets_a_5xx(seen: Transcript) -> str:
    """A request that is valid by the profile's document never meets a 5xx."""
    smallest(seen, _with_5xx(seen), "an answer, or a refusal with a 4xx")
    refused = [e for _, e in cases(seen) if openai.response(e).status >= 400]
    return f"{len(seen)} requests, {len(refused)} refused"


@check("fuzz.no-5xx-on-invalid", on=[NEGATIVE], generative=True)
def test_invalid_request_never_meets_a_5xx(seen: Transcript) -> str:
    """A request that breaks the profile's document never meets a 5xx."""
    smallest(seen, _with_5xx(seen), "a refusal with a 4xx")
    return f"{len(seen)} requests"


@check("fuzz.negative-refused", on=[NEGATIVE], generative=True)
def test_invalid_request_is_refused(seen: Transcript) -> str:
    """A request that breaks the profile's document is refused with a 4xx."""
    from .openapi_cases import breaks_document  # noqa: PLC0415  # it brings in Schemathesis

    profile = seen.use["profile"]

    def failing() -> Iterator[tuple[Case, str]]:
        for case in cases(seen):
            if answered(case[1]) and breaks_document(profile, case[1].ask):
                yield case, f"answered with status {openai.response(case[1]).status}"

    smallest(seen, failing(), "a refusal with a 4xx")
    return f"{len(seen)} requests"


def _with_5xx(seen: Transcript) -> Iterator[tuple[Case, str]]:
    for case in cases(seen):
        got = openai.response(case[1])
        if got.status >= 500:
            yield case, shown(got)
