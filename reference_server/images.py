"""Images: small real PNGs whose colours follow from the prompt, as base64 or behind a URL.

A URL is one of this server's own (``/_images/NAME.png``): the name holds the colours, so nothing is
stored and nothing is forgotten.
Source: OpenAI's OpenAPI document 2.3.0, createImage.
"""

import base64
import hashlib
import re
import struct
import time
import zlib

from .access import check_quota, model_of, spend
from .call import Call
from .errors import ApiError
from .jsontext import Json
from .rules import Rule, boolean, nullable, number, one_of, text, wrong_value
from .script import JSON, Reply
from .tokens import count
from .validate import check_fields

__all__ = ["generate", "png", "stored"]

_SIDE = 8
_SIZE = re.compile(r"auto|[1-9][0-9]{1,3}x[1-9][0-9]{1,3}")
_TOKENS_AN_IMAGE = 272  # what the upstream counts for its smallest, of low quality
_NAME = re.compile(r"([0-9a-f]{12})\.png")


def _prompt(value: Json, param: str) -> None:
    text(32_000)(value, param)
    if not value:
        raise wrong_value(param, "a prompt that is not empty")


def _size(value: Json, param: str) -> None:
    text()(value, param)
    if not _SIZE.fullmatch(value):
        raise wrong_value(param, "WIDTHxHEIGHT in pixels, or auto")


_FIELDS: dict[str, Rule] = {
    "model": nullable(text()),
    "prompt": _prompt,
    "n": nullable(number(1, 10, whole=True)),
    "size": nullable(_size),
    "quality": nullable(text()),
    "response_format": nullable(one_of("url", "b64_json")),
    "style": nullable(text()),
    "background": nullable(text()),
    "moderation": nullable(text()),
    "output_format": nullable(one_of("png", "jpeg", "webp")),
    "output_compression": nullable(number(0, 100, whole=True)),
    "stream": nullable(boolean),
    "user": text(),
}


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(seed: bytes) -> bytes:
    """Make an image of eight by eight pixels in two colours; six bytes decide all of it."""
    one, other = seed[:3], seed[3:6]
    rows = b"".join(
        b"\0" + b"".join(one if (x // 2 + y // 2) % 2 else other for x in range(_SIDE))
        for y in range(_SIDE)
    )
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(rows, 9))
        + _chunk(b"IEND", b"")
    )


def generate(call: Call, *, does: str = "images") -> Reply:
    """Answer ``POST /images/generations``."""
    if call.problem is not None:
        raise call.problem
    payload = call.payload
    check_fields(payload, _FIELDS, "prompt")
    drawers = (name for name in call.profile.listed if does in call.profile.models[name].does)
    name = payload.get("model") or next(drawers)
    model = model_of(call, name, does)
    check_quota(call)
    if payload.get("stream"):
        raise ApiError(
            400, "Images are not streamed here.", param="stream", code="unsupported_value"
        )
    if payload.get("output_format") not in (None, "png"):
        raise ApiError(
            400, "Only png is made here.", param="output_format", code="unsupported_value"
        )
    # The upstream's older models give addresses unless told otherwise, its newer ones base64.
    form = payload.get("response_format") or ("url" if "dall-e" in model.name else "b64_json")
    number_of = int(payload.get("n") or 1)
    prompt = payload["prompt"]
    read, written = count(prompt), _TOKENS_AN_IMAGE * number_of
    spend(call, model, read, written, name=name)
    data = []
    for place in range(number_of):
        plan = f"{name}\0{prompt}\0{place}".encode("utf-8", "replace")
        seed = hashlib.blake2b(plan, digest_size=6).digest()
        if form == "url":
            data.append({"url": f"{_origin(call)}/_images/{seed.hex()}.png"})
        else:
            data.append({"b64_json": base64.b64encode(png(seed)).decode()})
    body = {
        "created": int(time.time()),
        "data": data,
        "usage": {
            "input_tokens": read,
            "output_tokens": written,
            "total_tokens": read + written,
            "input_tokens_details": {"text_tokens": read, "image_tokens": 0},
        },
    }
    return Reply(200, (JSON,), body=body, at_ns=call.timing.ttft_ns)


def _origin(call: Call) -> str:
    return f"http://{call.header('host') or '127.0.0.1'}"


def stored(name: str) -> bytes | None:
    """Return the image behind a name that an answer gave, or None."""
    found = _NAME.fullmatch(name)
    return png(bytes.fromhex(found.group(1))) if found else None
