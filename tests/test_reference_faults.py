"""Faults, oddities and behaviours: each is reached in all ways, and each is seen on the wire.

Long, because it says of every row of the table by which request it shows.
"""

import itertools
import json
import random
import re
import socket
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import pytest
from gateproof.reference_server.app import Request
from gateproof.reference_server.errors import OptionError
from gateproof.reference_server.faults import FAULTS, parse
from gateproof.reference_server.script import Step
from gateproof.reference_server.server import Options, serve_in_thread

from tests.reference_probes import (
    CHATS,
    HELLO,
    KEY,
    MODEL,
    PARTS,
    REMEMBER,
    body_of,
    chat,
    exchange,
    settled,
)

ARGUMENTS = {
    "drop-field": "usage.total_tokens",
    "set-field": "object=null",
    "drop-parameter": "stop",
    "status": "503",
    "finish": "length",
    "tokens": "9",
    "cached": "2",
    "usage": "1234:567",
    "refuse-field": "messages.*.role=user",
    "crash-on-field": "messages",
    "change-parameter": "max_tokens=2",
    "drop-header": "x-request-id",
    "set-header": "Server=other",
    "chokes-on-oddity": "crlf",
}

# The probe that shows a row; all others show in a plain stream. One that begins with ! is not
# reached by a model's name, because such a request names none.
SHOWN_BY = {
    "plain": "message-role-missing choices-empty content-type-text-on-json two-bodies "
    "nonstream-as-sse chunked-body tool-calls-null",
    "!models": "models-no-object models-bare-array models-duplicate-ids models-empty models-500 "
    "models-html models-ghost",
    "!models slash": "models-slash-loop",
    "model": "models-created-string models-owned-by-missing model-retrieve-404 "
    "model-retrieve-other",
    "slash": "model-retrieve-slash-404",
    "error in the middle stream": "error-as-text midstream-error-swallowed clean-end-after-error",
    "limit stream": "change-parameter finish-always-stop "
    "finish-stop-on-length max-tokens-ignored usage-over-limit",
    "new limit stream": "max-completion-tokens-ignored",
    "cut stream": "cut-looks-complete",
    "cut": "cut-body-repaired",
    "odd stream": "chokes-on-oddity",
    "comments stream": "upstream-comments-as-data",
    "parts stream": "parts-lost",
    "logprobs stream": "logprobs-missing logprobs-bytes-missing finish-lost-with-logprobs "
    "logprobs-ignored",
    "tools stream": "tool-type-repeated tool-index-missing tool-index-from-1 tool-index-same "
    "tool-id-repeated tool-name-repeated tool-id-empty-later tool-type-empty tool-id-apart "
    "tool-args-object tool-args-cut tool-args-empty tool-args-array tool-args-off-schema "
    "tool-name-unknown tool-ids-duplicate tool-id-empty tool-finish-stop tool-type-missing "
    "tool-calls-as-text tools-dropped tool-args-altered",
    "tools": "tool-content-missing tool-index-nonstream",
    "none stream": "tool-choice-none-ignored",
    "required stream": "tool-choice-required-ignored",
    "named stream": "tool-choice-named-ignored tool-choice-named-other",
    "one call stream": "parallel-tool-calls-ignored",
    "round trip stream": "tool-roundtrip-refused tool-result-dropped content-null-refused",
    "stop stream": "stop-ignored drop-parameter stop-kept-in-content",
    "n stream": "n-ignored n-same-index tokens",
    "json stream": "response-format-ignored json-mode-fenced sloppy-json",
    "schema stream": "json-schema-as-json-object",
    "reasoning stream": "reasoning-effort-ignored",
    "memory stream": "system-dropped history-dropped messages-merged",
    "orphan stream": "error-200 error-bare-detail error-html error-string error-empty "
    "error-code-int error-param-object error-message-missing error-param-code-missing "
    "error-content-type-text echo-key-in-error validation-500 param-missing "
    "error-type-wrong error-type-unknown prestream-error-as-sse prestream-error-as-empty "
    "stream-error-differs tool-orphan-500",
    "failing stream": "retry-after-missing retry-after-garbage upstream-status-flattened "
    "upstream-error-replaced upstream-error-bare retry-after-shortened",
    "too long stream": "context-length-500 context-length-code-missing",
    "unknown model stream": "unknown-model-500 unknown-model-400 unknown-model-200",
    "no messages stream": "missing-messages-200 messages-type-200",
    "invalid stream": "validation-ignored",
    "unasked": "usage-unasked",
    "osmapi search stream": "web-search-ignored",
    "osmapi healing stream": "plugins-ignored healing-off",
    "osmapi prefixed stream": "prefix-refused",
    "osmapi nowhere stream": "unknown-provider-200",
    "osmapi effort stream": "effort-unknown-200",
    "osmapi plugin stream": "plugin-unknown-500",
    "osmapi plain stream": "cost-missing cost-missing-in-stream cost-sum-wrong cost-negative "
    "cost-string cost-nan cost-rounded-to-zero cost-echo cost-exponent "
    "cost-part-missing cost-optional-missing cost-part-above-total cost-newer-names",
    "wrong key": "auth-500 auth-403 auth-code-missing auth-ignored",
    "!no model stream": "missing-model-200",
    "!wrong method": "allow-missing wrong-method-400 wrong-method-500",
    "!models without key": "models-without-auth",
    "!malformed": "malformed-json-500 malformed-json-200",
    "!surrogate": "surrogate-500",
    "!unknown path": "unknown-path-html unknown-path-200",
}
_PLAIN = str.maketrans("=:,", "-_.")  # a canary stands in a query
PROBE = {name: probe for probe, names in SHOWN_BY.items() for name in names.split()}

