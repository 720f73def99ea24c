"""A file's recipe: the ordered list of its chunks, cut into parts that fit in memory whatever the file's size.

    chunk    SHA-256 (32), size (u32)
    part     file's SHA-256 (32), file's size (u64), offset of the part's first byte (u64), then its chunks

Parts are the entries of the file's recipe pack; the SQL index keeps each part's chunks as they stand there. Numbers are
little-endian. 10 GiB are about 160,000 chunks: 160 parts of 36 KiB.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nnpm.errors import DataLoss

MAX_CHUNK_BYTES = 1 << 20
MAX_FILE_BYTES = 1 << 40
MAX_FILE_CHUNKS = 1 << 25
PART_CHUNKS = 1024
"""Chunks in one part: 64 MiB of a file, on average."""

_CHUNK = struct.Struct("<32sI")
_PART = struct.Struct("<32sQQ")


@dataclass(frozen=True, slots=True)
class Chunk:
    """SHA-256 of a chunk's bytes (32 bytes), and how many they are."""

    digest: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Part:
    """Some consecutive chunks of a file; the file is named so that a part found alone tells where it belongs."""

    file_digest: bytes
    file_size: int
    first_byte: int
    chunks: tuple[Chunk, ...]

    def encode(self) -> bytes:
        return _PART.pack(self.file_digest, self.file_size, self.first_byte) + encode_chunks(self.chunks)

    @classmethod
    def decode(cls, data: bytes) -> "Part":
        """Raises DataLoss RECIPE_CORRUPT."""
        if len(data) < _PART.size:
            raise DataLoss("RECIPE_CORRUPT", f"a part of a recipe has {len(data)} bytes only")
        digest, size, first_byte = _PART.unpack_from(data)
        return cls(digest, size, first_byte, tuple(decode_chunks(data[_PART.size :])))

    @property
    def end(self) -> int:
        """Offset behind the part's last byte."""
        return self.first_byte + length_of(self.chunks)


def encode_chunks(chunks: Iterable[Chunk]) -> bytes:
    """As a recipe's part and the index hold them."""
    return b"".join(_CHUNK.pack(chunk.digest, chunk.size) for chunk in chunks)


def decode_chunks(data: bytes) -> list[Chunk]:
    """The reverse of `encode_chunks`. Raises DataLoss RECIPE_CORRUPT."""
    if len(data) % _CHUNK.size:
        raise DataLoss("RECIPE_CORRUPT", f"a recipe's part of {len(data)} bytes holds no whole number of chunks")
    return [Chunk(digest, size) for digest, size in _CHUNK.iter_unpack(data)]


def length_of(chunks: Sequence[Chunk]) -> int:
    """Bytes that these chunks are together."""
    return sum(chunk.size for chunk in chunks)
