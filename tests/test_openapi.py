"""A document is bundled into one object, and narrowed for generated requests."""

import json
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator
from schemathesis import Case, GenerationMode, openapi

from gateproof.openapi import generation_document, load_document
from gateproof.profile import load_profile, profile_names

CHAT = "/chat/completions"


def request_validator(document: dict[str, Any], path: str, method: str) -> Draft202012Validator:
    """Return a validator of an operation's JSON bodies in a bundled document."""
    body = document["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"]
    return Draft202012Validator({**body, "components": document["components"]})


def test_shared_parts_are_brought_in() -> None:
    """A part of another file becomes a local component with the file's name before its own."""
    schemas = load_document(load_profile("osmapi"))["components"]["schemas"]

    message = schemas["ChatRequest"]["properties"]["messages"]["items"]

    assert message == {"$ref": "#/components/schemas/openai.Message"}
    assert schemas["openai.Message"]["oneOf"][1] == {
        "$ref": "#/components/schemas/openai.UserMessage"
    }


def test_a_discriminator_is_brought_in() -> None:
    """The mapping of a discriminator names the local components too."""
    schemas = load_document(load_profile("lunos"))["components"]["schemas"]

    assert schemas["Completion"]["discriminator"]["mapping"] == {
        "text_completion": "#/components/schemas/openai.Completion",
        "completion": "#/components/schemas/OwnCompletion",
    }


@pytest.mark.parametrize("name", profile_names())
def test_no_reference_leaves_the_document(name: str) -> None:
    """A bundled document refers to nothing outside itself."""
    text = json.dumps(load_document(load_profile(name)))

    assert text.count('"$ref": "') == text.count('"$ref": "#/')


def test_the_document_is_the_callers_own() -> None:
    """Changing a loaded document does not change the next one."""
    profile = load_profile("openai")
    load_document(profile)["info"].clear()

    assert load_document(profile)["info"]["title"] == "OpenAI-compatible API"


def test_unclaimed_capabilities_are_not_generated() -> None:
    """Members and alternatives of a capability that the target lacks are left out."""
    profile = load_profile("openai")
    claims = {"chat", "chat.system", "tools", "tools.auto"}

    document = generation_document(profile, claims)
    schemas = document["components"]["schemas"]

    assert list(schemas["ChatRequest"]["properties"]) == [
        "model",
        "messages",
        "temperature",
        "top_p",
        "presence_penalty",
        "frequency_penalty",
        "user",
        "tools",
        "tool_choice",
        "response_format",
    ]
    assert schemas["ToolChoiceToGenerate"]["anyOf"] == [
        {"const": "auto", "x-gateproof-capability": "tools.auto"}
    ]
    assert len(schemas["ConversationToGenerate"]["anyOf"]) == 2


def test_no_alternative_is_left() -> None:
    """A choice none of whose alternatives is claimed can be met by nothing, and is valid still."""
    document = generation_document(load_profile("osmapi"), {"chat", "tools"})
    request = document["components"]["schemas"]["ChatRequest"]

    assert request["properties"]["tool_choice"] == {"anyOf": [False]}


def test_unclaimed_operations_are_not_generated() -> None:
    """An operation of a capability that the target lacks is left out, and links to it with it."""
    profile = load_profile("openai")

    paths = generation_document(profile, {"chat", "models"})["paths"]

    assert list(paths) == [CHAT, "/models"]
    assert paths["/models"]["get"]["responses"]["200"]["links"] == {}


def test_what_cannot_be_generated_fairly_is_left_out() -> None:
    """An operation that says why it is not generated is left out, whatever is claimed."""
    profile = load_profile("openai")

    paths = generation_document(profile, profile.claims_with(profile.groups))["paths"]

    assert list(paths) == [CHAT, "/models", "/models/{model}", "/completions", "/embeddings"]


def test_a_parameter_that_cannot_be_generated_fairly_is_left_out() -> None:
    """A parameter that says why it is not generated is left out of its operations."""
    document = generation_document(load_profile("anthropic"))

    assert document["paths"]["/messages"]["post"]["parameters"] == [
        {"$ref": "#/components/parameters/Version"}
    ]


def test_a_narrower_schema_of_another_file_is_brought_in() -> None:
    """A schema shared with another document keeps its narrower form."""
    profile = load_profile("osmapi")

    document = generation_document(profile, {"chat", "embeddings"})
    schemas = document["components"]["schemas"]

    assert schemas["openai.EmbeddingRequest"]["title"] == "Embedding request, as generated"
    assert schemas["openai.EmbeddingRequest"]["properties"]["encoding_format"] == {
        "anyOf": [{"const": "float"}]
    }


def generated(name: str) -> list[tuple[str, str]]:
    """Name the operations of a profile, its groups too, whose bodies are generated."""
    profile = load_profile(name)
    document = generation_document(profile, profile.claims_with(profile.groups))
    return [
        (path, method)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if "requestBody" in operation
    ]


@pytest.mark.parametrize(
    ("name", "path", "method"),
    [(name, path, method) for name in profile_names() for path, method in generated(name)],
)
def test_generated_requests_are_valid(name: str, path: str, method: str) -> None:
    """What is generated as acceptable is valid by the full request schema, and JSON."""
    profile = load_profile(name)
    claims = profile.claims_with(profile.groups)
    document = load_document(profile)
    whole = request_validator(document, path, method)
    operation = openapi.from_dict(generation_document(profile, claims))[path][method.upper()]

    @given(operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    @settings(
        max_examples=20,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def check(case: Case[Any]) -> None:
        assert [error.message for error in whole.iter_errors(case.body)] == []
        json.dumps(case.body, ensure_ascii=False).encode()
        assert isinstance(case.body, dict)
        assert "stream_options" not in case.body or case.body["stream"] is True
        assert "tool_choice" not in case.body or "tools" in case.body

    check()
