"""Reads the header of a serialised ModelInferRequest: names, datatypes, shapes, and where the tensors' bytes lie.

A hand-written protobuf scanner over the wire bytes (https://protobuf.dev/programming-guides/encoding/). Tensor data is
never decoded or copied: raw contents become spans, packed typed contents are counted with two C-speed passes. It takes
a message if and only if protobuf's own parser does (unit tests hold the two against each other), so that a worker may
rely on what was found here.

Work is bounded: `MOST_FIELDS` fields a message, whatever its size.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from nnpm.errors import InvalidArgument

MOST_FIELDS = 65_536
MOST_ELEMENTS_WALKED = 4_096
"""Typed elements that lie one by one (BYTES, or unpacked numbers) are counted up to here."""

UNCOUNTED = -1

_VARINT, _FIXED64, _LENGTH, _GROUP, _GROUP_END, _FIXED32 = range(6)
_ELEMENTS = (-1, _VARINT, _VARINT, _VARINT, _VARINT, _VARINT, _FIXED32, _FIXED64, _LENGTH)
"""The wire type of one element of each field of InferTensorContents, by the field's number."""
_LAST_CONTENTS = 8
_DEEPEST_GROUP = 99
_LONGEST_TAG = 5
_MASK64 = (1 << 64) - 1
_CONTINUED = bytes(range(128, 256))
_OVERLONG = re.compile(rb"[\x80-\xff]{10}")


class Span(NamedTuple):
    """`length` bytes from `offset` of the body."""

    offset: int
    length: int


