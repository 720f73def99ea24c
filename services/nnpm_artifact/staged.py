"""A pack that is being written: in memory where there is room for it, else in a file."""

import os
import secrets
import threading
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

from nnpm_artifact.disk import disk_errors

_BLOCKS_AT_ONCE = 1024
"""What Linux takes in one write."""
_READ_BYTES = 1 << 20


class Staged(ABC):
    """Bytes on their way into a store; iterating gives all of them, in blocks, as often as it is asked for."""

    def __init__(self) -> None:
        self.size = 0
        self.crc32 = 0
        """Of all that was written, taken before it was put aside: a store compares it with what it got."""

    def write(self, blocks: Sequence[bytes]) -> None:
        """Append the blocks, which are not changed any more. Raises ResourceExhausted DISK_FULL."""
        for block in blocks:
            self.crc32 = zlib.crc32(block, self.crc32)
            self.size += len(block)
        self._append(blocks)

    @abstractmethod
    def __iter__(self) -> Iterator[bytes]: ...

    @abstractmethod
    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes of what was written."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the bytes. Safe to call again."""

    @abstractmethod
    def _append(self, blocks: Sequence[bytes]) -> None: ...


class StagedFile(Staged):
    """In a file of its own, which is removed in the end."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        with disk_errors(path):
            self._file = path.open("x+b", buffering=0)

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, self.size, _READ_BYTES):
            yield self.read_at(start, min(_READ_BYTES, self.size - start))

    def read_at(self, offset: int, length: int) -> bytes:
        with disk_errors(self.path):
            return os.pread(self._file.fileno(), length, offset)

    def close(self) -> None:
        with disk_errors(self.path):
            try:
                self._file.close()
            finally:
                self.path.unlink(missing_ok=True)

    def _append(self, blocks: Sequence[bytes]) -> None:
        """The blocks as they are: joining or buffering them would copy every byte once more."""
        rest = [memoryview(block) for block in blocks if block]
        with disk_errors(self.path):
            while rest:
                count = os.writev(self._file.fileno(), rest[:_BLOCKS_AT_ONCE])
                while rest and count >= len(rest[0]):
                    count -= len(rest.pop(0))
                if count:
                    rest[0] = rest[0][count:]


def stage_file(folder: Path) -> StagedFile:
    """A fresh file in `folder`. Raises ResourceExhausted DISK_FULL."""
    return StagedFile(folder / f"{secrets.token_hex(16)}.pack")


class Room:
    """Memory for packs, bytes: what is taken is given back."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """False when there is not so much left."""
        with self._lock:
            if size > self._free:
                return False
            self._free -= size
            return True

    def give(self, size: int) -> None:
        with self._lock:
            self._free += size


class StagedMemory(Staged):
    """In memory: the very blocks, not copied. `taken` bytes of `room` are its own until it is closed."""

    def __init__(self, room: Room, taken: int) -> None:
        super().__init__()
        self._room = room
        self._taken = taken
        self._blocks: list[bytes] = []

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._blocks)

    def read_at(self, offset: int, length: int) -> bytes:
        return b"".join(self._blocks)[offset : offset + length]

    def close(self) -> None:
        self._blocks = []
        self._room.give(self._taken)
        self._taken = 0

    def _append(self, blocks: Sequence[bytes]) -> None:
        self._blocks.extend(blocks)
