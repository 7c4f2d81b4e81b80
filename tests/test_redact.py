"""No secret stays in what is kept, in any spelling, and nothing but the secret changes."""

import base64
import gzip
import html
import itertools
import json
import urllib.parse
import zlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateproof.errors import UsageError
from gateproof.redact import cover_reads, cover_text, require_coverable
from gateproof.transcript import Mark
from gateproof.wire import Read, parse_response

SECRET = 'sk-a1/B2+c3="d4&%e5'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"


def deflate_raw(data: bytes) -> bytes:
    """Compress without a zlib header, as some servers understand ``deflate``."""
    machine = zlib.compressobj(wbits=-15)
    return machine.compress(data) + machine.flush()


SPELLINGS: dict[str, tuple[str, Callable[[str], str]]] = {
    "plain": ("plain", lambda s: s),
    "URL, all reserved": ("percent", lambda s: urllib.parse.quote(s, safe="")),
    "URL, slash kept": ("percent", urllib.parse.quote),
    "URL, lower case": ("percent", lambda s: "".join(f"%{ord(c):02x}" for c in s)),
    "URL, twice": ("percent", lambda s: urllib.parse.quote(urllib.parse.quote(s))),
    "JSON": ("json", lambda s: json.dumps(s)[1:-1]),
    "JSON, slash escaped": ("json", lambda s: json.dumps(s)[1:-1].replace("/", "\\/")),
    "JSON, all escaped": ("json", lambda s: "".join(f"\\u{ord(c):04X}" for c in s)),
    "JSON, some escaped": (
        "json",
        lambda s: s.replace("+", "\\u002B").replace('"', "\\u0022").replace("&", "\\u0026"),
    ),
    "JSON in JSON": ("json", lambda s: json.dumps(json.dumps(s))[3:-3]),
    "string literal": ("json", lambda s: "".join(f"\\x{ord(c):02x}" for c in s)),
    "HTML": ("html", html.escape),
    "HTML, numbered": ("html", lambda s: s.replace("&", "&#38;").replace("/", "&#x2F;")),
    "base64": ("base64", lambda s: base64.b64encode(s.encode()).decode()),
    "base64, one before": ("base64", lambda s: base64.b64encode(b":" + s.encode()).decode()),
    "base64, two before": ("base64", lambda s: base64.b64encode(b"u:" + s.encode()).decode()),
    "base64, some behind": ("base64", lambda s: base64.b64encode(s.encode() + b"xy").decode()),
    "base64, URL alphabet": (
        "base64",
        lambda s: base64.urlsafe_b64encode(b"user:" + s.encode() + b"?").decode(),
    ),
    "base64 in a URL": (
        "base64",
        lambda s: urllib.parse.quote(base64.b64encode(s.encode()), safe=""),
    ),
}

COMPRESSIONS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "gzip in two members": ("gzip", lambda b: gzip.compress(b"x" * 9) + gzip.compress(b)),
    "gzip cut off": ("gzip", lambda b: gzip.compress(b)[:-5]),
    "gzip with a tail": ("gzip", lambda b: gzip.compress(b) + b"tail"),
    "deflate": ("deflate", zlib.compress),
    "deflate without header": ("deflate", deflate_raw),
    "twice": ("deflate, gzip", lambda b: gzip.compress(zlib.compress(b))),
}


def chunked(parts: Sequence[bytes], extension: bytes = b"") -> bytes:
    """Frame parts as the chunks of a body."""
    framed = [b"%x%b\r\n%b\r\n" % (len(p), extension, p) for p in parts if p]
    return b"".join(framed) + b"0\r\n\r\n"


def cover(data: bytes, **secrets: str) -> tuple[bytes, tuple[Mark, ...]]:
    """Cover the bytes of one read and return them with the marks."""
    reads, marks = cover_reads([Read(0, data)], secrets or {"KEY": SECRET}, "received")
    assert len(reads[0].data) == len(data)
    return reads[0].data, marks


