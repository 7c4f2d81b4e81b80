"""Generated requests: from the profile's document, and conversations from strategies of our own.

Each scenario builds all its requests first, from the run's seed, and yields them as one list.
"""

from gateproof.scenario import Steps, Use, scenario

__all__ = ["CONVERSATIONS", "NEGATIVE", "POSITIVE"]


@scenario("fuzz.positive", needs=["chat"], generative=True)
def POSITIVE(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Send generated requests that are valid by the profile's document."""
    from ..openapi_cases import positive  # noqa: PLC0415  # it may bring in Schemathesis

    yield positive(use)


@scenario("fuzz.negative", needs=["chat", "errors"], generative=True)
def NEGATIVE(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Send generated requests that break the profile's document."""
    from ..openapi_cases import negative  # noqa: PLC0415  # it may bring in Schemathesis

    yield negative(use)


@scenario("fuzz.conversations", needs=["chat.stream"], generative=True)
def CONVERSATIONS(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Send generated conversations, each twice without stream and once with it."""
    from ..conversations import conversations  # noqa: PLC0415  # it brings in Hypothesis

    yield conversations(use)
