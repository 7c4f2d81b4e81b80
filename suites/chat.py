"""Checks of chat answers: their shape, what ends them, and what the parameters do to them."""

import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import jsonschema

from gateproof.check import Finding, Inconclusive, Untestable, check, expect
from gateproof.dialects import openai
from gateproof.transcript import Exchange, Transcript

from .reading import (
    FINISHES,
    accepted,
    clean_refusal,
    declined,
    each,
    named_model,
    only,
    shown,
    streamed,
    text_of,
    texts,
    uncut,
)
from .refusal import answered
from .scenarios.chat import (
    BOUND,
    CUT,
    CUT_NEW,
    CUT_STREAM,
    HISTORY,
    JSON_OBJECT,
    JSON_SCHEMA,
    LOGPROBS,
    N_STREAM,
    PARTS,
    PLAIN,
    RANGE_ENDS,
    RANGE_OUTSIDE,
    SCHEMA,
    STOP,
    STOP_STREAM,
    SYSTEM,
    UNKNOWN_PARAM,
    N,
)
from .scenarios.tools import FORCED

ANSWERS = (PLAIN, FORCED)
# A created outside is in other units than seconds, or made up: 2020 to 2100.
EARLIEST_S = 1_577_836_800
LATEST_S = 4_102_444_800
DAY_S = 86_400


@check("chat.answers", on=[PLAIN])
def test_request_is_answered(seen: Transcript) -> None:
    """A model and one user message are answered with 200."""
    got = openai.response(seen[0])
    expect(got.status == 200, wanted="200", got=shown(got))


@check("chat.content-type", on=[PLAIN])
def test_answer_is_json(seen: Transcript) -> None:
    """A non-streamed answer says application/json, and its body is JSON."""
    got = openai.response(seen[0])
    if got.status != 200:
        raise Untestable(f"the request was answered with status {got.status}")
    if got.media_type == "text/event-stream" or got.body.lstrip().startswith(b"data:"):
        raise Untestable("the answer is an event stream (see sse.nonstream-not-sse)")
    uncut(seen[0])
    expect(
        got.media_type == "application/json",
        wanted="content-type: application/json",
        got=got.header("content-type") or "no content-type",
    )
    try:
        openai.json_value(seen[0])
    except Untestable as reason:
        raise Finding(wanted="a JSON body", got=str(reason)) from None


@check("chat.response.schema", on=ANSWERS)
def test_answer_has_its_members(seen: Transcript) -> None:
    """A completion has id, created, model and choices, each choice an index and a message."""
    value = openai.answer(seen[0])
    _require(value, "id", isinstance(value.get("id"), str), "a string")
    _require(value, "created", openai.is_int(value.get("created")), "an integer")
    _require(value, "model", isinstance(value.get("model"), str), "a string")
    found = value.get("choices")
    _require(value, "choices", isinstance(found, list) and found, "a list that is not empty")
    assert isinstance(found, list)
    for choice in found:
        expect(isinstance(choice, dict), wanted="choices that are objects", got=choice)
        _require(choice, "index", openai.is_int(choice.get("index")), "an integer")
        _require(choice, "message", isinstance(choice.get("message"), dict), "an object")


def _require(value: Mapping[str, Any], name: str, holds: object, wanted: str) -> None:
    got = repr(value[name])[:120] if name in value else f"no {name}"
    expect(holds, wanted=f"{name}: {wanted}", got=got)


@check("chat.response.object", on=ANSWERS)
def test_answer_names_its_kind(seen: Transcript) -> None:
    """A completion's object is chat.completion."""
    got = openai.completion(seen[0]).get("object")
    expect(got == "chat.completion", wanted="object: chat.completion", got=got)


@check("chat.response.created", on=[PLAIN])
def test_created_counts_seconds(seen: Transcript) -> None:
    """A completion's created is a Unix time in seconds."""
    got = openai.completion(seen[0]).get("created")
    if not openai.is_int(got):
        raise Untestable("created is no integer (see chat.response.schema)")
    assert isinstance(got, int)
    expect(
        EARLIEST_S <= got < LATEST_S,
        wanted=f"seconds since 1970, from {EARLIEST_S} to {LATEST_S}",
        got=got,
    )


