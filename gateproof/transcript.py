"""What was asked, and the wire as it came: the record that every verdict rests on.

A transcript holds the exchanges of one scenario. An exchange keeps the raw reads of its connection
with their times, before HTTP decoding; everything else (response, events) is derived from them, so
that a recorded run is judged exactly as the live one was. Secrets are already marks when an
exchange is made (see ``gateproof.redact``).
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

from gateproof import sse
from gateproof.wire import Read, Response, parse_response

__all__ = ["OWN_ERROR", "Ask", "End", "Exchange", "Mark", "Transcript", "from_json", "to_json"]

OWN_ERROR = "gateproof's own error: "  # how the problem of a scenario begins that broke itself

# How the recording of an exchange ended, as the client saw it.
End: TypeAlias = Literal[
    "closed",  # the peer closed its side, or the response was over
    "reset",  # the connection broke
    "cancelled",  # our own act: the scenario wanted to leave
    "idle-timeout",  # nothing came for too long
    "total-timeout",  # it never ended
    "too-large",  # more bytes than we take from anyone
    "refused",  # no connection: refused, unresolved, TLS failure
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request to be made, and the client's own acts while it is answered.

    ``path`` is relative to the target's base URL. ``auth`` is ``key`` or ``wrong``, sent as the
    target's profile takes keys or as ``:bearer`` or ``:x-api-key`` behind the word says; ``none``;
    or the literal value of an Authorization header. ``cancel_after_events`` leaves once so many
    blank-line frames of the body have come; ``cancel_after_s`` leaves so long after it was sent.
    ``after_s`` is how long to wait before it is made. ``label`` tells the exchanges of one scenario
    apart.

    Other credentials: ``plan:NAME`` is a further key of the target, ``login`` its user name and
    password as HTTP Basic. ``issues`` is a name of our own for a secret that the answer gives (a
    new key, a session): from then on it is covered, and ``issued:NAME`` sends it as a bearer,
    ``cookie:NAME`` as the cookie that was set.
    """

    path: str
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    auth: str = "key"
    label: str = ""
    cancel_after_events: int | None = None
    cancel_after_s: float | None = None
    idle_timeout_s: float | None = None
    after_s: float | None = None
    issues: str | None = None

    @classmethod
    def json(cls, path: str, value: object, **more: Any) -> "Ask":
        """Build a POST of a JSON value."""
        body = json.dumps(value, ensure_ascii=False).encode()
        headers = (("content-type", "application/json"), *more.pop("headers", ()))
        return cls(path=path, body=body, headers=headers, **more)

    @property
    def value(self) -> Any:
        """Return the JSON value of the body; ``None`` when it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Mark:
    """A secret that was found and covered: its name, where, and how it was written there."""

    name: str
    part: Literal["sent", "received"]
    offset: int
    length: int
    encoding: str


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One request and all that came back on its connection.

    Not slotted: the derived views are computed once and kept on the instance. ``sent`` and
    ``received`` are the raw reads and writes with secrets covered.
    """

    ask: Ask
    url: str
    started_ns: int
    connected_ns: int
    ended_ns: int
    ended: End
    error: str = ""
    sent: tuple[Read, ...] = ()
    received: tuple[Read, ...] = ()
    marks: tuple[Mark, ...] = ()
    attempts: int = 1

    @cached_property
    def response(self) -> Response | None:
        """The response as HTTP/1.1 reads it; ``None`` when no whole head came."""
        return parse_response(
            self.received,
            method=self.ask.method,
            closed=self.ended == "closed",
            upgrade=any(name.lower() == "upgrade" for name, _ in self.ask.headers),
        )

    @cached_property
    def _decoded(self) -> tuple[tuple[sse.Frame, ...], tuple[sse.Anomaly, ...]]:
        decoder = sse.Decoder()
        frames: list[sse.Frame] = []
        if self.response is not None:
            for piece in self.response.pieces:
                frames += decoder.feed(piece.data, piece.at_ns)
            frames += decoder.close()
        return tuple(frames), tuple(decoder.anomalies)

    @property
    def frames(self) -> tuple[sse.Frame, ...]:
        """The body read as an event stream: every frame, dispatched or not."""
        return self._decoded[0]

    @property
    def events(self) -> tuple[sse.Event, ...]:
        """The events that the standard dispatches."""
        return tuple(frame.event for frame in self.frames if frame.event is not None)

    @property
    def anomalies(self) -> tuple[sse.Anomaly, ...]:
        """What is odd about the body read as an event stream."""
        return self._decoded[1]

    @property
    def sent_ns(self) -> int:
        """When the request had gone out."""
        return self.sent[-1].at_ns if self.sent else self.started_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """The exchanges of one scenario, in order, and what a controlled upstream saw of them.

    ``problem`` says why a scenario was not made to its end, empty when it was. ``upstream`` holds
    the journal entries of the controlled upstream that carry this scenario's
    canary, or ``None`` when there is no such upstream.
    """

    scenario: str
    exchanges: tuple[Exchange, ...]
    canary: str = ""
    upstream: tuple[Mapping[str, Any], ...] | None = None
    problem: str = ""
    use: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, index: int) -> Exchange:
        return self.exchanges[index]

    def __len__(self) -> int:
        return len(self.exchanges)

    def labelled(self, label: str) -> tuple[Exchange, ...]:
        """Return the exchanges whose ask carries a label."""
        return tuple(e for e in self.exchanges if e.ask.label == label)


