"""A model with external data, and one to be bent."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper


@pytest.fixture
def external_model(tmp_path: Path) -> Path:
    """model.onnx whose two weights lie in weights.bin beside it."""
    weights = [
        numpy_helper.from_array(np.full((64, 64), value, np.float32), name) for name, value in (("w", 1), ("b", 2))
    ]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Add", ["h", "b"], ["y"])]
    tensors = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, 64]) for name in "xy"]
    model = helper.make_model(helper.make_graph(nodes, "g", tensors[:1], tensors[1:], weights))
    path = tmp_path / "package" / "model.onnx"
    path.parent.mkdir()
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


@pytest.fixture
def relocated(external_model: Path) -> Callable[[str], Path]:
    """The same model, its first weight said to lie elsewhere."""

    def relocate(location: str) -> Path:
        model = onnx.load(external_model, load_external_data=False)
        for entry in model.graph.initializer[0].external_data:
            if entry.key == "location":
                entry.value = location
        external_model.write_bytes(model.SerializeToString())
        return external_model

    return relocate
