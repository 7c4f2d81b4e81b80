"""Bodies of the type multipart/form-data, as RFC 7578 has them.

Parts may come in any order, and a name several times. There are limits to how many parts there are
and how long their headers; the length of the whole is limited by the connection.
"""

import re
from dataclasses import dataclass

from .errors import ApiError

__all__ = ["Form", "Part", "read_form"]

_MOST_PARTS = 100
_LONGEST_HEAD = 8 * 1024
_BOUNDARY = re.compile(r"(?i);\s*boundary=(?:\"([^\"]{1,70})\"|([^\s;\"]{1,70}))")
_PARAMETER = re.compile(r"(?i);\s*(name|filename)=(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;\"]*))")


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form."""

    name: str
    data: bytes
    filename: str | None = None
    """None where it is no file."""

    @property
    def text(self) -> str:
        """The data as text."""
        return self.data.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form in their order."""

    parts: tuple[Part, ...]

    def all(self, name: str) -> list[Part]:
        """Return the parts of this name."""
        return [part for part in self.parts if part.name == name]

    def text(self, name: str) -> str | None:
        """Return the text of the last part of this name, or None."""
        return next((part.text for part in reversed(self.parts) if part.name == name), None)


def _wrong(what: str) -> ApiError:
    return ApiError(400, f"The multipart body {what}.", code="invalid_multipart")


def _part(head: bytes, data: bytes) -> Part:
    if len(head) > _LONGEST_HEAD:
        raise _wrong(f"has a part whose headers are longer than {_LONGEST_HEAD} bytes")
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() != "content-disposition":
            continue
        found = {
            key.lower(): re.sub(r"\\(.)", r"\1", quoted) or bare
            for key, quoted, bare in _PARAMETER.findall(value)
        }
        if value.strip().lower().startswith("form-data") and found.get("name"):
            return Part(found["name"], data, found.get("filename"))
    raise _wrong("has a part without a name")


def read_form(content_type: str, body: bytes) -> Form:
    """Read a form, or refuse it with what is wrong."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise _wrong("has no boundary in its Content-Type")
    delimiter = b"\r\n--" + (found.group(1) or found.group(2)).encode("latin-1", "replace")
    pieces = (b"\r\n" + body).split(delimiter)
    if len(pieces) < 2:
        raise _wrong("never shows the boundary of its Content-Type")
    if len(pieces) - 2 > _MOST_PARTS:
        raise _wrong(f"has more than {_MOST_PARTS} parts")
    if not pieces[-1].startswith(b"--"):
        raise _wrong("has no end: its last boundary is missing")
    parts = []
    for piece in pieces[1:-1]:
        content = piece.lstrip(b" \t")
        if not content.startswith(b"\r\n"):
            raise _wrong("has something else than a line's end after a boundary")
        head, blank, data = content.partition(b"\r\n\r\n")
        if not blank:
            raise _wrong("has a part without a blank line after its headers")
        parts.append(_part(head[2:], data))
    return Form(tuple(parts))
