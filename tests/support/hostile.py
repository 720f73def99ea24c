"""Malformed HTTP/2 and gRPC, made by hand: what a broken or hostile client may send to an inference listener.

Frames after RFC 9113, header blocks after RFC 7541 (literals without indexing only), messages after gRPC's HTTP/2
protocol. An *input* is one connection's bytes, or one message's where a connection carries a hundred bad ones.
"""

import asyncio
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from random import Random

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4
SERVICE = "inference.GRPCInferenceService"
INFER, STREAM_INFER = f"/{SERVICE}/ModelInfer", f"/{SERVICE}/ModelStreamInfer"

_READ_SECONDS = 0.2
_MANY_STREAMS = 100


def frame(kind: int, flags: int, stream: int, payload: bytes, *, length: int | None = None) -> bytes:
    """One frame; `length` lies about the payload."""
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name: str, value: str) -> bytes:
    """A header field, never indexed, without Huffman."""
    return b"\x00" + _string(name.encode()) + _string(value.encode())


def header_block(path: str = INFER, content_type: str = "application/grpc", method: str = "POST", **more: str) -> bytes:
    """A request's header block; underscores in further names stand for hyphens."""
    fields = {":method": method, ":scheme": "http", ":path": path, ":authority": "localhost", "te": "trailers"}
    fields |= {"content-type": content_type} | {name.replace("_", "-"): value for name, value in more.items()}
    return b"".join(literal(name, value) for name, value in fields.items())


def message(body: bytes, *, compressed: int = 0, length: int | None = None) -> bytes:
    """A length-prefixed message; `length` lies."""
    return struct.pack(">BI", compressed, len(body) if length is None else length) + body


def call(stream: int, data: bytes, *, block: bytes | None = None, end: bool = True) -> bytes:
    """HEADERS and DATA of one call."""
    opened = frame(HEADERS, END_HEADERS, stream, header_block() if block is None else block)
    return opened + b"".join(_data(stream, data, end=end))


def start() -> bytes:
    """What every well-behaved client begins with."""
    return PREFACE + frame(SETTINGS, 0, 0, b"")


def _data(stream: int, data: bytes, *, end: bool) -> Iterator[bytes]:
    pieces = [data[at : at + 16_384] for at in range(0, len(data), 16_384)] or [b""]
    for index, piece in enumerate(pieces):
        last = end and index == len(pieces) - 1
        yield frame(DATA, END_STREAM if last else 0, stream, piece)


def _string(data: bytes) -> bytes:
    return _integer(len(data), 7) + data


def _integer(value: int, bits: int) -> bytes:
    most = (1 << bits) - 1
    if value < most:
        return bytes([value])
    encoded, value = bytearray([most]), value - most
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


@dataclass(frozen=True, slots=True)
class Attack:
    """One connection's bytes, and how many inputs they are. `reset`: closed without reading, in the middle."""

    data: bytes
    inputs: int = 1
    reset: bool = False


Kind = Callable[[Random, bytes], Attack]


def _garbage(random: Random, good: bytes) -> Attack:
    return Attack(random.randbytes(random.randrange(1, 400)))


def _random_frames(random: Random, good: bytes) -> Attack:
    frames = [
        frame(
            random.randrange(16),
            random.randrange(256),
            random.choice((0, 1, 2, 3, 5, random.getrandbits(31))),
            random.randbytes(random.randrange(64)),
        )
        for _ in range(random.randrange(1, 12))
    ]
    return Attack(start() + b"".join(frames))


def _flipped(random: Random, good: bytes) -> Attack:
    data = bytearray(start() + call(1, message(good)))
    for _ in range(random.randrange(1, 4)):
        data[random.randrange(len(PREFACE), len(data))] ^= 1 << random.randrange(8)
    return Attack(bytes(data))


def _lying_frames(random: Random, good: bytes) -> Attack:
    data = message(good)
    length = random.choice((0, 1, len(data) - 1, len(data) + 1, 16_385, 0xFFFFFF))
    opened = frame(HEADERS, END_HEADERS, 1, header_block())
    return Attack(start() + opened + frame(DATA, END_STREAM, 1, data, length=length))


def _lying_messages(random: Random, good: bytes) -> Attack:
    """Streams whose length prefix does not fit, or whose flag says compressed."""
    calls = []
    for index in range(_MANY_STREAMS):
        length = random.choice((0, len(good) - 1, len(good) + 1, 1 << 20, 0x7FFFFFFF, 0xFFFFFFFF, len(good)))
        data = message(good, compressed=random.choice((0, 0, 1, 2, 255)), length=length)
        calls.append(call(2 * index + 1, data + random.choice((b"", data, b"\0", b"\0\0\0\0\1"))))
    return Attack(start() + b"".join(calls), _MANY_STREAMS)


def _bad_bodies(random: Random, good: bytes) -> Attack:
    """Well-framed messages that are no requests, or nearly."""
    calls = []
    for index in range(_MANY_STREAMS):
        body = bytearray(good)
        match random.randrange(4):
            case 0:
                body = bytearray(random.randbytes(random.randrange(200)))
            case 1:
                del body[random.randrange(len(body)) :]
            case 2:
                body[random.randrange(len(body))] ^= 1 << random.randrange(8)
            case _:
                at = random.randrange(len(body))
                body[at:at] = random.randbytes(random.randrange(1, 20))
        calls.append(call(2 * index + 1, message(bytes(body))))
    return Attack(start() + b"".join(calls), _MANY_STREAMS)


