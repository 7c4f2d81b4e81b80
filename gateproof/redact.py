"""Cover secrets before anything is kept: same length, same place, and a mark that tells which.

A covered transcript keeps every offset, every length and the framing around a secret, so that
checks judge marks instead of keys and a recorded run is judged exactly as the live one was. A
secret is found as it is, percent-, JSON-, HTML- or base64-encoded (each of its characters in
whatever way), split over reads or over the chunks of a chunked body, and inside a compressed body.
A compressed body is covered as a whole when it holds a secret, or when it cannot be looked into.
"""

import base64
import itertools
import re
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from gateproof.errors import UsageError
from gateproof.transcript import Mark
from gateproof.wire import Read

__all__ = ["MIN_SECRET_LENGTH", "cover_reads", "cover_text", "require_coverable"]

FILLER = b"*"
MIN_SECRET_LENGTH = 6  # shorter ones stand in ordinary text, and covering them would garble it
_MAX_INFLATED_BYTES = 32 * 1024 * 1024
_INFLATE_STEP = 4096  # bytes at a time; deflate expands at most a thousand times
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_INTERIM = re.compile(rb"HTTP/[0-9.]+ 1[0-9][0-9]")
_CHUNK_HEAD = re.compile(rb"([0-9A-Fa-f]{1,20})[^\r\n]*\r?\n")


class _Found(NamedTuple):
    """A secret in some bytes."""

    start: int
    end: int
    name: str
    encoding: str


class _Payload(NamedTuple):
    """The bytes of a response's body: where they stand, and how they are encoded."""

    spans: list[tuple[int, int]]
    encodings: list[str]


def require_coverable(name: str, value: str) -> None:
    """Refuse a secret that is too short to be told apart from ordinary text."""
    if len(value) < MIN_SECRET_LENGTH:
        raise UsageError(
            f"The secret in ${name} is {len(value)} characters long; at least "
            f"{MIN_SECRET_LENGTH} are needed to find and cover it in what is recorded.",
            "Give the target a longer key for this run.",
        )


def cover_text(text: str, secrets: Mapping[str, str]) -> str:
    """Cover every secret in a text that is about to be shown or written.

    Its length in UTF-8 stays; what UTF-8 cannot carry becomes U+FFFD.
    """
    data = bytearray(text.encode("utf-8", errors="surrogatepass"))
    for found in _find(bytes(data), secrets):
        _fill(data, found.start, found.end)
    return data.decode("utf-8", errors="replace")


def cover_reads(
    reads: Sequence[Read],
    secrets: Mapping[str, str],
    part: Literal["sent", "received"],
) -> tuple[tuple[Read, ...], tuple[Mark, ...]]:
    """Cover every secret in the bytes of one direction; reads keep their sizes and times."""
    if not secrets:
        return tuple(reads), ()
    raw = b"".join(read.data for read in reads)
    data = bytearray(raw)
    found = list(_find(raw, secrets))
    for one in found:
        _fill(data, one.start, one.end)
    if part == "received":
        found += _cover_body(data, raw, secrets)
    if not found:
        return tuple(reads), ()
    ends = list(itertools.accumulate(len(read.data) for read in reads))
    covered = tuple(
        Read(read.at_ns, bytes(data[end - len(read.data) : end]))
        for read, end in zip(reads, ends, strict=True)
    )
    marks = (
        Mark(one.name, part, one.start, one.end - one.start, one.encoding)
        for one in _outermost(found)
    )
    return covered, tuple(marks)


def _find(data: bytes, secrets: Mapping[str, str]) -> Iterator[_Found]:
    """Find secrets in bytes as they are; matches may overlap."""
    for name, value in secrets.items():
        for kind, pattern in _patterns(value):
            for match in pattern.finditer(data):
                encoding = kind or _encoding_of(match.group(), value)
                yield _Found(match.start(), match.end(), name, encoding)


def _outermost(found: Sequence[_Found]) -> Iterator[_Found]:
    """Leave out what lies inside another: a secret that is part of another, or found twice."""
    end = -1
    for one in sorted(found, key=lambda one: (one.start, -one.end)):
        if one.end > end:
            yield one
            end = one.end


def _encoding_of(form: bytes, value: str) -> str:
    if form.decode("ascii") in value:
        return "plain"
    return "json" if b"\\" in form else "html" if b"&" in form else "percent"


def _fill(data: bytearray, start: int, end: int) -> None:
    data[start:end] = FILLER * (end - start)


