"""The command that repeats a request, for a POSIX shell.

It is built from the bytes that went out, so that it repeats what was sent; a covered secret becomes
the variable it came from, and nothing else is ever expanded by the shell. What curl adds by itself
is taken away again (its own content type), what only concerns our connection is left out.
"""

import re
import shlex
from collections.abc import Sequence

from gateproof.transcript import Exchange, Mark

from .visible import can_be_copied

__all__ = ["curl_command"]

MAX_INLINE_BYTES = 4000  # a longer body is read from the transcript
# They speak of our client and its connection, not of the request.
_OWN = {"host", "content-length", "connection", "user-agent", "accept-encoding",
        "transfer-encoding", "accept"}  # fmt: skip
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def curl_command(
    exchange: Exchange, key_env: str | None = None, transcript: str = "", index: int = 0
) -> str:
    """Return a command that makes an exchange's request again.

    ``key_env`` names the key's variable where the exchange has no bytes sent to tell it (it was
    refused). ``transcript`` and ``index`` say where a body too long to be shown is read from.
    """
    ask = exchange.ask
    streams = isinstance(ask.value, dict) and ask.value.get("stream") is True
    words = ["curl -sS -i" + (" -N" if streams else "") + " -g"]
    if ask.method != ("POST" if ask.body else "GET"):
        words.append(f"-X {shlex.quote(ask.method)}")
    words.append(_quoted(exchange.url))
    headers = _headers(exchange, key_env)
    words += [f"-H {value}" for value in headers]
    if ask.body and not any(re.match(r"['\"]content-type:", h, re.IGNORECASE) for h in headers):
        words.append("-H 'Content-Type:'")
    before, body = _body(ask.body, transcript, index)
    if body:
        words.append(body)
    return before + " \\\n  ".join(words)


def _headers(exchange: Exchange, key_env: str | None) -> list[str]:
    raw = b"".join(read.data for read in exchange.sent)
    head, blank, _ = raw.partition(b"\r\n\r\n")
    if not blank:
        return _headers_of_ask(exchange, key_env)
    found = []
    marks = [mark for mark in exchange.marks if mark.part == "sent"]
    start = head.find(b"\r\n") + 2
    for line in head[start:].split(b"\r\n"):
        name = line.partition(b":")[0].decode("latin-1")
        if name.lower() not in _OWN:
            inside = [m for m in marks if start <= m.offset < start + len(line)]
            found.append(_header(line, inside, start))
        start += len(line) + 2
    return found


def _headers_of_ask(exchange: Exchange, key_env: str | None) -> list[str]:
    ask = exchange.ask
    headers = [_quoted(f"{name}: {value}") for name, value in ask.headers]
    how, _, style = ask.auth.partition(":")
    before = "X-Api-Key: " if style == "x-api-key" else "Authorization: Bearer "
    if how == "key" and key_env:
        headers.append(f'"{before}{_expansion(key_env)}"')
    elif how == "wrong":
        headers.append(f"'{before}not-a-key'")
    elif how not in ("none", "key"):
        headers.append(_quoted(f"Authorization: {ask.auth}"))
    return headers


def _header(line: bytes, marks: Sequence[Mark], start: int) -> str:
    """Quote one header; covered secrets in it become variables, in double quotes."""
    name, _, value = line.partition(b":")
    pretty = b"-".join(part.capitalize() for part in name.split(b"-"))
    if not marks:
        return _quoted((pretty + b":" + value).decode("latin-1"))
    text = (pretty + b":" + value).decode("latin-1")
    quoted = ""
    at = len(text)
    # From the back: what follows a variable decides whether its name needs braces.
    for mark in sorted(marks, key=lambda mark: -mark.offset):
        low = mark.offset - start
        if low + mark.length > at:  # two forms of one secret can cover the same bytes
            continue
        quoted = _double(text[low + mark.length : at]) + quoted
        quoted = _expansion(mark.name, quoted) + quoted
        at = low
    return f'"{_double(text[:at])}{quoted}"'


def _expansion(name: str, behind: str = "") -> str:
    if not _VARIABLE.fullmatch(name):
        return f"$(printenv {shlex.quote(name)})"
    return f"${{{name}}}" if re.match(r"\w", behind) else f"${name}"


def _double(text: str) -> str:
    return re.sub(r'([\\"$`])', r"\\\1", text)


def _quoted(text: str) -> str:
    """Quote for a shell; always in quotes, so that the eye sees where a word ends."""
    return "'" + text.replace("'", "'\"'\"'") + "'"


def _body(body: bytes, transcript: str, index: int) -> tuple[str, str]:
    """Return what stands before curl (a pipe), and curl's own option."""
    if not body:
        return "", ""
    try:
        text: str | None = body.decode("utf-8")
    except UnicodeDecodeError:
        text = None
    if len(body) > MAX_INLINE_BYTES:
        path = _quoted(transcript or "TRANSCRIPT")
        value = f".exchanges[{index}].body"
        read = f"jq -j '{value}' {path}"
        if text is None:
            read = f"jq -r '{value}.base64' {path} | base64 -d"
        return f"{read} |\n", "--data-binary @-"
    if text is not None and can_be_copied(text):
        return "", f"--data-raw {_quoted(text)}"
    # Anything that a terminal or a shell could bend goes as octal through printf.
    octal = "".join(
        chr(byte)
        if 0x20 <= byte < 0x7F and chr(byte) not in "\\%'" and (at or chr(byte) != "-")
        else f"\\{byte:03o}"
        for at, byte in enumerate(body)
    )
    return f"printf '{octal}' |\n", "--data-binary @-"
