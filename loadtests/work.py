"""The requests of a load run: which work, how long, in which words, and who reads the answer.

Strategy: ``Workload`` holds one template a work. Request ``number`` is the same whenever it is
made: its work, lengths and words are drawn from the seed and the number, each for its own purpose.
``Workload.request`` gives the whole HTTP request as bytes with the reader of its answer;
``Workload.conversation`` gives the turns of one conversation, one after the other.

Rules. Only two things come from answers: the text that a later turn repeats, as the target said it
(its beginning, where it is very long), and tokens per word (see ``texts``). The key is in the bytes
of requests and nowhere else.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from gateproof.lengths import LONGEST, quantile, shares
from gateproof.sample import NEVER, ErrorKind, Sample
from gateproof.work import KINDS, Work

from .answer import Answer, CompletionsAnswer, MessagesAnswer
from .bodies import DEFAULT_OUTPUT, frame_bytes, template
from .canary import Watch, canary
from .plain import PlainChat, PlainEmbeddings, PlainMessage
from .reply import Reply
from .request import Request
from .texts import Ratio, Ring, share_of

__all__ = ["Conversation", "Request", "Workload"]

ANTHROPIC_VERSION: Final = "2023-06-01"  # the version that the most clients send

_READERS: Final[Mapping[str, type[Reply]]] = {
    "chat-stream": Answer,
    "chat": PlainChat,
    "tools-stream": Answer,
    "tools": PlainChat,
    "embeddings": PlainEmbeddings,
    "messages-stream": MessagesAnswer,
    "messages": PlainMessage,
    "completions-stream": CompletionsAnswer,
}

# What is drawn for a request, each for itself.
_WORK, _PROMPT, _OUTPUT, _PLACE, _PREFIX, _TURNS, _COPY, _BATCH = range(8)

_MOST_HISTORY: Final = 256 * 1024  # bytes of earlier turns (64,000 tokens); the oldest are left out
_FIXED_PREFIX_PER_WORD: Final = 1.0  # a prefix that changed while a run learns would not be shared
_TOOL_COPY: Final = 24  # words of a forced call's argument where the scenario names no output
_TOOL_FRAME: Final = 20  # tokens of a forced call beside the copied words: name, members, reference


class _Made:
    """One work with everything that is the same for all of its requests."""

    __slots__ = (
        "head",
        "make",
        "number",
        "output",
        "prefix_words",
        "prefixes",
        "prompt",
        "ratio",
        "template",
        "turns",
        "want_usage",
        "work",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        work: Work,
        model: str,
        head: bytes,
        ring: Ring,
        make: Callable[[Request, Sample], Reply],
        *,
        usage: bool,
    ) -> None:
        self.number = number
        self.work = work
        self.make = make
        self.template = template(work, model, usage=usage)
        sized = b"\r\nContent-Length: "
        self.head = head.replace(b"%", b"%%").replace(sized + b"0\r\n", sized + b"%d\r\n", 1)
        self.prompt = quantile(work.prompt)
        self.output = quantile(work.output) if work.output else None
        self.turns = quantile(work.turns)
        self.prefix_words = max(round(work.prefix_tokens / _FIXED_PREFIX_PER_WORD), 1)
        if not work.prefixes:
            self.prefix_words = 0
        self.prefixes = [
            ring.piece(share_of(0, place, _PREFIX), self.prefix_words)
            for place in range(work.prefixes)
        ]
        self.ratio = Ratio(frame_bytes(work), work.tokens_per_word)
        self.want_usage = _wants_usage(work, usage=usage)

    def gaps(
        self, seed: int, number: int, ring: Ring, prompt: int, output: int
    ) -> tuple[dict[bytes, bytes], int]:
        """Draw what fills the gaps of a request; give how many words that is as well."""
        words = self.ratio.words(prompt)
        place = share_of(seed, number, _PLACE)
        filled = {b"count": b"%d" % output}
        total = self.prefix_words + words
        if self.work.kind.startswith("tools"):
            copy = max(output - _TOOL_FRAME, 1) if self.output else _TOOL_COPY
            filled[b"copy"] = ring.piece(share_of(seed, number, _COPY), copy)
            words = max(words - copy, 1)
            total = self.prefix_words + words + copy
        filled[b"text"] = ring.piece(place, words)
        if self.prefixes:
            which = int(share_of(seed, number, _PREFIX) * len(self.prefixes))
            filled[b"prefix"] = self.prefixes[which]
        return filled, total


class Workload:
    """Makes the requests of a run; ``request(number)`` is the same for the same seed.

    ``model_of`` gives the model for a work's ``use``: a use's name, or a model's own. ``head``
    writes the head of a POST (``Client.head``). ``auth`` is how the target's profile takes keys,
    ``headers`` are those that the target needs beside.
    """

    def __init__(
        self,
        works: Sequence[Work],
        *,
        model_of: Callable[[str], str],
        head: Callable[..., bytes],
        seed: int = 1,
        usage: bool = True,
        key: str = "",
        auth: str = "bearer",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.works = tuple(works)
        self._seed = seed
        self._ring = Ring(seed)
        self._shares = shares([work.weight for work in works])
        self._made = []
        for number, work in enumerate(works):
            kind = KINDS[work.kind]
            accept = "text/event-stream" if kind.streams else "application/json"
            own = {**_headers(work, key, auth), **(headers or {})}
            lines = head(kind.path, "", 0, accept=accept, headers=own)
            model = model_of(work.use)
            make = self._reader(work, usage=_wants_usage(work, usage=usage))
            made = _Made(number, work, model, lines, self._ring, make, usage=usage)
            self._made.append(made)

    def reference(self, number: int) -> str:
        """Give the canary of a request."""
        return canary(self._seed, number)

    def request(self, number: int, lengths: tuple[int, int] | None = None) -> Request:
        """Make a request that stands alone; ``lengths`` are prompt and output as a trace has them.

        A work with several turns gives the first of them.
        """
        return self.turn(self._of(number), number, lengths, b"", ())

    def conversation(self, number: int, lengths: tuple[int, int] | None = None) -> "Conversation":
        """Begin a conversation: as many turns as its work and its first number draw."""
        made = self._of(number)
        turns = made.turns(share_of(self._seed, number, _TURNS))
        return Conversation(self, made, turns, lengths)

    def learn(self, request: Request, sample: Sample) -> None:
        """Take the target's count of a prompt; cheap, and nothing once enough are known."""
        ratio = self._made[request.work].ratio
        if ratio.known or not request.words or sample.error:
            return
        if 0 < sample.prompt_tokens < NEVER:
            ratio.learn(request.words, sample.prompt_tokens)

    def learned(self) -> list[dict[str, Any]]:
        """Give tokens per word by work, as the target's usage taught it."""
        return [{"work": one.work.title, **one.ratio.as_json()} for one in self._made]

    def _of(self, number: int) -> _Made:
        """Draw the work of a request."""
        if len(self._made) == 1:
            return self._made[0]
        place = bisect_left(self._shares, share_of(self._seed, number, _WORK))
        return self._made[min(place, len(self._made) - 1)]

    def turn(
        self,
        made: _Made,
        number: int,
        lengths: tuple[int, int] | None,
        history: bytes,
        before: Sequence[str],
    ) -> Request:
        """Write a request behind the turns that were before it."""
        seed = self._seed
        if lengths is None:
            prompt = made.prompt(share_of(seed, number, _PROMPT))
            draw = made.output
            output = draw(share_of(seed, number, _OUTPUT)) if draw else DEFAULT_OUTPUT
        else:
            prompt, output = (min(max(length, 1), LONGEST) for length in lengths)
        reference = canary(seed, number)
        gaps, words = made.gaps(seed, number, self._ring, prompt, output)
        gaps[b"ref"] = reference.encode()
        turn = made.template.turn(gaps)
        gaps[b"turns"] = history + turn
        batch = made.work.batch
        if batch > 1:
            gaps[b"batch"] = self._batch(made, number, gaps, words)
            words *= batch
        body = made.template.fill(gaps)
        return Request(
            made.head % len(body) + body,
            made.number,
            number,
            reference,
            (reference, *before),
            turn,
            0 if history else words,
            made.make,
            want_usage=made.want_usage,
        )

    def _batch(self, made: _Made, number: int, gaps: dict[bytes, bytes], words: int) -> bytes:
        """Write the texts of a request that has several: alike in length, different in words."""
        texts = []
        for place in range(made.work.batch):
            gaps[b"text"] = self._ring.piece(share_of(self._seed, number, _BATCH + place), words)
            texts.append(made.template.turn(gaps))
        return b",".join(texts)

    def _reader(self, work: Work, *, usage: bool) -> Callable[[Request, Sample], Reply]:
        """Give what makes the readers of a work's answers."""
        seed = self._seed
        reader: Any = _READERS[work.kind]
        if work.kind.startswith("tools"):
            return lambda request, sample: reader(
                sample, want_usage=usage, watch=Watch(seed, request.own), wants_call=True
            )
        return lambda request, sample: reader(
            sample, want_usage=usage, watch=Watch(seed, request.own)
        )


