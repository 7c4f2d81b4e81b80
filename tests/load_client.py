"""Runs the load client against base URLs and prints its samples, in a process for gevent."""

import json
import sys
from dataclasses import dataclass
from typing import Any

import gevent
from gevent import monkey

monkey.patch_all()

from gateproof.loadtests import stream  # noqa: E402  # after the patch, as under Locust
from gateproof.loadtests.answer import Answer  # noqa: E402
from gateproof.loadtests.connect import proxy_for  # noqa: E402
from gateproof.loadtests.stream import Client, Limits  # noqa: E402

from gateproof.sample import ErrorKind, Flag, Sample  # noqa: E402

resumed: dict[str, int] = {}


@dataclass(frozen=True)
class Asked:
    """A request as it goes over the wire, answered by a chat stream."""

    data: bytes

    def answer(self, sample: Sample) -> Answer:
        """Read the answer."""
        return Answer(sample)


def probe(name: str, url: str, times: int, size: int, way: dict[str, Any]) -> list[dict[str, Any]]:
    """Send requests one after the other and give what their samples say."""
    proxy = proxy_for(url, way.get("proxy", ""), way.get("secret", ""))
    limits = Limits(connect_s=2, first_byte_s=0.3, idle_s=0.4, total_s=0.8)
    options = {name: way[name] for name in ("ca_file", "fresh_connections") if name in way}
    client = Client(url, limits, proxy=proxy, **options)
    rows = []

    def record(answer: Answer) -> None:
        sample = answer.sample
        rows.append(
            {
                "error": ErrorKind(sample.error).name,
                "flags": sorted(flag.name or "" for flag in Flag(sample.flags)),
                "tokens": len(answer.stamps),
                "stream": sample.stream,
                "ordered": 0 < sample.due_ns <= sample.sent_ns <= sample.end_ns,
                "connected": sample.connect_ns > 0,
            }
        )

    body = b'{"pad": "' + b"x" * size + b'"}'
    for _ in range(times):
        asked = Asked(client.head("/chat/completions", "k", len(body)) + body)
        client.send(asked, Sample(), record)
    client.close()
    resumed[name] = client.dialer.resumed
    return rows


if __name__ == "__main__":
    stream._DONE_GRACE_NS = 200_000_000  # two seconds are long for a test
    asked = json.loads(sys.argv[1])
    greenlets = {name: gevent.spawn(probe, name, *arguments) for name, arguments in asked.items()}
    gevent.joinall(list(greenlets.values()), raise_error=True)
    rows = {name: one.value for name, one in greenlets.items()}
    sys.stdout.write(json.dumps(rows | {"resumed": resumed}))
