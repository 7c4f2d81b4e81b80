"""Faults of errors: their shape, their status, and what should have been an error."""

import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ..call import Call
from ..errors import ApiError
from ..jsontext import Json, dumps
from ..rules import Rule
from ..script import Reply, Step
from .table import fault

__all__: list[str] = []

_HTML = (
    b"<html><head><title>Error</title></head><body><center><h1>Something went wrong</h1></center>"
    b"</body></html>\n"
)


def _error(reply: Reply) -> Json:
    body = reply.body
    error = body.get("error") if isinstance(body, dict) else None
    return error if reply.error and isinstance(error, dict) else None


def _with_error(reply: Reply, **changes: Json) -> Reply:
    error = _error(reply)
    return reply if error is None else _enveloped(reply, {**error, **changes})


def _enveloped(reply: Reply, error: Json) -> Reply:
    body = reply.body
    others = body if isinstance(body, dict) else {}
    return replace(reply, body={**others, "error": error})


def _with_type(reply: Reply, type_: str) -> Reply:
    error = _error(reply)
    if error is None or not isinstance(reply.body, dict):
        return reply
    return replace(reply, body={**reply.body, "error": {**error, "type": type_}})


@fault("error-type-wrong", "reply", "Gives errors the type of another kind of error.")
def _type_wrong(reply: Reply) -> Reply:
    wrong = "authentication_error" if reply.status != 401 else "server_error"
    return _with_type(reply, wrong)


@fault("error-type-unknown", "reply", "Gives errors a type that no document names.")
def _type_unknown(reply: Reply) -> Reply:
    return _with_type(reply, "unexpected_condition")


@fault("error-200", "reply", "Sends errors with status 200.", "gateways that always say 200")
def _error_200(reply: Reply) -> Reply:
    return replace(reply, status=200) if reply.error else reply


@fault("error-bare-detail", "reply", "Sends errors as a bare detail.", "web frameworks' own errors")
def _bare_detail(reply: Reply) -> Reply:
    error = _error(reply)
    return reply if error is None else replace(reply, body={"detail": error["message"]})


@fault("error-html", "reply", "Sends errors as an HTML page.", "proxies in front of a gateway")
def _html(reply: Reply) -> Reply:
    if not reply.error:
        return reply
    headers = reply.with_header("Content-Type", "text/html")
    return replace(reply, headers=headers, text=_HTML)


@fault("error-string", "reply", "Sends the error as a string.")
def _string(reply: Reply) -> Reply:
    error = _error(reply)
    return reply if error is None else replace(reply, body={"error": error["message"]})


@fault("error-empty", "reply", "Sends errors without a body.")
def _empty(reply: Reply) -> Reply:
    return replace(reply, text=b"") if reply.error else reply


@fault("error-code-int", "reply", "Sends the HTTP status as the error's code.")
def _code_int(reply: Reply) -> Reply:
    return _with_error(reply, code=reply.status)


@fault("error-param-object", "reply", "Sends an object as the error's param.")
def _param_object(reply: Reply) -> Reply:
    return _with_error(reply, param={"name": (_error(reply) or {}).get("param")})


@fault("error-message-missing", "reply", "Sends errors without a message.")
def _message_missing(reply: Reply) -> Reply:
    error = _error(reply)
    if error is None:
        return reply
    return _enveloped(reply, {name: value for name, value in error.items() if name != "message"})


@fault("error-param-code-missing", "reply", "Sends errors without param and code.")
def _param_code_missing(reply: Reply) -> Reply:
    error = _error(reply)
    if error is None:
        return reply
    kept = {name: value for name, value in error.items() if name in {"message", "type"}}
    return _enveloped(reply, kept)


@fault("error-content-type-text", "reply", "Labels errors text/plain.")
def _text(reply: Reply) -> Reply:
    if not reply.error:
        return reply
    return replace(reply, headers=reply.with_header("Content-Type", "text/plain"))


@fault("echo-key-in-error", "reply", "Repeats the caller's key in the message of an error.",
       "messages made for debugging")  # fmt: skip
def _echo_key(reply: Reply, call: Call) -> Reply:
    error = _error(reply)
    if error is None or not call.key:
        return reply
    return _with_error(reply, message=f"{error['message']} (key: {call.key})")


@fault("retry-after-missing", "reply", "Leaves Retry-After out of a 429.")
def _retry_after_missing(reply: Reply) -> Reply:
    return replace(reply, headers=reply.with_header("Retry-After", None))


@fault("retry-after-garbage", "reply", "Sends a Retry-After that is neither seconds nor a date.")
def _retry_after_garbage(reply: Reply) -> Reply:
    if reply.header("Retry-After") is None:
        return reply
    return replace(reply, headers=reply.with_header("Retry-After", "in a moment"))


@fault("no-request-id", "reply", "Sends no x-request-id, or request-id where that is its name.")
def _no_request_id(reply: Reply) -> Reply:
    kept = tuple(
        pair for pair in reply.headers if pair[0].lower() not in {"x-request-id", "request-id"}
    )
    return replace(reply, headers=kept)


