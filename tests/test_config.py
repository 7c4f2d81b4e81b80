"""A ``gateproof.toml`` is read strictly: each mistake gives one message with its place."""

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateproof.budget import Budget
from gateproof.config import load_targets
from gateproof.errors import UsageError
from gateproof.target import Login, Target, Upstream, Waiver

WHOLE = """
[targets.local]
url = "http://127.0.0.1:4000/v1/"
profile = "osmapi"
key = { env = "MY_KEY" }
models = { chat = "mock/a", tools = "mock/b" }
headers = { x-team = "qa", x-token = { env = "MY_TOKEN" } }
upstream = { url = "http://127.0.0.1:8080", models = "mock/{name}", base = "m" }
concurrency = 4
idle_timeout_s = 2.5
total_timeout_s = 60
disclaims = { "chat.n" = "not built yet" }
load_allowed = true
keys = { basic = { env = "BASIC_KEY" } }
login = { user = "demo", password = { env = "MY_PASSWORD" } }
clock_scale = 60
budget = { requests = 1000, usd = 0.1 }

[[targets.local.waive]]
check = "sse.done-terminator"
reason = "ticket 12"
until = 2027-03-31

[targets.other]
url = "https://example.com"
"""

URL = '[targets.a]\nurl = "http://x/v1"\n'
PLACE = "FILE, [targets.a]"

