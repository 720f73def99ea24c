"""The conformance suite runs against the native transport, and against those that NNPM_TEST_TRANSPORTS names.

NNPM_TEST_TRANSPORTS=native,grpc runs it on both: what a client sees is the same.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.mesh import Mesh

RUNTIMES = Path(__file__).parent.parent / "support" / "runtimes"


@pytest.fixture(scope="session", params=os.environ.get("NNPM_TEST_TRANSPORTS", "native").split(","))
def transport(request: pytest.FixtureRequest) -> str:
    """What carries inference, as NNPM_TRANSPORT names it."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def mesh(transport: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """As everywhere, with one transport; its worker knows the test runtimes."""
    path = os.pathsep.join(filter(None, (str(RUNTIMES), os.environ.get("PYTHONPATH", ""))))
    environment = {"NNPM_TRANSPORT": transport, "PYTHONPATH": path}
    mesh = Mesh(tmp_path_factory.mktemp(f"mesh-{transport}"), environment=environment)
    try:
        yield mesh.up()
    finally:
        mesh.down()
