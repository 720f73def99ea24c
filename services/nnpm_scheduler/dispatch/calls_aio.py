"""Calls of the grpc.aio transport, and the blocks that are made of them: see `call.py`."""

import asyncio
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from nnpm.api.inference import inference_pb2
from nnpm_scheduler.dispatch.call import TRACEPARENT, Raw
from nnpm_scheduler.dispatch.plain import Plain


@dataclass(frozen=True, slots=True)
class Failure:
    """What a call fails with: a status, and what a stream's message says of it."""

    code: int
    message: str
    details: bytes
    streamed: str


Outcome = bytes | Failure
"""The serialised ModelInferResponse, or what the call fails with."""


@dataclass(slots=True, eq=False)
class AioCall:
    """A call that a coroutine waits for. `place` is its block's number and its offset, once it is in flight."""

    body: bytes
    plain: Plain | None
    timeout: float | None
    metadata: tuple[str, ...]
    method: str
    outcome: asyncio.Future[Outcome]
    place: tuple[int, int] | None = None

    @property
    def block(self) -> object:
        """Calls with an equal one may share a block. Time-outs within a thousandth of each other count as equal."""
        if self.plain is None or self.metadata[TRACEPARENT]:
            return self
        timeout = None if self.timeout is None else _rounded(self.timeout)
        return self.plain.header, timeout, self.metadata, self.method

    @property
    def id(self) -> str:
        """The client's request id."""
        if self.plain is not None:
            return self.plain.id
        try:
            return inference_pb2.ModelInferRequest.FromString(self.body).id
        except DecodeError:
            return ""

    def finish(self, outcome: Outcome) -> int:
        """1 if somebody waited for it, else 0."""
        if self.outcome.done():
            return 0
        self.outcome.set_result(outcome)
        return 1


class AioCalls:
    """See `nnpm_scheduler.dispatch.call.Calls`."""

    def __init__(self, calls: list[AioCall]) -> None:
        self._calls = calls
        first = calls[0]
        self.header = first.plain.header if first.plain is not None else b""
        self.metadata = first.metadata
        self.method = first.method

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def timeout(self) -> float | None:
        """The shortest of the block's."""
        timeouts = [call.timeout for call in self._calls if call.timeout is not None]
        return min(timeouts) if timeouts else None

    @property
    def size(self) -> int:
        """Bytes of all bodies."""
        return sum([len(call.body) for call in self._calls])

    def body(self) -> bytes:
        """The first call's."""
        return self._calls[0].body

    def raw(self) -> list[bytes]:
        """For each raw input the bytes of all calls."""
        plains = [(call.body, call.plain.spans) for call in self._calls if call.plain is not None]
        count = len(plains[0][1]) if plains else 0
        return [b"".join([body[slice(*spans[index])] for body, spans in plains]) for index in range(count)]

    def split(self, count: int, /) -> "AioCalls":
        """Takes the first `count` calls off."""
        first, self._calls = self._calls[:count], self._calls[count:]
        return AioCalls(first)

    def fly(self, number: int, nonce: int, /) -> None:
        """Remembers the calls' places, for `cancel`. The nonce is looked at by the dispatch core."""
        del nonce
        for offset, call in enumerate(self._calls):
            call.place = (number, offset)

    def claimable(self, whole: bool, /) -> None:
        """Bodies are kept anyway, and the dispatch core redeems them."""

    def live(self) -> list[int]:
        """Offsets of the calls that somebody waits for."""
        return [offset for offset, call in enumerate(self._calls) if not call.outcome.done()]

    def single(self, offset: int, /) -> "AioCalls":
        """One call, as a block."""
        if self._calls[offset].outcome.done():
            raise ValueError(offset)
        return AioCalls([self._calls[offset]])

    def answer(self, offset: int, count: int, head: bytes, raw: Raw, /) -> int:
        """Cuts the replies apart, and gives each call its own."""
        answered = 0
        strides = [len(data) // count for data in raw]
        prefixes = [b"\x32" + varint(stride) for stride in strides]
        for index, call in enumerate(self._calls[offset : offset + count]):
            parts: list[bytes | memoryview] = [_id_field(call.id), head]
            for data, stride, prefix in zip(raw, strides, prefixes, strict=True):
                parts += (prefix, data[index * stride : (index + 1) * stride])
            answered += call.finish(b"".join(parts))
        return answered

    def fail(self, code: int, message: str, details: bytes, streamed: str, /) -> int:
        """Fails what is live."""
        failure = Failure(code, message, details, streamed)
        return sum([call.finish(failure) for call in self._calls])


def _rounded(timeout: float) -> float:
    """Cut to a thousandth of itself."""
    step = 2.0 ** (int(timeout * 1e6).bit_length() - 11) / 1e6
    return timeout // step * step


def _id_field(request_id: str) -> bytes:
    if not request_id:
        return b""
    encoded = request_id.encode()
    return b"\x1a" + varint(len(encoded)) + encoded


def varint(value: int) -> bytes:
    """As protobuf has it."""
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
