"""Audits the LiteLLM proxy, a gateway that none of us wrote, in front of a controlled upstream.

Installs the pinned proxy into an environment of its own, starts the reference server as its
upstream and the proxy before it, runs ``gateproof audit``, and stops both. All of it stays on
loopback; nothing but the installation needs a package index. What it starts, it stops by process
id, however it ends; each wait has a deadline.

    python examples/litellm/run.py                      audit; the report's folder is printed
    python examples/litellm/run.py -- --check gateway   options after -- go to gateproof
    python examples/litellm/run.py --serve              only start both, for curl by hand
"""

# ruff: noqa: INP001, S603  # a script, not a package; it starts only what it names itself

import argparse
import contextlib
import hashlib
import json
import os
import secrets
import selectors
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NoReturn

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LOCK = HERE / "requirements.lock"
ENVIRONMENT = ROOT / ".envs" / "litellm"
UPSTREAM_LOG = ENVIRONMENT / "upstream.log"
PROXY_LOG = ENVIRONMENT / "proxy.log"

KEY_ENV = "LITELLM_MASTER_KEY"
DEMO_KEY_ENV = "GATEPROOF_DEMO_KEY"
DEMO_KEY = "sk-gateproof-demo"  # the reference server's published key, no secret
MODEL = "gpt-4o-mini"

INSTALL_S = 900.0
UPSTREAM_READY_S = 30.0
PROXY_READY_S = 180.0  # a first start imports some 3,000 modules; 6 s once they are compiled
STOP_S = 6.0  # the proxy waits for upstream requests that its clients have left
AUDIT_S = 1800.0
SHOWN_LOG_LINES = 25


class ExampleError(Exception):
    """Something outside gateproof went wrong: what, and what to do."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the example; return gateproof's status, with findings counted as a success."""
    given = list(sys.argv[1:] if argv is None else argv)
    options = _options(given)
    signal.signal(signal.SIGTERM, _leave)
    try:
        executable = install()
        with upstream() as upstream_url, proxy(executable, upstream_url) as (proxy_url, key):
            if options.serve:
                return _serve(proxy_url, upstream_url)
            status = _gateproof(options, proxy_url, upstream_url, key)
    except ExampleError as error:
        sys.stderr.write(f"litellm example: {error}\n")
        return 4
    except KeyboardInterrupt:
        sys.stderr.write("\nlitellm example: interrupted; proxy and upstream are stopped.\n")
        return 130
    if status == 1 and not options.strict:
        _say("the audit ran to its end and has findings (with --strict this is status 1)")
        return 0
    return status


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Audit the LiteLLM proxy in front of a controlled upstream.",
        epilog="example: python examples/litellm/run.py --out litellm-report -- --seconds 10",
    )
    parser.add_argument("--out", type=Path, help="report folder (default: gateproof-runs/…)")
    parser.add_argument("--verb", choices=("audit", "conform"), default="audit")
    parser.add_argument("--strict", action="store_true", help="end with status 1 on findings")
    parser.add_argument(
        "--serve", action="store_true", help=f"start both and wait; needs ${KEY_ENV} to be set"
    )
    parser.add_argument("rest", nargs="*", metavar="-- OPTION", help="further gateproof options")
    options = parser.parse_args(argv)
    if options.serve and not os.environ.get(KEY_ENV):
        parser.error(f"--serve needs a key of your choice in ${KEY_ENV}, since none is printed")
    return options


def install() -> Path:
    """Install what the lock file pins, unless it is there; return the proxy's executable."""
    executable = ENVIRONMENT / "bin" / "litellm"
    mark = ENVIRONMENT / ".installed"
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if executable.exists() and mark.exists() and mark.read_text("ascii") == wanted:
        return executable
    _say("installing the LiteLLM proxy into .envs/litellm (once, 1 to 5 minutes, 750 MB)")
    venv.create(ENVIRONMENT, clear=True, with_pip=True)
    command = [
        str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "-qq",
        # The lock is whole; left to resolve it, older versions of pip take a newer pydantic[email].
        "--disable-pip-version-check", "--no-deps", "--require-hashes", "-r", str(LOCK),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, check=False, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        raise ExampleError(
            f"pip was not done after {INSTALL_S:.0f} s. Is the package index reachable?"
        ) from None
    if done.returncode:
        raise ExampleError(
            f"pip could not install {LOCK.name} (status {done.returncode}); its reason is above."
        )
    mark.write_text(wanted, "ascii")
    return executable


@contextlib.contextmanager
def upstream() -> Iterator[str]:
    """Run the reference server on a free port; yield its URL."""
    command = [
        sys.executable, "-m", "gateproof.reference_server", "--port", "0", "--exit-with-stdin",
    ]  # fmt: skip
    with UPSTREAM_LOG.open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
    with _stopping(process, "upstream"):
        assert process.stdout is not None
        line = _first_line(process.stdout, UPSTREAM_READY_S)
        try:
            url = str(json.loads(line)["url"])
        except (ValueError, KeyError, TypeError):
            raise _start_failed("the reference server", UPSTREAM_LOG) from None
        yield url


@contextlib.contextmanager
def proxy(executable: Path, upstream_url: str) -> Iterator[tuple[str, str]]:
    """Run the proxy on a free port; yield its base URL and its key once it answers."""
    port = _free_port()
    key = os.environ.get(KEY_ENV) or f"sk-{secrets.token_hex(24)}"
    command = [
        str(executable), "--config", str(HERE / "config.yaml"), "--host", "127.0.0.1",
        "--port", str(port), "--num_workers", "1", "--telemetry", "False",
    ]  # fmt: skip
    with PROXY_LOG.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ENVIRONMENT,
            env=_proxy_environment(upstream_url, key),
        )
    with _stopping(process, "proxy"):
        root = f"http://127.0.0.1:{port}"
        _wait_until_healthy(f"{root}/health/liveliness", process)
        yield f"{root}/v1", key


