"""Drawing from Hypothesis: the same cases for the same seed, and nothing left behind.

No database, no deadlines, no folder in the user's directory: what Hypothesis wants to keep goes to
a temporary folder. Whatever fails is in the transcript, so nothing is shrunk: the smallest failing
case of those recorded is shown instead.
"""

import functools
import tempfile
from typing import Any

__all__ = ["drawn"]


def drawn(strategy: Any, seed: int, count: int) -> list[Any]:
    """Return so many values of a strategy, the same for the same seed."""
    import hypothesis  # noqa: PLC0415  # costs a fifth of a second

    _keep_away()
    found: list[Any] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=[
            hypothesis.HealthCheck.too_slow,
            hypothesis.HealthCheck.data_too_large,
            hypothesis.HealthCheck.filter_too_much,
            hypothesis.HealthCheck.large_base_example,
        ],
    )
    @hypothesis.given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


@functools.cache
def _keep_away() -> tempfile.TemporaryDirectory[str]:
    """Give Hypothesis a home that goes with the process."""
    import hypothesis.configuration  # noqa: PLC0415  # as above

    home = tempfile.TemporaryDirectory(prefix="gateproof-", ignore_cleanup_errors=True)
    hypothesis.configuration.set_hypothesis_home_dir(home.name)
    return home
