"""No tracked file tells of a machine or of a network: the project must make sense alone."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Where people and build machines keep their files; the patterns are written so that this file,
# which is tracked as well, does not match them.
FOLDERS = "tmp|work|home|root|Users|mnt|opt|srv|var"
INDEXES = "pypi|pythonhosted|npmjs|npmmirror|artifactory|sonatype"
LEAKS = {
    "a path of a machine": re.compile(rf"(?:^|[^\w.~}})])/(?:{FOLDERS})/[\w.-]+"),
    "a package index": re.compile(rf"[\w.-]*(?:{INDEXES})[\w-]*\.[a-z]+", re.IGNORECASE),
}
LOCKS = {"requirements.lock", "package-lock.json"}
# What a lock may tell beside names, versions and hashes: where to give its authors money.
GIVING = re.compile(r'"funding"|"url": "https://(?:github\.com/sponsors|opencollective\.com)/')


def tracked() -> list[Path]:
    """Return every tracked file."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("no checkout of git")
    out = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in out.decode().split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize(("what", "pattern"), LEAKS.items(), ids=LEAKS)
def test_no_file_tells_where_it_was_made(what: str, pattern: re.Pattern[str]) -> None:
    """No tracked file holds a path of somebody's machine or the address of a package index."""
    found = [
        f"{path.relative_to(ROOT)}:{number}: {hit.group()}"
        for path in tracked()
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1)
        for hit in pattern.finditer(line)
    ]

    assert found == [], what


def test_locks_hold_no_addresses() -> None:
    """A lock names packages by version and hash, and leaves where they come from to the user."""
    locks = [path for path in tracked() if path.name in LOCKS]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in locks
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if "://" in line and not GIVING.search(line)
    ]

    assert found == []
    assert ROOT / "requirements.lock" in locks
