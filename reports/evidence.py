"""What stands under a finding: the reads of one exchange with their times, cut to what matters.

An event stream is shown frame by frame, everything else read by read. Of a long exchange only its
beginning, its end and the surroundings of the place in question are shown, and each cut says how
much was left out; the whole is in the transcript file. Times are milliseconds since the exchange
began.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from gateproof.summary import told
from gateproof.transcript import Exchange, Transcript

from .curl import curl_command
from .visible import show, show_bytes

__all__ = ["Evidence", "Row", "evidence_of"]

EDGE_ROWS = 2
NEAR_ROWS = 3
ROW_BYTES = 700
PLACE_BYTES = 1600
SENT_BYTES = 1800
JOURNAL_ENTRIES = 3


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the wire: when, what it is, its bytes as markup; or a cut (``kind`` is "cut")."""

    kind: str  # sent, head, read, frame, end, cut, upstream
    at_ms: str
    label: str
    text: Markup
    here: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """One exchange, ready to be shown: a heading, its rows, how to make it again, where it is."""

    title: str
    rows: tuple[Row, ...]
    reads: tuple[Row, ...]
    upstream: tuple[Row, ...]
    curl: str
    file: str
    cut: bool

    @property
    def size(self) -> int:
        """Return about how many bytes of the page this takes."""
        rows = (*self.rows, *self.reads, *self.upstream)
        return len(self.curl) + sum(len(row.text) + 120 for row in rows)


@dataclass(frozen=True, slots=True)
class _Part:
    """A stretch of the answer before it is cut: bytes of a frame or of a read."""

    kind: str
    at_ns: int
    label: str
    data: bytes
    mark: tuple[int, int] | None = None
    here: bool = False


def evidence_of(
    transcript: Transcript,
    at: Mapping[str, Any] | None,
    key_env: str | None,
    *,
    named: bool = False,
) -> Evidence | None:
    """Return the exchange that a place names, ready to be shown; ``None`` when there is none.

    ``named`` puts the scenario's name before its title, where several are shown.
    """
    place = at or {}
    index = place.get("exchange") or 0
    if not isinstance(index, int) or not 0 <= index < len(transcript.exchanges):
        return None
    exchange = transcript.exchanges[index]
    offset, frame = place.get("offset"), place.get("frame")
    reads = _reads(exchange, offset if frame is None else _frame_start(exchange, frame))
    frames = _frames(exchange, offset, frame)
    parts = frames or reads
    rows = [*_sent(exchange), *_head(exchange) * bool(frames), *_cut(parts, exchange)]
    rows.append(_end(exchange))
    file = f"transcripts/{transcript.scenario}.json"
    return Evidence(
        title=(f"{transcript.scenario}: " if named else "") + _title(transcript, exchange, index),
        rows=tuple(rows),
        reads=tuple(_cut(reads, exchange)) if frames else (),
        upstream=_upstream(transcript, exchange),
        curl=curl_command(exchange, key_env, file, index),
        file=file,
        cut=any(row.kind == "cut" for row in rows),
    )


def _title(transcript: Transcript, exchange: Exchange, index: int) -> str:
    response = exchange.response
    came = f"{response.status}" if response else "no response"
    if response and response.media_type:
        came += f", {response.media_type[:80]}"
    count = len(transcript.exchanges)
    which = f"exchange {index + 1} of {count}: " if count > 1 else ""
    size = sum(len(read.data) for read in exchange.received)
    return (
        f"{which}{exchange.ask.method} {exchange.ask.path} → {came}; "
        f"{told(size, 'byte')} in {told(len(exchange.received), 'read')}"
    )


def _ms(exchange: Exchange, at_ns: int) -> str:
    return f"{(at_ns - exchange.started_ns) / 1e6:.1f}"


def _sent(exchange: Exchange) -> list[Row]:
    data = b"".join(read.data for read in exchange.sent)
    if not data:
        return []
    text = show_bytes(data[:SENT_BYTES])
    if len(data) > SENT_BYTES:
        text += Markup('<span class="cut"> … {:,} more bytes</span>').format(len(data) - SENT_BYTES)
    return [Row("sent", _ms(exchange, exchange.sent_ns), f"sent, {len(data):,} B", text)]


def _head(exchange: Exchange) -> list[Row]:
    response = exchange.response
    if response is None:
        return []
    raw = b"".join(read.data for read in exchange.received)
    head = raw[: raw.find(b"\r\n\r\n") + 4][: ROW_BYTES * 3]
    return [Row("head", _ms(exchange, response.head_ns), "head", show_bytes(head))]


def _end(exchange: Exchange) -> Row:
    response = exchange.response
    said: str = exchange.ended
    if exchange.error:
        said += f": {exchange.error}"
    if response is not None and response.error:
        said += f"; not HTTP/1.1: {response.error}"
    elif response is not None and not response.complete:
        said += "; the body is not complete"
    if response is not None and response.surplus:
        said += f"; {len(response.surplus):,} bytes behind the end of the response"
    return Row("end", _ms(exchange, exchange.ended_ns), "end", show(said, 400))


