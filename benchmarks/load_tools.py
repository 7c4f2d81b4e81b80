"""Other load generators: how each is started, and what it leaves of a request.

That is joined with the responder's log:

- The usual Locust script stamps as ours does, and writes the same form.
- AIPerf's record has the X-Request-Id by which the responder knows the request. Its gaps are of its
  own clock, and its TTFT is on none: only TTFT and gaps can be compared.
- GuideLLM is given prompts with numbers in them and repeats them in its report. It keeps the first
  and the last token's time and no gap, on the wall clock: TTFT and the first token are compared.
- inference-perf is given such prompts as well, and keeps the time of each token on the responder's
  clock: all is compared. It declares Python 3.12 and runs on 3.11, so pip is told to let it.
"""

# ruff: noqa: INP001  # beside a script, not in a package

import contextlib
import json
import re
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic_ns
from typing import Any, Final

from gateproof.loadtests.responder import Entry, read_log

__all__ = ["PEERS", "Asked", "Peer"]

_MARK: Final = re.compile(r"gp-00000000-(\d{10})")
_PROMPT: Final = "[gp-00000000-{:010d}] Write a short story."


@dataclass(frozen=True, slots=True)
class Asked:
    """One run that a tool is asked for; ``folder`` is its own."""

    url: str  # with the script, without /v1
    streams: int
    ramp_s: float
    seconds: float  # with the ramp
    folder: Path

    @property
    def requests(self) -> int:
        """How many requests fill the time, where a tool counts them: an answer takes 1.5 s."""
        return max(round(self.streams * self.seconds / 1.5), 2 * self.streams)


@dataclass(frozen=True, slots=True)
class Peer:
    """A tool: what to install, what that costs, how to start it, how to read what it leaves."""

    requirement: str
    size_gb: float  # on the disk, measured
    install_s: int  # as measured on two cores
    command: Callable[[Asked, Path], list[str]]  # of its environment's folder of commands
    entries: Callable[[Asked], Iterable[Entry]]
    unlike: tuple[str, ...] = ()  # beginnings of figures that its records cannot tell
    offline: bool = False  # told not to look for models; AIPerf then takes no path for a tokenizer
    newer_python: bool = False  # it declares one that it does not need
    lead_s: float = 60.0  # to begin, and to evaluate: GuideLLM was seen to need 30 s when busy


def _locust(asked: Asked, commands: Path) -> list[str]:
    """Write the command of the usual Locust script."""
    script, rate = Path(__file__).with_name("usual_locust.py"), asked.streams / asked.ramp_s
    options = ["--headless", "--only-summary", "-u", str(asked.streams), "-r", str(rate)]
    options += ["-t", f"{max(round(asked.seconds), 1)}s", "--host", f"{asked.url}/v1/"]
    return [str(commands / "locust"), "-f", str(script), *options, "--loglevel", "ERROR"]


def _locust_entries(asked: Asked) -> Iterable[Entry]:
    """Read what the usual Locust script wrote."""
    path = asked.folder / "times.bin"
    return read_log(path.read_bytes()) if path.exists() else ()


def _aiperf(asked: Asked, commands: Path) -> list[str]:
    """Write the command of AIPerf."""
    options = {
        "--model": "m",
        "--url": asked.url,
        "--endpoint-type": "chat",
        "--concurrency": asked.streams,
        "--concurrency-ramp-duration": asked.ramp_s,
        "--request-count": asked.requests,
        "--tokenizer": _tokenizer(asked.folder),
        "--ui": "none",
        "--export-level": "records",
        "--artifact-dir": asked.folder / "out",
        "--isl": 40,
        "--osl": 64,
    }
    flags = ["--streaming", "--use-server-token-count", "--no-gpu-telemetry", "--no-server-metrics"]
    named = [str(part) for pair in options.items() for part in pair]
    return [str(commands / "aiperf"), "profile", *named, *flags]


def _aiperf_entries(asked: Asked) -> Iterator[Entry]:
    """Read AIPerf's records, each from 0 ns; a torn last line is left out."""
    path = asked.folder / "out" / "profile_export.jsonl"
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
            yield Entry(number, 0, times)


def _guidellm(asked: Asked, commands: Path) -> list[str]:
    """Write the command of GuideLLM, and its prompts."""
    rows = ({"prompt": _PROMPT.format(number)} for number in range(asked.requests))
    prompts = _write_rows(asked.folder / "prompts.jsonl", rows)
    # Its times are of the wall clock; by how much that is ahead of the responder's is kept.
    ahead_ns = time.time_ns() - monotonic_ns()
    (asked.folder / "ahead_ns").write_text(str(ahead_ns), "ascii")
    options = {
        "--backend": f"kind=openai_http,target={asked.url},model=m,validate_backend=false",
        "--profile": f"kind=concurrent,streams={asked.streams},rampup_duration={asked.ramp_s}",
        "--constraint": f"kind=max_requests,count={asked.requests}",
        "--data": f"kind=json_file,path={prompts}",
        "--output": f"kind=json,path={asked.folder / 'out.json'}",
    }
    named = [part for pair in options.items() for part in pair]
    return [str(commands / "guidellm"), "run", *named, "--disable-console"]


