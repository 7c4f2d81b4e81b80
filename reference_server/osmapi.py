"""What osmAPI adds on routes besides chat: the cost of embeddings.

Its page of embeddings has the cost as ``usage.cost``; the sum of a sample there does not fit the
price that it names, so that only the field is taken from it.
"""

from dataclasses import replace
from decimal import Decimal

from .access import model_of
from .call import Call
from .embeddings import embeddings as plain_embeddings
from .script import Reply

__all__ = ["embeddings"]


def embeddings(call: Call) -> Reply:
    """Answer ``POST /embeddings``, with what it costs."""
    reply = plain_embeddings(call)
    body = reply.body
    assert isinstance(body, dict)
    model = model_of(call, call.payload["model"])
    cost = Decimal(body["usage"]["prompt_tokens"] * model.pusd_in).scaleb(-12)
    usage = {**body["usage"], "cost": cost.normalize() if cost else Decimal(0)}
    return replace(reply, body={**body, "usage": usage})
