"""What only OMAi offers: a login by HTTP Basic, and a session after it."""

import base64

from gateproof.scenario import Steps, Use, scenario
from gateproof.transcript import Ask, Exchange

from .chat import ask_chat

__all__ = ["LOGIN", "LOGIN_WRONG"]

PATH = "/auth/login"
WRONG = "Basic " + base64.b64encode(b"gateproof-nobody:not-a-password").decode("ascii")


def issued(exchange: Exchange, name: str) -> bool:
    """Tell whether an answer issued a secret under a name of ours."""
    return any(mark.name == name and mark.part == "received" for mark in exchange.marks)


@scenario("login.session", needs=["login", "chat", "credentials"], requests=4)
def LOGIN(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Log in without a body, then chat by the token, by the cookie, and by Basic once more."""
    got: Exchange = yield Ask(path=PATH, auth="login", issues=use.canary, label="login")
    if got.response is None or not 200 <= got.response.status < 300:
        return
    cookies = [name for name, _ in got.response.headers if name.lower() == "set-cookie"]
    asks = [ask_chat(use, "Say hello in one word.", auth="login", label="basic")]
    if issued(got, use.canary):
        auth = f"issued:{use.canary}"
        asks.append(ask_chat(use, "Say hello in one word.", auth=auth, label="token"))
    if cookies:
        auth = f"cookie:{use.canary}"
        asks.append(ask_chat(use, "Say hello in one word.", auth=auth, label="cookie"))
    yield asks


@scenario("login.wrong", needs=["login"], requests=2)
def LOGIN_WRONG(use: Use) -> Steps:  # noqa: N802  # the decorator makes it a constant
    """Log in with wrong credentials, and with none."""
    yield [
        Ask(path=PATH, auth=WRONG, issues=f"{use.canary}-wrong", label="wrong"),
        Ask(path=PATH, auth="none", issues=f"{use.canary}-none", label="none"),
    ]
