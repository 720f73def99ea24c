"""The inspection of whole models, in this process: what may be published, and what is recorded."""

import os
import warnings
from collections.abc import Callable
from typing import BinaryIO, cast

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from onnx.backend.test.loader import load_model_tests

from nnpm.tensors.signature import TensorSpec
from nnpm_registry.inspection.inspect import inspect
from nnpm_registry.inspection.pieces import PiecedFile
from nnpm_registry.records import Report
from support import models
from support.models import make_model
from support.onnx_parts import (
    FLOATS,
    Served,
    external,
    with_attribute,
    with_constant,
    with_function,
    with_initializer,
    with_sparse_constant,
    with_sparse_initializer,
    with_subgraph,
    with_training,
)

PLACES: list[Callable[[TensorProto], onnx.ModelProto]] = [
    with_initializer,
    with_constant,
    with_subgraph,
    with_function,
    with_training,
]
SMALL_PLACES: list[Callable[[TensorProto], onnx.ModelProto]] = [
    with_sparse_constant,
    with_sparse_initializer,
]


def look(model: onnx.ModelProto | bytes, weights: int = 64, path: str = "model.onnx", **files: int) -> Report:
    content = model if isinstance(model, bytes) else model.SerializeToString()
    sizes = {path: len(content), "weights.bin": weights} | files
    return inspect_served(Served(content), path, sizes)


def inspect_served(served: Served, path: str, sizes: dict[str, int]) -> Report:
    return inspect(PiecedFile(cast("BinaryIO", served), cast("BinaryIO", served), sizes[path]), path, sizes)


def reasons(report: Report) -> list[str]:
    return [rejection.reason for rejection in report.rejections]


def test_inputs_outputs_and_facts_are_recorded() -> None:
    report = look(models.linear(4, 3))
    assert report.rejections == ()
    assert report.signature.inputs == (TensorSpec("x", "FP32", (-1, 4)),)
    assert report.signature.outputs == (TensorSpec("y", "FP32", (-1, 3)),)
    assert report.facts.opsets == {"": 17}
    assert report.facts.ir_version == 8
    assert report.facts.producer == "nnpm-tests"
    assert report.facts.operators == ("Gemm",)
    assert report.facts.parameter_count == 4 * 3 + 3


@pytest.mark.parametrize("place", [*PLACES, *SMALL_PLACES, with_attribute])
def test_external_data_inside_the_package_is_taken_wherever_onnx_allows_it(
    place: Callable[[TensorProto], onnx.ModelProto],
) -> None:
    if place in SMALL_PLACES:
        tensor = external(dims=[3], length="12")
    elif place is with_attribute:
        tensor = external(dims=[1], length="4")
    else:
        tensor = external()
    report = look(place(tensor))
    assert report.rejections == ()
    assert [spec.name for spec in report.signature.inputs] == ["x"]


@pytest.mark.parametrize("place", [*PLACES, *SMALL_PLACES, with_attribute])
def test_external_data_outside_the_package_is_found_wherever_it_hides(
    place: Callable[[TensorProto], onnx.ModelProto],
) -> None:
    tensor = external(dims=[3], length="12", location="../weights.bin")
    assert set(reasons(look(place(tensor)))) == {"EXTERNAL_DATA_OUTSIDE"}


def test_weights_inside_the_file_are_not_read() -> None:
    content = models.linear(2000, 1000).SerializeToString()
    file = Served(content)
    assert inspect_served(file, "model.onnx", {"model.onnx": len(content)}).rejections == ()
    assert file.asked < 300_000


def test_weights_of_the_wrong_length_are_refused_without_being_read() -> None:
    model = models.linear(2000, 1000)
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]
    assert reasons(look(model)) == ["INVALID_MODEL_FILE"]


@pytest.mark.parametrize("field", ["float_data", "int64_data", "double_data"])
def test_large_weights_in_typed_fields_are_not_read_either(field: str) -> None:
    element = {"float_data": 1, "int64_data": 7, "double_data": 11}[field]
    tensor = helper.make_tensor("w", element, [1000, 600], np.arange(600_000) % 1000)
    model = make_model(
        [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["w"], ["z"])],
        [("x", element, ["n"])],
        [("y", element, ["n"]), ("z", element, [1000, 600])],
    )
    model.graph.initializer.append(tensor)
    content = model.SerializeToString()
    file = Served(content)
    report = inspect_served(file, "model.onnx", {"model.onnx": len(content)})
    assert report.rejections == ()
    assert file.asked < 200_000
    assert report.signature.outputs[1].shape == (1000, 600)


def test_an_initializer_that_is_an_input_too_need_not_be_given() -> None:
    model = models.linear()
    model.graph.input.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, [3]))
    assert [(spec.name, spec.optional) for spec in look(model).signature.inputs] == [("x", False), ("b", True)]