@fault("allow-missing", "reply", "Leaves Allow out of a 405.")
def _allow_missing(reply: Reply) -> Reply:
    if reply.status != 405:
        return reply
    return replace(reply, headers=reply.with_header("Allow", None))


def _status(reply: Reply, old: int, new: int, code: str | None = None) -> Reply:
    """Give an error another status, if its status and its code fit."""
    if _error(reply) is None or reply.status != old or code not in (None, reply.cause):
        return reply
    return replace(reply, status=new)


@fault("auth-500", "reply", "Answers a wrong key with 500.", "unhandled key lookups")
def _auth_500(reply: Reply) -> Reply:
    return _status(reply, 401, 500)


@fault("auth-403", "reply", "Answers a wrong key with 403.")
def _auth_403(reply: Reply) -> Reply:
    return _status(reply, 401, 403)


@fault("auth-code-missing", "reply", "Gives a wrong key's error no code.")
def _auth_code(reply: Reply) -> Reply:
    return _with_error(reply, code=None) if reply.status == 401 else reply


@fault("auth-ignored", "request", "Takes any key, or none.")
def _auth_ignored(call: Call) -> Call:
    return replace(call, key=call.profile.key)


@fault("models-without-auth", "request", "Lists models without a key.", "open model lists")
def _models_without_auth(call: Call) -> Call:
    return replace(call, key=call.profile.key) if call.route[:1] == ("models",) else call


@fault("validation-500", "reply", "Answers requests that are not valid with 500.",
       "unhandled validation errors")  # fmt: skip
def _validation_500(reply: Reply) -> Reply:
    error = _error(reply)
    if error is None or reply.status != 400 or reply.cause == "invalid_json":
        return reply
    return replace(reply, status=500)


@fault("param-missing", "reply", "Does not name the field that made a request invalid.")
def _param_missing(reply: Reply) -> Reply:
    return _with_error(reply, param=None) if reply.status == 400 else reply


@fault("malformed-json-500", "reply", "Answers a body that is not JSON with 500.",
       "unhandled validation errors")  # fmt: skip
def _malformed_500(reply: Reply) -> Reply:
    return _status(reply, 400, 500, code="invalid_json")


@fault("malformed-auth-500", "reply", "Fails with 500 at an Authorization that is no bearer.",
       "unhandled key lookups")  # fmt: skip
def _malformed_auth_500(reply: Reply, call: Call) -> Reply:
    malformed = call.header("authorization") is not None and call.key is None
    return _status(reply, 401, 500) if malformed else reply


@fault("malformed-auth-answered", "request", "Takes an Authorization that is no bearer for a key.")
def _malformed_answered(call: Call) -> Call:
    malformed = call.header("authorization") is not None and call.key is None
    return replace(call, key=call.profile.key) if malformed else call


@fault("context-length-500", "reply", "Answers a conversation that is too long with 500.")
def _context_500(reply: Reply) -> Reply:
    return _status(reply, 400, 500, code="context_length_exceeded")


@fault("context-length-code-missing", "reply", "Gives a too long conversation's error no code.")
def _context_code(reply: Reply) -> Reply:
    error = _error(reply)
    if error is None or reply.cause != "context_length_exceeded":
        return reply
    return _with_error(reply, code=None)


@fault("unknown-model-500", "reply", "Answers an unknown model with 500.")
def _model_500(reply: Reply) -> Reply:
    error = _error(reply)
    if error is None or reply.cause != "model_not_found":
        return reply
    return replace(reply, status=500)


@fault("unknown-model-400", "reply", "Answers an unknown model with a 400 without a code.")
def _model_400(reply: Reply) -> Reply:
    error = _error(reply)
    if error is None or reply.cause != "model_not_found":
        return reply
    return replace(_with_error(reply, code=None), status=400)


@fault("unknown-path-html", "reply", "Answers an unknown path with an HTML page.")
def _path_html(reply: Reply) -> Reply:
    error = _error(reply)
    return _html(reply) if error is not None and reply.cause == "unknown_url" else reply


@fault("unknown-path-200", "reply", "Answers an unknown path with 200 and an empty object.")
def _path_200(reply: Reply) -> Reply:
    error = _error(reply)
    if error is None or reply.cause != "unknown_url":
        return reply
    return replace(reply, status=200, body={}, error=False)


@fault("wrong-method-400", "reply", "Answers a wrong method with 400.")
def _method_400(reply: Reply) -> Reply:
    return _status(reply, 405, 400)


@fault("wrong-method-500", "reply", "Answers a wrong method with 500.")
def _method_500(reply: Reply) -> Reply:
    error = _error(reply)
    if error is None or reply.cause != "method_not_allowed":
        return reply
    return replace(reply, status=500)


_LONE_HALF = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)


@fault("surrogate-500", "reply", "Answers half of a surrogate pair with 500.", "text encoded late")
def _surrogate_500(reply: Reply, call: Call | None) -> Reply:
    if call is None or reply.status != 400 or not _LONE_HALF.search(call.body):
        return reply
    return replace(reply, status=500)


@fault("some-500", "request", "Answers one request in four with 500, by a hash of its body.",
       "crashes that depend on the input")  # fmt: skip
