"""What a load run leaves to be judged: the answers that it kept, all of them together."""

from gateproof.scenario import Steps, Use, scenario

__all__ = ["ANSWERS"]


@scenario("load.answers", needs=["load"])
def ANSWERS(use: Use) -> Steps:  # noqa: ARG001, N802  # the decorator makes it a constant
    """Take the sampled answers of a load run; nothing is asked for them alone."""
    yield from ()
