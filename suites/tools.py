"""Checks of tool calls: whether the choice is obeyed, how a call is written, how it is streamed."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateproof.check import Inconclusive, Place, Untestable, check, expect
from gateproof.dialects import openai
from gateproof.transcript import Exchange, Transcript

from .reading import accepted, clean_refusal, only, shown, streamed, tool_calls, tool_deltas
from .scenarios.chat import PLAIN, STREAM
from .scenarios.tools import (
    AUTO,
    AUTO_STREAM,
    EMPTY,
    FORCED,
    FORCED_STREAM,
    NONE,
    NONE_STREAM,
    PARALLEL,
    PARALLEL_OFF,
    PARALLEL_STREAM,
    REQUIRED,
    REQUIRED_STREAM,
    ROUND_TRIP,
)

_STREAMED = frozenset(
    item.name
    for item in (AUTO_STREAM, FORCED_STREAM, NONE_STREAM, PARALLEL_STREAM, REQUIRED_STREAM)
)


def _names(seen: Transcript) -> list[Any]:
    """Return the names of the functions that an answer calls, streamed or not."""
    if seen.scenario in _STREAMED:
        calls = only(streamed(seen[0])).calls.values()
        return [next((name for name in call.names if name), None) for call in calls]
    return [_function(call).get("name") for call in tool_calls(seen[0])]


def _function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call.get("function")
    return function if isinstance(function, dict) else {}


def _finish(seen: Transcript) -> Any:
    if seen.scenario in _STREAMED:
        return only(streamed(seen[0])).finish
    return openai.choices(openai.completion(seen[0]))[0].get("finish_reason")


@check("tool.choice.named", on=[FORCED, FORCED_STREAM])
def test_named_function_is_called(seen: Transcript) -> str:
    """A named tool_choice gives a call of that function."""
    accepted(seen[0], wanted="200 to a named tool_choice")
    names = _names(seen)
    expect(
        set(names) == {"get_weather"},
        wanted="a call of get_weather, which tool_choice names",
        got=f"calls of {names}" if names else "no call",
    )
    # Named calls end with stop at the upstream, with tool_calls elsewhere: both are right.
    return f"finish_reason {_finish(seen)}"


@check("tool.choice.required", on=[REQUIRED, REQUIRED_STREAM])
def test_required_gives_a_call(seen: Transcript) -> str:
    """tool_choice required gives at least one call."""
    got = openai.response(seen[0])
    undocumented = ["tool_choice", "required"] in seen.use.get("options", {}).get(
        "undocumented", []
    )
    if undocumented and clean_refusal(got):
        return f"refused with {got.status}; it is not documented"
    accepted(seen[0], wanted="200 to tool_choice required")
    expect(_names(seen), wanted="at least one call", got="no call")
    return ""


@check("tool.choice.none", on=[NONE, NONE_STREAM])
def test_none_gives_no_call(seen: Transcript) -> None:
    """tool_choice none gives no call."""
    accepted(seen[0], wanted="200 to tool_choice none")
    names = _names(seen)
    expect(not names, wanted="no call, since tool_choice is none", got=f"calls of {names}")


@check("tool.finish.auto", on=[AUTO, AUTO_STREAM])
def test_call_ends_with_tool_calls(seen: Transcript) -> None:
    """With tool_choice auto an answer that calls a tool ends with finish_reason tool_calls."""
    accepted(seen[0], wanted="200 to tool_choice auto")
    if not _names(seen):
        raise Inconclusive("the model did not call the tool that it was asked to call")
    finish = _finish(seen)
    if finish in (None, ""):
        raise Untestable("there is no finish_reason (see chat.finish.once)")
    expect(finish == "tool_calls", wanted="finish_reason: tool_calls", got=finish)


@check("tool.parallel-false", on=[PARALLEL_OFF])
def test_parallel_calls_can_be_switched_off(seen: Transcript) -> None:
    """parallel_tool_calls false gives at most one call."""
    accepted(seen[0], wanted="200 to parallel_tool_calls: false")
    names = _names(seen)
    expect(len(names) <= 1, wanted="at most one call", got=f"{len(names)} calls")
    if not names:
        raise Inconclusive("the model did not call the tool that it was asked to call")


def _arguments(exchange: Exchange, *, stream: bool) -> list[tuple[Place | None, Any]]:
    """Return the arguments of every call, or of every delta of a call that has some."""
    if not stream:
        calls = tool_calls(exchange)
        return [(None, _function(call).get("arguments", "no arguments")) for call in calls]
    deltas = tool_deltas(streamed(exchange))
    return [(p, _function(c)["arguments"]) for p, c in deltas if "arguments" in _function(c)]


@check("tool.args.string", on=[FORCED, FORCED_STREAM])
def test_arguments_are_a_string(seen: Transcript) -> None:
    """A call's arguments are a string, never an object."""
    stream = seen.scenario in _STREAMED
    found = _arguments(seen[0], stream=stream)
    if not found:
        raise Untestable("the answer holds no call with arguments (see tool.choice.named)")
    for place, got in found:
        right = isinstance(got, str) or (stream and got is None)
        expect(right, wanted="arguments: a string", got=got, at=place)


