"""The handshake of a realtime session, and its refusals; what would follow is left out.

A right handshake is answered with 101 and the proof that its key was read, then the socket is
closed in good order by a close frame of status 1000.
Source: RFC 6455, sections 4.2 (handshake) and 5.5.1 (close).
"""

import base64
import hashlib
import struct

from .access import model_of
from .call import Call
from .errors import ApiError
from .rules import missing, wrong_value
from .script import Reply

__all__ = ["accept_of", "open_session"]

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_REASON = b"There are no sessions here."


def accept_of(key: str) -> str:
    """Return the proof that belongs to the key of a handshake."""
    # The standard wants this digest, which protects nothing.
    digest = hashlib.sha1(f"{key}{_GUID}".encode("latin-1", "replace"), usedforsecurity=False)
    return base64.b64encode(digest.digest()).decode()


def _tokens(call: Call, name: str) -> list[str]:
    return [part.strip() for part in (call.header(name) or "").split(",") if part.strip()]


def _check_key(key: str | None) -> str:
    try:
        whole = len(base64.b64decode(key or "", validate=True)) == 16
    except ValueError:
        whole = False
    if key is None or not whole:
        raise ApiError(
            400, "Sec-WebSocket-Key must be 16 bytes as base64.", param="Sec-WebSocket-Key"
        )
    return key


def open_session(call: Call) -> Reply:
    """Answer ``GET /realtime``."""
    upgrade = [name.lower() for name in _tokens(call, "upgrade")]
    connection = [name.lower() for name in _tokens(call, "connection")]
    if "websocket" not in upgrade or "upgrade" not in connection:
        raise ApiError(
            426, "Open a WebSocket here: the request is no handshake.",
            code="upgrade_required", headers=(("Upgrade", "websocket"),),
        )  # fmt: skip
    if call.header("sec-websocket-version") != "13":
        raise ApiError(
            426, "Only version 13 of WebSocket is spoken here.", code="upgrade_required",
            headers=(("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")),
        )  # fmt: skip
    key = _check_key(call.header("sec-websocket-key"))
    name = call.query.get("model")
    if not name:
        raise missing("model")
    model_of(call, name, "realtime")
    if call.query.get("intent", "transcription") != "transcription":
        raise wrong_value("intent", "transcription")
    headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept_of(key)),
    ]
    if "realtime" in _tokens(call, "sec-websocket-protocol"):
        headers.append(("Sec-WebSocket-Protocol", "realtime"))
    payload = struct.pack(">H", 1000) + _REASON
    close = b"\x88" + bytes([len(payload)]) + payload
    return Reply(101, tuple(headers), text=close, framing="none")
