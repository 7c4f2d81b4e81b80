"""Embeddings: of one text and of several, as numbers and as base64, and requests to refuse."""

from typing import Any

from gateproof.scenario import Steps, Use, scenario
from gateproof.transcript import Ask

__all__ = ["DIMENSIONS", "EMPTY", "FORMS", "LENGTH", "LIST", "NO_INPUT", "SINGLE", "TEXTS"]

PATH = "/embeddings"
LENGTH = 256
# Three texts that no model takes for neighbours.
TEXTS = (
    "The café on the pier opens at seven.",
    "A matrix is invertible when its determinant is not zero.",
    "Bake the bread for forty minutes, then let it cool.",
)


def _ask(use: Use, given: Any, *, label: str = "", **more: Any) -> Ask:
    value = {"model": use.model("embeddings"), "input": given, **more}
    return Ask.json(PATH, {k: v for k, v in value.items() if v is not None}, label=label)


@scenario("embeddings.single", needs=["embeddings"], requests=3)
def SINGLE(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Embed one text: as numbers, in the default form, and as base64 where that is claimed."""
    asked = [
        _ask(use, TEXTS[0], encoding_format="float", label="float"),
        _ask(use, TEXTS[0], label="default"),
    ]
    if "embeddings.base64" in use.profile.claims:
        asked.append(_ask(use, TEXTS[0], encoding_format="base64", label="base64"))
    yield asked


@scenario("embeddings.list", needs=["embeddings"], requests=1)
def LIST(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Embed three texts at once."""
    yield _ask(use, list(TEXTS), encoding_format="float")


@scenario("embeddings.dimensions", needs=["embeddings"], requests=1)
def DIMENSIONS(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask for shorter vectors."""
    yield _ask(use, TEXTS[0], encoding_format="float", dimensions=LENGTH)


@scenario("embeddings.forms", needs=["embeddings"], requests=4)
def FORMS(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Give the input in all four forms: a text, texts, tokens, and lists of tokens."""
    yield [
        _ask(use, "hello", label="a string"),
        _ask(use, ["hello", "world"], label="a list of strings"),
        _ask(use, [15339, 1917], label="tokens"),
        _ask(use, [[15339], [1917]], label="lists of tokens"),
    ]


@scenario("embeddings.empty", needs=["embeddings"], requests=1)
def EMPTY(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Send an empty list of inputs."""
    yield _ask(use, [])


@scenario("embeddings.no-input", needs=["embeddings"], requests=1)
def NO_INPUT(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Leave out the input."""
    yield _ask(use, None)
