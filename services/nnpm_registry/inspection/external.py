"""Weights outside the graph: each tensor's external data must lie in a file of the package, and be exactly its size.

Only the manifest is asked, never a file system: a link, a device or a file swapped later cannot come in between. The
rules are those of ONNX Runtime, which maps the data at load time, with one exception: it would read its own process's
memory where a model says so.
"""

import math
from collections.abc import Iterator, Mapping

import onnx
from google.protobuf.message import Message

from nnpm.errors import InvalidArgument
from nnpm.package.paths import resolve_beside
from nnpm_registry.records import Rejection

_TensorProto = onnx.TensorProto
_RAW_DATA = onnx.TensorProto.RAW_DATA_FIELD_NUMBER
_FIXED_WIDTH = {
    onnx.TensorProto.FLOAT_DATA_FIELD_NUMBER: 4,
    onnx.TensorProto.DOUBLE_DATA_FIELD_NUMBER: 8,
}
_KNOWN_KEYS = frozenset({"location", "offset", "length", "checksum"})
_MAX_REJECTIONS = 20

BITS: Mapping[int, int] = {
    _TensorProto.FLOAT: 32, _TensorProto.UINT8: 8, _TensorProto.INT8: 8, _TensorProto.UINT16: 16,
    _TensorProto.INT16: 16, _TensorProto.INT32: 32, _TensorProto.INT64: 64, _TensorProto.BOOL: 8,
    _TensorProto.FLOAT16: 16, _TensorProto.DOUBLE: 64, _TensorProto.UINT32: 32, _TensorProto.UINT64: 64,
    _TensorProto.COMPLEX64: 64, _TensorProto.COMPLEX128: 128, _TensorProto.BFLOAT16: 16,
    _TensorProto.FLOAT8E4M3FN: 8, _TensorProto.FLOAT8E4M3FNUZ: 8, _TensorProto.FLOAT8E5M2: 8,
    _TensorProto.FLOAT8E5M2FNUZ: 8, _TensorProto.UINT4: 4, _TensorProto.INT4: 4,
}  # fmt: skip
"""Bits of one element; packed without gaps, the last byte filled up. Newer and narrower types are added by name."""

_NARROW = {"FLOAT4E2M1": 4, "FLOAT8E8M0": 8, "UINT2": 2, "INT2": 2}


def is_external(tensor: onnx.TensorProto) -> bool:
    """Whether the tensor's elements lie elsewhere."""
    return bool(tensor.data_location == _TensorProto.EXTERNAL)


def tensors_of(message: Message) -> Iterator[onnx.TensorProto]:
    """Every tensor anywhere in a message: initialisers, sparse ones, attributes, subgraphs, functions, training."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for part in value if field.is_repeated else (value,):
            if isinstance(part, onnx.TensorProto):
                yield part
            else:
                yield from tensors_of(part)


def check_external_data(model: onnx.ModelProto, path: str, files: Mapping[str, int], hole: str) -> list[Rejection]:
    """What is wrong with the external data of a model that stands at `path` in the package; at most 20 findings.

    Args:
        files: the package's files with their sizes in bytes.
        hole: the location that stands for data in the model's own file.
    """
    found = []
    for tensor in tensors_of(model):
        fault = _fault_of(tensor, path, files, hole) if is_external(tensor) else None
        if fault is not None:
            found.append(fault)
        if len(found) == _MAX_REJECTIONS:
            break
    return found


def _fault_of(tensor: onnx.TensorProto, path: str, files: Mapping[str, int], hole: str) -> Rejection | None:
    stated = {entry.key: entry.value for entry in tensor.external_data}
    size = byte_size(tensor)
    if size is None:
        return _invalid(tensor, "has a negative dimension, or elements that cannot lie outside the graph")
    if len(stated) != len(tensor.external_data):
        # Readers may differ in which of the two counts: nothing may be decided by one of them.
        return _invalid(tensor, "states a fact of its external data twice")
    if stated.get("location") == hole:
        return _fault_of_hole(tensor, stated, size)
    if fault := _fault_of_facts(stated):
        return _invalid(tensor, fault)
    location = stated["location"]
    target, fault = _target(location, path, files)
    if fault:
        return _outside(tensor, location, fault)
    return _fault_of_extent(tensor, stated, size, target, files[target])


def _fault_of_facts(stated: Mapping[str, str]) -> str:
    # A text that is not UTF-8 comes as bytes from the protobuf library.
    if not all(isinstance(text, str) for fact in stated.items() for text in fact):
        return "states a fact of its external data that is no text"
    if unknown := set(stated) - _KNOWN_KEYS:
        return f"states {min(unknown)[:80]!r} of its external data, which ONNX Runtime does not know"
    return "" if stated.get("location") else "has external data without a location"


def _target(location: str, path: str, files: Mapping[str, int]) -> tuple[str, str]:
    """The package's file that a location names, or what is wrong with it."""
    if "*" in location:
        return "", "ONNX Runtime reads such a name as an address in memory"
    try:
        target = resolve_beside(path, location)
    except InvalidArgument as error:
        return "", error.message.rpartition(": ")[2]
    return (target, "") if target in files else ("", f"the package has no file {target!r}")


