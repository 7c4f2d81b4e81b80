"""A workload for tests, with a head of its own in place of the client's."""

from collections.abc import Mapping
from typing import Any

from gateproof.loadtests.work import Workload

from gateproof.work import Work


def head(
    path: str, _key: str, length: int, *, accept: str = "", headers: Mapping[str, str] | None = None
) -> bytes:
    """Write a head as the client does."""
    lines = [f"POST /v1{path} HTTP/1.1", f"Content-Length: {length}", f"Accept: {accept}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode()


def workload(*works: Work, **more: Any) -> Workload:
    """Make a workload whose models are named after their uses."""
    given = {"model_of": lambda use: f"a-{use}-model", "head": head, "seed": 3, **more}
    return Workload(works or (Work(),), **given)
