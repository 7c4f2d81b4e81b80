"""The OpenAPI documents are good OpenAPI, and every example in them keeps its own schema."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from openapi_spec_validator.readers import read_from_filename
from schemathesis import openapi
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response

from gateproof.openapi import _read, generation_document, load_document
from gateproof.profile import load_profile, profile_names
from gateproof.requirement import CAPABILITIES, load_requirements

EXTENSIONS = {
    "x-gateproof-bearer",
    "x-gateproof-capability",
    "x-gateproof-empty-errors",
    "x-gateproof-generate",
    "x-gateproof-inferred",
    "x-gateproof-model",
    "x-gateproof-not-generated",
    "x-gateproof-requirements",
}
CHAT = "/chat/completions"
MESSAGES = "/messages"
ERRORS = {"400", "401", "403", "404", "405", "413", "415", "422", "429", "500", "502", "503", "504"}

each_profile = pytest.mark.parametrize("name", profile_names())


def paths_of(name: str) -> dict[str, Any]:
    """Return the paths of a profile's document."""
    paths = _read(load_profile(name).document)["paths"]
    assert isinstance(paths, dict)
    return paths


def has_streamed_chat(name: str) -> bool:
    """Tell whether a profile's document has a chat route that streams."""
    chat = paths_of(name).get(CHAT)
    return chat is not None and "text/event-stream" in chat["post"]["responses"]["200"]["content"]


each_chat = pytest.mark.parametrize("name", [n for n in profile_names() if has_streamed_chat(n)])


