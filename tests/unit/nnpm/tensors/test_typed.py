import numpy as np
import pytest

from nnpm.api.inference.inference_pb2 import InferTensorContents
from nnpm.errors import InvalidArgument
from nnpm.tensors import typed
from nnpm.tensors.datatypes import DATATYPES, by_name

EXTREMES = {
    "BOOL": [True, False],
    "INT8": [-128, 127],
    "INT16": [-32768, 32767],
    "INT32": [-(2**31), 2**31 - 1],
    "INT64": [-(2**63), 2**63 - 1],
    "UINT8": [0, 255],
    "UINT16": [0, 65535],
    "UINT32": [0, 2**32 - 1],
    "UINT64": [0, 2**64 - 1],
    "FP32": [1.5, -0.25],
    "FP64": [1e300, 5e-324],
    "BYTES": [b"\x00", b"\xff"],
}


@pytest.mark.parametrize("name", sorted(EXTREMES))
def test_each_typed_field_carries_its_datatypes_extremes(name: str) -> None:
    datatype = by_name(name)
    array = typed.decode(datatype, (2, 1), InferTensorContents(**{datatype.field: EXTREMES[name]}))
    assert array.dtype == datatype.dtype
    assert array.reshape(-1).tolist() == EXTREMES[name]


@pytest.mark.parametrize("name", sorted(DATATYPES))
def test_an_empty_tensor_needs_no_values(name: str) -> None:
    assert typed.decode(by_name(name), (0, 4), InferTensorContents()).shape == (0, 4)


@pytest.mark.parametrize("name", ["FP16", "BF16"])
def test_half_precision_travels_raw_only(name: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        typed.decode(by_name(name), (1,), InferTensorContents(fp32_contents=[1]))
    assert "raw_input_contents" in error.value.message


@pytest.mark.parametrize(("name", "value"), [("INT8", 128), ("INT16", -32769), ("UINT8", 256), ("UINT16", 65536)])
def test_a_value_that_does_not_fit_is_refused_rather_than_wrapped(name: str, value: int) -> None:
    datatype = by_name(name)
    with pytest.raises(InvalidArgument) as error:
        typed.decode(datatype, (1,), InferTensorContents(**{datatype.field: [value]}))
    assert error.value.reason == "INVALID_CONTENTS"


def test_values_in_a_field_of_another_datatype_are_refused() -> None:
    with pytest.raises(InvalidArgument) as error:
        typed.decode(by_name("FP32"), (1,), InferTensorContents(fp64_contents=[1.0]))
    assert error.value.reason == "INVALID_CONTENTS"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_values_must_fill_the_shape_exactly(count: int) -> None:
    with pytest.raises(InvalidArgument) as error:
        typed.decode(by_name("INT64"), (2,), InferTensorContents(int64_contents=[1] * count))
    assert error.value.reason == "TENSOR_SIZE_MISMATCH"


def test_a_scalar_takes_one_value() -> None:
    array = typed.decode(by_name("FP64"), (), InferTensorContents(fp64_contents=[2.5]))
    assert array.shape == ()
    assert np.equal(array, 2.5)
