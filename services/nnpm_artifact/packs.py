"""The pack: the one format in which everything lies in the store.

A pack is an object of about 32 MiB that holds the entries of one namespace and one kind, and ends in a footer that
lists them, so that one ranged read of its tail tells all. The SQL index is a copy of what the footers say.

    header   magic "NNPMPACK", version (u32), 4 bytes of zero
    entries  the stored bytes of each, one after the other
    footer   kind (u8), created (u64, Unix milliseconds), namespace (u16 length, UTF-8), count (u32), then per entry:
             SHA-256 of the raw bytes (32), offset (u64), stored length (u32), raw length (u32),
             codec (u8), key id (16), nonce (12)
    trailer  footer length (u32), SHA-256 of the footer (32), version (u32), magic "NNPMFOOT"

Numbers are little-endian. Codec 0 = as it is, key id of zeros = not encrypted; others are for versions to come, which
need not touch a byte that is stored today.
"""

import hashlib
import secrets
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from nnpm.errors import DataLoss, FailedPrecondition
from nnpm_artifact.pack_store import PackStore
from nnpm_artifact.staged import Staged

VERSION = 1
TARGET_BYTES = 32 << 20
"""A pack is closed when its entries reach this; one object each is what a bucket is fast at."""
MAX_ENTRIES = 16_384
"""A pack of very small chunks is closed earlier, so that its footer stays small."""
MOST_BYTES = TARGET_BYTES + (8 << 20)
"""A pack of chunks, with the message that fills it and its footer."""

_HEADER = struct.Struct("<8sI4x")
_FOOTER = struct.Struct("<BQH")
_COUNT = struct.Struct("<I")
_ENTRY = struct.Struct("<32sQIIB16s12s")
_TRAILER = struct.Struct("<I32sI8s")
_MAGIC, _END_MAGIC = b"NNPMPACK", b"NNPMFOOT"
_TAIL_BYTES = 256 << 10
_NO_CODEC, _NO_KEY, _NO_NONCE = 0, bytes(16), bytes(12)


class PackKind(IntEnum):
    """What the entries of a pack are."""

    CHUNKS = 1
    RECIPE = 2
    REFERENCES = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: where its stored bytes lie in the pack, and what its raw bytes must hash to."""

    digest: bytes
    offset: int
    stored: int
    """Bytes in the pack."""
    size: int
    """Raw bytes."""
    codec: int = _NO_CODEC
    key_id: bytes = _NO_KEY
    nonce: bytes = _NO_NONCE


@dataclass(frozen=True, slots=True)
class Footer:
    """What a pack says about itself."""

    kind: PackKind
    created_ms: int
    namespace: str
    entries: tuple[Entry, ...]


def new_name(kind: PackKind) -> str:
    """A fresh object name, `chunks/3f/3f...`: random, so that no two writers ever want the same one."""
    token = secrets.token_hex(16)
    return f"{prefix_of(kind)}{token[:2]}/{token}"


def prefix_of(kind: PackKind) -> str:
    """What the names of all packs of one kind begin with."""
    return f"{kind.name.lower()}/"


class PackBuilder:
    """Writes one pack. `close` lets go of it."""

    def __init__(self, staged: Staged, kind: PackKind, namespace: str, created_ms: int) -> None:
        """Into `staged`, which is empty and this builder's from now on. Raises ResourceExhausted DISK_FULL."""
        self.staged = staged
        self.kind = kind
        self.namespace = namespace
        self.created_ms = created_ms
        self.entries: list[Entry] = []
        staged.write([_HEADER.pack(_MAGIC, VERSION)])

    @property
    def size(self) -> int:
        return self.staged.size

    @property
    def full(self) -> bool:
        return self.size >= TARGET_BYTES or len(self.entries) >= MAX_ENTRIES

    def add(self, digest: bytes, data: bytes) -> Entry:
        """Append an entry whose SHA-256 the caller has verified. Raises ResourceExhausted DISK_FULL."""
        self.extend({digest: data})
        return self.entries[-1]

    def extend(self, entries: Mapping[bytes, bytes]) -> None:
        """As `add`, for many at once: digest -> data."""
        offset = self.size
        self.staged.write(list(entries.values()))
        for digest, data in entries.items():
            self.entries.append(Entry(digest, offset, len(data), len(data)))
            offset += len(data)

    def finish(self) -> None:
        """Write footer and trailer: a whole pack then (not yet a durable one)."""
        name = self.namespace.encode()
        footer = b"".join(
            (
                _FOOTER.pack(self.kind, self.created_ms, len(name)),
                name,
                _COUNT.pack(len(self.entries)),
                *(_ENTRY.pack(e.digest, e.offset, e.stored, e.size, e.codec, e.key_id, e.nonce) for e in self.entries),
            )
        )
        trailer = _TRAILER.pack(len(footer), hashlib.sha256(footer).digest(), VERSION, _END_MAGIC)
        self.staged.write([footer, trailer])

    def close(self) -> None:
        """Let go of the staged pack. Safe to call again."""
        self.staged.close()