# Rows that change times and packets only, what happens when nobody reads, or what differs from one
# request to the next; they have tests of their own.
UNSEEN = {
    "models-created-changes", "change-created", "buffer-stream", "buffer-eight", "early-role",
    "one-byte-writes", "coalesced", "split-writes", "split-crlf", "split-blank-line",
    "split-codepoint", "odd-chunks", "ttft", "itl", "jitter", "silence", "stall", "slow-headers",
    "no-cancel", "no-cancel-early", "answered-from-cache", "pause-is-death", "cost-input-random",
    "accept-json-not-streamed", "echo-request-id", "some-500", "created-past",
    "crowd-loses-done", "crowd-mixes-streams",
}  # fmt: skip

# Rows of accounts, limits, embeddings and prompts, which have stories of their own, and of what is
# not chat, which have probes of their own.
ELSEWHERE = {
    name
    for name, row in FAULTS.items()
    if row.act.__module__.endswith(
        (
            ".accounts",
            ".limits",
            ".embeddings",
            ".omega",
            ".lunos",
            ".media",
            ".messages",
            ".messages_requests",
            ".routes",
        )
    )
} | {"malformed-auth-500", "malformed-auth-answered", "media-type-500", "media-type-ignored"}


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    """Give the address of a server in this process."""
    with serve_in_thread() as url:
        yield url


def text_of(name: str) -> str:
    """Return how a row is asked for, with an argument if it needs one."""
    row = FAULTS[name]
    if row.read is None or (row.default is not None and name not in ARGUMENTS):
        return name
    return f"{name}={ARGUMENTS.get(name, '5')}"


