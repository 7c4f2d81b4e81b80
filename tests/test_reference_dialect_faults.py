"""Faults of Messages, Lunos, completions, images and audio: each is seen where it should be.

Each row has the probe that shows it. Under its fault the answer to that probe is another one, and
a chat of the upstream's is the same as ever.
"""

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from gateproof.reference_server.app import App, Request
from gateproof.reference_server.faults import FAULTS
from gateproof.reference_server.journal import Journal

from tests.reference_calls import DEMO
from tests.test_reference_faults import text_of

OLD = {"x-api-key": DEMO, "anthropic-version": "2023-06-01"}
NEW = {"authorization": f"Bearer {DEMO}", "anthropic-version": "2026-10-21"}
BEARER = {"authorization": f"Bearer {DEMO}"}
MODEL = "claude-sonnet-4-6"
TEXT = [{"role": "user", "content": "Repeat exactly: one two three"}]
BLOCKS = [{"role": "user", "content": [{"type": "text", "text": "Count from 1 to 3"}]}]
TOOL = {"name": "f", "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}}}
CALLS = [{"role": "user", "content": 'Call f with {"a":"x"} and Call f with {"a":"y"}'}]
THINKING = {"max_tokens": 3000, "thinking": {"type": "enabled", "budget_tokens": 1024}}
WAV = b"RIFF....WAVE"
HANDSHAKE = {
    **BEARER,
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-key": base64.b64encode(b"0123456789abcdef").decode(),
    "sec-websocket-version": "13",
}
Probe = tuple[str, str, Any, dict[str, str]]


def messages(headers: dict[str, str] | None = None, **more: Any) -> Probe:
    """Ask for a message."""
    body = {"model": MODEL, "max_tokens": 100, "messages": TEXT, **more}
    kept = {name: value for name, value in body.items() if value is not None}
    return "POST", "/anthropic/v1/messages", kept, OLD if headers is None else headers


def lunos(route: str, headers: dict[str, str] | None = None, **body: Any) -> Probe:
    """Ask Lunos: with a body by POST, without one by GET."""
    method = "POST" if body else "GET"
    return method, f"/lunos/v1/{route}", body or None, {**BEARER, **(headers or {})}


def openai(route: str, **body: Any) -> Probe:
    """Ask the upstream."""
    return "POST", f"/openai/v1/{route}", body, BEARER


def form(*fields: tuple[str, str]) -> Probe:
    """Ask for a transcription; the field ``file`` is a file."""
    text = b""
    for name, value in fields:
        file = '; filename="a.wav"' if name == "file" else ""
        head = f'--edge\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n{value}\r\n'
        text += head.encode()
    headers = {**BEARER, "content-type": "multipart/form-data; boundary=edge"}
    return "POST", "/openai/v1/audio/transcriptions", text + b"--edge--\r\n", headers


CHAT = openai("chat/completions", model="gpt-4o-mini", messages=TEXT)
LUNOS_CHAT = {"model": "openai/gpt-4o", "messages": TEXT}
COMPLETION = {"model": "openai/gpt-3.5-turbo-instruct", "prompt": "Repeat exactly: one"}
INSTRUCT = {"model": "gpt-3.5-turbo-instruct", "prompt": "Repeat exactly: one"}
DRAWING = {"prompt": "x", "n": 2, "response_format": "b64_json"}
SPEECH = {"model": "tts-1", "voice": "alloy", "input": "Hello"}
FILE, WHISPER = ("file", "noise"), ("model", "whisper-1")
STREAM = messages(stream=True)
TOOL_STREAM = messages(stream=True, messages=CALLS, tools=[TOOL])
COUNT = ("POST", "/anthropic/v1/messages/count_tokens", {"model": MODEL, "messages": TEXT}, OLD)
REALTIME = ("GET", "/osmapi/v1/realtime?model=gpt-realtime", None, HANDSHAKE)

PROBES: dict[str, tuple[Probe, str]] = {
    "stream": (
        STREAM,
        ("messages-no-event-lines messages-event-name-wrong messages-start-missing "
        "messages-stop-missing messages-end-missing messages-block-start-missing "
        "messages-block-stop-missing messages-delta-after-stop messages-start-twice "
        "messages-start-has-content messages-index-from-1 messages-block-start-bare "
        "messages-text-untyped messages-start-usage-missing messages-start-input-zero "
        "messages-end-usage-missing messages-end-usage-rest messages-stop-reason-null "
        "messages-done messages-foreign-members messages-pings messages-no-pings "
        "messages-unknown-events messages-two-ends messages-empty-block messages-unknown-block "
        # faults of chats that act here too
        "first-token-lost token-twice content-empty text-altered model-name-replaced "
        "usage-missing usage-zero usage-negative usage-string crlf comments "
        "reordered-keys json-whitespace multi-line-data midstream-error cut stream-ignored "
        "no-request-id"),
    ),
    "tools stream": (
        TOOL_STREAM,
        ("messages-index-same messages-index-gap messages-tool-start-no-input "
        "messages-tool-start-no-name messages-tool-start-full-input messages-delta-type-wrong "
        "messages-no-first-json tool-args-cut tool-ids-duplicate tool-finish-stop "
        "tool-name-unknown"),
    ),
    "tools": (messages(messages=CALLS, tools=[TOOL]), "messages-tool-input-string"),
    "failing stream": (
        messages(stream=True, model=f"{MODEL}+midstream-error"),
        "messages-error-without-event-line messages-error-openai-shape",
    ),
    "thinking": (messages(**THINKING), "thinking-signature-lost"),
    "stop": (
        messages(stop_sequences=["two"]),
        "messages-stop-sequence-null stop-ignored stop-kept-in-content",
    ),
    "limit": (messages(max_tokens=2), "max-tokens-ignored usage-over-limit"),
    "system blocks": (
        messages(system=[{"type": "text", "text": "x"}]),
        "messages-system-blocks-refused",
    ),
    "blocks": (messages(messages=BLOCKS), "messages-history-blocks-refused"),
    "no limit": (messages(max_tokens=None), "messages-max-tokens-optional validation-500"),
    "thread": (messages(thread={"type": "create"}), "thread-ignored"),
    "no messages": (messages(messages=None), "missing-messages-200"),
    "no model": (messages(model=None), "missing-model-200"),
    "wrong value": (
        messages(temperature=3),
        ("validation-ignored error-openai-shape error-type-wrong error-type-unknown "
        "error-message-missing error-html error-empty error-200"),
    ),
    "wrong messages": (messages(messages="x"), "messages-type-200"),
    "wrong model": (messages(model="x"), "unknown-model-500 unknown-model-200"),
    "not JSON": (
        ("POST", "/anthropic/v1/messages", b"{", OLD),
        "malformed-json-500 malformed-json-200",
    ),
    "old": (messages(OLD), "version-2023-refused x-api-key-refused ratelimit-reset-seconds"),
    "new": (messages(NEW), "version-2026-refused version-2026-500 bearer-refused"),
    "no version": (messages({"x-api-key": DEMO}), "version-optional"),
    "wrong key": (
        messages({**OLD, "x-api-key": "x"}),
        "auth-type-wrong auth-500 auth-403 auth-ignored",
    ),
    "count": (COUNT, "count-tokens-404 count-tokens-string count-tokens-differs"),
    # Lunos
    "lunos chat": (
        lunos("chat/completions", **LUNOS_CHAT),
        "envelope-on-chat provider-wrong",
    ),
    "lunos completion": (
        lunos("completions", **COMPLETION),
        ("openai-completions completion-choices-missing completion-text-missing "
        "completion-as-chat completions-finish-missing"),
    ),
    "lunos unknown model": (
        lunos("chat/completions", model="none", messages=TEXT),
        "unknown-model-message-vague",
    ),
    "lunos models": (
        lunos("models"),
        ("models-envelope model-price-missing model-modalities-missing model-id-missing "
        "model-id-repeated model-list-empty models-refused-with-key"),
    ),
    "lunos output": (lunos("models?output=image"), "filter-output-ignored"),
    "lunos input": (lunos("models?input=audio"), "filter-input-ignored"),
    "lunos two": (lunos("models?output=image,embedding"), "filter-first-only"),
    "lunos unknown": (
        lunos("models?output=smell"),
        "filter-unknown-lists-all filter-unknown-500",
    ),
    "lunos both": (lunos("models?input=image&output=text"), "filters-or"),
    "lunos comma": (lunos("models?output=image%2Cembedding"), "filter-encoded-comma-ignored"),
    "lunos balance": (
        lunos("balance"),
        ("balance-string balance-missing balance-alert-missing balance-low-wrong "
        "balance-alert-contradicts"),
    ),
    "lunos no key": (
        ("GET", "/lunos/v1/balance", None, {}),
        "balance-without-auth",
    ),
    "lunos app": (
        lunos("chat/completions", {"x-app-id": "billing-v2"}, **LUNOS_CHAT),
        "app-id-refused app-id-other-shape",
    ),
    "lunos long app": (
        lunos("chat/completions", {"x-app-id": "x" * 256}, **LUNOS_CHAT),
        "app-id-long-500",
    ),
    "lunos body app": (
        lunos("chat/completions", **LUNOS_CHAT, appId="x"),
        "app-id-body-refused",
    ),
    "lunos observed": (
        lunos("chat/completions", **LUNOS_CHAT, observability=True),
        "observability-refused observability-other-shape",
    ),
    "lunos wrongly observed": (
        lunos("chat/completions", **LUNOS_CHAT, observability="yes"),
        "observability-type-500",
    ),
    # Completions, images, audio, realtime
    "completion stream": (openai("completions", **INSTRUCT, stream=True),
                          "completion-stream-as-chat"),
    "no prompt": (openai("completions", model=INSTRUCT["model"]),
                  "completions-missing-prompt-200 completions-refused-500"),
    "no completion model": (openai("completions", prompt="x"), "completions-missing-model-200"),
    "hot": (openai("completions", **INSTRUCT, temperature=2), "completions-range-end-refused"),
    "too hot": (openai("completions", **INSTRUCT, temperature=3), "completions-range-ignored"),
    "images": (
        openai("images/generations", **DRAWING),
        ("images-count-ignored images-created-missing images-format-ignored "
        "images-base64-garbage images-empty"),
    ),
    "no JSON": (
        ("POST", CHAT[1], json.dumps(CHAT[2]).encode(), {**BEARER, "content-type": "text/plain"}),
        "media-type-500 media-type-ignored",
    ),
    "no bearer": (
        ("POST", CHAT[1], CHAT[2], {"authorization": DEMO}),
        "malformed-auth-500 malformed-auth-answered",
    ),
    "no image prompt": (openai("images/generations", n=1), "images-missing-prompt-200"),
    "speech": (openai("audio/speech", **SPEECH), "speech-as-json speech-empty speech-type-wrong"),
    "transcription": (form(FILE, WHISPER), "audio-text-missing audio-order"),
    "words": (
        form(WHISPER, FILE, ("response_format", "verbose_json"),
             ("timestamp_granularities[]", "word")),
        "audio-granularities-ignored audio-format-ignored",
    ),
    "no file": (form(WHISPER), "audio-missing-file-200 audio-refused-500"),
    "no audio model": (form(FILE), "audio-missing-model-200"),
    "streamed transcription": (
        form(("model", "gpt-4o-mini-transcribe"), FILE, ("stream", "true")),
        "audio-stream-done",
    ),
    "handshake": (REALTIME, "realtime-accept-wrong realtime-200"),
    "no handshake": (("GET", REALTIME[1], None, BEARER),
                     "realtime-plain-200 realtime-refused-500"),
    "strange handshake": (
        ("GET", REALTIME[1], None, {**HANDSHAKE, "authorization": "Bearer x"}),
        "realtime-without-auth",
    ),
}  # fmt: skip
SHOWN = [(name, probe) for probe, names in PROBES.values() for name in names.split()]
ARGUMENTS = {"models-envelope": "list"}

# What shows in the journal, in the balance, or over two turns only.
STORIES = {
    "app-id-lost", "observability-always", "observability-never", "balance-rises",
    "balance-not-charged", "balance-charged-twice", "balance-rounded",
    "thinking-signature-altered",
}  # fmt: skip

_FRESH = re.compile(
    rb"(req|msg|toolu|chatcmpl|cmpl|resp|call)[_-][0-9a-f]{12,}|Date: [^\r]*"
    rb'|"(created|updatedAt)":"?[^,}]*|anthropic-ratelimit-[a-z]+-remaining: [0-9]+'
    rb"|anthropic-ratelimit-[a-z]+-reset: [0-9T:-]+Z|Content-Length: [0-9]+"
)


@pytest.fixture(scope="module")
def app() -> App:
    """Return one gateway for all tests of this file."""
    return App(journal=Journal(1_000_000))


def ask(app: App, probe: Probe, fault: str = "") -> bytes:
    """Send a probe; return what would go over the wire, without what is new in each answer."""
    method, path, body, headers = probe
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = {"host": "test", "content-type": "application/json", **headers}
    target = f"/with/{fault}{path}" if fault else path
    answer = app.answer(
        Request(method, target, tuple(lines.items()), data),
        read_at_ns=0, connection=1, close=False,
    )  # fmt: skip
    acts = b"".join(step.data + step.act.encode() for step in answer.steps)
    return _FRESH.sub(b"*", acts)


def test_every_row_has_a_probe_or_a_story() -> None:
    """No row of these files is left out, and none is made up."""
    here = {
        name
        for name, row in FAULTS.items()
        if row.act.__module__.endswith((".lunos", ".media", ".messages"))
    }

    assert here - {name for name, _ in SHOWN} - STORIES == set()


@pytest.mark.parametrize(("name", "probe"), SHOWN, ids=[name for name, _ in SHOWN])
def test_a_deed_is_seen(app: App, name: str, probe: Probe) -> None:
    """It changes the answer to its probe."""
    row = FAULTS[name]
    text = f"{name}:{ARGUMENTS[name]}" if name in ARGUMENTS else name

    assert ask(app, probe, text) != ask(app, probe)
    if row.act.__module__.endswith((".lunos", ".media", ".messages")):
        assert ask(app, CHAT, text) == ask(app, CHAT)


EVERYWHERE = (
    STREAM,
    TOOL_STREAM,
    messages(messages=CALLS, tools=[TOOL]),
    messages(temperature=3),
    COUNT,
    ("GET", "/anthropic/v1/models", None, OLD),
    lunos("chat/completions", **LUNOS_CHAT, stream=True),
    lunos("completions", **COMPLETION),
    lunos("balance"),
    lunos("models"),
    openai("completions", **INSTRUCT, stream=True, stream_options={"include_usage": True}),
    openai("embeddings", model="text-embedding-3-small", input=["a", "b"], dimensions=2),
    openai("images/generations", **DRAWING),
    openai("audio/speech", **SPEECH),
    form(FILE, WHISPER),
    form(("model", "gpt-4o-mini-transcribe"), FILE, ("stream", "true")),
    REALTIME,
)


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_no_deed_fails_in_another_dialect(
    app: App, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is made for one kind of answers does its deed in others or leaves them alone."""
    for probe in EVERYWHERE:
        ask(app, probe, text_of(name))

    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", sorted(STORIES))
def test_a_story_leaves_chats_alone(app: App, name: str) -> None:
    """What shows elsewhere does not show in a chat."""
    assert ask(app, CHAT, name) == ask(app, CHAT)


def balance(app: App, fault: str = "") -> float:
    """Read Lunos' balance."""
    path = f"/with/{fault}/lunos/v1/balance" if fault else "/lunos/v1/balance"
    answer = app.answer(
        Request("GET", path, tuple({"host": "x", **BEARER}.items())),
        read_at_ns=0, connection=1, close=False,
    )  # fmt: skip
    text = b"".join(step.data for step in answer.steps).partition(b"\r\n\r\n")[2]
    return float(json.loads(text)["data"]["balance"])


@pytest.mark.parametrize(
    ("fault", "judge"),
    [
        ("", lambda cost: cost > 0),
        ("balance-not-charged", lambda cost: cost == 0),
        ("balance-rises", lambda cost: cost < 0),
    ],
)
def test_the_balance_moves_as_told(app: App, fault: str, judge: Callable[[float], bool]) -> None:
    """An answer is charged once, or as wrongly as its fault says."""
    before = balance(app, fault)
    ask(app, lunos("chat/completions", **LUNOS_CHAT), fault)

    assert judge(round(before - balance(app, fault), 9))


def test_an_answer_is_charged_twice(app: App) -> None:
    """Twice the cost leaves the balance, which the rounded one does not show."""
    costs = []
    for fault in ("", "balance-charged-twice"):
        before = balance(app)
        ask(app, lunos("chat/completions", **LUNOS_CHAT), fault)
        costs.append(round(before - balance(app), 9))

    assert costs[1] == 2 * costs[0]
    assert balance(app, "balance-rounded") == round(balance(app), 2) != balance(app)


@pytest.mark.parametrize(
    ("fault", "notes"),
    [
        ("", ("billing-v2", True, False)),
        ("app-id-lost", ("unknown", True, False)),
        ("observability-always", ("billing-v2", True, True)),
        ("observability-never", ("billing-v2", False, False)),
    ],
)
def test_the_journal_has_the_notes(app: App, fault: str, notes: tuple[str, bool, bool]) -> None:
    """Application and observation are noted, or as wrongly as the fault says."""
    seen = []
    for wish in ({"observability": True}, {}):
        probe = lunos("chat/completions", {"x-app-id": "billing-v2"}, **LUNOS_CHAT, **wish)
        ask(app, probe, fault)
        entry = app.journal.report()["entries"][-1]
        seen += [entry["app"], "observed" in entry]

    assert (seen[0], seen[1], seen[3]) == notes


def test_an_old_answer_says_so(app: App) -> None:
    """Created is days off under its fault, which the other probes do not look at."""
    times = []
    for fault in ("", "created-past"):
        method, path, body, headers = CHAT
        request = Request(
            method, f"/with/{fault}{path}" if fault else path,
            tuple({"host": "x", "content-type": "application/json", **headers}.items()),
            json.dumps(body).encode(),
        )  # fmt: skip
        answer = app.answer(request, read_at_ns=0, connection=1, close=False)
        text = b"".join(step.data for step in answer.steps).partition(b"\r\n\r\n")[2]
        times.append(json.loads(text)["created"])

    assert (times[0] - times[1]) // 86_400 == 400


@pytest.mark.parametrize(
    ("fault", "wanted"),
    [
        ("error-as-text", ["text", "content_block_stop", "message_delta", "message_stop"]),
        ("midstream-error-swallowed", ["content_block_stop", "message_delta", "message_stop"]),
        ("clean-end-after-error", ["message_delta", "error", "message_stop"]),
    ],
)
def test_failures_are_covered_up_in_the_dialect(app: App, fault: str, wanted: list[str]) -> None:
    """A gateway that hides an upstream's error ends a message as messages end."""
    probe = messages(stream=True, model=f"{MODEL}+midstream-error")
    answer = ask(app, probe, fault)
    names = re.findall(rb"event: ([a-z_]+)", answer)
    told = ["text"] if b"the upstream failed" in answer else []

    assert [*told, *(name.decode() for name in names)][-len(wanted) :] == [
        "content_block_delta" if name == "text" else name for name in wanted
    ]
    assert ("text" in wanted) == bool(told)


def test_an_altered_signature_is_found_in_the_next_turn(app: App) -> None:
    """A thought whose seal was changed on the way is refused by the model."""
    text = ask(app, messages(**THINKING)).partition(b"\r\n\r\n")[2]
    thought = json.loads(re.sub(rb'"id":"\*"', b'"id":"m"', text))["content"][0]
    history = [*TEXT, {"role": "assistant", "content": [thought]}, *TEXT]
    probe = messages(**THINKING, messages=history)

    assert ask(app, probe).startswith(b"HTTP/1.1 200")
    assert ask(app, probe, "thinking-signature-altered").startswith(b"HTTP/1.1 400")
