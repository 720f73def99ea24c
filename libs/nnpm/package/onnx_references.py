"""Where an ONNX model keeps its weights outside itself, found without reading a weight.

A walk over the protobuf encoding (https://protobuf.dev/programming-guides/encoding/) that enters only the messages that
can hold tensors (onnx.proto) and seeks past everything else, so that 2 GB of weights inside a model cost nothing, and
the client needs no `onnx`.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nnpm.errors import InvalidArgument

_EXTERNAL = 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 100
_MAX_TEXT = 1 << 16

# message -> field number -> message in it
_MESSAGES: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "TrainingInfo", 25: "Function"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
}
_TENSOR_NAME, _TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 8, 13, 14
_ENTRY_KEY, _ENTRY_VALUE = 1, 2


@dataclass(frozen=True, slots=True)
class ExternalTensor:
    """A tensor whose bytes lie in another file: `length` bytes (None = up to the end) from `offset`."""

    name: str
    location: str
    offset: int = 0
    length: int | None = None


def external_tensors(path: Path) -> Iterator[ExternalTensor]:
    """Every tensor of the model with external data, in file order. Raises InvalidArgument INVALID_MODEL_FILE."""
    with path.open("rb") as file:
        end = file.seek(0, io.SEEK_END)
        file.seek(0)
        yield from _Walk(file, path.name).tensors("Model", end, 0)


class _Walk:
    """Reads fields from where the file stands; every length is checked against the end of its message."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name

    def tensors(self, message: str, end: int, depth: int) -> Iterator[ExternalTensor]:
        """The external tensors in the message that ends at `end`."""
        if depth > _MAX_DEPTH:
            raise self._fault("its graphs are nested too deep")
        inner = _MESSAGES[message]
        for number, kind, stop in self._fields(end):
            child = inner.get(number) if kind == _BYTES else None
            if child == "Tensor":
                if (tensor := self._tensor(stop)) is not None:
                    yield tensor
            elif child is not None:
                yield from self.tensors(child, stop, depth + 1)

    def _tensor(self, end: int) -> ExternalTensor | None:
        name, location, facts = "", 0, dict[str, str]()
        for number, kind, stop in self._fields(end):
            if number == _TENSOR_NAME and kind == _BYTES:
                name = self._text(stop)
            elif number == _TENSOR_DATA_LOCATION and kind == _VARINT:
                location = stop
            elif number == _TENSOR_EXTERNAL_DATA and kind == _BYTES:
                key, value = self._entry(stop)
                facts[key] = value
        if location != _EXTERNAL:
            return None
        if not facts.get("location"):
            raise self._fault(f"tensor {name!r} has external data without a location")
        length = self._number(facts["length"], name) if facts.get("length") else None
        return ExternalTensor(name, facts["location"], self._number(facts.get("offset") or "0", name), length)

    def _entry(self, end: int) -> tuple[str, str]:
        found = {_ENTRY_KEY: "", _ENTRY_VALUE: ""}
        for number, kind, stop in self._fields(end):
            if number in found and kind == _BYTES:
                found[number] = self._text(stop)
        return found[_ENTRY_KEY], found[_ENTRY_VALUE]

    def _fields(self, end: int) -> Iterator[tuple[int, int, int]]:
        """(number, wire type, where its bytes end or its varint's value); what the caller leaves unread is skipped."""
        while (position := self._file.tell()) < end:
            tag = self._varint()
            number, kind = tag >> 3, tag & 7
            if number == 0:
                raise self._fault(f"field 0 at byte {position}")
            if kind == _VARINT:
                yield number, kind, self._varint()
                continue
            size = {_FIXED64: 8, _FIXED32: 4}.get(kind)
            if kind == _BYTES:
                size = self._varint()
            if size is None:
                raise self._fault(f"unknown wire type {kind} at byte {position}")
            stop = self._file.tell() + size
            if stop > end:
                raise self._fault(f"the field at byte {position} is cut off")
            yield number, kind, stop
            self._file.seek(stop)
        if self._file.tell() != end:
            raise self._fault("a message ends inside a field")

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._file.read(1)
            if not byte:
                raise self._fault("it ends inside a number")
            value |= (byte[0] & 0x7F) << shift
            if byte[0] < 0x80:
                return value
        raise self._fault("a number is longer than 10 bytes")

    def _text(self, stop: int) -> str:
        size = stop - self._file.tell()
        if size > _MAX_TEXT:
            raise self._fault(f"a name of {size} bytes")
        try:
            return self._file.read(size).decode()
        except UnicodeDecodeError as fault:
            raise self._fault("a name is no UTF-8") from fault

    def _number(self, text: str, tensor: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise self._fault(f"tensor {tensor!r} has external data at {text[:40]!r}, which is no number of bytes")
        return int(text)

    def _fault(self, why: str) -> InvalidArgument:
        return InvalidArgument(
            "INVALID_MODEL_FILE",
            f"{self._name} is no ONNX model: {why}",
            hint="export it again; python -c 'import onnx; onnx.checker.check_model(PATH)' says more",
            metadata={"file": self._name},
        )