def to_json(transcript: Transcript) -> dict[str, Any]:
    """Return a transcript as JSON values; bytes are text where they are UTF-8, else base64."""
    return {
        "scenario": transcript.scenario,
        "canary": transcript.canary,
        "problem": transcript.problem,
        "use": dict(transcript.use),
        "exchanges": [_exchange_json(exchange) for exchange in transcript.exchanges],
        "upstream": None if transcript.upstream is None else list(transcript.upstream),
    }


def from_json(value: Mapping[str, Any]) -> Transcript:
    """Read what ``to_json`` wrote; raises ``ValueError`` or ``KeyError`` on anything else."""
    upstream = value["upstream"]
    return Transcript(
        scenario=value["scenario"],
        canary=value["canary"],
        problem=value["problem"],
        use=value["use"],
        exchanges=tuple(_exchange_from(item) for item in value["exchanges"]),
        upstream=None if upstream is None else tuple(upstream),
    )


def _exchange_json(exchange: Exchange) -> dict[str, Any]:
    ask = exchange.ask
    base_ns = exchange.started_ns
    acts = {
        name: getattr(ask, name)
        for name in (
            "cancel_after_events",
            "cancel_after_s",
            "idle_timeout_s",
            "after_s",
            "issues",
        )
        if getattr(ask, name) is not None
    }
    return {
        "label": ask.label,
        "method": ask.method,
        "url": exchange.url,
        "path": ask.path,
        "headers": [list(pair) for pair in ask.headers],
        "auth": ask.auth,
        "body": _bytes_json(ask.body),
        "acts": acts,
        "started_ns": base_ns,
        "connected_ns": exchange.connected_ns,
        "ended_ns": exchange.ended_ns,
        "ended": exchange.ended,
        "error": exchange.error,
        "attempts": exchange.attempts,
        "marks": [[m.name, m.part, m.offset, m.length, m.encoding] for m in exchange.marks],
        "sent": _reads_json(exchange.sent, base_ns),
        "received": _reads_json(exchange.received, base_ns),
    }


def _exchange_from(value: Mapping[str, Any]) -> Exchange:
    if value["ended"] not in get_args(End):
        raise ValueError(f"unknown end of an exchange: {value['ended']!r}")
    base_ns = value["started_ns"]
    return Exchange(
        ask=Ask(
            path=value["path"],
            method=value["method"],
            headers=tuple((name, text) for name, text in value["headers"]),
            body=_bytes_from(value["body"]),
            auth=value["auth"],
            label=value["label"],
            **value["acts"],
        ),
        url=value["url"],
        started_ns=base_ns,
        connected_ns=value["connected_ns"],
        ended_ns=value["ended_ns"],
        ended=value["ended"],
        error=value["error"],
        attempts=value["attempts"],
        marks=tuple(Mark(*mark) for mark in value["marks"]),
        sent=_reads_from(value["sent"], base_ns),
        received=_reads_from(value["received"], base_ns),
    )


def _bytes_json(data: bytes) -> str | dict[str, str]:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def _bytes_from(value: str | Mapping[str, str]) -> bytes:
    return value.encode() if isinstance(value, str) else base64.b64decode(value["base64"])


def _reads_json(reads: Sequence[Read], base_ns: int) -> list[list[Any]]:
    return [[read.at_ns - base_ns, _bytes_json(read.data)] for read in reads]


def _reads_from(value: Sequence[Sequence[Any]], base_ns: int) -> tuple[Read, ...]:
    return tuple(Read(base_ns + after_ns, _bytes_from(data)) for after_ns, data in value)
