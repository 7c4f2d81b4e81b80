"""Property tests leave no database of examples and have no deadline by the clock."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "gateproof",
    database=None,
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("gateproof")

# Jobs of foreign clients, which are not installed here: run.py runs them in environments of their
# own.
collect_ignore = ["clients"]
