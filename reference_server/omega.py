"""The prompt of losi-omega: given to the model with every chat, after the client's own.

Losi, API access, "losi-omega": the prompt is injected by itself, and appended to a system message
of the client's rather than put in its place. Whether that makes one message or two is not said;
here it is one, whose text begins with the client's.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .jsontext import Json

if TYPE_CHECKING:
    from .profile import Model

__all__ = ["OMEGA_PROMPT", "with_omega"]

OMEGA_PROMPT = (
    "You are Losi Omega, a friendly and helpful assistant. "
    "Answer in plain words, be honest about what you do not know, "
    "and use the tools that are offered when they help."
)


def with_omega(messages: Sequence[Json], model: "Model") -> list[Json]:
    """Return the messages that the model gets: those of the client, and the prompt for omega."""
    found = list(messages)
    if model.name != "losi-omega":
        return found
    places = [p for p, message in enumerate(found) if message["role"] in {"system", "developer"}]
    if not places:
        return [{"role": "system", "content": OMEGA_PROMPT}, *found]
    own = found[places[-1]]
    content = own["content"]
    if isinstance(content, str):
        content = f"{content}\n\n{OMEGA_PROMPT}"
    else:
        content = [*content, {"type": "text", "text": f"\n\n{OMEGA_PROMPT}"}]
    found[places[-1]] = {**own, "content": content}
    return found
