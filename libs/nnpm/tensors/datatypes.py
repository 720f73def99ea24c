"""The datatypes of the Open Inference Protocol, and the numpy dtype that stands for each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from nnpm.errors import InvalidArgument


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


def _fixed(name: str, dtype: Any, field: str) -> Datatype:
    numpy_dtype = np.dtype(dtype)
    return Datatype(name, numpy_dtype, numpy_dtype.itemsize, field)


BOOL = _fixed("BOOL", np.bool_, "bool_contents")
BF16 = _fixed("BF16", ml_dtypes.bfloat16, "")
BYTES = Datatype("BYTES", np.dtype(np.object_), 0, "bytes_contents")

DATATYPES: Mapping[str, Datatype] = {
    datatype.name: datatype
    for datatype in (
        BOOL,
        _fixed("UINT8", "<u1", "uint_contents"),
        _fixed("UINT16", "<u2", "uint_contents"),
        _fixed("UINT32", "<u4", "uint_contents"),
        _fixed("UINT64", "<u8", "uint64_contents"),
        _fixed("INT8", "<i1", "int_contents"),
        _fixed("INT16", "<i2", "int_contents"),
        _fixed("INT32", "<i4", "int_contents"),
        _fixed("INT64", "<i8", "int64_contents"),
        _fixed("FP16", "<f2", ""),
        BF16,
        _fixed("FP32", "<f4", "fp32_contents"),
        _fixed("FP64", "<f8", "fp64_contents"),
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
