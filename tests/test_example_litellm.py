"""The LiteLLM example, as far as it can be tested without installing the proxy."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "litellm"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """Load the script as a module."""
    spec = importlib.util.spec_from_file_location("example_litellm", EXAMPLE / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_lock_pins_by_hash_without_index_addresses() -> None:
    """Each requirement has one version and at least one hash, and no line names an index."""
    text = (EXAMPLE / "requirements.lock").read_text("ascii")
    blocks = re.findall(r"^\S.*(?:\n +.*)*", text, re.MULTILINE)

    assert len(blocks) > 100
    assert [b.splitlines()[0] for b in blocks if "==" not in b or "--hash=sha256:" not in b] == []
    assert re.findall(r"https?://|--index-url|--find-links", text) == []


def test_lock_holds_the_version_that_is_asked_for() -> None:
    """The lock was made from the requirements that stand beside it."""
    name, _, version = (EXAMPLE / "requirements.in").read_text("ascii").strip().partition("==")

    assert name == "litellm[proxy]"
    assert f"litellm=={version} " in (EXAMPLE / "requirements.lock").read_text("ascii")


def test_configuration_holds_no_address_and_no_secret() -> None:
    """What is secret or differs from run to run is taken from the environment."""
    config = yaml.safe_load((EXAMPLE / "config.yaml").read_text("utf-8"))
    parameters = config["model_list"][0]["litellm_params"]

    assert [parameters["api_base"], parameters["api_key"], config["general_settings"]] == [
        "os.environ/GATEPROOF_UPSTREAM_BASE",
        "os.environ/GATEPROOF_DEMO_KEY",
        {"master_key": "os.environ/LITELLM_MASTER_KEY"},
    ]


def test_proxy_sees_nothing_of_the_callers_environment(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key or a database that the caller has set does not reach the proxy."""
    for name in ("OPENAI_API_KEY", "DATABASE_URL", "HTTP_PROXY", "PYTHONPATH"):
        monkeypatch.setenv(name, "the caller's")
    environment = example._proxy_environment("http://127.0.0.1:1", "sk-x")

    assert "the caller's" not in environment.values()
    assert environment["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"


def test_installation_is_skipped_when_the_lock_is_unchanged(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An environment whose mark names this lock file is used as it is."""
    monkeypatch.setattr(example, "ENVIRONMENT", tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "litellm").touch()
    digest = example.hashlib.sha256(example.LOCK.read_bytes()).hexdigest()
    (tmp_path / ".installed").write_text(digest, "ascii")

    assert example.install() == tmp_path / "bin" / "litellm"


def test_upstream_is_started_and_stopped(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The reference server answers inside the context and is gone after it."""
    monkeypatch.setattr(example, "UPSTREAM_LOG", tmp_path / "upstream.log")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    opener = example.urllib.request.build_opener(example.urllib.request.ProxyHandler({}))
    with example.upstream() as url, opener.open(f"{url}/_journal", timeout=5) as answer:
        status = answer.status

    assert status == 200
    with pytest.raises(OSError, match="refused"):
        opener.open(f"{url}/_journal", timeout=5)


@pytest.mark.parametrize(
    ("code", "shown"),
    [("raise SystemExit('no such thing')", "no such thing"), ("print('hello')", "did not start")],
    ids=["ends", "prints-something-else"],
)
def test_failed_start_shows_the_log(
    example: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    code: str,
    shown: str,
) -> None:
    """When the upstream does not start, the message holds the end of its log."""
    fake = tmp_path / "python"
    fake.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}"\n', "utf-8")
    fake.chmod(0o755)
    monkeypatch.setattr(example, "UPSTREAM_LOG", tmp_path / "upstream.log")
    monkeypatch.setattr(example.sys, "executable", str(fake))

    with pytest.raises(example.ExampleError, match=shown), example.upstream():
        pytest.fail("the upstream seems to have started")


def test_serving_needs_a_key_of_the_callers() -> None:
    """--serve without a key is a usage error, since a generated key is never printed."""
    environment = {k: v for k, v in os.environ.items() if k != "LITELLM_MASTER_KEY"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "run.py"), "--serve"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 2
    assert "LITELLM_MASTER_KEY" in done.stderr