def _frame_start(exchange: Exchange, frame: object) -> int | None:
    frames = exchange.frames
    if isinstance(frame, int) and 0 <= frame < len(frames):
        return frames[frame].start
    return None


def _frames(exchange: Exchange, offset: object, frame: object) -> list[_Part]:
    response = exchange.response
    if response is None or response.media_type != "text/event-stream" or not exchange.frames:
        return []
    body = response.body
    parts = []
    for number, item in enumerate(exchange.frames):
        data = body[item.start : item.end]
        inside = isinstance(offset, int) and item.start <= offset < item.end
        mark = None
        if isinstance(offset, int) and inside and offset != item.start:  # its start says no more
            mark = (offset - item.start, offset - item.start + 1)
        label = f"frame {number}" if item.terminated else f"frame {number}, not ended"
        parts.append(_Part("frame", item.at_ns, label, data, mark, inside or frame == number))
    return parts


def _reads(exchange: Exchange, offset: object) -> list[_Part]:
    """Return the reads; the one that brought the body's byte at ``offset`` is marked there."""
    place: tuple[int, int] | None = None  # which time, and where in the read's own bytes
    response = exchange.response
    if isinstance(offset, int) and response is not None:
        for piece in response.pieces:
            if piece.start <= offset < piece.start + len(piece.data):
                place = piece.at_ns, offset - piece.start
                wanted = piece.data
                break
    parts = []
    for number, read in enumerate(exchange.received):
        mark = None
        if place is not None and read.at_ns == place[0]:
            found = read.data.find(wanted)
            if found >= 0:
                mark = (found + place[1], found + place[1] + 1)
        label = f"read {number}, {len(read.data):,} B"
        parts.append(_Part("read", read.at_ns, label, read.data, mark, mark is not None))
    return parts


def _cut(parts: Sequence[_Part], exchange: Exchange) -> list[Row]:
    """Keep the edges and what is near the place; say what each cut left out."""
    places = [number for number, part in enumerate(parts) if part.here]
    kept = set(range(EDGE_ROWS)) | set(range(len(parts) - EDGE_ROWS, len(parts)))
    for place in places[:1]:
        kept |= set(range(place - NEAR_ROWS, place + NEAR_ROWS + 1))
    rows: list[Row] = []
    skipped: list[_Part] = []
    for number, part in enumerate(parts):
        if number not in kept:
            skipped.append(part)
            continue
        rows += _gap(skipped)
        skipped = []
        rows.append(_row(part, exchange))
    return rows


def _gap(skipped: Sequence[_Part]) -> list[Row]:
    if not skipped:
        return []
    size = sum(len(part.data) for part in skipped)
    what = f"{told(len(skipped), skipped[0].kind)}, {told(size, 'byte')}, left out here"
    return [Row("cut", "", "", show(what))]


def _row(part: _Part, exchange: Exchange) -> Row:
    limit = PLACE_BYTES if part.here else ROW_BYTES
    data, mark, before = part.data, part.mark, 0
    if len(data) > limit and mark is not None:
        before = max(0, min(mark[0] - limit // 2, len(data) - limit))
        mark = (mark[0] - before, mark[1] - before)
    data = data[before : before + limit]
    text = show_bytes(data, mark)
    if before:
        text = Markup('<span class="cut">{:,} bytes before … </span>').format(before) + text
    behind = len(part.data) - before - len(data)
    if behind:
        text += Markup('<span class="cut"> … {:,} more bytes</span>').format(behind)
    return Row(part.kind, _ms(exchange, part.at_ns), part.label, text, part.here)


def _upstream(transcript: Transcript, exchange: Exchange) -> tuple[Row, ...]:
    """Return what the controlled upstream saw of this scenario, on the same clock."""
    rows = []
    for entry in (transcript.upstream or ())[:JOURNAL_ENTRIES]:
        at_ns = entry.get("at_ns")
        at_ms = _ms(exchange, at_ns) if isinstance(at_ns, int) else ""
        said = f"{entry.get('method', '')} {entry.get('path', '')} → {entry.get('status', '')}, "
        said += f"{entry.get('outcome', '')}"
        sends = [send for send in entry.get("sends") or () if isinstance(send, Mapping)]
        times = [send["at_ns"] for send in sends if isinstance(send.get("at_ns"), int)]
        if times:
            said += (
                f"; {told(len(times), 'write')} from {_ms(exchange, min(times))} "
                f"to {_ms(exchange, max(times))} ms"
            )
        if isinstance(entry.get("cancelled_at_ns"), int):
            said += f"; its client left at {_ms(exchange, entry['cancelled_at_ns'])} ms"
        text = show(said, 400) + Markup("\n") + show(entry.get("body", ""), SENT_BYTES)
        rows.append(Row("upstream", at_ms, "received", text))
    more = len(transcript.upstream or ()) - len(rows)
    if more > 0:
        rows.append(Row("cut", "", "", show(f"{told(more, 'more request')} of this scenario")))
    return tuple(rows)
