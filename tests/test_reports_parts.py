"""The parts of the reports: text laid open, the curl command, evidence, load and its charts."""

import json
import os
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from gateproof.reports.charts import charts_of
from gateproof.reports.curl import curl_command
from gateproof.reports.evidence import evidence_of
from gateproof.reports.load_view import load_view
from gateproof.reports.summary import _code, _md
from gateproof.reports.visible import can_be_copied, lay_open, plain, show, show_bytes, show_command
from hypothesis import example, given
from hypothesis import strategies as st
from markupsafe import Markup, escape

from gateproof.summary import headline
from gateproof.transcript import Ask, Exchange, Mark, Transcript
from gateproof.wire import Read

MS = 1_000_000


def exchange(ask: Ask, *, head: bytes = b"", key: str = "", **more: Any) -> Exchange:
    """Make an exchange that sent a head, with the key of a variable covered in it."""
    start = b"POST /v1/x HTTP/1.1\r\nhost: x\r\n" + head
    marks = (Mark(key, "sent", start.find(b"*"), start.count(b"*"), "plain"),) if key else ()
    sent = (Read(2 * MS, start + b"\r\n" + ask.body),) if head else ()
    made = {"ask": ask, "url": "http://127.0.0.1:1/v1/x", "started_ns": MS, "connected_ns": MS,
            "ended_ns": 99 * MS, "ended": "closed", "sent": sent, "marks": marks}  # fmt: skip
    return Exchange(**{**made, **more})


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"plain <b>", "plain &lt;b&gt;"),
        (b"a\r\n\r\nb", 'a<span class="esc">\\r\\n\\r\\n</span>\nb'),
        (b"\xff\x00", '<span class="esc">\\xff\\x00</span>'),
        ("\u202eabc".encode(), '<span class="esc">\\u{202e}</span>abc'),
        ("caf\u00e9 \u4f60 \U0001f642".encode(), "caf\u00e9 \u4f60 \U0001f642"),
        ("a" + "\u0301" * 3, None),
    ],
    ids=["html", "line-ends", "not-utf8", "bidi", "languages", "pile"],
)
def test_show_bytes(data: bytes | str, wanted: str | None) -> None:
    """Bytes are shown with everything invisible laid open, and line ends still break the line."""
    if wanted is None:
        assert show(data) == Markup('a\u0301\u0301<span class="esc">\\u{301}</span>')
    else:
        assert isinstance(data, bytes)
        assert show_bytes(data) == Markup(wanted)


def test_show_bytes_marks_the_place() -> None:
    """The bytes in question are marked, also in the middle of a character."""
    assert show_bytes(b"ab<c", (2, 3)) == Markup("ab<mark>&lt;</mark>c")
    assert "<mark>" in show_bytes("\u00e9".encode(), (1, 2))


@given(st.text(st.characters()))
def test_shown_text_hides_nothing(text: str) -> None:
    """Shown text holds only printable characters and line breaks, and no tag but our own."""
    shown = show(text, 10_000)

    assert all(c.isprintable() or c == "\n" for c in shown)
    bare = shown.replace('<span class="esc">', "").replace("</span>", "")
    assert "<" not in bare
    assert lay_open(text).isprintable()


@given(st.text(st.characters()))
def test_plain_text_is_xml(text: str) -> None:
    """Text without forbidden characters parses as XML."""
    ET.fromstring(f"<a>{escape(plain(text))}</a>")


