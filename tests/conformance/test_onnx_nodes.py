"""ONNX's backend node tests through the mesh: the same outputs, dtypes and refusals as ONNX Runtime in this process.

Here 100 of them, drawn over all operators and datatypes; `scripts/node-tests` runs them all.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

import nnpm
from support.mesh import Mesh
from support.node_cases import CARRIED, NodeCase, draw
from support.node_mesh import check

CASES = draw(100, seed=20261125)


@pytest.fixture(scope="module")
def client(mesh: Mesh) -> Iterator[nnpm.Client]:
    with nnpm.Client(data=mesh.data) as client:
        yield client


def test_the_drawn_cases_cover_every_datatype() -> None:
    assert set().union(*(case.datatypes for case in CASES)) == set(CARRIED.values())
    assert len({case.operators for case in CASES}) > 80


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_node_answers_as_onnx_runtime_does(client: nnpm.Client, case: NodeCase, tmp_path: Path) -> None:
    assert not check(client, case, tmp_path)
