"""Locust's page: each request is counted once in its totals."""

from collections import Counter, defaultdict
from types import SimpleNamespace

from gateproof.loadtests.page import count_once


def test_a_request_is_counted_once() -> None:
    """TTFT stands for its request in the totals; an answer without one stands for itself."""
    total: Counter[float] = Counter()
    rows: defaultdict[tuple[str, str], list[float]] = defaultdict(list)

    class Row:
        """A row of Locust's table."""

        def __init__(self, key: tuple[str, str]) -> None:
            self.key = key

        def log(self, took_ms: float, _size: int) -> None:
            """Note a time."""
            rows[self.key].append(took_ms)

    class Rows(dict[tuple[str, str], Row]):
        """Rows that are there when they are asked for."""

        def __missing__(self, key: tuple[str, str]) -> Row:
            return Row(key)

    stats = SimpleNamespace(
        entries=Rows(), total=SimpleNamespace(log=lambda took_ms, _: total.update([took_ms]))
    )
    count_once(stats)
    for method, took_ms in (
        ("TTFT", 1.0), ("answer", 5.0), ("answer", 7.0), ("TTFT", 2.0), ("answer", 6.0),
    ):  # fmt: skip
        stats.log_request(method, "chat", took_ms, 0)

    assert total == {1.0: 1, 7.0: 1, 2.0: 1}
    assert rows == {("chat", "TTFT"): [1.0, 2.0], ("chat", "answer"): [5.0, 7.0, 6.0]}
