"""Chat requests that are alike in size, differ in content, and can be made again from a seed.

Strategy: a few dozen bodies are written once; each request takes one of them and puts its own
reference into it, so that a request costs no JSON work, no cache can answer it, and a journal of
the target's can be joined to the sample that has the same number.
"""

import random
from typing import Any, Final

import orjson

__all__ = ["Prompts"]

_WORDS: Final = (  # noqa: SIM905  # read as words
    "amber anchor basket birch bridge candle canyon cedar copper coral cotton cradle desert dragon "
    "ember falcon feather fern forest garden glacier granite harbor hazel horizon island ivory "
    "jacket juniper kettle ladder lantern lemon linen maple marble meadow meteor mirror mountain "
    "needle ocean olive orchard otter paper pebble pepper pillow planet quartz rabbit raven ribbon "
    "river saddle salmon shadow silver spruce summer tailor temple thunder timber tunnel valley "
    "velvet violin walnut willow window winter yellow zephyr"
).split()
_BODIES: Final = 64
_MARK: Final = "gp-00000000-0000000000"


class Prompts:
    """Writes request bodies of equal length; ``body(number)`` is the same for the same seed."""

    def __init__(
        self,
        model: str,
        *,
        seed: int,
        words: int = 40,
        max_tokens: int | None = None,
        usage: bool = True,
    ) -> None:
        numbers = random.Random(seed)  # noqa: S311  # work to be done again, not a secret
        self._seed = seed & 0xFFFF_FFFF
        self._parts = []
        width = 0
        texts = [" ".join(numbers.choices(_WORDS, k=words)) for _ in range(_BODIES)]
        width = max(map(len, texts))
        for text in texts:
            asked = f"[{_MARK}] Write a short story with these words: {text}."
            request: dict[str, Any] = {
                "model": model,
                "messages": [{"role": "user", "content": asked + " " * (width - len(text))}],
                "stream": True,
            }
            if usage:
                request["stream_options"] = {"include_usage": True}
            if max_tokens is not None:
                request["max_tokens"] = max_tokens
            before, _, after = orjson.dumps(request).partition(_MARK.encode())
            self._parts.append((before, after))
        self.length = len(before) + len(_MARK) + len(after)

    def reference(self, number: int) -> str:
        """Give the text that marks a request in a journal."""
        return f"gp-{self._seed:08x}-{number:010d}"

    def body(self, number: int) -> bytes:
        """Give the body of request ``number``."""
        before, after = self._parts[number % _BODIES]
        return before + self.reference(number).encode() + after