def probe(base: str, name: str, prefix: str = "", suffix: str = "") -> bytes:
    """Send the request of a probe, with deeds in its URL or after its model's name."""
    name = name.removeprefix("!")
    profile, _, rest = name.partition(" ")
    profile, name = (profile, rest) if profile == "osmapi" else ("openai", name)
    path = f"{prefix}/{profile}/v1"
    wait_s = 0.4
    if name == "malformed":
        return exchange(base, "POST", f"{path}/chat/completions", raw=b"{", timeout_s=wait_s)
    if name == "surrogate":
        raw = rb'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "\ud83d"}]}'
        return exchange(base, "POST", f"{path}/chat/completions", raw=raw, timeout_s=wait_s)
    if name in {"models", "models slash", "models without key"}:
        key = {"key": None} if name == "models without key" else {}
        tail = "/models/" if name == "models slash" else "/models"
        return exchange(base, "GET", path + tail, timeout_s=wait_s, **key)
    if name in {"model", "slash"}:
        model = "gpt-4o-mini" if name == "model" else "demo%2Fllama-3.1-8b"
        return exchange(base, "GET", f"{path}/models/{model}{suffix}", timeout_s=wait_s)
    if name == "unknown path":
        return exchange(base, "GET", f"{path}/nothing", timeout_s=wait_s)
    if name == "wrong method":
        return exchange(base, "GET", f"{path}/chat/completions", timeout_s=wait_s)
    body = chat(
        {"unasked": "plain", "wrong key": "plain"}.get(name, name.removesuffix(" stream")),
        stream=name.endswith(" stream") or name == "unasked",
        usage=name != "unasked",
        suffix=suffix,
    )
    key = {"key": "sk-wrong"} if name == "wrong key" else {}
    return exchange(base, "POST", f"{path}/chat/completions", body, timeout_s=wait_s, **key)


def test_every_row_has_a_probe_or_a_reason() -> None:
    """The tables here name rows that exist."""
    assert set(PROBE) | UNSEEN <= set(FAULTS)
    assert set(PROBE) & UNSEEN == set()


@pytest.mark.parametrize("name", sorted(set(FAULTS) - UNSEEN - ELSEWHERE))
def test_a_deed_is_seen(base: str, name: str) -> None:
    """It changes the answer, in the same way by URL and by the model's name."""
    shown = PROBE.get(name, "plain stream")
    healthy = settled(probe(base, shown))
    by_url = settled(probe(base, shown, f"/with/{text_of(name)}"))

    assert by_url != healthy
    if not shown.startswith("!"):
        assert settled(probe(base, shown, suffix=f"+{text_of(name)}")) == by_url


@pytest.mark.parametrize("name", sorted(UNSEEN - {"odd-chunks", "change-created"}))
def test_a_deed_in_time_leaves_the_bytes_alone(base: str, name: str) -> None:
    """What acts on times and packets changes no byte that is sent."""
    if name in {"models-created-changes", "cost-input-random", "some-500"}:
        return
    text = f"{name}=5" if FAULTS[name].read else name

    assert settled(probe(base, "plain stream", f"/with/{text}")) == settled(
        probe(base, "plain stream")
    )


