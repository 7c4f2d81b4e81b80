"""Other load generators, each in an environment of its own, for ``load_client.py --peers``.

AIPerf gives a record per request, with the id that it sends as X-Request-Id, by which the responder
knows the request. Its gaps are of its own clock; the time of its first token is not on the
responder's, so only TTFT and gaps can be compared. Where it does not end by itself it is ended, its
records so far count, and its CPU time is only a part. The usual Locust script stamps as ours does.

Environments are made once, in ``.envs``, from the package registry that pip is set up for.
"""

# ruff: noqa: INP001  # a script, not a package

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from gateproof.loadtests.responder import Entry, read_log

__all__ = ["AIPERF", "LOCUST", "aiperf", "usual_locust"]

AIPERF: Final = "aiperf==0.13.0"
LOCUST: Final = "locust==2.47.0"
_STOP_S: Final = 30.0  # AIPerf's services were seen to need 10 s to begin, and not to end


def _environment(name: str, requirement: str) -> Path:
    """Make an environment, unless it is there, and give its folder of commands."""
    folder = Path(__file__).resolve().parent.parent / ".envs" / f"bench-{name}"
    ready = folder / f".ready-{requirement}"
    if not ready.exists():
        print(f"  making an environment for {requirement} …", flush=True)  # noqa: T201  # it tells
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)  # noqa: S603  # ours
        command = [str(folder / "bin" / "pip"), "install", "-q", requirement]
        subprocess.run(command, check=True)  # noqa: S603  # a fixed name
        ready.touch()
    return folder / "bin"


def _cpu_s() -> float:
    """Give the CPU seconds of all children that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _run(command: list[str], seconds: float, **options: Any) -> None:
    """Run a command with all its children, and end them when they do not end by themselves.

    Never before all else (``chrt -f``): services that wait busily for each other never end so.
    """
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        command = ["chrt", "--other", "0", *command]
    with subprocess.Popen(  # noqa: S603  # fixed commands
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **options,
    ) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def usual_locust(
    url: str, streams: int, seconds: float, folder: Path
) -> tuple[dict[int, Entry], float]:
    """Load with the usual Locust script; give its entries and CPU seconds."""
    commands = _environment("locust", LOCUST)
    before_s = _cpu_s()
    script, times = Path(__file__).with_name("usual_locust.py"), folder / "times.bin"
    options = ["--headless", "--only-summary", "-u", str(streams), "-r", str(streams / 1.5)]
    options += ["-t", f"{max(round(seconds), 1)}s", "--host", f"{url}/v1/", "--loglevel", "ERROR"]
    command = [str(commands / "locust"), "-f", str(script), *options]
    _run(command, seconds + _STOP_S, cwd=folder, env=os.environ | {"TIMES": str(times)})
    entries = {entry.number: entry for entry in read_log(times.read_bytes())}
    return entries, _cpu_s() - before_s


def aiperf(url: str, streams: int, seconds: float, folder: Path) -> tuple[dict[int, Entry], float]:
    """Load with AIPerf; its entries begin at 0 ns, since its times are not on our clock."""
    commands = _environment("aiperf", AIPERF)
    before_s = _cpu_s()
    (folder / "tokenizer").mkdir()
    _write_tokenizer(folder / "tokenizer")
    count = max(round(streams * seconds / 1.5), 2 * streams)
    options = {
        "--model": "m",
        "--url": url,
        "--endpoint-type": "chat",
        "--concurrency": streams,
        "--request-count": count,
        "--tokenizer": folder / "tokenizer",
        "--ui": "none",
        "--export-level": "records",
        "--artifact-dir": folder / "out",
        "--isl": 40,
        "--osl": 64,
    }
    flags = ["--streaming", "--use-server-token-count", "--no-gpu-telemetry", "--no-server-metrics"]
    named = [str(part) for pair in options.items() for part in pair]
    command = [str(commands / "aiperf"), "profile", *named, *flags]
    _run(command, seconds + _STOP_S, cwd=folder)
    return dict(_records(folder / "out" / "profile_export.jsonl")), _cpu_s() - before_s


def _records(path: Path) -> Iterator[tuple[int, Entry]]:
    """Read AIPerf's records; a torn last line is left out."""
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError, KeyError):
            row = json.loads(line)
            number = int(row["metadata"]["x_request_id"].replace("-", "")[:15], 16)
            metrics = row["metrics"]
            at_ns = metrics["time_to_first_token"]["value"] * 1e6
            times = array("q", [round(at_ns)])
            for gap_ms in metrics["inter_chunk_latency"]["value"]:
                at_ns += gap_ms * 1e6
                times.append(round(at_ns))
            yield number, Entry(number, 0, times)


def _write_tokenizer(folder: Path) -> None:
    """Write a tokenizer of words, so that nothing is fetched from anywhere."""
    words = {"[UNK]": 0, "[EOS]": 1} | {f"word{number}": number + 2 for number in range(1000)}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [
        {"id": number, "content": text, "special": True, **special}
        for text, number in words.items()
        if text.startswith("[")
    ]
    model = {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"}
    parts = ("truncation", "padding", "normalizer", "post_processor", "decoder")
    whole = dict.fromkeys(parts) | {"version": "1.0", "added_tokens": added, "model": model}
    whole |= {"pre_tokenizer": {"type": "WhitespaceSplit"}}
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    about |= {"eos_token": "[EOS]", "bos_token": "[EOS]"}
    (folder / "tokenizer.json").write_text(json.dumps(whole), "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(about), "utf-8")