@pytest.fixture(scope="module")
def fake_curl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Put a curl first on the path that notes its arguments and its input, and sends nothing."""
    folder = tmp_path_factory.mktemp("bin")
    script = folder / "curl"
    script.write_text(
        '#!/bin/sh\nfor a in "$@"; do printf \'%s\\0\' "$a"; done > "$NOTED/args"\n'
        'case " $* " in *" @- "*) cat > "$NOTED/stdin";; esac\n'
    )
    script.chmod(0o755)
    return folder


def run_command(command: str, fake: Path, folder: Path) -> tuple[list[str], bytes | None]:
    """Run a command in a shell; return curl's arguments, and its body as it would send it."""
    env = {"PATH": f"{fake}:{os.environ['PATH']}", "NOTED": str(folder), "MY_KEY": "the key"}
    done = subprocess.run(
        ["sh", "-c", command], env=env, cwd=folder, capture_output=True, timeout=10, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    raw = (folder / "args").read_bytes()
    args = [arg.decode("utf-8", "surrogateescape") for arg in raw.split(b"\0")[:-1]]
    body: bytes | None = None
    if "--data-raw" in args:
        body = args[args.index("--data-raw") + 1].encode("utf-8", "surrogateescape")
    elif "@-" in args:
        body = (folder / "stdin").read_bytes()
    return args, body


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": "it\'s $HOME `id` \\"x\\" !"}',
        b"-n",
        b"@/etc/passwd",
        b"100% \\n \\033",
        "caf\u00e9 \U0001f642\nline".encode(),
        b"\x00\xff\x1b[31m",
        "\u202ex".encode(),
        "\U0001f469\u200d\U0001f680".encode(),
    ],
    ids=["quotes", "option", "file", "printf", "languages", "binary", "bidi", "joined"],
)
def test_curl_sends_the_same_body(body: bytes, fake_curl: Path, tmp_path: Path) -> None:
    """The command sends the recorded body byte by byte, through any shell."""
    ask = Ask(path="/x", body=body)
    command = curl_command(exchange(ask, head=b"content-type: application/json\r\n"))

    assert run_command(command, fake_curl, tmp_path)[1] == body


@pytest.mark.parametrize(
    ("text", "plain_"),
    [
        ("caf\u00e9 \U0001f469\u200d\U0001f680 it's", True),
        ("two\nlines\u00a0here", True),
        ("a\u202eb", False),
        ("a\u200bb", False),
        ("a\x1bb", False),
        ("a\u2028b", False),
    ],
    ids=["languages", "lines", "bidi", "zero width", "control", "line separator"],
)
def test_curl_is_readable_where_it_can_be(text: str, plain_: bool) -> None:  # noqa: FBT001  # a column of the table
    """A body stands in the command as it is, unless something in it cannot be seen or copied."""
    command = curl_command(exchange(Ask(path="/x", body=text.encode())))

    assert ("--data-raw '" in command) == plain_
    assert command.startswith("printf '") != plain_
    assert (show_command(command) == escape(command)) == can_be_copied(command)
    assert can_be_copied(command)


def test_curl_names_the_variable_of_the_key(fake_curl: Path, tmp_path: Path) -> None:
    """A covered key becomes its variable, and other headers are never expanded."""
    head = b'authorization: Bearer *******\r\nx-odd: $HOME `id` "q" it\'s\r\nuser-agent: us\r\n'
    command = curl_command(exchange(Ask(path="/x", body=b"{}"), head=head, key="MY_KEY"))
    args, _ = run_command(command, fake_curl, tmp_path)
    headers = [args[at + 1] for at, arg in enumerate(args) if arg == "-H"]

    assert '-H "Authorization: Bearer $MY_KEY"' in command
    assert headers == [
        "Authorization: Bearer the key", "X-Odd: $HOME `id` \"q\" it's", "Content-Type:"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("auth", "wanted"),
    [
        ("key", '"Authorization: Bearer $MY_KEY"'),
        ("none", None),
        ("wrong", "'Authorization: Bearer not-a-key'"),
        ("Basic x", "'Authorization: Basic x'"),
    ],
)
def test_curl_of_a_refused_connection(auth: str, wanted: str | None) -> None:
    """Where nothing was sent, the ask tells how the request would have been authorised."""
    command = curl_command(exchange(Ask(path="/x", method="GET", auth=auth)), "MY_KEY")

    assert ("Authorization" in command) == (wanted is not None)
    assert wanted is None or wanted in command


def test_curl_streams_and_reads_long_bodies_from_the_transcript() -> None:
    """A stream is not buffered, and a body too long to show is read from the transcript."""
    ask = Ask.json("/x", {"stream": True, "text": "x" * 9000})
    command = curl_command(exchange(ask), None, "transcripts/s.json", 2)

    assert " -N" in command
    assert command.startswith("jq -j '.exchanges[2].body' 'transcripts/s.json' |")
    assert "--data-binary @-" in command


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("MY_KEY", "$MY_KEY"), ("my-key; id", "$(printenv 'my-key; id')")],
    ids=["ordinary", "odd"],
)
def test_curl_never_runs_a_variable_name(name: str, wanted: str) -> None:
    """A name that no shell takes is asked of the environment, quoted."""
    head = b"authorization: Bearer *****\r\n"
    command = curl_command(exchange(Ask(path="/x"), head=head, key=name))

    assert f'"Authorization: Bearer {wanted}"' in command