def _some_500(call: Call) -> Call:
    if not _is_chat(call) or zlib.crc32(call.body) % 4:
        return call
    return replace(call, problem=ApiError(500, "Internal error.", type_="server_error"))


# What should have been an error


def _filled(call: Call, **changes: Json) -> Call:
    return replace(call, payload={**call.payload, **changes}, problem=None, changed=True)


def _is_chat(call: Call) -> bool:
    return call.method == "POST" and call.route in {("chat", "completions"), ("messages",)}


def _fields(call: Call) -> Mapping[str, Rule]:
    if call.route != ("messages",):
        return call.profile.fields
    from ..messages_request import MESSAGE_FIELDS  # noqa: PLC0415  # beside its only use

    return MESSAGE_FIELDS


@fault("unknown-model-200", "request", "Lets another model answer for one that does not exist.",
       "silent fallbacks")  # fmt: skip
def _model_200(call: Call) -> Call:
    if not isinstance(call.payload, dict) or not isinstance(call.payload.get("model"), str):
        return call
    if call.payload["model"] in call.profile.models:
        return call
    return _filled(call, model=call.profile.listed[0])


@fault("missing-model-200", "request", "Answers a request that names no model.")
def _no_model_200(call: Call) -> Call:
    if not isinstance(call.payload, dict) or "model" in call.payload:
        return call
    return _filled(call, model=call.profile.listed[0])


@fault("missing-messages-200", "request", "Answers a request that has no messages.")
def _no_messages_200(call: Call) -> Call:
    if not _is_chat(call) or not isinstance(call.payload, dict) or call.payload.get("messages"):
        return call
    return _filled(call, messages=[{"role": "user", "content": ""}])


@fault("malformed-json-200", "request", "Answers a body that is not JSON.")
def _malformed_200(call: Call) -> Call:
    if not _is_chat(call) or call.problem is None or call.problem.code != "invalid_json":
        return call
    messages = [{"role": "user", "content": ""}]
    payload = {"model": call.profile.listed[0], "messages": messages, "max_tokens": 16}
    return replace(call, payload=payload, problem=None)


@fault("validation-ignored", "request", "Drops fields that are not valid instead of refusing them.",
       "lenient parsers")  # fmt: skip
def _validation_ignored(call: Call) -> Call:
    if not _is_chat(call) or not isinstance(call.payload, dict):
        return call
    kept: dict[str, Json] = {}
    for name, value in call.payload.items():
        rule = _fields(call).get(name)
        try:
            if rule is not None and name not in {"model", "messages"}:
                rule(value, name)
        except ApiError:
            continue
        kept[name] = value
    return replace(call, payload=kept, changed=len(kept) < len(call.payload) or call.changed)


@fault("messages-type-200", "request", "Takes messages of the wrong type for text.")
def _messages_200(call: Call) -> Call:
    if not _is_chat(call) or not isinstance(call.payload, dict):
        return call
    messages = call.payload.get("messages")
    rule = _fields(call)["messages"]
    try:
        rule(messages, "messages")
    except Exception:  # noqa: BLE001  # whatever is wrong with them
        return _filled(call, messages=[{"role": "user", "content": str(messages)[:200]}])
    return call


@fault("prestream-error-as-sse", "reply", "Sends an error before the first token as a stream.",
       "gateways that open the stream too early")  # fmt: skip
def _error_as_sse(reply: Reply, call: Call) -> Reply:
    if not reply.error or not call.streams:
        return reply
    headers = reply.with_header("Content-Type", "text/event-stream; charset=utf-8")

    def events() -> Iterator[Step]:
        yield Step(reply.at_ns, dumps(reply.body), "error")
        yield Step(reply.at_ns, b"[DONE]", "done")

    return replace(reply, status=200, headers=headers, events=events(), error=False)


@fault("prestream-error-as-empty", "reply", "Answers an error of a stream with an empty 200.")
def _error_as_empty(reply: Reply, call: Call) -> Reply:
    if not reply.error or not call.streams:
        return reply
    headers = reply.with_header("Content-Type", "text/event-stream; charset=utf-8")
    return replace(reply, status=200, headers=headers, events=iter(()), error=False)


@fault(
    "stream-error-differs", "reply", "Gives an error another status when a stream was asked for."
)
def _stream_differs(reply: Reply, call: Call) -> Reply:
    return replace(reply, status=502) if reply.error and call.streams else reply


@fault("upstream-status-flattened", "reply", "Makes a 500 of each error of the upstream.",
       "one handler for all exceptions")  # fmt: skip
def _flattened(reply: Reply, call: Call) -> Reply:
    upstream = any(deed.behaviour.name == "status" for deed in call.deeds)
    return replace(reply, status=500) if reply.error and upstream else reply


@fault("upstream-error-replaced", "reply", "Hides what the upstream's error said.")
def _replaced(reply: Reply, call: Call) -> Reply:
    upstream = any(deed.behaviour.name == "status" for deed in call.deeds)
    if not upstream:
        return reply
    return _with_error(reply, message="Unknown error.", type="unknown", code=None)