def _fault_of_extent(
    tensor: onnx.TensorProto, stated: Mapping[str, str], size: int, target: str, file_size: int
) -> Rejection | None:
    numbers = {}
    for key in ("offset", "length"):
        text = stated.get(key, "0")
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            return _invalid(tensor, f"has the {key} {text[:40]!r}, which is no number of bytes from 0 on")
        numbers[key] = int(text)
    # A length of 0 is read as none, that is, as the size of the tensor.
    if numbers["length"] not in (0, size):
        return _invalid(tensor, f"has {numbers['length']} bytes of external data; its type and shape take {size}")
    if numbers["offset"] + size > file_size:
        return _invalid(tensor, f"ends at byte {numbers['offset'] + size} of {target!r}, which has {file_size}")
    return None


def _fault_of_hole(tensor: onnx.TensorProto, stated: Mapping[str, str], size: int) -> Rejection | None:
    field, length = int(stated["offset"]), int(stated["length"])
    if field in _FIXED_WIDTH:
        size = math.prod(tensor.dims) * _FIXED_WIDTH[field]
        if tensor.data_type in (_TensorProto.COMPLEX64, _TensorProto.COMPLEX128):
            size *= 2
    elif field != _RAW_DATA:
        return None  # numbers of variable length: nothing to compare
    if length == size:
        return None
    return Rejection(
        "INVALID_MODEL_FILE",
        f"tensor {tensor.name[:200]!r} has {length} bytes of data; its type and shape take {size}",
        "export the model again",
    )


def byte_size(tensor: onnx.TensorProto) -> int | None:
    """Bytes that the tensor's type and shape take; None when there is no such number."""
    bits = BITS.get(tensor.data_type)
    if bits is None:
        names = {number: name for name, number in _TensorProto.DataType.items()}
        bits = _NARROW.get(names.get(tensor.data_type, ""))
    if bits is None or any(dimension < 0 for dimension in tensor.dims):
        return None
    return -(-math.prod(tensor.dims) * bits // 8)


def _invalid(tensor: onnx.TensorProto, what: str) -> Rejection:
    return Rejection(
        "EXTERNAL_DATA_INVALID",
        f"tensor {tensor.name[:200]!r} {what}",
        "the data file belongs to another export of the model, or was cut off: export both again",
    )


def _outside(tensor: onnx.TensorProto, location: str, why: str) -> Rejection:
    return Rejection(
        "EXTERNAL_DATA_OUTSIDE",
        f"tensor {tensor.name[:200]!r} keeps its weights at {location[:200]!r}, outside the package: {why}",
        "export the model again with its data file beside it, and publish both",
    )
