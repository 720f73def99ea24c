import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnpm.errors import InvalidArgument
from nnpm.tensors import raw
from nnpm.tensors.datatypes import DATATYPES, by_name

NUMBERS = sorted(name for name in DATATYPES if name != "BYTES")


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1,), (2, 3)])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_come_back_bit_for_bit(name: str, shape: tuple[int, ...]) -> None:
    datatype = by_name(name)
    content = np.random.default_rng(7).integers(0, 2, (int(np.prod(shape)), datatype.itemsize), np.uint8).tobytes()
    if name == "BOOL":
        content = bytes(byte & 1 for byte in content)
    array = raw.decode(datatype, shape, content)
    assert array.shape == shape
    assert array.dtype == datatype.dtype
    assert bytes(raw.encode(array)) == content


@given(st.lists(st.binary(max_size=20)))
def test_bytes_elements_come_back_with_nul_and_invalid_utf8(elements: list[bytes]) -> None:
    array = np.empty(len(elements), object)
    array[:] = elements
    decoded = raw.decode(by_name("BYTES"), (len(elements),), bytes(raw.encode(array)))
    assert decoded.tolist() == elements


def test_a_scalar_of_bytes_has_shape_nothing() -> None:
    decoded = raw.decode(by_name("BYTES"), (), b"\x02\x00\x00\x00hi")
    assert decoded.shape == ()
    assert decoded.item() == b"hi"
    assert raw.encode(decoded) == b"\x02\x00\x00\x00hi"


@pytest.mark.parametrize("size", [0, 11, 13, 24])
def test_numbers_must_fill_the_shape_exactly(size: int) -> None:
    with pytest.raises(InvalidArgument) as error:
        raw.decode(by_name("FP32"), (3,), bytes(size))
    assert error.value.reason == "TENSOR_SIZE_MISMATCH"


@pytest.mark.parametrize(
    "content",
    [b"", b"\x01\x00\x00", b"\x01\x00\x00\x00", b"\x01\x00\x00\x00ab", b"\xff\xff\xff\xffa", b"\x00\x00\x00\x00" * 2],
)
def test_bytes_must_be_exactly_the_elements_of_the_shape(content: bytes) -> None:
    with pytest.raises(InvalidArgument) as error:
        raw.decode(by_name("BYTES"), (1,), content)
    assert error.value.reason == "TENSOR_SIZE_MISMATCH"


def test_an_enormous_count_of_bytes_is_refused_without_allocating_it() -> None:
    with pytest.raises(InvalidArgument):
        raw.decode(by_name("BYTES"), (1 << 39,), b"")


def test_a_boolean_is_zero_or_one() -> None:
    with pytest.raises(InvalidArgument) as error:
        raw.decode(by_name("BOOL"), (2,), b"\x01\x02")
    assert error.value.reason == "INVALID_CONTENTS"


def test_an_unaligned_slice_is_copied_and_an_aligned_one_is_not() -> None:
    buffer = np.zeros(64, np.uint8)
    aligned = raw.decode(by_name("FP32"), (2,), memoryview(buffer)[8:16])
    unaligned = raw.decode(by_name("FP32"), (2,), memoryview(buffer)[9:17])
    assert np.shares_memory(aligned, buffer)
    assert not np.shares_memory(unaligned, buffer)
    assert unaligned.flags.aligned


def test_any_memory_order_and_byte_order_is_encoded_as_the_protocol_wants() -> None:
    array = np.arange(6, dtype=">i2").reshape(2, 3).T
    assert bytes(raw.encode(array)) == np.ascontiguousarray(array).astype("<i2").tobytes()


def test_text_is_encoded_as_utf8_and_other_objects_are_refused() -> None:
    assert raw.encode(np.array(["é"])) == b"\x02\x00\x00\x00\xc3\xa9"
    with pytest.raises(InvalidArgument) as error:
        raw.encode(np.array([3], object))
    assert error.value.reason == "INVALID_CONTENTS"