@check("chat.response.created-now", on=[PLAIN])
def test_created_is_now(seen: Transcript) -> str:
    """Created is within a day of the answer's Date header."""
    created = openai.completion(seen[0]).get("created")
    if not openai.is_int(created) or not EARLIEST_S <= created <= LATEST_S:
        raise Untestable(f"created is {created!r} (see chat.response.created)")
    date = openai.response(seen[0]).header("date")
    try:
        now_s = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return "the answer has no Date to compare with"
    off_s = int(created - now_s)
    expect(abs(off_s) <= DAY_S, wanted=f"a time within a day of {date}", got=created)
    return f"{off_s} s from the Date header"


@check("chat.response.model", on=[PLAIN])
def test_answer_names_its_model(seen: Transcript) -> str:
    """A completion names the model that was asked for; a provider and a date may be added."""
    return named_model(seen[0], openai.completion(seen[0]).get("model"), "chat.response.schema")


@check("chat.response.finish-reason", on=[*ANSWERS, CUT])
def test_answer_says_why_it_ended(seen: Transcript) -> None:
    """Each choice of a completion has a finish_reason of the documented set."""
    if seen.scenario == CUT.name:
        declined(seen[0], "max_tokens")
    for choice in openai.choices(openai.completion(seen[0])):
        got = choice.get("finish_reason", "no finish_reason")
        expect(got in FINISHES, wanted=f"one of {', '.join(sorted(FINISHES))}", got=got)


@check("chat.content.key-nonstream", on=ANSWERS)
def test_message_has_role_and_content(seen: Transcript) -> None:
    """A completion's message has role assistant, and content, a string or null."""
    said = openai.message(seen[0])
    expect(said.get("role") == "assistant", wanted="role: assistant", got=said.get("role"))
    expect("content" in said, wanted="the key content", got=f"only {', '.join(said)}")
    content = said["content"]
    # A call may come without text; an answer to a plain question may not.
    right = isinstance(content, str) or (content is None and seen.scenario != PLAIN.name)
    expect(right, wanted="content: a string", got=content)


@check("chat.system-accepted", on=[SYSTEM])
def test_system_message_is_accepted(seen: Transcript) -> None:
    """A conversation that begins with a system message is answered."""
    accepted(seen[0], wanted="200 to a conversation with a system message")


@check("chat.multi-turn-accepted", on=[HISTORY])
def test_history_is_accepted(seen: Transcript) -> str:
    """A history of user and assistant messages is answered."""
    accepted(seen[0], wanted="200 to a history of three messages")
    return "the history was used" if "4711" in texts(seen[0]) else "the answer ignores the history"


@check("chat.content-parts", across=[PARTS, PLAIN])
def test_text_parts_are_joined(parts: Transcript, plain: Transcript) -> None:
    """Content in text parts is answered like the same text in one string."""
    whole = text_of(plain[0])
    accepted(parts[0], wanted="200 to content that is a list of text parts")
    answer = text_of(parts[0])
    if answer == whole:
        return
    counted = [_prompt_tokens(item[0]) for item in (parts, plain)]
    if counted[0] is not None and counted[1] is not None:
        # Parts may cost a token or two more; a part that was lost costs a quarter less.
        expect(
            counted[0] >= 0.8 * counted[1],
            wanted=f"the whole text to reach the model ({counted[1]} prompt tokens)",
            got=f"{counted[0]} prompt tokens, and the answer {answer[:80]!r}",
        )
    raise Inconclusive("the model answered the two otherwise equal requests differently")


def _prompt_tokens(exchange: Exchange) -> int | None:
    try:
        counted = openai.usage(openai.answer(exchange)).get("prompt_tokens")
    except Untestable:
        return None
    return counted if openai.is_int(counted) else None


@check("chat.range.ends", on=[RANGE_ENDS])
def test_ends_of_ranges_are_accepted(seen: Transcript) -> None:
    """The ends of each documented range are accepted."""
    refused = []
    for at, exchange in each(seen):
        got = openai.response(exchange)
        if got.status in (400, 422):
            refused.append((at, exchange))
        else:
            accepted(exchange, wanted=f"200 to {exchange.ask.label}", at=at)
    names = {exchange.ask.label.partition("=")[0] for _, exchange in refused}
    for name in names:
        both = [item for item in seen.exchanges if item.ask.label.startswith(f"{name}=")]
        if all(openai.response(item).status in (400, 422) for item in both):
            # A reasoning model takes neither 0 nor 2: that is the model's word, not a range.
            raise Inconclusive(f"{name} was refused at both ends: {shown(_first(both))}")
    for at, exchange in refused:
        raise Finding(
            wanted=f"200 to {exchange.ask.label}", got=shown(openai.response(exchange)), at=at
        )


