"""Checks of image generation: how many come, in which form, and what is refused."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from gateproof.check import Place, Untestable, check, expect
from gateproof.dialects import openai
from gateproof.transcript import Exchange, Transcript

from .reading import accepted, clean_refusal, each
from .refusal import turned_down
from .scenarios.images import COUNT, FORMS, IMAGES, NO_PROMPT

# How the files of images begin: PNG, JPEG, GIF, WebP.
MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"RIFF")


def entries(exchange: Exchange) -> list[Mapping[str, Any]]:
    """Return the entries of an answer; ``Untestable`` when it has none."""
    found = list(openai.objects(openai.answer(exchange).get("data")))
    if not found:
        raise Untestable("the answer has no data (see img.answers)")
    return found


@check("img.answers", on=[IMAGES])
def test_images_are_made(seen: Transcript) -> None:
    """A prompt is answered with 200, created, and as many entries as asked for."""
    accepted(seen[0], wanted=f"200 and {COUNT} images")
    value = openai.answer(seen[0])
    created = value.get("created")
    expect(openai.is_int(created), wanted="created: an integer", got=f"created: {created!r}")
    data = value.get("data")
    count = len(data) if isinstance(data, list) else 0
    expect(count == COUNT, wanted=f"{COUNT} entries in data", got=f"{count} of them")


@check("img.b64-or-url", on=[IMAGES, FORMS])
def test_images_come_as_asked(seen: Transcript) -> str:
    """Each image comes as response_format asks: as base64 of an image, or by url."""
    told = []
    for at, exchange in each(seen):
        label = exchange.ask.label
        got = openai.response(exchange)
        if label and got.status in (400, 422) and clean_refusal(got):
            told.append(f"{label} refused")
            continue
        for entry in entries(exchange):
            form = _form(entry, at)
            # Newer models give base64 whatever is asked for.
            expect(
                not label or form in (label, "b64_json"),
                wanted=f"an image as {label}",
                got=f"{form} alone",
                at=at,
            )
            told.append(f"{label or 'default'} as {form}")
    return ", ".join(dict.fromkeys(told))


def _form(entry: Mapping[str, Any], at: Place) -> str:
    """Return the form that an image has; a finding when it has none."""
    text = entry.get("b64_json")
    if isinstance(text, str) and text:
        try:
            raw = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        expect(raw.startswith(MAGIC), wanted="base64 of an image", got=text[:60], at=at)
        return "b64_json"
    url = entry.get("url")
    expect(
        isinstance(url, str) and url.startswith(("https://", "http://", "data:image/")),
        wanted="b64_json or url",
        got={name: str(value)[:60] for name, value in entry.items()},
        at=at,
    )
    return "url"


@check("img.missing-prompt", on=[NO_PROMPT])
def test_missing_prompt_is_refused(seen: Transcript) -> None:
    """A request without a prompt is refused with a 4xx and an error."""
    turned_down(seen[0], wanted="a 4xx and an error without a prompt", saying_why=True)
