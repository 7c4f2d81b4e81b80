"""Checks of the realtime handshake and its refusals (RFC 6455); no session is judged."""

import base64
import hashlib

from gateproof.check import Untestable, check, expect
from gateproof.dialects import openai
from gateproof.transcript import Transcript

from .reading import each, shown
from .scenarios.realtime import HANDSHAKE, REFUSED

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3


def proof_of(nonce: str) -> str:
    """Return the proof that a server has read a handshake's nonce."""
    # The standard wants this digest, which protects nothing.
    digest = hashlib.sha1(f"{nonce}{_GUID}".encode(), usedforsecurity=False)
    return base64.b64encode(digest.digest()).decode()


@check("realtime.handshake", on=[HANDSHAKE])
def test_handshake_is_proven(seen: Transcript) -> str:
    """A right handshake gives 101 and the Sec-WebSocket-Accept that belongs to its nonce."""
    got = openai.response(seen[0])
    expect(got.status == 101, wanted="101 Switching Protocols", got=shown(got))
    upgrade = (got.header("upgrade") or "").lower()
    expect("websocket" in upgrade, wanted="Upgrade: websocket", got=f"Upgrade: {upgrade}")
    nonce = dict(seen[0].ask.headers)["sec-websocket-key"]
    told = (got.header("sec-websocket-accept") or "").strip()
    expect(
        told == proof_of(nonce),
        wanted=f"Sec-WebSocket-Accept: {proof_of(nonce)}",
        got=f"Sec-WebSocket-Accept: {told}",
    )
    return f"{len(got.body)} bytes followed"


@check("realtime.refused", on=[REFUSED])
def test_wrong_handshake_is_refused(seen: Transcript) -> str:
    """A handshake without a right key gets 401, and a plain GET a 4xx."""
    told = []
    if all(openai.response(item).status == 404 for item in seen.exchanges):
        raise Untestable("there is no such route (see realtime.handshake)")
    for at, exchange in each(seen):
        got = openai.response(exchange)
        label = exchange.ask.label
        plain = label == "no handshake"
        expect(
            400 <= got.status < 500 if plain else got.status == 401,
            wanted=f"{'a 4xx' if plain else '401'} to a request with {label}",
            got=shown(got),
            at=at,
        )
        told.append(f"{label}: {got.status}")
    return ", ".join(told)
