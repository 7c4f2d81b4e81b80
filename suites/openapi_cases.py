"""Requests generated from a profile's OpenAPI document, and the judging of what they got.

Schemathesis generates the cases and judges the answers, without a socket of its own: a case becomes
an ask of our client, and from a recorded ask and response the case is rebuilt, so that a run is
judged again without generating anything. It is imported when a generative scenario or check runs,
because that costs as much as all the rest of the start.

Its checks are used by name. Left out, each with its reason:
- ``negative_data_rejection``: it needs what the generator knew; we hold the recorded body against
  the document instead, which cannot take a valid body for a broken one;
- ``positive_data_acceptance``: a sound target may refuse with 400 what its model cannot do;
- ``missing_required_header``, ``unsupported_method``, ``allow_header_conformance``: requests of
  their own kind, which err.auth.401 and err.method-405 make once;
- ``ignored_auth``, ``object_level_authorization``: they send requests by themselves; err.auth.401;
- ``use_after_free``, ``ensure_resource_availability``: nothing is created or deleted here.
An event stream is not given to ``response_schema_conformance``, which would read it to its end as
one document: its events are held against ``itemSchema`` one by one.
"""

import functools
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from jsonschema import Draft202012Validator

from gateproof.dialects import openai
from gateproof.openapi import generation_document, load_document
from gateproof.profile import load_profile
from gateproof.scenario import Use
from gateproof.transcript import Ask, Exchange
from gateproof.wire import Response

from .generation import drawn

__all__ = ["CHAT", "breaks_document", "negative", "positive", "problems"]

CHAT = "POST /chat/completions"
LIST = "GET /models"
RETRIEVE = "GET /models/{model}"
SPARE = 0.4  # more is drawn than asked: some cases are equal, some mutations leave a body valid
TEXTS = 20  # for each pattern
RANDOM_BYTES = 3  # bodies that are no JSON at all: a few say as much as many


def positive(use: Use) -> list[Ask]:
    """Return requests that are valid by the document, and that a sound target accepts."""
    document = _pinned(use)
    asks = [
        _ask(CHAT, case.body)
        for case in drawn(
            _strategy(document, CHAT, negative=False), use.seed, _with_spare(use.cases)
        )
    ]
    found = list(dict.fromkeys(asks))[: use.cases]
    described = _document(use.profile.name)["paths"]
    for claim, operation in (("models", LIST), ("models.retrieve", RETRIEVE)):
        if claim in use.profile.claims and operation.partition(" ")[2] in described:
            found.append(_ask(operation, model=use.model()))
    return found


def negative(use: Use) -> list[Ask]:
    """Return requests that break the document in one place or several, each with a small body."""
    document = _pinned(use)
    found: dict[Ask, None] = {}
    garbage = 0
    cases = drawn(_strategy(document, CHAT, negative=True), use.seed, _with_spare(use.cases))
    for case in cases:
        ask = _ask(CHAT, case.body)
        if not breaks_document(use.profile.name, ask) or ask in found:
            continue
        if isinstance(case.body, bytes):
            garbage += 1
            if garbage > RANDOM_BYTES:
                continue
        found[ask] = None
    return list(found)[: use.cases]


def _with_spare(count: int) -> int:
    return count + int(count * SPARE)


def breaks_document(profile: str, ask: Ask) -> bool:
    """Tell whether a chat request's body is invalid by the profile's document."""
    try:
        value = json.loads(ask.body.decode("utf-8"))
    except ValueError:
        return True
    return not _request_validator(profile).is_valid(value)


def problems(profile: str, exchange: Exchange) -> list[str]:
    """Return what is wrong with an answer by the profile's document; nothing when it conforms."""
    import schemathesis  # noqa: PLC0415  # costs half a second
    from schemathesis.checks import load_all_checks  # noqa: PLC0415
    from schemathesis.core.failures import FailureGroup  # noqa: PLC0415
    from schemathesis.specs.openapi import checks  # noqa: PLC0415

    load_all_checks()
    got = openai.response(exchange)
    operation = json.loads(exchange.ask.label)["operation"]
    named: list[Any] = [
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_headers_conformance,
    ]
    streamed = got.media_type == "text/event-stream"
    if not streamed:
        named.append(checks.response_schema_conformance)
    if got.status >= 400 and not got.body and "x-gateproof-empty-errors" in _document(profile):
        named = [checks.status_code_conformance]
    case = _case(profile, operation, exchange.ask)
    answer = schemathesis.Response(
        status_code=got.status,
        headers=_headers(got),
        content=got.body,
        request=_prepared(exchange),
        elapsed=0.0,
        verify=True,
    )
    found = []
    try:
        case.validate_response(answer, checks=named)
    except FailureGroup as group:
        found += [
            f"{failure.title}: {_first_part(failure.message)}" for failure in group.exceptions
        ]
    if streamed and not found:
        found += _event_problems(profile, operation, exchange)
    return found


def _strategy(document: dict[str, Any], operation: str, *, negative: bool) -> Any:
    import schemathesis  # noqa: PLC0415  # costs half a second

    mode = schemathesis.GenerationMode
    schema = schemathesis.openapi.from_dict(document)
    method, _, path = operation.partition(" ")
    found = schema[path][method]
    return found.as_strategy(generation_mode=mode.NEGATIVE if negative else mode.POSITIVE)