def test_an_external_initializer_that_is_an_input_too_need_not_be_given() -> None:
    model = with_initializer(external())
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 4]))
    report = look(model)
    assert report.rejections == ()
    assert [(spec.name, spec.optional) for spec in report.signature.inputs] == [("x", False), ("w", True)]


def test_below_ir_version_4_initializers_among_the_inputs_are_no_inputs() -> None:
    model = models.linear()
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, list(tensor.dims)))
    assert [spec.name for spec in look(model).signature.inputs] == ["x"]


def test_unranked_scalar_and_negative_dimensions_are_told_apart() -> None:
    unranked = look(models.identity(shape=None)).signature.inputs[0]
    scalar = look(models.identity(shape=())).signature.inputs[0]
    negative = look(models.identity(shape=(-5, 10**18))).signature.inputs[0]
    assert (unranked.unranked, unranked.shape) == (True, ())
    assert (scalar.unranked, scalar.shape) == (False, ())
    assert negative.shape == (-1, 10**18)


@pytest.mark.parametrize(
    ("element", "datatype"),
    [
        (TensorProto.BOOL, "BOOL"),
        (TensorProto.UINT8, "UINT8"),
        (TensorProto.INT64, "INT64"),
        (TensorProto.FLOAT16, "FP16"),
        (TensorProto.BFLOAT16, "BF16"),
        (TensorProto.DOUBLE, "FP64"),
        (TensorProto.STRING, "BYTES"),
    ],
)
def test_datatypes_are_named_as_the_inference_protocol_names_them(element: int, datatype: str) -> None:
    assert look(models.identity(element)).signature.inputs[0].datatype == datatype


@pytest.mark.parametrize("element", [TensorProto.COMPLEX64, TensorProto.FLOAT8E4M3FN, TensorProto.INT4])
def test_a_type_that_the_protocol_cannot_carry_is_refused_naming_the_tensor(element: int) -> None:
    model = models.identity(element)
    model.ir_version = 10
    model.opset_import[0].version = 21
    report = look(model)
    assert "UNSERVABLE_TYPE" in reasons(report)
    assert any("'x'" in rejection.message for rejection in report.rejections)


def test_a_sequence_is_refused_naming_the_tensor() -> None:
    model = make_model([helper.make_node("SequenceConstruct", ["x"], ["y"])], [("x", TensorProto.FLOAT, [2])], [])
    model.graph.output.append(helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, [2]))
    report = look(model)
    assert reasons(report) == ["UNSERVABLE_TYPE"]
    assert "output 'y'" in report.rejections[0].message


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage" * 100, os.urandom(4096), b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x08", b"\x0b\x0c"],
    ids=["empty", "text", "random", "enormous length", "cut", "group"],
)
def test_bytes_that_are_no_model_are_refused(content: bytes) -> None:
    assert reasons(look(content)) == ["INVALID_MODEL_FILE"]


def test_a_cut_model_is_refused() -> None:
    content = models.linear(200, 100).SerializeToString()
    for size in range(1, len(content), len(content) // 37):
        assert reasons(look(content[:size])), size


def test_a_model_without_a_graph_is_refused() -> None:
    assert reasons(look(onnx.ModelProto(ir_version=8).SerializeToString())) == ["INVALID_MODEL_FILE"]


@pytest.mark.parametrize("levels", [40, 300])
def test_graphs_nested_beyond_reason_are_refused(levels: int) -> None:
    inner = helper.make_graph([], "deepest", [], [], doc_string="x" * 100_000).SerializeToString()
    for _ in range(levels):
        attribute = b"\x32" + size(inner) + inner
        node = b"\x2a" + size(attribute) + attribute
        inner = b"\x0a" + size(node) + node
    assert reasons(look(b"\x08\x08\x3a" + size(inner) + inner)) == ["INVALID_MODEL_FILE"]


def size(content: bytes) -> bytes:
    value, encoded = len(content), b""
    while value > 0x7F:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def test_a_file_beyond_what_protobuf_can_hold_is_refused_unread() -> None:
    file = Served(b"")
    report = inspect_served(file, "model.onnx", {"model.onnx": 3 << 30})
    assert reasons(report) == ["GRAPH_TOO_LARGE"]
    assert file.asked == 0


def test_a_graph_that_is_large_without_weights_is_refused() -> None:
    model = models.linear()
    model.doc_string = "x" * (129 << 20)
    assert reasons(look(model)) == ["GRAPH_TOO_LARGE"]


def test_types_that_do_not_fit_are_refused_by_the_checker() -> None:
    model = make_model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", TensorProto.FLOAT, ["n", 4])],
        [("y", TensorProto.FLOAT, ["n", 3])],
        {"w": np.ones((5, 3), np.float32)},
    )
    assert reasons(look(model)) == ["MODEL_CHECK_FAILED"]


