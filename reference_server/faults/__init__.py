"""All that the server can be asked to do: faults, legal oddities, and an upstream's behaviours.

A fault breaks one promise. An oddity is legal by the standards and tolerated by the official
clients. A behaviour is an upstream's own business (slow, silent, failing), which a gateway has to
cope with. Each is reached by URL (``/with/NAME/v1``), by model name (``gpt-4o-mini+NAME``), or for
the whole server (``--with NAME``).
"""

from . import (  # noqa: F401  # importing them fills the table
    accounts,
    bodies,
    chunks,
    cost,
    crowds,
    embeddings,
    fields,
    framing,
    gateway,
    headers,
    limits,
    lunos,
    media,
    messages,
    messages_requests,
    oddities,
    omega,
    packets,
    parameters,
    refusals,
    routes,
    timing,
    tools,
    transport,
    usage,
)
from .table import TABLE, Behaviour, Deed, apply, parse

__all__ = ["FAULTS", "TABLE", "Behaviour", "Deed", "apply", "parse"]

FAULTS = TABLE
"""Every row by its name; importing the modules above fills it."""