def streamed(frames: int) -> Transcript:
    """Make a transcript of one chunked event stream, one frame a read."""
    reads = [
        Read(
            10 * MS,
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n",
        )
    ]
    for number in range(frames):
        frame = b"data: frame-%d\n\n" % number
        reads.append(Read((11 + number) * MS, b"%x\r\n%s\r\n" % (len(frame), frame)))
    made = exchange(Ask(path="/x", body=b"{}"), received=(*reads, Read(500 * MS, b"0\r\n\r\n")))
    return Transcript(scenario="s", exchanges=(made,))


def test_evidence_shows_the_place_and_says_what_it_cuts() -> None:
    """Of a long stream the edges and the surroundings of the frame are shown, with their times."""
    found = evidence_of(streamed(100), {"exchange": 0, "frame": 50}, None)

    assert found is not None
    frames = [row for row in found.rows if row.kind == "frame"]
    assert [row.label.split()[1] for row in frames] == [
        str(number) for number in (0, 1, *range(47, 54), 98, 99)
    ]
    assert [row.at_ms for row in frames if row.here] == ["60.0"]
    assert [str(row.text) for row in found.rows if row.kind == "cut"] == [
        "45 frames, 712 bytes, left out here",
        "44 frames, 704 bytes, left out here",
    ]
    assert [row.label.split(",")[0] for row in found.reads if row.here] == ["read 51"]


def test_evidence_marks_the_byte_of_an_offset() -> None:
    """An offset in the body is marked in its frame and in the raw read that brought it."""
    found = evidence_of(streamed(3), {"exchange": 0, "offset": 15 + 6}, None)

    assert found is not None
    marked = "data: <mark>f</mark>rame-1"
    assert [str(row.text) for row in (*found.rows, *found.reads) if row.here] == [
        marked + '<span class="esc">\\n\\n</span>\n',
        f'f<span class="esc">\\r\\n</span>\n{marked}<span class="esc">\\n\\n\\r\\n</span>\n',
    ]


