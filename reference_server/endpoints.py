"""The endpoints that most profiles share: chat completions and models.

An endpoint is a function from a call to a reply; what it refuses it raises as ``ApiError``.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .access import check_quota, model_of, spend
from .call import Call
from .chat import complete, length_of
from .errors import ApiError
from .faults import apply
from .model import prompt_tokens, text_of
from .profile import Model
from .render import body_of, chunks_of
from .script import JSON, Reply
from .tokens import LONGEST
from .validate import check_chat

__all__ = ["chat", "check_context", "list_models", "retrieve_model"]


def check_context(payload: Mapping[str, Any], model: Model) -> None:
    """Refuse a conversation that does not fit the model's context."""
    texts = [text_of(message.get("content")) for message in payload["messages"]]
    # No ASCII token is longer than this, so a very long text is refused without being counted.
    used = sum(len(text) for text in texts if text.isascii()) // LONGEST
    if used <= model.context:
        used = prompt_tokens(payload)
    if used > model.context:
        raise ApiError(
            400,
            f"This model's context is {model.context} tokens, but the messages have at least "
            f"{used}.",
            param="messages",
            code="context_length_exceeded",
        )


def chat(call: Call) -> Reply:
    """Complete a chat, streamed or not."""
    if call.problem is not None:
        raise call.problem
    payload = call.payload
    check_chat(payload, call.profile.fields)
    model = model_of(call, payload["model"], "chat")
    check_quota(call)
    if call.profile.prompt is not None:
        messages = call.profile.prompt(payload["messages"], model)
        messages = apply("prompt", call.deeds, messages, call)
        call.notes["effective"] = messages
        payload = {**payload, "messages": messages}
    check_context(payload, model)
    completion = complete(
        payload, model=payload["model"], length=call.length, reasons=model.reasons
    )
    # What the model does comes before the gateway's own additions, its faults after them.
    completion = apply("completion", call.deeds, completion, call, kinds=("behaviour",))
    completion = call.profile.add(completion, model, payload)
    usage = completion.usage or {"prompt_tokens": 0, "completion_tokens": 0}
    spend(
        call,
        model,
        usage["prompt_tokens"],
        usage["completion_tokens"],
        usage.get("cost_usd_total"),
    )
    call.profile.observe(call, completion, model)
    if not call.profile.names_model:
        completion = replace(completion, names_model=False)
    completion = apply("completion", call.deeds, completion, call, kinds=("fault", "oddity"))
    schedule = call.timing.schedule(completion.seed)
    reasoning = call.profile.show_reasoning
    if call.streams:
        asked = call.asks_for("include_usage")
        events = chunks_of(
            completion,
            schedule,
            usage_asked=asked,
            usage_sent=asked or call.profile.usage_always,
            show_reasoning=reasoning,
        )
        headers = (
            ("Content-Type", "text/event-stream; charset=utf-8"),
            ("Cache-Control", "no-cache"),
            ("X-Accel-Buffering", "no"),
        )
        return Reply(200, headers, events=events, at_ns=call.timing.ttft_ns)
    at_ns = (
        schedule.at(max(0, length_of(completion) - 1))
        if call.timing.ttft_ns or call.timing.itl_ns
        else 0
    )
    return Reply(200, (JSON,), body=body_of(completion, show_reasoning=reasoning), at_ns=at_ns)


def list_models(call: Call) -> Reply:
    """List the models of the caller's plan."""
    profile = call.profile
    of_plan = call.caller.plan.models if call.caller is not None else None
    names = [name for name in profile.listed if of_plan is None or name in of_plan]
    cards = [profile.card(profile.models[name], name) for name in names]
    return Reply(200, (JSON,), body={"object": "list", "data": cards})


def retrieve_model(call: Call) -> Reply:
    """Show one model; its name may have slashes."""
    name = "/".join(call.route[1:])
    return Reply(200, (JSON,), body=call.profile.card(model_of(call, name), name))