@check("tool.args.concat-json", on=[FORCED, FORCED_STREAM])
def test_arguments_are_json(seen: Transcript) -> None:
    """The arguments of a forced call, joined from their fragments, are one JSON object."""
    stream = seen.scenario in _STREAMED
    found = [text for _, text in _arguments(seen[0], stream=stream) if text is not None]
    if not found or not all(isinstance(text, str) for text in found):
        raise Untestable("the call has no arguments that are text (see tool.args.string)")
    # One call was forced: whatever index its fragments carry, they are joined.
    joined = "".join(found) if stream else found[0]
    expect(_is_object(joined), wanted="one JSON object as arguments", got=joined[:200])


@check("tool.args.schema", on=[FORCED, FORCED_STREAM])
def test_arguments_fit_the_schema(seen: Transcript) -> None:
    """The arguments of a forced call fit the function's parameters."""
    stream = seen.scenario in _STREAMED
    found = [text for _, text in _arguments(seen[0], stream=stream) if isinstance(text, str)]
    joined = "".join(found) if stream else next(iter(found), "")
    if not _is_object(joined):
        raise Untestable("the arguments are no JSON object (see tool.args.concat-json)")
    if set(_names(seen)) != {"get_weather"}:
        raise Untestable("another function is called (see tool.choice.named)")
    value = openai.loads(joined)
    expect(
        isinstance(value.get("city"), str), wanted="city, a string, as required", got=joined[:200]
    )


@check("tool.call.schema", on=[FORCED, EMPTY])
def test_call_has_its_members(seen: Transcript) -> None:
    """A tool call has a string id, the type function, and a function with a string name."""
    calls = tool_calls(seen[0])
    if not calls:
        raise Untestable("the answer holds no call (see tool.choice.named)")
    for call in calls:
        for name, right, wanted in (
            ("id", isinstance(call.get("id"), str), "a string"),
            ("type", call.get("type") == "function", "function"),
            ("function", isinstance(_function(call).get("name"), str), "an object with a name"),
        ):
            got = repr(call[name])[:120] if name in call else f"no {name}"
            expect(right, wanted=f"{name}: {wanted}", got=got)


def _is_object(text: str) -> bool:
    try:
        return isinstance(openai.loads(text), dict)
    except (ValueError, RecursionError):
        return False


@check("tool.args.empty", on=[EMPTY])
def test_no_arguments_are_an_empty_object(seen: Transcript) -> None:
    """A call of a function without parameters has the arguments {}, not an empty string."""
    found = [text for _, text in _arguments(seen[0], stream=False)]
    if not found or not isinstance(found[0], str):
        raise Untestable("there is no call with arguments that are text (see tool.args.string)")
    expect(found[0].strip(), wanted="arguments: {}", got=repr(found[0]))


@check("tool.nonstream-no-index", on=[FORCED])
def test_whole_calls_have_no_index(seen: Transcript) -> None:
    """Non-streamed tool calls have no index."""
    calls = tool_calls(seen[0])
    if not calls:
        raise Untestable("the answer holds no call (see tool.choice.named)")
    for call in calls:
        expect("index" not in call, wanted="no index", got=f"index: {call.get('index')}")


@check("tool.tool-calls-null", on=[PLAIN, STREAM])
def test_tool_calls_are_left_out(seen: Transcript) -> None:
    """An answer without calls leaves tool_calls out; it is not null."""
    if seen.scenario == PLAIN.name:
        parts: Sequence[Mapping[str, Any]] = [openai.message(seen[0])]
    else:
        found = [part.get("delta") for c in streamed(seen[0]).chunks for part in c.choices]
        parts = [delta for delta in found if isinstance(delta, dict)]
    for part in parts:
        got = part.get("tool_calls", "left out")
        expect(got is not None, wanted="no tool_calls, or a list", got=got)