def _first(exchanges: list[Exchange]) -> Any:
    return openai.response(exchanges[0])


# The documented ranges; for the others (top_p, max_tokens) the pages name none.
_DOCUMENTED = ("temperature", "presence_penalty", "frequency_penalty")


@check("chat.range.outside", on=[RANGE_OUTSIDE])
def test_values_outside_are_refused(seen: Transcript) -> str:
    """A value outside a documented range is refused with a 4xx."""
    taken = []
    for at, exchange in each(seen):
        status = openai.response(exchange).status
        if status == 200 and not answered(exchange):
            raise Untestable(
                f"the refusal of {exchange.ask.label} has status 200 (see err.not-200)"
            )
        if status == 200 and exchange.ask.label.startswith(_DOCUMENTED):
            raise Finding(wanted=f"a 4xx to {exchange.ask.label}", got="200", at=at)
        if status == 200:
            taken.append(exchange.ask.label)
        if status >= 500:
            raise Untestable(f"{exchange.ask.label} met a {status} (see chat.range.outside-no-5xx)")
    return f"taken, where the upstream's range is no promise: {', '.join(taken)}" if taken else ""


@check("chat.range.outside-no-5xx", on=[RANGE_OUTSIDE])
def test_values_outside_do_not_crash(seen: Transcript) -> None:
    """A value outside a documented range never meets a 5xx."""
    for at, exchange in each(seen):
        got = openai.response(exchange)
        expect(got.status < 500, wanted=f"no 5xx to {exchange.ask.label}", got=shown(got), at=at)


@check("chat.unknown-param", on=[UNKNOWN_PARAM])
def test_unknown_field_does_not_crash(seen: Transcript) -> str:
    """An unknown top-level field is ignored or refused with a 4xx."""
    got = openai.response(seen[0])
    expect(got.status < 500, wanted="200 or a 4xx to an unknown field", got=shown(got))
    return "ignored" if got.status == 200 else f"refused with {got.status}"


@check("chat.finish.length", on=[CUT, CUT_STREAM])
def test_cut_answer_says_length(seen: Transcript) -> None:
    """An answer that max_tokens cuts off ends with finish_reason length."""
    declined(seen[0], "max_tokens")
    finish, text = _ended(seen[0])
    if finish == "length":
        return
    if "100" in text:
        raise Untestable("the bound was not kept (see usage.max-tokens-bound)")
    # Eight tokens hold at most the numbers to eight; a model that says less ended by itself.
    if "3" not in text:
        raise Inconclusive(f"the model did not count: {text[:80]!r}")
    raise Finding(wanted="finish_reason: length", got=f"{finish!r} after {text[:80]!r}")


def _ended(exchange: Exchange) -> tuple[Any, str]:
    """Return why a text answer ended, streamed or not, and its text."""
    got = openai.response(exchange)
    if got.status == 200 and (got.media_type == "text/event-stream" or exchange.events):
        choice = only(streamed(exchange))
        return choice.finish, choice.content
    first = openai.choices(openai.completion(exchange))[0]
    return first.get("finish_reason"), text_of(exchange)


@check("chat.max-completion-tokens", across=[CUT_NEW, CUT])
def test_new_bound_is_kept(new: Transcript, old: Transcript) -> str:
    """max_completion_tokens bounds the answer as max_tokens does; one of the two is taken."""
    statuses = [openai.response(item[0]).status for item in (new, old)]
    if statuses[0] in (400, 422) and statuses[1] == 200:
        raise Inconclusive("the model takes max_tokens only")
    accepted(new[0], wanted="200 to max_completion_tokens")
    _, text = _ended(new[0])
    expect(
        "100" not in text and len(text) < 8 * BOUND,
        wanted=f"an answer of at most {BOUND} tokens",
        got=f"{len(text)} characters: {text[:120]}",
    )
    return "both names are taken" if statuses[1] == 200 else "only the new name is taken"


