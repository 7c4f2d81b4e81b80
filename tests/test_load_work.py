"""The requests of a load run: reproducible, marked, of the lengths that were asked for."""

from typing import Any

import orjson
import pytest
from gateproof.loadtests.canary import Watch, canary
from gateproof.loadtests.texts import Ratio, Ring, share_of
from gateproof.loadtests.work import Request, Workload

from gateproof.lengths import Lengths
from gateproof.sample import ErrorKind, Sample
from gateproof.work import KINDS, Work
from tests.load_workload import workload


def parts(request: Request) -> tuple[bytes, dict[str, Any]]:
    """Give a request's head and its body as JSON; the length in the head is true."""
    head, _, body = request.data.partition(b"\r\n\r\n")
    assert b"Content-Length: %d\r\n" % len(body) in head + b"\r\n"
    return head, orjson.loads(body)


CHAT = {"stream": True, "stream_options": {"include_usage": True}}
ASKS = (
    "Begin your answer with {}, then write a story of about 9 words with these words: {}.",
    "These words are for later: {}. Call note with ",
)
WANTED: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    # kind: route, members that are the same for all, the other members
    "chat-stream": ("/chat/completions", {**CHAT, "max_tokens": 9}, {"messages"}),
    "chat": ("/chat/completions", {"max_tokens": 9}, {"messages"}),
    "tools-stream": ("/chat/completions", CHAT, {"messages", "tools", "tool_choice"}),
    "tools": ("/chat/completions", {}, {"messages", "tools", "tool_choice"}),
    "embeddings": ("/embeddings", {}, {"input"}),
    "messages-stream": ("/messages", {"stream": True, "max_tokens": 9}, {"messages"}),
    "messages": ("/messages", {"max_tokens": 9}, {"messages"}),
    "completions-stream": ("/completions", {**CHAT, "max_tokens": 9}, {"prompt"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_its_request(kind: str) -> None:
    """A request goes to its kind's route, with that kind's members, model and extras, marked."""
    one = workload(Work(kind=kind, output=Lengths.fixed(9), extra={"top_p": 0.5, "user": "5%"}))
    request = one.request(4)
    head, body = parts(request)
    path, members, others = WANTED[kind]
    more = {"model": f"a-{KINDS[kind].use}-model", "top_p": 0.5, "user": "5%"}

    assert head.startswith(f"POST /v1{path} HTTP/1.1\r\n".encode())
    assert {name: body[name] for name in body if name not in others} == {**members, **more}
    assert set(body) == {*members, *more, *others}
    assert request.reference == canary(3, 4)
    assert request.data.count(request.reference.encode()) == 1


@pytest.mark.parametrize(
    ("kind", "auth", "wanted"),
    [
        ("chat", "bearer", {b"Authorization: Bearer k"}),
        ("messages", "x-api-key", {b"x-api-key: k", b"anthropic-version: 2023-06-01"}),
        ("messages", "bearer", {b"Authorization: Bearer k", b"anthropic-version: 2023-06-01"}),
    ],
)
def test_the_key_travels_as_the_profile_says(kind: str, auth: str, wanted: set[bytes]) -> None:
    """The key goes by the profile's header, Messages name their version, and own headers follow."""
    one = workload(Work(kind=kind), key="k", auth=auth, headers={"X-App": "me"})
    lines = set(parts(one.request(0))[0].split(b"\r\n")[3:])

    assert lines == wanted | {b"X-App: me"}


def test_a_request_follows_from_seed_and_number_alone() -> None:
    """Requests are the same in any order, and other ones for another seed."""
    works = (Work(prompt=Lengths("uniform", 0, 0, 50, 90)), Work(kind="chat", weight=3))
    one, two, other = workload(*works), workload(*works), workload(*works, seed=4)
    first = [one.request(number).data for number in range(50)]
    second = [two.request(number).data for number in reversed(range(50))]

    assert first == second[::-1]
    assert len({*first}) == 50
    assert first[7] != other.request(7).data


def test_works_are_mixed_by_weight() -> None:
    """Each work has its share of the requests."""
    works = [Work(name="a", weight=1), Work(kind="chat", weight=2), Work(kind="tools", weight=5)]
    one = workload(*works)
    drawn = [one.request(number).work for number in range(2000)]

    for place, weight in enumerate((1, 2, 5)):
        assert drawn.count(place) == pytest.approx(2000 * weight / 8, abs=90)


def test_prefixes_are_shared() -> None:
    """Requests share a few beginnings of the given length, word by word."""
    one = workload(Work(prefixes=3, prefix_tokens=40))
    systems = [parts(one.request(number))[1]["messages"][0]["content"] for number in range(60)]

    assert len(set(systems)) == 3
    assert {len(system.split()) for system in systems} == {40}


def test_a_batch_of_embeddings_holds_different_texts() -> None:
    """Several texts of a request are alike in length and differ in words."""
    one = workload(Work(kind="embeddings", batch=4, prompt=Lengths.fixed(30)))
    texts = parts(one.request(0))[1]["input"]

    assert (len(texts), len(set(texts)), len({len(text.split()) for text in texts})) == (4, 4, 1)


def test_a_trace_gives_the_lengths() -> None:
    """Lengths that are given take the place of those that would be drawn."""
    one = workload(Work(output=Lengths.fixed(5), tokens_per_word=1.0))
    short, long = (parts(one.request(0, (tokens, 7)))[1] for tokens in (100, 300))

    words = [len(body["messages"][0]["content"].split()) for body in (short, long)]
    assert (words[1] - words[0], short["max_tokens"]) == (200, 7)
    assert parts(one.request(0, (0, 0)))[1]["max_tokens"] == 1  # a trace may hold empty ones


def _answered(request: Request, text: str) -> Any:
    """Let a request be answered with a text."""
    reader = request.answer(Sample(sent_ns=1))
    chunk = {"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]}
    body = b"data: %b\n\ndata: [DONE]\n\n" % orjson.dumps(chunk)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n"
    reader.feed(head % len(body) + body, 2)
    return reader


def test_a_conversation_keeps_what_was_answered() -> None:
    """Each turn holds the real answers before it, may show their references, and the last ends."""
    one = workload(Work(turns=Lengths.fixed(3)))
    talk = one.conversation(10)
    first = talk.next(10)
    assert first is not None
    second = talk.next(11, _answered(first, 'He said: "no"\n'))
    assert second is not None
    third = talk.next(12, _answered(second, "yes"))
    assert third is not None

    said = [(m["role"], m["content"]) for m in parts(third)[1]["messages"]]
    assert [role for role, _ in said] == ["user", "assistant"] * 2 + ["user"]
    assert (said[1][1], said[3][1]) == ('He said: "no"\n', "yes")
    assert set(third.own) == {canary(3, number) for number in (10, 11, 12)}
    assert talk.next(13, _answered(third, "end")) is None


def test_a_conversation_ends_with_a_failure() -> None:
    """After an answer that failed no turn follows."""
    talk = workload(Work(turns=Lengths.fixed(3))).conversation(0)
    first = talk.next(0)
    assert first is not None
    failed = first.answer(Sample(sent_ns=1))
    failed.fail(ErrorKind.CUT, "", 2)

    assert talk.next(1, failed) is None


def test_a_conversation_stays_bounded() -> None:
    """Of a target that talks without end, the oldest turns are left out."""
    talk = workload(Work(turns=Lengths.fixed(100))).conversation(0)
    request, size = talk.next(0), 0
    for number in range(1, 60):
        assert request is not None
        size = max(size, len(request.data))
        request = talk.next(number, _answered(request, "x" * 100_000))

    assert 200_000 < size < 300_000


@pytest.mark.parametrize("lengths", [Lengths.fixed(200), Lengths("uniform", 0, 0, 100, 400)])
def test_prompts_come_to_be_as_long_as_the_target_counts(lengths: Lengths) -> None:
    """After the first answers a prompt has the tokens that were wanted, by the target's count."""
    one = workload(Work(prompt=lengths))

    def count(request: Request) -> int:
        text = parts(request)[1]["messages"][0]["content"]
        return 11 + round(1.6 * len(text.split()))

    def taught(one: Workload) -> float:
        request = one.request(500)
        wanted = 200 if lengths.kind == "fixed" else 100 + int(share_of(3, 500, 1) * 301)
        return count(request) / wanted

    assert taught(one) > 1.3
    for number in range(40):
        request = one.request(number)
        one.learn(request, Sample(prompt_tokens=count(request)))

    assert taught(one) == pytest.approx(1, abs=0.02)
    assert one.learned()[0]["answers"] == Ratio.ENOUGH


def test_a_fixed_ratio_is_not_learned() -> None:
    """A scenario that names tokens per word has the same words whatever the target counts."""
    ratio = Ratio(40, 1.25)
    for _ in range(40):
        ratio.learn(100, 170)

    assert (ratio.per_word, ratio.frame, ratio.words(170)) == (1.25, 45.0, 100)


def test_pieces_of_the_ring_have_their_length() -> None:
    """A text has the words it was asked for, also beyond the ring's end and round it."""
    ring = Ring(1)

    for share, words in ((0.0, 1), (0.5, 16_384), (0.999, 100), (0.3, 50_000), (1.0, 3)):
        text = ring.piece(share, words)
        assert (len(text.split(b" ")), text.strip()) == (words, text)


def test_canaries_are_known_again() -> None:
    """Of the references in a text the own one is told from foreign ones, and from no one's."""
    own, other = canary(3, 1), canary(3, 2)
    texts = {
        "own": [own],
        "foreign": ["see ", other[:9], other[9:]],
        "both": [own + other],
        "copied wrongly": [own[:-1] + "7", "gp-", own.upper()],
        "of another run": [canary(4, 2)],
    }
    seen = {}
    for name, said in texts.items():
        watch = Watch(3, (own,))
        for part in said:
            watch.said.append(part)
        watch.end()
        seen[name] = (watch.seen_own, watch.foreign)

    assert seen == {
        "own": (True, ""),
        "foreign": (False, other),
        "both": (True, other),
        "copied wrongly": (False, ""),
        "of another run": (False, ""),
    }


def test_long_answers_are_watched_piece_by_piece() -> None:
    """A reference is found wherever it stands in a long answer, of which little is kept."""
    watch = Watch(3, ())
    text = "x" * 32_760 + canary(3, 9) + "y" * 200_000
    for place in range(0, len(text), 7):
        watch.said.append(text[place : place + 7])
        if place % 700 == 0:
            watch.end()
    watch.end()

    assert watch.foreign == canary(3, 9)
    assert (len(watch.text), watch.said) == (32_768, [])
