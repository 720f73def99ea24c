"""Reads an ONNX model with holes where its weights lie.

A walk over the protobuf encoding (https://protobuf.dev/programming-guides/encoding/) that copies the model field by
field, except for large data of initialisers and of Constant nodes: such a tensor comes out as one with external data at
a location that no model can know, so that weights inside the file and weights beside it are one case from here on.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from nnpm.errors import InvalidArgument
from nnpm_registry.inspection.pieces import PiecedFile

SMALL = 1 << 16
"""Bytes up to which a field is copied whole: shapes, axes and scales that the checks need are far smaller."""

MAX_BYTES = 128 << 20
"""Most bytes of a graph without its weights."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 100

# message -> number of a field -> message in it; only what can hold large tensors (onnx.proto).
_MESSAGES: Mapping[str, Mapping[int, str]] = {
    "Model": {7: "Graph", 25: "Function"},
    "Function": {7: "Node"},
    "Graph": {1: "Node", 5: "Tensor"},
    "Node": {5: "Attribute"},
    "Attribute": {6: "Graph", 11: "Graph"},
    "Constant": {5: "Tensor", 6: "Graph", 11: "Graph"},
    "Tensor": {},
}
_OP_TYPE = 4
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_RAW_DATA = 9
_ENUM = 0xFFFFFFFF  # of a longer number, protobuf reads so many bits
_DATA = frozenset({4, 5, 7, _RAW_DATA, 10, 11})
"""Fields of a tensor that hold its elements, packed."""


@dataclass(frozen=True, slots=True)
class Skeleton:
    """The model's encoding without its weights.

    `hole` is the location that stands for weights inside the file; such a tensor's external `length` is that of the
    data and its `offset` the number of the field that holds them.
    """

    content: bytes
    hole: str


def read_skeleton(file: PiecedFile, size: int) -> Skeleton:
    """The skeleton of a model of `size` bytes.

    Raises InvalidArgument INVALID_MODEL_FILE when it is no protobuf, GRAPH_TOO_LARGE when little of it is weights.
    """
    walk = _Walk(file, f"hole-{secrets.token_hex(16)}")
    return Skeleton(b"".join(walk.copy("Model", size, 0)), walk.hole)


@dataclass(slots=True)
class _Walk:
    file: PiecedFile
    hole: str
    copied: int = field(default=0)

    def copy(self, message: str, end: int, depth: int) -> list[bytes]:
        """The fields of the message that ends at `end`, encoded."""
        if depth > _MAX_DEPTH:
            raise _fault("its graphs are nested too deep")
        pieces: list[bytes] = []
        operator, external, dropped = b"", False, (0, 0)
        while self.file.position < end:
            tag, number, kind, size = self._field(end)
            if kind == _VARINT:
                external |= message == "Tensor" and number == _DATA_LOCATION and size & _ENUM == 1
                pieces.append(self._counted(tag))
                continue
            inner = _MESSAGES[message].get(number)
            if inner == "Attribute" and operator == b"Constant":
                inner = "Constant"
            if size <= SMALL or kind != _BYTES:
                content = self.file.read(size)
                operator = content if message == "Node" and number == _OP_TYPE else operator
                pieces += (tag, self._counted(content))
            elif message == "Tensor" and number in _DATA:
                dropped = (number, size)
                self.file.position += size
            elif inner is not None:
                content = b"".join(self.copy(inner, self.file.position + size, depth + 1))
                pieces += (_key(number), _varint(len(content)), content)
            else:
                pieces += (tag, self._counted(self.file.read(self._allowed(size))))
        if self.file.position != end:
            raise _fault("a message ends inside a field")
        if dropped[0] and not external:
            pieces.append(self._as_external(*dropped))
        return pieces

    def _field(self, end: int) -> tuple[bytes, int, int, int]:
        """A field's encoding up to its content, number, wire type, and size of the content (a varint's value)."""
        tag = self._number()
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise _fault(f"field 0 before byte {self.file.position}")
        if kind == _VARINT:
            value = self._number()
            return _varint(tag) + _varint(value), number, kind, value
        if kind == _BYTES:
            size = self._number()
            head = _varint(tag) + _varint(size)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
            head = _varint(tag)
        else:
            raise _fault(f"unknown wire type {kind} before byte {self.file.position}")
        if self.file.position + size > end:
            raise _fault(f"the field before byte {self.file.position} is cut off")
        return head, number, kind, size

    def _number(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self.file.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise _fault("a number is longer than 10 bytes")

    def _counted(self, content: bytes) -> bytes:
        self.copied += self._allowed(len(content))
        return content

    def _allowed(self, size: int) -> int:
        if self.copied + size > MAX_BYTES:
            raise InvalidArgument(
                "GRAPH_TOO_LARGE",
                f"the graph takes more than {MAX_BYTES >> 20} MiB without the weights of its initialisers",
                hint="keep large constants in initialisers",
            )
        return size

    def _as_external(self, number: int, size: int) -> bytes:
        facts = {"location": self.hole, "offset": str(number), "length": str(size)}
        entries = [_text(1, key.encode()) + _text(2, value.encode()) for key, value in facts.items()]
        return b"".join(_text(_EXTERNAL_DATA, entry) for entry in entries) + _varint(_DATA_LOCATION << 3) + b"\x01"


def _key(number: int) -> bytes:
    return _varint(number << 3 | _BYTES)


def _text(number: int, content: bytes) -> bytes:
    return _key(number) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _fault(why: str) -> InvalidArgument:
    return InvalidArgument(
        "INVALID_MODEL_FILE",
        f"the model's file is no ONNX model: {why}",
        hint="export it again; python -c 'import onnx; onnx.checker.check_model(PATH)' says more",
    )