def test_a_declared_output_that_inference_contradicts_is_refused() -> None:
    model = models.linear(4, 3)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 5
    assert reasons(look(model)) == ["MODEL_CHECK_FAILED"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: setattr(model.opset_import[0], "version", 99), "UNSUPPORTED_OPSET"),
        (lambda model: setattr(model.graph.node[0], "op_type", "Nonsense"), "UNSUPPORTED_OPERATOR"),
        (lambda model: setattr(model.graph.node[0], "domain", "acme"), "UNSUPPORTED_OPERATOR"),
    ],
)
def test_what_onnx_runtime_does_not_know_is_refused(change: Callable[[onnx.ModelProto], None], reason: str) -> None:
    model = models.identity()
    model.opset_import.append(helper.make_opsetid("acme", 1))
    change(model)
    report = look(model)
    assert reasons(report) == [reason]
    assert ort.__version__ in report.rejections[0].message


def test_a_newer_ir_version_is_refused() -> None:
    model = models.identity()
    model.ir_version = 99
    assert reasons(look(model))[0] in ("UNSUPPORTED_IR_VERSION", "MODEL_CHECK_FAILED")


def test_operators_of_onnx_runtimes_own_are_taken() -> None:
    model = make_model(
        [helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")],
        [("x", TensorProto.FLOAT, ["n", 4])],
        [("y", TensorProto.FLOAT, ["n", 4])],
    )
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    report = look(model)
    assert report.rejections == ()
    assert report.facts.operators == ("com.microsoft::Gelu",)


def test_onnx_node_tests_are_taken_or_refused_as_onnx_runtime_does() -> None:
    """Every fourth of them; scripts/node-tests takes all through a mesh."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = load_model_tests(kind="node")[::4]
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    differences = []
    for case in cases:
        content = case.model.SerializeToString()
        found = set(reasons(look(content)))
        try:
            ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception:  # noqa: BLE001 - ONNX Runtime's exceptions have no other base class
            loads = False
        else:
            loads = True
        if loads != (not found - {"UNSERVABLE_TYPE"}):
            differences.append((case.name, loads, found))
    assert len(cases) > 400
    assert differences == []


def test_a_tensor_cannot_hide_where_its_data_lies_behind_data_that_it_does_not_use() -> None:
    """Large raw data, an external location, and a data_location that only some readers take for EXTERNAL."""
    tensor = external(dims=(200, 200), location="/etc/passwd", length=None)
    tensor.ClearField("data_location")
    tensor.raw_data = bytes(160_000)
    for location in (b"\x70\x01", b"\x70\x81\x80\x80\x80\x10", b"\x70\x00\x70\x01", b"\x70\x01\x70\x00"):
        encoded = tensor.SerializeToString() + location
        model = with_initializer(external())
        model.graph.ClearField("initializer")
        graph = model.graph.SerializeToString() + b"\x2a" + size(encoded) + encoded
        model.ClearField("graph")
        assert reasons(look(model.SerializeToString() + b"\x3a" + size(graph) + graph)), location


def test_texts_that_are_not_utf_8_do_no_harm() -> None:
    content = models.linear().SerializeToString()
    named = look(content.replace(b"nnpm-tests", b"nnpm-\xff\xfe-ts"))
    assert (named.rejections, named.facts.producer) == ((), "nnpm-\ufffd\ufffd-ts")
    assert reasons(look(content.replace(b"\x01x", b"\x01\xff"))) == ["INVALID_MODEL_FILE"]
    located = with_initializer(external()).SerializeToString().replace(b"weights.bin", b"weight\xff.bin")
    assert reasons(look(located)) == ["EXTERNAL_DATA_INVALID"]


def test_external_data_in_a_functions_default_attribute_is_found_and_filled() -> None:
    for location, found in (("weights.bin", set()), ("../weights.bin", {"EXTERNAL_DATA_OUTSIDE"})):
        model = with_function(external())
        attribute = model.functions[0].attribute_proto.add(name="spare", type=onnx.AttributeProto.TENSOR)
        attribute.t.CopyFrom(external(location=location))
        assert set(reasons(look(model))) == found


def test_a_tensor_that_decides_shapes_must_lie_inside_the_graph() -> None:
    """ONNX Runtime infers shapes before it reads external data."""
    model = make_model([helper.make_node("Reshape", ["x", "w"], ["y"])], [FLOATS[0]], [("y", TensorProto.FLOAT, None)])
    model.graph.initializer.append(external(dims=(2,), element=TensorProto.INT64, length="16"))
    report = look(model)
    assert reasons(report) == ["EXTERNAL_DATA_INVALID"]
    assert "'w'" in report.rejections[0].message
    assert "size_threshold" in report.rejections[0].hint
