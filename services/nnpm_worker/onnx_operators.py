"""Whether what an ONNX model's run takes depends on shapes alone: judged by its operators, read from the file's bytes.

Only the fields that lead to an operator's name are followed (onnx.proto: ModelProto.graph = 7, GraphProto.node = 1,
NodeProto.op_type = 4 and .domain = 7); a model with functions of its own (ModelProto.functions = 25) is not judged.
"""

from collections.abc import Iterator
from pathlib import Path

_MOST_BYTES = 8 * 1024 * 1024
"""A run of a fraction of a millisecond reads no more weights than this; larger files are not looked through."""

_COST_BY_VALUE = frozenset(
    (
        "Loop",
        "Scan",
        "If",
        "SequenceMap",
        "Expand",
        "Range",
        "Tile",
        "ConstantOfShape",
        "Resize",
        "Upsample",
        "Pad",
        "OneHot",
        "MaxUnpool",
        "AffineGrid",
        "CenterCropPad",
        "Col2Im",
        "StringSplit",
        "StringNormalizer",
        "RegexFullMatch",
        "TfIdfVectorizer",
    )
)
"""What these take depends on what their inputs say, and not only on how large these are."""

_STANDARD_DOMAINS = frozenset((b"", b"ai.onnx", b"ai.onnx.ml"))

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def cost_is_by_shape(path: Path) -> bool:
    """Whether two runs with inputs of the same shapes take about as long. False where that is not known."""
    if path.stat().st_size > _MOST_BYTES:
        return False
    model = memoryview(path.read_bytes())
    try:
        for field, graph in _fields(model):
            if field == 25 or (field == 7 and not all(_is_by_shape(node) for one, node in _fields(graph) if one == 1)):
                return False
    except (ValueError, IndexError):
        return False  # no protobuf; whether it is a model is for the runtime to say
    return True


def _is_by_shape(node: memoryview) -> bool:
    operator = domain = b""
    for field, content in _fields(node):
        if field == 4:
            operator = bytes(content)
        elif field == 7:
            domain = bytes(content)
    return domain in _STANDARD_DOMAINS and operator.decode() not in _COST_BY_VALUE


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each length-delimited field. Raises ValueError or IndexError where it is no message."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            _, at = _varint(message, at)
        elif kind == _FIXED64:
            at += 8
        elif kind == _FIXED32:
            at += 4
        elif kind == _BYTES:
            size, at = _varint(message, at)
            if at + size > len(message):
                raise ValueError("a field is longer than its message")
            yield tag >> 3, message[at : at + size]
            at += size
        else:
            raise ValueError("a group, which no ONNX message has")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while message[at] & 0x80:
        value |= (message[at] & 0x7F) << shift
        shift += 7
        at += 1
    return value | message[at] << shift, at + 1
