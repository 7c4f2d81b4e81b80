"""The reference server over real sockets: hostile clients, and what it notes of all."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator

import pytest
from gateproof.reference_server.connection import Settings
from gateproof.reference_server.server import Options, serve_in_thread

from tests.reference_asks import (
    CHAT,
    ask,
    connected,
    events,
    eventually,
    journal,
    request,
    say,
)
from tests.reference_probes import (
    KEY,
    MODEL,
    body_of,
    exchange,
    talk,
)


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    """Give the address of a server in this process."""
    with serve_in_thread(Options(settings=Settings(body_bytes=2_000_000))) as url:
        yield url


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50, 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        (
            (
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            ),
            400,
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 100_000, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 300 + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n" + b"a" * 500_000, 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\nContent-Length: 1\r\n\r\n", 417),
        (b"GET /%ff%00 HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET http://elsewhere/v1/models HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET / HTTP/1.0\r\n\r\n", 404),
    ],
    ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else None,
)
def test_malformed_http_is_refused(base: str, data: bytes, status: int) -> None:
    """What is not a request gets a 4xx, and the server lives."""
    with connected(base) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
        got = sock.recv(12)

    assert got == b"HTTP/1.1 %d" % status
    assert exchange(base, "GET", "/_health").startswith(b"HTTP/1.1 200")


def test_requests_sent_ahead_are_answered_in_turn(base: str) -> None:
    """Ten requests in one packet get their ten answers in order on one connection."""
    with connected(base) as sock:
        sock.sendall(b"".join(request(say(f"Repeat exactly: <{n}>")) for n in range(10)))
        got = b""
        while got.count(b"HTTP/1.1") < 10 or not got.endswith(b'"}'):
            got += sock.recv(65_536)

    assert [got.find(b"<%d>" % n) for n in range(10)] == sorted(
        got.find(b"<%d>" % n) for n in range(10)
    )
    assert got.count(b"HTTP/1.1 200 OK") == 10


def test_a_request_may_come_byte_by_byte_and_chunked(base: str) -> None:
    """How a request is cut into packets and chunks makes no difference."""
    data = json.dumps(say("Repeat exactly: whole")).encode()
    chunks = b"".join(b"1;x=y\r\n%c\r\n" % byte for byte in data) + b"0\r\nTrailer: 1\r\n\r\n"
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: bearer {KEY}\r\n"
        "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    ).encode()
    with connected(base) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in head + chunks:
            sock.sendall(bytes((byte,)))
        got = b""
        while piece := sock.recv(65_536):
            got += piece

    assert body_of(got)["choices"][0]["message"]["content"] == "whole"


def test_a_client_may_wait_for_100(base: str) -> None:
    """Expect: 100-continue is answered before the body comes, and the answer follows it."""
    head, _, body = request(say("Repeat exactly: x"), "Expect: 100-continue\r\n").partition(
        b"\r\n\r\n"
    )
    with connected(base) as sock:
        sock.sendall(head + b"\r\n\r\n")
        interim = sock.recv(1000)
        sock.sendall(body)

        assert (interim, sock.recv(15)) == (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK")


def test_a_large_body_is_refused_before_it_is_read(base: str) -> None:
    """A 413 comes as JSON, and can be read although the client is still sending."""
    answer = talk(base, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n" + b"a" * 9)

    assert body_of(answer)["error"]["code"] == "request_too_large"


def test_a_reader_that_does_not_read_stops_only_itself(base: str) -> None:
    """A stream of megabytes that nobody reads neither grows in memory nor delays others."""
    body = {**say("deaf-reader", stream=True), "model": f"{MODEL}+tokens=100000"}
    with connected(base) as sock:
        sock.sendall(request(body))
        sock.recv(1000)
        for _ in range(3):
            status, _ = ask(base, say("Repeat exactly: x"))

            assert status == 200
        entry = journal(base, "deaf-reader")[-1]

    assert entry["outcome"] == "open"
    assert len(entry["sends"]) < 100_000
    eventually(base, "deaf-reader", "cancelled")


def test_http_1_0_gets_a_stream_that_ends_by_closing(base: str) -> None:
    """An old client gets no chunks."""
    data = request(say("Repeat exactly: x", stream=True)).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    head, _, body = talk(base, data).partition(b"\r\n\r\n")

    assert b"Transfer-Encoding" not in head
    assert body.endswith(b"\n\ndata: [DONE]\n\n")


def test_the_journal_tells_what_came_and_what_was_sent(base: str) -> None:
    """Headers without the key, the body, each send with its label and time, and the outcome."""
    body = say("Repeat exactly: canary-7 b", stream=True)
    exchange(base, "POST", "/with/crlf+itl=1" + CHAT, body)
    (entry,) = journal(base, "canary-7")
    times = [send["at_ns"] for send in entry["sends"]]

    assert (entry["method"], entry["path"], entry["profile"], entry["status"]) == (
        "POST",
        "/with/crlf+itl=1" + CHAT,
        "openai",
        200,
    )
    assert entry["behaviours"] == ["crlf", "itl=1"]
    assert ["authorization", "[Bearer, 17 characters, the demo key]"] in entry["headers"]
    assert json.loads(entry["body"]) == body
    assert [send["label"] for send in entry["sends"]] == [
        "head", "role", "content", "content", "content", "content", "finish", "done", "end",
    ]  # fmt: skip
    assert times == sorted(times)
    assert times[0] >= entry["at_ns"]
    assert (entry["outcome"], entry["cancelled_at_ns"]) == ("complete", None)


def test_keys_do_not_reach_the_journal(base: str) -> None:
    """Neither the demo key nor a wrong one is kept, whatever header carries it."""
    data = request(say("canary-8"), "X-Api-Key: sk-other\r\nCookie: a=sk-third\r\n")
    talk(
        base, data.replace(KEY.encode(), b"sk-wrong").replace(b"Host", b"Connection: close\r\nHost")
    )
    shown = json.dumps(journal(base, "canary-8"))

    assert [secret for secret in (KEY, "sk-wrong", "sk-other", "sk-third") if secret in shown] == []
    assert "[Bearer, 8 characters, not the demo key]" in shown


@pytest.mark.parametrize(
    ("behaviour", "mode", "outcome"),
    [
        ("silence=60000", "stream", "cancelled"),
        ("slow-headers=60000", "stream", "cancelled"),
        ("stall=60000", "stream", "cancelled"),
        ("ttft=60000", "whole", "cancelled"),
        ("hang", "stream", "cancelled"),
        ("itl=5+tokens=20+no-cancel", "stream", "complete"),
        ("reset=1", "stream", "reset"),
        ("cut=1", "stream", "reset"),
        ("cut", "whole", "reset"),
        ("midstream-error", "stream", "complete"),
    ],
)
def test_the_journal_knows_how_an_answer_ended(
    base: str, behaviour: str, mode: str, outcome: str
) -> None:
    """A client that leaves is noticed at once, before the first token and without a stream too."""
    canary = f"end-{behaviour}-{mode}"
    body = {**say(f"{canary} hello", stream=mode == "stream"), "model": f"{MODEL}+{behaviour}"}
    with connected(base) as sock:
        sock.sendall(request(body))
        eventually(base, canary, "open" if outcome == "cancelled" or "no-" in canary else outcome)
    entry = eventually(base, canary, outcome)

    assert (entry["cancelled_at_ns"] is not None) == (outcome == "cancelled")


def test_a_journal_is_bounded() -> None:
    """The oldest entries go when the journal is full; without any memory it keeps nothing."""
    for limit, wanted in ((20_000, range(1, 30)), (0, range(1))):
        with serve_in_thread(Options(journal_bytes=limit)) as base:
            for number in range(40):
                ask(base, say(f"Repeat exactly: {number}"))
            entries = journal(base)

        assert len(entries) in wanted
        assert not entries or '"Repeat exactly: 39"' in entries[-1]["body"]


def test_tokens_leave_on_schedule(base: str) -> None:
    """No token leaves before its time, and the times do not drift with the tokens before."""
    body = {**say("on-schedule hello", stream=True), "model": f"{MODEL}+ttft=30+itl=3+tokens=40"}
    exchange(base, "POST", CHAT, body)
    (entry,) = journal(base, "on-schedule")
    late_ns = [
        send["at_ns"] - entry["at_ns"] - 30_000_000 - place * 3_000_000
        for place, send in enumerate(s for s in entry["sends"] if s["label"] == "content")
    ]

    assert len(late_ns) == 40
    assert min(late_ns) >= 0


def test_many_clients_at_once(base: str) -> None:
    """A hundred streams at once all get their own answer."""
    got: dict[int, bytes] = {}

    def one(number: int) -> None:
        got[number] = exchange(base, "POST", CHAT, say(f"Repeat exactly: <{number}>", stream=True))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [
        "".join(c["choices"][0]["delta"].get("content", "") for c in events(got[number]))
        for number in range(100)
    ] == [f"<{number}>" for number in range(100)]
