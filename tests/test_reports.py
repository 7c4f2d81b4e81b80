"""A run folder becomes a page, JUnit XML and summaries that agree, whatever a target sent.

Long, because each output of one run is held to all the others.
"""

import argparse
import json
import sys
import types
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import jsonschema
import pytest
from gateproof.reports import page as page_module
from gateproof.reports import write_report
from gateproof.reports.page import MAX_PAGE_BYTES
from hypothesis import given, settings
from hypothesis import strategies as st

from gateproof.check import Check, Place, Result, Verdict
from gateproof.commands import judge, report
from gateproof.errors import UsageError
from gateproof.profile import load_profile
from gateproof.requirement import load_requirements
from gateproof.run import RunWriter, read_run
from gateproof.scenario import Scenario
from gateproof.summary import print_summary
from gateproof.target import Target
from gateproof.transcript import Ask, Exchange, Mark, Transcript
from gateproof.wire import Read

HOSTILE = (
    "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`{{7*7}}"
    "\u202eevil\u2066 \x1b[31m\x00\x07 javascript:alert(3) https://evil.example/ @everyone "
    "[x](http://evil.example) ]]> a\u0301\u0301\u0301\u0301 \ud800 " + "W" * 400
)
PROFILE = load_profile("openai")
# Checks that are judged under their requirement's own id, for made-up results.
IDS = [
    item.id
    for item in load_requirements().values()
    if item.judged_by == (item.id,) and PROFILE.concerns(item) and item.capability in PROFILE.claims
]
MS = 1_000_000


