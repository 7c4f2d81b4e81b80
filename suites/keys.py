"""Checks of the life of an API key, for gateways that let their users make keys."""

from typing import Any

from gateproof.check import Finding, Inconclusive, Place, Untestable, check, expect
from gateproof.dialects import openai
from gateproof.transcript import Exchange, Transcript

from .reading import shown
from .refusal import body_value, message_of, turned_down, type_of
from .scenarios.keys import KEY_INVALID, KEY_LIFE, KEY_RESTRICTED, created_id, has_secret, made


def _step(seen: Transcript, label: str) -> tuple[Place, Exchange]:
    """Return the last exchange of a label; ``Untestable`` when the scenario did not get so far."""
    found = [
        (Place(exchange=index), item)
        for index, item in enumerate(seen.exchanges)
        if item.ask.label == label
    ]
    if not found:
        raise Untestable(f"the scenario did not get to: {label} (see keys.create)")
    return found[-1]


def _listed(exchange: Exchange) -> list[str]:
    """Return the ids in a list of keys; ``Untestable`` when there is no list to read."""
    got = openai.response(exchange)
    if got.status != 200:
        raise Untestable(f"the list of keys was answered with status {got.status} (see keys.list)")
    value = openai.json_value(exchange)
    entries = _entries(value)
    if entries is None:
        raise Untestable("the list of keys has no list in it (see keys.list)")
    return [str(entry.get("id", entry.get("key_id"))) for entry in openai.objects(entries)]


def _entries(value: Any) -> list[Any] | None:
    """Return the list of keys in any of the forms that pass."""
    if isinstance(value, dict):
        value = next((value[name] for name in ("data", "keys", "api_keys") if name in value), None)
    return value if isinstance(value, list) else None


def _form(value: Any) -> str:
    if isinstance(value, list):
        return "a bare array"
    return "a list under " + next(n for n in ("data", "keys", "api_keys") if n in value)


@check("keys.create", on=[KEY_LIFE])
def test_a_key_is_made(seen: Transcript) -> str:
    """Creating a key gives 200 or 201 and JSON with the key's id and its secret."""
    got = openai.response(seen[0])
    expect(made(seen[0]), wanted="status 201 or 200", got=shown(got))
    expect(created_id(seen[0]), wanted="JSON with the id of the key", got=shown(got))
    expect(has_secret(seen[0]), wanted="the key's secret, this once", got=shown(got))
    return f"status {got.status}"


@check("keys.id-form", on=[KEY_LIFE])
def test_ids_begin_with_key(seen: Transcript) -> None:
    """A key's id begins with key_."""
    id_ = created_id(seen[0])
    if not id_:
        raise Untestable("no key was made (see keys.create)")
    expect(id_.startswith("key_"), wanted="an id that begins with key_", got=id_)


@check("keys.list", on=[KEY_LIFE])
def test_a_new_key_is_listed(seen: Transcript) -> str:
    """The list of keys is JSON, and a key just created is in it."""
    at, exchange = _step(seen, "list")
    got = openai.response(exchange)
    expect(got.status == 200, wanted="status 200", got=shown(got), at=at)
    value = body_value(exchange)
    expect(
        _entries(value) is not None,
        wanted="a list under data, keys or api_keys, or a bare array",
        got=shown(got),
        at=at,
    )
    id_ = created_id(seen[0])
    if not id_:
        raise Untestable("the id of the new key is not known (see keys.create)")
    expect(id_ in _listed(exchange), wanted=f"{id_} in the list", got=_listed(exchange), at=at)
    return _form(value)


@check("keys.secret-hidden", on=[KEY_LIFE])
def test_the_list_shows_no_secret(seen: Transcript) -> None:
    """The list of keys contains no whole secret."""
    _, exchange = _step(seen, "list")
    if openai.response(exchange).status != 200:
        raise Untestable("the list of keys did not come (see keys.list)")
    for index, item in enumerate(seen.exchanges):
        if not item.ask.label.startswith("list"):
            continue
        shown_marks = [mark for mark in item.marks if mark.part == "received"]
        expect(
            not shown_marks,
            wanted="keys without their secrets",
            got=f"a whole secret at {[mark.offset for mark in shown_marks]}",
            at=Place(exchange=index),
        )


@check("keys.usable", on=[KEY_LIFE])
def test_a_new_key_opens_what_it_may(seen: Transcript) -> str:
    """A key just created is accepted for what it was given permission to."""
    opened = []
    refused = []
    for label in ("use models", "use chat"):
        at, exchange = _step(seen, label)
        got = openai.response(exchange)
        if got.status == 200:
            opened.append(label.removeprefix("use "))
        elif got.status in (401, 403):
            refused.append((at, got))
        else:
            raise Untestable(f"{label} was answered with status {got.status}")
    for at, got in refused:
        expect(got.status != 401, wanted="the new key is known", got=shown(got), at=at)
    if not opened:
        raise Inconclusive("refused for want of permission: how permissions are named is not told")
    return f"it opens {' and '.join(opened)}"


