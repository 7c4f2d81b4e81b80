"""A small client for tests of the reference server: one request, one answer, any headers."""

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

KEY = "sk-gateproof-demo"


@dataclass(frozen=True, slots=True)
class Got:
    """What came back."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return a header's value, or None."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


def send(
    url: str,
    method: str,
    path: str,
    body: Any = None,
    *,
    headers: dict[str, str] | None = None,
    key: str | None = KEY,
) -> Got:
    """Send one request on a connection of its own; given headers replace the key's."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
    lines = dict(headers or {})
    if headers is None and key is not None:
        lines["authorization"] = f"Bearer {key}"
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    if data is not None and not any(name.lower() == "content-type" for name in lines):
        lines["content-type"] = "application/json"
    try:
        connection.request(method, path, data, lines)
        answer = connection.getresponse()
        return Got(answer.status, tuple(answer.getheaders()), answer.read())
    finally:
        connection.close()
