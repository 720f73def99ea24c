"""Inputs, outputs and facts of a model."""

import math
from collections.abc import Iterable, Iterator, Mapping

import onnx
import onnx.shape_inference

from nnpm.tensors.signature import Signature, TensorSpec
from nnpm_registry.records import Facts, Rejection

_DATATYPES: Mapping[int, str] = {
    onnx.TensorProto.BOOL: "BOOL",
    onnx.TensorProto.UINT8: "UINT8",
    onnx.TensorProto.UINT16: "UINT16",
    onnx.TensorProto.UINT32: "UINT32",
    onnx.TensorProto.UINT64: "UINT64",
    onnx.TensorProto.INT8: "INT8",
    onnx.TensorProto.INT16: "INT16",
    onnx.TensorProto.INT32: "INT32",
    onnx.TensorProto.INT64: "INT64",
    onnx.TensorProto.FLOAT16: "FP16",
    onnx.TensorProto.BFLOAT16: "BF16",
    onnx.TensorProto.FLOAT: "FP32",
    onnx.TensorProto.DOUBLE: "FP64",
    onnx.TensorProto.STRING: "BYTES",
}
"""ONNX element type -> datatype of the Open Inference Protocol, which has no others."""

_INITIALIZERS_ARE_CONSTANT_BELOW = 4
"""IR versions below list every initialiser among the inputs, and none may be fed."""

_MAX_TEXT = 256


def read_signature(model: onnx.ModelProto, inferred: onnx.ModelProto) -> tuple[Signature, list[Rejection]]:
    """The signature, and what the Open Inference Protocol cannot carry of it.

    Args:
        model: the model as published, weights apart.
        inferred: the same after shape inference: outputs have their shapes from there.
    """
    defaults = {tensor.name for tensor in model.graph.initializer}
    defaults |= {sparse.values.name for sparse in model.graph.sparse_initializer}
    overridable = model.ir_version >= _INITIALIZERS_ARE_CONSTANT_BELOW
    inputs = [value for value in model.graph.input if overridable or value.name not in defaults]
    shapes = {value.name: value for value in inferred.graph.output}
    outputs = [shapes.get(value.name, value) for value in model.graph.output]
    rejections = [
        fault
        for role, values in (("input", inputs), ("output", outputs))
        for value in values
        if (fault := _unservable(role, value)) is not None
    ]
    if rejections:
        return Signature(), rejections
    return Signature(
        tuple(_spec(value, optional=value.name in defaults) for value in inputs),
        tuple(_spec(value, optional=False) for value in outputs),
    ), []


def infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model after shape inference, or as it is where inference gives up."""
    try:
        return onnx.shape_inference.infer_shapes(model)
    except (onnx.shape_inference.InferenceError, RuntimeError):
        return model


def read_facts(model: onnx.ModelProto) -> Facts:
    """What else the graph says of itself."""
    producer = f"{_text(model.producer_name)} {_text(model.producer_version)}".strip()
    initializers = list(_initializers(model.graph))
    return Facts(
        ir_version=model.ir_version,
        opsets={"" if entry.domain == "ai.onnx" else entry.domain: entry.version for entry in model.opset_import},
        producer=producer[:_MAX_TEXT],
        operators=tuple(sorted(set(_operators(model)))),
        parameter_count=min(sum(math.prod(dims) for dims in initializers), 2**63 - 1),
    )


def _spec(value: onnx.ValueInfoProto, *, optional: bool) -> TensorSpec:
    tensor = value.type.tensor_type
    unranked = not tensor.HasField("shape")
    return TensorSpec(
        value.name,
        _DATATYPES[tensor.elem_type],
        () if unranked else tuple(_size(dimension) for dimension in tensor.shape.dim),
        optional=optional,
        unranked=unranked,
    )


def _size(dimension: onnx.TensorShapeProto.Dimension) -> int:
    """The dimension's size; ONNX Runtime reads negative ones as free."""
    return dimension.dim_value if dimension.HasField("dim_value") and dimension.dim_value >= 0 else -1


def _unservable(role: str, value: onnx.ValueInfoProto) -> Rejection | None:
    kind = value.type.WhichOneof("value")
    if not isinstance(value.name, str):  # so the protobuf library gives what is not UTF-8
        return Rejection("INVALID_MODEL_FILE", f"the name of {role} {value.name!r} is not UTF-8", "rename it")
    if kind == "tensor_type":
        element = value.type.tensor_type.elem_type
        if element in _DATATYPES:
            return None
        names = {number: name for name, number in onnx.TensorProto.DataType.items()}
        described = f"elements of type {names.get(element, element)}"
    else:
        described = f"the type {(kind or 'none').removesuffix('_type')}"
    return Rejection(
        "UNSERVABLE_TYPE",
        f"{role} {value.name[:200]!r} has {described}, which the Open Inference Protocol cannot carry",
        "convert it inside the graph to a tensor of bool, integers, float16, bfloat16, float, double or string",
    )


def _text(value: str | bytes) -> str:
    """What is not UTF-8 comes as bytes from the protobuf library."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _initializers(graph: onnx.GraphProto) -> Iterator[Iterable[int]]:
    yield from (tensor.dims for tensor in graph.initializer)
    yield from (sparse.values.dims for sparse in graph.sparse_initializer)
    for node in graph.node:
        for inner in _subgraphs(node):
            yield from _initializers(inner)


def _operators(model: onnx.ModelProto) -> Iterator[str]:
    yield from _operators_of(model.graph.node)
    for function in model.functions:
        yield from _operators_of(function.node)


def _operators_of(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    for node in nodes:
        domain = "" if node.domain in ("", "ai.onnx") else f"{node.domain}::"
        yield f"{domain}{_text(node.op_type)}"[:_MAX_TEXT]
        for graph in _subgraphs(node):
            yield from _operators_of(graph.node)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