@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(0, 200), st.integers(0, 9))
@example([b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", b"data: x\n\n"], 3, 0)
def test_evidence_of_any_bytes(reads: list[bytes], offset: int, frame: int) -> None:
    """Whatever came, it can be shown, and it is bounded."""
    received = tuple(Read(n * MS, data) for n, data in enumerate(reads))
    made = exchange(Ask(path="/x"), received=received)
    found = evidence_of(
        Transcript(scenario="s", exchanges=(made,)), {"offset": offset, "frame": frame}, None
    )

    assert found is not None
    assert len(found.rows) <= 20


def test_evidence_tells_what_the_upstream_saw() -> None:
    """The journal of a controlled upstream is told on the clock of the exchange."""
    entry = {"at_ns": 4 * MS, "method": "POST", "path": "/v1/x", "status": 200, "body": "{}",
             "outcome": "cancelled", "cancelled_at_ns": 9 * MS,
             "sends": [{"at_ns": 5 * MS}, {"at_ns": 7 * MS}]}  # fmt: skip
    made = exchange(Ask(path="/x"))
    found = evidence_of(Transcript(scenario="s", exchanges=(made,), upstream=(entry,)), None, None)

    assert found is not None
    told = "POST /v1/x → 200, cancelled; 2 writes from 4.0 to 6.0 ms; its client left at 8.0 ms"
    assert [(row.at_ms, str(row.text)) for row in found.upstream] == [("3.0", told + "\n{}")]


def load_summary() -> dict[str, Any]:
    """Make a load summary with every part that the reports read."""
    cdf = [[float(n), n / 20] for n in range(21)]
    spread = {"n": 500, "mean": 52.3, "p50": 50.0, "p90": 60.0, "p95": 65.5, "p99": None,
              "max": 90.0, "ci": {"p50": [49.1, 51.0], "p99": None}}  # fmt: skip
    return {
        "schema": "gateproof.load/1",
        "plan": {"arrivals": "poisson", "rate_per_s": 20.0, "model": "m", "seed": 1},
        "window": {"seconds": 8.0, "warm_up": "the first 2 s are left out"},
        "verdict": {
            "valid": False,
            "reasons": ["loop lag p99 is 9 ms"],
            "limits": [{"name": "loop lag p99", "unit": "ms", "limit": 2.0, "got": 9.0, "ok": False,
                        "why": "because"}],
        },
        "requests": {"due": 500, "answered": 490, "failed": 10},
        "errors": [{"kind": "cut", "says": "ended early", "count": 10, "statuses": {"200": 10}}],
        "rates": {"offered_per_s": 20.0, "answered_per_s": 19.1, "tokens_per_s": 990.2},
        "metrics": {"ttft_ms": spread, "itl_ms": spread},
        "metric_says": {"ttft_ms": "time to first token"},
        "goodput": {"slos": {"ttft_ms": 500.0}, "n": 500, "good": 450, "share": 0.9, "per_s": 18.0},
        "drift": {"says": "TTFT rises by 40.0% [35.0% – 45.0%]", "figures": {"ttft_ms": {
            "median": 50.0, "per_hour": 9000.0, "ci": [8000.0, 10000.0], "over_run": 20.0,
            "over_run_ci": [17.5, 22.5], "share": 0.4, "share_ci": [0.35, 0.45], "drifts": True,
            "line": [[2.0, 40.0], [10.0, 60.0]]}}},
        "generator": {"workers": 1, "lag_ms": {"n": 99, "p50": 0.1, "p99": None, "max": 9.0}},
        "series": {
            "bin_s": 1,
            "t_s": list(range(10)),
            "answered_per_s": [19.0] * 10,
            "due_per_s": [20.0] * 10,
            "failed_per_s": [1.0] * 10,
            "tokens_per_s": [990.0] * 10,
            "ttft_p50_ms": [50.0] * 9 + [None],
            "ttft_p95_ms": [None] * 10,
            "lag_max_ms": [9.0] * 10,
        },
        "distributions": {
            "ttft_ms": {"cdf": cdf},
            "itl_ms": {"histogram": {"edges_ms": [1.0, 1.1, 1.21], "counts": [3, 1]}},
        },
    }  # fmt: skip


def test_load_is_told_model_first() -> None:
    """A load run says its model and whether it is valid, and gives figures with n and unit."""
    view = load_view({"scenario": "chat", "folder": "load", "summary": load_summary()}, 0)

    assert view.model.startswith("Open model: random (Poisson) arrivals at 20.0 a second")
    assert (view.valid, view.reasons) == (False, ("loop lag p99 is 9 ms",))
    ttft = view.figures[0]
    assert (ttft.name, ttft.unit, ttft.n) == ("TTFT", "ms", 500)
    assert [value for value, _ in ttft.values] == [
        "52.3", "50.0", "60.0", "65.5", "-", "-", "90.0"
    ]  # fmt: skip
    assert ttft.values[1] == ("50.0", "[49.1 – 51]")
    assert view.drift == "TTFT rises by 40.0% [35.0% – 45.0%]."
    assert view.drift_rows == (
        ("TTFT", "ms", "50.0", "20.0 [17.5 – 22.5]", "+40.0% [35.0% – 45.0%]",
         "9,000 [8,000 – 10,000]", "yes"),
    )  # fmt: skip
    assert view.goodput.startswith("Goodput: 90.0% of 500 requests inside all limits (ttft ≤ 500")
    assert headline(load_summary()) == (
        "INVALID (loop lag p99 is 9 ms); poisson arrivals, 20/s; 490 of 500 requests answered; "
        "10 failed; TTFT p50 50.0 ms; 990 tokens/s"
    )


@pytest.mark.parametrize("summary", [{}, {"plan": 3, "series": [], "metrics": None}, None])
def test_load_without_parts_is_told_as_far_as_it_goes(summary: object) -> None:
    """What a summary lacks is left out, and nothing is made up."""
    view = load_view({"summary": summary}, 0)

    assert (view.valid, view.figures, view.rates, view.headline) == (None, (), (), "see the report")
    assert charts_of(view.summary) == ()


def test_charts_have_values_in_words_and_on_hover() -> None:
    """Each chart is an SVG of the page's own colours with titles to hover, beside a table."""
    charts = charts_of(load_summary())

    assert [chart.title for chart in charts] == [
        "TTFT, distribution",
        "TTFT over time",
        "Requests over time",
        "Output over time",
        "ITL, distribution",
        "Errors by kind",
        "The generator's own lag",
    ]
    for chart in charts:
        root = ET.fromstring(chart.svg)
        titles = [item.text for item in root.iter("{http://www.w3.org/2000/svg}title")]
        colours = {item.get(key) for item in root.iter() for key in ("fill", "stroke")}
        assert titles
        assert chart.rows
        assert not [c for c in colours if c and not c.startswith(("var(", "none", "transparent"))]
        assert "http" not in chart.svg.replace("http://www.w3.org/", "")
    assert "3 to 4 s: due 20, answered 19, failed 1 requests/s" in charts[2].svg
    assert ["stroke-dasharray" in chart.svg for chart in charts[:3]] == [False, True, False]
    assert charts[1].says.endswith("Dashed: its drift over the measured window.")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a|b", "a\\|b"),
        ("<b>", "&lt;b\\>"),
        ("@all", "&#64;all"),
        ("https://x", "https&#58;//x"),
        ("www.x.y", "www&#46;x.y"),
        ("a\nb\x00", "a\\\\nb\\\\x00"),
    ],
)
def test_markdown_is_escaped(text: str, wanted: str) -> None:
    """No text becomes a cell border, a tag, a mention or a link in Markdown."""
    assert _md(text) == wanted


