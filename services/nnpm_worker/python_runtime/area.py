"""Shared memory without a name: it needs no folder to lie in, and is gone with the last process that has it open."""

import fcntl
import mmap
import os
from typing import Self

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class Area:
    """Memory that two processes have mapped. It grows and never shrinks: what was there once can always be read.

    (Whoever reads memory that a process of little trust has cut off dies of SIGBUS; the seal does not let it.)
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._mapped: mmap.mmap | None = None

    @classmethod
    def create(cls, name: str) -> Self:
        """A new, empty one; `name` is for people who look into /proc."""
        descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        return cls(descriptor)

    def room(self, size: int) -> memoryview:
        """The first `size` bytes, to be written; made if they are not there. Raises OSError or MemoryError."""
        present = os.fstat(self.descriptor).st_size
        if present < size:
            # Twice as much as before, so that slowly growing requests do not map anew each time.
            os.ftruncate(self.descriptor, -(-max(size, 2 * present) // mmap.PAGESIZE) * mmap.PAGESIZE)
        return self.content(size)

    def content(self, size: int) -> memoryview:
        """The first `size` bytes, to be read. Raises ValueError when there are not so many."""
        if size == 0:
            return memoryview(b"")
        if self._mapped is None or len(self._mapped) < size:
            # Not closed but dropped: there may be arrays over the old one, and it is the same memory.
            present = os.fstat(self.descriptor).st_size
            if present < size:
                raise ValueError(f"{size} bytes are named where there are {present}")
            self._mapped = mmap.mmap(self.descriptor, present)
        return memoryview(self._mapped)[:size]

    def close(self) -> None:
        """Let go of it; arrays over it stay valid."""
        self._mapped = None
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