def nodes(node: object, path: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Give each object of a document with its place."""
    if isinstance(node, dict):
        yield path, node
        for key, value in node.items():
            yield from nodes(value, f"{path}/{key}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from nodes(value, f"{path}/{number}")


def errors_of(document: dict[str, Any], schema: dict[str, Any], value: object) -> list[str]:
    """Tell how a value breaks a schema of a bundled document."""
    whole = {"allOf": [schema], "components": document["components"]}
    return [error.message for error in Draft202012Validator(whole).iter_errors(value)]


def media_types(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Give each media type object with its place and name."""
    for path, node in nodes(document):
        if path.endswith("/content"):
            for name, media in node.items():
                if isinstance(media, dict) and ("schema" in media or "itemSchema" in media):
                    yield f"{path}/{name}", name, media


@each_profile
def test_the_document_is_valid_openapi(name: str) -> None:
    """Each document, as it is, bundled, and narrowed, is valid OpenAPI 3.2."""
    profile = load_profile(name)
    raw, base = read_from_filename(str(files("gateproof.specs") / profile.document))

    assert str(raw["openapi"]) == "3.2.0"
    validate(raw, base_uri=base)
    validate(load_document(profile))
    validate(generation_document(profile))


@each_profile
def test_every_schema_is_a_schema(name: str) -> None:
    """Each component schema is valid JSON Schema, Draft 2020-12."""
    for schema in load_document(load_profile(name))["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@each_profile
def test_schemathesis_loads_the_file(name: str) -> None:
    """Schemathesis reads the file with its references, and all operations are sound."""
    profile = load_profile(name)
    document = load_document(profile)
    wanted = [
        f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item
    ]

    schema = openapi.from_path(str(files("gateproof.specs") / profile.document))

    operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]

    assert [operation.label for operation in operations if operation] == wanted


@each_profile
def test_every_reference_resolves(name: str) -> None:
    """Each reference, to this file or another, names something that is there."""
    document = _read(load_profile(name).document)
    lost = []
    for path, node in nodes(document):
        if not isinstance(node.get("$ref"), str):
            continue
        file, _, pointer = node["$ref"].partition("#/")
        target: Any = _read(file) if file else document
        for step in pointer.split("/"):
            target = target.get(step) if isinstance(target, dict) else None
        if target is None:
            lost.append(path)

    assert lost == []


@each_profile
def test_every_example_keeps_its_schema(name: str) -> None:
    """Each example of a body, a parameter and a header is valid by the schema beside it."""
    document = load_document(load_profile(name))
    broken = []
    count = 0
    for path, _, media in media_types(document):
        for key, example in media.get("examples", {}).items():
            if "value" in example:
                count += 1
                broken += [
                    f"{path}/{key}: {error}"
                    for error in errors_of(document, media["schema"], example["value"])
                ]
    for path, node in nodes(document):
        if "schema" in node and "example" in node:
            count += 1
            broken += [f"{path}: {e}" for e in errors_of(document, node["schema"], node["example"])]

    assert broken == []
    assert count > 10


@each_profile
def test_every_body_has_an_example(name: str) -> None:
    """Each media type object shows an example."""
    document = load_document(load_profile(name))

    assert [path for path, _, media in media_types(document) if not media.get("examples")] == []


def data_of_events(document: dict[str, Any], schema: dict[str, Any]) -> tuple[object, bool]:
    """Return the schema of the JSON in an event's data, and whether an end mark is known too."""
    name = schema["$ref"].rpartition("/")[2]
    data = document["components"]["schemas"][name]["properties"]["data"]
    forms = data.get("anyOf", [data])
    contents = [form["contentSchema"] for form in forms if "contentSchema" in form]
    return contents[0], {"[DONE]"} <= {form.get("const") for form in forms}


@each_profile
def test_every_stream_example_keeps_its_schema(name: str) -> None:
    """Each event of each example stream is valid, the JSON in its data too, and [DONE] is last."""
    document = load_document(load_profile(name))
    streams = [
        (media["itemSchema"], example["dataValue"])
        for _, kind, media in media_types(document)
        if kind == "text/event-stream"
        for example in media["examples"].values()
    ]
    broken = []
    for schema, events in streams:
        data_schema, has_end_mark = data_of_events(document, schema)
        assert isinstance(data_schema, dict)
        ends = [number for number, event in enumerate(events) if event["data"] == "[DONE]"]
        assert ends == ([len(events) - 1] if has_end_mark else [])
        for event in events:
            broken += errors_of(document, schema, event)
            if event["data"] != "[DONE]":
                broken += errors_of(document, data_schema, json.loads(event["data"]))

    assert broken == []
    assert streams or name == "omai"  # its reference has no streams


def answer(status: int, kind: str, body: bytes) -> Response:
    """Make the answer object that Schemathesis judges, without a network."""
    import requests  # noqa: PLC0415  # only this test needs it

    request = requests.Request("POST", "http://127.0.0.1/v1/chat/completions").prepare()
    headers = {"content-type": [kind]}
    return Response(status, headers, body, request, elapsed=0.1, verify=False)


def stream_example(document: dict[str, Any], path: str = CHAT) -> bytes:
    """Write the first example stream of a route as bytes."""
    responses = document["paths"][path]["post"]["responses"]
    media = responses["200"]["content"]["text/event-stream"]
    events = next(iter(media["examples"].values()))["dataValue"]
    lines = [[f"{name}: {value}\n" for name, value in event.items()] for event in events]
    return "".join("".join(event) + "\n" for event in lines).encode()


@pytest.mark.parametrize(
    ("old", "new", "fits"),
    [
        pytest.param(b"", b"", True, id="as it is"),
        pytest.param(b'"stop"', b'"stop","x":1', True, id="further member"),
        pytest.param(b"data: [DONE]", b": wait\n\ndata: [DONE]", True, id="comment"),
        pytest.param(
            b"data: [DONE]", b'data: {"error":{"message":"m","type":"t"}}', True, id="error event"
        ),
        pytest.param(b"[DONE]", b'"[DONE]"', False, id="quoted end mark"),
        pytest.param(b"[DONE]", b"<html>", False, id="no JSON"),
        pytest.param(b".chunk", b"", False, id="object of a completion"),
        pytest.param(b'"index":0,', b"", False, id="no index"),
        pytest.param(b'"delta":{},', b'"delta":null,', False, id="delta null"),
        pytest.param(b'"stop"', b'"eos"', False, id="unknown finish"),
    ],
)
@each_chat
def test_schemathesis_judges_events(name: str, old: bytes, new: bytes, fits: bool) -> None:  # noqa: FBT001  # a table's column
    """Schemathesis takes a right stream, with legal additions, and refuses a wrong one."""
    document = load_document(load_profile(name))
    operation = openapi.from_dict(document)[CHAT]["POST"]
    response = answer(200, "text/event-stream", stream_example(document).replace(old, new))

    if fits:
        operation.validate_response(response)
    else:
        with pytest.raises(Failure, match=r"SSE event (payload )?violates"):
            operation.validate_response(response)


@pytest.mark.parametrize(
    ("old", "new", "fits"),
    [
        pytest.param(b"", b"", True, id="as it is"),
        pytest.param(b'"ping"', b'"ping","x":1', True, id="further member"),
        pytest.param(b"ping", b"pong", True, id="further type"),
        pytest.param(b"event: message_stop\n", b"", False, id="no event line"),
        pytest.param(b'"usage":{"input_tokens":20,"output_tokens":1}', b'"u":1', False, id="usage"),
        pytest.param(b'"content_block":', b'"block":', False, id="no content_block"),
        pytest.param(b'"index":0,"delta"', b'"delta"', False, id="no index"),
        pytest.param(b'"text":"A piece"', b'"content":"A piece"', False, id="no text"),
        pytest.param(b'{"type":"ping"}', b'{"choices":[]}', False, id="an event of OpenAI's"),
    ],
)
@pytest.mark.parametrize("name", [n for n in profile_names() if MESSAGES in paths_of(n)])
def test_schemathesis_judges_messages(name: str, old: bytes, new: bytes, fits: bool) -> None:  # noqa: FBT001  # a table's column
    """Schemathesis takes a right message stream, with legal additions, and refuses a wrong one."""
    document = load_document(load_profile(name))
    operation = openapi.from_dict(document)[MESSAGES]["POST"]
    body = stream_example(document, MESSAGES)
    assert old in body

    response = answer(200, "text/event-stream", body.replace(old, new))

    if fits:
        operation.validate_response(response)
    else:
        with pytest.raises(Failure, match=r"SSE event (payload )?violates"):
            operation.validate_response(response)


def test_stateful_schemathesis_follows_the_life_of_a_key() -> None:
    """The links of Losi's document lead from a created key to its use and to its end.

    Links that Schemathesis infers by itself are turned off: one deletes the keys that it is shown.
    """
    no_inference: dict[str, Any] = {"phases": {"stateful": {"inference": {"algorithms": []}}}}
    schema = openapi.from_dict(
        load_document(load_profile("losi")), config=SchemathesisConfig.from_dict(no_inference)
    )
    transitions: Any = schema.as_state_machine()._transitions  # type: ignore[attr-defined]  # no public way

    links = {link.full_name for each in transitions.operations.values() for link in each.outgoing}

    assert links == {
        "DELETE /api-keys -> [200] listAfterwards -> GET /api-keys",
        "GET /models -> [200] retrieveFirst -> GET /models/{model}",
        *(
            f"POST /api-keys -> [{status}] {link}"
            for status in (200, 201)
            for link in (
                "useKey -> GET /models",
                "findKey -> GET /api-keys",
                "deleteKey -> DELETE /api-keys",
            )
        ),
    }


@each_profile
def test_names_of_extensions_are_known(name: str) -> None:
    """Extensions have known names, and what they name exists."""
    document = load_document(load_profile(name))
    known = load_requirements()
    schemas = document["components"]["schemas"]
    wrong: list[tuple[str, object]] = []
    for path, node in nodes(document):
        wrong += [(path, key) for key in node if key.startswith("x-") and key not in EXTENSIONS]
        wrong += [(path, i) for i in node.get("x-gateproof-requirements", ()) if i not in known]
        if node.get("x-gateproof-capability", "chat") not in CAPABILITIES:
            wrong.append((path, node["x-gateproof-capability"]))
        if "x-gateproof-generate" in node and node["x-gateproof-generate"] not in schemas:
            wrong.append((path, node["x-gateproof-generate"]))

    assert wrong == []


@each_profile
def test_the_vendors_statements_are_placed(name: str) -> None:
    """A document names each statement of its own vendor that the wire shows."""
    profile = load_profile(name)
    own = {r.id: r for r in load_requirements().values() if r.profile == name and r.id[0].isupper()}
    on_the_wire = {
        i for i, r in own.items() if r.judged_by or r.excused.startswith("not yet judged: ")
    }
    document = load_document(profile)
    named = {i for _, node in nodes(document) for i in node.get("x-gateproof-requirements", ())}

    assert sorted(on_the_wire - named) == []


@each_profile
def test_operations_are_described(name: str) -> None:
    """Each operation has an id, a tag, a summary, a description, and its error responses."""
    document = load_document(load_profile(name))
    lacking = []
    for path, item in document["paths"].items():
        for method, operation in item.items():
            parts = ("operationId", "tags", "summary", "description")
            wanted = ERRORS if method == "post" else {"401", "403", "405", "429", "500", "503"}
            if any(not operation.get(part) for part in parts) or wanted - set(
                operation["responses"]
            ):
                lacking.append(f"{method} {path}")

    assert lacking == []


@each_profile
def test_no_vendor_is_a_default(name: str) -> None:
    """The server of a document is this machine unless someone names another."""
    profile = load_profile(name)
    servers = load_document(profile)["servers"]

    assert [(s["url"], s["variables"]["origin"]["default"]) for s in servers] == [
        ("{origin}" + profile.base_path, "http://127.0.0.1:8080")
    ]


def test_the_data_is_read_from_an_installed_package(tmp_path: Path) -> None:
    """Registry, profiles and documents are read where the rooms stand inside the package."""
    root = Path(__file__).resolve().parent.parent
    shutil.copytree(root / "gateproof", tmp_path / "gateproof")
    shutil.copytree(root / "specs", tmp_path / "gateproof" / "specs")
    program = (
        "import gateproof.specs\n"
        "from gateproof.openapi import load_document\n"
        "from gateproof.profile import load_profile, profile_names\n"
        "print(gateproof.specs.__file__)\n"
        "for name in profile_names():\n"
        "    print(name, len(load_document(load_profile(name))['paths']))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines() == [
        str(tmp_path / "gateproof" / "specs" / "__init__.py"),
        *(f"{name} {len(_read(load_profile(name).document)['paths'])}" for name in profile_names()),
    ]
