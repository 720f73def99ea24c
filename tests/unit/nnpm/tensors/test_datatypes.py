import ml_dtypes
import numpy as np
import pytest

from nnpm.api.inference.inference_pb2 import InferTensorContents
from nnpm.errors import InvalidArgument
from nnpm.tensors.datatypes import DATATYPES, by_name, of_array
from nnpm.tensors.elements import ELEMENTS, FIELDS


@pytest.mark.parametrize("name", sorted(DATATYPES))
def test_each_datatype_is_found_again_from_an_array_of_it(name: str) -> None:
    datatype = by_name(name)
    assert of_array(np.zeros(3, datatype.dtype)) is datatype


def test_elements_are_as_large_as_numpys_and_in_the_fields_of_the_protocol() -> None:
    contents = InferTensorContents.DESCRIPTOR
    assert {field.number: field.name for field in contents.fields} == FIELDS
    assert set(DATATYPES) == set(ELEMENTS)
    for datatype in DATATYPES.values():
        if datatype.name != "BYTES":
            assert datatype.itemsize == datatype.dtype.itemsize


def test_bf16_is_a_dtype_of_two_bytes_of_its_own() -> None:
    assert of_array(np.zeros(1, ml_dtypes.bfloat16)).name == "BF16"
    assert by_name("BF16").itemsize == 2


def test_strings_of_any_numpy_kind_are_bytes() -> None:
    for array in (np.array(["a"]), np.array([b"a"]), np.array(["a"], object)):
        assert of_array(array).name == "BYTES"


def test_big_endian_arrays_have_the_same_datatype() -> None:
    assert of_array(np.zeros(1, ">f4")).name == "FP32"


def test_what_the_protocol_cannot_carry_is_refused() -> None:
    with pytest.raises(InvalidArgument) as error:
        of_array(np.zeros(1, np.complex64))
    assert error.value.reason == "UNKNOWN_DATATYPE"
    with pytest.raises(InvalidArgument) as error:
        by_name("FLOAT32")
    assert error.value.reason == "UNKNOWN_DATATYPE"
