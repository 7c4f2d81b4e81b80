"""How each gateway writes an error: status and body.

Everything is refused with an ``ApiError`` in the upstream's terms; a profile's envelope says what
becomes of it. The code stays what it is, so that an error can be told apart in every profile.
"""

from http import HTTPStatus
from typing import TYPE_CHECKING

from .errors import ApiError
from .jsontext import Json

if TYPE_CHECKING:
    from .call import Call

__all__ = ["anthropic", "losi", "lunos", "omai", "openai"]

_ANTHROPIC_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_LOSI_TYPES = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    429: "rate_limit_error",
}


def openai(error: ApiError, _call: "Call | None", _id: str) -> tuple[int, Json]:
    """Write an error as the upstream does: an object with four members."""
    return error.status, {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    }


def anthropic(error: ApiError, _call: "Call | None", id_: str) -> tuple[int, Json]:
    """Write an error as Anthropic does (Errors): its type follows from its status."""
    rest = "api_error" if error.status >= 500 else "invalid_request_error"
    type_ = _ANTHROPIC_TYPES.get(error.status, rest)
    written: dict[str, Json] = {"type": type_, "message": error.message}
    if error.details is not None:
        written["details"] = error.details
    return error.status, {"type": "error", "error": written, "request_id": id_}


def losi(error: ApiError, call: "Call | None", id_: str) -> tuple[int, Json]:
    """Write an error with one of Losi's six types (API access, "Common error types").

    The page's table of statuses is lost: 401, 403, 429 and 5xx go with the types that name them,
    ``insufficient_quota`` with 429 as upstream, or 403 where the plan lacks the model; every other
    refusal is an ``invalid_request_error``.
    """
    status, body = openai(error, call, id_)
    if error.type != "insufficient_quota":
        rest = "server_error" if status >= 500 else "invalid_request_error"
        body["error"]["type"] = _LOSI_TYPES.get(status, rest)
    return status, body


def lunos(error: ApiError, call: "Call | None", id_: str) -> tuple[int, Json]:
    """Write an error as Lunos does (Introduction): its code is its type where the sample's is.

    Messages have Anthropic's envelope, the balance one of its own: a flag, and the error as a word.
    """
    if call is not None and call.route[:1] == ("messages",):
        return anthropic(error, call, id_)
    if call is not None and call.route == ("balance",):
        word = "INTERNAL_ERROR" if error.status >= 500 else HTTPStatus(error.status).name
        return error.status, {"success": False, "message": error.message, "error": word}
    status, body = openai(error, call, id_)
    if error.code in (None, "model_not_found"):
        body["error"]["code"] = error.type
    return status, body


def omai(error: ApiError, call: "Call | None", id_: str) -> tuple[int, Json]:
    """Write an error with one of OMAi's four statuses (API Reference, "Error Codes").

    The reference shows no body; the upstream's is taken.
    """
    status, body = openai(error, call, id_)
    if status >= 500:
        return 500, body
    return (status if status in {401, 429} else 400), body
