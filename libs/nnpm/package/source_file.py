"""A file to be published: what was checked is what is read, though somebody swaps it in between."""

import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from nnpm.errors import FailedPrecondition, InvalidArgument


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A regular file as it was found. `path` is resolved: no part of it was a link then."""

    path: Path
    size: int
    links: int
    device: int
    inode: int

    @classmethod
    def found(cls, path: Path, named: Path) -> Self:
        """The file at `path`, which the user knows as `named`. Raises InvalidArgument INVALID_PATH for other things."""
        facts = path.lstat()
        if not stat.S_ISREG(facts.st_mode):
            raise InvalidArgument("INVALID_PATH", f"{named} is no regular file", hint="exclude it, or put a file there")
        return cls(path, facts.st_size, facts.st_nlink, facts.st_dev, facts.st_ino)

    def open(self) -> io.FileIO:
        """That very file, unbuffered.

        Raises FailedPrecondition UPLOAD_CHANGED when another stands there by now: a link, a device, another file.
        """
        try:
            # Not blocking: nobody may write to a named pipe that was put there.
            file = io.FileIO(os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK))
        except OSError as fault:
            raise self._swapped() from fault
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode) or (facts.st_dev, facts.st_ino) != (self.device, self.inode):
            file.close()
            raise self._swapped()
        return file

    def _swapped(self) -> FailedPrecondition:
        return FailedPrecondition(
            "UPLOAD_CHANGED",
            f"{self.path} is not the file any more that was checked",
            hint="publish again when nothing writes to it any more",
            metadata={"path": str(self.path)},
        )
