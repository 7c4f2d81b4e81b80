"""The client makes each exchange once, keeps the wire, and survives whatever a target does.

Long, because one module is tested in one file, and all of it against the same few liars.
"""

import asyncio
import base64
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateproof import client as client_module
from gateproof.budget import Budget, Meter
from gateproof.client import BudgetSpent, Client
from gateproof.target import Login, Target
from gateproof.transcript import Ask, Exchange, Mark
from tests import certificates
from tests.liars import Deed, Liar, lying, reply, reset

KEY = "sk-hunter22-hunter22"
WRONG = client_module.WRONG_KEY.encode()
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
GET = Ask(method="GET", path="/models")


def make(
    liar: Liar, *asks: Ask, patience: int = 2, retry_5xx: int = 0, **options: Any
) -> list[Exchange]:
    """Make exchanges with a liar, one after the other."""
    auth = options.pop("auth", "bearer")
    given: dict[str, Any] = {"idle_timeout_s": 5.0, "total_timeout_s": 10.0, "key_env": "MY_KEY"}
    target = Target(name="t", url=liar.url, profile="openai", **{**given, **options})

    async def run() -> list[Exchange]:
        secrets = dict.fromkeys(target.variables, KEY)
        async with Client(
            target, secrets, auth=auth, patience=patience, retry_5xx=retry_5xx
        ) as client:
            return [await client.exchange(ask) for ask in asks]

    return asyncio.run(run())


def stall(wire: socket.socket) -> None:
    """Begin an answer and say no more, until the client leaves."""
    wire.sendall(STREAM + b"data: 1\n\n")
    wire.recv(1)


def flood(wire: socket.socket) -> None:
    """Send events for ever."""
    wire.sendall(STREAM)
    while True:
        wire.sendall(b"data: " + b"x" * 60000 + b"\n\n")


def drip(wire: socket.socket) -> None:
    """Send an event every few milliseconds, for ever."""
    wire.sendall(STREAM)
    while True:
        wire.sendall(b"data: x\n\n")
        time.sleep(0.005)


def reset_inside(wire: socket.socket) -> None:
    """Reset in the middle of a body."""
    wire.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    reset(wire)