def test_code_span_holds_its_text() -> None:
    """A code span has more back quotes around it than within."""
    assert _code("a`b``c") == "``` a`b``c ```"
    assert json.dumps(_code("x|y")) == '"`x\\\\|y`"'


def test_load_tells_what_failures_said(tmp_path: Path) -> None:
    """What failures said is shown by kind, a little of it, and only from inside the run folder."""
    place = tmp_path / "run" / "load" / "chat"
    place.mkdir(parents=True)
    rows = [{"kind": "cut", "says": f"ended at byte {number}"} for number in range(5)]
    text = "".join(json.dumps(row) + "\n" for row in rows) + "torn {"
    (place / "failures.1.jsonl").write_text(text)
    view = load_view({"folder": "load/chat", "summary": {}}, 0, tmp_path / "run")
    outside = load_view({"folder": "../run/load/chat", "summary": {}}, 0, tmp_path / "run" / "load")

    assert view.said["cut"] == ("ended at byte 0", "ended at byte 1")
    assert outside.said == {}


def test_load_tells_works_calibration_and_facts() -> None:
    """Kinds of work, the generator's calibration, tokens, stalls and cost stand in the load."""
    error = {"p50": 0.01, "p99": 0.05, "max": 1.5}
    summary = {
        **load_summary(),
        "works": [{"name": "tools", "requests": {"due": 9, "answered": 8, "failed": 1},
                   "goodput": {"share": 0.5, "slos": {"e2e_ms": 900.0}}, "cost": {"usd": "0.001"}}],
        "calibration": {"before": {"streams": 50, "stamp_error_ms": error}, "after": None},
        "tokens": {"prompt": 5, "completion": 70, "reasoning": 10, "deltas": 60, "differ": 1,
                   "compared": 8},
        "stalls": {"count": 2, "streams": 1, "of_streams": 8, "longest_ms": 3020.0},
        "cost": {"usd": "0.25", "says": "as the answers say"},
        "stimulus": {"due": 99, "planned": 100.0},
        "failed": {"share": 0.02, "ci": [0.01, 0.04]},
    }  # fmt: skip
    view = load_view({"scenario": "mixed", "summary": summary}, 0)
    facts = dict(view.facts)

    assert view.limits_by_work == "tools: e2e ≤ 900.0 ms"
    assert view.works == (
        ("tools", "9", "8", "1", "-", "-", "-", "-", "-", "-", "50.0%", "-", "0.001"),
    )
    assert [row[:6] for row in view.calibration] == [
        ("before the load", "50", "-", "0.010", "0.050", "1.50")
    ]
    assert facts["tokens by usage"].startswith("5 in, 70 out, of them 10 reasoning; 60 events")
    assert facts["stalls"].startswith("2 in 1 of 8 streams, the longest 3,020 ms")
    assert facts["cost"] == "0.25 USD in all, as the answers say"
    assert facts["load delivered"] == "99 arrivals of 100.0 planned"
    assert ("failed", "2.0%", "[1.0% – 4.0%]") in [
        (card.name, card.value, card.within) for card in view.cards
    ]
