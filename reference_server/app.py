"""The gateway above HTTP: which call is it, may it be made, and what is its answer's script.

The order of doors: a path that names a profile and behaviours, a route and its method, a key, a
rate limit, then the body. Errors have the shape of the profile and come before any 200, streamed
or not. Behaviours named by the model's suffix count as the upstream's and are applied first, then
those of the URL, then those of the whole server.
"""

import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote

from .access import Caller, check_permission, find_key, identify
from .anthropic import speaks_messages
from .call import Call, json_of
from .chat import Timing, fresh
from .compose import steps_of
from .errors import ApiError, OptionError
from .faults import TABLE, Deed, apply, parse
from .images import stored
from .journal import Entry, Journal, mark
from .jsontext import dumps
from .limits import Gate, Limit, Refused, Ruler, Scope, duration
from .multipart import read_form
from .profile import DEMO_KEY, Profile
from .profiles import PROFILES, seeds
from .routes import Handler, handlers_of
from .script import JSON, Reply, Step, common_headers, frame_body
from .state import State

__all__ = ["Answer", "App", "Request", "seeded"]


@dataclass(frozen=True, slots=True)
class Request:
    """A request as HTTP gave it."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    """Names in lower case."""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the connection has to do: a script, and where to note that it was done."""

    reply: Reply
    steps: Iterator[Step]
    entry: Entry | None


def seeded(path: str = ":memory:") -> State:
    """Open a state that has the demo accounts."""
    state = State(path)
    state.seed(seeds())
    return state


