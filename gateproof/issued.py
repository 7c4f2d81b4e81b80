"""Find what an answer tells that must be kept nowhere: a new API key, a session, an address.

Bodies of such answers are documented nowhere, so a secret is looked for under the names that are
usual for one, and failing that by its looks: long, in one word, and under no name that something
else usually has. What is found is covered in all that is kept from then on; too much is better
covered than too little.
"""

import json
import re
import zlib
from collections.abc import Iterator
from typing import Any

from gateproof.redact import MIN_SECRET_LENGTH
from gateproof.wire import Response

__all__ = ["cookie_of", "issued_by"]

_NAMES = (
    "key", "secret", "api_key", "apikey", "secret_key", "access_token", "token", "session_token",
    "session", "refresh_token", "id_token", "value",
)  # fmt: skip
_OTHERS = frozenset(
    {"id", "name", "object", "type", "token_type", "permissions", "hint", "message", "scope"}
)
_ONE_WORD = re.compile(r"[!-~]+")
_MASKED = re.compile(r"\*\*|\.\.\.|…|xxxx|•")
_SECRET_LENGTH = 16  # shorter ones could be guessed
_LOOKS_LENGTH = 24  # what is as long, in one word and of no known name, is taken for a secret
_MOST_DEPTH = 5


def issued_by(response: Response) -> list[str]:
    """Return the secrets that an answer gives, the likeliest first; none when it gives none."""
    found = [
        (_NAMES.index(name) if name in _NAMES else len(_NAMES), value)
        for name, value in _texts(_body(response), "", 0)
        if _is_secret(name, value)
    ]
    named = [value for rank, value in sorted(found, key=lambda pair: pair[0])]
    cookies = [pair.partition("=")[2] for pair in _cookies(response)]
    long_enough = [value for value in cookies if len(value) >= MIN_SECRET_LENGTH]
    return list(dict.fromkeys([*named, *long_enough]))


def cookie_of(response: Response) -> str:
    """Return the cookies that an answer sets, as a Cookie header sends them back."""
    return "; ".join(_cookies(response))


def _cookies(response: Response) -> list[str]:
    return [
        value.partition(";")[0].strip()
        for name, value in response.headers
        if name.lower() == "set-cookie" and "=" in value.partition(";")[0]
    ]


def _is_secret(name: str, value: str) -> bool:
    if not _ONE_WORD.fullmatch(value) or _MASKED.search(value):
        return False
    if name in ("email", "mail", "e_mail"):
        return "@" in value and len(value) >= MIN_SECRET_LENGTH
    if name in _NAMES:
        return len(value) >= _SECRET_LENGTH
    known = name in _OTHERS or name.endswith(("_id", "_at", "_type", "date", "url"))
    return len(value) >= _LOOKS_LENGTH and not known


def _texts(value: Any, name: str, depth: int) -> Iterator[tuple[str, str]]:
    """Iterate over the strings of a JSON value with the names that they stand under."""
    if depth > _MOST_DEPTH:
        return
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, member in value.items():
            yield from _texts(member, str(key).lower().replace("-", "_"), depth + 1)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member, name, depth + 1)


def _body(response: Response) -> Any:
    body = response.body
    if (response.header("content-encoding") or "identity").lower() != "identity":
        try:
            body = zlib.decompressobj(47).decompress(body, 1 << 20)  # 47: gzip or zlib, found out
        except zlib.error:
            return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