def _truncated(random: Random, good: bytes) -> Attack:
    data = start() + call(1, message(good))
    return Attack(data[: random.randrange(1, len(data))], reset=random.random() < 0.5)


def _huge_headers(random: Random, good: bytes) -> Attack:
    value = "x" * random.choice((8_000, 16_000, 70_000, 200_000))
    block = header_block(x_large=value)
    pieces = [block[at : at + 16_384] for at in range(0, len(block), 16_384)]
    frames = [frame(HEADERS, 0 if len(pieces) > 1 else END_HEADERS, 1, pieces[0])]
    for index, piece in enumerate(pieces[1:], 2):
        frames.append(frame(CONTINUATION, END_HEADERS if index == len(pieces) else 0, 1, piece))
    return Attack(start() + b"".join(frames) + frame(DATA, END_STREAM, 1, message(good)))


def _endless_continuation(random: Random, good: bytes) -> Attack:
    opened = frame(HEADERS, 0, 1, header_block())
    return Attack(start() + opened + frame(CONTINUATION, 0, 1, literal("a", "b")) * random.randrange(50, 2_000))


def _reset_in_body(random: Random, good: bytes) -> Attack:
    calls = []
    for index in range(_MANY_STREAMS):
        stream = 2 * index + 1
        data = message(good)[: random.randrange(len(good))]
        code = struct.pack(">I", random.randrange(14))
        calls.append(call(stream, data, end=False) + frame(RST_STREAM, 0, stream, code))
    return Attack(start() + b"".join(calls))


def _rapid_reset(random: Random, good: bytes) -> Attack:
    """CVE-2023-44487."""
    cancel, block = struct.pack(">I", 8), header_block()
    calls = [
        frame(HEADERS, END_HEADERS, 2 * index + 1, block) + frame(RST_STREAM, 0, 2 * index + 1, cancel)
        for index in range(1_000)
    ]
    return Attack(start() + b"".join(calls))


def _reset_when_sent(random: Random, good: bytes) -> Attack:
    """Whole calls, given up at once: what was taken in has to be let go again."""
    cancel = struct.pack(">I", 8)
    calls = [
        call(2 * index + 1, message(good)) + frame(RST_STREAM, 0, 2 * index + 1, cancel)
        for index in range(_MANY_STREAMS)
    ]
    return Attack(start() + b"".join(calls), _MANY_STREAMS)


def _half_open(random: Random, good: bytes) -> Attack:
    block = header_block(random.choice((INFER, STREAM_INFER)))
    calls = [frame(HEADERS, END_HEADERS, 2 * index + 1, block) for index in range(1_000)]
    return Attack(start() + b"".join(calls), reset=random.random() < 0.5)


def _control_floods(random: Random, good: bytes) -> Attack:
    flood = random.choice(
        (
            frame(PING, 0, 0, bytes(8)),
            frame(SETTINGS, 0, 0, struct.pack(">HI", 4, random.getrandbits(31))),
            frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7FFFFFFF)),
            frame(WINDOW_UPDATE, 0, 0, bytes(4)),
            frame(DATA, 0, 1, b""),
            frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 0)),
        )
    )
    return Attack(start() + flood * random.randrange(1, 3_000) + call(1, message(good)))


def _wrong_kind(random: Random, good: bytes) -> Attack:
    block = random.choice(
        (
            header_block(content_type="text/html"),
            header_block(method="GET"),
            header_block("/no.such.Service/Method"),
            header_block("no-slash"),
            header_block(grpc_timeout=random.choice(("1x", "99999999999H", "-1S", "0n", "1n", ""))),
            header_block(grpc_encoding="gzip"),
            literal(":method", "POST"),
            b"",
            random.randbytes(random.randrange(1, 60)),
        )
    )
    return Attack(start() + call(1, message(good), block=block))


KINDS: tuple[Kind, ...] = (
    _garbage,
    _random_frames,
    _flipped,
    _lying_frames,
    _lying_messages,
    _bad_bodies,
    _truncated,
    _huge_headers,
    _endless_continuation,
    _reset_in_body,
    _rapid_reset,
    _reset_when_sent,
    _half_open,
    _control_floods,
    _wrong_kind,
)


def attacks(random: Random, good: bytes, inputs: int) -> Iterator[tuple[str, Attack]]:
    """At least so many inputs, each with its kind's name; all kinds in equal numbers of connections.

    Args:
        good: a serialised ModelInferRequest that would be answered.
    """
    sent = 0
    while sent < inputs:
        for kind in KINDS:
            attack = kind(random, good)
            sent += attack.inputs
            yield kind.__name__.strip("_"), attack


async def send(address: str, attack: Attack) -> None:
    """Sends it over a connection of its own, reads a little of what comes, and goes away."""
    host, _, port = address.rpartition(":")
    with suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write(attack.data)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_READ_SECONDS):
                        await writer.drain()
                        if not attack.reset:
                            while await reader.read(65_536):
                                pass
            finally:
                writer.transport.abort() if attack.reset else writer.close()