@dataclass(slots=True)
class App:
    """The server's settings and its state."""

    journal: Journal
    default: Profile = field(default_factory=lambda: PROFILES["openai"])
    deeds: tuple[Deed, ...] = ()
    timing: Timing = field(default_factory=Timing)
    state: State = field(default_factory=seeded)
    ruler: Ruler = field(default_factory=Ruler)
    limits: tuple[Limit, ...] = ()
    """Those that hold everybody, besides the limits of his plan."""
    peers: tuple[str, ...] = ()
    """Other processes on the same port, whose journals belong to this one's."""

    def answer(self, request: Request, *, read_at_ns: int, connection: int, close: bool,
               http10: bool = False) -> Answer:  # fmt: skip
        """Answer a request: make its script, and enter it in the journal."""
        path, _, query = request.target.partition("?")
        if path.startswith("/_"):
            reply = self._own(request.method, path, query)
            return Answer(reply, frame_body(reply, reply.text or b"", close=close), None)
        entry = Entry(fresh("req_"), read_at_ns, connection, request.method, request.target)
        entry.headers = [(name, mark(name, value, DEMO_KEY)) for name, value in request.headers]
        entry.body = request.body
        try:
            reply, steps = self._serve(request, path, entry, close=close, http10=http10)
        except Exception:  # noqa: BLE001  # our own error must not end the server
            traceback.print_exc(file=sys.stderr)
            error = ApiError(500, "The server failed; this is its own bug.", type_="server_error")
            reply = _refusal(error, self.default, None, entry.id)
            reply = replace(reply, headers=(JSON, ("x-request-id", entry.id)))
            steps = frame_body(reply, dumps(reply.body), close=close)
        entry.status = reply.status
        if not reply.unseen:
            self.journal.add(entry)
        return Answer(reply, steps, entry)

    def own(self, method: str, target: str) -> Reply:
        """Answer a path of the server's own."""
        path, _, query = target.partition("?")
        return self._own(method, path, query)

    def refusal(self, target: str, error: ApiError) -> Reply:
        """Refuse a request that was not even read whole, in the shape of its path's profile."""
        id_ = fresh("req_")
        segments = target.partition("?")[0].split("/")[1:]
        if segments[:1] == ["with"]:
            segments = segments[2:]
        profile = PROFILES.get(segments[0] if segments else "", self.default)
        reply = _refusal(error, profile, None, id_)
        name = "request-id" if speaks_messages(profile.name, ()) else "x-request-id"
        headers = (*reply.headers, (name, id_), *common_headers())
        return replace(reply, headers=headers, text=dumps(reply.body))

    def _serve(
        self, request: Request, path: str, entry: Entry, *, close: bool, http10: bool
    ) -> tuple[Reply, Iterator[Step]]:
        deeds: tuple[Deed, ...] = ()
        call: Call | None = None
        try:
            call = self._call(request, path, entry)
            entry.notes = call.notes
            deeds = call.deeds
            entry.behaviours = tuple(deed.text for deed in deeds)
            call = apply("request", deeds, call, None)
            if call.changed and call.payload is not None:
                entry.body = dumps(
                    {**call.payload, "model": call.model or call.payload.get("model")}
                )
            reply = self._reply(call)
        except ApiError as error:
            profile = PROFILES.get(entry.profile, self.default)
            reply = _refusal(error, profile, call, entry.id)
        messages = speaks_messages(entry.profile, call.route if call is not None else ())
        name = "request-id" if messages else "x-request-id"
        reply = replace(reply, headers=(*reply.headers, (name, entry.id), *common_headers()))
        if request.method == "HEAD":
            reply = replace(reply, head_only=True)
        reply = apply("reply", deeds, reply, call)
        chunks = reply.framing == "chunked" or (reply.events is not None and not reply.framing)
        if http10 and chunks:
            reply = replace(reply, framing="close")
        return reply, steps_of(reply, deeds, call, close=close)

    def _call(self, request: Request, path: str, entry: Entry) -> Call:
        segments = path.split("/")[1:]
        deeds: tuple[Deed, ...] = ()
        try:
            if segments and segments[0] == "with":
                names = segments[1] if len(segments) > 1 else ""
                deeds = tuple(parse(text) for text in names.split("+"))
                segments = segments[2:]
        except OptionError as error:
            raise ApiError(400, str(error), code="unknown_behaviour") from None
        profile = self.default
        if segments and segments[0] in PROFILES:
            profile = PROFILES[segments[0]]
            segments = segments[1:]
        entry.profile = profile.name
        base = profile.base.split("/")[1:]
        if segments[: len(base)] != base:
            raise _no_route(request.method, path)
        route = tuple(unquote(segment) for segment in segments[len(base) :])
        if route and not route[-1]:
            route = route[:-1]
        call = Call(
            id=entry.id,
            method=request.method,
            route=route,
            profile=profile,
            headers=request.headers,
            body=request.body,
            target=request.target,
            key=find_key(request.headers, profile, route),
            query=dict(parse_qsl(request.target.partition("?")[2], keep_blank_values=True)),
            path=path,
            timing=self.timing,
        )
        suffixed: tuple[Deed, ...] = ()
        more: dict[str, Any] = {}
        content_type = call.header("content-type") or ""
        if content_type.lower().startswith("multipart/form-data"):
            problem = ApiError(
                415,
                "A form is not supported here: send 'application/json'.",
                code="unsupported_media_type",
            )
            more = {"problem": problem}
            try:
                form = read_form(content_type, request.body)
                model = form.text("model") or ""
                _, suffixed = _suffix(model)
                more |= {"form": form, "model": model}
            except ApiError as wrong:
                more |= {"form_problem": wrong}
        elif request.body or request.method == "POST":
            try:
                payload = json_of(dict(request.headers), request.body)
                name, suffixed = _suffix(payload.get("model"))
                model = payload.get("model") if isinstance(payload.get("model"), str) else ""
                payload = payload if not suffixed else {**payload, "model": name}
                more = {"payload": payload, "model": model}
            except ApiError as problem:
                more = {"problem": problem}
        elif len(route) > 1 and route[0] == "models":
            name, suffixed = _suffix("/".join(route[1:]))
            more = {"route": ("models", name)}
        return replace(call, deeds=(*suffixed, *deeds, *self.deeds), **more)

    def _reply(self, call: Call) -> Reply:
        handlers = handlers_of(call.profile.name, call.route)
        if handlers is None:
            raise _no_route(call.method, "/".join((call.profile.base, *call.route)))
        allowed = ", ".join([*handlers, *(["HEAD"] if "GET" in handlers else []), "OPTIONS"])
        if call.method == "OPTIONS":
            return Reply(204, (("Allow", allowed),), text=b"", framing="none")
        handler = handlers.get("GET" if call.method == "HEAD" else call.method)
        if handler is None:
            raise ApiError(
                405,
                f"The method {call.method[:20]} is not allowed here. Allowed: {allowed}.",
                code="method_not_allowed",
                headers=(("Allow", allowed),),
            )
        state = apply("state", call.deeds, self.state, call)
        if call.route in call.profile.open_routes:
            return handler(replace(call, state=state))
        caller = identify(call, state, self.limits)
        caller = apply("caller", call.deeds, caller, call)
        check_permission(call, caller)
        gate = None
        if caller.limits:
            gate = self.ruler.gate(caller.limits, _scopes(call, caller))
        return _through(gate, handler, replace(call, caller=caller, state=state, gate=gate))

    def _own(self, method: str, path: str, query: str) -> Reply:
        """Answer a path of the server's own: its journal, its table, whether it lives."""
        if path == "/_journal":
            if method == "DELETE":
                self.journal.clear()
                return Reply(204, text=b"", framing="none")
            canary = parse_qs(query).get("canary", [""])[0]
            body: object = self.journal.report(canary)
        elif path.startswith("/_images/") and (image := stored(path.removeprefix("/_images/"))):
            return Reply(200, (("Content-Type", "image/png"),), text=image)
        elif path == "/_faults":
            body = listing()
        elif path == "/_accounts":
            body = {"accounts": self._accounts()}
        elif path == "/_health":
            body = {"ok": True, "profiles": list(PROFILES)}
        else:
            body = {"error": {"message": "Known: /_journal, /_faults, /_accounts, /_health."}}
            return Reply(404, (JSON,), text=dumps(body))
        return Reply(200, (JSON,), text=dumps(body))

    def _accounts(self) -> list[dict[str, Any]]:
        """Tell of the demo accounts: how to get in, and what they have left."""
        found = []
        for seed in seeds():
            account = self.state.account(seed.account.id)
            found.append(
                {
                    "id": account.id,
                    "profile": account.profile,
                    "plan": account.plan,
                    "balance_usd": Decimal(account.balance_pusd).scaleb(-12),
                    "keys": [
                        {"key": secret, "permissions": permissions}
                        for secret, permissions in seed.keys
                    ],
                    "user": list(seed.user) if seed.user else None,
                }
            )
        return found


