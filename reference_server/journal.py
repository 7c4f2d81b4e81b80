"""The journal: what the server saw and did, for those who must know it to judge a gateway.

A ring of entries bounded by bytes. Times come from ``time.monotonic_ns``, which all processes of
one machine share. Keys are never kept: a header that carries one is replaced by a mark.
Send times are kept in arrays, because a load run makes millions of them.
"""

from array import array
from collections import deque
from typing import Any

__all__ = ["Entry", "Journal", "mark"]

SECRET_HEADERS = frozenset(
    {"authorization", "proxy-authorization", "x-api-key", "api-key", "cookie"}
)
_MOST_SENDS = 200_000
_ENTRY_COST = 1500  # measured roughly: an entry's own objects, without headers, body and sends
_SEND_COST = 24


def mark(name: str, value: str, demo_key: str) -> str:
    """Replace a secret header's value: its scheme, its length, and whether it is the demo key."""
    if name.lower() not in SECRET_HEADERS:
        return value
    scheme, space, secret = value.partition(" ")
    if not space:
        scheme, secret = "", value
    which = "the demo key" if secret.strip() == demo_key else "not the demo key"
    return f"[{scheme or 'no scheme'}, {len(secret)} characters, {which}]"


class Entry:
    """One request and what became of it."""

    __slots__ = (
        "behaviours", "body", "cancelled_at_ns", "connection", "headers", "id", "labels", "method",
        "notes", "outcome", "path", "profile", "read_at_ns", "send_times", "sizes", "status",
    )  # fmt: skip

    def __init__(self, id_: str, read_at_ns: int, connection: int, method: str, path: str) -> None:
        self.id = id_
        self.read_at_ns = read_at_ns
        self.connection = connection
        self.method = method
        self.path = path
        self.profile = ""
        self.behaviours: tuple[str, ...] = ()
        self.headers: list[tuple[str, str]] = []
        self.body: bytes = b""
        self.status = 0
        self.send_times = array("q")
        self.sizes = array("q")
        self.labels: list[str] = []
        self.outcome = "open"
        self.cancelled_at_ns: int | None = None
        self.notes: dict[str, Any] = {}

    def sent(self, at_ns: int, size: int, label: str) -> None:
        """Note one write; after 200,000 of them only the first ones are kept."""
        if len(self.labels) < _MOST_SENDS:
            self.send_times.append(at_ns)
            self.sizes.append(size)
            self.labels.append(label)

    def mentions(self, canary: str) -> bool:
        """Tell whether the request's body or a header holds the text."""
        return canary.encode() in self.body or any(
            canary in name or canary in value for name, value in self.headers
        )

    def cost(self) -> int:
        """Estimate the bytes that the entry holds."""
        headers = sum(len(name) + len(value) for name, value in self.headers)
        noted = len(self.body) if self.notes else 0  # what is noted is mostly the messages again
        return _ENTRY_COST + headers + noted + len(self.body) + _SEND_COST * len(self.labels)

    def report(self) -> dict[str, Any]:
        """Return the entry as it is shown."""
        return {
            "id": self.id,
            "at_ns": self.read_at_ns,
            "connection": self.connection,
            "method": self.method,
            "path": self.path,
            "profile": self.profile,
            "behaviours": list(self.behaviours),
            "headers": [list(pair) for pair in self.headers],
            "body": self.body.decode("utf-8", "replace"),
            "status": self.status,
            "sends": [
                {"at_ns": at_ns, "size": size, "label": label}
                for at_ns, size, label in zip(self.send_times, self.sizes, self.labels, strict=True)
            ],
            "outcome": self.outcome,
            "cancelled_at_ns": self.cancelled_at_ns,
            **self.notes,
        }


class Journal:
    """A ring of entries: when they take more than the limit, the oldest go."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._entries: deque[tuple[Entry, list[int]]] = deque()
        self._costs: dict[int, list[int]] = {}
        self._held_bytes = 0

    def add(self, entry: Entry) -> None:
        """Take an entry in, while its answer is still to come."""
        if not self.limit_bytes:
            return
        cost = [entry.cost()]
        self._entries.append((entry, cost))
        self._costs[id(entry)] = cost
        self._held_bytes += cost[0]
        self._trim()

    def settle(self, entry: Entry) -> None:
        """Count an entry again, now that its answer is over."""
        cost = self._costs.pop(id(entry), None)
        if cost is not None:
            self._held_bytes -= cost[0]
            cost[0] = entry.cost()
            self._held_bytes += cost[0]
            self._trim()

    def _trim(self) -> None:
        while self._held_bytes > self.limit_bytes and len(self._entries) > 1:
            entry, cost = self._entries.popleft()
            self._held_bytes -= cost[0]
            self._costs.pop(id(entry), None)

    def clear(self) -> None:
        """Forget all entries."""
        self._entries.clear()
        self._costs.clear()
        self._held_bytes = 0

    def report(self, canary: str = "") -> dict[str, Any]:
        """Return the entries that hold the canary (all, without one), the newest last."""
        return {
            "entries": [
                entry.report() for entry, _ in self._entries if not canary or entry.mentions(canary)
            ]
        }
