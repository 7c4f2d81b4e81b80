"""Faults of headers: what is not there, or says something else."""

import re
from dataclasses import replace

from ..call import Call
from ..script import Reply
from .table import fault

__all__: list[str] = []

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("wanted the name of a header")
    return text


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not value.isprintable():
        raise ValueError("wanted NAME=VALUE, such as Cache-Control=public")
    return _name(name), value


@fault("drop-header", "reply", "Leaves a header out of every answer.",
       parameter="the header's name", read=_name)  # fmt: skip
def _drop_header(reply: Reply, _: Call, name: str) -> Reply:
    return replace(reply, headers=reply.with_header(name, None))


@fault("set-header", "reply", "Gives a header another value in every answer.",
       parameter="NAME=VALUE, as Cache-Control=public", read=_header)  # fmt: skip
def _set_header(reply: Reply, _: Call, header: tuple[str, str]) -> Reply:
    return replace(reply, headers=reply.with_header(*header))


@fault("proxy-hint-missing", "reply", "Sends a stream without X-Accel-Buffering: no.",
       "streams that a proxy in front holds back")  # fmt: skip
def _no_proxy_hint(reply: Reply) -> Reply:
    return replace(reply, headers=reply.with_header("X-Accel-Buffering", None))


@fault("echo-request-id", "reply", "Takes any x-request-id of the client for its own.",
       "log entries that a client can forge")  # fmt: skip
def _echo_id(reply: Reply, call: Call | None) -> Reply:
    given = None if call is None else call.header("x-request-id")
    return reply if not given else replace(reply, headers=reply.with_header("x-request-id", given))
