"""The client under test, made as its users make it."""

from collections.abc import Iterator

import pytest
from anthropic import Anthropic

KEY = "sk-gateproof-demo"


@pytest.fixture(scope="session")
def client(url: str) -> Iterator[Anthropic]:
    """Return a client of the anthropic profile that does not retry."""
    with Anthropic(base_url=f"{url}/anthropic", api_key=KEY, max_retries=0, timeout=15) as made:
        yield made


@pytest.fixture
def retrying(url: str) -> Iterator[Anthropic]:
    """Return a client that retries as its users' do, by its defaults."""
    with Anthropic(base_url=f"{url}/anthropic", api_key=KEY, timeout=15) as made:
        yield made