@lru_cache(maxsize=64)
def _patterns(value: str) -> tuple[tuple[str, re.Pattern[bytes]], ...]:
    """Return what finds a secret, in two kinds: character by character, and base64."""
    # "Bearer TOKEN" as a header's value: what a gateway echoes is the token alone.
    words = {value, value.rsplit(maxsplit=1)[-1]} if value.strip() else {value}
    made = []
    for word in sorted(words, key=len, reverse=True):
        if len(word) < MIN_SECRET_LENGTH:
            continue
        made.append(("", re.compile(b"".join(_character(c) for c in word))))
        raw = word.encode()
        for lead in range(3):  # base64 looks different at each position modulo three
            text = base64.b64encode(b"\0" * lead + raw).decode("ascii")
            # Only the characters that are the secret's alone, whatever stands around it.
            form = text[(lead * 8 + 5) // 6 : ((lead + len(raw)) * 8) // 6]
            if len(form) >= MIN_SECRET_LENGTH:
                made.append(("base64", re.compile(b"".join(_base64(c) for c in form))))
    return tuple(made)


@lru_cache(maxsize=256)
def _character(char: str) -> bytes:
    """Return a pattern of one character in any spelling, escaped once or several times."""
    code = "".join(
        f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in f"{ord(char):02x}"
    )
    # Repetitions are bounded, so that a body of nothing but backslashes costs no more than another.
    slashes = r"\\\\{0,7}"
    ways = [re.escape(char), f"%(?:25){{0,3}}{code}", f"{slashes}u00{code}", f"{slashes}x{code}"]
    if not char.isalnum():
        entities = [f"#0{{0,5}}{ord(char)}", f"#[xX]0{{0,5}}{code}"]
        entities += [name for c, name in _HTML_NAMES if c == char]
        ways += [slashes + re.escape(char), f"&(?:amp;){{0,3}}(?:{'|'.join(entities)});"]
    if char == " ":
        ways.append(r"\+")
    return f"(?:{'|'.join(ways)})".encode()


_HTML_NAMES = (("&", "amp"), ("<", "lt"), (">", "gt"), ('"', "quot"), ("'", "apos"))


def _base64(char: str) -> bytes:
    """Return a pattern of one base64 character, of the plain or of the URL alphabet."""
    other = {"+": "-", "/": "_"}.get(char)
    return b"(?:%b|%b)" % (_character(char), _character(other)) if other else _character(char)


def _cover_body(data: bytearray, raw: bytes, secrets: Mapping[str, str]) -> list[_Found]:
    """Cover in ``data`` what can only be seen in the body: joined from chunks, or inflated."""
    payload = _payload(raw)
    if payload is None or not payload.spans:
        return []
    body = b"".join(raw[start:end] for start, end in payload.spans)
    starts = list(itertools.accumulate((e - s for s, e in payload.spans), initial=0))[:-1]
    found = list(_find(body, secrets)) if len(payload.spans) > 1 else []
    if payload.encodings:
        inflated = _inflate(body, payload.encodings)
        encoding = ", ".join(payload.encodings)
        if inflated is None:
            found.append(_Found(0, len(body), "", f"{encoding}: cannot be looked into"))
        else:
            names = {one.name for one in _find(inflated, secrets)}
            found += [_Found(0, len(body), name, encoding) for name in sorted(names)]
    placed = []
    for one in found:
        first = bisect_right(starts, one.start) - 1
        last = bisect_right(starts, one.end - 1) - 1
        for index in range(first, last + 1):
            low, high = payload.spans[index]
            shift = low - starts[index]
            _fill(data, max(low, one.start + shift), min(high, one.end + shift))
        start = one.start + payload.spans[first][0] - starts[first]
        end = one.end + payload.spans[last][0] - starts[last]
        placed.append(_Found(start, end, one.name, one.encoding))
    return placed


def _payload(raw: bytes) -> _Payload | None:
    """Find the body of a response, chunk by chunk; it forgives what a parser would refuse."""
    at = 0
    while True:
        blank = _HEAD_END.search(raw, at)
        if blank is None:
            return None
        if not _INTERIM.match(raw, at):
            break
        at = blank.end()
    fields: dict[bytes, bytes] = {}
    for line in raw[at : blank.start()].splitlines()[1:]:
        name, _, value = line.partition(b":")
        name = name.strip().lower()
        fields[name] = fields.get(name, b"") + b"," + value.strip().lower()
    coded = fields.get(b"content-encoding", b"").decode("latin-1").split(",")
    encodings = [word for word in map(str.strip, coded) if word not in ("", "identity")]
    at = blank.end()
    spans = []
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        while (head := _CHUNK_HEAD.match(raw, at)) and (size := int(head[1], 16)):
            at = head.end() + size
            spans.append((head.end(), min(at, len(raw))))
            at += 2 if raw[at : at + 2] == b"\r\n" else 0
    if not spans and at < len(raw):
        spans.append((at, len(raw)))
    return _Payload([(start, end) for start, end in spans if start < end], encodings)


def _inflate(body: bytes, encodings: Sequence[str]) -> bytes | None:
    """Undo content encodings as far as the bytes go; ``None`` for one that we cannot undo."""
    for encoding in reversed(encodings):
        if encoding not in ("gzip", "x-gzip", "deflate"):
            return None
        ways = (31,) if encoding != "deflate" else (15, -15)
        tried = [_inflate_once(body, wbits) for wbits in ways]
        if None in tried:
            return None
        body = max((found for found in tried if found is not None), key=len)
    return body


def _inflate_once(body: bytes, wbits: int) -> bytes | None:
    """Inflate member by member up to the first error; ``None`` when it grows without measure."""
    out = bytearray()
    machine = zlib.decompressobj(wbits)
    at = 0
    while at < len(body):
        step = body[at : at + _INFLATE_STEP]
        at += len(step)
        try:
            out += machine.decompress(step)
        except zlib.error:
            break
        if len(out) > _MAX_INFLATED_BYTES:
            return None
        if machine.eof:
            at -= len(machine.unused_data)
            machine = zlib.decompressobj(wbits)
    return bytes(out)
