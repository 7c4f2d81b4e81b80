"""Drawing from Hypothesis: the same cases for the same seed, and nothing left behind.

No database, no deadlines, no folder in the user's directory: what Hypothesis wants to keep goes to
a temporary folder. Hypothesis would also read the source of every loaded module for constants to
draw; that takes more than a second, and makes the cases depend on what happens to be imported, so
it is turned off. Whatever fails is in the transcript, so nothing is shrunk: the smallest failing
case of those recorded is shown instead.
"""

import functools
import gzip
import json
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

__all__ = ["drawn"]

UTF_8 = [[0, 0xD7FF], [0xE000, 0x10FFFF]]  # all code points but the surrogates


def drawn(strategy: Any, seed: int, count: int) -> list[Any]:
    """Return so many values of a strategy, the same for the same seed."""
    import hypothesis  # noqa: PLC0415  # costs a fifth of a second

    _calm()
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
def _calm() -> tempfile.TemporaryDirectory[str]:
    """Give Hypothesis a home that goes with the process, and no constants of loaded modules."""
    import hypothesis.configuration  # noqa: PLC0415  # as above
    from hypothesis.internal import constants_ast  # noqa: PLC0415  # as above
    from hypothesis.internal.conjecture import providers  # noqa: PLC0415  # it has no public switch

    home = tempfile.TemporaryDirectory(prefix="gateproof-", ignore_cleanup_errors=True)
    hypothesis.configuration.set_hypothesis_home_dir(home.name)
    # What it would find in a second of trying all code points; a cache that it does not know by
    # this name does no harm.
    known = Path(home.name, "unicode_data", unicodedata.unidata_version, "codec-v2-utf-8.json.gz")
    known.parent.mkdir(parents=True)
    known.write_bytes(gzip.compress(json.dumps([UTF_8, []]).encode()))
    if hasattr(providers, "_get_local_constants"):  # another version may have done away with it
        providers._get_local_constants = constants_ast.Constants  # noqa: SLF001  # as above
    return home