# name: (deed, how it ended, (status, body, complete), options)
DEEDS: dict[str, tuple[Deed, str, tuple[int, bytes, bool] | None, dict[str, Any]]] = {
    "a whole answer": (reply(OK), "closed", (200, b"ok", True), {}),
    "in many parts": (
        reply(*(OK[at : at + 1] for at in range(len(OK)))),
        "closed",
        (200, b"ok", True),
        {},
    ),
    "closed at once": (lambda _: None, "closed", None, {}),
    "closed in the head": (reply(b"HTTP/1.1 200 OK\r\nConte"), "closed", None, {}),
    "closed in the body": (reply(OK[:-1]), "closed", (200, b"o", False), {}),
    "closed in a chunk": (
        reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"),
        "closed",
        (200, b"hel", False),
        {},
    ),
    "closed after an unframed body": (
        reply(STREAM + b"data: 1"),
        "closed",
        (200, b"data: 1", True),
        {},
    ),
    "reset at once": (reset, "reset", None, {}),
    "reset in the body": (reset_inside, "reset", (200, b"half", False), {}),
    "silence": (lambda wire: wire.recv(1) and None, "idle-timeout", None, {"idle_timeout_s": 0.5}),
    "a stall": (stall, "idle-timeout", (200, b"data: 1\n\n", False), {"idle_timeout_s": 0.5}),
    "bytes that are not HTTP": (reply(b"SSH-2.0-x\r\n\r\n"), "closed", None, {}),
    "a head without end": (reply(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000), "closed", None, {}),
    "two lengths": (
        reply(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        "closed",
        None,
        {},
    ),
    "a redirect": (
        reply(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"),
        "closed",
        (302, b"", True),
        {},
    ),
    "interim answers": (
        reply(b"HTTP/1.1 100 Continue\r\n\r\n" * 3, OK),
        "closed",
        (200, b"ok", True),
        {},
    ),
    "compressed": (
        reply(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok"),
        "closed",
        (200, b"ok", True),
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("deed", "ended", "response", "options"), DEEDS.values(), ids=DEEDS)
def test_an_exchange_tells_how_it_ended(
    deed: Deed,
    ended: str,
    response: tuple[int, bytes, bool] | None,
    options: dict[str, Any],
) -> None:
    """Whatever a target does, an exchange comes back with the bytes that came and its end."""
    with lying(deed) as liar:
        [got] = make(liar, GET, **options)
    seen = got.response and (got.response.status, got.response.body, got.response.complete)

    assert (got.ended, seen) == (ended, response)
    assert (got.error == "") == (ended == "closed" and response is not None and response[2])
    assert len(liar.requests) == 1
    times = [got.started_ns, got.connected_ns, *(read.at_ns for read in got.received)]
    assert [*times, got.ended_ns] == sorted([*times, got.ended_ns])


def test_a_stream_without_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more bytes and no more time are given to a target than the limits say."""
    monkeypatch.setattr(client_module, "MAX_RECEIVED_BYTES", 500_000)
    with lying(flood) as liar:
        [large] = make(liar, GET)
    with lying(drip) as liar:
        [long] = make(liar, GET, total_timeout_s=0.5)

    assert (large.ended, large.error) == ("too-large", "more than 500000 bytes")
    assert 500_000 < sum(len(read.data) for read in large.received) < 600_000
    assert (long.ended, long.error) == ("total-timeout", "no end within 0.5 s")
    assert len(long.events) > 1


def test_a_request_that_is_not_read_is_left() -> None:
    """A target that reads nothing of a large request cannot hold the client."""
    quiet = socket.create_server(("127.0.0.1", 0))
    with quiet:
        url = f"http://127.0.0.1:{quiet.getsockname()[1]}/v1"
        [got] = make(Liar(url), Ask(path="/x", body=b"x" * (16 << 20)), idle_timeout_s=0.2)

    assert (got.ended, got.error) == ("idle-timeout", "nothing could be sent for 0.2 s")


@pytest.mark.parametrize("events", [1, 3])
def test_the_client_leaves_after_some_events(events: int) -> None:
    """A scenario's cancel closes the connection once so many events have come."""
    with lying(drip) as liar:
        [got] = make(liar, Ask(path="/x", cancel_after_events=events))
        assert liar.gone.wait(10)

    assert got.ended == "cancelled"
    assert len(got.events) >= events


def test_the_client_leaves_after_some_time() -> None:
    """A cancel by time counts from when all was sent, and leaves whatever has come."""
    with lying(lambda wire: wire.recv(1) and None) as liar:
        [silent] = make(liar, Ask(path="/x", cancel_after_s=0.5))
        assert liar.gone.wait(10)
    with lying(stall) as liar:
        [begun] = make(liar, Ask(path="/x", cancel_after_s=0.5))
        assert liar.gone.wait(10)

    assert (silent.ended, silent.response) == ("cancelled", None)
    assert (begun.ended, len(begun.events)) == ("cancelled", 1)
    assert all(one.ended_ns - one.sent[-1].at_ns >= 450_000_000 for one in (silent, begun))


def test_a_cancel_that_comes_too_late_is_no_cancel() -> None:
    """An answer that ends before the cancel was due is a whole answer."""
    with lying(reply(STREAM + b"data: 1\n\n")) as liar:
        [got] = make(liar, Ask(path="/x", cancel_after_events=2, cancel_after_s=9))

    assert (got.ended, len(got.events)) == ("closed", 1)


@pytest.mark.parametrize(
    ("ask", "options", "wanted"),
    [
        (GET, {}, b"Bearer " + KEY.encode()),
        (Ask(path="/x", auth="none"), {}, None),
        (GET, {"key_env": None}, None),
        (Ask(path="/x", auth="wrong"), {}, b"Bearer " + client_module.WRONG_KEY.encode()),
        (Ask(path="/x", auth="Basic eDp5"), {}, b"Basic eDp5"),
        (Ask(path="/x", headers=(("Authorization", "Bearer mine"),)), {}, b"Bearer mine"),
    ],
    ids=["the key", "none", "no key known", "wrong", "literal", "a header of the ask"],
)
def test_only_the_asked_key_is_sent(
    ask: Ask, options: dict[str, Any], wanted: bytes | None
) -> None:
    """The Authorization header is what the ask wants; without one the key is not sent at all."""
    with lying(reply(OK)) as liar:
        make(liar, ask, **options)
    [request] = liar.requests
    sent = [
        line.partition(b": ")[2]
        for line in request.split(b"\r\n")
        if line.lower().startswith(b"authorization:")
    ]

    assert sent == ([] if wanted is None else [wanted])
    assert (KEY.encode() in request) == (wanted is not None and KEY.encode() in wanted)


@pytest.mark.parametrize(
    ("auth", "ask", "wanted"),
    [
        ("x-api-key", "key", [b"x-api-key: " + KEY.encode()]),
        ("bearer", "key:x-api-key", [b"x-api-key: " + KEY.encode()]),
        ("x-api-key", "key:bearer", [b"authorization: Bearer " + KEY.encode()]),
        ("x-api-key", "wrong", [b"x-api-key: " + client_module.WRONG_KEY.encode()]),
        ("x-api-key", "wrong:bearer", [b"authorization: Bearer " + WRONG]),
        ("x-api-key", "none", []),
    ],
    ids=["the profile's", "x-api-key", "bearer", "wrong", "wrong bearer", "none"],
)
def test_a_key_travels_as_the_profile_or_the_ask_says(
    auth: str, ask: str, wanted: list[bytes]
) -> None:
    """A key stands in the header that the profile takes it in, or that the ask names, covered."""
    with lying(reply(OK)) as liar:
        [got] = make(liar, Ask(path="/x", auth=ask), auth=auth)
    [request] = liar.requests
    names = (b"authorization:", b"x-api-key:")

    assert [line for line in request.split(b"\r\n") if line.lower().startswith(names)] == wanted
    assert KEY.encode() not in b"".join(read.data for read in got.sent)


def test_a_request_is_what_was_asked() -> None:
    """Method, path, headers and body go out as asked, with the target's own headers."""
    ask = Ask.json("/chat/completions", {"a": "é"}, headers=(("X-Team", "mine"),))
    with lying(reply(OK)) as liar:
        [got] = make(
            liar, ask, headers={"x-team": "qa", "x-two": "2"}, secret_headers={"x-token": "T"}
        )
    head, _, body = liar.requests[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")

    assert lines[0] == b"POST /v1/chat/completions HTTP/1.1"
    assert body == '{"a": "é"}'.encode()
    assert sorted(line.lower() for line in lines[1:] if line.lower().startswith(b"x-")) == [
        b"x-team: mine",
        b"x-token: " + KEY.encode(),
        b"x-two: 2",
    ]
    assert {b"accept-encoding: identity", b"accept: application/json"} <= {
        line.lower() for line in lines
    }
    assert got.url == liar.url + "/chat/completions"
    assert b"".join(read.data for read in got.sent) == liar.requests[0].replace(
        KEY.encode(), b"*" * len(KEY)
    )


def test_what_is_kept_holds_no_secret() -> None:
    """The key is covered in what was sent, in what came, and in error texts."""
    echo = (
        b"HTTP/1.1 401 No\r\nx: " + KEY.encode() + b"\r\nContent-Length: 20\r\n\r\n" + KEY.encode()
    )
    with lying(reply(echo)) as liar:
        [got] = make(liar, GET)
    with lying(reply(b"ERROR " + KEY.encode() + b"\r\n\r\n")) as liar:
        [broken] = make(liar, GET)

    assert KEY not in repr(got) + repr(broken)
    assert [(mark.part, mark.encoding) for mark in got.marks] == [
        ("sent", "plain"),
        ("received", "plain"),
        ("received", "plain"),
    ]
    assert "*" * len(KEY) in broken.error
    assert got.marks[1] == Mark("MY_KEY", "received", echo.index(KEY.encode()), len(KEY), "plain")


def answer(status: int, *headers: str) -> Deed:
    """Return the deed of a whole answer without a body."""
    return reply(
        "\r\n".join([f"HTTP/1.1 {status} x", *headers, "Content-Length: 0", "", ""]).encode()
    )


def told(seconds: object) -> Deed:
    """Return the deed of a 429 that tells how long to wait."""
    return answer(429, f"Retry-After: {seconds}")


@pytest.mark.parametrize(
    ("deeds", "patience", "retry_5xx", "status", "waits"),
    [
        pytest.param([told(7), told(7), answer(200)], 2, 0, 200, [7.0, 7.0], id="told"),
        pytest.param([told(7)], 2, 0, 429, [7.0, 7.0], id="given up"),
        pytest.param([told(7)], 0, 0, 429, [], id="no patience"),
        pytest.param([answer(429)], 4, 0, 429, [1.0, 2.0, 4.0, 8.0], id="untold, longer"),
        pytest.param([told(" 0 "), answer(200)], 2, 0, 200, [0.0], id="at once"),
        pytest.param([told("3.5")], 2, 0, 429, [1.0, 2.0], id="no whole seconds"),
        pytest.param([told("-1")], 1, 0, 429, [1.0], id="negative"),
        pytest.param([told("²")], 1, 0, 429, [1.0], id="no digit"),
        pytest.param([told("Wed, 21 Oct 2026 07:28:00 GMT")], 1, 0, 429, [1.0], id="a date"),
        pytest.param([told(21)], 2, 0, 429, [], id="too long to wait"),
        pytest.param([told("9" * 400)], 2, 0, 429, [], id="for ever"),
        pytest.param([answer(500)], 2, 0, 500, [], id="a 500 is kept"),
        pytest.param([answer(500), answer(200)], 2, 3, 200, [1.0], id="a 500 again"),
        pytest.param([answer(503)], 2, 3, 503, [1.0, 2.0, 4.0], id="a 503, exponentially"),
        pytest.param([answer(502)], 2, 3, 502, [], id="a 502 is kept"),
    ],
)
def test_the_client_backs_off(
    monkeypatch: pytest.MonkeyPatch,
    deeds: list[Deed],
    patience: int,
    retry_5xx: int,
    status: int,
    waits: list[float],
) -> None:
    """Who is refused waits as he is told, or twice as long each time, and never less."""
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(client_module.asyncio, "sleep", sleep)
    with lying(*deeds) as liar:
        [got] = make(liar, GET, patience=patience, retry_5xx=retry_5xx)

    assert (got.response and got.response.status, slept) == (status, waits)
    assert got.attempts == len(waits) + 1


def test_nothing_is_asked_beyond_the_budget() -> None:
    """A request that could pass the budget is not made, and whatever asks for it is told."""
    meter = Meter(Budget(requests=2))

    async def ask(client: Client) -> str:
        try:
            return str((await client.exchange(Ask(path="/x"))).ended)
        except BudgetSpent as spent:
            return str(spent)

    async def run(url: str) -> tuple[list[str], str]:
        target = Target(name="t", url=url, profile="openai")
        async with Client(target, {}, meter=meter) as client:
            return [await ask(client) for _ in range(3)], client.spent

    with lying(answer(200), answer(200)) as liar:
        ended, spent = asyncio.run(run(liar.url))

    assert ended == ["closed", "closed", "the budget is spent: 2 of 2 requests are sent"]
    assert spent == "2 of 2 requests are sent"


def issuing(status: int, body: str, *headers: str) -> Deed:
    """Return the deed of a JSON answer."""
    return reply(
        "\r\n".join(
            [f"HTTP/1.1 {status} x", *headers, f"Content-Length: {len(body)}", "", body]
        ).encode()
    )


def test_what_is_issued_is_sent_and_covered() -> None:
    """A key that an answer gives is sent on demand, and nowhere kept."""
    new = "losi-0123456789abcdef"
    deeds = issuing(201, f'{{"id": "key_1", "key": "{new}"}}'), issuing(200, f'["{new}"]')
    asks = Ask(path="/api-keys", issues="mine"), Ask(path="/models", auth="issued:mine")
    with lying(*deeds) as liar:
        made, used = make(liar, *asks)

    assert b"authorization: Bearer " + new.encode() in liar.requests[1]
    assert new not in repr((made, used))
    assert [mark.name for mark in (*made.marks, *used.marks)] == ["MY_KEY", "mine", "mine", "mine"]


def test_a_session_is_sent_back_as_a_cookie() -> None:
    """A cookie that an answer sets is sent on demand, and nowhere kept; an error sets none."""
    deeds = issuing(200, "{}", "Set-Cookie: sid=0123456789; Path=/"), issuing(200, "{}")
    asks = Ask(path="/login", auth="login", issues="me"), Ask(path="/chat", auth="cookie:me")
    with lying(*deeds) as liar:
        made, used = make(liar, *asks, login=Login("demo", "MY_PASSWORD"))
    basic = base64.b64encode(f"demo:{KEY}".encode())

    assert b"authorization: Basic " + basic in liar.requests[0]
    assert b"cookie: sid=0123456789" in liar.requests[1]
    assert "0123456789" not in repr((made, used))
    assert basic.decode() not in repr(made)


def test_a_further_key_is_sent_by_its_plan() -> None:
    """The key of another plan goes out in place of the target's own, and is covered like it."""
    with lying(reply(OK)) as liar:
        [got] = make(liar, Ask(path="/x", auth="plan:basic"), keys={"basic": "BASIC_KEY"})

    assert liar.requests[0].count(b"authorization: Bearer " + KEY.encode()) == 1
    assert KEY not in repr(got)


def test_a_request_can_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is to be made later is made after that time."""
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(client_module.asyncio, "sleep", sleep)
    with lying(reply(OK)) as liar:
        [got] = make(liar, Ask(path="/x", after_s=1.5))

    assert (got.response and got.response.status, slept) == (200, [1.5])


def dead_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(
    "url",
    [lambda: f"http://127.0.0.1:{dead_port()}/v1", lambda: "http://gateproof.invalid/v1"],
    ids=["dead port", "unknown host"],
)
def test_no_connection_is_refused(url: Callable[[], str]) -> None:
    """A port that nobody listens on and a name that nobody knows are told apart from resets."""
    [got] = make(Liar(url()), GET)

    assert (got.ended, got.received, got.sent) == ("refused", (), ())
    assert got.error


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a self-signed certificate for the loopback, with its key."""
    return certificates.certificate(tmp_path_factory.mktemp("tls"))


@certificates.needs_openssl
def test_an_untrusted_certificate_is_refused(certificate: Path) -> None:
    """A self-signed certificate is refused by name, and no request is sent."""
    with lying(reply(OK), certificate=certificate) as liar:
        [got] = make(liar, GET)

    assert got.ended == "refused"
    assert "certificate" in got.error.lower()
    assert (got.sent, liar.requests) == ((), [])


@certificates.needs_openssl
def test_a_trusted_certificate_is_recorded_above_tls(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its issuer in SSL_CERT_FILE the exchange is made, and the plain bytes are kept."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    client_module._ssl_context.cache_clear()
    try:
        with lying(reply(OK), certificate=certificate) as liar:
            [got] = make(liar, GET)
    finally:
        client_module._ssl_context.cache_clear()

    assert (got.ended, b"".join(read.data for read in got.received)) == ("closed", OK)
    assert isinstance(client_module._ssl_context(), ssl.SSLContext)


def test_tls_to_a_plain_port_is_refused() -> None:
    """TLS towards a server that speaks none is refused with TLS's own words."""
    with lying(reply(OK), greet=b"HTTP/1.1 400 Bad Request\r\n\r\n") as liar:
        [got] = make(Liar(liar.url.replace("http:", "https:")), GET)

    assert got.ended == "refused"
    assert "SSL" in got.error


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_an_ipv6_address_is_reached() -> None:
    """A target on the IPv6 loopback is reached, and named in brackets."""
    with lying(reply(OK), host="::1") as liar:
        [got] = make(liar, GET)

    assert got.response is not None
    assert liar.requests[0].lower().count(b"host: [::1]:") == 1


def test_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither a proxy nor a netrc file of the environment is used."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{dead_port()}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{dead_port()}")
    with lying(reply(OK)) as liar:
        [got] = make(liar, Ask(path="/x", auth="none"))

    assert got.response is not None
    assert b"authorization" not in liar.requests[0].lower()


def test_no_more_exchanges_at_once_than_the_target_bears() -> None:
    """Exchanges beyond the target's concurrency wait for their turn."""
    open_now: list[int] = []
    most = []

    def count(wire: socket.socket) -> None:
        open_now.append(1)
        most.append(len(open_now))
        time.sleep(0.02)
        open_now.pop()
        wire.sendall(OK)

    async def run(target: Target) -> list[Exchange]:
        async with Client(target, {}) as client:
            made = await asyncio.gather(*(client.exchange(GET) for _ in range(12)))
            assert client.requests == 12
            return list(made)

    with lying(count) as liar:
        done = asyncio.run(run(Target(name="t", url=liar.url, profile="p", concurrency=3)))

    assert [e.response is not None for e in done] == [True] * 12
    assert max(most) <= 3


def test_an_upstream_is_asked_without_the_key() -> None:
    """The journal of an upstream is fetched as JSON, and the key does not go there."""
    value = b'{"entries": []}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n"

    async def run(liar: Liar) -> Any:
        target = Target(name="t", url="http://127.0.0.1:9", profile="p", key_env="MY_KEY")
        async with Client(target, {"MY_KEY": KEY}) as client:
            return await client.fetch_json(liar.url + "/_journal")

    with lying(reply(head + value)) as liar:
        assert asyncio.run(run(liar)) == {"entries": []}
    assert KEY.encode() not in liar.requests[0]


@pytest.fixture(scope="module")
def babbler() -> Any:
    """Serve bytes that each test chooses, by way of a list."""
    says: list[bytes] = [b""]
    with lying(lambda wire: wire.sendall(says[0])) as liar:
        yield liar, says


@given(
    st.lists(
        st.sampled_from(
            [
                b"HTTP/1.1 200 OK\r\n",
                b"HTTP/1.1 101 x\r\n",
                b"HTTP/1.0 204 \r\n",
                b"\r\n",
                b"\xff",
                b"Content-Length: 3\r\n",
                b"Transfer-Encoding: chunked\r\n",
                b"3\r\nabc\r\n",
                b"\0",
                b"Connection: upgrade\r\nUpgrade: h2c\r\n",
                b"Set-Cookie: a=b\r\n",
                b"0\r\n\r\n",
                b"Retry-After: \xb2\r\n",
                b"Content-Type: text/plain; charset=\xff\r\n",
            ]
        )
        | st.binary(max_size=8),
        max_size=8,
    ).map(b"".join)
)
@example(b"HTTP/1.1 429 x\r\nRetry-After: \xb2\r\nContent-Length: 0\r\n\r\n")
def test_no_answer_breaks_the_client(babbler: Any, answer: bytes) -> None:
    """Whatever bytes come, an exchange is returned that holds them."""
    liar, says = babbler
    says[0] = answer
    [got] = make(liar, GET, patience=0)

    assert answer.startswith(b"".join(read.data for read in got.received))
    assert got.ended in ("closed", "reset")


def test_an_answer_changes_no_later_request() -> None:
    """A cookie is not kept, and a redirect is neither followed nor read."""
    odd = b"HTTP/1.1 302 No\r\nSet-Cookie: a=b\r\nLocation: https://h/\x1b\r\n"
    with lying(reply(odd, b"Content-Length: 0\r\n\r\n")) as liar:
        got = make(liar, GET, GET)

    assert [one.response and one.response.status for one in got] == [302, 302]
    assert b"ookie" not in liar.requests[1]
