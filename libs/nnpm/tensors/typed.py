"""Typed contents: the protocol's InferTensorContents, one repeated field a kind of number."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nnpm.errors import InvalidArgument
from nnpm.tensors.datatypes import BYTES, Datatype
from nnpm.tensors.elements import FIELDS
from nnpm.tensors.shapes import element_count


class Contents(Protocol):
    """What is needed of a `inference.InferTensorContents` message."""

    @property
    def bool_contents(self) -> Sequence[bool]: ...
    @property
    def int_contents(self) -> Sequence[int]: ...
    @property
    def int64_contents(self) -> Sequence[int]: ...
    @property
    def uint_contents(self) -> Sequence[int]: ...
    @property
    def uint64_contents(self) -> Sequence[int]: ...
    @property
    def fp32_contents(self) -> Sequence[float]: ...
    @property
    def fp64_contents(self) -> Sequence[float]: ...
    @property
    def bytes_contents(self) -> Sequence[bytes]: ...


def decode(datatype: Datatype, shape: Sequence[int], contents: Contents) -> NDArray[Any]:
    """A new array of the values in the field that belongs to the datatype.

    Raises:
        InvalidArgument: INVALID_SHAPE; TENSOR_SIZE_MISMATCH when the shape takes more or fewer values;
            INVALID_CONTENTS when values lie in another field, do not fit the datatype, or it travels raw only.
    """
    count = element_count(shape)
    for field in FIELDS.values():
        if field != datatype.field and len(getattr(contents, field)):
            raise InvalidArgument("INVALID_CONTENTS", _wrong_field(datatype, field))
    values: Sequence[Any] = getattr(contents, datatype.field) if datatype.field else ()
    if len(values) != count:
        raise InvalidArgument(
            "TENSOR_SIZE_MISMATCH",
            f"{len(values)} values of {datatype.name} do not fill shape {list(shape)}, which takes {count}",
        )
    if datatype is BYTES:
        elements: NDArray[Any] = np.empty(count, np.object_)
        elements[:] = list(values)
        return elements.reshape(shape)
    return _numbers(datatype, values).reshape(shape)


def _numbers(datatype: Datatype, values: Sequence[Any]) -> NDArray[Any]:
    # Small integers travel in 32-bit fields: 300 for an UINT8 would silently become 44.
    if datatype.dtype.kind in "iu" and datatype.itemsize < 4 and values:
        limits = np.iinfo(datatype.dtype)
        if min(values) < limits.min or max(values) > limits.max:
            raise InvalidArgument(
                "INVALID_CONTENTS", f"a value lies outside {datatype.name}'s {limits.min} to {limits.max}"
            )
    return np.array(list(values), datatype.dtype)


def _wrong_field(datatype: Datatype, field: str) -> str:
    if datatype.field:
        return f"values of {datatype.name} belong into {datatype.field}, not {field}"
    return f"{datatype.name} has no typed contents in the protocol: send it in raw_input_contents"
