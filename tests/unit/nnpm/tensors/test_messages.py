import pytest

from nnpm.api.inference.inference_pb2 import ModelInferRequest
from nnpm.errors import InvalidArgument
from nnpm.tensors.messages import arrays


def _request(*names: str) -> ModelInferRequest:
    request = ModelInferRequest()
    for name in names:
        request.inputs.add(name=name, datatype="INT32", shape=[1])
    return request


def test_raw_and_typed_requests_give_the_same_arrays() -> None:
    raw = _request("a", "b")
    raw.raw_input_contents.extend([b"\x01\x00\x00\x00", b"\x02\x00\x00\x00"])
    typed = _request("a", "b")
    typed.inputs[0].contents.int_contents.append(1)
    typed.inputs[1].contents.int_contents.append(2)
    for request in (raw, typed):
        found = arrays(request.inputs, request.raw_input_contents)
        assert {name: array.tolist() for name, array in found.items()} == {"a": [1], "b": [2]}


def test_raw_contents_are_one_per_tensor() -> None:
    request = _request("a", "b")
    request.raw_input_contents.append(b"\x01\x00\x00\x00")
    with pytest.raises(InvalidArgument) as error:
        arrays(request.inputs, request.raw_input_contents)
    assert error.value.reason == "RAW_CONTENTS_MISMATCH"


def test_typed_contents_beside_raw_ones_are_refused() -> None:
    request = _request("a")
    request.raw_input_contents.append(b"\x01\x00\x00\x00")
    request.inputs[0].contents.int_contents.append(1)
    with pytest.raises(InvalidArgument) as error:
        arrays(request.inputs, request.raw_input_contents)
    assert error.value.reason == "RAW_CONTENTS_MISMATCH"


def test_an_error_names_its_tensor() -> None:
    request = _request("weights")
    with pytest.raises(InvalidArgument) as error:
        arrays(request.inputs, request.raw_input_contents)
    assert "weights" in error.value.message
    assert error.value.metadata == {"tensor": "weights"}


def test_a_tensor_that_appears_twice_is_refused() -> None:
    request = _request("a", "a")
    request.raw_input_contents.extend([b"\x01\x00\x00\x00"] * 2)
    with pytest.raises(InvalidArgument) as error:
        arrays(request.inputs, request.raw_input_contents)
    assert error.value.reason == "DUPLICATE_TENSOR"