def _pinned(use: Use) -> dict[str, Any]:
    """Return the document to generate from: the target's model, and nothing that only costs time.

    Keys are the client's affair, and no generated case is judged by these responses.
    """
    document = generation_document(use.profile)
    document.pop("security", None)
    document["components"].pop("securitySchemes", None)
    chat = document["paths"]["/chat/completions"]["post"]
    document["paths"] = {"/chat/completions": {"post": chat}}
    chat.pop("security", None)
    chat["responses"] = {"200": {"description": "Not judged by this document."}}
    _pin(document, use.model(), use.seed)
    return document


def _pin(node: Any, model: str, seed: int) -> None:
    """Put the target's model where a model is asked for, and some texts in place of each pattern.

    Schemathesis takes seconds to spell out a pattern of wide ranges, Hypothesis no time at all.
    """
    from hypothesis import strategies as st  # noqa: PLC0415  # costs a fifth of a second

    if isinstance(node, list):
        for item in node:
            _pin(item, model, seed)
    elif isinstance(node, dict):
        for key, value in node.items():
            if not isinstance(value, dict):
                _pin(value, model, seed)
            elif "x-gateproof-model" in value:
                node[key] = {"const": model}
            elif value.get("type") == "string" and "pattern" in value:
                texts = drawn(st.from_regex(value["pattern"], fullmatch=True), seed, TEXTS)
                node[key] = {"enum": sorted(set(texts))}
            else:
                _pin(value, model, seed)


def _ask(operation: str, body: Any = None, **parameters: str) -> Ask:
    method, _, path = operation.partition(" ")
    for name, value in parameters.items():
        path = path.replace(f"{{{name}}}", quote(value, safe=":"))
    label = json.dumps({"operation": operation})
    if method == "GET":
        return Ask(method=method, path=path, label=label)
    raw = body if isinstance(body, bytes) else _dumps(body)
    return Ask(path=path, headers=(("content-type", "application/json"),), body=raw, label=label)


def _dumps(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a surrogate pair can only be written as an escape
        return json.dumps(value).encode()


@functools.cache
def _schema(profile: str) -> Any:
    import schemathesis  # noqa: PLC0415  # costs half a second

    document = load_document(load_profile(profile))
    document.pop("security", None)  # the answers are judged, not the key
    return schemathesis.openapi.from_dict(document)


def _case(profile: str, operation: str, ask: Ask) -> Any:
    method, _, path = operation.partition(" ")
    found = _schema(profile)[path][method]
    if method == "GET":
        return found.Case(path_parameters={"model": ask.path.rpartition("/")[2]})
    return found.Case(body=ask.value, media_type="application/json")


def _headers(response: Response) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in response.headers:
        found.setdefault(name.lower(), []).append(value)
    return found


def _prepared(exchange: Exchange) -> Any:
    import requests  # noqa: PLC0415  # comes with Schemathesis, whose response has it

    ask = exchange.ask
    return requests.Request(
        ask.method, exchange.url, headers=dict(ask.headers), data=ask.body or None
    ).prepare()


@functools.cache
def _document(profile: str) -> dict[str, Any]:
    return load_document(load_profile(profile))


@functools.cache
def _request_validator(profile: str) -> Draft202012Validator:
    return _validator(profile, _operation(profile, CHAT)["requestBody"])


@functools.cache
def _event_validator(profile: str, operation: str) -> Draft202012Validator | None:
    """Return the validator of the JSON in an event's data, as the operation's itemSchema has it."""
    media = _operation(profile, operation)["responses"]["200"]["content"].get("text/event-stream")
    item = _resolved(profile, (media or {}).get("itemSchema"))
    data = _resolved(profile, (item or {}).get("properties", {}).get("data"))
    for form in (data or {}).get("anyOf", [data or {}]):
        if "contentSchema" in form:
            return Draft202012Validator(
                {**form["contentSchema"], "components": _document(profile)["components"]}
            )
    return None


def _validator(profile: str, body: Any) -> Draft202012Validator:
    schema = _resolved(profile, body)["content"]["application/json"]["schema"]
    return Draft202012Validator({**schema, "components": _document(profile)["components"]})


def _operation(profile: str, operation: str) -> Any:
    method, _, path = operation.partition(" ")
    return _document(profile)["paths"][path][method.lower()]


def _resolved(profile: str, node: Any) -> Any:
    while isinstance(node, dict) and "$ref" in node:
        target: Any = _document(profile)
        for part in str(node["$ref"]).removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        node = target
    return node


def _event_problems(profile: str, operation: str, exchange: Exchange) -> Iterator[str]:
    validator = _event_validator(profile, operation)
    if validator is None:
        yield "an event stream, which the document does not have here"
        return
    for event in exchange.events:
        if event.data == openai.DONE:
            continue
        try:
            value = json.loads(event.data)
        except (ValueError, RecursionError):
            yield f"an event that is no JSON: {event.data[:120]!r}"
            return
        error = next(iter(validator.iter_errors(value)), None)
        if error is not None:
            deepest = max([error, *(error.context or [])], key=lambda item: len(item.path))
            where = "/".join(map(str, deepest.absolute_path)) or "the event"
            yield f"an event does not fit itemSchema, at {where}: {_one_line(deepest.message)}"
            return


def _first_part(message: str) -> str:
    """Return what is wrong, without the schema that Schemathesis prints after it."""
    return _one_line(re.split(r"\n\s*(?:Validated against|Schema)", message)[0])


def _one_line(text: str, limit: int = 240) -> str:
    line = " ".join(text.split())
    return f"{line[:limit]}…" if len(line) > limit else line
