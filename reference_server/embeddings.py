"""Embeddings: unit vectors that follow from the model and the input, as numbers or as base64.

A vector's numbers are exact in 32 bits, so both encodings carry the same ones. ``dimensions``
shortens a vector and makes it a unit again, as the upstream's newer models do.
Source: OpenAI's OpenAPI document 2.3.0, createEmbedding; its clients ask for base64 by default.
"""

import base64
import hashlib
import math
import sys
from array import array

from .access import model_of, spend
from .call import Call
from .errors import ApiError
from .jsontext import Json
from .rules import Rule, nullable, number, one_of, text, wrong_type, wrong_value
from .script import JSON, Reply
from .tokens import count
from .validate import check_fields

__all__ = ["embeddings", "vector"]

_MOST_INPUTS = 2048
_MOST_TOKENS = 8192


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _tokens(value: Json, param: str) -> None:
    if not 1 <= len(value) <= _MOST_INPUTS:
        raise wrong_value(param, f"1 to {_MOST_INPUTS} items")
    for place, item in enumerate(value):
        if not _is_token(item):
            raise wrong_type(f"{param}[{place}]", "a token", item)


def _input(value: Json, param: str) -> None:
    """Accept a text, texts, tokens, or lists of tokens; nothing may be empty."""
    if isinstance(value, str):
        if not value:
            raise wrong_value(param, "a text that is not empty")
        return
    if not isinstance(value, list):
        raise wrong_type(param, "a string or an array", value)
    if not 1 <= len(value) <= _MOST_INPUTS:
        raise wrong_value(param, f"1 to {_MOST_INPUTS} items")
    if _is_token(value[0]):
        _tokens(value, param)
        return
    kind = list if isinstance(value[0], list) else str
    for place, item in enumerate(value):
        where = f"{param}[{place}]"
        if not isinstance(item, kind):
            wanted = "an array of tokens" if kind is list else "a string"
            raise wrong_type(where, wanted, item)
        if isinstance(item, list):
            _tokens(item, where)
        elif not item:
            raise wrong_value(where, "a text that is not empty")


_FIELDS: dict[str, Rule] = {
    "model": text(),
    "input": _input,
    "encoding_format": nullable(one_of("float", "base64")),
    "dimensions": nullable(number(1, whole=True)),
    "user": text(),
}


def vector(model: str, content: str, dimensions: int, full: int) -> "array[float]":
    """Return the vector of a text: of length 1, and the same for the same model and text."""
    seed = hashlib.shake_128(f"{model}\0{content}".encode("utf-8", "replace"))
    values = array("i", seed.digest(4 * full))[:dimensions]
    if sys.byteorder == "big":
        values.byteswap()
    norm = math.hypot(*values) or 1.0
    return array("f", [value / norm for value in values])


def _base64(values: "array[float]") -> str:
    """Write 32-bit numbers in little-endian order as base64."""
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return base64.b64encode(values.tobytes()).decode()


def _inputs(value: Json) -> list[tuple[str, int]]:
    """Return each input as a text with the number of its tokens."""
    if isinstance(value, str):
        return [(value, count(value))]
    if _is_token(value[0]):
        value = [value]
    return [
        (item, count(item)) if isinstance(item, str) else (repr(item), len(item)) for item in value
    ]


def embeddings(call: Call) -> Reply:
    """Answer ``POST /embeddings``."""
    if call.problem is not None:
        raise call.problem
    payload = call.payload
    check_fields(payload, _FIELDS, "model", "input")
    model = model_of(call, payload["model"], "embeddings")
    dimensions = payload.get("dimensions")
    if dimensions is not None and (not model.shortens or dimensions > model.dimensions):
        wanted = f"at most {model.dimensions}" if model.shortens else "no value"
        raise ApiError(
            400,
            f"The model {payload['model']!r} takes {wanted} for 'dimensions'.",
            param="dimensions",
            code="invalid_value",
        )
    inputs = _inputs(payload["input"])
    for place, (_, size) in enumerate(inputs):
        if size > _MOST_TOKENS:
            raise ApiError(
                400,
                f"Input {place} has {size} tokens; the model takes {_MOST_TOKENS}.",
                param="input",
                code="context_length_exceeded",
            )
    length = int(dimensions or model.dimensions)
    vectors = [vector(model.name, content, length, model.dimensions) for content, _ in inputs]
    encode = _base64 if payload.get("encoding_format") == "base64" else list
    used = sum(size for _, size in inputs)
    spend(call, model, used, 0)
    body = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": place, "embedding": encode(values)}
            for place, values in enumerate(vectors)
        ],
        "model": payload["model"],
        "usage": {"prompt_tokens": used, "total_tokens": used},
    }
    return Reply(200, (JSON,), body=body, at_ns=call.timing.ttft_ns)
