"""A load of all kinds of work against the reference server: every answer is whole and its own."""

from collections.abc import Iterator
from typing import Any

import pytest

from gateproof.bundled import DEMO_KEY_ENV, bundled_server
from gateproof.loadfile import plan_of, profile_settings, read_scenario
from gateproof.loadrun import LoadRun, run_load
from gateproof.measure import LoadSummary
from gateproof.profile import load_profile
from gateproof.work import KINDS

PROFILE = load_profile("lunos")  # the one that has all kinds of work
TURNS = 2
SCENARIO = "says = 'All kinds.'\nusers = 4\nduration_s = 1.5\nwarm_up_s = 0\n" + "".join(
    f"[[work]]\nkind = '{kind}'\nprompt = {{ kind = 'uniform', min = 250, max = 350 }}\n"
    + ("" if kind == "embeddings" else "output = 40\n")
    + (f"turns = {TURNS}\n" if about.turns else "")
    for kind, about in KINDS.items()
)


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadSummary]:
    """Make the run once."""
    with bundled_server() as server:
        plan = plan_of(
            read_scenario("all", SCENARIO, place="here"),
            target=f"{server.url}/lunos/v1",
            model=PROFILE.models["chat"],
            **profile_settings(PROFILE),
        )
        yield run_load(LoadRun(plan, tmp_path_factory.mktemp("mixed") / "load", DEMO_KEY_ENV))


def test_every_answer_is_whole(summary: LoadSummary) -> None:
    """Nothing fails and nothing is found: all kinds are asked and read as the server means them."""
    assert (summary.errors, summary.findings) == ((), ())
    assert summary.requests["clean"] == summary.requests["answered"] > 100


def test_answers_show_whose_they_are(summary: LoadSummary) -> None:
    """The model follows what prompts ask: but for embeddings, answers show their own reference."""
    texts = sum(work["requests"]["answered"] for work in summary.works) - _work(
        summary, "embeddings"
    ).get("requests", {}).get("answered", 0)

    assert summary.requests["shown"] == texts


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_are_those_that_were_asked_for(summary: LoadSummary, kind: str) -> None:
    """Prompts and answers of each kind have about the tokens that the scenario wanted."""
    work = _work(summary, kind)
    answered, tokens = work["requests"]["answered"], work["tokens"]
    prompt = tokens["prompt"] / answered
    about = KINDS[kind]

    assert answered > 5
    if not about.turns:  # a later turn holds those before it
        assert 250 < prompt < 350
    if kind.startswith("tools"):  # the arguments, and what is around them
        assert 30 < tokens["completion"] / answered < 80
    elif kind != "embeddings":
        assert tokens["completion"] == 40 * answered
    assert (work["metrics"]["ttft_ms"].n > 0) == about.streams
    assert work["metrics"]["e2e_ms"].n == answered


def _work(summary: LoadSummary, kind: str) -> Any:
    """Give the figures of one kind of work."""
    return next(work for work in summary.works if work["name"] == kind)
