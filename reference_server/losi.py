"""Losi's own endpoints: the account's keys, and what was used.

The page's samples of bodies are lost. Lists have the upstream's form, a secret is in the answer to
its creation only, and deletion answers as the upstream's do. Both ends of a range of dates count.
"""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

from .call import Call
from .errors import ApiError
from .jsontext import Json
from .rules import list_of, missing, nullable, text, wrong_value
from .script import JSON, Reply
from .state import Key
from .validate import check_fields

__all__ = ["create_key", "delete_key", "list_keys", "usage"]

_DAYS = timedelta(days=29)
"""Without dates, usage is told for thirty days."""


def _name(value: Json, param: str) -> None:
    text(200)(value, param)
    if not value.strip():
        raise wrong_value(param, "a name that is not empty")


_FIELDS = {"name": _name, "permissions": nullable(list_of(text(100), 0, 50))}


def _moment(at_s: int | None) -> str | None:
    return None if at_s is None else f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _shown(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "object": "api_key",
        "name": key.name,
        "permissions": ["*"] if key.permissions is None else list(key.permissions),
        "hint": key.hint,
        "created_at": _moment(key.created_at),
        "last_used_at": _moment(key.last_used_at),
    }


def create_key(call: Call) -> Reply:
    """Make a key with a name and permissions; without permissions it may do everything."""
    if call.problem is not None:
        raise call.problem
    assert call.caller is not None
    assert call.state is not None
    payload = call.payload
    check_fields(payload, _FIELDS, "name")
    key, secret = call.state.create_key(
        call.caller.account, payload["name"], payload.get("permissions"), prefix="losi-"
    )
    return Reply(201, (JSON,), body={**_shown(key), "key": secret})


def list_keys(call: Call) -> Reply:
    """List the account's keys, without their secrets."""
    assert call.caller is not None
    assert call.state is not None
    keys = [_shown(key) for key in call.state.keys(call.caller.account)]
    return Reply(200, (JSON,), body={"object": "list", "data": keys})


def delete_key(call: Call) -> Reply:
    """Delete the key that the query names; the demo keys stay."""
    assert call.caller is not None
    assert call.state is not None
    id_ = call.query.get("id")
    if not id_:
        raise missing("id")
    if not call.state.delete_key(call.caller.account, id_):
        if any(key.id == id_ for key in call.state.keys(call.caller.account)):
            raise ApiError(
                403,
                "This is a demo key, which cannot be deleted.",
                type_="permission_error",
                param="id",
                code="key_protected",
            )
        raise ApiError(404, f"There is no key {id_[:100]!r}.", param="id", code="key_not_found")
    return Reply(200, (JSON,), body={"id": id_, "object": "api_key", "deleted": True})


def _day(call: Call, name: str, default: date) -> date:
    written = call.query.get(name)
    if written is None:
        return default
    wrong = wrong_value(name, "a day as YYYY-MM-DD")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", written, re.ASCII):
        raise wrong
    try:
        return date.fromisoformat(written)
    except ValueError:
        raise wrong from None


def usage(call: Call) -> Reply:
    """Tell what the account used from one day to another, by day and model."""
    assert call.caller is not None
    assert call.state is not None
    last = _day(call, "end_date", call.state.today())
    try:
        first = _day(call, "start_date", last - _DAYS)
    except OverflowError:
        first = date.min
    if first > last:
        raise ApiError(
            400,
            f"'start_date' ({first}) is after 'end_date' ({last}).",
            param="start_date",
            code="invalid_value",
        )
    rows: list[dict[str, Any]] = [
        {
            "date": row.day.isoformat(),
            "model": row.model,
            "requests": row.requests,
            "prompt_tokens": row.prompt_tokens,
            "completion_tokens": row.completion_tokens,
            "total_tokens": row.prompt_tokens + row.completion_tokens,
        }
        for row in call.state.usage(call.caller.account, first, last)
    ]
    names = ("requests", "prompt_tokens", "completion_tokens", "total_tokens")
    body = {
        "object": "list",
        "start_date": first.isoformat(),
        "end_date": last.isoformat(),
        "data": rows,
        **{
            f"total_{name.removeprefix('total_')}": sum(row[name] for row in rows) for name in names
        },
    }
    return Reply(200, (JSON,), body=body)