def exchange(frames: int = 5, text: str = "word", **more: Any) -> Exchange:
    """Make a streamed answer as a client would have recorded it, with the key covered."""
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": text}]}
    ask = Ask(path="/chat/completions", body=json.dumps(body).encode())
    covered = b"*" * 17
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer "
    sent = head + covered + b"\r\ncontent-type: application/json\r\n\r\n" + ask.body
    reads = [Read(11 * MS, b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")]
    for number in range(frames):
        data = json.dumps({"n": number, "text": text}, ensure_ascii=False)
        frame = f"data: {data}\n\n".encode("utf-8", "surrogatepass")
        reads.append(Read((20 + number) * MS, frame))
    made = {
        "ask": ask,
        "url": "http://127.0.0.1:4000/v1/chat/completions",
        "started_ns": MS,
        "connected_ns": MS,
        "ended_ns": 900 * MS,
        "ended": "closed",
        "sent": (Read(2 * MS, sent),),
        "received": tuple(reads),
        "marks": (Mark("MY_KEY", "sent", len(head), len(covered), "plain"),),
    }
    return Exchange(**{**made, **more})


class Recorder:
    """Writes a run folder row by row."""

    def __init__(self, folder: Path, **target: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.writer = RunWriter(folder)
        given = {"name": "local", "url": "http://127.0.0.1:4000/v1", "profile": "openai",
                 "key_env": "MY_KEY", **target}  # fmt: skip
        self.writer.header("conform", "r1", Target(**given), PROFILE, 0, [])

    def judged(
        self,
        check: str,
        verdict: Verdict,
        *,
        cases: Sequence[str] = ("s",),
        made: Exchange | None = None,
        waiver: str = "",
        **more: Any,
    ) -> None:
        """Write a check, its transcripts and its results."""
        requirement = load_requirements()[check]
        on = tuple(Scenario(name, "", lambda _: iter(())) for name in cases)  # type: ignore[arg-type,return-value]  # never run
        self.writer.check(
            Check(check, check, "Says.", on, (), frozenset(), lambda *_: None),
            requirement,
            PROFILE.level_of(requirement),
        )
        for name in cases:
            if made is not None:
                self.writer.transcript(Transcript(scenario=name, exchanges=(made,)))
            row = Result(
                check=check, case=name, verdict=verdict, level="MUST", scenarios=(name,), **more
            )
            self.writer.result(row, waiver)

    def write(self, exit_status: int | None = 1) -> Path:
        """End the run, unless it is to be cut short, and write its report."""
        if exit_status is not None:
            self.writer.footer(exit_status)
        self.writer.close()
        return write_report(self.folder)


class Page(HTMLParser):
    """Reads a page: its text by section, its ids, links, and every tag that was opened."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text: dict[str, str] = {}
        self.headings: list[str] = []
        self._section = "top"
        self._tag = ""
        self.source = path.read_text("utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what was opened."""
        given = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.attributes += given.items()
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "section":
            self._section = given["id"]
        if "href" in given:
            self.links.append(given["href"])
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append(tag)
        self._tag = tag

    def handle_data(self, data: str) -> None:
        """Collect text by section."""
        if self._tag != "style":
            self.text[self._section] = self.text.get(self._section, "") + data


def schema(name: str) -> Any:
    """Return a validator of one of our schemas."""
    text = (files("gateproof.reports") / "schemas" / f"{name}.schema.json").read_text("utf-8")
    return jsonschema.Draft202012Validator(json.loads(text))


def assert_valid(folder: Path) -> None:
    """Hold a run folder's files to their schemas."""
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    schema("summary").validate(summary)
    rows = schema("run")
    for line in (folder / "run.jsonl").read_text("utf-8").splitlines():
        rows.validate(json.loads(line))
    assert_junit(folder / "junit.xml")


def assert_junit(path: Path) -> None:
    """Hold a file to the shape that CI servers read: elements, attributes, and their counts."""
    root = ET.parse(path).getroot()

    assert root.tag == "testsuites"
    for suite in root:
        assert suite.tag == "testsuite"
        assert {"name", "tests", "failures", "errors", "skipped", "time"} <= set(suite.attrib)
        assert next(child.tag for child in suite) == "properties"
        cases = suite.findall("testcase")
        counts = {
            "tests": len(cases),
            "failures": len(suite.findall("testcase/failure")),
            "errors": len(suite.findall("testcase/error")),
            "skipped": len(suite.findall("testcase/skipped")),
        }
        assert {name: int(suite.attrib[name]) for name in counts} == counts
        for case in cases:
            assert {"classname", "name", "time"} <= set(case.attrib)
            assert {child.tag for child in case} <= {"failure", "error", "skipped", "system-out"}


def test_page_says_verdict_first(tmp_path: Path) -> None:
    """The heading is the verdict; each part of the page stands where a reader expects it."""
    run = Recorder(tmp_path)
    run.judged(IDS[0], "fail", wanted="one [DONE]", got="two", made=exchange(), at=Place(frame=3))
    run.judged(IDS[1], "pass", seen="both forms")
    run.judged(IDS[2], "warn", wanted="a header", got="none")
    run.judged(IDS[3], "untestable", reason="the stream has no end")
    run.judged(IDS[4], "not-applicable", reason="no controlled upstream")
    run.judged(IDS[5], "inconclusive", reason="no tool was called")
    run.judged(IDS[6], "departs", wanted="an object", got="a text")
    page = Page(run.write())

    assert "1 of 4 tested promises is broken, and 1 could not be tested." in page.text["top"]
    sections = [name for name in page.ids if not name.startswith(tuple("fwudi")) or "." not in name]
    assert sections == [
        "broken", "warnings", "departs", "inconclusive", "untested", "kept", "made"
    ]  # fmt: skip
    for section, wanted in {
        "broken": [IDS[0], load_requirements()[IDS[0]].rule, "one [DONE]", "two", "frame 3", "here",
                   "$MY_KEY", "transcripts/s.json"],
        "untested": [IDS[3], "the stream has no end", "no controlled upstream", IDS[4]],
        "kept": [IDS[1], "both forms"],
        "made": ["gateproof judge", "MY_KEY"],
    }.items():  # fmt: skip
        for text in wanted:
            assert text in page.text[section]
    assert page.headings[0] == "h1"
    assert page.headings.count("h1") == 1


@pytest.mark.parametrize(
    ("verdicts", "sentence"),
    [
        (["pass"], "Keeps every promise that was tested."),
        (["pass", "warn"], "Keeps every promise that was tested, with 1 warning."),
        (["fail", "fail", "pass"], "2 of 3 tested promises are broken."),
        (["pass", "untestable"], "No tested promise is broken, but 1 could not be tested."),
        (["not-applicable"], "No promise came to a judgment."),
        (["pass", "error"], "Keeps every promise that was tested, but gateproof itself failed"),
        ([], "Nothing was judged."),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
def test_sentence(tmp_path: Path, verdicts: list[Verdict], sentence: str) -> None:
    """The first sentence tells what a stranger must know, and the summaries say the same."""
    run = Recorder(tmp_path)
    for check, verdict in zip(IDS, verdicts, strict=False):
        run.judged(check, verdict)
    page = Page(run.write())

    assert sentence in page.text["top"]
    assert sentence.rstrip(".") in (tmp_path / "summary.md").read_text("utf-8")
    assert_valid(tmp_path)


def test_promises_of_other_profiles_are_only_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What only others promise stands in no table and no bar, but in one sentence."""
    run = Recorder(tmp_path)
    run.judged(IDS[0], "pass")
    other = "profile openai does not claim messages"
    run.judged(IDS[0], "not-applicable", cases=["messages.stream"], reason=other)
    run.judged(IDS[1], "not-applicable", reason="a promise of losi alone")
    run.judged(IDS[2], "not-applicable", reason=other)
    run.judged(IDS[3], "not-applicable", reason="no controlled upstream")
    page = Page(run.write())
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    print_summary(read_run(tmp_path), None)

    untested = page.text["untested"]
    assert "2 more checks judge what only other profiles promise" in untested
    assert [name in untested for name in IDS[:4]] == [False, False, False, True]
    assert summary["checks"] == {"tested": 1, "pass": 1, "not-applicable": 1}
    assert summary["others_promises"] == 2
    assert "2 checks: 1 not-applicable, 1 pass. 2 more for what only" in capsys.readouterr().out
    assert_valid(tmp_path)


def test_what_only_load_shows_is_judged_by_a_load(tmp_path: Path) -> None:
    """A check that a load judged does not stand among those that do not apply; a lone case does."""
    run = Recorder(tmp_path)
    run.judged(IDS[0], "pass", cases=["load/chat"])
    run.judged(IDS[0], "not-applicable", cases=["load.answers"], reason="only under load")
    run.judged(IDS[1], "pass", cases=["one"])
    run.judged(IDS[1], "not-applicable", cases=["two"], reason="not asked for")
    run.judged(IDS[2], "not-applicable", reason="not asked for")
    run.write()
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))

    assert summary["not_applicable"] == [
        {"reason": "not asked for", "checks": sorted([f"{IDS[1]} [two]", IDS[2]])}
    ]
    assert_valid(tmp_path)


def test_a_finding_across_scenarios_shows_first_what_it_is_about(tmp_path: Path) -> None:
    """The transcript that a place names comes first, with the place in it; the others follow."""
    run = Recorder(tmp_path)
    check, level = IDS[0], "MUST"
    requirement = load_requirements()[check]
    on = tuple(Scenario(name, "", lambda _: iter(())) for name in ("one", "two"))  # type: ignore[arg-type,return-value]  # never run
    run.writer.check(
        Check(check, check, "Says.", (), on, frozenset(), lambda *_: None), requirement, level
    )
    for name in ("one", "two"):
        run.writer.transcript(Transcript(scenario=name, exchanges=(exchange(text=name),)))
    run.writer.result(
        Result(check=check, case="one+two", verdict="fail", level=level, scenarios=("one", "two"),
               wanted="a", got="b", at=Place(frame=3, scenario="two"))
    )  # fmt: skip
    page = Page(run.write())
    told = page.text["broken"]

    assert told.index("The wire: two: POST") < told.index("The wire: one: POST")
    here = page.source.index('class="row k-frame here"')
    assert (
        page.source.index("The wire: two: POST") < here < page.source.index("The wire: one: POST")
    )
    assert page.source.count('class="row k-frame here"') == 1
    assert_valid(tmp_path)
    case = json.loads((tmp_path / "summary.json").read_text("utf-8"))["findings"][0]["cases"][0]
    assert (case["scenario"], case["frame"]) == ("two", 3)


def test_waived_finding_is_neither_red_nor_hidden(tmp_path: Path) -> None:
    """A waived finding is told apart, with the operator's reason."""
    run = Recorder(tmp_path)
    run.judged(IDS[0], "fail", wanted="a", got="b", waiver="until spring")
    page = Page(run.write(0))
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))

    assert "not counting 1 waived" in page.text["top"]
    assert "until spring" in page.text["waived"]
    assert summary["checks"] == {"tested": 1, "waived": 1}


def test_run_cut_short_is_reported(tmp_path: Path) -> None:
    """A run without a footer, with a damaged line, is reported with what it has."""
    run = Recorder(tmp_path)
    run.judged(IDS[0], "pass")
    with (tmp_path / "run.jsonl").open("a") as file:
        file.write('{"kind": "resu')
    page = Page(run.write(None))
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))

    assert "cut short" in page.text["top"]
    assert "1 line of the run file is damaged" in page.text["top"]
    assert (summary["complete"], summary["exit"]) == (False, None)


def hostile_run(folder: Path) -> Path:
    """Write a run in which every text that a target can reach is hostile."""
    run = Recorder(folder, name=HOSTILE, models={"chat": HOSTILE}, disclaims={"chat.n": HOSTILE})
    verdicts: list[Verdict] = ["fail", "warn", "untestable", "inconclusive", "departs", "pass",
                               "error", "info"]  # fmt: skip
    bad = exchange(8, HOSTILE, error=HOSTILE.replace("\ud800", ""))
    for number, verdict in enumerate(verdicts):
        run.judged(
            IDS[number], verdict, made=bad, cases=(f"s{number}",), wanted=HOSTILE, got=HOSTILE,
            reason=HOSTILE, seen=HOSTILE, at=Place(frame=3, offset=150),
        )  # fmt: skip
    run.judged(IDS[9], "not-applicable", reason=HOSTILE)
    run.writer.note(HOSTILE)
    verdict = {"valid": False, "reasons": [HOSTILE]}
    load = {"notes": [HOSTILE], "errors": [{"kind": HOSTILE}], "verdict": verdict}
    run.writer.load(HOSTILE, HOSTILE, load)
    return run.write()


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    """No text of a target becomes a tag, a link, a script, or anything that hides or moves text."""
    page = Page(hostile_run(tmp_path))
    outside = {tag for tag in page.tags if tag not in ("svg", "path", "g", "text", "line", "title")}
    hidden = [c for c in page.source if not (c.isprintable() or c == "\n")]

    assert not outside & {"script", "img", "iframe", "object", "embed", "form", "base", "link"}
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "src"]
    assert all(link.startswith("#") for link in page.links)
    assert all(page.ids.count(name) == 1 for name in page.ids)
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert hidden == []
    assert "{{7*7}}" in page.source
    assert "\\u{202e}" in page.source
    assert_valid(tmp_path)
    markdown = (tmp_path / "summary.md").read_text("utf-8")
    assert not [c for c in markdown if not (c.isprintable() or c == "\n")]
    assert "<script" not in markdown
    assert "](http" not in markdown


