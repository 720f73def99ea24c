"""External data is judged by the manifest alone."""

import pytest
from onnx import TensorProto

from nnpm_registry.inspection.external import byte_size, check_external_data
from nnpm_registry.records import Rejection
from support.onnx_parts import external, with_initializer


def faults(tensor: TensorProto, path: str = "model.onnx", **files: int) -> list[Rejection]:
    return check_external_data(with_initializer(tensor), path, {path: 10, "weights.bin": 64} | files, "hole-1")


@pytest.mark.parametrize(
    "location",
    [
        "../weights.bin",
        "a/../weights.bin",
        "./../weights.bin",
        "..\\weights.bin",
        "/etc/passwd",
        "//etc/passwd",
        "C:\\weights.bin",
        "C:/weights.bin",
        "C:weights.bin",
        "\\\\host\\share\\weights.bin",
        "file:///etc/passwd",
        "%2e%2e/weights.bin",
        "..%2fweights.bin",
        "%2e%2e%2fweights.bin",
        "\uff0e\uff0e/weights.bin",
        "\u2025/weights.bin",
        "..\u2215weights.bin",
        "weights.bin\u0000.png",
        "weights.bin ",
        "weights.bin.",
        "WEIGHTS.BIN",
        "wei\u200bghts.bin",
        ".",
        "",
        "other.bin",
        "weights.bin/",
        "weights.bin/.",
        "./.././weights.bin",
        "model.onnx/../../weights.bin",
        "~/weights.bin",
        "$HOME/weights.bin",
        "hole-2",
    ],
)
def test_a_location_that_is_no_file_of_the_package_is_refused(location: str) -> None:
    found = faults(external(location=location))
    assert [fault.reason for fault in found] in (["EXTERNAL_DATA_OUTSIDE"], ["EXTERNAL_DATA_INVALID"])
    assert "'w'" in found[0].message


def test_an_address_in_memory_is_refused_even_if_a_file_has_that_name() -> None:
    location = "*/_ORT_MEM_ADDR_/*"
    found = faults(external(location=location), **{location: 64})
    assert [fault.reason for fault in found] == ["EXTERNAL_DATA_OUTSIDE"]


@pytest.mark.parametrize("location", ["weights.bin", "./weights.bin"])
def test_a_file_beside_the_model_is_taken(location: str) -> None:
    assert faults(external(location=location)) == []


def test_locations_are_relative_to_the_models_folder() -> None:
    assert faults(external(), "onnx/model.onnx", **{"onnx/weights.bin": 64}) == []
    assert [fault.reason for fault in faults(external(), "onnx/model.onnx")] == ["EXTERNAL_DATA_OUTSIDE"]


@pytest.mark.parametrize(
    "facts",
    [
        {"offset": "-4"},
        {"offset": "1"},
        {"offset": "9223372036854775807"},
        {"offset": "99999999999999999999"},
        {"offset": "0x10"},
        {"offset": " 0"},
        {"offset": "+0"},
        {"offset": "\u0660"},
        {"offset": ""},
        {"length": "-64"},
        {"length": "60"},
        {"length": "68"},
        {"length": "18446744073709551680"},
        {"length": "64.0"},
        {"key": "unknown"},
        {"basepath": "/"},
    ],
)
def test_offsets_and_lengths_outside_the_file_or_the_tensor_are_refused(facts: dict[str, str]) -> None:
    assert [fault.reason for fault in faults(external(**facts))] == ["EXTERNAL_DATA_INVALID"]


def test_a_fact_stated_twice_is_refused() -> None:
    tensor = external()
    tensor.external_data.add(key="location", value="../weights.bin")
    assert [fault.reason for fault in faults(tensor)] == ["EXTERNAL_DATA_INVALID"]


@pytest.mark.parametrize("facts", [{"length": None}, {"offset": None}, {"length": "0"}, {"checksum": "abc"}])
def test_facts_that_may_be_left_out_may_be_left_out(facts: dict[str, str]) -> None:
    assert faults(external(**facts)) == []


def test_without_a_length_the_tensor_must_still_end_inside_the_file() -> None:
    found = faults(external(length=None, offset="8"))
    assert [fault.reason for fault in found] == ["EXTERNAL_DATA_INVALID"]
    assert "ends at byte 72 of 'weights.bin', which has 64" in found[0].message


@pytest.mark.parametrize("dims", [(4, -4), (-4, -4)])
def test_negative_dimensions_are_refused(dims: tuple[int, ...]) -> None:
    assert [fault.reason for fault in faults(external(dims=dims))] == ["EXTERNAL_DATA_INVALID"]


def test_enormous_dimensions_are_refused() -> None:
    found = faults(external(dims=(2**62, 2**62), length=None))
    assert [fault.reason for fault in found] == ["EXTERNAL_DATA_INVALID"]


def test_strings_cannot_lie_outside() -> None:
    found = faults(external(element=TensorProto.STRING))
    assert [fault.reason for fault in found] == ["EXTERNAL_DATA_INVALID"]


@pytest.mark.parametrize(
    ("element", "count", "size"),
    [
        (TensorProto.FLOAT, 3, 12),
        (TensorProto.BOOL, 3, 3),
        (TensorProto.INT4, 3, 2),
        (TensorProto.UINT4, 4, 2),
        (TensorProto.COMPLEX128, 2, 32),
        (TensorProto.FLOAT8E5M2, 5, 5),
        (TensorProto.DOUBLE, 0, 0),
    ],
)
def test_a_tensors_size_follows_from_type_and_shape(element: int, count: int, size: int) -> None:
    assert byte_size(TensorProto(data_type=element, dims=[count])) == size


def test_at_most_20_faults_are_told() -> None:
    model = with_initializer(external())
    for number in range(50):
        model.graph.initializer.append(external(f"w{number}", location="../x"))
    assert len(check_external_data(model, "model.onnx", {"weights.bin": 64}, "hole")) == 20
