"""ONNX models with weights in odd places, for tests of what may be published."""

import json
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from support.models import make_model

FLOATS = ("x", TensorProto.FLOAT, ["n", 4]), ("y", TensorProto.FLOAT, ["n", 4])


class Served:
    """The other end of a `PiecedFile`: serves a content; `asked` counts the bytes that were wanted."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._pending = b""
        self.asked = 0

    def write(self, line: bytes) -> int:
        offset, length = json.loads(line)["read"]
        self._pending = self._content[offset : offset + length]
        self.asked += length
        return len(line)

    def flush(self) -> None:
        pass

    def read(self, size: int) -> bytes:
        return self._pending[:size]


def external(
    name: str = "w", dims: Sequence[int] = (4, 4), element: int = TensorProto.FLOAT, **facts: str
) -> TensorProto:
    """A tensor whose elements lie in `weights.bin`; `facts` replace or add to what it states, None leaves out."""
    tensor = TensorProto(name=name, data_type=element, dims=dims)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": "weights.bin", "offset": "0", "length": "64"} | facts).items():
        if value is not None:
            tensor.external_data.add(key=key, value=value)
    return tensor


def with_initializer(tensor: TensorProto) -> onnx.ModelProto:
    """y = x w for an initialiser of [4, 4]."""
    model = make_model([helper.make_node("MatMul", ["x", tensor.name], ["y"])], [FLOATS[0]], [FLOATS[1]])
    model.graph.initializer.append(tensor)
    return model


def with_constant(tensor: TensorProto) -> onnx.ModelProto:
    """y = x w for a Constant node."""
    nodes = [helper.make_node("Constant", [], ["c"], value=tensor), helper.make_node("MatMul", ["x", "c"], ["y"])]
    return make_model(nodes, [FLOATS[0]], [FLOATS[1]])


def with_sparse_constant(tensor: TensorProto) -> onnx.ModelProto:
    """y = x w for a Constant node whose sparse values are `tensor`, three of them."""
    sparse = onnx.SparseTensorProto(dims=[4, 4])
    sparse.values.CopyFrom(tensor)
    sparse.indices.CopyFrom(onnx.numpy_helper.from_array(np.array([1, 2, 3], np.int64), "indices"))
    nodes = [
        helper.make_node("Constant", [], ["c"], sparse_value=sparse),
        helper.make_node("MatMul", ["x", "c"], ["y"]),
    ]
    return make_model(nodes, [FLOATS[0]], [FLOATS[1]])


def with_sparse_initializer(tensor: TensorProto) -> onnx.ModelProto:
    """y = x w for a sparse initialiser whose three values are `tensor`."""
    model = make_model([helper.make_node("MatMul", ["x", tensor.name], ["y"])], [FLOATS[0]], [FLOATS[1]])
    sparse = model.graph.sparse_initializer.add(dims=[4, 4])
    sparse.values.CopyFrom(tensor)
    sparse.indices.CopyFrom(onnx.numpy_helper.from_array(np.array([1, 2, 3], np.int64), "indices"))
    return model


def with_subgraph(tensor: TensorProto) -> onnx.ModelProto:
    """y = x w if true, w an initialiser of one branch and a Constant of the other."""
    product = helper.make_node("MatMul", ["x", tensor.name], ["z"])
    result = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 4])
    constant = helper.make_node("Constant", [], [tensor.name], value=tensor)
    then = helper.make_graph([product], "then", [], [result], [tensor])
    otherwise = helper.make_graph([constant, product], "else", [], [result])
    nodes = [
        helper.make_node("Constant", [], ["yes"], value=onnx.numpy_helper.from_array(np.array(True))),
        helper.make_node("If", ["yes"], ["y"], then_branch=then, else_branch=otherwise),
    ]
    return make_model(nodes, [FLOATS[0]], [FLOATS[1]])


def with_function(tensor: TensorProto) -> onnx.ModelProto:
    """y = x w inside a function of the model's own."""
    body = [
        helper.make_node("Constant", [], ["w"], value=tensor),
        helper.make_node("MatMul", ["a", "w"], ["b"]),
    ]
    model = make_model([helper.make_node("Mine", ["x"], ["y"], domain="own")], [FLOATS[0]], [FLOATS[1]])
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.functions.append(helper.make_function("own", "Mine", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    return model


def with_attribute(tensor: TensorProto) -> onnx.ModelProto:
    """y = x + a tensor filled with the one element of `tensor`, an attribute of ConstantOfShape."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("ConstantOfShape", ["s"], ["c"], value=tensor),
        helper.make_node("Add", ["x", "c"], ["y"]),
    ]
    return make_model(nodes, [FLOATS[0]], [FLOATS[1]])


def with_training(tensor: TensorProto) -> onnx.ModelProto:
    """y = x, and training information that holds the tensor."""
    model = make_model([helper.make_node("Identity", ["x"], ["y"])], [FLOATS[0]], [FLOATS[1]])
    training = model.training_info.add()
    training.initialization.name = "initialization"
    training.initialization.initializer.append(tensor)
    training.initialization.node.append(helper.make_node("Identity", [tensor.name], ["i"]))
    return model


def function_bomb(levels: int = 40) -> onnx.ModelProto:
    """Each function calls the one before it twice: 2 ** levels nodes when unfolded."""
    name = f"F{levels}"
    model = make_model([helper.make_node(name, ["x"], ["y"], domain="own")], [FLOATS[0]], [FLOATS[1]])
    model.opset_import.append(helper.make_opsetid("own", 1))
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    first = helper.make_node("Identity", ["a"], ["b"])
    model.functions.append(helper.make_function("own", "F0", ["a"], ["b"], [first], imports))
    for level in range(1, levels + 1):
        calls = [
            helper.make_node(f"F{level - 1}", ["a"], ["m"], domain="own"),
            helper.make_node(f"F{level - 1}", ["m"], ["b"], domain="own"),
        ]
        model.functions.append(helper.make_function("own", f"F{level}", ["a"], ["b"], calls, imports))
    return model
