"""Messages between a master and its workers, on Locust's own connection."""

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["register"]


def register(environment: Any, handlers: Mapping[str, Callable[[Any], object]]) -> None:
    """Let Locust hand messages of ours to their handlers, in the order in which they come."""

    def listener(handle: Callable[[Any], object]) -> Callable[..., object]:
        return lambda environment, msg, **_: handle(msg)  # noqa: ARG005  # Locust's own names

    for name, handle in handlers.items():
        environment.runner.register_message(f"gateproof-{name}", listener(handle))
