"""How the Open Inference Protocol writes the elements of each datatype. No numpy: the front door reads it, too."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a datatype.

    Attributes:
        size: bytes in raw contents; 0 for BYTES, whose elements each stand behind their length in `LENGTH_SIZE` bytes.
        number: of the field of InferTensorContents that takes it; 0 where there is none, so that it travels raw only.
        field: that field's name; empty where there is none.
    """

    size: int
    number: int = 0
    field: str = ""


LENGTH_SIZE = 4

ELEMENTS: Mapping[str, Element] = {
    "BOOL": Element(1, 1, "bool_contents"),
    "UINT8": Element(1, 4, "uint_contents"),
    "UINT16": Element(2, 4, "uint_contents"),
    "UINT32": Element(4, 4, "uint_contents"),
    "UINT64": Element(8, 5, "uint64_contents"),
    "INT8": Element(1, 2, "int_contents"),
    "INT16": Element(2, 2, "int_contents"),
    "INT32": Element(4, 2, "int_contents"),
    "INT64": Element(8, 3, "int64_contents"),
    "FP16": Element(2),
    "BF16": Element(2),
    "FP32": Element(4, 6, "fp32_contents"),
    "FP64": Element(8, 7, "fp64_contents"),
    "BYTES": Element(0, 8, "bytes_contents"),
}
"""By the datatype's name."""

FIELDS: Mapping[int, str] = {e.number: e.field for e in sorted(ELEMENTS.values(), key=lambda e: e.number) if e.number}
"""The fields of InferTensorContents by their numbers."""
