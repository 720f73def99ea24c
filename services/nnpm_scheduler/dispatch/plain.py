"""Splits a serialised ModelInferRequest into what a block has in common and what each call has of its own.

Plain is a request whose top-level fields are names, version, parameters, inputs, outputs and at most one id, then raw
contents up to its end: what every protobuf library writes. Two plain requests with the same header differ in nothing
but their ids and their tensors' bytes. (libs/nnpm_wire does the same in Rust, in src/plain.rs.)
"""

from typing import NamedTuple

MOST_HEADER = 4_096
"""Bytes; a longer header is not worth remembering."""

_ID, _RAW = 0x1A, 0x3A
_OTHERS = frozenset({0x0A, 0x12, 0x22, 0x2A, 0x32})


class Plain(NamedTuple):
    """A plain request. `header` is everything but the id field and the raw contents' bytes; their tags stay in it.

    `spans` are start and end of each raw content in the body.
    """

    header: bytes
    id: str
    spans: tuple[tuple[int, int], ...]


def split(body: bytes) -> Plain | None:
    """None: the request is odd, and has to be parsed in full."""
    try:
        return _split(body)
    except (IndexError, UnicodeDecodeError):
        return None


def _split(body: bytes) -> Plain | None:
    at, end = 0, len(body)
    request_id: str | None = None
    kept: list[bytes] = []
    since = size = 0
    spans: list[tuple[int, int]] = []
    while at < end:
        tag, start = body[at], at
        length, at = _length(body, at + 1)
        stop = at + length
        if stop > end or length < 0:
            return None
        if tag == _RAW:
            kept.append(body[since:at])
            spans.append((at, stop))
            since = stop
        elif spans or size > MOST_HEADER:
            return None
        elif tag == _ID and request_id is None:
            request_id = body[at:stop].decode()
            kept.append(body[since:start])
            since = stop
        elif tag in _OTHERS:
            size = stop
        else:
            return None
        at = stop
    header = b"".join(kept)
    if not spans or len(header) > MOST_HEADER:
        return None
    return Plain(header, request_id or "", tuple(spans))


def _length(body: bytes, at: int) -> tuple[int, int]:
    """A canonical varint of at most five bytes, and where it ends; -1 for any other."""
    value = shift = 0
    while shift < 35:
        byte = body[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return (value, at) if byte or not shift else (-1, at)
        shift += 7
    return -1, at
