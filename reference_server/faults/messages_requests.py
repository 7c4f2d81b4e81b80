"""Faults of Anthropic's Messages that concern requests: members, versions, keys, other routes."""

from dataclasses import replace

from ..anthropic import VERSIONS
from ..call import Call
from ..jsontext import Json
from ..script import Reply
from .messages import here, refused
from .table import fault

__all__: list[str] = []


# Requests


def _has_blocks(messages: Json) -> bool:
    return isinstance(messages, list) and any(
        isinstance(message, dict) and isinstance(message.get("content"), list)
        for message in messages
    )


@fault(
    "messages-system-blocks-refused", "reply", "Refuses a system prompt that is given as blocks."
)
def _system_refused(reply: Reply, call: Call) -> Reply:
    payload = call.payload if isinstance(call.payload, dict) else {}
    if reply.error or not here(call) or not isinstance(payload.get("system"), list):
        return reply
    return refused(reply, call, 400, "system: expected a string.")


@fault("messages-history-blocks-refused", "reply", "Refuses messages whose content is blocks.")
def _history_refused(reply: Reply, call: Call) -> Reply:
    payload = call.payload if isinstance(call.payload, dict) else {}
    if reply.error or not here(call) or not _has_blocks(payload.get("messages")):
        return reply
    return refused(reply, call, 400, "messages: expected strings.")


@fault("messages-max-tokens-optional", "request", "Answers without max_tokens.")
def _optional_limit(call: Call) -> Call:
    if not isinstance(call.payload, dict) or call.route != ("messages",):
        return call
    return replace(call, payload={"max_tokens": 1024, **call.payload})


@fault("thread-ignored", "request", "Ignores thread, and with it the conversation so far.",
       "clients that send new messages only")  # fmt: skip
def _thread_ignored(call: Call) -> Call:
    if not isinstance(call.payload, dict) or "thread" not in call.payload or not here(call):
        return call
    payload = {name: value for name, value in call.payload.items() if name != "thread"}
    return replace(call, payload=payload, changed=True)


# Versions and keys


def _version(name: str, version: str, status: int, says: str) -> None:
    @fault(name, "reply", says)
    def _refuse(reply: Reply, call: Call) -> Reply:
        if not here(call) or call.header("anthropic-version") != version:
            return reply
        return refused(reply, call, status, f"anthropic-version: {version!r} is not known.")


_version("version-2023-refused", VERSIONS[0], 400, "Refuses the older version of Messages.")
_version("version-2026-refused", VERSIONS[1], 400, "Refuses the later version of Messages.")
_version("version-2026-500", VERSIONS[1], 500, "Fails with 500 at the later version of Messages.")


@fault("version-optional", "request", "Takes Messages without a version.")
def _version_optional(call: Call) -> Call:
    if not here(call) or call.header("anthropic-version"):
        return call
    rest = tuple(pair for pair in call.headers if pair[0] != "anthropic-version")
    return replace(call, headers=(*rest, ("anthropic-version", VERSIONS[0])))


def _keyless(name: str, header: str, says: str) -> None:
    @fault(name, "request", says)
    def _forget(call: Call) -> Call:
        if not here(call) or call.header(header) is None:
            return call
        return replace(call, key=None)


_keyless("x-api-key-refused", "x-api-key", "Knows no key in x-api-key.")
_keyless("bearer-refused", "authorization", "Knows no key as a bearer where Messages are served.")


@fault("auth-type-wrong", "reply", "Gives a wrong key's error the type of an invalid request.")
def _auth_type(reply: Reply, call: Call) -> Reply:
    if reply.status != 401 or not isinstance(reply.body, dict) or not here(call):
        return reply
    error = {**reply.body["error"], "type": "invalid_request_error"}
    return replace(reply, body={**reply.body, "error": error})


@fault("error-openai-shape", "reply", "Sends the errors of Messages in the other dialect's shape.")
def _openai_shape(reply: Reply, call: Call) -> Reply:
    error = reply.body.get("error") if isinstance(reply.body, dict) else None
    if not reply.error or not here(call) or not isinstance(error, dict):
        return reply
    return replace(reply, body={"error": {**error, "param": None, "code": None}})


@fault("ratelimit-reset-seconds", "reply",
       "Gives the end of a limit of Messages in seconds since 1970.")  # fmt: skip
def _reset_seconds(reply: Reply) -> Reply:
    headers = tuple(
        (name, "1795219260")
        if name.startswith("anthropic-ratelimit-") and name.endswith("-reset")
        else (name, value)
        for name, value in reply.headers
    )
    return replace(reply, headers=headers)


# Counting and models


def _counts(call: Call) -> bool:
    return call.route == ("messages", "count_tokens")


@fault("count-tokens-404", "reply", "Does not count tokens.")
def _count_404(reply: Reply, call: Call) -> Reply:
    return refused(reply, call, 404, "Not found.") if _counts(call) else reply


@fault("count-tokens-string", "json", "Gives a count of tokens as a string.")
def _count_string(value: Json, call: Call) -> Json:
    if _counts(call) and isinstance(value, dict) and "input_tokens" in value:
        return {**value, "input_tokens": str(value["input_tokens"])}
    return value


@fault("count-tokens-differs", "json", "Counts other tokens than the answer does.")
def _count_differs(value: Json, call: Call) -> Json:
    if _counts(call) and isinstance(value, dict) and "input_tokens" in value:
        return {**value, "input_tokens": value["input_tokens"] * 3 + 5}
    return value
