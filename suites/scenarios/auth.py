"""Requests without a key, and with a wrong one, on every route that the profile claims."""

import datetime as dt
from dataclasses import replace

from gateproof.scenario import Steps, Use, scenario
from gateproof.transcript import Ask

__all__ = ["OTHER_ROUTES"]


def _asks(use: Use) -> dict[str, Ask]:
    """Return a right request for each route, by the capability that claims it.

    Uploads are left out: a gateway may read a form before it looks at a key.
    """
    today = dt.datetime.now(dt.UTC).date()
    prompt = "A small green square."
    return {
        "balance": Ask(method="GET", path="/balance"),
        "completions": Ask.json("/completions", {"model": use.model("completions"), "prompt": "1"}),
        "embeddings": Ask.json(
            "/embeddings", {"model": use.model("embeddings"), "input": "Hello."}
        ),
        "images": Ask.json("/images/generations", {"model": use.model("images"), "prompt": prompt}),
        "keys.manage": Ask(method="GET", path="/api-keys"),
        "usage-stats": Ask(method="GET", path=f"/api-usage?start_date={today}&end_date={today}"),
    }


@scenario("auth.other-routes", needs=["auth"])
def OTHER_ROUTES(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Ask each claimed route but chat and models without a key, and with a wrong one."""
    asks = [
        replace(ask, auth=auth, label=f"{ask.method} {capability}, {auth} key")
        for capability, ask in _asks(use).items()
        if capability in use.profile.claims
        for auth in ("none", "wrong")
    ]
    if asks:
        yield asks
