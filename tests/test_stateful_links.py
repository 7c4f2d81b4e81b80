"""The links of the OpenAPI documents are followed by stateful Schemathesis: create, use, delete.

It walks the document by itself, against the reference server with state, and only along the links
that stand there: with links of its own guessing it would delete keys that it did not make. What it
met is collected by the machine, so that a test sees which links were followed.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from gateproof.reference_server.server import Options, serve_in_thread
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case, openapi
from schemathesis.checks import load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.core.transport import Response
from schemathesis.specs.openapi import checks

from gateproof.openapi import load_document
from gateproof.profile import load_profile

KEY = "sk-gateproof-demo"
KEYS = "/api-keys"
# name: (the operations to walk, the links that must have been followed)
WALKS: dict[str, tuple[list[str], set[str]]] = {
    "losi": (
        ["createApiKey", "listApiKeys", "deleteApiKey", "listModels", "retrieveModel"],
        {"useKey", "findKey", "deleteKey", "listAfterwards", "retrieveFirst"},
    ),
    "openai": (["listModels", "retrieveModel"], {"retrieveFirst"}),
}
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.use_after_free,
    checks.ensure_resource_availability,
]
CALM = settings(
    max_examples=40,
    stateful_step_count=10,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@dataclass
class Walk:
    """What a walk met: the links followed, and the keys made, used and deleted."""

    links: set[str] = field(default_factory=set)
    made: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    statuses: set[tuple[str, int]] = field(default_factory=set)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Run one server for all walks."""
    with serve_in_thread(Options()) as url:
        yield url


def walk(url: str, name: str) -> Walk:
    """Follow a document's links; a broken promise raises ``FailureGroup``."""
    load_all_checks()
    profile = load_profile(name)
    config = SchemathesisConfig.from_dict(
        {"phases": {"stateful": {"inference": {"algorithms": []}}}, "seed": 1}
    )
    document = load_document(profile)
    document.pop("security", None)  # the key is ours to send, not to be made up
    schema = openapi.from_dict(document, config=config).include(operation_id=WALKS[name][0])
    seen = Walk()
    secrets: list[str] = []

    class Machine(schema.as_state_machine()):  # type: ignore[misc]  # it is made at run time
        """Walks, and notes what it meets."""

        def step(self, input: Any) -> Any:  # noqa: A002  # Schemathesis' word
            """Note the link, and let a new key be used by the link that is for it."""
            self.bearer = KEY
            if input.transition is not None:
                link = next(known for known in WALKS[name][1] if known in input.transition.id)
                seen.links.add(link)
                if link == "useKey" and secrets:
                    self.bearer = secrets[-1]
            return super().step(input)

        def call(self, case: Case, **_: Any) -> Response:
            """Send a request, with the key that is meant."""
            headers = {"Authorization": f"Bearer {self.bearer}"}
            return case.call(base_url=f"{url}/{name}{profile.base_path}", headers=headers)

        def validate_response(self, response: Response, case: Case, **_: Any) -> None:
            """Note what the answer says, then hold it to the document and to the walk so far."""
            seen.statuses.add((f"{case.method} {case.path}", response.status_code))
            if case.path == KEYS and case.method == "POST" and response.status_code in (200, 201):
                made = json.loads(response.content)
                seen.made.append(made["id"])
                secrets.append(made["key"])
            if case.path == KEYS and case.method == "DELETE" and response.status_code < 300:
                seen.deleted.append(str(case.query["id"]))
                secrets.clear()
            if case.path == KEYS and case.method == "GET" and response.status_code == 200:
                listed = {item["id"] for item in json.loads(response.content)["data"]}
                assert listed & set(seen.made) == set(seen.made) - set(seen.deleted)
            if self.bearer != KEY:
                assert response.status_code != 401  # it is new, and may lack a permission only
            assert response.status_code < 500
            case.validate_response(response, checks=CHECKS, recorder=self.recorder)

    Machine.run(settings=CALM)
    return seen


@pytest.mark.parametrize("name", WALKS)
def test_links_can_be_followed(name: str, server: str) -> None:
    """Each link of a document leads where it says, and every answer on the way conforms."""
    seen = walk(server, name)

    assert seen.links >= WALKS[name][1]
    assert set(seen.deleted) <= set(seen.made)
    if name == "losi":
        assert seen.deleted
        assert ("GET /models", 200) in seen.statuses


@pytest.mark.parametrize("fault", ["keys-delete-ignored", "keys-list-stale", "keys-secret-dead"])
def test_a_walk_finds_what_is_broken(fault: str, server: str) -> None:
    """A server that breaks the life of a key is found out by following the links."""
    with pytest.raises((FailureGroup, AssertionError)):
        walk(f"{server}/with/{fault}", "losi")
