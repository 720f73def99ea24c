"""Small ONNX models, each made for one promise. All take seeds; the same arguments give the same bytes."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8

Dimension = int | str | None


def linear(inputs: int = 4, outputs: int = 3, *, seed: int = 0) -> onnx.ModelProto:
    """y = x W + b over a free batch axis: [batch, inputs] -> [batch, outputs], FP32. Batchable."""
    random = np.random.default_rng(seed)
    weights = random.standard_normal((inputs, outputs), dtype=np.float32)
    bias = random.standard_normal(outputs, dtype=np.float32)
    return make_model(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"])],
        [("x", TensorProto.FLOAT, ["batch", inputs])],
        [("y", TensorProto.FLOAT, ["batch", outputs])],
        {"w": weights, "b": bias},
    )


def identity(element_type: int = TensorProto.FLOAT, shape: Sequence[Dimension] = ("batch", 4)) -> onnx.ModelProto:
    """y = x for any datatype and shape."""
    return make_model(
        [helper.make_node("Identity", ["x"], ["y"])], [("x", element_type, shape)], [("y", element_type, shape)]
    )


def identities(element_type: int) -> onnx.ModelProto:
    """Three times y = x: a scalar, a vector and a matrix, of any size."""
    shapes: dict[str, list[Dimension]] = {"scalar": [], "vector": ["n"], "matrix": ["a", "b"]}
    return make_model(
        [helper.make_node("Identity", [name], [f"same_{name}"]) for name in shapes],
        [(name, element_type, shape) for name, shape in shapes.items()],
        [(f"same_{name}", element_type, shape) for name, shape in shapes.items()],
    )


def softmax_over_axis_0(width: int = 4) -> onnx.ModelProto:
    """Softmax down the leading axis: each row's answer depends on its neighbours. Never to be joined."""
    return make_model(
        [helper.make_node("Softmax", ["x"], ["y"], axis=0)],
        [("x", TensorProto.FLOAT, ["n", width])],
        [("y", TensorProto.FLOAT, ["n", width])],
    )


def sequence_features(width: int = 4) -> onnx.ModelProto:
    """[sequence, feature]: a running sum along the sequence. The leading axis is free, but no batch."""
    return make_model(
        [helper.make_node("CumSum", ["x", "axis"], ["y"])],
        [("x", TensorProto.FLOAT, ["sequence", width])],
        [("y", TensorProto.FLOAT, ["sequence", width])],
        {"axis": np.array(0, dtype=np.int64)},
    )


def nonzero(width: int = 4) -> onnx.ModelProto:
    """NonZero: as many columns as there are elements other than zero, row numbers among them. Never to be joined."""
    return make_model(
        [helper.make_node("NonZero", ["x"], ["y"])],
        [("x", TensorProto.FLOAT, ["n", width])],
        [("y", TensorProto.INT64, [2, "found"])],
    )


def loses_batch_axis(width: int = 4) -> onnx.ModelProto:
    """The output sums the leading axis away: [n, width] -> [width]. Never to be joined."""
    return make_model(
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)],
        [("x", TensorProto.FLOAT, ["n", width])],
        [("y", TensorProto.FLOAT, [width])],
        {"axes": np.array([0], dtype=np.int64)},
    )


def constant_version(number: float) -> onnx.ModelProto:
    """Answers its input plus `number`: tells which version answered."""
    return make_model(
        [helper.make_node("Add", ["x", "version"], ["y"])],
        [("x", TensorProto.FLOAT, ["batch", 1])],
        [("y", TensorProto.FLOAT, ["batch", 1])],
        {"version": np.array(number, dtype=np.float32)},
    )


def loop() -> onnx.ModelProto:
    """y = x, after as many turns of a loop as `turns` says: takes as long as the caller wants."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go_on"], ["goes_on"]), helper.make_node("Identity", ["before"], ["after"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, ["batch", 4]),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, ["batch", 4]),
        ],
    )
    return make_model(
        [helper.make_node("Loop", ["turns", "", "x"], ["y"], body=body)],
        [("turns", TensorProto.INT64, []), ("x", TensorProto.FLOAT, ["batch", 4])],
        [("y", TensorProto.FLOAT, ["batch", 4])],
    )


def make_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Iterable[tuple[str, int, Sequence[Dimension]]],
    outputs: Iterable[tuple[str, int, Sequence[Dimension]]],
    initializers: dict[str, np.ndarray] | None = None,
) -> onnx.ModelProto:
    """A model of the default domain from (name, element type, shape) of what goes in and comes out."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [numpy_helper.from_array(value, name) for name, value in (initializers or {}).items()],
    )
    return helper.make_model(
        graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="nnpm-tests"
    )


def save(model: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    """Write `model` into `folder` (made when missing); its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def external(folder: Path, layers: int, layer_bytes: int, *, width: int = 1024, seed: int = 0) -> Path:
    """`layers` weight matrices of about `layer_bytes` each, in one external file beside the model; the model's path.

    Layer i answers x W_i, W_i = [width, columns]; the output is the sum of all layers' row means: [batch, 1]. So every
    weight is used, and a run costs one pass over them. The weights are random bytes read as small FP32 numbers.
    """
    columns = max(1, layer_bytes // (4 * width))
    folder.mkdir(parents=True, exist_ok=True)
    nodes, initializers, means = [], [], []
    with (folder / "weights.bin").open("wb") as file:
        for layer in range(layers):
            write_layer(file, width * columns, seed=seed * 1_000_003 + layer)
            initializers.append(_external_tensor(f"w{layer}", (width, columns), layer * width * columns * 4))
            nodes.append(helper.make_node("MatMul", ["x", f"w{layer}"], [f"h{layer}"]))
            nodes.append(helper.make_node("ReduceMean", [f"h{layer}"], [f"m{layer}"], axes=[1], keepdims=1))
            means.append(f"m{layer}")
    nodes.append(helper.make_node("Sum", means, ["y"]))
    model = make_model(nodes, [("x", TensorProto.FLOAT, ["batch", width])], [("y", TensorProto.FLOAT, ["batch", 1])])
    model.graph.initializer.extend(initializers)
    return save(model, folder)


def write_layer(file: BinaryIO, count: int, *, seed: int) -> None:
    """`count` FP32 numbers in (-0.03, 0.03) at the file's position: random ones, rescaled for each 16 MiB.

    No two blocks are alike, and gigabytes take seconds.
    """
    random = np.random.default_rng(seed)
    block = (random.random(1 << 22, dtype=np.float32) - np.float32(0.5)) * np.float32(0.04)
    for start in range(0, count, block.size):
        scale = np.float32(1 + random.random() / 2)
        file.write((block[: count - start] * scale).data)


def _external_tensor(name: str, shape: tuple[int, ...], offset: int) -> onnx.TensorProto:
    tensor = onnx.TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
    tensor.data_location = TensorProto.EXTERNAL
    length = int(np.prod(shape)) * 4
    for key, value in (("location", "weights.bin"), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    return tensor
