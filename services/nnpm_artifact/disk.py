"""What a disk's errors mean to a caller."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nnpm.errors import ResourceExhausted, Unavailable

RESERVE_BYTES = 4 << 20
"""Kept free for the index, which often lies on the same disk: collecting garbage must be able to write there."""


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns an OSError of the body into ResourceExhausted DISK_FULL or Unavailable STORE_UNAVAILABLE."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise disk_full(f"the disk that holds {path.parent}") from error
        raise Unavailable(
            "STORE_UNAVAILABLE", f"the disk below {path.parent} fails: {error.strerror or error}", retry_after=5
        ) from error


def check_space(folder: Path, wanted: int) -> None:
    """Raises ResourceExhausted DISK_FULL unless `wanted` bytes and the reserve are free below `folder`."""
    with disk_errors(folder):
        free = shutil.disk_usage(folder).free
    if free < wanted + RESERVE_BYTES:
        raise disk_full(f"the disk that holds {folder}")


def disk_full(where: str) -> ResourceExhausted:
    """The error for `where`, the disk or bucket that is full."""
    return ResourceExhausted(
        "DISK_FULL",
        f"no space is left on {where}",
        hint="free some space, or collect garbage, then try again: what was stored stays",
        retry_after=30,
    )
