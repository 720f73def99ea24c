"""Joining is found right where it is right, and never where it is not."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from nnpm.errors import InvalidArgument
from nnpm_worker.onnx_runtime import OnnxRuntime
from nnpm_worker.probe import Verdict, probe
from nnpm_worker.runtime import Model, RuntimeOptions, Signature, Tensors, TensorSpec
from support import models

F, I64 = TensorProto.FLOAT, TensorProto.INT64
NAMES = {F: "FP32", I64: "INT64", TensorProto.INT32: "INT32", TensorProto.STRING: "BYTES", TensorProto.BOOL: "BOOL"}


def _spec(info: onnx.ValueInfoProto) -> TensorSpec:
    tensor = info.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim)
    return TensorSpec(info.name, NAMES[tensor.elem_type], shape if tensor.HasField("shape") else None)


def verdict_of(model: onnx.ModelProto, tmp_path: Path, rows: int = 64, samples: Sequence[Tensors] = ()) -> Verdict:
    path = models.save(model, tmp_path)
    signature = Signature(tuple(map(_spec, model.graph.input)), tuple(map(_spec, model.graph.output)))
    loaded = OnnxRuntime(RuntimeOptions(1, "cpu")).load(path, signature)
    return probe(loaded, signature, samples, rows, seconds=20)


def chain(*nodes: onnx.NodeProto, width: int | None = 4, **weights: Any) -> onnx.ModelProto:
    """A model from x to y, both [n, width] FP32."""
    arrays = {name: np.asarray(value) for name, value in weights.items()}
    return models.make_model(nodes, [("x", F, ["n", width])], [("y", F, ["n", None])], arrays)


def node(kind: str, inputs: Sequence[str], output: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs), [output], **attributes)


def _branches(condition: Sequence[onnx.NodeProto], **weights: Any) -> onnx.ModelProto:
    """Softmax over axis 0 when `condition` (makes `c`) holds, else x as it is."""

    def graph(name: str, step: onnx.NodeProto) -> onnx.GraphProto:
        return helper.make_graph([step], name, [], [helper.make_tensor_value_info(step.output[0], F, None)])

    choice = node(
        "If",
        ["c"],
        then_branch=graph("then", node("Softmax", ["x"], "t", axis=0)),
        else_branch=graph("else", node("Identity", ["x"], "e")),
    )
    return chain(*condition, choice, **weights)


RANDOM = np.random.default_rng(0)
SQUARE = RANDOM.standard_normal((4, 4)).astype(np.float32)

RIGHT = {
    "gemm": models.linear(),
    "identity": models.identity(),
    "row softmax": chain(node("Softmax", ["x"], axis=1)),
    "layer norm over features": chain(
        node("LayerNormalization", ["x", "scale"], axis=-1), scale=np.ones(4, np.float32)
    ),
    "mean over features": chain(node("ReduceMean", ["x"], axes=[1], keepdims=1)),
    "deep": chain(
        node("MatMul", ["x", "w"], "a"),
        node("Tanh", ["a"], "b"),
        node("MatMul", ["b", "w"], "c"),
        node("Softmax", ["c"], axis=-1),
        w=SQUARE,
    ),
    "top k of each row": models.make_model(
        [helper.make_node("TopK", ["x", "k"], ["y", "y_index"], axis=1)],
        [("x", F, ["n", 6])],
        [("y", F, ["n", 2]), ("y_index", I64, ["n", 2])],
        {"k": np.array([2])},
    ),
    "embedding": models.make_model(
        [node("Gather", ["table", "ids"], "y")],
        [("ids", I64, ["n", "sequence"])],
        [("y", F, ["n", "sequence", 3])],
        {"table": RANDOM.standard_normal((5, 3)).astype(np.float32)},
    ),
    "two inputs": models.make_model(
        [node("Add", ["x", "z"])], [("x", F, ["n", 4]), ("z", F, ["n", 4])], [("y", F, ["n", 4])]
    ),
    "convolution": models.make_model(
        [node("Conv", ["x", "w"], pads=[1, 1, 1, 1])],
        [("x", F, ["n", 3, "height", "width"])],
        [("y", F, ["n", 2, "height", "width"])],
        {"w": RANDOM.standard_normal((2, 3, 3, 3)).astype(np.float32)},
    ),
    "strings": models.identity(TensorProto.STRING, ("n", 2)),
    "booleans": models.identity(TensorProto.BOOL, ("n", 2)),
}

WRONG = {
    "softmax over axis 0": models.softmax_over_axis_0(),
    "running sum along a sequence": models.sequence_features(),
    "non-zero": models.nonzero(),
    "sum over axis 0": models.loses_batch_axis(),
    "mean over axis 0, kept": chain(node("ReduceMean", ["x"], "m", axes=[0], keepdims=1), node("Sub", ["x", "m"])),
    "a mean of tiny weight": chain(
        node("ReduceMean", ["x"], "m", axes=[0], keepdims=1),
        node("Mul", ["m", "tiny"], "s"),
        node("Add", ["x", "s"]),
        tiny=np.float32(1e-30),
    ),
    "a mean of a weight below rounding": chain(
        node("ReduceMean", ["x"], "m", axes=[0], keepdims=1),
        node("Mul", ["m", "tiny"], "s"),
        node("Add", ["x", "s"]),
        tiny=np.float32(1e-6),
    ),
    "scale over the whole tensor": chain(node("ReduceMax", ["x"], "m", keepdims=0), node("Div", ["x", "m"])),
    "dynamic quantisation": models.make_model(
        [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
            node("DequantizeLinear", ["q", "scale", "zero"]),
        ],
        [("x", F, ["n", 4])],
        [("y", F, ["n", 4])],
    ),
    "normalised over axis 0": chain(node("LpNormalization", ["x"], axis=0, p=2)),
    "layer norm over everything": chain(
        node("LayerNormalization", ["x", "scale"], axis=0), width=4, scale=np.ones(4, np.float32)
    ),
    "top k of axis 0": models.make_model(
        [helper.make_node("TopK", ["x", "k"], ["y", "y_index"], axis=0)],
        [("x", F, ["n", 4])],
        [("y", F, ["k", 4]), ("y_index", I64, ["k", 4])],
        {"k": np.array([1])},
    ),
    "sorted along axis 0": models.make_model(
        [
            node("Shape", ["x"], "s", start=0, end=1),
            helper.make_node("TopK", ["x", "s"], ["y", "i"], axis=0),
        ],
        [("x", F, ["n", 4])],
        [("y", F, ["n", 4])],
    ),
    "reversed along axis 0": chain(
        node("Slice", ["x", "from", "to", "axes", "steps"]),
        **{"from": np.array([-1]), "to": np.array([-(2**31)]), "axes": np.array([0]), "steps": np.array([-1])},
    ),
    "row numbers added": chain(
        node("Shape", ["x"], "s", start=0, end=1),
        node("Squeeze", ["s"], "rows"),
        node("Range", ["zero", "rows", "one"], "r"),
        node("Unsqueeze", ["r", "axis"], "column"),
        node("Cast", ["column"], "f", to=F),
        node("Add", ["x", "f"]),
        zero=np.array(0),
        one=np.array(1),
        axis=np.array([1]),
    ),
    "the number of rows added": chain(
        node("Shape", ["x"], "s", start=0, end=1), node("Cast", ["s"], "f", to=F), node("Add", ["x", "f"])
    ),
    "product with itself": chain(node("Transpose", ["x"], "t"), node("MatMul", ["x", "t"])),
    "random": chain(node("RandomNormalLike", ["x"], "r"), node("Add", ["x", "r"])),
    "random with a seed": chain(node("RandomUniformLike", ["x"], "r", seed=1.0), node("Add", ["x", "r"])),
    "flattened to one row": chain(node("Reshape", ["x", "shape"]), shape=np.array([1, -1])),
    "only some rows": chain(node("Relu", ["x"], "r"), node("Unique", ["r"], axis=0)),
    "rows that pass": models.make_model(
        [
            node("ReduceMax", ["x"], "m", axes=[1], keepdims=0),
            node("Greater", ["m", "zero"], "c"),
            node("Compress", ["x", "c"], axis=0),
        ],
        [("x", F, ["n", 4])],
        [("y", F, ["k", 4])],
        {"zero": np.float32(0)},
    ),
    "another model above eight rows": _branches(
        [node("Shape", ["x"], "s", start=0, end=1), node("Squeeze", ["s"], "n"), node("Greater", ["n", "eight"], "c")],
        eight=np.array(8),
    ),
    "another model where a value is large": _branches(
        [node("ReduceMax", ["x"], "m", keepdims=0), node("Greater", ["m", "hundred"], "c")], hundred=np.float32(100)
    ),
    "another model where all is negative": _branches(
        [node("ReduceMax", ["x"], "m", keepdims=0), node("Less", ["m", "zero"], "c")], zero=np.float32(0)
    ),
    "another model where all is zero": _branches(
        [
            node("Abs", ["x"], "a"),
            node("ReduceSum", ["a"], "m", keepdims=0),
            node("Equal", ["m", "zero"], "c"),
        ],
        zero=np.float32(0),
    ),
    "a fixed leading axis": models.identity(shape=(1, 4)),
    "a scalar": models.identity(shape=()),
    "no rank": models.identity(shape=None),
    "one input without a batch axis": models.make_model(
        [node("Add", ["x", "z"])], [("x", F, ["n", 4]), ("z", F, [4])], [("y", F, ["n", 4])]
    ),
    "an attention over rows": chain(
        node("Transpose", ["x"], "t"),
        node("MatMul", ["x", "t"], "a"),
        node("Softmax", ["a"], "p", axis=-1),
        node("MatMul", ["p", "x"]),
    ),
    "a recurrent net along a sequence": models.make_model(
        [
            node("Unsqueeze", ["x", "one"], "xs"),
            helper.make_node("RNN", ["xs", "w", "r"], ["ys"], hidden_size=4),
            node("Squeeze", ["ys", "both"]),
        ],
        [("x", F, ["sequence", 4])],
        [("y", F, ["sequence", 4])],
        {"w": SQUARE[None], "r": SQUARE[None], "one": np.array([1]), "both": np.array([1, 2])},
    ),
    "a convolution along a sequence": models.make_model(
        [
            node("Transpose", ["x"], "t"),
            node("Unsqueeze", ["t", "axis"], "b"),
            node("Conv", ["b", "w"], "c", pads=[1, 1]),
            node("Squeeze", ["c", "axis"], "s"),
            node("Transpose", ["s"]),
        ],
        [("x", F, ["sequence", 4])],
        [("y", F, ["sequence", 4])],
        {"axis": np.array([0]), "w": RANDOM.standard_normal((4, 4, 3)).astype(np.float32)},
    ),
}


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_a_model_whose_rows_are_independent_is_joined(name: str, tmp_path: Path) -> None:
    verdict = verdict_of(RIGHT[name], tmp_path)
    assert verdict.rows == 64, verdict.why


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_model_whose_rows_depend_on_each_other_is_never_joined(name: str, tmp_path: Path) -> None:
    verdict = verdict_of(WRONG[name], tmp_path)
    assert verdict.rows == 1, f"{name} was taken for batchable"
    assert verdict.why


@pytest.mark.parametrize("rows", [2, 7, 16, 100])
def test_no_more_rows_are_joined_than_asked_for(rows: int, tmp_path: Path) -> None:
    assert verdict_of(models.linear(), tmp_path, rows).rows == rows


def test_warm_up_samples_say_what_free_inner_axes_look_like(tmp_path: Path) -> None:
    model = models.make_model(
        [node("Reshape", ["x", "shape"], "r"), node("Flatten", ["r"])],
        [("x", F, ["n", "width"])],
        [("y", F, ["n", 15])],
        {"shape": np.array([0, 3, 5])},
    )
    assert verdict_of(model, tmp_path).rows == 1
    assert verdict_of(model, tmp_path, samples=[{"x": np.zeros((1, 15), np.float32)}]).rows == 64


class _Scripted:
    """A model that is a Python function."""

    providers = ("CPU",)

    def __init__(self, function: Any) -> None:
        self._function = function

    def run(self, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        return {"y": self._function(inputs["x"])}

    def close(self) -> None:
        """Nothing to close."""


def _scripted(function: Any, seconds: float = 20.0) -> Verdict:
    signature = Signature((TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1, 4)),))
    model: Model = _Scripted(function)
    return probe(model, signature, (), 64, seconds)


def test_a_model_that_refuses_more_than_some_rows_is_joined_up_to_none() -> None:
    def at_most_five(x: np.ndarray) -> np.ndarray:
        if len(x) > 5:
            raise InvalidArgument("RUNTIME_REFUSED", "too many rows")
        return x

    assert _scripted(at_most_five).rows == 1


def test_a_model_that_is_slow_is_proven_as_far_as_the_time_goes() -> None:
    def slow(x: np.ndarray) -> np.ndarray:
        time.sleep(0.0003 * len(x))
        return x

    assert _scripted(slow, 0.0).rows == 1
    assert _scripted(slow, 60.0).rows == 64
    assert 7 <= _scripted(slow, 0.7).rows < 64


def test_a_difference_beyond_rounding_is_a_difference() -> None:
    assert _scripted(lambda x: x * np.float32(1 + 1e-3 * (len(x) > 1))).rows == 1
    assert _scripted(lambda x: x * np.float32(1 + 1e-7 * (len(x) > 1))).rows == 64


def test_integers_are_compared_exactly() -> None:
    signature = Signature((TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "INT64", (-1, 4)),))
    off_by_one = _Scripted(lambda x: np.full(x.shape, 10**9 + (len(x) > 1)))
    assert probe(off_by_one, signature, (), 64, 20.0).rows == 1
