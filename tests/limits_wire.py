"""Drives the rate-limit lab over plain sockets, without the load generator, for tests.

A thread for each request at a time; it is slower than the generator and costs no start-up.
"""

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gateproof.limitlab.exchange import Ask, Reply, kind_of
from gateproof.limitlab.lab import Lab
from gateproof.limitlab.plan import LimitsPlan
from gateproof.limitlab.result import result_of
from gateproof.limitlab.told import read_told

WORD_TOKENS = 1  # of " gull", by the reference server's tokenizer


class Wire:
    """Makes the requests of one lab against one base path of a server."""

    def __init__(
        self, address: str, base: str, keys: dict[str, str], models: dict[str, str]
    ) -> None:
        self._address = address
        self._path = f"{base}/chat/completions"
        self._keys = keys
        self._models = models
        self._idle: list[http.client.HTTPConnection] = []

    def run(self, plan: LimitsPlan) -> dict[str, Any]:
        """Let a lab look, and return what it found."""
        lab = Lab(plan)
        course = lab.run()
        with ThreadPoolExecutor(plan.width) as pool:
            try:
                ask = next(course)
                while True:
                    ask = course.send(self._make(ask, pool))
            except StopIteration:
                pass
        for connection in self._idle:
            connection.close()
        return result_of(lab)

    def _make(self, ask: Ask, pool: ThreadPoolExecutor) -> list[Reply]:
        left_ns = ask.at_ns - time.monotonic_ns()
        if left_ns > 0:
            time.sleep(left_ns / 1e9)
        replies: list[Reply] = []
        while len(replies) < ask.most and not (replies and kind_of(replies[-1]) != "passed"):
            at_once = min(ask.width, ask.most - len(replies))
            if at_once == 1:
                replies.append(self._exchange(ask))
            else:
                some = list(pool.map(self._exchange, [ask] * at_once))
                replies += sorted(some, key=lambda one: kind_of(one) != "passed")
        return replies

    def _exchange(self, ask: Ask) -> Reply:
        connection = self._idle.pop() if self._idle else http.client.HTTPConnection(self._address)
        words = " gull" * max(0, (ask.tokens - 12) // WORD_TOKENS) if ask.tokens else ""
        body = {
            "model": self._models[ask.model],
            "messages": [{"role": "user", "content": "Say yes." + words}],
            "max_tokens": 1,
        }
        headers = {
            "Authorization": f"Bearer {self._keys[ask.key]}",
            "Content-Type": "application/json",
        }
        sent_ns = time.monotonic_ns()
        connection.request("POST", self._path, json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read().decode()
        done_ns = time.monotonic_ns()
        self._idle.append(connection)
        passed = response.status == 200
        tokens = json.loads(text)["usage"]["total_tokens"] if passed else 0
        told = {name.lower(): value for name, value in response.getheaders()}
        return Reply(
            sent_ns, done_ns, response.status, tokens, read_told(told, time.time()),
            "" if passed else text,
        )  # fmt: skip
