"""Tests of embeddings in the reference server, over real sockets."""

import base64
import math
from array import array
from collections.abc import Iterator
from typing import Any

import pytest
from gateproof.reference_server.server import serve_in_thread

from tests.reference_http import Got, send

MODEL = "text-embedding-3-small"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Run one server for all tests of this file."""
    with serve_in_thread() as url:
        yield url


def embed(url: str, path: str = "/v1/embeddings", **body: Any) -> Got:
    """Ask for embeddings."""
    return send(url, "POST", path, {"model": MODEL, **body})


def test_each_input_gets_a_unit_vector_in_its_place(server: str) -> None:
    """Inputs get vectors of length 1, in order; the same text gets the same vector."""
    body = embed(server, input=["one", "two", "one"]).json()

    vectors = [entry.pop("embedding") for entry in body["data"]]
    assert body == {
        "object": "list",
        "data": [{"object": "embedding", "index": place} for place in range(3)],
        "model": MODEL,
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
    assert [len(vector) for vector in vectors] == [1536] * 3
    assert vectors[0] == vectors[2] != vectors[1]
    assert math.hypot(*vectors[0]) == pytest.approx(1, abs=1e-6)


def test_both_encodings_carry_the_same_numbers(server: str) -> None:
    """base64 is the little-endian 32-bit form of the numbers that float gives."""
    plain = embed(server, input="text", encoding_format="float").json()["data"][0]["embedding"]
    coded = embed(server, input="text", encoding_format="base64").json()["data"][0]["embedding"]

    assert array("f", base64.b64decode(coded)).tolist() == plain


def test_dimensions_shorten(server: str) -> None:
    """A shorter vector is a unit vector too."""
    short = embed(server, input="text", dimensions=8).json()["data"][0]["embedding"]

    assert len(short) == 8
    assert math.hypot(*short) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("value", ["a", ["a", "b"], [1, 2, 3], [[1, 2], [3]]])
def test_every_form_of_input_is_taken(server: str, value: Any) -> None:
    """Input is a text, texts, tokens, or lists of tokens."""
    assert embed(server, input=value).status == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": [""]}, "input[0]"),
        ({"input": ["a", 1]}, "input[1]"),
        ({"input": [True]}, "input[0]"),
        ({"input": [[]]}, "input[0]"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "dimensions": 5000}, "dimensions"),
        ({"input": "a", "model": "text-embedding-ada-002", "dimensions": 8}, "dimensions"),
        ({"input": "a", "model": "gpt-4o"}, "model"),
        ({"input": "word " * 9000}, "input"),
    ],
)
def test_what_breaks_a_rule_is_refused(server: str, body: Any, param: str) -> None:
    """A request that breaks a rule gets 400, and an error that names the field."""
    got = embed(server, **body)

    assert (got.status, got.json()["error"]["param"]) == (400, param)


def test_osmapi_prices_embeddings(server: str) -> None:
    """OsmAPI's answer has the exact cost among its usage."""
    got = embed(server, "/osmapi/v1/embeddings", input="one two three")

    assert got.body.endswith(b'"usage":{"prompt_tokens":3,"total_tokens":3,"cost":0.00000006}}')
