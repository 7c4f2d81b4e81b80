"""Images: two of them, one in each form, and a request without a prompt."""

from typing import Any

from gateproof.scenario import Steps, Use, scenario
from gateproof.transcript import Ask

__all__ = ["COUNT", "FORMS", "IMAGES", "NO_PROMPT"]

PATH = "/images/generations"
COUNT = 2
PROMPT = "A red circle on a white ground"


def _ask(use: Use, *, label: str = "", **more: Any) -> Ask:
    value = {"model": use.model("images"), **more}
    # An image takes longer than a text.
    return Ask.json(PATH, value, label=label, idle_timeout_s=max(60, use.target.idle_timeout_s))


@scenario("images.two", needs=["images"], requests=1)
def IMAGES(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask for two images in the default form."""
    yield _ask(use, prompt=PROMPT, n=COUNT)


@scenario("images.forms", needs=["images"], requests=2)
def FORMS(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask for an image as base64, and for one by URL."""
    yield [
        _ask(use, prompt=PROMPT, response_format="b64_json", label="b64_json"),
        _ask(use, prompt=PROMPT, response_format="url", label="url"),
    ]


@scenario("images.no-prompt", needs=["images"], requests=1)
def NO_PROMPT(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Leave out the prompt."""
    yield _ask(use)
