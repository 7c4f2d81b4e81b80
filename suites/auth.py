"""Checks of keys: who has none, or a wrong one, is told so by status 401."""

from gateproof.check import Place, Untestable, check, expect
from gateproof.dialects import openai
from gateproof.transcript import Transcript

from .reading import shown
from .refusal import answered, turned_down
from .scenarios.auth import OTHER_ROUTES
from .scenarios.errors import MALFORMED_AUTH, MODELS_NO_KEY, NO_KEY, WRONG_KEY


@check("err.auth.401", on=[NO_KEY, WRONG_KEY, MALFORMED_AUTH])
def test_missing_or_wrong_key_is_unauthorized(seen: Transcript) -> str:
    """A missing or wrong key gives 401, neither 403 nor a 5xx nor an answer."""
    statuses = set()
    for index, exchange in enumerate(seen.exchanges):
        got = openai.response(exchange)
        if got.status < 400 and not answered(exchange):
            raise Untestable(f"the refusal has status {got.status} (see err.not-200)")
        # A header that is no bearer token at all is a malformed request as well.
        allowed = (401, 400) if seen.scenario == MALFORMED_AUTH.name else (401,)
        expect(
            got.status in allowed,
            wanted=f"status {' or '.join(map(str, allowed))}",
            got=f"{exchange.ask.label or exchange.ask.auth}: {shown(got)}",
            at=Place(exchange=index),
        )
        statuses.add(got.status)
    return f"status {' and '.join(map(str, sorted(statuses)))}"


@check("err.auth.models", on=[MODELS_NO_KEY])
def test_model_list_needs_a_key(seen: Transcript) -> str:
    """GET /models needs a key too."""
    got = openai.response(seen[0])
    if got.status < 400 and not answered(seen[0]):
        raise Untestable(f"the refusal has status {got.status} (see err.not-200)")
    turned_down(seen[0], wanted="status 401")
    return f"status {got.status}"


@check("auth.other-routes", on=[OTHER_ROUTES])
def test_other_routes_need_a_key(seen: Transcript) -> str:
    """Every claimed route but chat and the list of models refuses a missing and a wrong key."""
    for index, exchange in enumerate(seen.exchanges):
        got = openai.response(exchange)
        expect(
            got.status == 401,
            wanted="status 401",
            got=f"{exchange.ask.label}: {shown(got)}",
            at=Place(exchange=index),
        )
    routes = sorted({exchange.ask.path.partition("?")[0] for exchange in seen.exchanges})
    return ", ".join(routes) or "no other route is claimed"
