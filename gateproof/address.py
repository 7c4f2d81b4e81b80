"""What a user names: base URLs, with their origins, and variables that hold secrets."""

import ipaddress
import re
import urllib.parse

from gateproof.errors import UsageError

__all__ = ["check_url", "check_variable", "is_loopback", "origin_of"]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL, written in one way for each origin."""
    parts = urllib.parse.urlsplit(url)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, _PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def is_loopback(url: str) -> bool:
    """Tell whether a URL's host is this machine."""
    host = (urllib.parse.urlsplit(url).hostname or "").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_url(url: str, what: str = "target URL") -> str:
    """Return a base URL without its trailing slash; raise ``UsageError`` when it is not one."""
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in _PORTS and _is_host(parts) and url.isprintable() and " " not in url
        usable = usable and (parts.port is None or 0 < parts.port < 65536)
    except ValueError:
        parts, usable = urllib.parse.urlsplit(""), False
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            f"The {what} carries a user name or a password.",
            'Name secrets as variables instead: key = { env = "NAME" }, or --key-env NAME.',
        )
    if not usable:
        raise UsageError(
            f"Not a usable {what}: {url!r}.",
            "Give the base URL with scheme, host and path, such as http://127.0.0.1:4000/v1.",
        )
    if "?" in url or "#" in url:
        raise UsageError(
            f"The {what} has a query or a fragment.", "Give the base URL alone, up to the path."
        )
    return url.rstrip("/")


def _is_host(parts: urllib.parse.SplitResult) -> bool:
    host = parts.hostname or ""
    if "[" in parts.netloc:
        return bool(ipaddress.IPv6Address(host.partition("%")[0]))
    labels = host.rstrip(".").split(".")
    if not _HOST.fullmatch(host) or not all(0 < len(label) < 64 for label in labels):
        return False
    # What ends in a number is an address, and must be a whole one.
    return not labels[-1].isdigit() or bool(ipaddress.IPv4Address(host))


def check_variable(name: str, what: str) -> str:
    """Return a variable's name; what is none may be the secret itself, so it is never shown."""
    if not _VARIABLE.fullmatch(name):
        raise UsageError(
            f"{what} is not the name of an environment variable (it is not shown here: it may be "
            "the secret itself).",
            "Put the secret into a variable and name that: MY_KEY, not its value.",
        )
    return name
