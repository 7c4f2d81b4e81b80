"""The Locust script that one usually writes for an LLM: FastHttpUser, ``iter_lines``, JSON.

It runs in an environment of its own (``load_peers.py``), writes the times of every token to the
file that ``TIMES`` names, in the form of the responder's log, and imports nothing of gateproof.
"""

# ruff: noqa: INP001  # a script, not a package

import itertools
import json
import os
import time
from array import array
from pathlib import Path
from struct import Struct
from typing import Any, ClassVar

from locust import FastHttpUser, events, task

ENTRY = Struct("<qqI")


class Usual(FastHttpUser):
    """A user who asks, reads lines, and asks again."""

    numbers: ClassVar = itertools.count()
    entries: ClassVar[list[tuple[int, int, "array[int]"]]] = []

    @task
    def chat(self) -> None:
        """Ask once."""
        number, stamps = next(self.numbers), array("q")
        text = f"[gp-00000000-{number:010d}] Write a short story."
        body = {"model": "m", "messages": [{"role": "user", "content": text}], "stream": True}
        sent_ns = time.monotonic_ns()
        for line in self.client.iter_lines("chat/completions", "POST", json=body):
            if line.startswith("data: {"):
                choices = json.loads(line[6:])["choices"]
                if choices and choices[0]["delta"].get("content"):
                    stamps.append(time.monotonic_ns())
        self.entries.append((number, sent_ns, stamps))


@events.quitting.add_listener
def write(**_: Any) -> None:
    """Write what was seen."""
    rows = [ENTRY.pack(n, sent, len(at)) + at.tobytes() for n, sent, at in Usual.entries]
    Path(os.environ["TIMES"]).write_bytes(b"".join(rows))
