"""Structured outputs through the client's parse helpers."""

import enum

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel, Field

MODEL = "gpt-4o-mini"


class Size(enum.StrEnum):
    """How big a thing is."""

    SMALL = "small"
    LARGE = "large"


class Part(BaseModel):
    """A part of a thing."""

    name: str = Field(description="what it is called")
    weight: float


class Thing(BaseModel):
    """A thing with parts, one of which may be another thing's."""

    title: str
    size: Size
    count: int = Field(ge=1, le=9)
    parts: list[Part]
    spare: Part | None
    kind: Part | str


def ask(text):
    """Return the messages of one question."""
    return [{"role": "user", "content": text}]


def test_answer_is_parsed(client: OpenAI) -> None:
    """An answer that keeps to a strict schema becomes an object of the model."""
    answer = client.chat.completions.parse(
        model=MODEL, messages=ask("Describe a thing"), response_format=Thing
    )

    message = answer.choices[0].message
    assert isinstance(message.parsed, Thing)
    assert Thing.model_validate_json(message.content) == message.parsed
    assert message.refusal is None


def test_stream_is_parsed(client: OpenAI) -> None:
    """A stream with a strict schema ends with the same object."""
    whole = client.chat.completions.parse(
        model=MODEL, messages=ask("Describe a thing"), response_format=Thing
    )
    with client.chat.completions.stream(
        model=MODEL, messages=ask("Describe a thing"), response_format=Thing
    ) as stream:
        (done,) = [event for event in stream if event.type == "content.done"]
        final = stream.get_final_completion()

    assert done.parsed == final.choices[0].message.parsed == whole.choices[0].message.parsed


def test_cut_answer_is_told_apart(client: OpenAI) -> None:
    """An answer that a limit has cut is not parsed but raised as such."""
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(
            model=MODEL, messages=ask("Describe"), response_format=Thing, max_tokens=2
        )


def test_filtered_answer_is_told_apart(client: OpenAI) -> None:
    """An answer that a filter has ended is not parsed but raised as such."""
    with pytest.raises(openai.ContentFilterFinishReasonError):
        client.chat.completions.parse(
            model=f"{MODEL}+finish=content_filter", messages=ask("Describe"), response_format=Thing
        )