def sends(base: str, deed: str, canary: str) -> list[tuple[str, int, int]]:
    """Return label, milliseconds after the request and size of each write of a paced stream."""
    messages = [{"role": "user", "content": f"{canary} Repeat exactly: é a b c d e f g h i"}]
    body = {"model": f"{MODEL}+ttft=20+itl=4", "messages": messages, "stream": True}
    exchange(base, "POST", f"/with/{deed}/v1/chat/completions", body)
    (entry,) = body_of(exchange(base, "GET", f"/_journal?canary={canary}"))["entries"]
    return [
        (send["label"], (send["at_ns"] - entry["at_ns"]) // 1_000_000, send["size"])
        for send in entry["sends"]
    ]


@pytest.mark.parametrize(
    ("deed", "least_ms"),
    [
        ("crlf", {"head": 20, "role": 20, "content": 20, "done": 56}),
        ("buffer-stream", {"head": 56, "role": 56, "content": 56, "done": 56}),
        ("buffer-eight", {"head": 40, "role": 40, "content": 40, "done": 56}),
        ("early-role", {"head": 0, "role": 0, "content": 20, "done": 56}),
        ("silence=80", {"head": 0, "role": 100, "content": 100, "done": 136}),
        ("slow-headers=80", {"head": 100, "role": 100, "content": 100, "done": 136}),
        ("stall=80,1", {"head": 20, "role": 20, "content": 20, "done": 136}),
        ("stall=80:1", {"head": 20, "role": 20, "content": 20, "done": 136}),
    ],
)
def test_deeds_in_time(base: str, deed: str, least_ms: dict[str, int]) -> None:
    """Each part of an answer leaves no earlier than the deed says."""
    seen: dict[str, int] = {}
    for label, at_ms, _ in sends(base, deed, f"timed-{deed.translate(_PLAIN)}"):
        seen.setdefault(label, at_ms)
    early = {label: seen[label] for label, least in least_ms.items() if seen[label] < least}

    assert early == {}


def test_packets_are_cut_where_the_deed_says(base: str) -> None:
    """One byte at a time, within a character, between line ends: each by a write of its own."""
    assert {size for _, _, size in sends(base, "one-byte-writes", "cut-1")} == {1}
    assert len(sends(base, "split-writes", "cut-2")) > len(sends(base, "crlf", "cut-3")) + 9
    assert len(sends(base, "split-codepoint", "cut-4")) == len(sends(base, "crlf", "cut-5")) + 1


def test_deeds_compose_in_order(base: str) -> None:
    """Several deeds apply one after the other, the upstream's before the gateway's."""
    body = chat("plain", stream=False, suffix="+midstream-error=2")
    body["stream"] = True
    answer = exchange(
        base, "POST", "/with/midstream-error-swallowed+crlf/v1/chat/completions", body
    )

    assert b"error" not in answer
    assert answer.count(b'"content":"') == 3
    assert b'"finish_reason":"stop"' in answer
    assert b"data: [DONE]\r\n\r\n" in answer


def test_any_two_deeds_compose(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is combined, the server has an answer, and no error of its own."""
    app = Options().app()
    choose = random.Random(7)
    names = sorted(FAULTS)
    probes = sorted(CHATS)
    for _ in range(400):
        deeds = "+".join(text_of(name) for name in choose.choices(names, k=2))
        profile = choose.choice(["openai", "osmapi"])
        body = chat(choose.choice(probes), stream=choose.random() < 0.7)
        headers = (("authorization", f"Bearer {KEY}"), ("content-type", "application/json"))
        request = Request(
            "POST",
            f"/with/{deeds}/{profile}/v1/chat/completions",
            headers,
            json.dumps(body).encode(),
        )
        answer = app.answer(request, read_at_ns=0, connection=1, close=False)

        assert sum(1 for _ in answer.steps) > 0, deeds
        assert capsys.readouterr().err == "", deeds


def test_a_parameter_may_be_a_path(base: str) -> None:
    """Fields are named by dots or slashes, with * for all members, percent-encoded in a URL."""
    got: list[Any] = []
    for deed in ("drop-field:usage", "drop-field:%2Fchoices%2F*%2Fmessage", "set-field:id=7"):
        body = chat("plain", stream=False)
        got.append(body_of(exchange(base, "POST", f"/with/{deed}/v1/chat/completions", body)))

    assert "usage" not in got[0]
    assert "message" not in got[1]["choices"][0]
    assert got[2]["id"] == 7


def test_a_dropped_parameter_is_not_in_the_journal(base: str) -> None:
    """The journal shows what the upstream got, after the gateway's faults."""
    body = {**chat("stop", stream=False), "user": "canary-dropped"}
    exchange(base, "POST", "/with/drop-parameter:stop/v1/chat/completions", body)
    (entry,) = body_of(exchange(base, "GET", "/_journal?canary=canary-dropped"))["entries"]
    del body["stop"]

    assert json.loads(entry["body"]) == body


def told(base: str, deeds: str, suffix: str = "", name: str = "osmapi plain stream") -> Any:
    """Return the usage of a stream, or of a body when no stream is named."""
    answer = probe(base, name, f"/with/{deeds}" if deeds else "", suffix)
    if not name.endswith(" stream"):
        return body_of(answer)["usage"]
    last = next(line for line in answer.splitlines() if b'"usage":{' in line)
    return json.loads(last.removeprefix(b"data: "))["usage"]


@pytest.mark.parametrize("text", ["usage=1234:567", "usage=1234,567", "usage:1234:567"])
@pytest.mark.parametrize("name", ["plain", "plain stream"])
def test_an_upstream_reports_the_counts_it_is_told(base: str, text: str, name: str) -> None:
    """The counts are exactly these, and their total is their sum."""
    usage = told(base, "", f"+{text}", name)
    got = [usage[f"{part}_tokens"] for part in ("prompt", "completion", "total")]

    assert got == [1234, 567, 1801]


def test_two_values_are_divided_by_a_colon_too(base: str) -> None:
    """A gateway that takes a comma for the end of a model's name lets a colon through."""
    body = chat("plain", stream=False, suffix="+status=429:3")
    answer = exchange(base, "POST", "/v1/chat/completions", body)

    assert answer.startswith(b"HTTP/1.1 429 ")
    assert b"Retry-After: 3\r\n" in answer


def test_a_deed_named_twice_is_done_once(base: str) -> None:
    """Costs that are already written with an exponent stay so."""
    once = told(base, "cost-exponent")

    assert told(base, "cost-exponent+cost-exponent") == once


def test_usage_that_nobody_asked_for_moves_nothing(base: str) -> None:
    """A stream without a usage chunk has its end where it was."""
    healthy = settled(probe(base, "unasked"))

    assert settled(probe(base, "unasked", "/with/usage-not-last")) == healthy


def test_a_usage_chunk_without_choices_is_else_whole(base: str) -> None:
    """Only the choices are left out of it."""
    answer = probe(base, "plain stream", "/with/choices-missing-on-usage")
    (last,) = [line for line in answer.splitlines() if b'"usage":{' in line]
    value = json.loads(last.removeprefix(b"data: "))

    assert sorted(value) == ["created", "id", "model", "object", "system_fingerprint", "usage"]


def test_an_empty_model_is_there(base: str) -> None:
    """The member is an empty string, not left out."""
    body = chat("plain", stream=False)
    answer = exchange(base, "POST", "/with/model-name-empty/v1/chat/completions", body)

    assert body_of(answer)["model"] == ""


@pytest.mark.parametrize("other", ["", "crlf+", "cr+", "comment-in-event+", "multi-line-data+"])
def test_data_lines_join_to_the_same_json(base: str, other: str) -> None:
    """Divided last, whatever was done to the events before."""
    answer = probe(base, "plain stream", f"/with/{other}multi-line-data")
    events = re.split(rb"\r\n\r\n(?=[:d])|\n\n|\r\r", re.sub(rb"\r\n[0-9a-f]+\r\n", b"", answer))
    texts = [
        b"\n".join(
            line.removeprefix(b"data: ")
            for line in re.split(rb"\r\n|\r|\n", event)
            if line.startswith(b"data: ")
        )
        for event in events
    ]
    objects = [json.loads(text) for text in texts if text.startswith(b"{")]

    assert len(objects) > 3
    assert max(text.count(b"\n") for text in texts) > 5


def test_an_answer_from_a_cache_is_in_no_journal(base: str) -> None:
    """The client gets the ordinary answer, and the upstream has never heard of it."""
    body = {**chat("plain", stream=False), "user": "canary-cached"}
    answer = exchange(base, "POST", "/with/answered-from-cache/v1/chat/completions", body)
    journal = body_of(exchange(base, "GET", "/_journal?canary=canary-cached"))

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert journal == {"entries": []}


def test_equal_input_costs_differently(base: str) -> None:
    """The cost of the input changes from one request to the next, and the sum stays right."""
    usages = [told(base, "cost-input-random", name="osmapi plain") for _ in range(2)]
    costs = [Decimal(str(usage["cost_usd_input"])) for usage in usages]
    rest = [
        Decimal(str(usage["cost_usd_total"])) - cost
        for usage, cost in zip(usages, costs, strict=True)
    ]

    assert costs[0] != costs[1]
    assert rest[0] == rest[1]


def test_accept_decides_against_the_stream(base: str) -> None:
    """Only Accept: application/json alone gets a body where a stream was asked for."""
    got = []
    for accept in ("application/json", "application/json, text/event-stream", "*/*"):
        answer = exchange(
            base, "POST", "/with/accept-json-not-streamed/v1/chat/completions",
            chat("plain", stream=True), headers=(f"Accept: {accept}",),
        )  # fmt: skip
        got.append(b"text/event-stream" in answer)

    assert got == [False, True, True]


def test_a_request_id_is_echoed_as_it_came(base: str) -> None:
    """However long and whatever is in it."""
    given = "x" * 600
    answer = exchange(
        base, "GET", "/with/echo-request-id/v1/models", headers=(f"X-Request-ID: {given}",)
    )

    assert f"x-request-id: {given}\r\n".encode() in answer


def test_one_body_in_four_fails(base: str) -> None:
    """The same body fails each time, and another one may not."""
    statuses = []
    for number in (*range(20), *range(20)):
        body = {**chat("plain", stream=False), "user": f"user-{number}"}
        answer = exchange(base, "POST", "/with/some-500/v1/chat/completions", body)
        statuses.append(answer.split(b" ")[1])

    assert set(statuses) == {b"200", b"500"}
    assert statuses[:20] == statuses[20:]


@pytest.mark.parametrize(
    ("gaps_ms", "labels"),
    [
        ([0, 0, 900, 900], ["role", "content", "content", "content"]),
        ([0, 0, 1100, 0], ["role", "content", "error"]),
        ([2000, 0], ["error"]),
    ],
)
def test_a_pause_ends_a_stream(gaps_ms: list[int], labels: list[str]) -> None:
    """An error comes a second after the last event before a pause of more than a second."""
    at_ms = itertools.accumulate(gaps_ms)
    steps = [
        Step(at * 1_000_000, b"{}", "content" if place else "role")
        for place, at in enumerate(at_ms)
    ]
    got = list(FAULTS["pause-is-death"].act(iter(steps)))

    assert [step.label for step in got] == labels
    if labels[-1] == "error":
        assert got[-1].at_ns == (got[-2].at_ns if len(got) > 1 else 0) + 1_000_000_000


@pytest.mark.parametrize(
    ("pace", "read", "outcome"),
    [("ttft=300", 0, "complete"), ("itl=20", 4, "cancelled")],
    ids=["before the first token", "in mid-stream"],
)
def test_only_early_leaving_is_overlooked(base: str, pace: str, read: int, outcome: str) -> None:
    """The upstream goes on when the client left before the first token, and stops later on."""
    canary = f"early-{outcome}"
    messages = [{"role": "user", "content": f"{canary} Repeat exactly: a b c d e f g h i j k l"}]
    body = {"model": f"{MODEL}+{pace}", "messages": messages, "stream": True}
    url = urlsplit(base)
    text = json.dumps(body).encode()
    head = (
        "POST /with/no-cancel-early/v1/chat/completions HTTP/1.1\r\n"
        f"Host: {url.netloc}\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
    )
    with socket.create_connection((url.hostname, url.port), timeout=5) as sock:
        sock.sendall(head.encode() + text)
        seen = b""
        while seen.count(b"data: ") < read:
            seen += sock.recv(65_536)
    deadline = time.monotonic() + 5
    entry = {"outcome": "open"}
    while entry["outcome"] == "open" and time.monotonic() < deadline:
        (entry,) = body_of(exchange(base, "GET", f"/_journal?canary={canary}"))["entries"]

    assert entry["outcome"] == outcome


@pytest.mark.parametrize(
    ("deed", "fields", "status"),
    [
        ("refuse-field:messages.*.role=system", {"messages": REMEMBER}, 400),
        ("refuse-field:messages.*.role=system", {"messages": HELLO}, 200),
        ("refuse-field:messages.*.content.0", {"messages": [{"role": "user", "content": PARTS}]},
         400),
        ("refuse-field:messages.*.content.0", {"messages": HELLO}, 200),
        ("refuse-field:temperature=2", {"messages": HELLO, "temperature": 2}, 400),
        ("refuse-field:temperature=2", {"messages": HELLO, "temperature": 1}, 200),
        ("refuse-field:n=1", {"messages": HELLO, "n": 1}, 400),
        ("refuse-field:logprobs=1", {"messages": HELLO, "logprobs": True}, 200),
        ("refuse-field:logprobs=true", {"messages": HELLO, "logprobs": True}, 400),
        ("refuse-field:stop", {"messages": HELLO, "stop": None}, 400),
        ("crash-on-field:not_known", {"messages": HELLO, "not_known": 1}, 500),
        ("crash-on-field:not_known", {"messages": HELLO}, 200),
    ],
)  # fmt: skip
def test_members_are_found_by_path_and_value(
    base: str, deed: str, fields: dict[str, Any], status: int
) -> None:
    """A request is refused or crashes the gateway only when it has the member (with the value)."""
    body = {"model": MODEL, **fields}
    answer = exchange(base, "POST", f"/with/{deed}/v1/chat/completions", body)

    assert answer.startswith(b"HTTP/1.1 %d " % status)


def test_deeds_of_the_whole_server() -> None:
    """What the server was started with applies to every call."""
    with serve_in_thread(Options(behaviours=("drop-done", "tokens=7"))) as base:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "stream": True}
        answer = exchange(base, "POST", "/v1/chat/completions", body)

    assert b"[DONE]" not in answer
    assert answer.count(b'"delta":{"content":') == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("drop-don", "drop-done"),
        ("", "Known"),
        ("crlf:1", "takes no parameter"),
        ("itl", "needs a parameter"),
        ("itl=-1", "wanted 0 to 3600000"),
        ("itl=99999999", "wanted 0 to 3600000"),
        ("status=200", "wanted 400 to 599"),
        ("drop-field:", "wanted a path"),
        ("drop-parameter:", "wanted the name"),
        ("set-field:a", "wanted PATH=JSON"),
        ("set-field:a={", "takes PATH=JSON"),
        ("finish=maybe", "wanted one of stop"),
        ("coalesced=1", "wanted 2 to 1000"),
        ("refuse-field:", "wanted a path"),
        ("drop-header:", "wanted the name of a header"),
        ("set-header:Server", "wanted NAME=VALUE"),
        ("chokes-on-oddity:drop-done", "wanted the name of an oddity"),
        ("usage=7", "wanted 0 to 1000000000"),
        ("status=429:soon", "wanted 0 to 86400"),
    ],
)
def test_a_wrong_name_is_answered_with_what_would_do(base: str, text: str, said: str) -> None:
    """As an option an error, in a URL a 400, after a model's name an unknown model."""
    with pytest.raises(OptionError) as caught:
        parse(text)
    if text and "{" not in text:
        answer = exchange(base, "GET", f"/with/{text}/v1/models")
        status, body = ask_suffix(base, text)

        assert said in body_of(answer)["error"]["message"]
        assert (status, body["error"]["code"]) == (404, "model_not_found")
        assert said in body["error"]["message"]
    assert said in str(caught.value) or not text


def ask_suffix(base: str, text: str) -> tuple[int, Any]:
    """Send a chat whose model has a suffix."""
    body = chat("plain", stream=False, suffix=f"+{text}")
    answer = exchange(base, "POST", "/v1/chat/completions", body)
    return int(answer.split(b" ", 2)[1]), body_of(answer)


def test_rows_say_what_they_do() -> None:
    """Each row has a name in kebab-case, a sentence, and a reader if it has a parameter."""
    for row in FAULTS.values():
        assert row.name == row.name.lower().replace("_", "-")
        assert row.says[0].isupper()
        assert row.says.endswith(".")
        assert bool(row.parameter) == (row.read is not None)
    kinds = [row.kind for row in FAULTS.values()]

    assert kinds.count("fault") >= 45
    assert kinds.count("oddity") >= 10
