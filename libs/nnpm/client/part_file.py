"""A file on its way to this disk: every chunk verified against the recipe, resumable at the last verified one."""

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from nnpm.errors import DataLoss, FailedPrecondition, ResourceExhausted
from nnpm.package.digest import format_digest
from nnpm.package.files import replace_durably


class PartFile:
    """An open part file. `offset` says how many bytes are verified or on their way to it.

    Args:
        path: where it lies; what a former run left there is verified and its longest right beginning kept.
        recipe: size in bytes and SHA-256 (32 bytes) of each chunk, in order.

    Raises:
        FailedPrecondition: INSTALL_IN_PROGRESS, another process writes it: two would spoil what either has verified.
    """

    def __init__(self, path: Path, recipe: Sequence[tuple[int, bytes]]) -> None:
        self._path = path
        self._recipe = recipe
        self._whole = hashlib.sha256()
        self._chunk = hashlib.sha256()
        self._filled = 0
        self._next = 0
        self.offset = 0
        self._file = _open_locked(path)
        self._resume()

    def take(self, data: bytes | memoryview) -> None:
        """Verifies and writes the next bytes. Raises DataLoss at a chunk that is not what the recipe says."""
        view = memoryview(data)
        while view:
            if self._next == len(self._recipe):
                raise _mismatch(self._path, "it is longer than its recipe")
            size, digest = self._recipe[self._next]
            step = view[: size - self._filled]
            self._chunk.update(step)
            self._whole.update(step)
            with disk_errors(self._path):
                self._file.write(step)
            self._filled += len(step)
            self.offset += len(step)
            view = view[len(step) :]
            if self._filled == size:
                self._end_chunk(digest)

    def finish(self, target: Path, digest: str) -> None:
        """Checks the whole and renames it to `target`; what is not `digest` is removed and raises DataLoss."""
        if self._next != len(self._recipe) or format_digest(self._whole.digest()) != digest:
            self._path.unlink()
            self.close()
            raise _mismatch(self._path, f"it is not {digest}")
        with disk_errors(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            target.parent.mkdir(parents=True, exist_ok=True)
            replace_durably(self._path, target)
            self.close()  # and with it the lock: whoever waits for it must not find the part in its old place

    def close(self) -> None:
        """Closes the file; what came stays for the next run."""
        with disk_errors(self._path):
            self._file.close()

    def _resume(self) -> None:
        for size, digest in self._recipe:
            content = self._file.read(size)
            if len(content) < size or hashlib.sha256(content).digest() != digest:
                break
            self._whole.update(content)
            self.offset += size
            self._next += 1
        self._file.seek(self.offset)
        self._file.truncate()

    def _end_chunk(self, digest: bytes) -> None:
        if self._chunk.digest() != digest:
            raise _mismatch(self._path, f"the chunk that ends at byte {self.offset} is not what its digest says")
        self._chunk = hashlib.sha256()
        self._filled = 0
        self._next += 1


def _open_locked(path: Path) -> BinaryIO:
    """The file at `path`, made if missing, and its lock, which the kernel gives back with the last handle."""
    while True:
        with disk_errors(path):
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644), "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), path.lstat()):
                return file
        except FileNotFoundError:  # just now: see below
            pass
        except BlockingIOError as fault:
            file.close()
            raise FailedPrecondition(
                "INSTALL_IN_PROGRESS",
                f"another process installs into {path.parent.parent} just now",
                hint="wait for it, then run the same again",
            ) from fault
        file.close()  # the other was done between the opening and the locking: its part became the whole


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns a full disk into ResourceExhausted DISK_FULL."""
    try:
        yield
    except OSError as fault:
        if fault.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ResourceExhausted(
            "DISK_FULL",
            f"no space is left for {path}",
            hint="free some and run the same again; it goes on where it was",
            metadata={"path": str(path)},
        ) from fault


def _mismatch(path: Path, why: str) -> DataLoss:
    return DataLoss("CONTENT_MISMATCH", f"what came for {path.name} is wrong: {why}", hint="run the same again")
