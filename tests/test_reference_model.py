"""The model inside: its tokens, its instances of schemas, and that no request can break it."""

import json
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from gateproof.reference_server.app import App, Request
from gateproof.reference_server.instance import SchemaError, instance
from gateproof.reference_server.jsontext import Verbatim, dumps, loads
from gateproof.reference_server.model import seed_of, speak
from gateproof.reference_server.osmapi_chat import heal
from gateproof.reference_server.profile import DEMO_KEY
from gateproof.reference_server.server import Options
from gateproof.reference_server.tokens import count, tokenize
from gateproof.reference_server.validate import CHAT_FIELDS
from hypothesis import example, given, settings
from hypothesis import strategies as st

# Tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("hello world", ["hello", " world"]),
        ("12345 67", ["123", "45", " 67"]),
        ("a  b\r\n", ["a", "  ", "b", "\r\n"]),
        ("incomprehensibilities", ["incomprehens", "ibilities"]),
        ("café", ["caf", "é"]),
        ("cafe\u0301!", ["caf", "e\u0301", "!"]),
        ("👩\u200d👩\u200d👧🇩🇪🇫🇷👍🏽", ["👩\u200d👩\u200d👧", "🇩🇪", "🇫🇷", "👍🏽"]),
        ("1\ufe0f\u20e3", ["1\ufe0f\u20e3"]),
        ("한국", ["한", "국"]),
    ],
)
def test_texts_are_cut_into_tokens(text: str, tokens: list[str]) -> None:
    """Words, digits, spaces and clusters are kept together."""
    assert tokenize(text) == tokens


@given(st.text(max_size=60))
@example("e\u0301\u0301 a\u0301")
def test_tokens_are_the_text_and_their_beginning_is_its_beginning(text: str) -> None:
    """Joined, tokens give the text; the first k of them are the tokens of what they join to."""
    tokens = tokenize(text)

    assert "".join(tokens) == text
    for length in range(len(tokens)):
        assert count("".join(tokens[:length])) == length


# Instances

SCHEMAS: list[Any] = [
    {},
    True,
    {"type": "object"},
    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a", "b"]},
    {"type": "string", "minLength": 30, "maxLength": 31},
    {"type": "string", "maxLength": 3},
    {"type": "string", "pattern": "^[A-Z]{3}-\\d{2,4}$"},
    {"type": "string", "pattern": "^(red|green)$"},
    {"type": "string", "format": "date-time"},
    {"type": "string", "format": "email"},
    {"type": "string", "format": "uuid"},
    {"type": "integer", "minimum": 5, "maximum": 5},
    {"type": "integer", "exclusiveMinimum": 5, "multipleOf": 4},
    {"type": "integer", "maximum": -10},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    {"type": "number", "minimum": 0.1, "maximum": 0.2},
    {"type": ["null", "integer"]},
    {"type": "null"},
    {"enum": ["a", 1, None]},
    {"const": {"x": [1]}},
    {"anyOf": [{"type": "string", "minLength": 2, "maxLength": 1}, {"type": "integer"}]},
    {"oneOf": [{"type": "boolean"}]},
    {"allOf": [{"type": "object", "required": ["a"]}, {"properties": {"a": {"const": 1}}}]},
    {"type": "array", "items": {"type": "integer"}, "minItems": 4},
    {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 3},
    {"type": "array", "prefixItems": [{"const": 1}, {"const": 2}], "items": False},
    {"type": "array", "maxItems": 0},
    {"type": "object", "minProperties": 2, "additionalProperties": {"type": "integer"}},
    {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "value": {"type": "integer"},
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                    "more": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["value", "next", "more"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/node",
    },
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: json.dumps(schema)[:50])
def test_instances_fit_their_schema(schema: Any) -> None:
    """What is made for a schema validates against it, for any seed, and is the same each time."""
    for seed in ("", "1", "2", "3"):
        made = instance(schema, seed)
        jsonschema.Draft202012Validator(schema).validate(made)

        assert made == instance(schema, seed)


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"type": "string", "minLength": 2, "maxLength": 1},
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"type": "array", "items": {"const": 1}, "uniqueItems": True, "minItems": 2},
        {"$ref": "#"},
        {"$ref": "https://elsewhere.example/schema"},
        {"$ref": "#/$defs/none"},
        {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}},
        {"type": "string", "pattern": "("},
        {"type": "array", "minItems": 10_000_000},
    ],
    ids=lambda schema: json.dumps(schema)[:50],
)
def test_what_nothing_satisfies_is_an_error(schema: Any) -> None:
    """A schema without a finite instance is refused, not tried for ever."""
    with pytest.raises(SchemaError):
        instance(schema)


# JSON and money


def test_decimals_are_written_plainly() -> None:
    """Money has no exponent, survives being read, and odd numbers can be put down as they are."""
    text = dumps({"a": Decimal("1E-7"), "b": Verbatim("NaN"), "c": "é"})

    assert text == '{"a":0.0000001,"b":NaN,"c":"é"}'.encode()
    assert loads(b'{"a":0.00000010}') == {"a": Decimal("0.00000010")}


