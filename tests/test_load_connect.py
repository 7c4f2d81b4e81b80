"""The way to a target: base URLs, and which proxy is taken."""

import pytest
from gateproof.loadtests.connect import Proxy, Target, proxy_for, secret_of

from gateproof.errors import UsageError

TARGETS = {
    "http://127.0.0.1:8080/v1": Target(
        "127.0.0.1", 8080, tls=False, path="/v1", authority="127.0.0.1:8080"
    ),
    "https://gw.example/v1/": Target(
        "gw.example", 443, tls=True, path="/v1", authority="gw.example"
    ),
    "http://[::1]:8080": Target("::1", 8080, tls=False, path="", authority="[::1]:8080"),
    "https://[fe80::1%25eth0]/v1": Target(
        "fe80::1%eth0", 443, tls=True, path="/v1", authority="[fe80::1]"
    ),
}
REFUSED = (
    "gw.example/v1",
    "ftp://gw.example",
    "http://",
    "http://gw.example:99999",
    "http://gw.example:0",
    "http://[::1",
    "http://user:pass@gw.example/v1",
)
BY = Proxy("proxy.example", 3128)
IN_USE = {"http_proxy": "http://proxy.example:3128", "https_proxy": "proxy.example:3128"}


@pytest.mark.parametrize("url", TARGETS)
def test_target(url: str) -> None:
    """A base URL is taken apart, with IPv6 addresses and their zones."""
    assert Target.of(url) == TARGETS[url]


@pytest.mark.parametrize("url", REFUSED)
def test_no_target(url: str) -> None:
    """What is no base URL is refused, and a password in it is not shown."""
    with pytest.raises(UsageError) as refused:
        Target.of(url)
    assert "pass" not in refused.value.message.replace("a password", "")


@pytest.mark.parametrize(
    ("url", "environ", "wanted"),
    [
        ("http://gw.example/v1", IN_USE, BY),
        ("https://gw.example/v1", IN_USE, BY),
        ("https://gw.example/v1", {"HTTPS_PROXY": "http://proxy.example:3128"}, BY),
        ("http://gw.example/v1", {"HTTP_PROXY": "http://proxy.example:3128"}, None),
        ("http://gw.example/v1", {}, None),
        ("http://127.0.0.1:8080/v1", IN_USE, None),
        ("http://localhost:8080/v1", IN_USE, None),
        ("http://[::1]:8080/v1", IN_USE, None),
        ("http://gw.example/v1", IN_USE | {"no_proxy": "*"}, None),
        ("http://gw.example/v1", IN_USE | {"no_proxy": "other, example"}, None),
        ("http://gw.example/v1", IN_USE | {"NO_PROXY": ".gw.example"}, None),
        ("http://gw.example/v1", IN_USE | {"no_proxy": "ample,"}, BY),
        ("http://gw.example/v1", IN_USE | {"no_proxy": "gw.example:81"}, BY),
        ("http://10.1.2.3/v1", IN_USE | {"no_proxy": "10.0.0.0/8"}, None),
        ("http://11.1.2.3/v1", IN_USE | {"no_proxy": "10.0.0.0/8"}, BY),
    ],
)
def test_proxy(url: str, environ: dict[str, str], wanted: Proxy | None) -> None:
    """The environment's proxy is taken, except for what it spares and for the loopback."""
    assert proxy_for(url, environ=environ) == wanted


def test_proxy_given() -> None:
    """A proxy that is named is taken for the loopback too, with the credential of the variable."""
    got = proxy_for("http://127.0.0.1/v1", "http://proxy.example:3128", "user:pass", {})
    assert got is not None
    assert got == Proxy("proxy.example", 3128, "Basic dXNlcjpwYXNz")
    assert "dXNl" not in repr(got) + str(got)
    assert (got.secrets, BY.secrets) == (("dXNlcjpwYXNz", "user:pass"), ())


@pytest.mark.parametrize(
    "url", ["socks5://proxy.example", "https://proxy.example", "http://user:pass@proxy.example"]
)
def test_proxy_refused(url: str) -> None:
    """A proxy that cannot be used, or that carries a password, is refused without showing it."""
    with pytest.raises(UsageError) as refused:
        proxy_for("http://gw.example", url, environ={})
    assert "pass@" not in str(refused.value)


def test_secret_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable of a proxy's credential must hold user:password."""
    monkeypatch.setenv("PROXY_LOGIN", "user:pass")
    monkeypatch.setenv("EMPTY", "")
    assert (secret_of(""), secret_of("PROXY_LOGIN")) == ("", "user:pass")
    with pytest.raises(UsageError):
        secret_of("EMPTY")
