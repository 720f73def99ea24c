"""The datatypes of the Open Inference Protocol, and the numpy dtype that stands for each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from nnpm.errors import InvalidArgument
from nnpm.tensors.elements import ELEMENTS


@dataclass(frozen=True, slots=True)
class Datatype:
    """One datatype.

    Attributes:
        name: as the protocol spells it, for example `FP32`.
        dtype: the numpy dtype; little-endian on the wire. BYTES is `object`: an array of `bytes`.
        itemsize: bytes of one element; 0 for BYTES, whose elements have a length of their own.
        field: of InferTensorContents; empty where the protocol has none, so that the tensor travels raw only.
    """

    name: str
    dtype: np.dtype[Any]
    itemsize: int
    field: str


def _datatype(name: str, dtype: Any) -> Datatype:
    element = ELEMENTS[name]
    return Datatype(name, np.dtype(dtype), element.size, element.field)


BOOL = _datatype("BOOL", np.bool_)
BF16 = _datatype("BF16", ml_dtypes.bfloat16)
BYTES = _datatype("BYTES", np.object_)

DATATYPES: Mapping[str, Datatype] = {
    datatype.name: datatype
    for datatype in (
        BOOL,
        _datatype("UINT8", "<u1"),
        _datatype("UINT16", "<u2"),
        _datatype("UINT32", "<u4"),
        _datatype("UINT64", "<u8"),
        _datatype("INT8", "<i1"),
        _datatype("INT16", "<i2"),
        _datatype("INT32", "<i4"),
        _datatype("INT64", "<i8"),
        _datatype("FP16", "<f2"),
        BF16,
        _datatype("FP32", "<f4"),
        _datatype("FP64", "<f8"),
        BYTES,
    )
}
"""By the protocol's name."""

_BY_DTYPE: Mapping[np.dtype[Any], Datatype] = {datatype.dtype: datatype for datatype in DATATYPES.values()}


def by_name(name: str) -> Datatype:
    """Raises InvalidArgument UNKNOWN_DATATYPE when the protocol has no such datatype."""
    datatype = DATATYPES.get(name)
    if datatype is None:
        raise InvalidArgument("UNKNOWN_DATATYPE", f"unknown datatype {name!r}", hint=f"one of {', '.join(DATATYPES)}")
    return datatype


def of_array(array: NDArray[Any]) -> Datatype:
    """The datatype that carries an array; any array of strings or bytes is BYTES.

    Raises:
        InvalidArgument: UNKNOWN_DATATYPE when the protocol cannot carry it (complex numbers, dates, ...).
    """
    if array.dtype.kind in "SU":
        return BYTES
    datatype = _BY_DTYPE.get(array.dtype.newbyteorder("<") if array.dtype.byteorder == ">" else array.dtype)
    if datatype is None:
        raise InvalidArgument(
            "UNKNOWN_DATATYPE",
            f"the inference protocol has no datatype for numpy's {array.dtype}",
            hint=f"convert it to one of {', '.join(DATATYPES)}",
        )
    return datatype