def test_page_forbids_scripts_and_loads(tmp_path: Path) -> None:
    """The content security policy allows nothing but the page's own style."""
    page = Page(hostile_run(tmp_path))
    policy = next(value for name, value in page.attributes if value.startswith("default-src"))

    assert policy == (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    assert "url(" not in page.source
    assert "@import" not in page.source


def test_page_stays_under_its_size(tmp_path: Path) -> None:
    """Many findings over large answers give evidence less room, and lose no finding."""
    run = Recorder(tmp_path)
    large = exchange(300, "\x01a" * 2000)
    small = exchange(40, "\x01a" * 800)
    checks = IDS[:80]
    for number, check in enumerate(checks):
        run.judged(
            check,
            "fail",
            cases=(f"s{number}",),
            made=large if number < 12 else small,
            wanted="a",
            got="b" * 5000,
            at=Place(frame=30),
        )
    page = Page(run.write())

    assert len(page.source.encode()) <= MAX_PAGE_BYTES
    assert sum(name.startswith("fail-") for name in page.ids) == len(checks)
    assert "left out here" in page.source


def test_load_alone_has_a_page(tmp_path: Path) -> None:
    """A run with load only tells the load: validity before figures, charts as inline SVG."""
    run = Recorder(tmp_path)
    series = {"bin_s": 1, "t_s": [0, 1, 2], "tokens_per_s": [10.0, 12.0, 11.0]}
    plan = {"arrivals": "closed", "users": 2}
    load = {
        "plan": plan,
        "series": series,
        "verdict": {"valid": True},
        "requests": {"due": 1200, "answered": 1198},
        "metrics": {"ttft_ms": {"p50": 51.62, "p95": 70.0, "p99": None}},
        "rates": {"tokens_per_s": 990.2},
    }
    run.writer.load("chat-steady", "load/chat-steady", load)
    page = Page(run.write(0))

    said = "1,198 of 1,200 requests answered, TTFT p50 51.62 ms, p95 70 ms, 990.2 tokens/s"
    assert f"Valid load: {said}." in page.text["top"]
    assert "Closed model: 2 users" in page.text["load-0"]
    assert "Valid." in page.text["load-0"]
    assert "0 to 1 s: tokens/s 10 tokens/s" in page.text["load-0"]
    assert "svg" in page.tags
    assert "broken" not in page.ids
    assert_valid(tmp_path)


def test_invalid_load_is_said_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A load run that is not certified is the first thing that every output says."""
    run = Recorder(tmp_path)
    run.judged(IDS[0], "pass")
    verdict = {"valid": False, "reasons": ["loop lag p99 is 9 ms: use more workers"]}
    run.writer.load("chat-steady", "load/chat-steady", {"verdict": verdict})
    page = Page(run.write(1))
    said = "INVALID: the figures of load run chat-steady are not certified: loop lag p99 is 9 ms"
    print_summary(read_run(tmp_path), None)
    suite = next(iter(ET.parse(tmp_path / "junit.xml").getroot()))

    top = page.text["top"].partition("local")[2].strip()  # behind the title
    assert top.startswith(said)
    assert (tmp_path / "summary.md").read_text("utf-8").startswith("## INVALID")
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert list(summary)[:2] == ["schema", "invalid"]
    assert summary["invalid"].startswith(said)
    assert capsys.readouterr().out.startswith(said)
    assert (suite.get("name"), suite.get("failures")) == ("load", "1")
    assert_valid(tmp_path)


def test_labs_are_told_and_included(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search row is told in one line at the top, and its own module and template show it."""
    made = types.ModuleType("gateproof.reports.capacity_view")
    made.view = lambda row, serial: f"{row['scenario']} {serial}"  # type: ignore[attr-defined]  # a module made here
    monkeypatch.setitem(sys.modules, made.__name__, made)
    shown = jinja2.DictLoader(
        {"_capacity.html.j2": "<section id='capacity-{{ serial }}'>{{ view }}</section>"}
    )
    ours = page_module._templates()
    monkeypatch.setattr(ours, "loader", jinja2.ChoiceLoader([shown, ours.loader]))
    run = Recorder(tmp_path)
    run.writer.search("<knee>", "load/knee", {"headline": "40 <b> a second"})
    page = Page(run.write(0))

    assert page.text["top"].count("40 <b> a second.") >= 1
    assert "Capacity: 40 <b> a second" in page.text["top"]
    assert page.text["capacity-0"].strip() == "<knee> 0"
    assert "## 40 <b> a second." in (tmp_path / "summary.md").read_text("utf-8")
    assert_valid(tmp_path)


TEXTS = st.text(st.characters(), max_size=30)
NUMBERS = st.none() | st.integers(-5, 10**12) | st.floats()
VALUES = st.recursive(
    NUMBERS | TEXTS | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
PLACES = st.none() | st.integers(0, 300)
PARTS = st.sampled_from(
    ["plan", "window", "verdict", "notes", "requests", "errors", "findings", "rates", "metrics",
     "goodput", "generator", "series", "distributions", "metric_says", "ttft_ms", "n", "share",
     "works", "calibration", "before", "stalls", "cost", "stimulus", "tokens", "failed", "ci",
     "from_s", "to_s", "count", "planned", "usd", "says", "completion", "limits", "valid",
     "reasons"]
)  # fmt: skip
SUMMARIES = st.dictionaries(PARTS, VALUES | st.dictionaries(PARTS, VALUES, max_size=3), max_size=8)
RESULTS = st.lists(
    st.tuples(
        st.sampled_from(IDS[:6]),
        st.sampled_from(list(Verdict.__args__)),
        TEXTS,
        st.builds(Place, st.integers(0, 4), PLACES, PLACES) | st.none(),
        TEXTS,
    ),
    max_size=6,
)


@settings(max_examples=25)
@given(results=RESULTS, summary=SUMMARIES, end=st.booleans(), reads=st.lists(st.binary()))
def test_any_run_renders(
    tmp_path_factory: pytest.TempPathFactory,
    results: list[tuple[str, Verdict, str, Place | None, str]],
    summary: dict[str, Any],
    reads: list[bytes],
    *,
    end: bool,
) -> None:
    """Whatever rows and bytes a run holds, it has a report."""
    run = Recorder(tmp_path_factory.mktemp("run"))
    bare = exchange(received=tuple(Read(n * MS, data) for n, data in enumerate(reads)))
    for number, (check, verdict, text, at, waiver) in enumerate(results):
        run.judged(check, verdict, made=bare, cases=(f"s{number}",), wanted=text, got=text,
                   reason=text, at=at, waiver=waiver)  # fmt: skip
    run.writer.load("chat", "load/chat", summary)
    page = Page(run.write(0 if end else None))

    assert page.headings[0] == "h1"
    assert_junit(run.folder / "junit.xml")
    schema("summary").validate(json.loads((run.folder / "summary.json").read_text("utf-8")))


def test_report_command_prints_where_the_page_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report is written anew from the run file, and its path is printed."""
    run = Recorder(tmp_path)
    run.judged(IDS[0], "pass")
    run.write(0).unlink()
    status = report.run(argparse.Namespace(run=tmp_path, csv=False))

    assert (status, capsys.readouterr().out) == (0, f"{tmp_path / 'report.html'}\n")
    assert (tmp_path / "report.html").exists()


@pytest.fixture
def two_checks(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace the checks of the suites by two; ``strict`` makes the second one break."""
    scenario = Scenario("s", "", lambda _: iter(()))  # type: ignore[arg-type,return-value]  # never run

    def install(*, strict: bool) -> None:
        def lenient_check(seen: Transcript) -> str:
            return f"{len(seen[0].frames)} frames"

        def strict_check(seen: Transcript) -> None:
            assert not strict or len(seen[0].frames) == 0, "frames"

        made = {
            name: Check(name, name, "Says.", (scenario,), (), frozenset(), function)
            for name, function in ((IDS[0], lenient_check), (IDS[1], strict_check))
        }
        monkeypatch.setattr(judge, "load_checks", lambda: made)

    return install


def test_judged_again_gives_the_same(tmp_path: Path, two_checks: Callable[..., None]) -> None:
    """A recorded run that is judged again has the same results, and keeps its bytes."""
    run = Recorder(tmp_path / "old")
    run.judged(IDS[0], "pass", made=exchange(), seen="5 frames")
    run.judged(IDS[1], "pass", made=exchange())
    run.writer.load("chat-steady", "load/chat-steady", {"plan": {}})
    run.write(0)
    two_checks(strict=False)
    folder, status = judge.judge_again(tmp_path / "old")
    old, new = read_run(tmp_path / "old"), read_run(folder)
    [load] = new.loads

    assert folder == tmp_path / "old-judged"
    assert (load["scenario"], load["summary"]) == ("chat-steady", {"plan": {}})
    assert (folder / load["folder"]).resolve() == tmp_path / "old" / "load" / "chat-steady"
    assert status == 0
    assert new.results == old.results
    assert new.header["verb"] == "judge"
    name = "transcripts/s.json"
    assert (folder / name).read_bytes() == (tmp_path / "old" / name).read_bytes()
    two_checks(strict=True)
    again, status = judge.judge_again(tmp_path / "old", wanted=[IDS[1]])
    assert [row["verdict"] for row in read_run(again).results] == ["error"]
    assert status == 4


def test_judge_refuses_what_holds_nothing(tmp_path: Path, two_checks: Callable[..., None]) -> None:
    """A folder with none of the scenarios, or with a run in the way, is the caller's error."""
    run = Recorder(tmp_path / "old")
    run.judged(IDS[2], "pass")
    run.write(0)
    two_checks(strict=False)
    with pytest.raises(UsageError, match="nothing to judge"):
        judge.judge_again(tmp_path / "old")
    run = Recorder(tmp_path / "full")
    run.judged(IDS[0], "pass", made=exchange())
    run.write(0)
    with pytest.raises(UsageError, match="already holds a run"):
        judge.judge_again(tmp_path / "full", tmp_path / "full")
