"""Sends requests with the load client, each kept by a witness of its own; a process for gevent.

Reads a JSON object {name: [base URL, path, bodies]} from standard input, sends the bodies of a name
at the same time, and writes their transcripts into a folder of its name, below its argument.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import gevent
from gevent import monkey
from gevent.pool import Pool

monkey.patch_all()

from gateproof.loadtests import stream  # noqa: E402  # after the patch, as under Locust
from gateproof.loadtests.answer import Answer  # noqa: E402
from gateproof.loadtests.stream import Client, Limits  # noqa: E402
from gateproof.loadtests.witness import Witness  # noqa: E402

from gateproof.sample import Sample  # noqa: E402
from gateproof.sampling import Sampling  # noqa: E402

KEY = "sk-gateproof-demo"
LIMITS = Limits(connect_s=5, first_byte_s=3, idle_s=2.5, total_s=10)


@dataclass(frozen=True)
class Asked:
    """A request as bare bytes."""

    data: bytes

    def answer(self, sample: Sample) -> Answer:
        """Read what comes as a stream of chat; what it says of other answers is not looked at."""
        return Answer(sample)


def ask(folder: Path, url: str, path: str, bodies: list[str]) -> None:
    """Send requests and write down what came."""
    client = Client(url, LIMITS)
    witness = Witness(Sampling(every=1), 1, folder, {"DEMO_KEY": KEY})
    own = {"anthropic-version": "2023-06-01", "x-api-key": KEY} if path == "/messages" else {}

    def send(number: int, data: bytes) -> None:
        asked = Asked(client.head(path, "" if own else KEY, len(data), headers=own) + data)
        client.send(witness.tap(number, asked), Sample(), lambda _: None)

    gevent.joinall([gevent.spawn(send, n, body.encode()) for n, body in enumerate(bodies)])
    client.close()
    witness.write(url)


if __name__ == "__main__":
    stream._DONE_GRACE_NS = 2_200_000_000  # a little more than the check is patient for
    pool = Pool(40)
    for name, given in json.load(sys.stdin).items():
        pool.spawn(ask, Path(sys.argv[1]) / name, *given)
    pool.join(raise_error=True)
    gevent.get_hub().destroy()
