"""OMAi's own endpoint: a login by HTTP Basic.

The reference shows the request only. The answer carries the session twice, as a cookie and as a
token that is sent like a key; Basic opens nothing but the login.
"""

from .access import basic
from .call import Call
from .errors import ApiError
from .script import JSON, Reply

__all__ = ["login"]


def login(call: Call) -> Reply:
    """Begin a session for a name and a password; there need be no body."""
    assert call.state is not None
    given = basic(call.header("authorization"))
    session = call.state.login(call.profile.name, *given) if given else None
    if session is None:
        raise ApiError(
            401,
            "The user name or the password is wrong."
            if given
            else "No credentials: send a user name and a password as HTTP Basic.",
            code="invalid_credentials",
            headers=(("WWW-Authenticate", 'Basic realm="omai"'),),
        )
    token, lasts_s = session
    cookie = (
        f"{call.profile.session_cookie}={token}; Path=/; Max-Age={lasts_s}; "
        "HttpOnly; Secure; SameSite=Lax"
    )
    body = {"access_token": token, "token_type": "bearer", "expires_in": lasts_s}
    return Reply(200, (JSON, ("Set-Cookie", cookie), ("Cache-Control", "no-store")), body=body)
