"""Content-defined chunks: where a file is cut, so that equal content is cut equally wherever it stands.

FastCDC 2020 (https://ieeexplore.ieee.org/document/9055082) as `pyfastcdc` does it, with frozen parameters: another cut
would store again everything that is stored already. tests/unit/nnpm/package/test_chunking.py holds golden cuts.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol, Self

from pyfastcdc import FastCDC

from nnpm.package.digest import format_digest

MIN_SIZE = 16 * 1024
AVERAGE_SIZE = 64 * 1024
MAX_SIZE = 256 * 1024
_NORMALIZATION: Literal[1] = 1  # pyfastcdc's `normalized_chunking`
_SEED = 0
_TELL_EVERY = 16  # chunks
_BEHIND = 8  # reads of half a MiB


class Readable(Protocol):
    """An open binary file."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """One piece of a file: where it lies (bytes) and the SHA-256 of its content (32 bytes)."""

    offset: int
    length: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class ChunkedFile:
    """What cutting a whole file found: its size in bytes, its digest and its chunks in order."""

    size: int
    digest: str
    chunks: tuple[Chunk, ...]


def cut(file: Readable) -> Iterator[tuple[Chunk, memoryview]]:
    """Cuts a stream from where it stands: each chunk with its bytes, which are valid until the next one is asked for.

    Takes half a MiB of memory whatever the file's size; lets other threads run while it cuts and hashes.
    """
    cutter = FastCDC(AVERAGE_SIZE, min_size=MIN_SIZE, max_size=MAX_SIZE, normalized_chunking=_NORMALIZATION, seed=_SEED)
    for piece in cutter.cut_stream(file):  # type: ignore[arg-type]
        yield Chunk(piece.offset, piece.length, hashlib.sha256(piece.data).digest()), piece.data


def chunk_whole(file: Readable, on_bytes: Callable[[int], None] | None = None) -> ChunkedFile:
    """Cuts and hashes a whole file in one pass. About 200 bytes of memory a chunk: 10 GiB is 30 MB.

    Args:
        file: the open file, at its beginning.
        on_bytes: told after each MiB or so how many bytes are done.
    """
    found: list[Chunk] = []
    size = 0
    with _Whole(file) as whole:
        for chunk, _ in cut(whole):
            size += chunk.length
            found.append(chunk)
            if on_bytes is not None and len(found) % _TELL_EVERY == 0:
                on_bytes(size)
    return ChunkedFile(size, whole.digest, tuple(found))


class _Whole:
    """A file that is hashed as a whole by a thread of its own while it is read, at most a few MiB behind."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sha256")
        self._behind: deque[Future[None]] = deque()

    @property
    def digest(self) -> str:
        """Of all that was read, once it is closed."""
        return format_digest(self._hash.digest())

    def readinto(self, buffer: memoryview, /) -> int | None:
        count = self._file.readinto(buffer)
        if count:
            # a copy: the reader uses its buffer again before the thread has come to it
            self._behind.append(self._thread.submit(self._hash.update, bytes(buffer[:count])))
            if len(self._behind) > _BEHIND:
                self._behind.popleft().result()
        return count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
