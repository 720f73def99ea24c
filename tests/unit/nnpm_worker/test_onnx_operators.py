"""Whether shapes alone say how long a run takes."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from nnpm_worker.onnx_operators import cost_is_by_shape
from support import models


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    return models.save(model, folder)


@pytest.mark.parametrize(
    "model", [models.linear(), models.identity(), models.nonzero()], ids=["linear", "identity", "nonzero"]
)
def test_plain_operators_take_what_their_shapes_say(model: onnx.ModelProto, tmp_path: Path) -> None:
    assert cost_is_by_shape(saved(model, tmp_path))


def test_a_loop_takes_what_its_input_says(tmp_path: Path) -> None:
    assert not cost_is_by_shape(saved(models.loop(), tmp_path))


@pytest.mark.parametrize("operator", ["Expand", "Tile", "Range", "ConstantOfShape", "Resize"])
def test_an_operator_whose_output_is_sized_by_a_value_does_too(operator: str, tmp_path: Path) -> None:
    assert not cost_is_by_shape(saved(_with(helper.make_node(operator, ["x"], ["z"])), tmp_path))


def test_operators_of_other_domains_are_not_judged(tmp_path: Path) -> None:
    assert not cost_is_by_shape(saved(_with(helper.make_node("Relu", ["x"], ["z"], domain="com.example")), tmp_path))


def test_functions_of_the_model_are_not_judged(tmp_path: Path) -> None:
    model = models.linear()
    relu = helper.make_node("Relu", ["a"], ["b"])
    opset = [helper.make_opsetid("", 20)]
    model.functions.append(helper.make_function("com.example", "mine", ["a"], ["b"], [relu], opset))
    assert not cost_is_by_shape(saved(model, tmp_path))


def test_a_large_file_is_not_looked_through(tmp_path: Path) -> None:
    model = models.linear(2048, 2048)
    assert not cost_is_by_shape(saved(model, tmp_path))


@pytest.mark.parametrize("content", [b"\xff" * 40, b"\x0a\x7fshort", b"\x3a\x05\x0a\x7f", b"\x0b\x0c"])
def test_what_is_no_model_is_not_judged(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert not cost_is_by_shape(path)


def _with(node: onnx.NodeProto) -> onnx.ModelProto:
    """A model that is read and not run."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])]
    outputs = [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)]
    return helper.make_model(helper.make_graph([node], "g", inputs, outputs))