@check("keys.delete", on=[KEY_LIFE])
def test_a_key_is_deleted_by_its_id(seen: Transcript) -> str:
    """Deleting a key by the query parameter id gives 200 or 204."""
    at, exchange = _step(seen, "delete")
    got = openai.response(exchange)
    expect(got.status in (200, 204), wanted="status 200 or 204", got=shown(got), at=at)
    return f"status {got.status}"


def _require_deleted(seen: Transcript) -> None:
    _, exchange = _step(seen, "delete")
    if openai.response(exchange).status not in (200, 204):
        raise Untestable("the key was not deleted (see keys.delete)")


@check("keys.deleted-unlisted", on=[KEY_LIFE])
def test_a_deleted_key_is_not_listed(seen: Transcript) -> None:
    """A deleted key is no longer in the list."""
    _require_deleted(seen)
    _, before = _step(seen, "list before deletion")
    at, after = _step(seen, "list after deletion")
    id_ = created_id(seen[0])
    if id_ not in _listed(before):
        raise Untestable("the key was not listed before (see keys.list, keys.delete-without-id)")
    expect(id_ not in _listed(after), wanted=f"a list without {id_}", got=_listed(after), at=at)


@check("keys.deleted-refused", on=[KEY_LIFE])
def test_a_deleted_key_is_refused(seen: Transcript) -> str:
    """The secret of a deleted key is refused with 401, within 30 seconds."""
    _require_deleted(seen)
    if openai.response(_step(seen, "use models")[1]).status == 401:
        raise Untestable("the key was never known (see keys.usable)")
    at, exchange = _step(seen, "use deleted")
    got = openai.response(exchange)
    expect(got.status == 401, wanted="status 401 to the deleted key", got=shown(got), at=at)
    tries = len(seen.labelled("use deleted"))
    return "at once" if tries == 1 else f"at the try number {tries}"


@check("keys.delete-without-id", on=[KEY_LIFE])
def test_a_deletion_needs_an_id(seen: Transcript) -> str:
    """Deleting without an id is refused with a 4xx, and no key is gone."""
    at, exchange = _step(seen, "delete without id")
    got = turned_down(exchange, wanted="a refusal with a 4xx", at=at)
    _, before = _step(seen, "list")
    at, after = _step(seen, "list before deletion")
    gone = set(_listed(before)) - set(_listed(after))
    expect(not gone, wanted="no key is gone", got=f"gone: {sorted(gone)}", at=at)
    return f"status {got.status}"


@check("keys.delete-unknown", on=[KEY_LIFE])
def test_an_unknown_key_is_not_deleted(seen: Transcript) -> str:
    """Deleting an id that there no longer is gets 404 or another 4xx."""
    _require_deleted(seen)
    _, after = _step(seen, "list after deletion")
    if created_id(seen[0]) in _listed(after):
        raise Untestable("the key is still there (see keys.deleted-unlisted)")
    at, exchange = _step(seen, "delete again")
    got = turned_down(exchange, wanted="status 404 or another 4xx", at=at)
    return f"status {got.status}"


@check("keys.create-invalid", on=[KEY_INVALID])
def test_a_key_needs_a_name(seen: Transcript) -> str:
    """Creating a key without a name, or with a number for one, is refused with a 4xx."""
    statuses = set()
    for index, exchange in enumerate(seen.exchanges):
        if exchange.ask.method != "POST":
            continue
        got = openai.response(exchange)
        at = Place(exchange=index)
        expect(
            400 <= got.status < 500 and message_of(body_value(exchange)),
            wanted=f"a refusal with a 4xx and a JSON error: {exchange.ask.label}",
            got=shown(got),
            at=at,
        )
        statuses.add(got.status)
    return f"status {' and '.join(map(str, sorted(statuses)))}"


@check("keys.permission", on=[KEY_RESTRICTED])
def test_a_key_without_permission_is_refused(seen: Transcript) -> str:
    """A key without the permission for a route is refused there with permission_error."""
    prepared = seen[0].ask.label == "prepared"
    if not prepared and not seen.labelled("made"):
        raise Inconclusive("no key without permissions was made: name one as keys.restricted")
    at, exchange = _step(seen, "prepared" if prepared else "made")
    got = openai.response(exchange)
    if got.status == 200 and not prepared:
        raise Inconclusive("no permissions may mean all of them: name a key as keys.restricted")
    if got.status == 401 and prepared:
        raise Finding(wanted="403: the key is known", got=shown(got), at=at)
    expect(got.status == 403, wanted="status 403", got=shown(got), at=at)
    right = type_of(exchange) == "permission_error"
    expect(right, wanted="error.type is permission_error", got=shown(got), at=at)
    return "with a key of the operator's" if prepared else "with a key made without permissions"
