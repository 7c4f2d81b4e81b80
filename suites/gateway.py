"""Checks of the gateway between: what it passes on, whole, at once, and to nobody else."""

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from gateproof.check import Finding, Inconclusive, Place, Untestable, check, expect
from gateproof.dialects import anthropic, openai
from gateproof.transcript import Exchange, Transcript

from .journal import (
    entries,
    expect_same_as_control,
    finish_of,
    forwarded,
    forwarded_body,
    own_upstream,
    places,
    streams,
    text_of,
)
from .reading import speaks_messages
from .scenarios import messages_upstream as mup
from .scenarios import upstream as up

KEY_HEADERS = frozenset({"authorization", "x-api-key"})
CANCEL_GRACE_S = 2.0  # far above a round trip, far below the half minute that the upstream has left
DEMO_KEY_LENGTH = len("sk-gateproof-demo")  # the one key whose use the journal recognises
_NS = 1_000_000_000


@check("gateway.forwards", on=[up.PLAIN, mup.PLAIN])
def test_request_reaches_the_upstream(seen: Transcript) -> str:
    """A chat request reaches the controlled upstream, with the canary of its message."""
    told = []
    for index, exchange in enumerate(seen.exchanges):
        openai.response(exchange)
        found = entries(seen, exchange.ask.label)
        expect(
            found,
            wanted="the upstream's journal has the request",
            got=f"{len(seen.upstream or ())} entries with the scenario's canary, none of this",
            at=Place(exchange=index),
        )
        told.append(f"{exchange.ask.label} {len(found)} time{'s' * (len(found) > 1)}")
    return f"reached it: {', '.join(told)}"


@check("gateway.text-intact", on=[up.PLAIN, mup.PLAIN])
def test_text_is_the_upstreams(seen: Transcript) -> None:
    """The text of the answer is the upstream's, character for character, streamed or not."""
    for label, exchange, at in places(seen):
        got = text_of(exchange)
        expect(got == up.TEXT, wanted=f"{label}: {up.TEXT!r}", got=got, at=at)


