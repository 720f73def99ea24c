"""Little meshes, started as a test wishes and gone when it ends."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.little_mesh.running import LittleMesh


@pytest.fixture
def little_mesh(tmp_path: Path) -> Iterator[Callable[..., LittleMesh]]:
    """`little_mesh(*wishes, data=NAME)` starts one on a folder of that name in the test's own."""
    meshes: list[LittleMesh] = []

    def start(*wishes: str, data: str = "data", timeout: str = "20") -> LittleMesh:
        meshes.append(LittleMesh(tmp_path / data, tmp_path / f"output-{len(meshes)}", *wishes, timeout=timeout))
        return meshes[-1]

    yield start
    for mesh in meshes:
        if mesh.process.returncode is None:
            mesh.process.stop(30.0)