# name: (text, message, part of the hint)
MISTAKES = {
    "not TOML": ("[targets.a", "FILE is not TOML: ", "Correct it"),
    "a byte order mark": ("\ufeff" + URL, "FILE is not TOML: ", "Correct it"),
    "empty": ("", "FILE names no target.", "[targets.NAME]"),
    "no target": ("[targets]", "FILE names no target.", "[targets.NAME]"),
    "targets is a list": ("[[targets]]", "FILE names no target.", "[targets.NAME]"),
    "unknown table": ("[target.a]", "FILE: Unknown key: 'target'.", "Known: targets."),
    "target is no table": ("[targets]\na = 1", f"{PLACE} is not a table.", "[targets.a]"),
    "unknown key": (URL + "modle = 1", f"{PLACE}: Unknown key: 'modle'.", "models"),
    "no url": ("[targets.a]", f"{PLACE} has no url.", "Add url"),
    "url is a number": ("[targets.a]\nurl = 1", f"{PLACE}, url must be a string, and is 1.", ""),
    "url without scheme": (
        '[targets.a]\nurl = "localhost:4000"',
        f"Not a usable URL in {PLACE}, url: 'localhost:4000'.",
        "such as http://",
    ),
    "url with a password": (
        '[targets.a]\nurl = "http://a:hunter22@x"',
        f"The URL in {PLACE}, url carries a user name or a password.",
        "env",
    ),
    "profile is a list": (
        URL + "profile = []",
        f"{PLACE}, profile must be a string, and is [].",
        "",
    ),
    "key is the key": (
        URL + 'key = "hunter22"',
        f'{PLACE}, key must name a variable: {{ env = "NAME" }}.',
        "never stands in a file",
    ),
    "key is empty": (
        URL + "key = {}",
        f'{PLACE}, key must name a variable: {{ env = "NAME" }}.',
        "never stands in a file",
    ),
    "key with more": (
        URL + 'key = { env = "A", value = "hunter22" }',
        f'{PLACE}, key must name a variable: {{ env = "NAME" }}.',
        "never stands in a file",
    ),
    "key's variable is the key": (
        URL + 'key = { env = "sk-hunter22" }',
        f"{PLACE}, key, env is not the name of an environment variable",
        "Put the secret into a variable",
    ),
    "models is a string": (URL + 'models = "a"', f"{PLACE}, models is not a table.", "models = {"),
    "a model is a number": (
        URL + "models = { chat = 1 }",
        f"{PLACE}, models.chat must be a string, and is 1.",
        "",
    ),
    "headers is a list": (URL + "headers = []", f"{PLACE}, headers is not a table.", "headers = {"),
    "a header's name": (
        URL + 'headers = { "x y" = "1" }',
        f"{PLACE}, headers: 'x y' is no name that a header can have.",
        "",
    ),
    "a header's value": (
        URL + 'headers = { x = "a\\nb" }',
        f"{PLACE}, headers.x has characters that no HTTP header can carry: 'a\\nb'.",
        "printable ASCII",
    ),
    "a header is a number": (
        URL + "headers = { x = 1 }",
        f"{PLACE}, headers.x must be a string, and is 1.",
        "",
    ),
    "a header is the key": (
        URL + 'headers = { Authorization = "Bearer hunter22" }',
        f"{PLACE}, headers.Authorization carries a credential, which never stands in a file.",
        'Authorization = { env = "NAME" }',
    ),
    "a header's variable": (
        URL + "headers = { x = { env = 1 } }",
        f'{PLACE}, headers.x must name a variable: {{ env = "NAME" }}.',
        "never stands in a file",
    ),
    "upstream is a string": (
        URL + 'upstream = "http://x"',
        f"{PLACE}, upstream is not a table.",
        "upstream = {",
    ),
    "upstream without url": (
        URL + "upstream = {}",
        f"Not a usable URL in {PLACE}, upstream.url: ''.",
        "such as http://",
    ),
    "upstream with an unknown key": (
        URL + 'upstream = { url = "http://x", model = "a" }',
        f"{PLACE}, upstream: Unknown key: 'model'.",
        "Known: base, models, url.",
    ),
    "upstream models without a place": (
        URL + 'upstream = { url = "http://x", models = "mock/" }',
        f"{PLACE}, upstream.models has no {{name}} in it.",
        "mock/{name}",
    ),
    "concurrency of none": (
        URL + "concurrency = 0",
        f"{PLACE}, concurrency must be a whole number from 1 to 256, and is 0.",
        "",
    ),
    "half a connection": (
        URL + "concurrency = 1.5",
        f"{PLACE}, concurrency must be a whole number from 1 to 256, and is 1.5.",
        "",
    ),
    "concurrency true": (
        URL + "concurrency = true",
        f"{PLACE}, concurrency must be a whole number from 1 to 256, and is True.",
        "",
    ),
    "no patience": (
        URL + "idle_timeout_s = -1",
        f"{PLACE}, idle_timeout_s must be a number from 0.1 to 3600, and is -1.",
        "",
    ),
    "not a number": (
        URL + "total_timeout_s = nan",
        f"{PLACE}, total_timeout_s must be a number from 0.1 to 86400, and is nan.",
        "",
    ),
    "disclaims is a list": (
        URL + 'disclaims = ["chat.n"]',
        f"{PLACE}, disclaims is not a table.",
        "disclaims = {",
    ),
    "disclaims without a reason": (
        URL + 'disclaims = { "chat.n" = true }',
        f"{PLACE}, disclaims.chat.n must be a string, and is True.",
        "",
    ),
    "waive is a table": (
        URL + "waive = {}",
        f"{PLACE}, waive is not an array of tables.",
        "[[targets.NAME.waive]]",
    ),
    "a waiver is a string": (
        URL + 'waive = ["x"]',
        f"{PLACE}, waive[0] is not a table.",
        "[[targets.NAME.waive]]",
    ),
    "a waiver with an unknown key": (
        URL + '[[targets.a.waive]]\nchek = "x"',
        f"{PLACE}, waive[0]: Unknown key: 'chek'.",
        "Known: check, reason, until.",
    ),
    "a waiver without a check": (
        URL + '[[targets.a.waive]]\nreason = "x"',
        f"{PLACE}, waive[0] has no check.",
        "says why",
    ),
    "a waiver without a reason": (
        URL + '[[targets.a.waive]]\ncheck = "x"\nreason = ""',
        f"{PLACE}, waive[0] has no reason.",
        "says why",
    ),
    "a waiver of a number": (
        URL + '[[targets.a.waive]]\ncheck = 1\nreason = "x"',
        f"{PLACE}, waive[0], check must be a string, and is 1.",
        "",
    ),
    "a waiver until some day": (
        URL + '[[targets.a.waive]]\ncheck = "x"\nreason = "y"\nuntil = "2027-03-31"',
        f"{PLACE}, waive[0], until is not a date.",
        "until = 2027-03-31",
    ),
    "a waiver until a moment": (
        URL + '[[targets.a.waive]]\ncheck = "x"\nreason = "y"\nuntil = 2027-03-31T00:00:00Z',
        f"{PLACE}, waive[0], until is not a date.",
        "until = 2027-03-31",
    ),
    "a further key written out": (
        URL + 'keys = { basic = "sk-1" }',
        f'{PLACE}, keys.basic must name a variable: {{ env = "NAME" }}.',
        "A secret never stands in a file.",
    ),
    "a password written out": (
        URL + 'login = { user = "demo", password = "p" }',
        f'{PLACE}, login, password must name a variable: {{ env = "NAME" }}.',
        "A secret never stands in a file.",
    ),
    "a login without a user": (
        URL + 'login = { password = { env = "P" } }',
        f"{PLACE}, login, user is ''.",
        "HTTP Basic needs a user name, without a colon in it.",
    ),
    "a budget of nothing": (
        URL + "budget = { usd = 0 }",
        f"{PLACE}, budget, usd is 0.",
        "Wanted a number above 0.",
    ),
    "a budget of what": (
        URL + "budget = { request = 5 }",
        f"{PLACE}, budget: Unknown part of a budget: 'request'.",
        "requests",
    ),
    "a clock that runs backwards": (
        URL + "clock_scale = -1",
        f"{PLACE}, clock_scale must be a number from 1 to 100000, and is -1.",
        "",
    ),
    "load allowed perhaps": (
        URL + 'load_allowed = "no"',
        f"{PLACE}, load_allowed must be true or false, and is 'no'.",
        "",
    ),
}


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    """Every key has its place in a target, and what is left out has its default."""
    file = tmp_path / "gateproof.toml"
    file.write_text(WHOLE, "utf-8")

    assert load_targets(file) == {
        "local": Target(
            name="local",
            url="http://127.0.0.1:4000/v1",
            profile="osmapi",
            key_env="MY_KEY",
            models={"chat": "mock/a", "tools": "mock/b"},
            headers={"x-team": "qa"},
            secret_headers={"x-token": "MY_TOKEN"},
            upstream=Upstream("http://127.0.0.1:8080", "mock/{name}", "m"),
            concurrency=4,
            idle_timeout_s=2.5,
            total_timeout_s=60,
            disclaims={"chat.n": "not built yet"},
            waivers=(Waiver("sse.done-terminator", "ticket 12", dt.date(2027, 3, 31)),),
            load_allowed=True,
            keys={"basic": "BASIC_KEY"},
            login=Login("demo", "MY_PASSWORD"),
            clock_scale=60,
            budget=Budget(requests=1000, usd=Decimal("0.1")),
        ),
        "other": Target(name="other", url="https://example.com", profile="openai"),
    }


