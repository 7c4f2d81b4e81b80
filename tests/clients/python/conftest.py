"""What the jobs of every Python client use: the servers' addresses and the plain one's journal."""

import json
import os
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

KEY = "sk-gateproof-demo"  # the reference server's published key, no secret
ODDITIES: tuple[str, ...] = tuple(json.loads(os.environ.get("GATEPROOF_ODDITIES", "[]")))
_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What a server's journal says of the requests that carry a canary."""

    url: str
    canary: str = field(default_factory=lambda: f"canary-{uuid.uuid4().hex}")

    @property
    def header(self) -> dict[str, str]:
        """Return the header that marks a request as ours."""
        return {"x-canary": self.canary}

    def entries(self) -> list[dict[str, Any]]:
        """Return the requests so far, the newest last."""
        query = urllib.parse.urlencode({"canary": self.canary})
        with urllib.request.urlopen(f"{self.url}/_journal?{query}", timeout=5) as answer:
            return list(json.load(answer)["entries"])

    def only(self) -> dict[str, Any]:
        """Return the one request that there was, with its headers as a dict."""
        (entry,) = self.entries()
        return {**entry, "headers": dict(entry["headers"])}

    def outcome(self, wanted: str) -> str:
        """Wait until the newest request came to this end; return the end that it has."""
        deadline = time.monotonic() + _WAIT_S
        while (now := self.entries()[-1]["outcome"]) != wanted and time.monotonic() < deadline:
            time.sleep(0.02)
        return str(now)


@pytest.fixture(scope="session")
def url() -> str:
    """Return the address of the plain reference server."""
    return os.environ["GATEPROOF_URL"]


@pytest.fixture(scope="session")
def limited_url() -> str:
    """Return the address of the reference server that lets each key call once in two seconds."""
    return os.environ["GATEPROOF_LIMITED_URL"]


@pytest.fixture
def seen(url: str) -> Seen:
    """Return a new canary and what the plain server saw of it."""
    return Seen(url)


@pytest.fixture
def seen_at() -> Callable[[str], Seen]:
    """Return how to make a canary for a given server."""
    return Seen


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for an ``oddity`` once with each that the server lists."""
    if "oddity" in metafunc.fixturenames:
        metafunc.parametrize("oddity", ODDITIES)