def _proxy_environment(upstream_url: str, key: str) -> dict[str, str]:
    """Return all that the proxy may see: no setting or secret of the caller's reaches it."""
    return {
        "PATH": os.defpath,
        "HOME": str(ENVIRONMENT),
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",  # it lists models in the order of a set
        "NO_PROXY": "*",
        KEY_ENV: key,
        DEMO_KEY_ENV: DEMO_KEY,
        "GATEPROOF_UPSTREAM_BASE": f"{upstream_url}/v1",
        "LITELLM_MODE": "PRODUCTION",  # reads no .env file
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it fetches its price list when it starts
        "LITELLM_TELEMETRY": "False",
        "LITELLM_DONT_SHOW_FEEDBACK_BOX": "True",
        "DISABLE_ADMIN_UI": "True",
    }


def _gateproof(options: argparse.Namespace, target: str, upstream_url: str, key: str) -> int:
    command = [
        sys.executable, "-m", "gateproof", options.verb,
        "--target", target, "--allow-origin", target.removesuffix("/v1"),
        "--profile", "openai", "--key-env", KEY_ENV, "--model", f"ref/{MODEL}",
        "--upstream", upstream_url, "--upstream-models", "ref/{name}",
    ]  # fmt: skip
    if options.out:
        command += ["--out", str(options.out.resolve())]
    _say(f"the proxy answers at {target}; {options.verb} begins")
    process = subprocess.Popen([*command, *options.rest], env={**os.environ, KEY_ENV: key})
    with _stopping(process, "gateproof"):
        try:
            return process.wait(AUDIT_S)
        except subprocess.TimeoutExpired:
            raise ExampleError(f"gateproof was not done after {AUDIT_S:.0f} s.") from None
        except KeyboardInterrupt:  # it has the signal too, and closes its run
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
            raise


def _serve(target: str, upstream_url: str) -> int:
    print(  # noqa: T201  # what a person at the terminal asked for
        f"proxy     {target}   (key: ${KEY_ENV}; models: ref/{MODEL}, ref/{MODEL}+cut, …)\n"
        f"upstream  {upstream_url}   (journal: {upstream_url}/_journal)\n"
        f"logs      {PROXY_LOG}, {UPSTREAM_LOG}\nCtrl-C stops both.",
        flush=True,
    )
    while True:
        signal.pause()


@contextlib.contextmanager
def _stopping(process: "subprocess.Popen[bytes]", what: str) -> Iterator[None]:
    """Stop the process in the end, gently and then not."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            _say(f"the {what} (process {process.pid}) is killed, since it does not stop by itself")
            process.kill()
            process.wait(STOP_S)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _first_line(pipe: IO[bytes], timeout_s: float) -> bytes:
    """Return the first line that a process prints, or what it printed before the deadline."""
    deadline = time.monotonic() + timeout_s
    seen = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while b"\n" not in seen and selector.select(max(0.0, deadline - time.monotonic())):
            piece = os.read(pipe.fileno(), 65_536)
            if not piece:
                break
            seen += piece
    return seen.partition(b"\n")[0]


def _wait_until_healthy(url: str, process: "subprocess.Popen[bytes]") -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + PROXY_READY_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), opener.open(url, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.2)
    raise _start_failed("the LiteLLM proxy", PROXY_LOG)


def _start_failed(what: str, log: Path) -> ExampleError:
    lines = log.read_text("utf-8", "replace").splitlines()[-SHOWN_LOG_LINES:]
    shown = "".join(f"\n  | {line}" for line in lines)
    return ExampleError(f"{what} did not start. The end of {log}:{shown}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _leave(number: int, _frame: object) -> NoReturn:
    """Turn a request to end into an exception, so that what was started is stopped."""
    raise SystemExit(128 + number)


def _say(text: str) -> None:
    sys.stderr.write(f"litellm example: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