@check("gateway.usage-kept", on=[up.USAGE_COUNTS])
def test_token_counts_are_the_upstreams(seen: Transcript) -> None:
    """The upstream's token counts reach the client unchanged, streamed or not."""
    prompt, completion = up.USAGE
    wanted = (prompt, completion, prompt + completion)
    for _, exchange, at in places(seen):
        if streams(exchange):
            with_usage = [c for c in openai.stream(exchange).chunks if c.value.get("usage")]
            if not with_usage:
                raise Untestable("the stream has no usage (see chat.usage.final-chunk)")
            counts = openai.usage(with_usage[-1].value)
        else:
            counts = openai.usage(openai.completion(exchange))
        got = tuple(
            counts.get(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")
        )
        expect(got == wanted, wanted=f"prompt, completion, total: {wanted}", got=f"{got}", at=at)


@check("gateway.finish-reason-kept", on=[up.FINISH])
def test_finish_reason_is_the_upstreams(seen: Transcript) -> None:
    """The upstream's finish_reason reaches the client, streamed or not."""
    for label, exchange, at in places(seen):
        wanted = label.partition("-")[2]
        expect(
            finish_of(exchange) == wanted,
            wanted=f"finish_reason {wanted} ({label})",
            got=finish_of(exchange),
            at=at,
        )


@check("gateway.messages-forwarded", on=[up.MESSAGES, up.TOOL_RESULT])
def test_messages_reach_the_upstream(seen: Transcript) -> None:
    """The messages reach the upstream in number, order, role and text as the client sent them."""
    wanted = [_plain_message(item) for item in seen[0].ask.value["messages"]]
    came = forwarded_body(seen, "plain").get("messages")
    got = [_plain_message(item) for item in openai.objects(came)]
    expect(got == wanted, wanted=f"{wanted}", got=f"{got}")


def _plain_message(message: Mapping[str, Any]) -> tuple[str, str]:
    role = str(message.get("role"))
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(str(part.get("text")) for part in openai.objects(content))
    return ("system" if role == "developer" else role, "" if content is None else str(content))


_ALIASES = {
    "max_tokens": ("max_tokens", "max_completion_tokens"),
    "stop_sequences": ("stop_sequences", "stop"),
}


@check("gateway.parameters-forwarded", on=[up.PARAMETERS, mup.PARAMETERS])
def test_parameters_reach_the_upstream(seen: Transcript) -> str:
    """Each documented parameter reaches the upstream with its value, or the request is refused."""
    kept = []
    for index, exchange in enumerate(seen.exchanges):
        label = exchange.ask.label
        got = openai.response(exchange)
        if 400 <= got.status < 500:
            kept.append(f"{label} refused with {got.status}")
            continue
        came = forwarded_body(seen, label)
        sent = exchange.ask.value
        for name in sorted(set(sent) - {"model", "messages"}):
            values = [came[key] for key in _ALIASES.get(name, (name,)) if key in came]
            expect(
                values and values[0] == sent[name],
                wanted=f"{name} = {json.dumps(sent[name])} at the upstream",
                got=f"{json.dumps(values[0])}" if values else f"none among {sorted(came)}",
                at=Place(exchange=index),
            )
            kept.append(name)
    return ", ".join(kept)


@check("gateway.tools-forwarded", on=[up.TOOLS])
def test_tools_reach_the_upstream(seen: Transcript) -> None:
    """Tools reach the upstream with their names and parameter schemas, and tool_choice."""
    for label, exchange, at in places(seen):
        sent = exchange.ask.value
        came = forwarded_body(seen, label)
        wanted = [
            (tool["function"]["name"], tool["function"]["parameters"]) for tool in sent["tools"]
        ]
        got = [
            (tool["function"].get("name"), tool["function"].get("parameters"))
            for tool in openai.objects(came.get("tools"))
            if isinstance(tool.get("function"), dict)
        ]
        expect(got == wanted, wanted=f"tools {wanted}", got=f"{got}", at=at)
        choice = came.get("tool_choice", "auto")
        expect(choice == "auto", wanted="tool_choice auto, or none given", got=choice, at=at)


@check("gateway.tool-calls-intact", on=[up.TOOLS])
def test_tool_calls_are_the_upstreams(seen: Transcript) -> None:
    """Tool calls reach the client with the upstream's names and arguments, streamed or not."""
    for label, exchange, at in places(seen):
        if not forwarded_body(seen, label).get("tools"):
            raise Untestable("the tools did not reach the upstream (see gateway.tools-forwarded)")
        got = _calls(exchange)
        expect(
            got == [("get_weather", up.TOOL_ARGUMENTS)],
            wanted=f"one call of get_weather with {up.TOOL_ARGUMENTS}",
            got=got,
            at=at,
        )


def _calls(exchange: Exchange) -> list[tuple[Any, Any]]:
    if streams(exchange):
        made = [
            (call.names[0] if call.names else None, call.arguments)
            for choice in openai.assemble(openai.stream(exchange)).values()
            for call in choice.calls.values()
        ]
    else:
        made = [
            (call["function"].get("name"), call["function"].get("arguments"))
            for call in openai.objects(openai.message(exchange).get("tool_calls"))
            if isinstance(call.get("function"), dict)
        ]
    return [(name, _loads(arguments)) for name, arguments in made]


def _loads(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return text


@check("gateway.silence-tolerated", on=[up.SILENCE, up.STALL, mup.SILENCE, mup.STALL])
def test_pause_does_not_end_the_stream(seen: Transcript) -> str:
    """A pause of a few seconds of the upstream does not end the stream."""
    return expect_same_as_control(seen)


@check("gateway.codepoint-intact", on=[up.CODEPOINTS, mup.CODEPOINTS])
def test_divided_code_points_arrive_whole(seen: Transcript) -> str:
    """A code point whose bytes the upstream sends in two writes arrives whole."""
    return expect_same_as_control(seen)


@check("gateway.crlf-upstream-tolerated", on=[up.CRLF])
def test_crlf_upstream_is_read(seen: Transcript) -> str:
    """An upstream stream with CRLF line ends is read like one with LF."""
    return expect_same_as_control(seen)


@check("gateway.multiline-data-tolerated", on=[up.MULTILINE])
def test_multiline_data_is_read(seen: Transcript) -> str:
    """An upstream event whose JSON stands on several data lines is read as one document."""
    return expect_same_as_control(seen)


@check("gateway.split-writes-tolerated", on=[up.SPLIT])
def test_division_into_packets_makes_no_difference(seen: Transcript) -> str:
    """It makes no difference how the upstream's bytes are divided into packets."""
    return expect_same_as_control(seen)


@check("gateway.extra-fields-tolerated", on=[up.EXTRA_FIELDS])
def test_unknown_members_do_no_harm(seen: Transcript) -> str:
    """Members of the upstream's answer that the gateway does not know do no harm."""
    return expect_same_as_control(seen)


@check("gateway.comments-not-data", on=[up.COMMENTS])
def test_comments_do_not_become_data(seen: Transcript) -> str:
    """Comments in the upstream's stream reach the client as comments or not at all."""
    (_, exchange, at) = places(seen)[-1]
    told = expect_same_as_control(seen)
    for index, data in openai.stream(exchange).unreadable:
        expect(
            not data.startswith(":"),
            wanted="no comment among the data",
            got=data,
            at=Place(exchange=at.exchange, frame=index),
        )
    comments = sum(line.is_comment for frame in exchange.frames for line in frame.lines)
    return f"{comments} comments passed on; {told}"


@check("gateway.no-buffering", on=[up.PACED, mup.PACED])
def test_chunks_are_not_gathered(seen: Transcript) -> str:
    """Each chunk leaves the gateway soon after the upstream sent it, not gathered into bursts."""
    findings = []
    for label, exchange, at in places(seen):
        try:
            return _expect_flowing(exchange, forwarded(seen, label)["sends"], at)
        except Finding as finding:
            findings.append(finding)
    raise findings[-1]


def _arrivals(exchange: Exchange) -> list[int]:
    """Return when each chunk with text came."""
    if speaks_messages(exchange):
        events = anthropic.stream(exchange).of("content_block_delta")
        return [event.at_ns for event in events if event.member("delta").get("text")]
    return [
        chunk.at_ns
        for chunk in openai.stream(exchange).chunks
        if any((part.get("delta") or {}).get("content") for part in chunk.choices)
    ]


def _expect_flowing(exchange: Exchange, entries: Sequence[Mapping[str, Any]], at: Place) -> str:
    """Hold the arrivals of one paced stream to the upstream's send times."""
    arrivals = _arrivals(exchange)
    if len(arrivals) < 2:
        raise Untestable("the stream has fewer than two chunks with text")
    nominal_ns = (up.TOKENS - 1) * up.ITL_MS * 1_000_000
    sends = [entry["at_ns"] for entry in entries if entry["label"] == "content"]
    # A busy machine may delay the upstream itself; but one that sent nothing apart is buffered too.
    sent_ns = sends[-1] - sends[0] if sends else 0
    paced_ns = sent_ns if sent_ns > nominal_ns / 10 else nominal_ns
    spread_ns = arrivals[-1] - arrivals[0]
    expect(
        spread_ns >= paced_ns / 2,
        wanted=f"text that comes over about {paced_ns / 1e6:.0f} ms, as the upstream paces it",
        got=f"{len(arrivals)} chunks within {spread_ns / 1e6:.0f} ms",
        at=at,
    )
    moments = 1 + sum(
        later - earlier >= up.APART_NS for earlier, later in itertools.pairwise(arrivals)
    )
    expect(
        moments * up.BURST > len(arrivals),
        wanted=f"text that comes token by token, as the upstream sends one every {up.ITL_MS} ms",
        got=f"{len(arrivals)} chunks in {moments} bursts over {spread_ns / 1e6:.0f} ms",
        at=at,
    )
    late_ns = 0
    if len(sends) == len(arrivals):
        late_ns = min(came - left for left, came in zip(sends, arrivals, strict=True))
    expect(
        late_ns <= nominal_ns / 2,
        wanted="each chunk soon after the upstream sent it",
        got=f"none less than {late_ns / 1e6:.0f} ms later",
        at=at,
    )
    return f"{len(arrivals)} chunks over {spread_ns / 1e6:.0f} ms"


@check("gateway.cancel-propagates", on=[up.CANCEL, mup.CANCEL])
def test_client_that_leaves_ends_the_upstreams_work(seen: Transcript) -> str:
    """When the client goes away in mid-stream, the upstream's request is cancelled soon."""
    return _expect_cancelled(seen)


@check("gateway.cancel-before-first-token", on=[up.CANCEL_EARLY])
def test_client_that_leaves_early_ends_the_upstreams_work(seen: Transcript) -> str:
    """When the client goes away before the first token, the upstream's request is cancelled."""
    return _expect_cancelled(seen)


def _expect_cancelled(seen: Transcript) -> str:
    exchange = seen[0]
    if exchange.ended != "cancelled":
        raise Untestable(f"the stream ended before the client left ({exchange.ended})")
    entry = forwarded(seen, "stream")
    left_ns = exchange.ended_ns
    cancelled_ns = entry.get("cancelled_at_ns") or 0
    expect(
        entry["outcome"] in ("cancelled", "reset") and cancelled_ns,
        wanted=f"the upstream is left within {CANCEL_GRACE_S:g} s after the client has gone",
        got=f"the upstream's request is {entry['outcome']}, {len(entry['sends'])} writes",
    )
    after_s = (cancelled_ns - left_ns) / _NS
    expect(
        after_s <= CANCEL_GRACE_S,
        wanted=f"the upstream is left within {CANCEL_GRACE_S:g} s after the client has gone",
        got=f"after {after_s:.1f} s",
    )
    return f"left after {max(0.0, after_s) * 1000:.0f} ms"


@check("gateway.key-not-forwarded", on=[up.HEADERS, mup.HEADERS])
def test_clients_key_stays_at_the_gateway(seen: Transcript) -> str:
    """The client's key of the gateway is not sent to the upstream."""
    if told := own_upstream(seen):
        return told
    sent = [mark for mark in seen[0].marks if mark.part == "sent"]
    if not sent:
        return "the client has no key"
    entry = forwarded(seen, "plain")
    keys = [value for name, value in entry["headers"] if name.lower() in KEY_HEADERS]
    if any("the demo key]" in value and "not the demo key]" not in value for value in keys):
        if sent[0].length == DEMO_KEY_LENGTH:
            raise Inconclusive(
                "client and gateway seem to use one and the same key: "
                "give the gateway a key of its own"
            )
        return "the upstream got the gateway's own key"
    expect(
        not any(f" {sent[0].length} characters" in value for value in keys),
        wanted="no key, or the gateway's own key for the upstream",
        got=f"{keys[0] if keys else ''}, as long as the client's",
    )
    return "the upstream got another key" if keys else "the upstream got no key"


@check("hdr.hop-by-hop", on=[up.HEADERS])
def test_connection_specific_fields_stay(seen: Transcript) -> str:
    """A field that the client's Connection header names is not forwarded to the upstream."""
    if told := own_upstream(seen):
        return told
    entry = forwarded(seen, "plain")
    came = [name for name, _ in entry["headers"] if name.lower() == up.HOP_HEADER]
    expect(
        not came,
        wanted=f"{up.HOP_HEADER}, named in Connection, is dropped (RFC 9110 section 7.6.1)",
        got=f"{came[0] if came else ''} at the upstream",
    )
    return "dropped"