@pytest.mark.parametrize(
    ("text", "healed"),
    [
        ('```json\n{"a": 1,}\n```', '{"a": 1}'),
        ("Here: [1, 2,\n] – done", "[1, 2\n]"),
        ("no JSON", None),
        ('{"a": }', None),
    ],
)
def test_healing_finds_json(text: str, healed: str | None) -> None:
    """Fences, words around and commas too many are taken away; what stays broken is left."""
    assert heal(text) == healed


# No request is an error of ours

HEADERS = (
    ("authorization", f"Bearer {DEMO_KEY}"),
    ("content-type", "application/json"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 130) | st.floats(-3, 3) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["type", "function", "name", "parameters", "properties", "required", "items", "$ref", "role",
     "content", "text", "tool_calls", "id", "arguments", "json_schema", "schema", "anyOf", "enum"]
)  # fmt: skip
WORDS = st.sampled_from(
    ["function", "json_schema", "json_object", "text", "user", "tool", "assistant", "object",
     "array", "string", "required", "none", "auto", "allowed_tools", "#", "Call a with {}"]
)  # fmt: skip
NEAR = st.recursive(
    WORDS | st.none() | st.booleans() | st.integers(-2, 5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
BODY = st.fixed_dictionaries(
    {
        "model": st.just("gpt-4o-mini") | JSON,
        "messages": st.just([{"role": "user", "content": "hi"}])
        | st.lists(NEAR, max_size=3)
        | JSON,
    },
    optional=dict.fromkeys(
        sorted({*CHAT_FIELDS, "plugins", "web_search"} - {"model", "messages"}), JSON | NEAR
    )
    | {"stream": st.booleans()},
)


@pytest.fixture(scope="module")
def app() -> App:
    """Give a gateway without a network."""
    return Options().app()


def answered(app: App, body: bytes, path: str = "/v1/chat/completions") -> tuple[int, bytes]:
    """Return the status and all bytes that a gateway would send."""
    request = Request("POST", path, HEADERS, body)
    answer = app.answer(request, read_at_ns=0, connection=1, close=False)
    return answer.reply.status, b"".join(step.data for step in answer.steps)


@pytest.mark.parametrize("profile", ["openai", "osmapi"])
@settings(max_examples=100)
@given(body=BODY)
def test_no_body_makes_the_server_fail(app: App, profile: str, body: dict[str, Any]) -> None:
    """Any JSON object is answered or refused with an envelope, never with a 5xx."""
    status, sent = answered(app, json.dumps(body).encode(), f"/{profile}/v1/chat/completions")

    assert status in {200, 400, 404}
    if status != 200:
        assert set(json.loads(sent.partition(b"\r\n\r\n")[2])["error"]) == {
            "message",
            "type",
            "param",
            "code",
        }


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_no_bytes_make_the_server_fail(app: App, body: bytes) -> None:
    """Bytes that are no JSON object are a 400."""
    assert answered(app, body)[0] == 400


@settings(max_examples=100)
@given(path=st.text(alphabet="/v1modelschatwit+%:=.é☃", max_size=40))
def test_no_path_makes_the_server_fail(app: App, path: str) -> None:
    """Any path is a route or a 4xx."""
    request = Request("GET", "/" + path, HEADERS)
    answer = app.answer(request, read_at_ns=0, connection=1, close=False)

    assert b"".join(step.data for step in answer.steps).startswith(b"HTTP/1.1 ")
    assert answer.reply.status < 500


def test_the_answer_follows_from_the_request() -> None:
    """What does not shape the answer does not change it; what does, does."""
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}

    assert seed_of({**body, "stream": True, "max_tokens": 3, "user": "u"}) == seed_of(body)
    assert seed_of({**body, "seed": 2}) != seed_of(body)


@pytest.mark.parametrize(
    ("asked", "length", "wanted"),
    [
        ("Begin your answer with gp-0a-7, then write a story of about 30 words.", None, 30),
        ("Begin your answer with gp-0a-7, then write a story of about 30 words.", 12, 12),
        ("Begin your answer with gp-0a-7.", None, 20),
        ("Begin your answer with gp-0a-7 of about 2 words.", None, 6),
    ],
    ids=["as-asked", "as-the-length-says", "prose", "no-shorter-than-its-begin"],
)
def test_prose_begins_and_ends_as_asked(asked: str, length: int | None, wanted: int) -> None:
    """Prose begins with the word that was asked for, and has about as many tokens as words."""
    tokens = speak({"messages": [{"role": "user", "content": asked}]}, length=length).tokens
    said = "".join(tokens)

    assert said.split()[0] == "gp-0a-7"
    assert len(tokens) == wanted if "about" in asked else wanted <= len(tokens) <= 60
    assert tokenize(said) == list(tokens)
