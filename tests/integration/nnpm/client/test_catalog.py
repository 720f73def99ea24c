from collections.abc import AsyncIterator

import pytest

from nnpm.client import AsyncClient
from nnpm.errors import DataLoss
from support.known_registry import KnownRegistry


@pytest.fixture
async def registry() -> AsyncIterator[KnownRegistry]:
    async with KnownRegistry() as known:
        yield known


async def test_a_registry_that_answers_with_another_package_is_not_believed(registry: KnownRegistry) -> None:
    """The name becomes a folder of `nnpm install`: nnpm_models/../../somewhere."""
    registry.add("acme/tiny", "1.0.0")
    async with AsyncClient(registry=registry.address) as client:
        assert (await client.resolve("acme/tiny")).version.package == "acme/tiny"
        registry.versions["acme/tiny", "latest"].package = "../../../somewhere"
        with pytest.raises(DataLoss) as caught:
            await client.resolve("acme/tiny")
    assert caught.value.reason == "CONTENT_MISMATCH"