@pytest.mark.parametrize(("text", "message", "hint"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_its_place(
    text: str, message: str, hint: str, tmp_path: Path
) -> None:
    """A mistake gives one message: where, what was wanted, what came; never a secret."""
    file = tmp_path / "gateproof.toml"
    file.write_text(text, "utf-8")
    with pytest.raises(UsageError) as caught:
        load_targets(file)
    got = caught.value.message.replace(str(file), "FILE")

    # What the TOML parser says, and what is never shown, ends the sentence.
    assert got == message or (not message.endswith((".", "]")) and got.startswith(message))
    assert hint in caught.value.hint
    assert "hunter22" not in str(caught.value)


def test_a_missing_file_tells_how_to_make_one(tmp_path: Path) -> None:
    """Without a file the message says how to write one."""
    with pytest.raises(UsageError, match="gateproof init"):
        load_targets(tmp_path / "gateproof.toml")


@pytest.mark.parametrize("kind", ["folder", "binary"])
def test_an_unreadable_file_is_the_callers_error(kind: str, tmp_path: Path) -> None:
    """A folder or a file that is no text is the caller's error."""
    file = tmp_path / "gateproof.toml"
    if kind == "folder":
        file.mkdir()
    else:
        file.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        load_targets(file)


LEAVES = st.booleans() | st.integers() | st.sampled_from(["", "x", "http://x/v1", "{name}"])
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["env", "url", "models", "check", "reason"]), inner)
    ),
    max_leaves=4,
)


def toml(value: object) -> str:
    """Write a value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


@settings(max_examples=40)
@given(
    st.dictionaries(
        st.sampled_from(
            ["url", "profile", "key", "models", "headers", "upstream", "concurrency", "waive",
             "idle_timeout_s", "disclaims", "load_allowed", "other"]
        ),
        VALUES,
    )
)  # fmt: skip
def test_no_file_breaks_the_reader(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, object]
) -> None:
    """Whatever stands in a target, it is read or refused as the caller's error."""
    file = tmp_path_factory.getbasetemp() / "any.toml"
    lines = "\n".join(f"{key} = {toml(value)}" for key, value in table.items())
    file.write_text(f"[targets.a]\n{lines}\n", "utf-8")
    told = ""
    try:
        load_targets(file)
    except UsageError as error:
        told = str(error)

    assert not told or str(file) in told