@check("chat.stop.sequence", on=[STOP, STOP_STREAM])
def test_stop_string_ends_the_answer(seen: Transcript) -> None:
    """A stop string ends the answer, is not part of it, and gives finish_reason stop."""
    declined(seen[0], "stop")
    finish, text = _ended(seen[0])
    if not text.strip().lower().startswith("alpha bravo"):
        raise Inconclusive(f"the model did not repeat the text: {text[:80]!r}")
    expect("ENDMARK" not in text, wanted="no stop string in the text", got=text)
    expect("delta" not in text, wanted="nothing behind the stop string", got=text)
    expect(finish == "stop", wanted="finish_reason: stop", got=finish)


@check("chat.n.indices", on=[N, N_STREAM])
def test_n_gives_so_many_choices(seen: Transcript) -> None:
    """n: 2 gives the choices 0 and 1, each with a finish_reason."""
    declined(seen[0], "n: 2")
    if seen.scenario == N_STREAM.name:
        found = {
            index: choice.finish for index, choice in openai.assemble(streamed(seen[0])).items()
        }
    else:
        found = {
            choice.get("index"): choice.get("finish_reason")
            for choice in openai.choices(openai.completion(seen[0]))
        }
    expect(set(found) == {0, 1}, wanted="choices 0 and 1", got=list(found))
    expect(all(found.values()), wanted="a finish_reason for each", got=found)


@check("chat.response-format.json-object", on=[JSON_OBJECT])
def test_json_object_is_forced(seen: Transcript) -> None:
    """response_format json_object gives content that parses as one JSON object."""
    accepted(seen[0], wanted="200 to response_format json_object")
    _whole(seen[0])
    text = text_of(seen[0])
    expect(isinstance(_parsed(text), dict), wanted="one JSON object", got=text[:200])


@check("chat.response-format.json-schema", on=[JSON_SCHEMA])
def test_json_schema_is_kept(seen: Transcript) -> str:
    """A strict json_schema is kept or refused with a 4xx, never dropped in silence."""
    got = openai.response(seen[0])
    if got.status != 200 and clean_refusal(got):
        return f"refused with {got.status}"
    accepted(seen[0], wanted="a kept schema, or a clean 4xx")
    if openai.message(seen[0]).get("refusal"):
        raise Inconclusive("the model refused to answer")
    _whole(seen[0])
    text = text_of(seen[0])
    errors = list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(_parsed(text)))
    expect(
        not errors,
        wanted="content that the schema accepts",
        got=f"{text[:200]} ({errors[0].message if errors else ''})",
    )
    return "kept"


def _whole(exchange: Exchange) -> None:
    """Raise ``Inconclusive`` when the answer was cut off, so that its JSON cannot be whole."""
    finish = openai.choices(openai.completion(exchange))[0].get("finish_reason")
    if finish in ("length", "content_filter"):
        raise Inconclusive(f"the answer ended with finish_reason {finish}")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


@check("chat.logprobs.shape", on=[LOGPROBS])
def test_logprobs_have_their_members(seen: Transcript) -> None:
    """logprobs: true gives entries with token, logprob, bytes and top_logprobs."""
    declined(seen[0], "logprobs")
    choice = openai.choices(openai.completion(seen[0]))[0]
    given = choice.get("logprobs")
    entries = given.get("content") if isinstance(given, dict) else None
    expect(
        isinstance(entries, list) and entries,
        wanted="logprobs.content with an entry for each token",
        got=f"logprobs: {given!r}"[:200],
    )
    assert isinstance(entries, list)
    for entry in entries:
        expect(isinstance(entry, dict), wanted="entries that are objects", got=entry)
        _entry(entry)
        tops = entry.get("top_logprobs")
        expect(
            isinstance(tops, list) and len(tops) <= 2 and all(isinstance(t, dict) for t in tops),
            wanted="top_logprobs: a list of at most two",
            got=tops,
        )
        for top in tops:
            _entry(top)


def _entry(entry: Mapping[str, Any]) -> None:
    _require(entry, "token", isinstance(entry.get("token"), str), "a string")
    _require(entry, "logprob", openai.is_number(entry.get("logprob")), "a number")
    data = entry.get("bytes", "missing")
    right = data is None or (isinstance(data, list) and all(openai.is_int(b) for b in data))
    _require(entry, "bytes", right, "a list of integers, or null")
