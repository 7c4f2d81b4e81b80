"""The rate-limit lab on the wire: makes the requests that ``gateproof.limitlab`` asks for.

Strategy: the lab's course runs in one greenlet; an ask for several requests at a time is made by as
many greenlets, which stop when one of them was refused. All go through the load client, so a time
is taken where the generator takes its own. Locust's users wait for the end; what was found is
written to ``limits.json``, and in words to standard output where no other program reads it.

Rules. A request is as small as can be, or as large as asked, by words whose tokens the target's own
usage tells. Each differs from the others, so that no cache answers it, and in nothing that is
counted. Keys are named by variables; their values are in the requests and nowhere else.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic_ns, time
from typing import Any, Final

import gevent
import orjson
from gevent.event import Event
from locust.exception import StopUser

from gateproof.budget import budget_of
from gateproof.limitlab.exchange import Ask, Reply, kind_of
from gateproof.limitlab.lab import Lab, spend_at_most
from gateproof.limitlab.plan import LimitsPlan, parse_limits
from gateproof.limitlab.result import result_of, text_of
from gateproof.limitlab.told import NOTHING, read_told
from gateproof.plan import LoadPlan, place_of
from gateproof.sample import NEVER, NO_COST, ErrorKind, Sample

from .connect import proxy_for, secret_of
from .framing import Broken
from .reply import Reply as Reading
from .stream import Client, Limits

__all__ = ["LimitsRig", "limits_of", "variables_of"]

ANTHROPIC_VERSION: Final = "2023-06-01"
_SPIN_NS: Final = 2 * 10**6  # the last stretch to a moment is waited for in small steps
_BODY_CHARS: Final = 400
_BODY_BYTES: Final = 256 * 1024
_HEADERS: Final = 64  # of an answer that are looked at
# Common words, one token each for the tokenizers of today.
_WORDS: Final = tuple(
    "sun day sea tree road bird rain door book hand fish star wind lake town ship".split()  # noqa: SIM905  # read as words
)


class _Answer(Reading):
    """Reads one answer, with its headers."""

    __slots__ = ("_left", "_parts", "headers")

    CONTENT_TYPE = b"application/json"

    def __init__(self, sample: Sample) -> None:
        super().__init__(sample)
        self.headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._left = _BODY_BYTES

    def _head(self, status: int, headers: dict[bytes, bytes]) -> Any:
        for name, value in list(headers.items())[:_HEADERS]:
            if b"retry-after" in name or b"ratelimit" in name:
                self.headers[name.decode("latin-1")] = value[:200].decode("latin-1")
        return super()._head(status, headers)

    def _sink(self, *, right_type: bool) -> Any:
        del right_type
        return self._gather

    def _gather(self, data: bytes, _at_ns: int) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise Broken(ErrorKind.TOO_LARGE, f"a body of more than {_BODY_BYTES} bytes")
        self._parts.append(data)

    def _whole(self) -> None:
        try:
            value = orjson.loads(b"".join(self._parts))
            self._usage = value.get("usage") or None
        except (orjson.JSONDecodeError, AttributeError):
            self._spoil(ErrorKind.MALFORMED_BODY, "status 200, and no JSON object")

    def _count(self, usage: dict[str, Any]) -> None:
        if "input_tokens" in usage:
            self._counted(usage.get("input_tokens"), usage.get("output_tokens"), None)
        else:
            super()._count(usage)

    @property
    def body(self) -> str:
        """The beginning of what is no answer."""
        return self._kept[:_BODY_CHARS].decode(errors="replace")


@dataclasses.dataclass(frozen=True, slots=True)
class _Request:
    """One request as the client takes it."""

    data: bytes

    def answer(self, sample: Sample) -> _Answer:
        """Make the reader of its answer."""
        return _Answer(sample)


def limits_of(plan: LoadPlan) -> LimitsPlan:
    """Read the lab's part of a load plan, held to the run's budget and prices."""
    limits = parse_limits(plan.limits, f"{plan.scenario}, limits")
    limits = dataclasses.replace(limits, prices=plan.prices)
    if not plan.budget:
        return limits
    budget = budget_of(plan.budget, "The budget")
    usd = limits.usd
    if budget.usd is not None:
        usd = min(float(budget.usd), usd if usd is not None else float(budget.usd))
    return dataclasses.replace(
        limits,
        requests=min(limits.most_requests, budget.requests or limits.most_requests),
        tokens=min(limits.most_tokens, budget.tokens or limits.most_tokens),
        usd=usd,
    )


class LimitsRig:
    """One process's look for rate limits; takes the place of a ``Rig``."""

    def __init__(self, plan: LoadPlan, options: Any, fire: Callable[..., None]) -> None:
        self.plan = plan
        self.limits = limits_of(plan)
        self._fire = fire
        self._folder = Path(options.samples) if options.samples else None
        self._progress = bool(options.progress)
        named = {
            "first": self.limits.key or options.key_env,
            "second": self.limits.second_key,
            "stranger": self.limits.stranger_key,
        }
        self._keys = {name: os.environ.get(variable, "") for name, variable in named.items()}
        self._headers = dict(plan.headers) | {
            header: os.environ.get(name, "") for header, name in plan.secret_headers.items()
        }
        self._client = Client(
            plan.target,
            Limits(**plan.timeouts),
            proxy=proxy_for(plan.target, plan.proxy, secret_of(plan.proxy_auth_env)),
            ca_file=place_of(plan.ca_file),
        )
        self._bodies: dict[tuple[str, int], tuple[bytes, bytes]] = {}
        self._small = 0  # tokens of the smallest request
        self._ratio = 1.0  # tokens a word
        self._made = self._passed = self._refused = 0
        self._lab = Lab(self.limits)
        self._begun_ns = 0
        self._ending = Event()
        self._runner: Any = None
        self._ticker: Any = None

    def start(self, end_test: Callable[[], None]) -> None:
        """Begin the course; at its end write what was found, and end the test."""
        self._begun_ns = monotonic_ns()
        requests, tokens, usd = spend_at_most(self.limits)
        money = f", {usd:.2f} USD" if usd is not None else ""
        sys.stderr.write(f"At most {requests:,} requests, {tokens:,} tokens{money} are spent.\n")
        self._ticker = gevent.spawn(self._tick)
        self._runner = gevent.spawn(self._run, end_test)

    @property
    def spent(self) -> bool:
        """Tell whether the budget ended the course."""
        return self._lab.outcome.spent

    def take_place(self) -> int:
        """Give a user its number."""
        return 0

    def turn(self, _place: int) -> None:
        """Wait for the end: the course asks, not the users."""
        self._ending.wait()
        raise StopUser

    def stopping(self) -> None:
        """End the course."""
        self._ending.set()

    def calibrate(self) -> None:
        """Measure nothing: no limit is a matter of milliseconds."""

    def close(self) -> None:
        """Write what was found."""
        for greenlet in (self._runner, self._ticker):
            if greenlet is not None and greenlet is not gevent.getcurrent():
                greenlet.kill(block=False)
        result = result_of(self._lab)
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            part = self._folder / "limits.json.part"
            part.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
            part.replace(self._folder / "limits.json")
        if not self._progress:
            shown = text_of(result)
            safe = "".join(c if c.isprintable() or c == "\n" else "?" for c in shown)
            sys.stdout.write(safe + "\n")
            sys.stdout.flush()
        self._client.close()

    def _run(self, end_test: Callable[[], None]) -> None:
        course = self._lab.run()
        try:
            ask = next(course)
            while not self._ending.is_set():
                ask = course.send(self._make(ask))
        except StopIteration:
            pass
        finally:
            if self._ending.is_set() and not self._lab.outcome.stopped:
                self._lab.outcome.stopped = "it was ended from outside"
            self._ending.set()
        end_test()

    def _tick(self) -> None:
        """Print a line of progress each second."""
        while self._progress:
            row = {
                "progress_s": round((monotonic_ns() - self._begun_ns) / 1e9, 1),
                "active": len(self._client.active),
                "answered": self._passed,
                "failed": self._refused,
            }
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()
            gevent.sleep(1)

    # One ask.

    def _make(self, ask: Ask) -> list[Reply]:
        """Make the requests of an ask, no more once one was refused."""
        self._await(ask.at_ns)
        replies: list[Reply] = []
        state = {"left": ask.most, "on": True}

        def make() -> None:
            while state["on"] and state["left"] > 0 and not self._ending.is_set():
                state["left"] -= 1
                reply = self._exchange(ask)
                replies.append(reply)
                if kind_of(reply) != "passed":
                    state["on"] = False

        if ask.width == 1:
            make()
        else:
            gevent.joinall([gevent.spawn(make) for _ in range(min(ask.width, ask.most))])
        return sorted(replies, key=lambda reply: reply.done_ns)

    def _await(self, at_ns: int) -> None:
        """Wait for a moment, exactly enough for short windows."""
        while not self._ending.is_set():
            left_ns = at_ns - monotonic_ns()
            if left_ns <= 0:
                return
            if left_ns > _SPIN_NS:
                self._ending.wait((left_ns - _SPIN_NS / 2) / 1e9)
            else:
                gevent.sleep(0)

    def _exchange(self, ask: Ask) -> Reply:
        """Make one request."""
        self._made += 1
        sample = Sample(number=self._made)
        heard: list[_Answer] = []
        self._client.send(_Request(self._bytes(ask)), sample, heard.append)
        answer = heard[0]
        tokens = sum(
            0 if count == NEVER else count
            for count in (sample.prompt_tokens, sample.completion_tokens)
        )
        self._learn(ask, tokens)
        reply = Reply(
            sample.sent_ns,
            sample.end_ns,
            sample.status,
            tokens,
            read_told(answer.headers, time()) if answer.headers else NOTHING,
            answer.body if sample.status != 200 else "",
            cost_usd=self._cost(sample),
        )
        kind = kind_of(reply)
        self._passed += kind == "passed"
        self._refused += kind == "refused"
        self._fire(
            request_type="limits",
            name=kind,
            response_time=(sample.end_ns - sample.sent_ns) / 1e6,
            exception=None,
            context={},
            response_length=0,
        )
        return reply

    def _cost(self, sample: Sample) -> float:
        """Return what an answer cost, by its own word, or else by the prices."""
        if sample.cost_nano_usd != NO_COST:
            return sample.cost_nano_usd / 1e9
        prices = self.limits.prices
        counts = {"prompt": sample.prompt_tokens, "completion": sample.completion_tokens}
        return sum(
            prices.get(name, 0.0) * count / 1e6 for name, count in counts.items() if count != NEVER
        )

    def _learn(self, ask: Ask, tokens: int) -> None:
        """Learn how many tokens the smallest request takes, and each further word."""
        if not tokens:
            return
        if not ask.tokens:
            self._small = self._small or tokens
        elif self._small:
            words = max(1, ask.tokens - self._small) / self._ratio
            self._ratio = min(8.0, max(0.2, (tokens - self._small) / words))

    def _bytes(self, ask: Ask) -> bytes:
        """Write the whole request; requests of a size take the same number of tokens."""
        model = (
            self.plan.model
            if ask.model == "first"
            else self.plan.model_for(self.limits.second_model)
        )
        if (model, ask.tokens) not in self._bodies:
            count = round(max(0, ask.tokens - self._small) / self._ratio) if ask.tokens else 0
            words = " ".join(_WORDS[place % len(_WORDS)] for place in range(count))
            body = {
                "model": model,
                "messages": [{"role": "user", "content": f"Say yes. @@@@@@ {words}".strip()}],
                "max_tokens": 1,
            }
            before, _, after = orjson.dumps(body).partition(b"@@@@@@")
            self._bodies[model, ask.tokens] = before, after
        before, after = self._bodies[model, ask.tokens]
        data = before + b"%06d" % (self._made % 10**6) + after
        key = self._keys[ask.key]
        path, headers = "/chat/completions", self._headers
        if self.plan.auth == "x-api-key":
            path = "/messages"
            headers = {**headers, "x-api-key": key, "anthropic-version": ANTHROPIC_VERSION}
            key = ""
        head = self._client.head(path, key, len(data), accept="application/json", headers=headers)
        return head + data


def variables_of(limits: Mapping[str, Any]) -> list[str]:
    """Name the environment variables that hold the lab's keys."""
    names = (limits.get(name) for name in ("key", "second_key", "stranger_key"))
    return [str(name) for name in names if name]
