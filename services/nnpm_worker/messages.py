"""Writes DeliverRequest from parts, so that tensors' bytes are not copied into messages on their way out.

Tests hold it against protobuf, field by field.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nnpm.api.worker.v1 import worker_pb2 as wire

Buffer = bytes | memoryview

# Tags: field number << 3 | wire type (0 varint, 1 fixed64, 2 bytes).
_WORKER, _SCHEDULER, _REVISION, _REPLIES, _FIGURES = b"\x0a", b"\x12", b"\x1a", b"\x22", b"\x2a"
_NUMBER, _NONCE, _OFFSET, _COUNT, _HEAD, _RAW, _STATUS = b"\x08", b"\x11", b"\x18", b"\x20", b"\x2a", b"\x32", b"\x3a"
_FINAL_AND_QUEUE = b"\x40\x01\x48"


@dataclass(frozen=True, slots=True)
class Answer:
    """One `Reply` of worker.proto: `head` and `raw`, or `status`, a serialised google.rpc.Status."""

    number: int
    nonce: int
    offset: int
    count: int
    queue_ns: int
    head: bytes = b""
    raw: Sequence[Buffer] = ()
    status: bytes = b""

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        return sum([len(data) for data in self.raw])


def deliver_request(
    worker: str, scheduler: str, revision: str, answers: Sequence[Answer], figures: wire.BatchFigures | None
) -> list[Buffer]:
    """The parts of a serialised DeliverRequest, in order."""
    parts: list[Buffer] = [
        _field(_WORKER, worker.encode()) + _field(_SCHEDULER, scheduler.encode()) + _field(_REVISION, revision.encode())
    ]
    for answer in answers:
        _append(parts, answer)
    if figures is not None:
        parts.append(_field(_FIGURES, figures.SerializeToString()))
    return parts


def _append(parts: list[Buffer], answer: Answer) -> None:
    begin = _NUMBER + _varint(answer.number) + _NONCE + answer.nonce.to_bytes(8, "little")
    begin += _OFFSET + _varint(answer.offset) + _COUNT + _varint(answer.count)
    begin += _field(_STATUS, answer.status) if answer.status else _field(_HEAD, answer.head)
    contents: list[Buffer] = []
    for data in answer.raw:
        contents += (_RAW + _varint(len(data)), data)
    end = _FINAL_AND_QUEUE + _varint(answer.queue_ns)
    size = len(begin) + sum([len(part) for part in contents]) + len(end)
    parts.append(_REPLIES + _varint(size) + begin)
    parts += contents
    parts.append(end)


def _field(tag: bytes, content: bytes) -> bytes:
    return tag + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
