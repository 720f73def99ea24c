"""The model without its weights: what ONNX's checker and ONNX Runtime get to see, so that neither opens a file.

An external initialiser of the main graph becomes an input. Elsewhere (subgraphs, Constant nodes, functions), where an
input would change what the graph or function takes, it becomes a ConstantOfShape of the same type and shape. Nothing
else about the model changes.
"""

from collections.abc import Iterable, Sequence

import onnx
from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
from onnx import helper

from nnpm.errors import InvalidArgument
from nnpm_registry.inspection.external import byte_size, is_external

_FILLED = 1 << 20
"""Bytes up to which an attribute that has to be a tensor is filled with zeros."""


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` with no external data left in it.

    Raises InvalidArgument EXTERNAL_DATA_INVALID for a large external tensor in an attribute of another node.
    """
    found = onnx.ModelProto()
    found.CopyFrom(model)
    # Neither the checker nor ONNX Runtime looks at it.
    found.ClearField("training_info")
    names = _Names()
    _lift_inputs(found.graph)
    _without_weights(found.graph, names)
    for function in found.functions:
        _replace_nodes(function.node, names)
        _clean_attributes(function.attribute_proto, f"function {function.name[:200]!r}", names)
    return found


class _Names:
    """Names that no model has."""

    def __init__(self) -> None:
        self._count = 0

    def new(self) -> str:
        self._count += 1
        return f"nnpm/shape-of-weight/{self._count}"


def _lift_inputs(graph: onnx.GraphProto) -> None:
    """Makes the external initialisers of the main graph inputs, where they aren't already."""
    known = {value.name for value in graph.input}
    for index in reversed(range(len(graph.initializer))):
        tensor = graph.initializer[index]
        if is_external(tensor):
            _lift(graph, known, tensor.name, tensor.data_type, list(tensor.dims))
            del graph.initializer[index]
    for index in reversed(range(len(graph.sparse_initializer))):
        sparse = graph.sparse_initializer[index]
        if _is_sparse_external(sparse):
            _lift(graph, known, sparse.values.name, sparse.values.data_type, list(sparse.dims))
            del graph.sparse_initializer[index]


def _lift(graph: onnx.GraphProto, known: set[str], name: str, element_type: int, dims: list[int]) -> None:
    if name not in known:
        graph.input.append(helper.make_tensor_value_info(name, element_type, dims))


def _without_weights(graph: onnx.GraphProto, names: _Names) -> None:
    """Replaces what is external in a graph; in the main graph, `_lift_inputs` has left no initialiser to replace."""
    inputs = {value.name for value in graph.input}
    made: list[onnx.NodeProto] = []
    for index in reversed(range(len(graph.initializer))):
        tensor = graph.initializer[index]
        if is_external(tensor):
            if tensor.name not in inputs:
                made += _constant_of_shape(tensor.name, tensor.data_type, list(tensor.dims), names)
            del graph.initializer[index]
    for index in reversed(range(len(graph.sparse_initializer))):
        sparse = graph.sparse_initializer[index]
        if _is_sparse_external(sparse):
            made += _constant_of_shape(sparse.values.name, sparse.values.data_type, list(sparse.dims), names)
            del graph.sparse_initializer[index]
    _replace_nodes(graph.node, names, made)


def _replace_nodes(
    nodes: RepeatedCompositeFieldContainer[onnx.NodeProto], names: _Names, first: Sequence[onnx.NodeProto] = ()
) -> None:
    """Replaces external Constant nodes, and what is external in other nodes, keeping the order."""
    replaced = list(first)
    changed = bool(replaced)
    for node in nodes:
        constant = _external_constant(node)
        if constant is not None:
            replaced += _constant_of_shape(node.output[0], *constant, names)
            changed = True
            continue
        _clean_attributes(node.attribute, f"node {node.name[:200]!r} ({node.op_type[:80]})", names)
        replaced.append(node)
    if changed:
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in replaced]
        del nodes[:]
        nodes.extend(copies)


def _external_constant(node: onnx.NodeProto) -> tuple[int, list[int]] | None:
    """Element type and dims of a Constant node's external value, or None."""
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx") or not node.output:
        return None
    for attribute in node.attribute:
        if attribute.name == "value" and is_external(attribute.t):
            return attribute.t.data_type, list(attribute.t.dims)
        if attribute.name == "sparse_value" and _is_sparse_external(attribute.sparse_tensor):
            return attribute.sparse_tensor.values.data_type, list(attribute.sparse_tensor.dims)
    return None


def _clean_attributes(attributes: Iterable[onnx.AttributeProto], owner: str, names: _Names) -> None:
    for attribute in attributes:
        sparse = [attribute.sparse_tensor, *attribute.sparse_tensors]
        tensors = [attribute.t, *attribute.tensors]
        tensors += [part for whole in sparse for part in (whole.values, whole.indices)]
        for tensor in tensors:
            if is_external(tensor):
                _fill(tensor, owner)
        if attribute.HasField("g"):
            _without_weights(attribute.g, names)
        for graph in attribute.graphs:
            _without_weights(graph, names)


def _fill(tensor: onnx.TensorProto, owner: str) -> None:
    size = byte_size(tensor) or 0
    if size > _FILLED:
        raise InvalidArgument(
            "EXTERNAL_DATA_INVALID",
            f"an attribute of {owner} keeps {size} bytes in an external file",
            hint="keep weights in initialisers; attributes may keep up to 1 MiB outside the graph",
        )
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")
    tensor.raw_data = bytes(size)


def _constant_of_shape(output: str, element_type: int, dims: list[int], names: _Names) -> list[onnx.NodeProto]:
    shape = names.new()
    zero = onnx.TensorProto(data_type=element_type, dims=[1])
    zero.raw_data = bytes(byte_size(zero) or 0)
    stated = onnx.TensorProto(data_type=onnx.TensorProto.INT64, dims=[len(dims)], int64_data=dims)
    return [
        helper.make_node("Constant", [], [shape], value=stated),
        helper.make_node("ConstantOfShape", [shape], [output], value=zero),
    ]


def _is_sparse_external(sparse: onnx.SparseTensorProto) -> bool:
    return is_external(sparse.values) or is_external(sparse.indices)
