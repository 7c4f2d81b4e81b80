"""Cover secrets before anything is kept: same length, same place, and a mark that tells which.

A covered transcript keeps every offset and every length, so that checks judge marks instead of
keys and a recorded run is judged exactly as the live one was. A secret is found as it is, percent-,
JSON- or base64-encoded, split over reads or over the chunks of a chunked body, and inside a
compressed body (whose bytes are then covered as a whole).
"""

import base64
import json
import re
import urllib.parse
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Literal

from gateproof.errors import UsageError
from gateproof.transcript import Mark
from gateproof.wire import Read, parse_response

__all__ = ["cover_reads", "cover_text", "require_coverable"]

FILLER = b"*"
MIN_SECRET_LENGTH = 6  # shorter ones stand in ordinary text, and covering them would garble it
_MAX_INFLATED_BYTES = 32 * 1024 * 1024
_LABEL = re.compile(rb"(?i)content-encoding")
_CHUNK_BORDER = rb"(?:\r\n[0-9A-Fa-f]{1,16}[^\r\n]{0,64}\r\n)?"


def require_coverable(name: str, value: str) -> None:
    """Refuse a secret that is too short to be told apart from ordinary text."""
    if len(value) < MIN_SECRET_LENGTH:
        raise UsageError(
            f"The secret in ${name} is {len(value)} characters long; at least "
            f"{MIN_SECRET_LENGTH} are needed to find and cover it in what is recorded.",
            "Give the target a longer key for this run.",
        )


def cover_text(text: str, secrets: Mapping[str, str]) -> str:
    """Cover every secret in a text that is about to be shown or written."""
    data = text.encode("utf-8", errors="surrogatepass")
    for value in secrets.values():
        for _, pattern in _patterns(value):
            data = pattern.sub(lambda match: FILLER * len(match.group()), data)
    return data.decode("utf-8", errors="replace")


def cover_reads(
    reads: Sequence[Read],
    secrets: Mapping[str, str],
    part: Literal["sent", "received"],
) -> tuple[tuple[Read, ...], tuple[Mark, ...]]:
    """Cover every secret in the bytes of one direction; reads keep their sizes and times."""
    data = bytearray(b"".join(read.data for read in reads))
    marks: list[Mark] = []
    for name, value in secrets.items():
        for encoding, pattern in _patterns(value):
            for match in pattern.finditer(bytes(data)):
                _cover_match(data, match)
                marks.append(Mark(name, part, match.start(), match.end() - match.start(), encoding))
    if part == "received":
        marks += _cover_compressed(data, reads, secrets)
    if not marks:
        return tuple(reads), ()
    covered = []
    at = 0
    for read in reads:
        covered.append(Read(read.at_ns, bytes(data[at : at + len(read.data)])))
        at += len(read.data)
    return tuple(covered), tuple(sorted(marks, key=lambda mark: mark.offset))


def _cover_match(data: bytearray, match: re.Match[bytes]) -> None:
    """Cover the secret's own bytes and leave the borders of chunks between them as they are."""
    start, end = match.span()
    borders = re.finditer(rb"\r\n[0-9A-Fa-f]{1,16}[^\r\n]{0,64}\r\n", match.group())
    kept = [(start + b.start(), start + b.end()) for b in borders]
    at = start
    for low, high in [*kept, (end, end)]:
        data[at:low] = FILLER * (low - at)
        at = high


@lru_cache(maxsize=64)
def _patterns(value: str) -> tuple[tuple[str, re.Pattern[bytes]], ...]:
    forms: dict[bytes, str] = {}
    for encoding, form in _forms(value):
        forms.setdefault(form, encoding)
    # Longest first: a longer form may contain a shorter one.
    return tuple(
        (encoding, re.compile(_CHUNK_BORDER.join(re.escape(bytes([c])) for c in form)))
        for form, encoding in sorted(forms.items(), key=lambda item: -len(item[0]))
    )


def _forms(value: str) -> Iterable[tuple[str, bytes]]:
    raw = value.encode()
    yield "plain", raw
    yield "percent", urllib.parse.quote(value, safe="").encode()
    yield "percent", urllib.parse.quote_plus(value).encode()
    yield "percent", "".join(f"%{byte:02X}" for byte in raw).encode()
    yield "percent", "".join(f"%{byte:02x}" for byte in raw).encode()
    escaped = json.dumps(value)[1:-1]
    yield "json", escaped.encode()
    yield "json", escaped.replace("/", "\\/").encode()
    yield "json", "".join(f"\\u{ord(c):04x}" for c in value).encode()
    for lead in range(3):  # base64 looks different at each position modulo three
        padded = base64.b64encode(b"\0" * lead + raw)
        first = (lead * 8 + 5) // 6
        last = ((lead + len(raw)) * 8) // 6
        for form in (padded[first:last], base64.urlsafe_b64encode(b"\0" * lead + raw)[first:last]):
            if len(form) >= MIN_SECRET_LENGTH:
                yield "base64", form


def _cover_compressed(
    data: bytearray, reads: Sequence[Read], secrets: Mapping[str, str]
) -> list[Mark]:
    if not _LABEL.search(data):  # nearly every response: spare the parsing
        return []
    response = parse_response(reads, method="GET", closed=True)
    if response is None:
        return []
    encoding = (response.header("content-encoding") or "").strip().lower()
    wbits = {"gzip": 31, "x-gzip": 31, "deflate": 15}.get(encoding)
    if wbits is None:
        return []
    try:
        inflated = zlib.decompressobj(wbits).decompress(response.body, _MAX_INFLATED_BYTES)
    except zlib.error:
        return []
    marks = []
    for name, value in secrets.items():
        for _, pattern in _patterns(value):
            if pattern.search(inflated):
                start = bytes(data).find(b"\r\n\r\n") + 4
                length = len(data) - start
                data[start:] = FILLER * length
                marks.append(Mark(name, "received", start, length, encoding))
                break
    return marks