# The stream of a call: what each delta carries.


def _deltas(seen: Transcript) -> list[tuple[Place, Mapping[str, Any]]]:
    found = list(tool_deltas(streamed(seen[0])))
    if not found:
        raise Untestable("the stream holds no tool call (see tool.choice.named)")
    return found


def _indexed(seen: Transcript) -> dict[int, list[tuple[Place, Mapping[str, Any]]]]:
    """Return the deltas of each call, by index; ``Untestable`` when one has none."""
    calls: dict[int, list[tuple[Place, Mapping[str, Any]]]] = {}
    for place, call in _deltas(seen):
        index = call.get("index")
        if not isinstance(index, int) or isinstance(index, bool):
            raise Untestable("a tool call delta has no index (see tool.stream.index)")
        calls.setdefault(index, []).append((place, call))
    return calls


def _pair(seen: Transcript) -> None:
    """Raise ``Inconclusive`` when the model did not make the two calls it was asked for."""
    ids = {call["id"] for _, call in tool_deltas(streamed(seen[0])) if call.get("id")}
    named = [1 for _, call in tool_deltas(streamed(seen[0])) if _function(call).get("name")]
    if len(ids) < 2 and len(named) < 2:
        raise Inconclusive("the model did not make the two calls that it was asked to make")


@check("tool.stream.index", on=[FORCED_STREAM, AUTO_STREAM, PARALLEL_STREAM])
def test_delta_has_an_index(seen: Transcript) -> None:
    """Every streamed tool call delta has an integer index."""
    if seen.scenario != FORCED_STREAM.name and not list(tool_deltas(streamed(seen[0]))):
        raise Inconclusive("the model did not call the tool that it was asked to call")
    for place, call in _deltas(seen):
        got = call.get("index", "no index")
        expect(openai.is_int(got), wanted="index: an integer", got=got, at=place)


@check("tool.stream.index-from-0", on=[FORCED_STREAM, PARALLEL_STREAM])
def test_indices_begin_at_0(seen: Transcript) -> None:
    """The indices of the calls of a choice begin at 0 and have no gap."""
    if seen.scenario == PARALLEL_STREAM.name:
        _pair(seen)
    calls = _indexed(seen)
    wanted = list(range(len(calls)))
    expect(sorted(calls) == wanted, wanted=f"indices {wanted}", got=f"indices {sorted(calls)}")


@check("tool.stream.parallel-index", on=[PARALLEL_STREAM])
def test_parallel_calls_have_their_own_index(seen: Transcript) -> None:
    """Parallel calls of a streamed choice have different indices."""
    _pair(seen)
    for index, deltas in _indexed(seen).items():
        ids = list(dict.fromkeys(call["id"] for _, call in deltas if call.get("id")))
        expect(
            len(ids) <= 1,
            wanted="one index for each call",
            got=f"index {index} for the calls {ids}",
            at=deltas[-1][0],
        )


@check("tool.stream.id-once", on=[FORCED_STREAM, AUTO_STREAM])
def test_id_and_name_come_once(seen: Transcript) -> None:
    """The id and the name of a call are sent once, and not repeated with its fragments."""
    if seen.scenario == AUTO_STREAM.name and not list(tool_deltas(streamed(seen[0]))):
        raise Inconclusive("the model did not call the tool that it was asked to call")
    deltas = _deltas(seen)
    for word, values in (
        ("id", [(place, call.get("id")) for place, call in deltas]),
        ("name", [(place, _function(call).get("name")) for place, call in deltas]),
    ):
        given = [(place, value) for place, value in values if value]
        if len({value for _, value in given}) > 1:
            continue  # several calls
        expect(
            len(given) == 1,
            wanted=f"the {word} of a call once",
            got=f"{len(given)} times: {[value for _, value in given][:3]}",
            at=given[-1][0] if given else deltas[0][0],
        )