def _guidellm_entries(asked: Asked) -> Iterator[Entry]:
    """Read GuideLLM's report: when a request was begun, and its first token."""
    path = asked.folder / "out.json"
    if not path.exists():
        return
    ahead_ns = int((asked.folder / "ahead_ns").read_text("ascii"))
    for run in json.loads(path.read_bytes())["benchmarks"]:
        for row in run["requests"]["successful"]:
            mark, times = _MARK.search(row["request_args"] or ""), row["info"]["timings"]
            if mark and times["first_token_iteration"]:
                begun, first = (
                    round(times[name] * 1e9) - ahead_ns
                    for name in ("request_start", "first_token_iteration")
                )
                yield Entry(int(mark[1]), begun, array("q", [first]))


def _inference_perf(asked: Asked, commands: Path) -> list[str]:
    """Write the command of inference-perf, its configuration and its prompts."""
    said = [{"from": "human", "value": ""}, {"from": "gpt", "value": "Yes."}]
    rows = (
        {"conversations": [said[0] | {"value": _PROMPT.format(number)}, said[1]]}
        for number in range(asked.requests + 1)  # it leaves the first one out
    )
    prompts = _write_rows(asked.folder / "prompts.json", rows)
    stage = {"num_requests": asked.requests, "concurrency_level": asked.streams}
    fields = {"response": False, "response_chunks": False}
    config = {
        "api": {"type": "chat", "streaming": True},
        "data": {"type": "shareGPT", "path": prompts},
        "load": {
            "type": "concurrent",
            "stages": [stage],
            "worker_max_tcp_connections": 2 * asked.streams,
        },
        "server": {"type": "vllm", "model_name": "m", "base_url": asked.url},
        "tokenizer": {"pretrained_model_name_or_path": _tokenizer(asked.folder)},
        "report": {"request_lifecycle": {"per_request": True, "per_request_fields": fields}},
        "storage": {"local_storage": {"path": str(asked.folder / "out")}},
    }
    path = asked.folder / "config.yml"
    path.write_text(json.dumps(config), "utf-8")  # JSON is YAML
    return [str(commands / "inference-perf"), "-c", str(path)]


def _inference_perf_entries(asked: Asked) -> Iterator[Entry]:
    """Read inference-perf's requests: its clock, ``perf_counter``, is the responder's on Linux."""
    path = asked.folder / "out" / "per_request_lifecycle_metrics.json"
    for row in json.loads(path.read_bytes()) if path.exists() else ():
        mark = _MARK.search(row["request"] or "")
        times = ((row["info"] or {}).get("response_metrics") or {}).get("chunk_times")
        if mark and times:
            sends = array("q", [round(at * 1e9) for at in times])
            yield Entry(int(mark[1]), round(row["start_time"] * 1e9), sends)


def _write_rows(path: Path, rows: Iterable[object]) -> str:
    """Write a row of JSON a line, and give the path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def _tokenizer(parent: Path) -> str:
    """Write a tokenizer of words, so that nothing is fetched from anywhere; give its folder."""
    folder = parent / "tokenizer"
    folder.mkdir()
    words = {"[UNK]": 0, "[EOS]": 1} | {f"word{number}": number + 2 for number in range(1000)}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [
        {"id": number, "content": text, "special": True, **special}
        for text, number in words.items()
        if text.startswith("[")
    ]
    model = {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"}
    parts = ("truncation", "padding", "normalizer", "post_processor", "decoder")
    whole: dict[str, Any] = dict.fromkeys(parts)
    whole |= {"version": "1.0", "added_tokens": added, "model": model}
    whole |= {"pre_tokenizer": {"type": "WhitespaceSplit"}}
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    about |= {"eos_token": "[EOS]", "bos_token": "[EOS]"}
    (folder / "tokenizer.json").write_text(json.dumps(whole), "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(about), "utf-8")
    return str(folder)


PEERS: Final[dict[str, Peer]] = {
    "aiperf": Peer(
        "aiperf==0.13.0",
        1.2,
        50,
        _aiperf,
        _aiperf_entries,
        unlike=("first", "stamp"),
        lead_s=30.0,  # it was seen not to end
    ),
    "locust": Peer("locust==2.47.0", 0.1, 10, _locust, _locust_entries),
    "guidellm": Peer(
        "guidellm==0.8.1",
        6.0,
        130,
        _guidellm,
        _guidellm_entries,
        unlike=("stamp", "itl"),
        offline=True,
    ),
    "inference-perf": Peer(
        "inference-perf==0.7.0",
        0.8,
        60,
        _inference_perf,
        _inference_perf_entries,
        offline=True,
        newer_python=True,
    ),
}
"""The other tools, by the name that ``--peers`` gives them."""
