"""The models that are measured, and what is asked of them."""

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Tensor = NDArray[Any]

IDENTITY_ELEMENTS = 1024 * 1024
"""Of FP32: 4 MiB."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model: how its ONNX file comes about, the name and shape of its only input (without the first axis)."""

    name: str
    what: str
    make: Callable[[], bytes]
    input: str
    output: str
    row: tuple[int, ...]
    datatype: str = "FP32"

    def rows(self, count: int, seed: int = 0) -> Tensor:
        """`count` rows of input, the same for the same seed."""
        source = np.random.default_rng(seed)
        if self.datatype == "INT32":
            return source.integers(0, 257, (count, *self.row), dtype=np.int32)
        return source.standard_normal((count, *self.row), dtype=np.float32)

    def file(self, folder: Path) -> Path:
        """The ONNX file in `folder`, made on the first call."""
        path = folder / f"{self.name}.onnx"
        if not path.exists():
            content = self.make()
            partial = path.with_suffix(".partial")
            partial.write_bytes(content)
            partial.replace(path)
        return path


def all_models() -> dict[str, Model]:
    """By name, in the order of the tables."""
    models = (
        Model("tiny", "MLP 16-64-4", lambda: _mlp("tiny", (16, 64, 4)), "x", "y", (16,)),
        Model(
            "mid",
            "MLP 1024-4096-4096-2048-1000",
            lambda: _mlp("mid", (1024, 4096, 4096, 2048, 1000)),
            "x",
            "y",
            (1024,),
        ),
        Model("magika", "Magika 3.3, file types", _magika, "bytes", "target_label", (2048,), "INT32"),
        Model("conv", "convolutions on 224x224, 600 KB bodies", _conv, "x", "y", (3, 224, 224)),
        Model("identity", "4 MB in, 4 MB out", _identity, "x", "y", (IDENTITY_ELEMENTS,)),
    )
    return {model.name: model for model in models}


def sources_digest() -> str:
    """Changes when the models would."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]


def _mlp(name: str, widths: Sequence[int]) -> bytes:
    source = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for layer, (wide, narrow) in enumerate(itertools.pairwise(widths)):
        matrix = source.standard_normal((wide, narrow), dtype=np.float32) / np.float32(wide**0.5)
        weights += [
            numpy_helper.from_array(matrix, f"w{layer}"),
            numpy_helper.from_array(np.zeros(narrow, np.float32), f"b{layer}"),
        ]
        final = layer == len(widths) - 2
        nodes.append(helper.make_node("Gemm", [last, f"w{layer}", f"b{layer}"], ["y" if final else f"h{layer}"]))
        if not final:
            last = f"r{layer}"
            nodes.append(helper.make_node("Relu", [f"h{layer}"], [last]))
    return _serialised(name, nodes, (widths[0],), (widths[-1],), weights)


def _conv() -> bytes:
    source = np.random.default_rng(1)
    channels = (3, 32, 64, 128, 256)
    nodes, weights, last = [], [], "x"
    for layer, (wide, narrow) in enumerate(itertools.pairwise(channels)):
        kernel = source.standard_normal((narrow, wide, 3, 3), dtype=np.float32) / np.float32((9 * wide) ** 0.5)
        weights.append(numpy_helper.from_array(kernel, f"k{layer}"))
        nodes += [
            helper.make_node("Conv", [last, f"k{layer}"], [f"c{layer}"], strides=[2, 2], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]),
        ]
        last = f"r{layer}"
    weights.append(numpy_helper.from_array(source.standard_normal((256, 1000), dtype=np.float32) / np.float32(16), "w"))
    nodes += [
        helper.make_node("GlobalAveragePool", [last], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    return _serialised("conv", nodes, (3, 224, 224), (1000,), weights)


def _identity() -> bytes:
    shape = (IDENTITY_ELEMENTS,)
    return _serialised("identity", [helper.make_node("Identity", ["x"], ["y"])], shape, shape, [])


def _magika() -> bytes:
    return (resources.files("magika") / "models" / "standard_v3_3" / "model.onnx").read_bytes()


def _serialised(
    name: str,
    nodes: Sequence[onnx.NodeProto],
    x: Sequence[int],
    y: Sequence[int],
    weights: Sequence[onnx.TensorProto],
) -> bytes:
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *x])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", *y])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content
