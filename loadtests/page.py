"""Locust's own page for a load run: where it is, and what its totals and charts are of.

Rules. A request is counted once in Locust's totals, although it has two rows in its table: the
charts of response times are those of TTFT where answers stream, and of whole answers where they do
not, or fail. The page's address is told once it can be reached.
"""

import json
import sys
from collections.abc import Callable
from typing import Any, Final

import gevent

__all__ = ["TTFT", "announce", "count_once"]

TTFT: Final = "TTFT"
_PATIENCE: Final = 500  # looks at a server that is being started
_LOOK_S: Final = 0.02


def count_once(stats: Any) -> None:
    """Let a request's row of TTFT, if it has one, stand for it in the totals."""
    counted = False

    def log(method: str, name: str, took_ms: float, size: int) -> None:
        nonlocal counted
        # Both rows of a request are told one right after the other.
        if not counted:
            stats.total.log(took_ms, size)
        stats.entries[(name, method)].log(took_ms, size)
        counted = method == TTFT

    stats.log_request = log


def announce(page: Any, tell: Callable[[str], object] = sys.stdout.write) -> None:
    """Print a line of JSON with the page's address, as soon as somebody can open it."""

    def wait() -> None:
        for _ in range(_PATIENCE):
            server = getattr(page, "server", None)
            if server is not None and server.started:
                tell(json.dumps({"page": f"http://127.0.0.1:{server.server_port}/"}) + "\n")
                sys.stdout.flush()
                return
            gevent.sleep(_LOOK_S)

    gevent.spawn(wait)
