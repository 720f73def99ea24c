"""The conformance suite runs against both transports: what a client sees is the same."""

from collections.abc import Iterator

import pytest

from support.mesh import Mesh


@pytest.fixture(scope="session", params=["native", "grpc"])
def transport(request: pytest.FixtureRequest) -> str:
    """What carries inference, as NNPM_TRANSPORT names it."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def mesh(transport: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """As everywhere, with one transport."""
    mesh = Mesh(tmp_path_factory.mktemp(f"mesh-{transport}"), environment={"NNPM_TRANSPORT": transport})
    try:
        yield mesh.up()
    finally:
        mesh.down()
