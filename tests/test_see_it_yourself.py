"""The curl commands of a report show its findings again, without gateproof."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from html.parser import HTMLParser

import pytest

from gateproof.bundled import DEMO_KEY_ENV, Bundled, bundled_server
from gateproof.cli import main

# fault: (the check that it kills, what the answer to the command lacks or has)
FAULTS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "drop-done": ("sse.done-terminator", lambda said: "data: {" in said and "[DONE]" not in said),
    "error-string": ("err.envelope", lambda said: '{"error":"' in said),
    "usage-null": ("usage.nonneg-int", lambda said: '"prompt_tokens":null' in said),
}


class Commands(HTMLParser):
    """Reads the commands of a page as one copies them, by the finding that they stand in."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, list[str]] = {}
        self._finding = ""
        self._place = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note where a finding begins, and where a command does."""
        given = dict(attrs)
        if tag == "article":
            self._finding = given.get("id") or ""
        if tag == "div":
            self._place = given.get("class") or ""
        if tag == "pre":
            self._place = "command" if self._place == "curl" else ""
            if self._place:
                self.found.setdefault(self._finding, []).append("")

    def handle_endtag(self, tag: str) -> None:
        """Note where a command ends."""
        if tag == "pre":
            self._place = ""

    def handle_data(self, data: str) -> None:
        """Take the command's text."""
        if self._place == "command":
            self.found[self._finding][-1] += data


@pytest.fixture(scope="module")
def server() -> Iterator[Bundled]:
    """Run the reference server."""
    with bundled_server() as running:
        yield running


@pytest.fixture(scope="module")
def commands(server: Bundled, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Judge a server with all the faults, and read the commands of its report."""
    run = tmp_path_factory.mktemp("faulty") / "run"
    target = f"{server.url}/with/{'+'.join(FAULTS)}/v1"
    checks = [f"--check={check}" for check, _ in FAULTS.values()]
    main(["conform", "--target", target, "--key-env", DEMO_KEY_ENV, "--out", str(run), *checks])
    return Commands((run / "report.html").read_text("utf-8")).found


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is what makes the request again")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_command_shows_the_finding(fault: str, commands: dict[str, list[str]]) -> None:
    """The first command under a finding gets the faulty answer; a sound server's is without it."""
    check, is_faulty = FAULTS[fault]
    command = commands[f"fail-{check}"][0]
    sound = re.sub(r"/with/[^/]+/", "/", command)

    assert (is_faulty(shell(command)), is_faulty(shell(sound))) == (True, False)
    assert os.environ[DEMO_KEY_ENV] not in command


def shell(command: str) -> str:
    """Run a command in a shell, as a reader does, and return what it prints."""
    done = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, check=True, timeout=20
    )
    assert done.stdout.startswith("HTTP/1.1 ")
    return done.stdout