def listing() -> list[dict[str, Any]]:
    """Return the table of behaviours as it is shown to others."""
    return [
        {
            "name": row.name,
            "kind": row.kind,
            "says": row.says,
            "parameter": row.parameter,
            "required": row.read is not None and row.default is None,
        }
        for row in TABLE.values()
    ]


def _refusal(error: ApiError, profile: Profile, call: Call | None, id_: str) -> Reply:
    status, body = profile.refuse(error, call, id_)
    return Reply(status, (JSON, *error.headers), body=body, error=True, cause=error.code)


def _no_route(method: str, path: str) -> ApiError:
    return ApiError(404, f"Unknown request URL: {method[:20]} {path[:200]}.", code="unknown_url")


def _scopes(call: Call, caller: Caller) -> dict[Scope, str]:
    model = call.payload.get("model") if isinstance(call.payload, dict) else None
    known = model if isinstance(model, str) and model in call.profile.models else ""
    return {
        "key": caller.key,
        "account": caller.account,
        "model": f"{caller.account}/{known}",
    }


def _through(gate: Gate | None, handler: Handler, call: Call) -> Reply:
    """Answer a call that its limits let through, and tell what they leave."""
    if gate is None:
        return handler(call)
    family = call.profile.limit_headers
    try:
        gate.check()
        reply = handler(call)
    except Refused as refused:
        raise _limited(refused, gate.headers(family, int(time.time()))) from None
    except ApiError as error:
        gate.take()
        error.headers = (*error.headers, *gate.headers(family, int(time.time())))
        raise
    gate.take()
    return replace(reply, headers=(*reply.headers, *gate.headers(family, int(time.time()))))


def _limited(refused: Refused, headers: tuple[tuple[str, str], ...]) -> ApiError:
    limit, wait_ns = refused.limit, refused.wait_ns
    message = f"Rate limit reached: {limit.amount} {limit.what} in {duration(limit.window_ns)}."
    if wait_ns is None:
        message += " This request alone takes more."
    else:
        message += f" Try again in {duration(wait_ns)}."
        headers = (
            ("Retry-After", str(-(-wait_ns // 1_000_000_000))),
            ("retry-after-ms", str(-(-wait_ns // 1_000_000))),
            *headers,
        )
    return ApiError(429, message, type_=limit.what, code="rate_limit_exceeded", headers=headers)


def _suffix(model: object) -> tuple[str, tuple[Deed, ...]]:
    """Split a model's name from the behaviours after it."""
    if not isinstance(model, str) or "+" not in model:
        return str(model), ()
    name, *texts = model.split("+")
    try:
        return name, tuple(parse(text) for text in texts)
    except OptionError as error:
        raise ApiError(
            404,
            f"The model {model[:100]!r} does not exist. {error}",
            param="model",
            code="model_not_found",
        ) from None
