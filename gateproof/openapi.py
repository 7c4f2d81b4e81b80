"""A profile's OpenAPI document, as one self-contained object.

The documents in ``specs/`` share parts by ``$ref`` to a file beside them. Here they are bundled: a
part of another file becomes a component of its own, named after the file (``openai.Message``), so
that no reader needs to resolve files, from a wheel or from a checkout.

For generated requests there is a second form: each request schema that names a narrower one by
``x-gateproof-generate`` is replaced by it, less what hangs on a capability the target lacks. Whole
operations are left out for that reason too, or because ``x-gateproof-not-generated`` tells why no
generated request is fair.
"""

import copy
import functools
from collections.abc import Collection
from importlib.resources import files
from typing import Any

import yaml

from gateproof.errors import GateproofError
from gateproof.profile import Profile

__all__ = ["generation_document", "load_document"]

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_document(profile: Profile) -> dict[str, Any]:
    """Return the profile's OpenAPI document with all parts of other files brought in.

    The document is the caller's own to change.
    """
    return copy.deepcopy(_bundle(profile.document))


def generation_document(profile: Profile, claims: Collection[str] | None = None) -> dict[str, Any]:
    """Return the document whose request schemas give only what a sound target must accept.

    Without claims they are the profile's. Response schemas are as in ``load_document``.
    """
    document = load_document(profile)
    claimed = frozenset(profile.claims if claims is None else claims)
    schemas = document["components"]["schemas"]
    for name, schema in list(schemas.items()):
        if "x-gateproof-generate" in schema:
            schemas[name] = schemas[schema["x-gateproof-generate"]]
    document["components"]["schemas"] = _without_unclaimed(schemas, claimed, schemas)
    document["paths"] = _generated_paths(document, claimed)
    return document


def _generated_paths(document: dict[str, Any], claims: frozenset[str]) -> dict[str, Any]:
    """Keep the operations that are claimed and for which generated requests are fair.

    Links to an operation that is left out, and parameters that are not generated, go too.
    """
    kept = {
        path: {
            method: operation
            for method, operation in item.items()
            if operation.get("x-gateproof-capability") in claims | {None}
            and "x-gateproof-not-generated" not in operation
        }
        for path, item in document["paths"].items()
    }
    kept = {path: item for path, item in kept.items() if item}
    operations = [operation for item in kept.values() for operation in item.values()]
    names = {operation["operationId"] for operation in operations}
    shared = document["components"].get("parameters", {})
    for operation in operations:
        if "parameters" in operation:
            operation["parameters"] = [
                parameter
                for parameter in operation["parameters"]
                if "x-gateproof-not-generated"
                not in shared.get(str(parameter.get("$ref")).rpartition("/")[2], parameter)
            ]
        for response in operation["responses"].values():
            if "links" in response:
                response["links"] = {
                    name: link
                    for name, link in response["links"].items()
                    if link["operationId"] in names
                }
    return kept


def _without_unclaimed(
    node: Any, claims: frozenset[str], schemas: dict[str, Any]
) -> Any:  # any JSON
    """Drop the members and the alternatives that are tied to a capability outside the claims."""

    def kept(value: object) -> bool:
        target = value
        if isinstance(value, dict) and "$ref" in value:
            target = schemas.get(str(value["$ref"]).rpartition("/")[2], value)
        needed = target.get("x-gateproof-capability") if isinstance(target, dict) else None
        return needed is None or needed in claims

    if isinstance(node, list):
        return [_without_unclaimed(item, claims, schemas) for item in node if kept(item)]
    if not isinstance(node, dict):
        return node
    changed = {key: _without_unclaimed(value, claims, schemas) for key, value in node.items()}
    if changed.get("anyOf") == []:
        changed["anyOf"] = [False]  # no alternative is left, and an empty list is no schema
    if isinstance(node.get("properties"), dict):
        changed["properties"] = {
            key: value
            for key, value in changed["properties"].items()
            if kept(node["properties"][key])
        }
    return changed


@functools.cache
def _read(name: str) -> dict[str, Any]:
    text = (files("gateproof.specs") / name).read_text(encoding="utf-8")
    document = yaml.load(text, Loader=_Loader)  # noqa: S506  # a safe loader, the C one where built
    assert isinstance(document, dict)
    return document


@functools.cache
def _bundle(name: str) -> dict[str, Any]:
    document = copy.deepcopy(_read(name))
    waiting: list[tuple[str, str, str]] = []
    bundled = _localise(document, "", waiting)
    done: set[tuple[str, str, str]] = set()
    while waiting:
        part = waiting.pop()
        if part in done:
            continue
        done.add(part)
        file, section, key = part
        found = _read(file)["components"].get(section, {}).get(key)
        if found is None:
            raise GateproofError(
                f"{name} refers to {file}#/components/{section}/{key}, which is not there.",
                "Correct the reference.",
            )
        local = bundled["components"].setdefault(section, {})
        local[f"{file.removesuffix('.yaml')}.{key}"] = _localise(found, file, waiting)
    assert isinstance(bundled, dict)
    return bundled


def _localise(node: Any, home: str, waiting: list[tuple[str, str, str]]) -> Any:  # any JSON
    """Copy a part, turning its references to other files into local ones, which are noted."""
    if isinstance(node, list):
        return [_localise(item, home, waiting) for item in node]
    if not isinstance(node, dict):
        return node
    changed = {key: _localise(value, home, waiting) for key, value in node.items()}
    narrower = node.get("x-gateproof-generate")
    if home and isinstance(narrower, str):
        reference = _localised_reference(f"#/components/schemas/{narrower}", home, waiting)
        changed["x-gateproof-generate"] = reference.rpartition("/")[2]
    if isinstance(node.get("$ref"), str):
        changed["$ref"] = _localised_reference(node["$ref"], home, waiting)
    if isinstance(node.get("mapping"), dict) and "propertyName" in node:  # a discriminator
        changed["mapping"] = {
            value: _localised_reference(reference, home, waiting)
            for value, reference in node["mapping"].items()
        }
    return changed


def _localised_reference(reference: str, home: str, waiting: list[tuple[str, str, str]]) -> str:
    """Return the local form of a reference in a file; one to another file is noted."""
    file, _, pointer = reference.partition("#/components/")
    file = file or home
    if not file:
        return reference
    section, _, key = pointer.partition("/")
    waiting.append((file, section, key))
    return f"#/components/{section}/{file.removesuffix('.yaml')}.{key}"
