"""What a manifest declares must be what the model is."""

from typing import Any

import pytest

from nnpm.tensors.signature import Signature, TensorSpec
from nnpm_registry.declared import check_declarations, declared_report, has_graph
from support.registry import manifest

SIGNATURE = Signature(
    (TensorSpec("x", "FP32", (-1, 4)), TensorSpec("any", "INT64", (), unranked=True)),
    (TensorSpec("y", "FP32", (-1, 3)),),
)


def faults(**fields: Any) -> list[str]:
    found = check_declarations(manifest({"model.onnx": b""}, **fields), SIGNATURE)
    assert {fault.reason for fault in found} <= {"SIGNATURE_MISMATCH"}
    return [fault.message for fault in found]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"inputs": [{"name": "x"}]},
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]},
        {"inputs": [{"name": "x", "shape": [8, 4]}]},
        {"inputs": [{"name": "any", "shape": [1, 2, 3]}]},
        {"outputs": [{"name": "y", "datatype": "FP32"}]},
        {"warmup": [{"shapes": {"x": [1, 4]}}]},
        {"batch_axis": "none"},
    ],
)
def test_what_fits_is_taken(fields: dict[str, Any]) -> None:
    assert faults(**fields) == []


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"inputs": [{"name": "image"}]}, "input 'image' is declared, but the model has 'any', 'x'"),
        ({"inputs": [{"name": "x", "datatype": "FP64"}]}, "input 'x' is declared FP64, but is FP32"),
        ({"inputs": [{"name": "x", "shape": [-1, 5]}]}, "input 'x' is declared [-1, 5], but is [-1, 4]"),
        ({"inputs": [{"name": "x", "shape": [-1, -1]}]}, "input 'x' is declared [-1, -1], but is [-1, 4]"),
        ({"inputs": [{"name": "x", "shape": [4]}]}, "input 'x' is declared [4]"),
        ({"outputs": [{"name": "x"}]}, "output 'x' is declared, but the model has 'y'"),
        ({"warmup": [{"shapes": {"z": [1]}}]}, "warmup names input 'z'"),
        ({"warmup": [{"shapes": {"x": [1, 5]}}]}, "warmup gives 'x' the shape [1, 5]"),
    ],
)
def test_what_contradicts_the_graph_is_named(fields: dict[str, Any], named: str) -> None:
    (message,) = faults(**fields)
    assert named in message


def test_a_batch_axis_must_be_free() -> None:
    fixed = Signature((TensorSpec("x", "FP32", (1, 4)), TensorSpec("s", "FP32", ())), ())
    found = check_declarations(manifest({"model.onnx": b""}, batch_axis=0), fixed)
    assert [fault.message for fault in found] == [
        "batch_axis is 0, but the first axis of 'x' has the fixed size 1",
        "batch_axis is 0, but 's' is a scalar",
    ]
    assert faults(batch_axis=0) == []


def test_a_model_of_another_runtime_has_the_signature_that_it_declares() -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [-1]}
    wanted = manifest({"a.onnx": b""}, framework="other", runtime="other", inputs=[tensor], outputs=[tensor])
    assert not has_graph(wanted)
    report = declared_report(wanted)
    assert report.rejections == ()
    assert report.signature.inputs == (TensorSpec("x", "FP32", (-1,)),)


def test_a_model_of_another_runtime_must_declare_its_signature() -> None:
    wanted = manifest({"a.onnx": b""}, framework="other", runtime="other", inputs=[{"name": "x"}])
    assert [fault.reason for fault in declared_report(wanted).rejections] == ["SIGNATURE_MISSING"] * 2


def test_an_onnx_model_of_another_runtime_is_read() -> None:
    assert has_graph(manifest({"a.onnx": b""}, runtime="sleep"))


X = {"name": "x", "datatype": "FP32", "shape": [-1, 4]}
CLASS = {"runtime": "python", "entry": "model:Model", "model": "model.py", "inputs": [X], "outputs": [X]}
FILES = {"model.py": b"class Model: ...", "notes.txt": b"notes"}


def test_a_class_has_the_signature_that_its_package_declares() -> None:
    wanted = manifest(FILES, **CLASS)
    assert not has_graph(wanted)
    report = declared_report(wanted)
    assert report.rejections == ()
    assert report.signature.inputs == (TensorSpec("x", "FP32", (-1, 4)),)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"entry": None}, "INVALID_ENTRY"),
        ({"entry": "other:Model"}, "INVALID_ENTRY"),
        ({"model": "notes.txt"}, "INVALID_ENTRY"),
        ({"outputs": []}, "SIGNATURE_MISSING"),
        ({"inputs": [{"name": "x", "datatype": "FP32"}]}, "SIGNATURE_MISSING"),
        ({"inputs": [X, X]}, "SIGNATURE_MISMATCH"),
        ({"inputs": [{**X, "shape": [4]}], "batch_axis": 0}, "SIGNATURE_MISMATCH"),
        ({"warmup": [{"shapes": {"x": [1, 5]}}]}, "SIGNATURE_MISMATCH"),
    ],
)
def test_a_class_that_is_not_there_or_not_declared_in_full_is_refused(fields: dict[str, Any], reason: str) -> None:
    report = declared_report(manifest(FILES, **CLASS | fields))
    assert [fault.reason for fault in report.rejections] == [reason]
