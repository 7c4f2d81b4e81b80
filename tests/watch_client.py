"""Lets a ``Watch`` read connections in a process of its own, and prints what they got and when."""

import json
import socket
import sys
import time
from typing import Any

import gevent
from gateproof.loadtests import watch
from gateproof.loadtests.hot import Watched
from gateproof.loadtests.watch import Watch

LATE_S = 0.05
HOUR_NS = 3600 * 10**9


class Got(Watched):
    """One end of a connection; keeps what was read, with its time."""

    def __init__(self, listener: socket.socket) -> None:
        super().__init__()
        self.far = socket.create_connection(listener.getsockname())
        self.near, _ = listener.accept()
        self.near.setblocking(False)  # noqa: FBT003  # the socket's own signature
        self.active_ns = time.monotonic_ns()
        self.reads: list[tuple[str, int]] = []
        self.reset = ""
        self.sent_ns = 0

    def send(self, text: str) -> None:
        """Send from the far end, and note when."""
        self.sent_ns = time.monotonic_ns()
        self.far.sendall(text.encode())

    def received(self, data: bytes, at_ns: int) -> None:
        """Keep what one read brought."""
        self.reads.append((data.decode(), at_ns - self.sent_ns))
        self.active_ns = at_ns

    def ended(self, at_ns: int, reset: str) -> None:
        """Keep how it ended."""
        self.reset = f"{reset} {at_ns > self.active_ns}"


def late(listener: socket.socket, offset_ns: int = 0) -> Any:
    """Let the loop be late: give what was read, how old it was by its time, and by the clock."""
    looks = Watch(gevent.get_hub().loop)
    one, other = Got(listener), Got(listener)
    for got in (one, other):
        looks.add(got.near, got)
    looks.reads.offset_ns += offset_ns
    one.send("first")
    other.send("second")
    time.sleep(LATE_S)  # the loop does nothing else meanwhile
    gevent.sleep(0.01)
    rows = [(*got.reads[0], len(got.reads)) for got in (one, other)]
    looks.remove(one.near)
    one.send("third")
    gevent.sleep(0.01)
    looks.close()
    return {"rows": rows, "after": len(one.reads), "by_kernel": looks.reads.by_kernel}


def many(listener: socket.socket) -> Any:
    """Let more connections be ready than are read in one round, then end them."""
    looks = Watch(gevent.get_hub().loop)
    crowd = [Got(listener) for _ in range(192)]
    for got in crowd:
        looks.add(got.near, got)
        got.send("x")
    gevent.sleep(0.1)
    read = sum([text for text, _ in got.reads] == ["x"] for got in crowd)
    for got in crowd:
        got.far.close()
    gevent.sleep(0.05)
    ended = sum(got.reads[-1][0] == "" for got in crowd)
    looks.close()
    return {"read": read, "ended": ended}


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as place:
        said: dict[str, Any] = {
            "late_ns": LATE_S * 1e9,
            "late": late(place),
            "clock set on": late(place, HOUR_NS),
            "clock set back": late(place, -HOUR_NS),
        }
        watch.STAMPED_BY_KERNEL = False  # type: ignore[misc]  # another system, for this process
        said["not by the kernel"] = late(place)
        said["many"] = many(place)
        sys.platform = "another"
        said["without epoll"] = late(place)
        said["many without epoll"] = many(place)
    sys.stdout.write(json.dumps(said))
