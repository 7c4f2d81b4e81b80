"""Text completions, the older form: answered, streamed, cut, and requests to refuse."""

from typing import Any

from gateproof.scenario import Scenario, Steps, Use, scenario
from gateproof.transcript import Ask

from .chat import BOUND

__all__ = ["BOUND", "CUT", "MISSING", "PLAIN", "RANGE_ENDS", "RANGE_OUTSIDE", "STREAM"]

PATH = "/completions"
_REPEAT = "Repeat exactly: The bell rang twice."


def _ask(use: Use, *, label: str = "", **more: Any) -> Ask:
    value = {"model": use.model("completions"), "prompt": _REPEAT, "max_tokens": 16, **more}
    return Ask.json(PATH, {k: v for k, v in value.items() if v is not None}, label=label)


def _one(name: str, says: str, *needs: str, **more: Any) -> Scenario:
    """Register a scenario of one request."""

    def steps(use: Use) -> Steps:
        yield _ask(use, **more)

    steps.__doc__ = says
    steps.__qualname__ = name
    return scenario(name, needs=["completions", *needs], requests=1)(steps)


PLAIN = _one("completions.plain", "One prompt, not streamed.")
CUT = _one(
    "completions.cut", "More asked for than max_tokens allows.",
    prompt="Count from 1 to 100", max_tokens=BOUND,
)  # fmt: skip
STREAM = _one(
    "completions.stream", "One prompt, streamed.", "completions.stream", stream=True
)  # fmt: skip


@scenario("completions.missing", needs=["completions"], requests=2)
def MISSING(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Leave out the model, and leave out the prompt."""
    yield [_ask(use, label="no model", model=None), _ask(use, label="no prompt", prompt=None)]


def _each(use: Use, asked: list[tuple[str, Any]]) -> list[Ask]:
    return [_ask(use, label=f"{name}={value}", **{name: value}) for name, value in asked]


@scenario("completions.range-ends", needs=["completions"], requests=4)
def RANGE_ENDS(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask at the ends of documented ranges."""
    yield _each(use, [("temperature", 0), ("temperature", 2), ("top_p", 1), ("max_tokens", 1)])


@scenario("completions.range-outside", needs=["completions"], requests=5)
def RANGE_OUTSIDE(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask outside of documented ranges."""
    yield _each(
        use,
        [
            ("temperature", -0.1),
            ("temperature", 2.1),
            ("max_tokens", -1),
            ("max_tokens", 1.5),
            ("max_tokens", "16"),
        ],
    )