@dataclass(slots=True)
class InputHeader:
    """One input tensor without its data.

    `typed` counts the elements of each typed-contents field by its number in InferTensorContents; `UNCOUNTED` where
    there are more elements than are worth walking here. None: the input has no typed contents.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    typed: dict[int, int] | None


@dataclass(slots=True)
class Header:
    """What a ModelInferRequest says besides its data.

    `asked` are the keys of all parameters of its tensors: extensions of the protocol that the client wants.
    """

    model_name: str
    model_version: str
    id: str
    inputs: list[InputHeader]
    outputs: list[str]
    raw: list[Span]
    asked: set[str]


class _MalformedError(Exception):
    """The bytes are no protobuf message of this type."""


def read_header(body: bytes) -> Header:
    """The header of `body`.

    Raises:
        InvalidArgument: MALFORMED_REQUEST, or REQUEST_TOO_COMPLEX when it has more than `MOST_FIELDS` fields.
    """
    try:
        return _Scan(body).request()
    except (_MalformedError, IndexError, UnicodeDecodeError) as error:
        raise InvalidArgument(
            "MALFORMED_REQUEST",
            f"the request's {len(body)} bytes are not a ModelInferRequest",
            hint="generate the client from inference/inference.proto of the Open Inference Protocol",
        ) from error


class _Scan:
    """One pass over one message. A field is known by its whole tag: number and wire type."""

    __slots__ = ("_asked", "_body", "_left")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._left = MOST_FIELDS
        self._asked: set[str] = set()

    def request(self) -> Header:
        body = self._body
        header = Header("", "", "", [], [], [], self._asked)
        for tag, at, stop in self._fields(0, len(body)):
            match tag:
                case 0x0A:
                    header.model_name = body[at:stop].decode()
                case 0x12:
                    header.model_version = body[at:stop].decode()
                case 0x1A:
                    header.id = body[at:stop].decode()
                case 0x22:
                    self._parameter(at, stop)
                case 0x2A:
                    header.inputs.append(self._input(at, stop))
                case 0x32:
                    header.outputs.append(self._output(at, stop))
                case 0x3A:
                    header.raw.append(Span(at, stop - at))
        return header

    def _input(self, at: int, end: int) -> InputHeader:
        body = self._body
        tensor = InputHeader("", "", (), None)
        for tag, start, stop in self._fields(at, end):
            match tag:
                case 0x0A:
                    tensor.name = body[start:stop].decode()
                case 0x12:
                    tensor.datatype = body[start:stop].decode()
                case 0x18 | 0x1A:
                    tensor.shape += self._dimensions(start, stop)
                case 0x22:
                    self._asked.add(self._parameter(start, stop))
                case 0x2A:
                    tensor.typed = {} if tensor.typed is None else tensor.typed
                    self._contents(start, stop, tensor.typed)
        return tensor

    def _dimensions(self, at: int, end: int) -> tuple[int, ...]:
        body = self._body
        shape = []
        while at < end:
            dimension = body[at]
            at += 1
            if dimension >= 128:
                dimension, at = _varint(body, at - 1)
                dimension = _signed(dimension)
            shape.append(dimension)
            self._spend()
        if at > end:
            raise _MalformedError
        return tuple(shape)

    def _contents(self, at: int, end: int, typed: dict[int, int]) -> None:
        """Adds to `typed` the elements between `at` and `end` of an InferTensorContents."""
        for walked, (tag, start, stop) in enumerate(self._fields(at, end)):
            field, kind = tag >> 3, tag & 7
            if field > _LAST_CONTENTS:
                continue
            if walked > MOST_ELEMENTS_WALKED:
                typed[field] = UNCOUNTED
                return
            element = _ELEMENTS[field]
            if kind == element:
                count = 1
            elif kind == _LENGTH:
                count = self._packed(start, stop, element)
            else:
                continue
            typed[field] = typed.get(field, 0) + count

    def _packed(self, at: int, end: int, element: int) -> int:
        """How many numbers of wire type `element` a packed field holds."""
        if element != _VARINT:
            count, rest = divmod(end - at, 4 if element == _FIXED32 else 8)
            if rest:
                raise _MalformedError
            return count
        data = self._body[at:end]
        if data and (data[-1] >= 128 or _OVERLONG.search(data)):
            raise _MalformedError
        # Each varint ends with its only byte below 128.
        return len(data.translate(None, _CONTINUED))

    def _output(self, at: int, end: int) -> str:
        name = ""
        for tag, start, stop in self._fields(at, end):
            if tag == 0x0A:
                name = self._body[start:stop].decode()
            elif tag == 0x12:
                self._asked.add(self._parameter(start, stop))
        return name

    def _parameter(self, at: int, end: int) -> str:
        """The key of an entry of a `map<string, InferParameter>`; its value means nothing here, but has to be right."""
        key = ""
        for tag, start, stop in self._fields(at, end):
            if tag == 0x0A:
                key = self._body[start:stop].decode()
            elif tag == 0x12:
                for inner, first, last in self._fields(start, stop):
                    if inner == 0x1A:
                        self._body[first:last].decode()
        return key

    def _fields(self, at: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Tag, start and end of the value of each field between `at` and `end`."""
        body = self._body
        while at < end:
            self._spend()
            tag = body[at]
            at += 1
            if tag >= 128:
                tag, at = _tag(body, at - 1)
            if tag < 8:
                raise _MalformedError
            if tag & 7 == _LENGTH:
                length = body[at]
                at += 1
                if length >= 128:
                    length, at = _varint(body, at - 1)
                stop = at + length
            else:
                stop = self._past(at, tag, _DEEPEST_GROUP)
            if stop > end:
                raise _MalformedError
            yield tag, at, stop
            at = stop

    def _past(self, at: int, tag: int, depth: int) -> int:
        """Where the value at `at` ends."""
        match tag & 7:
            case 0:
                return _varint(self._body, at)[1]
            case 1:
                return at + 8
            case 2:
                length, at = _varint(self._body, at)
                return at + length
            case 3 if depth > 0:
                return self._past_group(at, tag >> 3, depth - 1)
            case 5:
                return at + 4
        raise _MalformedError

    def _past_group(self, at: int, number: int, depth: int) -> int:
        while True:
            self._spend()
            tag, at = _tag(self._body, at)
            if tag < 8:
                raise _MalformedError
            if tag & 7 == _GROUP_END:
                if tag >> 3 != number:
                    raise _MalformedError
                return at
            at = self._past(at, tag, depth)

    def _spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise InvalidArgument("REQUEST_TOO_COMPLEX", f"the request has more than {MOST_FIELDS} fields")


def _tag(body: bytes, at: int) -> tuple[int, int]:
    tag, after = _varint(body, at)
    if tag >= 1 << 32 or after - at > _LONGEST_TAG:
        raise _MalformedError
    return tag, after


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """The unsigned number at `at`, cut to 64 bits as protobuf cuts it, and where it ends."""
    value = shift = 0
    while True:
        byte = body[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & _MASK64, at
        shift += 7
        if shift >= 70:
            raise _MalformedError


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
