"""Raw reads become the response that HTTP/1.1 reads in them, whole or broken, with their times."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateproof.wire import MAX_HEAD_BYTES, Piece, Read, Response, parse_response

OK = b"HTTP/1.1 200 OK\r\n"

# name: (bytes, method, closed, (status, body, complete, surplus), part of the error)
CASES: dict[str, tuple[bytes, str, bool, tuple[int, bytes, bool, bytes] | None, str]] = {
    "sized": (OK + b"Content-Length: 5\r\n\r\nhello", "GET", False, (200, b"hello", True, b""), ""),
    "sized, empty": (OK + b"Content-Length: 0\r\n\r\n", "GET", False, (200, b"", True, b""), ""),
    "sized, cut": (
        OK + b"Content-Length: 5\r\n\r\nhel",
        "GET",
        True,
        (200, b"hel", False, b""),
        "without sending complete message body",
    ),
    "sized, still open": (
        OK + b"Content-Length: 5\r\n\r\nhel",
        "GET",
        False,
        (200, b"hel", False, b""),
        "",
    ),
    "sized, too much": (
        OK + b"Content-Length: 5\r\n\r\nhello and more",
        "GET",
        True,
        (200, b"hello", True, b" and more"),
        "",
    ),
    "chunked": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
        "GET",
        False,
        (200, b"hello", True, b""),
        "",
    ),
    "chunked, with a trailer": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx-late: 1\r\n\r\n",
        "GET",
        False,
        (200, b"x", True, b""),
        "",
    ),
    "chunked, cut in a chunk": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\nhello",
        "GET",
        True,
        (200, b"hello", False, b""),
        "without sending complete message body",
    ),
    "chunked, no last chunk": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "GET",
        True,
        (200, b"hello", False, b""),
        "without sending complete message body",
    ),
    "chunked, wrong size": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n",
        "GET",
        True,
        (200, b"he", False, b""),
        "chunk",
    ),
    "chunked, not hexadecimal": (
        OK + b"Transfer-Encoding: chunked\r\n\r\nhello\r\n",
        "GET",
        True,
        (200, b"", False, b""),
        "chunk",
    ),
    "chunked, with a tail": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "GET",
        True,
        (200, b"", True, b"HTTP/1.1 200 OK\r\n\r\n"),
        "",
    ),
    "unframed": (OK + b"\r\nhello", "GET", True, (200, b"hello", True, b""), ""),
    "unframed, still open": (OK + b"\r\nhello", "GET", False, (200, b"hello", False, b""), ""),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nhello", "GET", True, (200, b"hello", True, b""), ""),
    "HEAD": (OK + b"Content-Length: 5\r\n\r\n", "HEAD", False, (200, b"", True, b""), ""),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", "GET", False, (204, b"", True, b""), ""),
    "interim answers": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
        + OK
        + b"Content-Length: 1\r\n\r\nx",
        "POST",
        False,
        (200, b"x", True, b""),
        "",
    ),
    "a reason in Latin-1": (b"HTTP/1.1 500 \xe9\r\n\r\n", "GET", True, (500, b"", True, b""), ""),
    "no reason": (b"HTTP/1.1 429\r\nContent-Length: 0\r\n\r\n", "GET", False,
                  (429, b"", True, b""), ""),
    "bare LF": (b"HTTP/1.1 200 OK\nContent-Length: 1\n\nx", "GET", False,
                (200, b"x", True, b""), ""),
    "nothing": (b"", "GET", True, None, ""),
    "half a head": (OK + b"Content-Le", "GET", True, None, ""),
    "only an interim answer": (b"HTTP/1.1 100 Continue\r\n\r\n", "GET", True, None, ""),
    "not HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", "GET", True, None, ""),
    "HTTP/2": (b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0d", "GET", True, None, ""),
    "an endless head": (OK + b"x: " + b"y" * MAX_HEAD_BYTES, "GET", True, None, ""),
    "two lengths": (
        OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
        "GET",
        True,
        None,
        "",
    ),
    "switching protocols": (
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\nxyz",
        "GET",
        True,
        None,
        "",
    ),
}  # fmt: skip


def untimed(response: Response | None) -> Response | None:
    """Return a response without what depends on the reads: its times and pieces."""
    if response is None:
        return None
    return replace(response, pieces=(Piece(0, 0, response.body),), head_ns=0)


@pytest.mark.parametrize(("raw", "method", "closed", "wanted", "error"), CASES.values(), ids=CASES)
def test_reads_become_a_response(
    raw: bytes,
    method: str,
    closed: bool,  # noqa: FBT001  # a column of the table
    wanted: tuple[int, bytes, bool, bytes] | None,
    error: str,
) -> None:
    """Reads become the same response whole, byte by byte, and in two parts."""
    steps = [[0, len(raw)], range(len(raw) + 1)] if len(raw) < 1000 else [[0, len(raw)]]
    for cuts in [*steps, *([0, at, len(raw)] for at in range(1, min(len(raw), 1000)))]:
        reads = [Read(9, raw[a:b]) for a, b in itertools.pairwise(cuts)]
        got = parse_response(reads, method=method, closed=closed)

        seen = got and (got.status, got.body, got.complete, got.surplus)
        assert seen == wanted
        assert got is None or (error in got.error and bool(error) == bool(got.error))


def test_protocol_that_was_asked_for_is_the_body() -> None:
    """Behind a 101 that was asked for the bytes of the other protocol are kept, unread."""
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
    reads = [Read(1, head + b"\x88\x02"), Read(2, b"\x03\xe8")]

    got = parse_response(reads, method="GET", closed=False, upgrade=True)

    assert got is not None
    assert (got.status, got.header("upgrade"), got.complete, got.error, got.surplus) == (
        101, "websocket", True, "", b""
    )  # fmt: skip
    assert got.pieces == (Piece(1, 0, b"\x88\x02"), Piece(2, 2, b"\x03\xe8"))


def test_protocol_that_nobody_asked_for_is_no_http() -> None:
    """A 101 to a request that proposes nothing is no response."""
    reads = [Read(1, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")]

    assert parse_response(reads, method="GET", closed=True) is None


def test_proposal_can_be_declined() -> None:
    """What is answered as ever, though another protocol was proposed, is read as ever."""
    raw = OK + b"Content-Length: 2\r\n\r\nhi"

    got = parse_response([Read(0, raw)], method="GET", closed=False, upgrade=True)

    assert got is not None
    assert (got.status, got.body, got.complete) == (200, b"hi", True)


def test_pieces_keep_time_and_offset() -> None:
    """Each piece of the body has its offset, and the time of the read that brought it."""
    reads = [
        Read(10, OK + b"Transfer-Encoding: ch"),
        Read(20, b"unked\r\n\r\n3\r\nab"),
        Read(30, b"c\r\n2\r\nde\r\n1\r\n"),
        Read(40, b"f\r\n0\r\n\r\n"),
    ]
    got = parse_response(reads, method="GET", closed=False)

    assert got is not None
    assert got.head_ns == 20
    assert got.pieces == (
        Piece(20, 0, b"ab"),
        Piece(30, 2, b"c"),
        Piece(30, 3, b"de"),
        Piece(40, 5, b"f"),
    )


def test_headers_keep_case_order_and_repeats() -> None:
    """Headers stay as they came; by name they are found in any case, and joined."""
    raw = OK + b"X-A: 1\r\nContent-Type:  Text/Event-Stream ; charset=UTF-8\r\nx-a: 2\r\n\r\n"
    got = parse_response([Read(0, raw)], method="GET", closed=True)

    assert got is not None
    assert got.headers == (
        ("X-A", "1"),
        ("Content-Type", "Text/Event-Stream ; charset=UTF-8"),
        ("x-a", "2"),
    )
    assert (got.header("x-A"), got.header("x-b")) == ("1, 2", None)
    assert (got.media_type, got.http_version, got.reason) == ("text/event-stream", "1.1", "OK")


FRAGMENTS = st.sampled_from(
    [OK, b"HTTP/1.1 100 Continue\r\n\r\n", b"Content-Length: 3\r\n", b"\r\n", b"\n",
     b"3\r\nabc\r\n", b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"x: y\r\n",
     b"Connection: close\r\n", b"\0", b"HTTP/1.0 404 \r\n", b"\xff", b": ", b" "]
)  # fmt: skip


@given(
    st.lists(FRAGMENTS | st.binary(max_size=9), max_size=12),
    st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "CONNECT"]),
    st.booleans(),
)
def test_any_bytes_are_taken(
    parts: list[bytes],
    method: str,
    closed: bool,  # noqa: FBT001  # Hypothesis passes it
) -> None:
    """No bytes at all make the parser raise, and reads do not change what they mean."""
    got = parse_response([Read(0, part) for part in parts], method=method, closed=closed)
    whole = parse_response([Read(0, b"".join(parts))], method=method, closed=closed)

    assert untimed(got) == untimed(whole)


@pytest.mark.timeout(20)  # a quadratic parser needs minutes
def test_many_small_chunks_are_linear() -> None:
    """A body of 20,000 chunks in one read is parsed at once."""
    raw = OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n"
    got = parse_response([Read(0, raw)], method="GET", closed=False)

    assert got is not None
    assert (len(got.body), got.complete) == (20_000, True)
