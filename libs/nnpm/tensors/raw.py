"""Raw contents: little-endian elements in row-major order; BYTES elements each behind a 4-byte length."""

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnpm.errors import InvalidArgument
from nnpm.tensors.datatypes import BOOL, BYTES, Datatype, of_array
from nnpm.tensors.shapes import element_count

RawBytes = bytes | memoryview

_LENGTH = struct.Struct("<I")


def decode(datatype: Datatype, shape: Sequence[int], data: RawBytes) -> NDArray[Any]:
    """An array over `data`, without a copy where its address allows (BYTES is always built anew).

    Args:
        datatype: what the elements are.
        shape: the exact shape.
        data: exactly the tensor's bytes.

    Raises:
        InvalidArgument: INVALID_SHAPE; TENSOR_SIZE_MISMATCH when the bytes do not fit the shape exactly;
            INVALID_CONTENTS for a BOOL that is neither 0 nor 1.
    """
    count = element_count(shape)
    if datatype is BYTES:
        return _decode_bytes(count, data).reshape(shape)
    size = count * datatype.itemsize
    if len(data) != size:
        raise InvalidArgument(
            "TENSOR_SIZE_MISMATCH",
            f"{len(data)} bytes of {datatype.name} do not fill shape {list(shape)}, which takes {size}",
        )
    array: NDArray[Any] = np.frombuffer(data, datatype.dtype).reshape(shape)
    if datatype is BOOL and array.size and array.view(np.uint8).max() > 1:
        raise InvalidArgument("INVALID_CONTENTS", "a BOOL byte is neither 0 nor 1")
    return array if array.flags.aligned else array.copy()


def encode(array: NDArray[Any]) -> RawBytes:
    """The raw contents of an array, of any dtype that the protocol carries and any memory order.

    Contiguous numbers come back as a view of the array's own memory.

    Raises:
        InvalidArgument: UNKNOWN_DATATYPE, or INVALID_CONTENTS for an element of BYTES that is neither str nor bytes.
    """
    datatype = of_array(array)
    if datatype is BYTES:
        return _encode_bytes(array.reshape(-1).tolist())
    plain = np.ascontiguousarray(array, datatype.dtype)
    if plain.size == 0:
        return b""
    return plain.reshape(-1).view(np.uint8).data


def _decode_bytes(count: int, data: RawBytes) -> NDArray[Any]:
    # Each element takes at least its length, so an enormous count is refused before the array is made.
    if len(data) < count * _LENGTH.size:
        raise _bytes_mismatch(count, len(data))
    content = bytes(data)
    elements: NDArray[Any] = np.empty(count, np.object_)
    offset = 0
    for index in range(count):
        start = offset + _LENGTH.size
        if start > len(content):
            raise _bytes_mismatch(count, len(content))
        offset = start + _LENGTH.unpack_from(content, offset)[0]
        if offset > len(content):
            raise _bytes_mismatch(count, len(content))
        elements[index] = content[start:offset]
    if offset != len(content):
        raise _bytes_mismatch(count, len(content))
    return elements


def _bytes_mismatch(count: int, size: int) -> InvalidArgument:
    return InvalidArgument(
        "TENSOR_SIZE_MISMATCH",
        f"{size} raw bytes are not {count} BYTES elements",
        hint="each element is a 4-byte little-endian length followed by that many bytes",
    )


def _encode_bytes(elements: Iterable[object]) -> bytes:
    parts: list[bytes] = []
    for element in elements:
        if isinstance(element, str):
            content = element.encode()
        elif isinstance(element, bytes):
            content = element
        else:
            raise InvalidArgument(
                "INVALID_CONTENTS", f"a BYTES element is a {type(element).__name__}; str or bytes are possible"
            )
        parts.append(_LENGTH.pack(len(content)))
        parts.append(content)
    return b"".join(parts)
