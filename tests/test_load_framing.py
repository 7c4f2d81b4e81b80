"""The reading of HTTP/1.1 answers, against a server that means harm."""

import gc

import pytest
from gateproof.loadtests.answer import Answer
from gateproof.loadtests.framing import MAX_BODY_BYTES, MAX_HEAD_BYTES, Broken, Response

from gateproof.sample import ErrorKind, Sample

INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"

HARM = {
    "interim without end": (INTERIM * 5000, ErrorKind.MALFORMED_HTTP),
    "switches protocol": (b"HTTP/1.1 101 Hi\r\n\r\n", ErrorKind.MALFORMED_HTTP),
    "fields without end": (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 12_000, ErrorKind.TOO_LARGE),
    "a field of many": (b"HTTP/1.1 200 OK\r\n" + b"a:b\r\n" * 9000 + b"\r\n", ErrorKind.TOO_LARGE),
    "head without end": (b"HTTP/1.1 200 OK\r\nx: " + b"y" * MAX_HEAD_BYTES, ErrorKind.TOO_LARGE),
    "size without end": (CHUNKED + b"1;" + b"x" * 9000, ErrorKind.TOO_LARGE),
    "zeros without end": (CHUNKED + b"0" * 40 + b"\r\n", ErrorKind.MALFORMED_HTTP),
    "negative size": (CHUNKED + b"-1\r\n", ErrorKind.MALFORMED_HTTP),
    "size in words": (CHUNKED + b"0x2\r\nab\r\n", ErrorKind.MALFORMED_HTTP),
    "chunk that is longer": (CHUNKED + b"2\r\nabc\r\n", ErrorKind.MALFORMED_HTTP),
    "trailers without end": (CHUNKED + b"0\r\n" + b"a: b\r\n" * 20_000, ErrorKind.TOO_LARGE),
    "two lengths": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
        ErrorKind.MALFORMED_HTTP,
    ),
    "length of words": (
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n",
        ErrorKind.MALFORMED_HTTP,
    ),
    "coded twice": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        ErrorKind.MALFORMED_HTTP,
    ),
    "space before the colon": (b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", ErrorKind.MALFORMED_HTTP),
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n\r\n", ErrorKind.MALFORMED_HTTP),
}
GOOD = {
    "after interim ones": (INTERIM * 3 + SIZED + b"ab", b"ab", True),
    "with more than its length": (SIZED + b"abc", b"ab", False),
    "without a body": (EMPTY, b"", True),
    "without a body, but with bytes": (EMPTY + SIZED, b"", False),
    "chunked": (CHUNKED + b"1\r\na\r\n1 ;x=y\r\nb\r\n0\r\nt: u\r\n\r\n", b"ab", True),
    "chunked, then more": (CHUNKED + b"2\r\nab\r\n0\r\n\r\nHTTP", b"ab", False),
}


def read(data: bytes, step: int) -> tuple[Response, bytes]:
    """Feed an answer in reads of ``step`` bytes."""
    body = bytearray()
    response = Response(lambda _status, _headers: lambda part, _at: body.extend(part))
    for place in range(0, len(data), step):
        response.feed(data[place : place + step], place)
    return response, bytes(body)


@pytest.mark.parametrize("name", HARM)
@pytest.mark.parametrize("step", [1 << 30, 1460])
def test_harm(name: str, step: int) -> None:
    """What would cost memory or time without end, or change what is counted, is refused."""
    data, wanted = HARM[name]
    with pytest.raises(Broken) as broken:
        read(data, step)
    assert broken.value.kind == wanted


@pytest.mark.parametrize("name", GOOD)
def test_good(name: str) -> None:
    """An answer is whole at its last byte; what follows it ends the connection's use."""
    data, body, reusable = GOOD[name]
    response, got = read(data, 1 << 30)
    assert (response.done, got, response.reusable) == (True, body, reusable)


@pytest.mark.parametrize("chunked", [False, True])
def test_body_has_a_limit(*, chunked: bool) -> None:
    """A body that never ends is refused, however it is framed."""
    part = b"x" * (1 << 20)
    response, _ = read(CHUNKED if chunked else b"HTTP/1.1 200 OK\r\n\r\n", 1 << 30)
    data = b"100000\r\n" + part + b"\r\n" if chunked else part
    for _ in range(MAX_BODY_BYTES // len(part)):
        response.feed(data, 0)
    with pytest.raises(Broken):
        response.feed(data, 0)


def test_no_cycles() -> None:
    """An answer that is over is freed at once: a collection of cycles would stop all streams."""
    data = b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n'
    data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data)
    cut = data[:-9]
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            for part in (data, cut):
                answer = Answer(Sample())
                answer.feed(part, 1)
                answer.eof(2)
                assert answer.finished
        del answer
        assert gc.collect() == 0
    finally:
        gc.enable()