def read_footer(store: PackStore, name: str, size: int) -> Footer:
    """Read what a pack of `size` bytes lists: one ranged read, two for a very long footer.

    Raises DataLoss PACK_CORRUPT when the tail is not a pack's, FailedPrecondition PACK_TOO_NEW for a later format.
    """
    if size < _HEADER.size + _TRAILER.size:
        raise _corrupt(name, f"it has {size} bytes only")
    tail = store.read(name, max(0, size - _TAIL_BYTES), min(size, _TAIL_BYTES))
    length, checksum, version, magic = _TRAILER.unpack(tail[-_TRAILER.size :])
    if magic != _END_MAGIC:
        raise _corrupt(name, "it does not end as a pack does")
    if version != VERSION:
        raise FailedPrecondition(
            "PACK_TOO_NEW",
            f"pack {name} has format {version}, this version of nnpm knows {VERSION}",
            hint="update nnpm",
            metadata={"pack": name},
        )
    begin = size - _TRAILER.size - length
    if begin < _HEADER.size:
        raise _corrupt(name, "its footer is longer than itself")
    footer = tail[-_TRAILER.size - length : -_TRAILER.size]
    if len(footer) < length:
        footer = store.read(name, begin, length)
    if hashlib.sha256(footer).digest() != checksum:
        raise _corrupt(name, "the checksum of its footer is wrong")
    return _parse_footer(name, footer, begin)


def open_entry(entry: Entry, stored: bytes | memoryview, pack: str) -> bytes | memoryview:
    """The raw bytes of an entry, verified. Raises DataLoss CHUNK_CORRUPT; FailedPrecondition PACK_TOO_NEW."""
    if entry.codec != _NO_CODEC or entry.key_id != _NO_KEY:
        raise FailedPrecondition(
            "PACK_TOO_NEW", f"pack {pack} has entries with codec {entry.codec}, unknown here", hint="update nnpm"
        )
    verify_chunk(entry.digest, stored, pack)
    return stored


class CorruptChunk(DataLoss):
    """A chunk's bytes in a pack are not what its digest names."""

    def __init__(self, digest: bytes, pack: str) -> None:
        super().__init__(
            "CHUNK_CORRUPT",
            f"chunk sha256:{digest.hex()} in pack {pack} is damaged",
            hint="publish the package again: what is damaged is asked for anew",
            metadata={"digest": f"sha256:{digest.hex()}", "pack": pack},
        )
        self.digest = digest


def verify_chunk(digest: bytes, data: bytes | memoryview, pack: str) -> None:
    """Raises CorruptChunk when `data`, read from `pack`, is not what `digest` names."""
    if hashlib.sha256(data).digest() != digest:
        raise CorruptChunk(digest, pack)


def _parse_footer(name: str, footer: bytes, end: int) -> Footer:
    """The footer's fields; entries must lie in front of the footer, which begins at `end`."""
    try:
        kind, created_ms, length = _FOOTER.unpack_from(footer)
        at = _FOOTER.size
        namespace = footer[at : at + length].decode()
        (count,) = _COUNT.unpack_from(footer, at + length)
        body = memoryview(footer)[at + length + _COUNT.size :]
        entries = tuple(Entry(*fields) for fields in _ENTRY.iter_unpack(body))
        footer_kind = PackKind(kind)
    except (struct.error, ValueError) as error:
        raise _corrupt(name, f"its footer does not read: {error}") from error
    if len(entries) != count or any(e.offset < _HEADER.size or e.offset + e.stored > end for e in entries):
        raise _corrupt(name, "its entries do not fit it")
    return Footer(footer_kind, created_ms, namespace, entries)


def _corrupt(name: str, why: str) -> DataLoss:
    return DataLoss("PACK_CORRUPT", f"pack {name} is damaged: {why}", metadata={"pack": name})


def stored_bytes(entries: Sequence[Entry]) -> int:
    """Bytes that these entries take in their pack."""
    return sum(entry.stored for entry in entries)
