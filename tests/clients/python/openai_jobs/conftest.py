"""The client under test, made as its users make it."""

from collections.abc import Callable, Iterator

import pytest
from openai import OpenAI

KEY = "sk-gateproof-demo"
Make = Callable[..., OpenAI]


@pytest.fixture(scope="session")
def client(url: str) -> Iterator[OpenAI]:
    """Return a client of the openai profile that does not retry."""
    with OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=15) as made:
        yield made


@pytest.fixture
def retrying(url: str) -> Iterator[OpenAI]:
    """Return a client that retries as its users' do, by its defaults."""
    with OpenAI(base_url=f"{url}/v1", api_key=KEY, timeout=15) as made:
        yield made