class Conversation:
    """The turns of one conversation: each asks on, with what was really answered before."""

    __slots__ = ("_before", "_history", "_left", "_lengths", "_made", "_request", "_workload")

    def __init__(
        self, workload: Workload, made: _Made, turns: int, lengths: tuple[int, int] | None
    ) -> None:
        self._workload = workload
        self._made = made
        self._left = turns
        self._lengths = lengths
        self._history: list[bytes] = []
        self._before: list[str] = []
        self._request: Request | None = None

    def next(self, number: int, previous: Reply | None = None) -> Request | None:
        """Make the next turn as request ``number``; None when the conversation is over.

        ``previous`` is the answer to the turn before. One that failed ends the conversation.
        """
        if self._request is not None:
            self._left -= 1
            if self._left <= 0 or previous is None or previous.sample.error != ErrorKind.NONE:
                return None
            said = orjson.dumps({"role": "assistant", "content": previous.text or "…"})
            self._history.append(self._request.turn + b"," + said + b",")
            self._before.append(self._request.reference)
            while sum(map(len, self._history)) > _MOST_HISTORY:
                self._history.pop(0)
        history = b"".join(self._history)
        self._request = self._workload.turn(
            self._made, number, self._lengths, history, self._before
        )
        return self._request


def _wants_usage(work: Work, *, usage: bool) -> bool:
    """Tell whether usage is to come: only some streams have to be asked for it."""
    return usage or not work.kind.endswith("-stream") or work.kind.startswith("messages")


def _headers(work: Work, key: str, auth: str) -> dict[str, str]:
    """Give the headers that a kind of work needs beside the client's own."""
    headers = {}
    if work.kind.startswith("messages"):
        headers["anthropic-version"] = ANTHROPIC_VERSION
    if key and auth == "x-api-key":
        headers["x-api-key"] = key
    elif key:
        headers["Authorization"] = f"Bearer {key}"
    return headers