@check("tool.stream.id-not-empty-later", on=[FORCED_STREAM, AUTO_STREAM])
def test_later_deltas_leave_the_id_out(seen: Transcript) -> None:
    """Later deltas of a call leave id and name out; they are not empty strings."""
    if seen.scenario == AUTO_STREAM.name and not list(tool_deltas(streamed(seen[0]))):
        raise Inconclusive("the model did not call the tool that it was asked to call")
    for place, call in _deltas(seen):
        expect(call.get("id") != "", wanted="no id in later deltas", got='id: ""', at=place)
        name = _function(call).get("name")
        expect(name != "", wanted="no name in later deltas", got='name: ""', at=place)


@check("tool.stream.type-not-empty", on=[FORCED_STREAM, AUTO_STREAM])
def test_type_is_function(seen: Transcript) -> None:
    """A streamed call's type is function or left out, never empty or null."""
    if seen.scenario == AUTO_STREAM.name and not list(tool_deltas(streamed(seen[0]))):
        raise Inconclusive("the model did not call the tool that it was asked to call")
    for place, call in _deltas(seen):
        got = call.get("type", "function")
        expect(got == "function", wanted="type: function, or none", got=got, at=place)


@check("tool.stream.id-name-together", on=[FORCED_STREAM])
def test_id_and_name_come_together(seen: Transcript) -> None:
    """The id and the name of a call arrive in one delta."""
    deltas = _deltas(seen)
    first = next(((place, call) for place, call in deltas if call.get("id")), None)
    if first is None:
        raise Untestable("no delta has an id (see tool.stream.id-once)")
    place, call = first
    expect(_function(call).get("name"), wanted="the name beside the id", got=dict(call), at=place)


@check("tool.id.unique", on=[FORCED, PARALLEL, PARALLEL_STREAM])
def test_ids_differ(seen: Transcript) -> None:
    """The ids of the calls in an answer are not empty and differ from one another."""
    if seen.scenario == PARALLEL_STREAM.name:
        _pair(seen)
        ids = [_id_of(deltas) for deltas in _indexed(seen).values()]
    else:
        calls = tool_calls(seen[0])
        if not calls:
            raise _no_call(seen)
        if seen.scenario == PARALLEL.name and len(calls) < 2:
            raise Inconclusive("the model did not make the two calls that it was asked to make")
        ids = [call.get("id") for call in calls]
    expect(
        all(isinstance(one, str) and one for one in ids), wanted="ids that are not empty", got=ids
    )
    expect(len(set(ids)) == len(ids), wanted="an id of its own for each call", got=ids)


def _id_of(deltas: Sequence[tuple[Place, Mapping[str, Any]]]) -> Any:
    ids = list(dict.fromkeys(call["id"] for _, call in deltas if call.get("id")))
    if len(ids) > 1:
        raise Untestable("two calls share an index (see tool.stream.parallel-index)")
    return ids[0] if ids else None


def _no_call(seen: Transcript) -> Exception:
    if seen.scenario == FORCED.name:
        return Untestable("the answer holds no call (see tool.choice.named)")
    return Inconclusive("the model did not make the two calls that it was asked to make")


# The next turn.


def _turn(seen: Transcript, label: str) -> tuple[Place, Exchange]:
    index = next(i for i, item in enumerate(seen.exchanges) if item.ask.label == label)
    return Place(exchange=index), seen[index]


@check("tool.roundtrip", on=[ROUND_TRIP])
def test_tool_result_is_answered(seen: Transcript) -> None:
    """A tool message that answers a call is accepted, and an assistant message follows."""
    turns = [_turn(seen, label) for label in ("null", "empty")]
    answered = [turn for turn in turns if openai.response(turn[1]).status == 200]
    if not answered:
        place, exchange = turns[0]
        accepted(exchange, wanted="200 to a tool message that answers a call", at=place)
    place, exchange = answered[0]
    said = openai.choices(openai.answer(exchange))
    message = said[0].get("message") if said else None
    expect(
        isinstance(message, dict) and (message.get("content") or message.get("tool_calls")),
        wanted="an assistant message after the tool's result",
        got=shown(openai.response(exchange)),
        at=place,
    )


@check("tool.content-null", on=[ROUND_TRIP])
def test_content_null_is_accepted(seen: Transcript) -> None:
    """An assistant message with tool_calls and content null is accepted in the history."""
    place, exchange = _turn(seen, "null")
    _, other = _turn(seen, "empty")
    if openai.response(exchange).status != 200 and openai.response(other).status != 200:
        raise Untestable("the tool's result is not accepted at all (see tool.roundtrip)")
    accepted(exchange, wanted="200 to content: null beside tool_calls", at=place)
