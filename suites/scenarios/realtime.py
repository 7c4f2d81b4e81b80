"""The handshake of a realtime session, right and wrong; what would follow is left."""

import base64
import hashlib
import urllib.parse

from gateproof.scenario import Steps, Use, scenario
from gateproof.transcript import Ask

__all__ = ["HANDSHAKE", "REFUSED", "nonce_of"]


def nonce_of(canary: str) -> str:
    """Return the nonce of a handshake: 16 bytes as base64, another one for each scenario."""
    return base64.b64encode(hashlib.sha256(canary.encode()).digest()[:16]).decode()


def _open(use: Use, *, auth: str = "key", label: str = "", plain: bool = False) -> Ask:
    headers = (
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-key", nonce_of(use.canary)),
        ("sec-websocket-version", "13"),
    )
    model = urllib.parse.quote(use.model("realtime"), safe="")
    return Ask(
        path=f"/realtime?model={model}",
        method="GET",
        headers=() if plain else headers,
        auth=auth,
        label=label,
    )


@scenario("realtime.handshake", needs=["realtime"], requests=1)
def HANDSHAKE(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Open a realtime session, and leave it."""
    yield _open(use)


@scenario("realtime.refused", needs=["realtime"], requests=3)
def REFUSED(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Open a realtime session with a wrong key, without one, and by a request that is none."""
    yield [
        _open(use, auth="wrong", label="wrong key"),
        _open(use, auth="none", label="no key"),
        _open(use, label="no handshake", plain=True),
    ]
