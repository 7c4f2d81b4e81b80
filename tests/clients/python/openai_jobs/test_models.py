"""Models: the list, and each by its id."""

import openai
import pytest
from openai import OpenAI


def test_list_is_paged_through(client: OpenAI) -> None:
    """The list can be iterated as a page, and names each model once."""
    models = list(client.models.list())

    ids = [model.id for model in models]
    assert "gpt-4o-mini" in ids
    assert len(ids) == len(set(ids))
    assert {model.object for model in models} == {"model"}
    assert all(model.created > 0 and model.owned_by for model in models)


def test_each_is_retrieved(client: OpenAI) -> None:
    """Each model that is listed can be retrieved, those with a slash in their id too."""
    models = list(client.models.list())

    assert [client.models.retrieve(model.id) for model in models] == models
    assert any("/" in model.id for model in models)


def test_unknown_model_is_not_found(client: OpenAI) -> None:
    """A model that does not exist is told as such."""
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("no-such-model")

    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("form", ["data", "list"])
def test_lunos_older_lists_are_read(client: OpenAI, url: str, form: str) -> None:
    """The older forms of Lunos' list of models can be read by this client."""
    vendor = client.with_options(base_url=f"{url}/with/models-envelope:{form}/lunos/v1")

    assert "openai/gpt-4o-mini" in [model.id for model in vendor.models.list()]


def test_lunos_own_list_is_not_read(client: OpenAI, url: str) -> None:
    """Lunos documents a bare array, which no version of this client can read."""
    vendor = client.with_options(base_url=f"{url}/lunos/v1")
    with pytest.raises(AttributeError, match="'list' object"):
        vendor.models.list()