@pytest.mark.parametrize(("encoding", "spell"), SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("step", [1, 7, 10_000], ids=["one byte", "seven bytes", "whole"])
def test_a_secret_is_found_in_every_spelling(
    encoding: str, spell: Callable[[str], str], step: int
) -> None:
    """A secret is covered however it is spelt and split, and the rest stays as it was."""
    form = spell(SECRET).encode()
    data = HEAD + b'\r\n{"error": "wrong key ' + form + b'!"}'
    reads = [Read(at, data[at : at + step]) for at in range(0, len(data), step)]
    covered, marks = cover_reads(reads, {"KEY": SECRET}, "received")
    got = b"".join(read.data for read in covered)
    start = marks[0].offset
    end = start + marks[0].length

    assert [(len(read.data), read.at_ns) for read in covered] == [
        (len(read.data), read.at_ns) for read in reads
    ]
    assert [(mark.name, mark.part, mark.encoding) for mark in marks] == [
        ("KEY", "received", encoding)
    ]
    assert (got[:start], got[start:end], got[end:]) == (
        data[:start],
        b"*" * (end - start),
        data[end:],
    )
    # Base64 keeps the two characters at each end that the secret's neighbours share.
    slack = 4 if encoding == "base64" else 0
    at = data.index(form)
    assert at <= start <= at + slack + 4
    assert end >= at + len(form) - slack - 4
    assert slack or (start, end) == (at, at + len(form))


@pytest.mark.parametrize("size", range(1, len(SECRET)))
def test_a_secret_is_found_over_the_borders_of_chunks(size: int) -> None:
    """A secret split over chunks is covered; sizes, extensions and line ends stay."""
    body = b"wrong key " + SECRET.encode() + b", sorry"
    safe = body.replace(SECRET.encode(), b"*" * len(SECRET))
    head = HEAD + b"transfer-encoding: chunked\r\n\r\n"
    sent, wanted = (
        chunked([text[at : at + size] for at in range(0, len(body), size)], b";x=" + b"y" * 100)
        for text in (body, safe)
    )
    got, marks = cover(head + sent)

    assert got == head + wanted
    assert {mark.name for mark in marks} == {"KEY"}


@pytest.mark.parametrize(("coding", "compress"), COMPRESSIONS.values(), ids=COMPRESSIONS)
@pytest.mark.parametrize("framing", ["sized", "chunked"])
def test_a_compressed_body_is_covered_as_a_whole(
    coding: str, compress: Callable[[bytes], bytes], framing: str
) -> None:
    """A compressed body that holds a secret is covered whole, and its framing stays readable."""
    body = compress(b"x" * 5000 + SECRET.encode() + b"y")
    head = b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"content-encoding: %b\r\n" % coding.encode()
    if framing == "sized":
        data = head + b"content-length: %d\r\n\r\n" % len(body) + body
    else:
        parts = [body[at : at + 20] for at in range(0, len(body), 20)]
        data = head + b"transfer-encoding: chunked\r\n\r\n" + chunked(parts)
    got, marks = cover(data)
    response = parse_response([Read(0, got)], method="GET", closed=True)

    assert response is not None
    assert (response.status, response.complete, response.error) == (200, True, "")
    assert response.body == b"*" * len(body)
    assert [(mark.name, mark.encoding) for mark in marks] == [("KEY", coding)]


@pytest.mark.parametrize(
    ("coding", "body", "wanted"),
    [
        (b"gzip", gzip.compress(b"nothing here"), None),
        (b"gzip", b"not compressed at all", None),
        (b"identity", b"plain", None),
        (b"br", b"\x0b\x02\x80whatever\x03", "br: cannot be looked into"),
        (b"gzip", gzip.compress(b"\0" * (33 << 20)), "gzip: cannot be looked into"),
    ],
    ids=["no secret", "a wrong header", "identity", "unknown", "a bomb"],
)
def test_only_what_may_hold_a_secret_is_covered(
    coding: bytes, body: bytes, wanted: str | None
) -> None:
    """A body without a secret stays; one that cannot be looked into is covered."""
    data = HEAD + b"content-encoding: %b\r\n\r\n" % coding + body
    got, marks = cover(data)

    assert [mark.encoding for mark in marks] == ([wanted] if wanted else [])
    assert got == (data[: -len(body)] + b"*" * len(body) if wanted else data)


def test_marks_tell_secrets_apart() -> None:
    """Each mark names its variable; a secret that is part of another makes no mark of its own."""
    data = b"a: sk-longer-one-and-more, sk-longer-one; sk-longer-onesk-other-2"
    got, marks = cover(data, SHORT="sk-longer-one", LONG="sk-longer-one-and-more", TWO="sk-other-2")

    assert got == b"a: " + b"*" * 22 + b", " + b"*" * 13 + b"; " + b"*" * 23
    assert marks == (
        Mark("LONG", "received", 3, 22, "plain"),
        Mark("SHORT", "received", 27, 13, "plain"),
        Mark("SHORT", "received", 42, 13, "plain"),
        Mark("TWO", "received", 55, 10, "plain"),
    )


def test_secrets_that_overlap_are_covered_both() -> None:
    """Where two secrets share characters, both are covered to their ends."""
    got, _ = cover(b"[abcdefghijkl]", ONE="abcdefgh", TWO="efghijkl")

    assert got == b"[" + b"*" * 12 + b"]"


def test_the_token_of_a_header_value_is_a_secret_too() -> None:
    """Of a header's value with a scheme the token alone is found as well."""
    got, _ = cover(b"key: sk-token-1, header: Bearer sk-token-1", KEY="Bearer sk-token-1")

    assert got == b"key: " + b"*" * 10 + b", header: " + b"*" * 17


def test_bytes_without_a_secret_stay_the_same_objects() -> None:
    """Reads without a secret are handed back untouched."""
    reads = (Read(1, b"HTTP/1.1 200 OK\r\n\r\n"), Read(2, b"hello"))

    assert cover_reads(reads, {"KEY": SECRET}, "received") == (reads, ())
    assert cover_reads(reads, {}, "sent") == (reads, ())


def test_a_text_keeps_its_length() -> None:
    """A text is covered in place; what no file can hold is replaced."""
    assert cover_text(f"wrong key {SECRET}: é", {"KEY": SECRET}) == (
        f"wrong key {'*' * len(SECRET)}: é"
    )
    assert (
        cover_text("a\ud800b", {"KEY": SECRET}).encode()
        == b"a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdb"
    )


def test_a_short_secret_is_refused() -> None:
    """A secret too short to be told from text is the caller's error, and is not shown."""
    with pytest.raises(UsageError) as caught:
        require_coverable("KEY", "abcde")

    assert str(caught.value) == (
        "The secret in $KEY is 5 characters long; at least 6 are needed to find and cover it in "
        "what is recorded.\n  Give the target a longer key for this run."
    )


@pytest.mark.parametrize(
    "unit",
    [b"\\", b"%25", b"&amp;", b"s", b"1\r\ns\r\n", b"sk-a1"],
    ids=["backslashes", "percent", "entities", "first letter", "chunks", "beginnings"],
)
@pytest.mark.timeout(20)  # a quadratic search needs hours
def test_hostile_bodies_cost_no_more(unit: bytes) -> None:
    """A body made of what a spelling begins with is searched in linear time."""
    data = HEAD + b"transfer-encoding: chunked\r\n\r\n" + unit * ((1 << 20) // len(unit))

    assert cover(data) == (data, ())


TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6, max_size=30)
SPELL = st.sampled_from(
    [
        lambda c: c,
        lambda c: f"%{ord(c):02X}",
        lambda c: f"%{ord(c):02x}",
        lambda c: f"\\u{ord(c):04x}",
        lambda c: f"&#{ord(c)};" if not c.isalnum() else c,
        lambda c: json.dumps(c)[1:-1],
    ]
)


@given(TEXT, st.data())
def test_no_secret_survives(secret: str, data: st.DataObject) -> None:
    """Whatever the spelling of each character, the chunks and the reads: nothing is left."""
    spelt = "".join(data.draw(SPELL)(c) for c in secret).encode()
    body = data.draw(st.binary(max_size=20)) + spelt + data.draw(st.binary(max_size=20))
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=5).map(sorted))
    parts = [body[a:b] for a, b in itertools.pairwise([0, *cuts, len(body)])]
    raw = HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunked(parts)
    splits = data.draw(st.lists(st.integers(0, len(raw)), max_size=5).map(sorted))
    reads = [Read(a, raw[a:b]) for a, b in itertools.pairwise([0, *splits, len(raw)])]
    covered, marks = cover_reads(reads, {"KEY": secret}, "received")
    response = parse_response(covered, method="GET", closed=True)

    assert [(len(r.data), r.at_ns) for r in covered] == [(len(r.data), r.at_ns) for r in reads]
    assert marks
    assert response is not None
    assert (response.complete, response.error) == (True, "")
    assert len(response.body) == len(body)
    assert spelt not in response.body


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_covering_takes_any_bytes(head: bytes, body: bytes) -> None:
    """Any bytes can be covered, and covering twice changes nothing more."""
    for raw in (head + body, HEAD + b"content-encoding: gzip\r\n\r\n" + body):
        once, _ = cover(raw)
        assert cover(once)[0] == once
