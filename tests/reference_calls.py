"""Calls of the reference server's gateway without a socket: one function, and what it returns."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from gateproof.reference_server.app import App, Request

DEMO = "sk-gateproof-demo"


class Got(NamedTuple):
    """An answer: status, headers in lower case, and the body."""

    status: int
    headers: dict[str, str]
    text: bytes

    @property
    def body(self) -> Any:
        """The JSON of the body."""
        return json.loads(self.text)

    @property
    def error(self) -> tuple[int, str, str | None]:
        """Status, type and code of an error."""
        return self.status, self.body["error"]["type"], self.body["error"]["code"]


def call(
    app: App,
    method: str,
    path: str,
    body: Any = None,
    *,
    key: str | None = DEMO,
    headers: Iterable[tuple[str, str]] = (),
) -> Got:
    """Send a request to the gateway; return its answer."""
    sent = [("host", "test"), ("content-type", "application/json"), *headers]
    if key is not None:
        sent.append(("authorization", f"Bearer {key}"))
    data = b"" if body is None else json.dumps(body).encode()
    request = Request(method, path, tuple(sent), data)
    answer = app.answer(request, read_at_ns=0, connection=1, close=False)
    wire = b"".join(step.data for step in answer.steps)
    head, _, text = wire.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    return Got(int(first.split()[1]), {name.lower(): value for name, _, value in pairs}, text)


def chat(model: str, text: str = "Hello", **more: Any) -> dict[str, Any]:
    """Return the body of a chat."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}
