"""Instances of JSON Schemas: what the model writes when an answer must fit a schema.

Covers what function and answer schemas use: types and lists of types, enum, const, properties,
required, items, lengths, ranges, formats, simple patterns, anyOf, oneOf, allOf, and references
inside the schema. All properties are filled until the depth limit, then only the required ones.
The same schema and seed give the same instance. A keyword of the wrong type constrains nothing; a
schema that nothing can satisfy is an error of the request.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from .jsontext import Json

__all__ = ["SchemaError", "instance"]

_DEEP = 5  # from here on only what is required
_DEEPEST = 40  # a required property that refers to itself has no finite instance
_MOST = 2000  # no schema makes the model write more values or longer strings than this

_FORMATS = {
    "date-time": "2026-01-15T09:30:00Z",
    "date": "2026-01-15",
    "time": "09:30:00Z",
    "duration": "PT15M",
    "email": "reader@example.com",
    "idn-email": "reader@example.com",
    "hostname": "www.example.com",
    "ipv4": "192.0.2.17",
    "ipv6": "2001:db8::17",
    "uri": "https://www.example.com/page",
    "uri-reference": "/page",
    "iri": "https://www.example.com/page",
    "uuid": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "json-pointer": "/page/0",
    "regex": "^page$",
}
_WORDS = (
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "harbor",
    "island",
    "juniper",
)


class SchemaError(Exception):
    """No instance can be made; the message says where in the schema and why."""


def _draw(seed: str, size: int) -> int:
    return int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=4).digest(), "big") % size


def _size(schema: Mapping[str, Any], keyword: str, default: int) -> int:
    value = schema.get(keyword)
    return int(value) if _is_number(value) and value >= 0 else default


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


class _Maker:
    def __init__(self, root: object, seed: str) -> None:
        self.root = root
        self.seed = seed
        self.made = 0

    def resolve(self, reference: str, path: str) -> object:
        if reference == "#":
            return self.root
        if not reference.startswith("#/"):
            raise SchemaError(f"{path}: the reference {reference!r} leaves the schema")
        node: object = self.root
        for part in reference[2:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict) and name in node:
                node = node[name]
            elif isinstance(node, list) and name.isdigit() and int(name) < len(node):
                node = node[int(name)]
            else:
                raise SchemaError(f"{path}: the reference {reference!r} points nowhere")
        return node

    def make(self, schema: object, path: str, depth: int) -> Json:  # noqa: C901, PLR0911  # one branch a keyword
        self.made += 1
        if depth > _DEEPEST or self.made > _MOST:
            raise SchemaError(f"{path}: no finite instance found")
        if schema is False:
            raise SchemaError(f"{path}: the schema allows nothing")
        if not isinstance(schema, dict):
            return f"{_WORDS[_draw(self.seed + path, len(_WORDS))]}"
        if isinstance(schema.get("$ref"), str):
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            target = self.resolve(schema["$ref"], path)
            if not isinstance(target, dict):
                return self.make(target, path, depth + 1)
            return self.make({**target, **rest}, path, depth + 1)
        if "const" in schema:
            return schema["const"]
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            return schema["enum"][_draw(self.seed + path, len(schema["enum"]))]
        if isinstance(schema.get("allOf"), list):
            return self.make(self.merge(schema, path), path, depth + 1)
        for keyword in ("anyOf", "oneOf"):
            if isinstance(schema.get(keyword), list) and schema[keyword]:
                return self.choose(schema, keyword, path, depth)
        type_ = self.type_of(schema, depth)
        if type_ == "object":
            return self.object_(schema, path, depth)
        if type_ == "array":
            return self.array(schema, path, depth)
        if type_ == "string":
            return self.string(schema, path)
        if type_ in {"integer", "number"}:
            return self.number(schema, path, whole=type_ == "integer")
        if type_ == "boolean":
            return bool(_draw(self.seed + path, 2))
        return None

    def merge(self, schema: Mapping[str, Any], path: str) -> dict[str, Any]:
        merged = {key: value for key, value in schema.items() if key != "allOf"}
        for part in schema["allOf"]:
            node: object = part
            while isinstance(node, dict) and isinstance(node.get("$ref"), str):
                node = self.resolve(node["$ref"], path)
            if not isinstance(node, dict):
                continue
            for key, value in node.items():
                old = merged.get(key)
                if isinstance(old, dict) and isinstance(value, dict):
                    merged[key] = {**old, **value}
                elif isinstance(old, list) and isinstance(value, list) and key == "required":
                    merged[key] = [*old, *value]
                else:
                    merged[key] = value
        return merged

    def choose(self, schema: Mapping[str, Any], keyword: str, path: str, depth: int) -> Json:
        base = {key: value for key, value in schema.items() if key != keyword}
        branches = list(schema[keyword])
        if depth > _DEEP:  # nothing shortens an answer like null
            branches.sort(key=lambda branch: branch != {"type": "null"})
        error: SchemaError | None = None
        for branch in branches:
            merged = {**base, **branch} if isinstance(branch, dict) else branch
            try:
                return self.make(merged, path, depth + 1)
            except SchemaError as problem:
                error = problem
        raise error or SchemaError(f"{path}: {keyword} is empty")

    @staticmethod
    def type_of(schema: Mapping[str, Any], depth: int) -> str:
        type_ = schema.get("type")
        if isinstance(type_, list):
            if depth > _DEEP and "null" in type_:
                return "null"
            type_ = next((one for one in type_ if one != "null"), "null")
        if isinstance(type_, str):
            return type_
        for keyword, implied in (
            ("properties", "object"), ("required", "object"), ("items", "array"),
            ("prefixItems", "array"), ("minLength", "string"), ("pattern", "string"),
            ("format", "string"), ("minimum", "number"), ("maximum", "number"),
        ):  # fmt: skip
            if keyword in schema:
                return implied
        return "object" if depth == 0 else "string"

    def object_(self, schema: Mapping[str, Any], path: str, depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        required = schema.get("required")
        required = (
            [name for name in required if isinstance(name, str)]
            if isinstance(required, list)
            else []
        )
        names = [name for name in properties if name in required or depth < _DEEP]
        names += [name for name in dict.fromkeys(required) if name not in properties]
        extra = schema.get("additionalProperties", True)
        made: dict[str, Any] = {}
        for name in names:
            try:
                made[name] = self.make(properties.get(name, extra), f"{path}.{name}", depth + 1)
            except SchemaError:
                if name in required:
                    raise
        least = min(_size(schema, "minProperties", 0), _MOST)
        while len(made) < least:
            name = f"extra{len(made)}"
            made[name] = self.make(extra, f"{path}.{name}", depth + 1)
        return made

    def array(self, schema: Mapping[str, Any], path: str, depth: int) -> list[Any]:
        least = _size(schema, "minItems", 0)
        most = _size(schema, "maxItems", max(least, 2))
        if most < least:
            raise SchemaError(f"{path}: maxItems is below minItems")
        wanted = least if depth >= _DEEP else max(least, min(most, 2))
        first = schema.get("prefixItems")
        first = first if isinstance(first, list) else []
        items = schema.get("items", True)
        made: list[Any] = []
        tries = 0
        while len(made) < wanted:
            place = len(made)
            node = first[place] if place < len(first) else items
            if node is False:
                break
            try:
                value = self.make(node, f"{path}[{place}.{tries}]", depth + 1)
            except SchemaError:
                if len(made) < least:
                    raise
                break
            if schema.get("uniqueItems") is True and value in made:
                tries += 1
                if tries > 50:
                    if len(made) < least:
                        raise SchemaError(f"{path}: too few different items")
                    break
                continue
            made.append(value)
        return made

    def string(self, schema: Mapping[str, Any], path: str) -> str:
        least = _size(schema, "minLength", 0)
        most = _size(schema, "maxLength", max(least, 60))
        if most < least or least > 100_000:
            raise SchemaError(f"{path}: no string is {least} to {most} characters long")
        if isinstance(schema.get("pattern"), str):
            return _matching(schema["pattern"], least, path)
        text = _FORMATS.get(str(schema.get("format")), "")
        if not text:
            draw = _draw(self.seed + path, len(_WORDS) ** 2)
            text = f"{_WORDS[draw % len(_WORDS)]} {_WORDS[draw // len(_WORDS)]}"
        if len(text) < least:
            text = (text + " ") * (least // (len(text) + 1) + 1)
            text = text[:least].rstrip().ljust(least, "x")
        return text[:most]

    def number(self, schema: Mapping[str, Any], path: str, *, whole: bool) -> int | float:
        low = schema.get("minimum")
        high = schema.get("maximum")
        low_open, high_open = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
        step = schema.get("multipleOf")
        unit: float = step if _is_number(step) and step > 0 else (1 if whole else 0.5)
        if whole and unit != int(unit):
            unit = 1
        floor = max((v for v in (low, low_open) if _is_number(v)), default=None)
        roof = min((v for v in (high, high_open) if _is_number(v)), default=None)
        if floor is None:
            floor = min(1, roof) if roof is not None else 1
        value = math.ceil(floor / unit) * unit
        if value == low_open and _is_number(low_open):
            value += unit
        spread = 8 if roof is None else max(0, min(8, math.floor((roof - value) / unit)))
        value += unit * _draw(self.seed + path, int(spread) + 1)
        if roof is not None and (value > roof or (value == high_open and _is_number(high_open))):
            value -= unit
            if value < floor or (value == low_open and _is_number(low_open)):
                if whole or roof <= floor:
                    raise SchemaError(f"{path}: no number fits the range")
                value = (floor + roof) / 2
        return int(value) if whole or (value == int(value) and abs(value) < 1e15) else value


def _matching(pattern: str, least: int, path: str) -> str:
    """Find a string for a pattern among simple candidates, by undoing its commonest pieces."""
    text = pattern.removeprefix("^").removesuffix("$")
    classes = {r"\d": "7", r"\w": "a", r"\s": " ", r"\S": "a", ".": "a"}

    def piece(match: re.Match[str]) -> str:
        atom, quantifier = match.group(1), match.group(2) or ""
        if atom.startswith("["):
            letter = "a" if atom[1] == "^" else atom[1]
            letter = classes.get(atom[1:3], letter)
        else:
            letter = classes.get(atom, atom[-1])
        numbers = re.findall(r"\d+", quantifier)
        times = int(numbers[0]) if numbers else 1
        return letter * max(min(times, _MOST), 1)

    atoms = r"(\[[^\]]+\]|\\.|[^()|?*+{}\\])(\{[^}]*\}|[?*+])?"
    while True:
        flat = re.sub(r"\((?:\?:)?([^()|]*)(?:\|[^()]*)?\)[?*+]?", r"\1", text)
        if flat == text:
            break
        text = flat
    text = re.sub(atoms, piece, text.split("|")[0])
    for candidate in (text, text.ljust(least, text[-1:] or "a"), "a", "A", "1", "amber-7"):
        try:
            if re.search(pattern, candidate) and len(candidate) >= least:
                return candidate
        except re.error:
            raise SchemaError(f"{path}: the pattern {pattern!r} cannot be read") from None
    raise SchemaError(f"{path}: no string found for the pattern {pattern!r}")


def instance(schema: object, seed: str = "") -> Json:
    """Make an instance of a schema; raises SchemaError when none can be made."""
    return _Maker(schema, seed).make(schema, "$", 0)
