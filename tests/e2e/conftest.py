"""Meshes that a test may break."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.mesh import Mesh


@pytest.fixture
def own_mesh(tmp_path: Path) -> Iterator[Mesh]:
    """A mesh for this test alone, with one worker."""
    mesh = Mesh(tmp_path / "mesh")
    try:
        yield mesh.up()
    finally:
        mesh.down()
